/* Numbers out of the bytes of the fuzzer, and descriptors made of them. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "../../../csrc/dwconv.h"

typedef struct reader {
    const uint8_t *data;
    size_t size;
} reader;

uint8_t read_byte(reader *r); /* 0 at the end */
/* In [low, high], but for the last 8 values of a byte: these are absurd sizes. */
int64_t read_size(reader *r, int64_t low, int64_t high);

enum { MAX_ARRAYS = 10 };

/* A descriptor whose arrays are allocated to the float, filled with integers from -2 to 2. */
typedef struct input {
    dwconv_desc desc;
    dwconv_conv_desc expand, conv, squeeze, excite, project; /* that desc points to, if it does */
    float *arrays[MAX_ARRAYS];
    int array_count;
    int vast; /* some array would be larger than the fuzzer affords: it has one float, and must not be read */
    int exact;    /* no operation rounds as long as `bound` is below 2^24 */
    double bound; /* of the magnitude of every intermediate result */
} input;

void input_read(input *in, reader *r);
void input_free(input *in);

float *small_integers(int64_t count);

#endif
