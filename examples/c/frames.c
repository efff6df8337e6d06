/* See frames.h. */
#include "frames.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A number of a header, after white space and comments; -1 if there is none. */
static int read_number(FILE *file) {
    int c, number = 0, digits = 0;
    while ((c = getc(file)) != EOF && (isspace(c) || c == '#'))
        while (c == '#' && (c = getc(file)) != EOF && c != '\n') c = '#';
    for (; c != EOF && isdigit(c) && digits < 6; c = getc(file), digits++) number = 10 * number + (c - '0');
    return digits ? number : -1;
}

/* The file after its header, NULL (and a message) if it is not one of ours. */
static FILE *open_frame(const char *path, int *channels, int *width, int *height) {
    FILE *file = fopen(path, "rb");
    char magic[2] = "";
    if (file && fread(magic, 1, 2, file) == 2 && magic[0] == 'P' && (magic[1] == '5' || magic[1] == '6')) {
        *channels = magic[1] == '6' ? 3 : 1;
        *width = read_number(file);
        *height = read_number(file);
        if (*width > 0 && *height > 0 && read_number(file) == 255) return file;
    }
    fprintf(stderr, "%s: not a binary PGM or PPM file of 8 bits\n", path);
    if (file) fclose(file);
    return NULL;
}

int frame_size(const char *path, int *width, int *height) {
    int channels;
    FILE *file = open_frame(path, &channels, width, height);
    if (!file) return 1;
    fclose(file);
    return 0;
}

int frame_read(const char *path, int width, int height, float *rgb) {
    int channels, file_width, file_height, failed;
    FILE *file = open_frame(path, &channels, &file_width, &file_height);
    if (!file) return 1;
    failed = file_width != width || file_height != height;
    for (long i = 0; !failed && i < (long)width * height; i++) {
        unsigned char pixel[3];
        failed = fread(pixel, 1, (size_t)channels, file) != (size_t)channels;
        for (int c = 0; !failed && c < 3; c++) rgb[3 * i + c] = (float)pixel[channels == 3 ? c : 0] / 255.0f;
    }
    fclose(file);
    if (failed)
        fprintf(stderr, "%s: cut short, or not %d x %d like the frames before\n", path, width, height);
    return failed;
}

void frame_draw(int number, int width, int height, float *rgb) {
    const int centre_x = (17 * number) % width, centre_y = height / 2, radius = height / 5;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, rgb += 3) {
            const int dx = x - centre_x, dy = y - centre_y;
            const int inside = dx * dx + dy * dy < radius * radius;
            rgb[0] = inside ? 1.0f : (float)x / (float)width;
            rgb[1] = inside ? 0.8f : (float)y / (float)height;
            rgb[2] = inside ? 0.1f : 0.5f;
        }
}
