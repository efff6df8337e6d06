/* A block (separable convolution, inverted residual) and how it is run.
 *
 * One pass: a worker takes a band of output rows of an image and walks down it in chunks of a few rows:
 *
 *     input rows --expand--> ring of expanded rows --depthwise--> chunk --project (+ input)--> output rows
 *
 * The ring keeps the rows that the next chunk needs again, so that no row of a band is expanded twice. Without
 * an expansion the depthwise stage reads the input itself. A band too wide for scratch is walked down several times,
 * a part of its columns each time; inputs that two parts see are expanded for both.
 *
 * Two passes: the first one computes what depthwise gives for a whole image, in bands of rows or in slices of
 * channels; the second one projects it. Squeeze-and-excite needs its sums before the first pixel is scaled; workers
 * that share a low image share its channels, where bands of few rows would expand so many rows twice that waiting for
 * each other is cheaper; and where one pass has room for few pixels at a time, it would read all weights again for them. */
#ifndef DWCONV_BLOCK_H
#define DWCONV_BLOCK_H

#include "graph/graph.h"
#include "schedule/depthwise.h"

typedef struct dwc_block {
    dwc_chain chain;
    const dwc_kernel_table *table;
    dwc_view x, y;
    dwc_extent extent; /* of the depthwise stage */
    int sequence;      /* a column, of which the depthwise kernel gets stretches as rows */
    int add_residual;
    int far_y;          /* the projection asks for its outputs ahead of time */
    double nanoseconds; /* estimate for one worker */
    int workers;        /* that share the call */
    int sharing;        /* that share an image: all of them, or 1, where each takes images of its own */

    int passes;
    int cramped; /* sliced since one pass has room for few pixels at a time */
    int keeps;   /* two passes: the first one's result stays, else the second one repeats it */
    /* Squeeze-and-excite scales pixels where they lie, if no other worker's depthwise gave them, whose lines it would
     * take: 28x28 40 -> 120 -> 40, 5x5, takes 226 us on one thread instead of 230 (Zen 3), on two 3 % more. */
    int scales_apart;
    int64_t bands, band_rows; /* of output rows */
    int64_t columns;          /* of output, with which a band is walked down: all, or near-equal parts */
    int64_t slices, slice_channels; /* of the channels of depthwise: all, but in the first of two passes */
    int64_t share_channels, share_slices; /* of a worker; slices differ, slice_channels is the most */
    int64_t slice_unit, slice_step; /* slices of a share are steps apart, and begin at whole units: panels */
    int64_t parts, part_rows;       /* of the second of two passes, in rows of row_pixels */
    int64_t gate_parts;             /* of squeeze-and-excite's dense layers */
    int64_t row_pixels; /* 1: a dense image is a column of single pixels, which parts cut anywhere */

    int64_t ring_rows, chunk_rows, step_rows; /* step: of a part */
    int64_t ring_pixel, chunk_pixel;          /* floats from pixel to pixel in scratch */
    /* Scratch: a ring and a chunk for every worker, then for every image at work, where there are two passes, the
     * output of depthwise (if it stays) and with squeeze-and-excite the sum of each row and two vectors. */
    int64_t ring_floats, worker_floats, hidden_floats, image_floats;
    dwc_dw_schedule how; /* of depthwise, for the widest columns and slices */
    float *scratch;
} dwc_block;

/* Sets the chain of a block whose x and y are set. A sequence that is a row becomes a column, with its depthwise stage in
 * `turned`: workers and chunks share it as rows. */
DWC_HIDDEN void dwc_begin_block(dwc_block *b, const dwconv_plan *plan, dwc_depthwise_stage *turned);
/* Decides all of b but its scratch from its chain, x and y, and how much scratch that takes. */
DWC_HIDDEN dwconv_status dwc_cut_block(dwc_block *b, const dwconv_threads *threads, size_t *scratch_bytes);
/* Nanoseconds that the cost model estimates for one worker. */
DWC_HIDDEN double dwc_block_nanoseconds(const dwc_block *b);
/* What sharing must be worth: to be compared with a layer's estimate. */
DWC_HIDDEN double dwc_worth_sharing(const dwc_block *b, int64_t workers);
/* Whether workers that share an image get channels of it, not rows. */
DWC_HIDDEN int dwc_slices_pay(const dwc_block *b, int64_t workers);
/* Their shares are of whole units. */
DWC_HIDDEN int64_t dwc_share_unit(const dwc_block *b);
/* The first channel of a slice, which is the end of the one before; a slice may be empty. */
DWC_HIDDEN int64_t dwc_slice_begin(const dwc_block *b, int64_t slice);
/* Images at work at the same time in two passes. */
DWC_HIDDEN int64_t dwc_block_images(const dwc_block *b);

#endif
