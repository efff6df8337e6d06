/* Gradients: the convolution that runs backward, and the forward convolutions that an input gradient is made of. */
#ifndef DWCONV_GRAPH_GRADIENT_H
#define DWCONV_GRAPH_GRADIENT_H

#include "../dwconv_gradient.h"
#include "graph.h"

/* A forward convolution, checked. */
typedef struct dwc_gradient {
    const dwc_kernel_table *table;
    dwconv_window window;
    int64_t in_channels, out_channels, groups, group_inputs, group_outputs;
} dwc_gradient;

DWC_HIDDEN dwconv_status dwc_describe_gradient(const dwconv_gradient_desc *desc, dwc_gradient *gradient);

/* Values of the filter. */
static inline int64_t dwc_filter_size(const dwc_gradient *g) {
    return g->window.kernel_h * g->window.kernel_w * g->group_inputs * g->out_channels;
}

/* Of the forward pass. */
DWC_HIDDEN dwconv_status dwc_gradient_output(const dwc_gradient *g, const int64_t input[4],
                                             int64_t output[4]);
/* What `desc` says, and contiguous images of this shape and their outputs, which have no data. */
DWC_HIDDEN dwconv_status dwc_dense_gradient(const dwconv_gradient_desc *desc, const int64_t input[4],
                                            dwc_gradient *g, dwc_view *x, dwc_view *y);
/* Checks an input and an output of the forward pass, and resolves their strides; `written`: x, y or NULL. */
DWC_HIDDEN dwconv_status dwc_check_gradient_tensors(const dwc_gradient *g, const dwconv_tensor *input,
                                                    const dwconv_tensor *output, const dwc_view *written,
                                                    dwc_view *x, dwc_view *y);

/* ---- input gradients ------------------------------------------------------------------------ */

/* One axis of a phase: pixels of dx that are `stride` apart see the same taps of the filter, every tap_step-th one, and
 * are a convolution of dy with stride 1 by these, from last to first. */
typedef struct dwc_phase_axis {
    int64_t first, count;  /* pixels of dx; count 0: there are none */
    int64_t taps;          /* 0: the pixels see no output, and are 0 */
    int64_t tap, tap_step; /* the first of them, which is the last of the phase's kernel */
    int64_t dilation;
    int64_t begin, size;   /* of dy: what the taps see */
    int64_t before, after; /* padding of it */
} dwc_phase_axis;

DWC_HIDDEN dwc_phase_axis dwc_phase_of(int64_t phase, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                                       int64_t dilation, int64_t pad);

/* What a phase writes, every stride-th row and column of dx, and what it reads of dy. */
DWC_HIDDEN void dwc_phase_views(const dwc_gradient *g, const dwc_phase_axis *rows,
                                const dwc_phase_axis *columns, dwc_view *dx, dwc_view *dy);

/* The plan of a phase without its weights, as dwc_prepare_plan leaves it. */
DWC_HIDDEN dwconv_status dwc_prepare_phase(const dwc_gradient *g, const dwc_phase_axis *rows,
                                           const dwc_phase_axis *columns, dwc_built *built,
                                           dwconv_plan *prepared);
/* The same in memory of prepared->bytes, with the weights of the phase. `flipped` has room for the taps of the phase as
 * a filter [rows, columns, group_outputs, in_channels]. */
DWC_HIDDEN void dwc_fill_phase(const dwc_gradient *g, const dwc_phase_axis *rows,
                               const dwc_phase_axis *columns, const dwconv_plan *prepared,
                               const float *filter, float *flipped, dwconv_plan *plan);

/* ---- batch normalization (batch_norm.c) ----------------------------------------------------- */

/* One that is checked; the activation is a clip. */
typedef struct dwc_batch_norm {
    const dwc_kernel_table *table;
    int64_t channels;
    float epsilon, low, high;
    int fixed;
} dwc_batch_norm;

DWC_HIDDEN dwconv_status dwc_describe_batch_norm(const dwconv_batch_norm_desc *desc, dwc_batch_norm *n);
DWC_HIDDEN dwconv_status dwc_check_batch_norm_shape(const dwc_batch_norm *n, const int64_t shape[4]);
/* Two tensors of one shape; `written`: x, y or NULL. */
DWC_HIDDEN dwconv_status dwc_check_batch_norm_tensors(const dwc_batch_norm *n, const dwconv_tensor *a,
                                                      const dwconv_tensor *b, const dwc_view *written,
                                                      dwc_view *x, dwc_view *y);
/* What a channel's (x - mean) is multiplied with: gamma / sqrt(variance + epsilon). */
DWC_HIDDEN double dwc_norm_factor(const dwc_batch_norm *n, const float *gamma, const float *variance,
                                  int64_t c);

/* ---- activations ---------------------------------------------------------------------------- */

/* Checks the arguments of an activation's gradient; `act` becomes the activation with defaults filled in. */
DWC_HIDDEN dwconv_status dwc_check_slope(const dwconv_activation *activation, dwconv_slope_source source,
                                         const float *values, const float *dy, const float *dx, int64_t count,
                                         dwconv_activation *act);

#endif
