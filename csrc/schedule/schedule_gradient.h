/* How gradients are computed. A chunk is a part of the pixels that sums run over: it depends on shapes and instruction
 * set alone, so that results do not depend on threads. */
#ifndef DWCONV_SCHEDULE_GRADIENT_H
#define DWCONV_SCHEDULE_GRADIENT_H

#include "../graph/gradient.h"
#include "schedule.h"

/* ---- input gradients ------------------------------------------------------------------------ */

/* A phase as bands of rows walk it. */
typedef struct dwc_dx_phase {
    dwc_phase_axis rows, columns;
    const dwconv_plan *plan; /* NULL: no tap meets its pixels, which are 0 */
    dwc_frame frame;         /* from dy to dx */
    dwc_dw_schedule how;
} dwc_dx_phase;

/* A kernel may need no phases. Depthwise phases go through dx in bands of rows, all phases of a band before the next one, so that what they read of
 * dy stays in the second-level cache; items are bands of images. A single phase and products run as layers do. */
typedef struct dwc_input_gradient_schedule {
    int workers;
    int depthwise;                  /* all phases are, and none is a sequence: they can go in bands ... */
    const dwc_dw_back_kernel *back; /* a kernel that needs no phases, or NULL */
    int streams;                    /* what it gives goes past the caches */
    int64_t band_rows;              /* ... of so many rows of dx; 0: they do not */
    int by_image; /* all phases of an image before the next one, images being the items; else phase by phase */
    int64_t row_phases, column_phases;
    /* Scratch: a flipped filter, the plans of all phases, and of depthwise ones a dwc_dx_phase each. */
    size_t flipped_bytes, plan_bytes, scratch_bytes;
} dwc_input_gradient_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_input_gradient(const dwc_gradient *g, const dwc_view *x,
                                                     const dwc_view *y, const dwconv_threads *threads,
                                                     dwc_input_gradient_schedule *s);
/* Of a phase that has taps, in bands, so many channels at a time; the rest of `phase` is set. */
DWC_HIDDEN void dwc_schedule_phase(const dwc_gradient *g, int64_t channels, dwc_dx_phase *phase);

/* ---- filter gradients ----------------------------------------------------------------------- */

/* The sums of chunks lie in scratch, one after another, each [taps of the filter, and spare][padded] floats. */
typedef struct dwc_filter_gradient_schedule {
    int depthwise; /* else a product of pixels */
    int workers;
    /* Depthwise: chunks of output rows, counted through all images. A product: boxes of so many images, rows and columns
     * of output, or where it is flat, of so many pixels one after another; and chunks of consecutive boxes. */
    int flat;
    int64_t chunks, chunk_rows;
    int64_t images, rows, columns, boxes_down, boxes_across, boxes, chunk_boxes;
    int64_t blocks, block_channels;              /* of output channels; of a group, for a product */
    const dwc_dw_gradient_kernel *kernel, *rest; /* rest: of the kernel rows that are left over */
    int64_t row_group;                           /* output rows that a tile takes together */
    int64_t padded,
        chunk_floats;    /* of the filter's sums: a row of them, all of a chunk; 0: they go to their place */
    int64_t bias_floats; /* of the bias' sums of a chunk */
    /* A product: output gradients of so many channels are packed at a time, in panels; transposed inputs so many at a time,
     * `pitch` floats apart. */
    int64_t piece_channels, block_rows, pitch, panel_floats, result_floats, worker_floats;
    size_t scratch_bytes;
} dwc_filter_gradient_schedule;

/* x NULL: of the bias alone. */
DWC_HIDDEN dwconv_status dwc_schedule_filter_gradient(const dwc_gradient *g, const dwc_view *x,
                                                      const dwc_view *y, const dwconv_threads *threads,
                                                      int with_bias, dwc_filter_gradient_schedule *s);

/* ---- both --------------------------------------------------------------------------------------- */

/* Of a convolution: which gradients beside the filter's, and whether dy is what a normalization behind it makes. */
typedef struct dwc_gradient_wish {
    int bias, input, normalized;
} dwc_gradient_wish;

/* Both gradients in one walk. Of a depthwise layer: chunks of output rows in bands, of which x and dy are read by the
 * filter gradient and, while they stay in the second-level cache, dy by the rows of dx that begin in the band. Of a flat
 * product: boxes of pixels. What a normalization makes of dy is made for a band or box at a time, in memory of the
 * worker. */
typedef struct dwc_both_gradients_schedule {
    int joint;         /* else one after the other; what is made is made whole before */
    int64_t band_rows; /* of output */
    dwc_input_gradient_schedule input;
    dwc_filter_gradient_schedule filter;
    int64_t made_floats; /* of a worker; or of all that is made whole */
    /* Where the parts of the scratch begin: the input's at 0. */
    size_t filter_at, made_at, scratch_bytes;
} dwc_both_gradients_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_both_gradients(const dwc_gradient *g, const dwc_view *x,
                                                     const dwc_view *y, const dwconv_threads *threads,
                                                     dwc_gradient_wish wish, dwc_both_gradients_schedule *s);
/* Rows [*first, *last) of y: output rows [oy, oy + rows), and those that rows of dx see which begin in them. */
DWC_HIDDEN void dwc_rows_of_band(const dwc_gradient *g, const dwc_extent *extent, int64_t height, int64_t oy,
                                 int64_t rows, int64_t *first, int64_t *last);
/* The first row of dx of the band that begins with output row oy: 0 for the first one, all rows for the end. */
DWC_HIDDEN int64_t dwc_band_begin(const dwc_gradient *g, const dwc_extent *extent, int64_t height,
                                  int64_t oy);

/* ---- batch normalization -------------------------------------------------------------------- */

/* Pixels, counted through rows and images, go in blocks that stay in the second-level cache while they are read twice.
 * Chunks of consecutive blocks have sums of their own, [4][padded] floats; items are chunks, in parts of channels. */
typedef struct dwc_batch_norm_schedule {
    int workers;
    int64_t pixels, block, chunk, chunks; /* pixels of a block, of a chunk; chunks */
    int64_t parts, part_channels, padded; /* of channels; channels rounded up */
    size_t scratch_bytes;
} dwc_batch_norm_schedule;

/* Tensors that are read and written, each time: twice x, once y; twice x and dy, once dx. */
enum { DWC_NORM_TENSORS = 3, DWC_NORM_GRADIENT_TENSORS = 5 };

DWC_HIDDEN dwconv_status dwc_schedule_batch_norm(const dwc_view *x, int tensors,
                                                 const dwconv_threads *threads, dwc_batch_norm_schedule *s);
/* Whether results go past the caches. */
DWC_HIDDEN int dwc_batch_norm_streams(const dwc_batch_norm *n, const dwc_view *y);

#endif
