/* The contract of kernels on rows of 8-bit integers, between the nodes of a network and the instruction sets, and the
 * arithmetic that they share: that of one value is in s8/requant.h. The same bits on every instruction set.
 *
 * Numbers of bytes: `flip` is 0x80 for int8 and 0 for uint8, as there. No kernel touches memory that it was not told of. */
#ifndef DWCONV_KERNELS_BYTES_H
#define DWCONV_KERNELS_BYTES_H

#include "../dwconv_network.h"
#include "s8/requant.h"

/* An integer -> a byte: sum * multiplier, rounded once or, `twice`, as TensorFlow Lite, + zero_point, clamped. */
typedef struct dwc_byte_end {
    int twice;
    float multiplier;
    dwc_fixed fixed;
    int32_t zero_point, low, high;
} dwc_byte_end;

/* How two bytes become one. */
typedef enum dwc_byte_form {
    DWC_BYTES_ADD,    /* add: once or twice */
    DWC_BYTES_TIMES,  /* end(n0 * n1) */
    DWC_BYTES_FLOATS, /* quantized(scale[0] * n0 function scale[1] * n1) */
    DWC_BYTES_MAXIMUM,
    DWC_BYTES_MINIMUM,
    DWC_BYTES_PRELU /* n0 < 0 ? end(n0 * n1) : positive(n0) */
} dwc_byte_form;

/* What nodes are told of scales and zero points. */
typedef struct dwc_byte_parameters {
    dwc_byte_form form;       /* BINARY */
    dwconv_function function; /* of FLOATS */
    uint8_t flip;
    int twice;
    int32_t zero[2];         /* of the inputs */
    float scale[2], y_scale; /* of FLOATS, QUANTIZE and DEQUANTIZE */
    dwc_s8_add add;
    dwc_byte_end end, positive;
    float ratio; /* of the scales: POOL and REDUCE divide it by the number of values */
} dwc_byte_parameters;

/* Rows of `count` outputs next to each other. A step is that of an input from element to element, 0 or 1. Inputs may be
 * y, with its steps. */
typedef struct dwc_byte_binary {
    const dwc_byte_parameters *parameters;
    int64_t rows, count;
    const uint8_t *x[2];
    int64_t x_row[2];
    int x_step[2];
    uint8_t *y;
    int64_t y_row;
} dwc_byte_binary;

/* Two pixels, or rows, and the weight of the second: in 2048ths or, as TensorFlow Lite counts, in 1024ths. */
typedef struct dwc_byte_column {
    int64_t first, second;
    int32_t weight;
} dwc_byte_column;

typedef struct dwc_byte_weight {
    int32_t second; /* of the second row; the first has what is left of 2^bits */
    int bits;
    uint8_t flip;
} dwc_byte_weight;

/* A row of an image resized from two that are joined, after whose last one DWC_BLENDED sums may be read. */
enum { DWC_BLENDED = 16 };
typedef struct dwc_byte_resize {
    const int32_t *row;
    const dwc_byte_column *columns; /* first and second: sums from the begin of the row */
    int64_t outputs, channels;
    int64_t whole; /* outputs after which there is room for DWC_BLENDED bytes from any channel on */
    int twice;     /* 1024ths, and halves away from zero, else upwards */
    uint8_t *y;
    int64_t y_pixel;
} dwc_byte_resize;

typedef struct dwc_byte_kernels {
    void (*lookup)(const uint8_t *x, int64_t count, const uint8_t table[256], uint8_t *y);
    void (*quantize)(const float *x, int64_t count, const dwc_byte_parameters *p, uint8_t *y);
    void (*dequantize)(const uint8_t *x, int64_t count, const dwc_byte_parameters *p, float *y);
    void (*binary)(const dwc_byte_binary *rows);
    /* sums[c] += numbers of channel c of pixels a step apart. */
    void (*sum)(const uint8_t *x, int64_t x_pixel, int64_t pixels, int64_t channels, uint8_t flip,
                int32_t *sums);
    int64_t (*sum_run)(const uint8_t *x, int64_t count, uint8_t flip);
    /* y[c] = the largest or the smallest of y[c] and those of pixels a step apart. */
    void (*extreme)(const uint8_t *x, int64_t x_pixel, int64_t pixels, int64_t channels, uint8_t flip,
                    int largest, uint8_t *y);
    /* The same of rows of numbers, to one each; `resumes`: and of y. */
    void (*extreme_rows)(const uint8_t *x, int64_t x_row, int64_t rows, int64_t count, uint8_t flip,
                         int largest, int resumes, uint8_t *y);
    void (*finish)(const int32_t *sums, int64_t count, const dwc_byte_end *end, uint8_t *y);
    /* Sums of channels of pixels, dense, as the plan of a convolution says: rounded twice, where it `fits`. */
    void (*requant)(const int32_t *sums, int64_t pixels, int64_t channels, const dwc_requant *requant,
                    int64_t first, uint8_t *y, int64_t y_pixel);
    /* y = sums / divisor, halves away from zero, clamped. */
    void (*divide)(const int32_t *sums, int64_t count, int32_t divisor, const dwc_byte_end *end, uint8_t *y);
    /* Joins two rows: sums of numbers by their weights. */
    void (*blend_rows)(const uint8_t *top, const uint8_t *bottom, int64_t count,
                       const dwc_byte_weight *weight, int32_t *to);
    void (*resize)(const dwc_byte_resize *resize);
    /* y[r][c] = x[c][r], as that of floats. */
    void (*transpose)(const uint8_t *x, int64_t x_column, int64_t rows, int64_t count, uint8_t *y,
                      int64_t y_row);
} dwc_byte_kernels;

/* ---- one value ---------------------------------------------------------------------------------- */

static inline int32_t dwc_end_once(int32_t sum, const dwc_byte_end *e) {
    const float low = (float)(e->low - e->zero_point), high = (float)(e->high - e->zero_point);
    return dwc_requant_even(sum, e->multiplier, low, high) + e->zero_point;
}

static inline int32_t dwc_end_twice(int32_t sum, const dwc_byte_end *e) {
    const int64_t q = (int64_t)dwc_times_fixed(sum, e->fixed) + e->zero_point;
    return q < e->low ? e->low : q > e->high ? e->high : (int32_t)q;
}

/* float32 -> an integer of the output: NaN is 0. */
static inline int32_t dwc_quantize_one(float x, float scale, const dwc_byte_end *e) {
    const float low = (float)(e->low - e->zero_point), high = (float)(e->high - e->zero_point);
    float t = x / scale;
    t = t == t ? t : 0.0f;
    t = t < low ? low : t;
    t = t > high ? high : t;
    int32_t q = dwc_round_even(t);
    if (e->twice) { /* halves away from zero */
        const float rest = t - (float)q;
        q += (t > 0.0f && rest == 0.5f) - (t < 0.0f && rest == -0.5f);
    }
    return q + e->zero_point;
}

#endif
