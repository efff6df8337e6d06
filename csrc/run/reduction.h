/* Reductions over any axes, as floats and bytes are walked. An axis whose elements follow each other goes innermost: kept,
 * it is the channels of pixels that are reduced side by side; reduced, it is a run of numbers. Where there is none, pixels
 * have one channel. */
#ifndef DWCONV_REDUCTION_H
#define DWCONV_REDUCTION_H

#include "axes.h"

enum { DWC_REDUCE_X, DWC_REDUCE_Y };

typedef struct dwc_reduction {
    dwc_axes kept, reduced; /* but those that follow; of `reduced` steps of y are 0 */
    int64_t run;            /* of numbers that are reduced, or 0: the last axis is kept, that of channels */
    int64_t rows, x_row, columns, x_column, channels; /* of a grid of pixels that is reduced to one */
    int64_t y_channel;                                /* step of channels in y */
    int64_t blocks;                                   /* of channels */
    int64_t taken;                                    /* values that become one */
} dwc_reduction;

DWC_HIDDEN dwc_reduction dwc_reduction_of(const dwc_array *x, const dwc_array *y);
/* What is reduced at once. Of runs: `rows` results along an axis. Of grids: `channels` of a pixel. */
typedef struct dwc_reduced_part {
    int64_t x, y; /* elements from the beginning of the tensors */
    dwc_axis along;
    int64_t rows, channels;
} dwc_reduced_part;

/* The part that begins with unit *i, which becomes the one after it, not beyond `end`. */
DWC_HIDDEN dwc_reduced_part dwc_next_reduced(const dwc_reduction *r, int64_t *i, int64_t end);

/* Function and shapes of a REDUCE node. */
DWC_HIDDEN dwconv_status dwc_check_reduction(const dwc_node_call *call);

#endif
