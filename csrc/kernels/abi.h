/* The contract between walks and depthwise micro-kernels: a kernel is told everything and decides nothing.
 *
 * A walk hands over *rows of pointers*. Where they come from is its business: rows of an image, of a ring in a fused
 * block, copies with another pitch, every d-th row of a dilated image, two stretches of a sequence, or NULL for a row of
 * padding, which contributes nothing. All steps are in bytes. No kernel touches a byte that it was not told of. */
#ifndef DWCONV_KERNELS_ABI_H
#define DWCONV_KERNELS_ABI_H

#include <stdint.h>

#include "../dwconv.h"

/* Bounds of arrays on the stack: input rows of a run, of a tile of a square window, which looks at all of them, and
 * outputs of a tile side by side. */
enum { DWC_MOST_ROWS = 64, DWC_MOST_TILE_ROWS = 9, DWC_MOST_COLUMNS = 8 };

/* The taps of a kernel row that the outputs of a tile see on the image. All of them see the taps in [first, first + seen),
 * but where a side has padding: then they come to see it one after another. */
typedef struct dwc_dw_taps {
    int64_t first, seen;              /* taps that any output sees */
    int left, right;                  /* whether there is padding on this side alone */
    int64_t from[DWC_MOST_COLUMNS];   /* [t]: taps that outputs t and on see, before those that all see */
    int64_t to[DWC_MOST_COLUMNS];     /* [t]: taps that outputs before t see, after those that all see */
    int64_t tested_begin, tested_end; /* taps with padding on both sides */
    int64_t stride;                   /* columns from output to output */
    int64_t live_begin,
        live_end;  /* columns on the image, counted from tap 0 of output 0: a test for any tap */
    int64_t whole; /* taps that all outputs see */
} dwc_dw_taps;

/* Rows of few channels as vectors: where the first and the last vector of a tile load each tap, when that reaches over the edge
 * of an image, and which lanes become which. Indices of lanes are followed, 3 vectors further, by masks of those on the image. */
enum { DWC_FLAT_TAPS = 32 };
typedef struct dwc_dw_flat {
    int64_t x[DWC_FLAT_TAPS][2]; /* bytes from a row */
    const int32_t *lanes[DWC_FLAT_TAPS][2];
} dwc_dw_flat;

/* `tiles` tiles of outputs side by side, each a kernel's rows x columns, all channels of each in turn. */
typedef struct dwc_dw_run {
    const char *const
        *in; /* input rows: output row r sees in[r * row_stride] to in[r * row_stride + kernel_h - 1] */
    int kernel_h, row_stride;
    int rows;                /* output rows: one or two, of kernels that roll as many as `in` holds */
    int columns;             /* outputs of a tile that are stored */
    int64_t x, x_tap, x_out; /* from a row to tap 0 of output 0; from tap to tap; from output to output */
    int64_t x_tile, y_tile;  /* from tile to tile */
    char *y;                 /* output 0 of output row 0, first channel */
    int64_t y_row, y_out;    /* from row to row, from output to output */
    int64_t tiles;
    unsigned live; /* of a tile of a square window: bit j says that column j is on the image */
    int resumes;   /* y holds the sums of earlier kernel rows */
    /* Kernels whose vectors are cache lines: bytes from an input to the one to ask for meanwhile, or 0; and whether outputs,
     * which are whole lines then, go past the caches. */
    int64_t ahead;
    int streams;
    const dwc_dw_taps *taps; /* of any window */
    const dwc_dw_flat *flat; /* of few channels, or NULL: all inputs are inside */
    int64_t kernel_w;
    int64_t channel, channels;                     /* the first output channel, and how many */
    int64_t in_channels, group_inputs, multiplier; /* multiplier: outputs of a group */
    const float *weights; /* of the vector of channels that `channel` begins: see dwc_depthwise_stage */
    int64_t block,
        input_block;    /* floats from vector to vector; of its weights, from input to input of a group */
    int64_t kernel_row; /* kernel rows that come before those of this run */
    const float *last;  /* NULL, or weights of a last vector that overlaps the one before */
    float low, high;    /* the clamp that results are stored with */
    const dwconv_activation *activation; /* NULL, or what follows it */
} dwc_dw_run;

typedef void (*dwc_dw_function)(const dwc_dw_run *);

/* Tiles of a width: inside the image; where all of the padding that a window can see is on one side; where `live` is tested.
 * NULL: there is none. */
typedef struct dwc_dw_tiles {
    int columns;
    dwc_dw_function inner, left, right, tested;
} dwc_dw_tiles;

/* What tiles are for: depthwise without a multiplier, or groups of one input or of several, where a vector of outputs spreads
 * the inputs of its groups over its lanes. */
typedef enum dwc_dw_spreads {
    DWC_SPREADS_NONE = 0,
    DWC_SPREADS_ONE = 1,
    DWC_SPREADS_SOME = 2
} dwc_dw_spreads;

/* Square windows of a size and a stride, dense. */
typedef struct dwc_dw_kernel {
    int kernel, stride, spreads; /* of dwc_dw_spreads */
    dwc_dw_tiles tiles[3];       /* the first width is preferred; the third is chosen by the schedule alone */
    const char *name;
    int rolls; /* tiles take as many output rows as there are pointers for, else two */
} dwc_dw_kernel;

/* Any window: two output rows x `columns` outputs. */
typedef struct dwc_dw_any {
    int columns;
    dwc_dw_function
        rest[4]; /* by the taps of a kernel row modulo 4, 0 being the last; no padding on either side */
    /* The same for outputs one tap apart, whose inputs are loaded once; NULL: there are not enough registers. */
    dwc_dw_function shared[4];
    dwc_dw_function twins; /* the same for two rows that share no input row, none of which is padding */
    dwc_dw_function shared_twins; /* for outputs one tap apart, where there are few registers, or NULL */
    dwc_dw_function edge;         /* by dwc_dw_taps */
    dwc_dw_function lanes;        /* channels that are less than a vector */
    dwc_dw_function spread, broadcast, broadcast_inner; /* groups; whose outputs are whole vectors */
    dwc_dw_function scale;                              /* 1x1: a multiplication */
} dwc_dw_any;

/* Few channels with stride 1: a row of pixels is a row of vectors. `columns` of a tile are the lanes of its last vector that are
 * outputs of it; x_out and y_out go from vector to vector, and every input row has an output row, whose number is not bound. */
typedef struct dwc_dw_few {
    int vectors;                /* of a tile */
    dwc_dw_function one, three; /* kernel rows at a time */
    /* What vectors have beyond their pixels belongs to the next: activations come when a row is done. */
    void (*activate)(float *y, int64_t floats, int64_t rows, int64_t row_step,
                     const dwconv_activation *activation);
} dwc_dw_few;

/* ---- filter gradients ---------------------------------------------------------------------------------------------- */

enum { DWC_GRADIENT_ROWS = 8, DWC_GRADIENT_TAPS = 7, DWC_GRADIENT_COLUMNS = 8 };

/* Sums of products of inputs and output gradients, for some kernel rows and columns of a window: `tiles` tiles of output columns
 * side by side, all channels of each in turn, `rows` output rows of each together. */
typedef struct dwc_dw_gradient_run {
    /* The input row of kernel row r of output row o: in[o * (kernel rows) + r]; of kernels that roll in[o * stride + r]. NULL:
     * padding. */
    const char *const *in;
    int rows, columns;       /* columns of a tile that there are */
    int64_t x, x_tap, x_out; /* from a row to tap 0 of column 0; from tap to tap; from column to column */
    int64_t x_tile, dy_tile, tiles;
    const char *dy; /* column 0 of output row 0, first channel */
    int64_t dy_row, dy_out;
    int64_t x_ahead, dy_ahead; /* of kernels that roll: bytes to what to ask for meanwhile ... */
    int64_t x_to_dx;           /* ... and from x to what is written after, or 0 */
    unsigned live; /* of these: bits 0 and 1: the first and the last column of a tile are on the image */
    unsigned seen[DWC_GRADIENT_COLUMNS]; /* of others: bit k of [t]: tap k of column t is on the image */
    int64_t channel, channels;           /* the first output channel, and how many */
    const int32_t
        *inputs; /* of multipliers: the input channel of every output channel, and DWC_MOST_LANES more */
    float *sums; /* of tap 0 of kernel row 0, first channel; whole vectors are read and written */
    int64_t sums_tap, sums_row; /* floats from tap to tap, from kernel row to kernel row */
} dwc_dw_gradient_run;

typedef void (*dwc_dw_gradient_function)(const dwc_dw_gradient_run *);

/* Kernel rows x taps of a row, in tiles of so many columns, which are `stride` taps apart; 0: any steps. */
typedef struct dwc_dw_gradient_kernel {
    int rows, taps, columns, stride, spreads;
    int rolls; /* inner: padding is allowed above, below, in the first and in the last column */
    dwc_dw_gradient_function inner; /* no padding, all columns, all taps */
    dwc_dw_gradient_function edge;
    const char *name;
} dwc_dw_gradient_kernel;

/* ---- input gradients with stride 2 ----------------------------------------------------------------------------------- */

enum { DWC_BACK_ROWS = 4, DWC_BACK_COLUMNS = 8 }; /* blocks of a tile */

/* Blocks of 2x2 pixels of dx, `columns` side by side, so many rows of them: see depthwise_back.inc.h. */
typedef struct dwc_dw_back_run {
    const char *const *in; /* rows of dy: block row r sees in[r] and in[r + 1]; NULL: not on the image */
    char *const *out;      /* rows of dx: out[2 * r] and out[2 * r + 1]; NULL: not stored */
    int rows;
    int64_t columns;
    int64_t dy, dx; /* bytes from a row to the first pixel of the first block, channel 0 */
    int64_t dy_pixel, dx_pixel;
    int64_t ahead; /* bytes to what of dy to ask for meanwhile */
    unsigned seen,
        stored; /* at an edge: bits 0 and 1: the block's columns of dy are on the image, those of dx stored */
    int streams;          /* results, which are whole cache lines then, go past the caches */
    const float *weights; /* the filter, `tap` floats from tap to tap */
    int64_t tap;
    int64_t channel, channels; /* the first one, and how many */
} dwc_dw_back_run;

typedef struct dwc_dw_back_kernel {
    void (*inner)(const dwc_dw_back_run *); /* all columns are on the image, and stored */
    void (*edge)(const dwc_dw_back_run *);  /* one column */
    const char *name;
} dwc_dw_back_kernel;

#endif
