/* Tensors in every layout, with a NaN pattern wherever there is no element. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"

static const uint32_t gap_bits = 0x7fc5a5a5u;

float *tensor_at(const dwconv_tensor *t, int64_t n, int64_t y, int64_t x, int64_t c) {
    return (float *)t->data + n * t->image_stride + y * t->row_stride + x * t->pixel_stride + c;
}

void buffer_create(buffer *b, const int64_t dims[4], layout how) {
    const int64_t batch = dims[0], height = dims[1], width = dims[2], channels = dims[3];
    const int all = how == ALL_GAPS || how == FLIPPED_ROWS;
    int64_t pixel = channels + (how == PIXEL_GAP ? 5 : all ? 1 : 0);
    int64_t row = width * pixel + (how == ROW_GAP ? 3 : all ? 7 : 0);
    int64_t image = height * row + (how == IMAGE_GAP ? 11 : all ? 2 : 0);
    const int64_t lead = all ? 1 : 0; /* an address that no vector is aligned to */
    if (how == ROTATED) {             /* rows and columns change places, images lie innermost */
        image = channels + 1;
        row = (batch ? batch : 1) * image;
        pixel = height * row;
    }
    const int64_t floats = lead + (how == ROTATED ? width * pixel : batch * image);
    *b = (buffer){.floats = (size_t)floats};
    b->memory = malloc(b->floats * sizeof(float) + 4);
    b->is_element = calloc(b->floats + 1, 1);
    for (size_t i = 0; i < b->floats; i++) memcpy(&b->memory[i], &gap_bits, sizeof gap_bits);
    float *data = b->memory + lead;
    if (how == FLIPPED_ROWS) {
        data += (height - 1) * row;
        row = -row;
        if (batch) data += (batch - 1) * image;
        image = -image;
    }
    b->tensor = (dwconv_tensor){.data = data,
                                .batch = batch,
                                .height = height,
                                .width = width,
                                .channels = channels,
                                .image_stride = image,
                                .row_stride = row,
                                .pixel_stride = pixel};
    for (int64_t n = 0; n < batch; n++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                for (int64_t c = 0; c < channels; c++)
                    b->is_element[tensor_at(&b->tensor, n, y, x, c) - b->memory] = 1;
}

void buffer_free(buffer *b) {
    free(b->memory);
    free(b->is_element);
    b->memory = NULL;
    b->is_element = NULL;
}

void buffer_fill(buffer *b, rng *r) {
    for (size_t i = 0; i < b->floats; i++)
        if (b->is_element[i]) b->memory[i] = rng_float(r) * 4.0f;
}

void buffer_copy(buffer *to, const buffer *from) {
    const dwconv_tensor *t = &to->tensor;
    for (int64_t n = 0; n < t->batch; n++)
        for (int64_t y = 0; y < t->height; y++)
            for (int64_t x = 0; x < t->width; x++)
                for (int64_t c = 0; c < t->channels; c++)
                    *tensor_at(t, n, y, x, c) = *tensor_at(&from->tensor, n, y, x, c);
}

int buffer_gaps_intact(const buffer *b) {
    for (size_t i = 0; i < b->floats; i++)
        if (!b->is_element[i] && memcmp(&b->memory[i], &gap_bits, sizeof gap_bits) != 0) return 0;
    return 1;
}

int buffer_same_bits(const buffer *a, const buffer *b) {
    const dwconv_tensor *t = &a->tensor;
    for (int64_t n = 0; n < t->batch; n++)
        for (int64_t y = 0; y < t->height; y++)
            for (int64_t x = 0; x < t->width; x++)
                if (memcmp(tensor_at(t, n, y, x, 0), tensor_at(&b->tensor, n, y, x, 0),
                           (size_t)t->channels * sizeof(float)) != 0)
                    return 0;
    return 1;
}
