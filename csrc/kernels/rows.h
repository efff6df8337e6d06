/* The contract between walks of a network's nodes and kernels over rows: of pixels, each some contiguous channels, or
 * of numbers. All steps are in floats. No kernel touches memory that it was not told of. */
#ifndef DWCONV_KERNELS_ROWS_H
#define DWCONV_KERNELS_ROWS_H

#include <math.h>
#include <stdint.h>

#include "../dwconv_network.h"

/* Outputs side by side of a pooling, all of which see the same number of taps. The taps of a column are joined first,
 * from top to bottom, then these from left to right. */
typedef struct dwc_pool_row {
    const float *x;         /* the first tap of the first output */
    int64_t x_row, rows;    /* of the window: taps below each other, at least one */
    int64_t x_tap, taps;    /* taps beside each other, at least one */
    int64_t x_out, outputs; /* from output to output */
    int64_t channels;
    float *y;
    int64_t y_out;
    float divisor; /* of the mean */
    /* Fewer channels than a vector has: a vector's floats may be read from every tap, and that many outputs, the first
     * ones, are stored as whole vectors, since what follows them is written later. Negative: nothing of the kind. */
    int64_t whole;
} dwc_pool_row;

/* Where an output of a resized row comes from: floats from the begin of the input row. */
typedef struct dwc_resize_column {
    int64_t left, right;
    float weight; /* of the right one */
} dwc_resize_column;

/* A row of outputs, (1 - weight) * top + weight * bottom of what is found there between left and right. */
typedef struct dwc_resize_row {
    const float *top, *bottom; /* bottom NULL: top is the row, blended already; see `whole` of dwc_pool_row */
    float weight;
    const dwc_resize_column *columns;
    int64_t outputs, channels;
    float *y;
    int64_t y_out, whole;
} dwc_resize_row;

/* A grid of pixels, rows of `columns` each, to be reduced to one: first every row, from left to right, then these. */
typedef struct dwc_reduce_grid {
    const float *x;
    int64_t x_row, rows, x_column, columns, channels;
    float *y;
    int resumes; /* y holds a result to go on with */
} dwc_reduce_grid;

/* Two numbers joined: DWCONV_SUM, PRODUCT, LARGEST, SMALLEST. */
static inline __attribute__((always_inline)) float dwc_reduce_two(float a, float b,
                                                                  dwconv_function function) {
    if (function == DWCONV_SUM) return a + b;
    if (function == DWCONV_PRODUCT) return a * b;
    if (isnan(a) || isnan(b)) return a + b;
    return (function == DWCONV_LARGEST) == (a > b) ? a : b;
}

/* Batch normalization of `pixels` pixels of so many channels. mean, factor, offset, slope, constant and what is added to,
 * sums and squares, are a float for each channel. */
typedef struct dwc_norm_run {
    const float *x, *dy;
    float *y; /* result, or dx */
    int64_t x_pixel, dy_pixel, y_pixel, pixels, channels;
    const float *mean, *factor, *offset, *slope, *constant;
    float low, high;           /* the clamp */
    float stop_low, stop_high; /* where it stops gradients; NaN: nowhere */
    float *sums, *squares;
} dwc_norm_run;

typedef struct dwc_norm_kernels {
    void (*moments)(const dwc_norm_run *run); /* sums += x - mean, squares += (x - mean)^2 */
    /* Of dy that passes the clamp: sums += dy, squares += dy * (x - mean). */
    void (*slopes)(const dwc_norm_run *run);
    /* y = clamp((x - mean) * factor + offset) */
    void (*apply)(const dwc_norm_run *run);
    /* y = dy * factor + (x - mean) * slope + constant; of fixed moments y = dy * factor */
    void (*back)(const dwc_norm_run *run);
    void (*back_fixed)(const dwc_norm_run *run);
    /* The same of pixels of whole cache lines, past the caches: see stream_pixels. NULL: there are no such stores. */
    void (*apply_streaming)(const dwc_norm_run *run);
    void (*back_streaming)(const dwc_norm_run *run);
} dwc_norm_kernels;

typedef struct dwc_row_kernels {
    void (*pool)(const dwc_pool_row *row, int most); /* most: the maximum, NaN if a tap is; else the mean */
    /* to[p][c]: the `rows` values below each other, joined; `to` is dense. */
    void (*pool_columns)(const float *x, int64_t x_row, int64_t rows, int64_t x_pixel, int64_t pixels,
                         int64_t channels, float *to, int most);
    /* to[p] = (1 - weight) * top[p] + weight * bottom[p]; `to` is dense. */
    void (*blend)(const float *top, const float *bottom, float weight, int64_t pixel, int64_t pixels,
                  int64_t channels, float *to);
    void (*resize)(const dwc_resize_row *row);
    void (*pick)(const dwc_resize_row *row); /* the pixel at `left` of top */
    /* function: DWCONV_SUM, LARGEST, SMALLEST (NaN if one is), PRODUCT. */
    void (*reduce_grid)(const dwc_reduce_grid *grid, dwconv_function function);
    /* Rows of numbers, to one each. */
    void (*reduce_rows)(const float *x, int64_t x_row, int64_t rows, int64_t count, dwconv_function function,
                        float *y, int64_t y_row);
    /* Where the first largest number of each row is, or the first NaN. */
    void (*place_rows)(const float *x, int64_t x_row, int64_t rows, int64_t count, float *y, int64_t y_row);
    void (*softmax)(const float *x, int64_t x_row, int64_t rows, int64_t count, float *y, int64_t y_row,
                    int log);
    void (*layer_norm)(const float *x, int64_t x_row, int64_t rows, int64_t count, const float *scale,
                       const float *bias, float epsilon, float *y, int64_t y_row);
    /* In place, pixels y_pixel apart. */
    void (*activate)(float *y, int64_t y_pixel, int64_t pixels, int64_t channels,
                     const dwconv_activation *activation);
} dwc_row_kernels;

#endif
