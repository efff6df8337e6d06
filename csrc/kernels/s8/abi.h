/* The contract between walks and the kernels of 8-bit integers: a kernel is told everything and decides nothing.
 *
 * Bytes in memory are the numbers of a tensor, int8 or uint8. An instruction set multiplies bytes of one kind,
 * signed or unsigned, by signed weights (dwc_s8_kernels.is_signed); bytes of the other kind it flips as it reads
 * them, by `flip`, which adds or takes away 128. Padding is filled with the zero point, never skipped: so what a
 * sum starts from,
 *
 *     start[c] = bias[c] - (zero point as the kernel sees it) * (sum of the weights of c)
 *
 * is the same at every position (csrc/graph/pack_s8.c). Sums are exact, so all instruction sets give the same bits.
 * All steps are in bytes. No kernel touches a byte that it was not told of, but for what is said of lines. */
#ifndef DWCONV_KERNELS_S8_ABI_H
#define DWCONV_KERNELS_S8_ABI_H

#include <stdint.h>

/* What becomes of a sum: clamp(round(sum * multiplier) + zero_point), all of it in float32 and halves to even:
 * docs/int8 has the formula. Bounds and zero point are numbers of the output's dtype, -128 <= low <= high <= 255. */
typedef struct dwc_s8_end {
    int32_t zero_point, low, high;
    int fits; /* no sum times its multiplier reaches 2^31, as where no multiplier exceeds 1; else 0, which is slower */
    int sums; /* outputs are the sums, int32, and nothing of the above is looked at */
} dwc_s8_end;

/* ---- matrices -------------------------------------------------------------------------------------- */

/* A piece of what a pixel sees: so many bytes from `offset` on of a tap of a kernel row. Rounded up to four they are
 * multiplied by as many weights. */
typedef struct dwc_s8_run {
    int64_t row, tap, offset, bytes;
} dwc_s8_run;

/* Output channels that are computed together: where their weights begin, in bytes, and their runs, in that order. */
typedef struct dwc_s8_panel {
    int64_t weights, first_run, runs;
} dwc_s8_panel;

enum { DWC_S8_WORD = 4 }; /* bytes that are multiplied together */

/* `pixels` outputs a constant step apart, times `columns` output channels. */
typedef struct dwc_s8_mm_call {
    const uint8_t *const *rows; /* of the first pixel: the first tap of each kernel row */
    int64_t a_pixel, a_tap;     /* from pixel to pixel, from tap to tap of a row */
    int64_t pixels;
    uint8_t flip; /* 0 or 0x80, on inputs */
    int reads_on; /* bytes beyond runs may be read, to whole words: they meet weights of 0 */
    /* Of a stage or group: see dwc_s8_pack_matrix; starts and multipliers are `padded`. */
    const dwc_s8_panel *panels;
    const dwc_s8_run *runs;
    const void *weights;
    const int32_t *start;
    const float *multipliers;
    int64_t panel, padded, columns; /* output channels: of a full panel, of all of them, that are stored */
    void *y;
    int64_t y_pixel;
    dwc_s8_end end;
} dwc_s8_mm_call;

/* ---- depthwise -------------------------------------------------------------------------------------- */

/* A line: two rows of an image, interleaved: [column][channel][row]. Two lines make four rows, so that a vector
 * of dot products takes four taps of a kernel column at once. Columns of padding are part of a line. Kernels may
 * read and write DWC_S8_SLACK bytes beyond it. */
enum { DWC_S8_SLACK = 256 };

typedef struct dwc_s8_interleave {
    const uint8_t *rows[2];       /* NULL: a row of padding */
    int64_t pixel;                /* from column to column */
    int64_t left, columns, right; /* columns of padding, of the image, of padding */
    int64_t channels;
    uint8_t fill, flip; /* the zero point as it is in memory; 0 or 0x80 */
    uint8_t *line;
    int64_t pitch; /* from column to column, at least 2 * channels */
} dwc_s8_interleave;

/* What a dot product sees of a channel: four rows of a column, of two lines; or two rows of two columns, where both
 * are the same line and the second one begins a column further. What is no tap has a weight of 0. */
typedef struct dwc_s8_pass {
    const uint8_t *lines[2]; /* at the first dot product of output 0 */
    int64_t taps, x_tap;     /* dot products along a row, bytes from one to the next */
} dwc_s8_pass;

/* Outputs of a row, or of two that see the same passes. */
typedef struct dwc_s8_dw_run {
    const dwc_s8_pass *passes;
    int count; /* of passes */
    int rows;  /* of output, 1 or 2 */
    int sets;  /* of weights of each dot product, as many as rows or one more */
    int64_t kernel_w;
    int64_t x_tap, x_out;   /* from column to column of a window, from output to output: in a line */
    int64_t columns;        /* outputs of a row */
    int64_t x_back, y_back; /* the last one lies so many bytes before its place: it overlaps the one before */
    /* Output channels, the first one counted from the first channel of the lines. It is the begin of a group of
     * channels; the last group ends where the channels do, and overlaps the one before, if there is one. */
    int64_t channel, channels, multiplier;
    const uint8_t
        *weights; /* of the group of the first channel, and `block` on of the next: dwc_s8_pack_depthwise */
    int64_t block;
    uint8_t *y; /* output 0 of row 0, the first channel */
    int64_t y_row, y_out;
    dwc_s8_end end;
} dwc_s8_dw_run;

/* ---- an instruction set --------------------------------------------------------------------------------- */

typedef struct dwc_s8_kernels {
    int is_signed;  /* bytes are multiplied as int8, else as uint8 */
    int lanes;      /* channels of a vector of sums; depthwise takes them in groups of two vectors */
    int quad_bytes; /* of four weights as the kernels read them: 4, or 8 for 16-bit numbers, even ones first */
    int panel_unit;  /* widths of panels are multiples of this */
    int panel_width; /* the widest */
    void (*matrix)(const dwc_s8_mm_call *);
    void (*interleave)(const dwc_s8_interleave *);
    void (*depthwise)(const dwc_s8_dw_run *);
    const char *matrix_name, *depthwise_name;
} dwc_s8_kernels;

#endif
