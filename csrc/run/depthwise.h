/* The depthwise walk: an image, a ring of rows or a sequence -> rows of pointers -> micro-kernels. */
#ifndef DWCONV_RUN_DEPTHWISE_H
#define DWCONV_RUN_DEPTHWISE_H

#include "../schedule/schedule.h"

/* Output rows [row_begin, row_end) of one image, output channels [channel_begin, channel_end): channel_begin is a multiple of
 * the lanes, channel_end too or the end. Strides are in bytes. Input row iy lies at slot iy % ring_rows. */
typedef struct dwc_dw_call {
    const dwc_depthwise_stage *stage;
    const dwc_kernel_table *table;
    const dwc_dw_schedule *how;
    const char *x; /* slot 0, column 0, channel 0 */
    int64_t x_row, x_pixel, in_h, in_w, ring_rows;
    char *y; /* row row_begin, column 0, channel 0 */
    int64_t y_row, y_pixel, out_w;
    int64_t pad_top, pad_left;
    int64_t row_begin, row_end, channel_begin, channel_end;
} dwc_dw_call;

DWC_HIDDEN void dwc_run_depthwise(const dwc_dw_call *call);

/* The call for outputs [begin, end) of a column x, padded by `pad` at its top, as a row; `from` is where its pixel
 * `held` lies, and `along` has a window of one row. The caller adds the table, the schedule, y, y_pixel and the channels. */
DWC_HIDDEN dwc_dw_call dwc_stretch(const dwc_depthwise_stage *along, const dwc_view *x, const float *from,
                                   int64_t held, int64_t pad, int64_t begin, int64_t end);

/* A dense problem: the outputs of a call that see the same inputs, which with a dilation are every d-th row and column. Steps
 * are in bytes; rows and columns count in this problem. */
typedef struct dwc_dw_image {
    const dwc_dw_call *call;
    const char *x; /* slot 0, first column, channel 0 or, if there is no multiplier, the first one computed */
    int64_t x_row, ring_rows;    /* of the call */
    int64_t row_first, row_step; /* row i of this image is row row_first + i * row_step of the call's */
    int64_t in_h, x_pixel, in_w;
    char *y; /* output row 0, column 0, first channel computed */
    int64_t y_row, y_pixel, out_h, out_w;
    int64_t pad_top, pad_left, stride_h, stride_w;
    int64_t dilation_w; /* not 1 where columns are not told apart */
    int64_t channel, channels;
    const float *weights, *last;
} dwc_dw_image;

/* Columns of an image that go through the same functions. */
typedef struct dwc_dw_columns {
    dwc_dw_run run;
    dwc_dw_taps taps;
    dwc_dw_function some, whole; /* whole: for rows of which none is padding and all are stored */
    dwc_dw_function lanes;       /* NULL, or for the channels that those leave out */
    int doubled;                 /* a sequence: two stretches of the only row as two rows */
    int tile;                    /* columns of a tile whose outputs may go past the caches, else 0 */
    int vectors;                 /* rows of vectors: for the kernels of few channels */
} dwc_dw_columns;

enum { DWC_COLUMN_RUNS = 16 };

/* The columns of an image, cut from `next` on into as many runs as there is room for. */
typedef struct dwc_dw_cut {
    int count;
    int64_t begin, next; /* output columns; next is out_w where all are cut */
    int vectors;         /* whether some go as rows of vectors, and which */
    int64_t vectors_begin, vectors_end;
    dwc_dw_flat flat[3]; /* the tiles at both ends of these, which see padding */
    int flats, full;     /* how many of these; no room for more runs */
    int32_t flat_lanes[6 * DWC_MOST_LANES];
    dwc_dw_columns runs[DWC_COLUMN_RUNS];
} dwc_dw_cut;

DWC_HIDDEN void dwc_cut_columns(const dwc_dw_image *image, dwc_dw_cut *cut);

#endif
