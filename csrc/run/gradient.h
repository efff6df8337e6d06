/* Gradients: what the walks of depthwise convolutions, of products of pixels, and of both gradients at once share. */
#ifndef DWCONV_RUN_GRADIENT_H
#define DWCONV_RUN_GRADIENT_H

#include "../schedule/schedule_gradient.h"
#include "run.h"

/* The input gradient in bands of rows. */
typedef struct dwc_dx_job {
    const dwc_gradient *g;
    const dwc_view *dx, *dy;
    dwc_extent extent;
    dwc_input_gradient_schedule how;
    const float *filter;
    char *plans;
    dwc_dx_phase *phases; /* row by row */
} dwc_dx_job;

/* Packs the plans of all phases in scratch, and where they may go in bands, decides how, so many channels at a time. */
DWC_HIDDEN void dwc_begin_phases(dwc_dx_job *j, const float *filter, void *scratch, int64_t channels);
/* Rows [begin, end) of an image of dx, all phases: so many of its channels. */
DWC_HIDDEN void dwc_run_band(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end,
                             int64_t channel_begin, int64_t channel_end);

/* run_back.c: the same by a kernel that needs no phases. */
DWC_HIDDEN void dwc_run_back(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end,
                             int64_t channel_begin, int64_t channel_end);

typedef struct dwc_gradient_job {
    const dwc_gradient *g;
    const dwc_view *x, *y; /* y: the gradient of the output; x NULL: of the bias alone */
    dwc_extent extent;
    dwc_filter_gradient_schedule how;
    const dwc_dx_job
        *input; /* both gradients in one walk: of so many output rows, then the rows of dx; or NULL */
    int64_t band_rows;
    float *filter, *bias; /* results; NULL: not wanted */
    float *chunks;        /* for each: the filter's sums, the bias' sums, a row for sums */
    float *workers;       /* memory of workers */
    int32_t *inputs;      /* of multipliers: see dwc_dw_gradient_run */
} dwc_gradient_job;

static inline float *dwc_chunk_sums(const dwc_gradient_job *j, int64_t chunk) {
    return j->chunks + chunk * (j->how.chunk_floats + 2 * j->how.bias_floats);
}

/* Evenly spaced pixels of a view from a flat pixel on: how many, at most `most`, and where. */
static inline int64_t dwc_even_pixels(const dwc_view *v, int64_t pixel, int64_t most, const float **at) {
    const int64_t column = pixel % v->width, row = pixel / v->width % v->height,
                  image = pixel / v->width / v->height;
    const int whole_rows = v->height == 1 || v->row == v->width * v->pixel;
    const int whole = whole_rows && (v->batch == 1 || v->image == v->height * v->width * v->pixel);
    *at = v->data + image * v->image + row * v->row + column * v->pixel;
    return whole ? most : smaller(most, v->width - column);
}

/* run_filter_gradient.c. What results are checked for: that they meet neither each other nor what is read. */
DWC_HIDDEN dwconv_status dwc_check_results(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                           const float *filter, const float *bias, const void *scratch,
                                           size_t scratch_bytes);
/* Runs what is described, in scratch for j->how. */
DWC_HIDDEN void dwc_run_filter_gradient(dwc_gradient_job *j, void *scratch, const dwconv_threads *threads);

/* Adds pixels, `step` floats apart, to the bias' sums of a chunk. */
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
