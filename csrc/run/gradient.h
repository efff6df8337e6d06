/* Filter gradients: what the walks of depthwise convolutions and of products of pixels share. */
#ifndef DWCONV_RUN_GRADIENT_H
#define DWCONV_RUN_GRADIENT_H

#include "../schedule/schedule_gradient.h"
#include "parallel.h"

typedef struct dwc_gradient_job {
    const dwc_gradient *g;
    const dwc_view *x, *y; /* y: the gradient of the output; x NULL: of the bias alone */
    dwc_extent extent;
    dwc_filter_gradient_schedule how;
    float *filter, *bias; /* results; NULL: not wanted */
    float *chunks;        /* for each: the filter's sums, the bias' sums, a row for sums */
    float *workers;       /* memory of workers */
    int32_t *inputs;      /* of multipliers: see dwc_dw_gradient_run */
} dwc_gradient_job;

static inline float *dwc_chunk_sums(const dwc_gradient_job *j, int64_t chunk) {
    return j->chunks + chunk * (j->how.chunk_floats + 2 * j->how.bias_floats);
}

/* Evenly spaced pixels of a view from a flat pixel on: how many, at most `most`, and where. */
static inline int64_t dwc_stretch(const dwc_view *v, int64_t pixel, int64_t most, const float **at) {
    const int64_t column = pixel % v->width, row = pixel / v->width % v->height,
                  image = pixel / v->width / v->height;
    const int whole_rows = v->height == 1 || v->row == v->width * v->pixel;
    const int whole = whole_rows && (v->batch == 1 || v->image == v->height * v->width * v->pixel);
    *at = v->data + image * v->image + row * v->row + column * v->pixel;
    return whole ? most : smaller(most, v->width - column);
}

/* run_filter_gradient.c: adds pixels, `step` floats apart, to the bias' sums of a chunk. */
DWC_HIDDEN void dwc_add_bias(const dwc_gradient_job *j, int64_t chunk, const float *dy, int64_t step,
                             int64_t pixels, int64_t channel, int64_t channels);
/* y += x, `count` floats of each of so many rows. */
DWC_HIDDEN void dwc_add_rows(const dwc_gradient *g, float *y, int64_t y_row, const float *x, int64_t x_row,
                             int64_t rows, int64_t count);

/* The sums of one chunk, for output channels [begin, end), in a group where it is a product. */
DWC_HIDDEN void dwc_depthwise_gradient(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end);
DWC_HIDDEN void dwc_product_gradient(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end,
                                     int worker);

#endif
