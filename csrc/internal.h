/* What the floors and the kernels share. Everything here is hidden; dwconv.h is the contract. */
#ifndef DWCONV_INTERNAL_H
#define DWCONV_INTERNAL_H

#ifdef __FAST_MATH__
#error "-ffast-math changes results: -fno-fast-math after it undoes it"
#endif

#include "dwconv.h"
#include "dwconv_network.h"
#include "kernels/abi.h"
#include "kernels/bytes.h"
#include "kernels/isa/which.h"
#include "kernels/rows.h"
#include "kernels/s8/abi.h"
#include "kernels/s8/requant.h"

#if defined(__GNUC__) || defined(__clang__)
#define DWC_HIDDEN __attribute__((visibility("hidden")))
#else
#define DWC_HIDDEN
#endif

/* Floats of a cache line, and the most lanes of a vector. */
enum { DWC_LINE_FLOATS = 16, DWC_MOST_LANES = 16 };

/* ---- the matrix kernel ---------------------------------------------------------------------- */

/* `pixels` outputs a constant step apart, times `columns` output channels:
 * y[p][n] = act(bias[n] + sum over taps and k of a[p][tap][k] * w[tap][k][n]) + residual[p][n]. */
typedef struct dwc_mm_call {
    const float *a;
    int64_t a_pixel, pixels;
    int64_t taps_y, taps_x, a_tap_y, a_tap_x; /* at least one tap; steps of a from tap to tap */
    int64_t k;                                /* inner length, 0 if there are no inputs */
    int64_t w_first, w_tap_y, w_tap_x;        /* row of a panel of the first tap, and steps from there */
    const float *weights, *bias;              /* of the stage's or group's first output channel */
    int64_t depth, panel, padded;             /* of the stage */
    int64_t first, columns;                   /* output channels; y and residual begin with the first */
    float *y;
    int64_t y_pixel;
    const float *residual; /* or NULL */
    int64_t residual_pixel;
    int64_t prefetch; /* floats from inputs in use to inputs to be asked for meanwhile; 0: none */
    int far_y;        /* outputs come from beyond the caches: to be asked for ahead of time */
    dwconv_activation activation;
} dwc_mm_call;

/* ---- the kernels of an instruction set ------------------------------------------------------ */

/* Whose table it is. */
typedef enum dwconv_isa {
    DWCONV_ISA_BASELINE,
    DWCONV_ISA_NEON,
    DWCONV_ISA_AVX2,
    DWCONV_ISA_AVX512
} dwconv_isa;

/* The matrix kernel: pointwise and dense convolution. */
typedef struct dwc_matrix_kernel {
    const char *name;
    void (*run)(const dwc_mm_call *);
} dwc_matrix_kernel;

/* ---- elementwise ---------------------------------------------------------------------------- */

/* `rows` rows of `count` outputs next to each other: y = activation(function(x[0], x[1])). A step is that of an input
 * from element to element, 0 or 1. Inputs may be y, with its steps. */
typedef struct dwc_each_call {
    dwconv_function function;
    dwconv_activation activation;
    float parameters[2];
    int64_t rows, count;
    float *y;
    int64_t y_row; /* floats from row to row */
    const float *x[2];
    int64_t x_row[2];
    int x_step[2];
} dwc_each_call;

typedef struct dwc_each_kernels {
    void (*unary)(const dwc_each_call *);
    void (*binary)(const dwc_each_call *);
    /* dx[i] = dy[i] * the slope of the activation at values[i], its inputs or outputs; dx may be dy or values. */
    void (*slope)(const dwconv_activation *activation, int from_output, const float *values, const float *dy,
                  float *dx, int64_t count);
    /* y[r][c] = x[c][r] of `rows` rows of `count` elements next to each other; of x columns are. */
    void (*transpose)(const float *x, int64_t x_column, int64_t rows, int64_t count, float *y, int64_t y_row);
} dwc_each_kernels;

/* What an instruction set has. */
typedef struct dwc_kernel_table {
    dwconv_isa isa;
    int lanes;       /* float32 lanes of a vector; packed weights are laid out by it */
    int panel_unit;  /* widths of weight panels are multiples of this */
    int panel_width; /* the widest panel of the matrix kernel */
    int overlaps;    /* channels that fill no vector go with some that do: see dwc_depthwise_stage */
    dwc_matrix_kernel matrix;
    dwc_matrix_kernel dots; /* few outputs: sums along the inputs of a pixel, on panels of one column */
    int dot_outputs;        /* the most that it is for */
    int thin_outputs; /* of groups that go as depthwise, in whose vectors several of them, or one, find their place */
    const dwc_dw_kernel *tiles; /* of square windows, by kernel, stride and what inputs they spread */
    int tile_count;
    dwc_dw_any any;
    dwc_dw_few few;
    const dwc_dw_gradient_kernel
        *gradients; /* the last two take any window: without a multiplier, and with one */
    int gradient_count;
    const dwc_dw_back_kernel *back; /* the input gradient of 3x3 windows with stride 2 */
    const char *any_name, *few_name, *factor_name;
    /* Rows of pixels. sums[c] = x[0][c] + x[1][c] + ... in this order; y[p][c] = x[p][c] * factors[c], where y may
     * be x. */
    void (*sum_pixels)(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels, float *sums);
    void (*scale_pixels)(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels,
                         const float *factors, float *y, int64_t y_pixel);
    /* `bytes` of each pixel to where pixels are to_pixel bytes apart; of whole cache lines also past the caches,
     * and then NULL or an end, before others may read them. */
    void (*copy_pixels)(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                        int64_t to_pixel);
    void (*stream_pixels)(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                          int64_t to_pixel);
    void (*end_stream)(void);
    dwc_each_kernels each;
    dwc_row_kernels rows; /* of a network's nodes */
    dwc_norm_kernels norm;
    dwc_byte_kernels bytes;
    const dwc_s8_kernels *s8;
} dwc_kernel_table;

#endif
