/* How depthwise convolution is computed: which kernels, on which rows. */
#ifndef DWCONV_SCHEDULE_DEPTHWISE_H
#define DWCONV_SCHEDULE_DEPTHWISE_H

#include "../graph/graph.h"
#include "machine.h"

typedef enum dwc_dw_way {
    DWC_BY_TILES = 0, /* of a square window; columns that fit none of them as below */
    DWC_BY_WINDOW,    /* tiles of any window */
    DWC_BY_VECTORS,   /* few channels: rows of pixels as rows of vectors */
    DWC_BY_FACTOR     /* 1x1: a multiplication */
} dwc_dw_way;

/* Which body of "any window" outputs are computed with that no tile of a square window has. */
typedef enum dwc_dw_body {
    DWC_APART = 0, /* every output loads its inputs */
    DWC_SHARED,    /* neighbouring outputs are one tap apart: an input is loaded once for all of them */
    DWC_SPREAD,    /* multipliers: inputs spread over the lanes of a vector */
    DWC_BROADCAST  /* multipliers of whole vectors: one input for all lanes */
} dwc_dw_body;

typedef struct dwc_dw_schedule {
    dwc_dw_way way;
    dwc_dw_body body;
    int twins; /* two output rows that share no input row: the body that takes one kernel row of both at a time */
    int doubled;    /* a single row: two stretches of it go as two rows */
    int neighbours; /* outputs of a tile are neighbours although a dilation is between their taps */
    /* Input rows are copied, so many channels and output columns at a time, to where their pixels are an odd
     * number of cache lines apart; 0: they are not. */
    int64_t copied_channels, copied_columns;
    int64_t rows_ahead; /* of input, that tiles ask for before they are used; 0: none */
    int streams;        /* outputs go past the caches */
    int64_t
        columns; /* of all tiles: lines of wider ones share too few sets of the first-level cache; 0: any */
} dwc_dw_schedule;

/* What a call of the depthwise walk looks like, for the decision. Strides in bytes. */
typedef struct dwc_dw_shape {
    const dwc_machine *machine;
    int sequence;         /* a column, of which stretches go as rows */
    dwconv_window window; /* of a sequence */
    int64_t in_h, in_w, out_h, out_w, pad_top, pad_left;
    int64_t x_pixel, y_pixel, channels; /* channels: of a call */
    int ring;                           /* the input is a ring of rows in scratch */
    double in_bytes, moved_bytes;       /* input, and input and output, of the operation */
    double stream_bytes;                /* outputs of so many may go past the caches */
    int64_t rows_ahead;                 /* what to ask for ahead of time, if anything */
    int aligned;                        /* outputs are made of whole and aligned cache lines */
} dwc_dw_shape;

DWC_HIDDEN dwc_dw_schedule dwc_schedule_depthwise(const dwc_depthwise_stage *stage,
                                                  const dwc_kernel_table *table, const dwc_dw_shape *shape);

/* Columns [begin, end) of few channels in tiles of `width` output columns, whose vectors begin `apart` pixels from
 * each other; width 0: there are none. */
typedef struct dwc_few_columns {
    int64_t begin, end, width, apart;
} dwc_few_columns;

DWC_HIDDEN dwc_few_columns dwc_columns_of_few(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                              int64_t in_w, int64_t out_w, int64_t pad_left);

/* What a schedule is called in explanations, and its body. */
DWC_HIDDEN const char *dwc_dw_way_text(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                       const dwc_dw_schedule *schedule);
DWC_HIDDEN const char *dwc_dw_body_text(const dwc_dw_schedule *schedule);

#endif
