/* What the files of the core share. Everything here is hidden; dwconv.h is the contract. */
#ifndef DWCONV_INTERNAL_H
#define DWCONV_INTERNAL_H

#ifdef __FAST_MATH__
#error "-ffast-math changes results: -fno-fast-math after it undoes it"
#endif

#include "dwconv.h"
#include "kernels/abi.h"
#include "kernels/isa/which.h"

#if defined(__GNUC__) || defined(__clang__)
#define DWC_HIDDEN __attribute__((visibility("hidden")))
#else
#define DWC_HIDDEN
#endif

/* ---- geometry ----------------------------------------------------------------------------- */

typedef struct dwc_extent {
    int64_t out_h, out_w, pad_top, pad_left;
} dwc_extent;

/* A tensor with its strides filled in. */
typedef struct dwc_view {
    float *data;
    int64_t batch, height, width, channels;
    int64_t image, row, pixel; /* strides in elements */
} dwc_view;

/* *result = a * b; 0 if it does not fit int64. */
static inline int dwc_multiply(int64_t a, int64_t b, int64_t *result) {
    return !__builtin_mul_overflow(a, b, result);
}

/* ---- stages: an operation with packed weights --------------------------------------------- */

typedef struct dwc_mm_call dwc_mm_call;

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

/* What an instruction set has. */
typedef struct dwc_kernel_table {
    dwconv_isa isa;
    int lanes;       /* float32 lanes of a vector; packed weights are laid out by it */
    int panel_unit;  /* widths of weight panels are multiples of this */
    int panel_width; /* the widest panel of the matrix kernel */
    int overlaps;    /* channels that fill no vector go with some that do: see dwc_depthwise_stage */
    dwc_matrix_kernel matrix;
    const dwc_dw_kernel
        *tiles; /* of square windows, by kernel, stride and whether they are for multipliers */
    int tile_count;
    dwc_dw_any any;
    dwc_dw_few few;
    const char *any_name, *few_name;
    /* Rows of pixels. sums[c] = x[0][c] + x[1][c] + ... in this order; y[p][c] = x[p][c] * factors[c], where y may be x. */
    void (*sum_pixels)(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels, float *sums);
    void (*scale_pixels)(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels,
                         const float *factors, float *y, int64_t y_pixel);
    /* `bytes` of each pixel to where pixels are to_pixel bytes apart; of whole cache lines also past the caches, and then
     * NULL or an end, before others may read them. */
    void (*copy_pixels)(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                        int64_t to_pixel);
    void (*stream_pixels)(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                          int64_t to_pixel);
    void (*end_stream)(void);
} dwc_kernel_table;

DWC_HIDDEN const dwc_kernel_table *dwc_kernel_table_of(const char *isa); /* NULL if not available */
DWC_HIDDEN const char *dwc_table_name(const dwc_kernel_table *table);

/* Bytes of a core's second-level cache, between 256 KB and 2 MB; 1 MB where the CPU does not tell. */
DWC_HIDDEN int64_t dwc_cache_bytes(void);

/* What is used once per operation and has so many bytes is far: read from memory, not from a cache. */
DWC_HIDDEN int64_t dwc_far_bytes(void);

typedef struct dwc_depthwise_stage {
    dwconv_window window;
    int64_t in_channels, multiplier, channels; /* channels = in_channels * multiplier */
    int repeated; /* few channels: the weights of a vector are those of several pixels side by side */
    int overlaps; /* there is a `last` */
    dwconv_activation activation;
    float low, high;             /* the clamp that kernels store with; infinities if the activation is none */
    const dwc_dw_kernel *kernel; /* tiles for its window, or NULL: those of any window */
    /* Per vector of channels: bias, lane indices if multiplier > 1, then kernel_h * kernel_w vectors. */
    const float *weights;
    int64_t block; /* floats per vector of channels */
    /* The same of the last `lanes` channels, some of which the vector before has too; where masks are slow, or NULL. */
    const float *last;
} dwc_depthwise_stage;

typedef struct dwc_matmul_stage {
    dwconv_window window;
    int64_t groups, group_inputs, group_outputs;
    int64_t depth;  /* kernel_h * kernel_w * group_inputs */
    int64_t panel;  /* columns of a full panel */
    int64_t padded; /* group_outputs rounded up to the panel unit */
    dwconv_activation activation;
    const dwc_matrix_kernel *kernel;
    int64_t first;        /* of the packed output channels: not 0 for a slice, of a stage of one group */
    const float *weights; /* per group: panels of [depth][columns of the panel] */
    const float *bias;    /* per group: `padded` floats */
} dwc_matmul_stage;

/* ---- calls of kernels --------------------------------------------------------------------- */

/* ---- sequence.c --------------------------------------------------------------------------- */

/* Whether x and y are a row (a column) of pixels, and a window sees nothing else. */
DWC_HIDDEN int dwc_is_row(const dwconv_window *w, const dwc_view *x, const dwc_view *y);
DWC_HIDDEN int dwc_is_column(const dwconv_window *w, const dwc_view *x, const dwc_view *y);

/* Makes a column of a row, and a row of a column. */
DWC_HIDDEN void dwc_turn_window(dwconv_window *w);
DWC_HIDDEN void dwc_turn_view(dwc_view *v);

/* `pixels` outputs a constant step apart, times `columns` output channels:
 * y[p][n] = act(bias[n] + sum over taps and k of a[p][tap][k] * w[tap][k][n]) + residual[p][n]. */
struct dwc_mm_call {
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
};

/* ---- run.c, block.h ------------------------------------------------------------------------ */

/* Calls the matrix kernel for output rows [row_begin, row_end) of one image, and the columns
 * [column_begin, column_end) of every group. Both views are of that image; the residual may be NULL. */
typedef struct dwc_matmul_rows {
    const dwc_matmul_stage *stage;
    const float *x;
    int64_t x_row, x_pixel, in_h, in_w;
    float *y; /* row row_begin */
    int64_t y_row, y_pixel, out_w;
    const float *residual; /* row row_begin */
    int64_t residual_row, residual_pixel;
    int64_t pad_top, pad_left;
    int64_t row_begin, row_end, column_begin, column_end;
    int64_t prefetch_rows; /* how far ahead to fetch input that is not in the second-level cache */
    int far_x, far_y;      /* beyond the caches */
} dwc_matmul_rows;

DWC_HIDDEN void dwc_run_matmul_rows(const dwc_matmul_rows *rows);

DWC_HIDDEN dwconv_status dwc_run_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                       void *scratch, size_t scratch_bytes, const dwconv_threads *threads);
/* The scratch of a block for views whose data is not read, whether the work is shared by so many threads or not. */
DWC_HIDDEN dwconv_status dwc_block_scratch(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                           int threads, size_t *bytes);

/* How dense tensors x and y, whose data is not read, would be run: fields of an open object. */
typedef struct dwc_text dwc_text;
DWC_HIDDEN dwconv_status dwc_explain_layer(dwc_text *t, const dwconv_plan *plan, const dwc_view *x,
                                           const dwc_view *y, const dwconv_threads *threads);
DWC_HIDDEN dwconv_status dwc_explain_block(dwc_text *t, const dwconv_plan *plan, const dwc_view *x,
                                           const dwc_view *y, const dwconv_threads *threads);

/* Whether a product should ask ahead of time for what it reads and writes: in operations from x to y. */
DWC_HIDDEN int dwc_fetches(const dwc_matmul_stage *stage, const dwc_view *x, const dwc_view *y);

/* Bounds of what the depthwise walk keeps on the stack: channels that go past the caches through a buffer, copied rows, as many
 * as the first-level cache holds. */
enum { DWC_STREAM_CHANNELS = 256, DWC_COPY_BYTES = 32 * 1024, DWC_MOST_LANES = 16, DWC_LINE_FLOATS = 16 };

#include "run/parallel.h"

/* What tiles or vectors a depthwise stage is computed with where its shape allows it. */
static inline const char *dwc_depthwise_name(const dwc_depthwise_stage *stage,
                                             const dwc_kernel_table *table) {
    return stage->repeated ? table->few_name : stage->kernel ? stage->kernel->name : table->any_name;
}

#endif
