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
    dwc_dx_phase *phases;   /* row by row */
    dwc_mm_schedule matrix; /* of dwc_run_flat_pixels */
} dwc_dx_job;

/* Packs the plans of all phases in scratch, and where they may go in bands, decides how, so many channels at a time. */
DWC_HIDDEN void dwc_begin_phases(dwc_dx_job *j, const float *filter, void *scratch, int64_t channels);
/* Pixels [first, first + count) of dx where it is a product that does not care where rows and images end. */
DWC_HIDDEN void dwc_run_flat_pixels(const dwc_dx_job *j, int64_t first, int64_t count);
/* Rows [begin, end) of an image of dx, all phases: so many of its channels. */
DWC_HIDDEN void dwc_run_band(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end,
                             int64_t channel_begin, int64_t channel_end);

/* run_back.c: the same by a kernel that needs no phases. */
DWC_HIDDEN void dwc_run_back(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end,
                             int64_t channel_begin, int64_t channel_end);

/* ---- batch normalization (run_batch_norm.c) ------------------------------------------------- */

typedef struct dwc_norm_job {
    const dwc_batch_norm *n;
    const dwc_view *x, *dy, *y; /* dy NULL: forward; y: the result or dx, NULL: none */
    dwc_batch_norm_schedule how;
    const float *gamma, *beta;
    float *mean, *variance; /* written where they are to be found */
    float *dgamma, *dbeta;
    float *factor, *offset, *slope, *constant; /* of every channel, in scratch */
    int streams;                               /* whether y goes past the caches */
    float *chunks;                             /* of each DWC_NORM_ROWS rows of sums */
} dwc_norm_job;

/* Checks the tensors, channels and scratch of a gradient, and schedules it; dx may be NULL. */
DWC_HIDDEN dwconv_status dwc_begin_norm_gradient(dwc_norm_job *j, void *scratch, size_t scratch_bytes,
                                                 const dwconv_threads *threads);
/* dgamma and dbeta, what dx is made with, and dx where there is one. */
DWC_HIDDEN void dwc_run_norm_gradient(dwc_norm_job *j, const dwconv_threads *threads);
/* dx of pixels [first, first + pixels), counted through rows and images, and channels [begin, end): pixel `first` at
 * `to`, and `step` floats from pixel to pixel. After dwc_run_norm_gradient. */
DWC_HIDDEN void dwc_make_norm_gradient(const dwc_norm_job *j, int64_t first, int64_t pixels, int64_t begin,
                                       int64_t end, float *to, int64_t step);

/* ---- filter gradients ----------------------------------------------------------------------- */

typedef struct dwc_gradient_job {
    const dwc_gradient *g;
    const dwc_view *x, *y; /* y: the gradient of the output; x NULL: of the bias alone */
    const dwc_norm_job
        *norm; /* y is made by it, of what is read at the time, in memory of the worker; or NULL */
    dwc_extent extent;
    dwc_filter_gradient_schedule how;
    const dwc_dx_job *input; /* both gradients in one walk; or NULL */
    int64_t band_rows;       /* of output, of a depthwise layer in that walk; then come the rows of dx */
    float *filter, *bias;    /* results; NULL: not wanted */
    float *chunks;           /* for each: the filter's sums, the bias' sums, a row for sums */
    float *workers;          /* memory of workers */
    float *made;             /* of each, what of y is made at a time: made_floats */
    int64_t made_floats;
    int32_t *inputs; /* of multipliers: see dwc_dw_gradient_run */
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

/* run_filter_gradient.c. Runs what is described, in scratch for j->how. */
DWC_HIDDEN void dwc_run_filter_gradient(dwc_gradient_job *j, void *scratch, const dwconv_threads *threads);

/* Adds pixels, `step` floats apart, to the bias' sums of a chunk. */
DWC_HIDDEN void dwc_add_bias(const dwc_gradient_job *j, int64_t chunk, const float *dy, int64_t step,
                             int64_t pixels, int64_t channel, int64_t channels);
/* y += x, `count` floats of each of so many rows. */
DWC_HIDDEN void dwc_add_rows(const dwc_gradient *g, float *y, int64_t y_row, const float *x, int64_t x_row,
                             int64_t rows, int64_t count);

/* A worker's own job, where what it reads of y is made before: y has memory of its own. */
typedef struct dwc_own_gradient {
    dwc_gradient_job j;
    dwc_dx_job input;
    dwc_view y;
} dwc_own_gradient;

/* Output pixels: rows of images, or a part of them; of a flat product so many of all, from `column` on. */
typedef struct dwc_made {
    int64_t image, images, row, rows, column, columns;
} dwc_made;

/* run_made_gradient.c. Strides of a y that is made. */
DWC_HIDDEN void dwc_lay_out_made(const dwc_gradient_job *j, dwc_view *y);
/* The job to go by: `j`, or where it has a normalization o->j. */
DWC_HIDDEN const dwc_gradient_job *dwc_own_job(const dwc_gradient_job *j, dwc_own_gradient *o);
/* Makes pixels of y, channels [begin, end). */
DWC_HIDDEN void dwc_make_pixels(dwc_own_gradient *o, int worker, const dwc_made *m, int64_t begin,
                                int64_t end);

/* The sums of one chunk, for output channels [begin, end), in a group where it is a product. */
DWC_HIDDEN void dwc_depthwise_gradient(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end,
                                       int worker);
DWC_HIDDEN void dwc_product_gradient(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end,
                                     int worker);

#endif
