/* A person detector for a camera: 96x96 pixels in, a probability out, in 8-bit integers and in static memory only.
 *
 *   person [FRAMES.rgb]    red, green and blue of every pixel as bytes, frame after frame, from a file or from stdin:
 *                          ffmpeg -i FILE -vf scale=96:96 -pix_fmt rgb24 -f rawvideo - | person
 *
 * person.c, person.h and person_weights.c are the network, as dwconv writes it. Any that takes pixels - 128 will do; this
 * one is of the benchmark MLPerf Tiny (github.com/mlcommons/tiny, visual wake words, Apache 2.0):
 *
 *   dwconv compile vww_96_int8.tflite -o build --name person
 *   cc -std=c11 -O2 -Icsrc -Ibuild examples/c/person.c build/person*.c libdwconv.a -lm -pthread -o person */
#include <stdio.h>

#include "person.h"

enum { PIXELS = PERSON_INPUT_1_INT8_ELEMENTS, CLASSES = PERSON_IDENTITY_INT8_ELEMENTS, PERSON = 1 };

static unsigned char frame[PIXELS];
static int8_t x[PIXELS], scores[CLASSES];

/* Scores are 256ths from -128 on. */
static dwconv_status look(double *probability) {
    for (int i = 0; i < PIXELS; i++) x[i] = (int8_t)(frame[i] - 128);
    const dwconv_status status = person_run(x, scores);
    *probability = (scores[PERSON] + 128) / 256.0;
    return status;
}

int main(int argc, char **argv) {
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    if (argc > 2 || !file) {
        fputs("usage: person [FRAMES.rgb]\n", stderr);
        return 2;
    }
    dwconv_status status = person_init();
    long frames = 0;
    while (status == DWCONV_OK && fread(frame, sizeof frame, 1, file) == 1) {
        double probability;
        status = look(&probability);
        if (status == DWCONV_OK)
            printf("%ld %s %.3f\n", ++frames, probability > 0.5 ? "person" : "nobody", probability);
    }
    if (file != stdin) fclose(file);
    if (status != DWCONV_OK) fprintf(stderr, "person: %s\n", dwconv_status_string(status));
    if (frames == 0) fputs("person: there is no whole frame\n", stderr);
    return status != DWCONV_OK || frames == 0;
}
