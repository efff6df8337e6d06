/* The classifier of `dwconv demo`, from C, in static memory only: no call of this program allocates.
 *
 *   classify IMAGES.npy LABELS.npy    how many of the digits it sees right
 *   classify IMAGES.npy               the digit on every image and its probability, one a line
 *
 * digits.c, digits.h and digits_weights.c are the network, as dwconv writes it:
 *
 *   dwconv compile src/dwconv/data/digits.npz -o build
 *   cc -std=c11 -O2 -Icsrc -Ibuild examples/c/classify.c build/digits*.c libdwconv.a -lm -pthread -o classify
 *   ./classify src/dwconv/data/digits_images.npy src/dwconv/data/digits_labels.npy */
#include <stdio.h>
#include <string.h>

#include "digits.h"

enum { PIXELS = DIGITS_IMAGES_ELEMENTS, CLASSES = DIGITS_OUTPUT_ELEMENTS, MOST = 1024 };
static unsigned char images[MOST * PIXELS], labels[MOST];

/* The bytes of an array in NumPy's format, and how many there are; -1 where it is none of `shape` uint8. */
static long read_array(const char *path, unsigned char *bytes, size_t most, const char *shape) {
    unsigned char begin[10]; /* magic, version, length of the text that describes the array */
    char text[1024];
    long count = -1;
    FILE *file = fopen(path, "rb");
    if (!file) return -1;
    if (fread(begin, 1, sizeof begin, file) == sizeof begin && memcmp(begin, "\x93NUMPY\x01", 7) == 0) {
        const size_t length = begin[8] + 256u * begin[9];
        if (length < sizeof text && fread(text, 1, length, file) == length) {
            text[length] = '\0';
            if (strstr(text, "'|u1'") && strstr(text, "False") && strstr(text, shape))
                count = (long)fread(bytes, 1, most, file);
        }
    }
    fclose(file);
    return count;
}

/* The probabilities of ten digits for an image of 8x8 pixels from 0 to 16. */
static dwconv_status classify(const unsigned char *image, float probabilities[CLASSES]) {
    float x[PIXELS];
    for (int i = 0; i < PIXELS; i++) x[i] = (float)image[i] / 16.0f;
    return digits_run(x, probabilities);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fputs("usage: classify IMAGES.npy [LABELS.npy]\n", stderr);
        return 2;
    }
    const long count = read_array(argv[1], images, sizeof images, ", 8, 8)") / PIXELS;
    if (count <= 0 || (argc > 2 && read_array(argv[2], labels, sizeof labels, ",)") != count)) {
        fprintf(stderr, "classify: the files are no uint8 arrays [count, 8, 8] and [count], at most %d\n",
                MOST);
        return 2;
    }
    dwconv_status status = digits_init();
    long correct = 0;
    for (long i = 0; i < count && status == DWCONV_OK; i++) {
        float probabilities[CLASSES];
        status = classify(images + i * PIXELS, probabilities);
        int digit = 0;
        for (int c = 1; c < CLASSES; c++)
            if (probabilities[c] > probabilities[digit]) digit = c;
        if (argc == 2 && status == DWCONV_OK) printf("%d %.9g\n", digit, (double)probabilities[digit]);
        correct += digit == labels[i];
    }
    if (status != DWCONV_OK) {
        fprintf(stderr, "classify: %s\n", dwconv_status_string(status));
        return 1;
    }
    if (argc == 2) return 0;
    printf("accuracy            %.2f%% (%ld of %ld)\n", 100.0 * (double)correct / (double)count, correct,
           count);
    return correct < count * 97 / 100;
}
