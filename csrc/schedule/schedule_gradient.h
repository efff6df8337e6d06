/* How gradients are computed. A chunk is a part of the pixels that sums run over: it depends on shapes and instruction
 * set alone, so that results do not depend on threads. */
#ifndef DWCONV_SCHEDULE_GRADIENT_H
#define DWCONV_SCHEDULE_GRADIENT_H

#include "../graph/gradient.h"
#include "schedule.h"

/* ---- input gradients ------------------------------------------------------------------------ */

typedef struct dwc_input_gradient_schedule {
    int workers;
    int by_image; /* all phases of an image before the next one, images being the items; else phase by phase */
    int64_t row_phases, column_phases;
    size_t flipped_bytes, scratch_bytes; /* scratch: a flipped filter, then the plans of all phases */
} dwc_input_gradient_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_input_gradient(const dwc_gradient *g, const dwc_view *x,
                                                     const dwc_view *y, const dwconv_threads *threads,
                                                     dwc_input_gradient_schedule *s);

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
    /* A product: transposed inputs so many at a time, `pitch` floats apart; panels of output gradients. */
    dwc_matmul_stage stage;
    int64_t block_rows, pitch, panel_floats, result_floats, worker_floats;
    size_t scratch_bytes;
} dwc_filter_gradient_schedule;

/* x NULL: of the bias alone. */
DWC_HIDDEN dwconv_status dwc_schedule_filter_gradient(const dwc_gradient *g, const dwc_view *x,
                                                      const dwc_view *y, const dwconv_threads *threads,
                                                      int with_bias, dwc_filter_gradient_schedule *s);

/* ---- batch normalization -------------------------------------------------------------------- */

/* Pixels, counted through rows and images, go in blocks that stay in the second-level cache while they are read twice.
 * Chunks of consecutive blocks have sums of their own, [4][padded] floats; items are chunks, in parts of channels. */
typedef struct dwc_batch_norm_schedule {
    int workers;
    int64_t pixels, block, chunk, chunks; /* pixels of a block, of a chunk; chunks */
    int64_t parts, part_channels, padded; /* of channels; channels rounded up */
    size_t scratch_bytes;
} dwc_batch_norm_schedule;

/* `tensors`: how many are read and written, each time. */
DWC_HIDDEN dwconv_status dwc_schedule_batch_norm(const dwc_view *x, int tensors,
                                                 const dwconv_threads *threads, dwc_batch_norm_schedule *s);
/* Whether results go past the caches. */
DWC_HIDDEN int dwc_batch_norm_streams(const dwc_batch_norm *n, const dwc_view *y);

#endif
