/* Batch normalization: its descriptor and its tensors. */
#include <math.h>

#include "gradient.h"

dwconv_status dwc_describe_batch_norm(const dwconv_batch_norm_desc *desc, dwc_batch_norm *n) {
    dwconv_batch_norm_desc d;
    if (!desc) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_take(desc, desc->size, sizeof d, &d, sizeof d));
    if (d.dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    if (d.flags & ~DWCONV_FIXED_MOMENTS) return DWCONV_BAD_VALUE;
    if (!(d.epsilon >= 0.0f) || isinf(d.epsilon)) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_check_size(d.channels));
    DWC_TRY(dwc_check_activation(&d.activation));
    if (d.activation.kind != DWCONV_CLIP) return DWCONV_BAD_ACTIVATION;
    *n = (dwc_batch_norm){.table = dwc_kernel_table_of(d.isa ? d.isa : dwconv_isa_best()),
                          .channels = d.channels,
                          .epsilon = d.epsilon,
                          .low = d.activation.a,
                          .high = d.activation.b,
                          .fixed = (d.flags & DWCONV_FIXED_MOMENTS) != 0};
    return n->table ? DWCONV_OK : DWCONV_NO_ISA;
}

/* A convolution whose tensors have such shapes. */
static dwc_gradient same_shape(const dwc_batch_norm *n) {
    return (dwc_gradient){
        .window =
            {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1},
        .in_channels = n->channels,
        .out_channels = n->channels,
        .groups = n->channels,
        .group_inputs = 1,
        .group_outputs = 1};
}

dwconv_status dwc_check_batch_norm_shape(const dwc_batch_norm *n, const int64_t shape[4]) {
    const dwc_gradient same = same_shape(n);
    int64_t output[4];
    return dwc_gradient_output(&same, shape, output);
}

dwconv_status dwc_check_batch_norm_tensors(const dwc_batch_norm *n, const dwconv_tensor *a,
                                           const dwconv_tensor *b, const dwc_view *written, dwc_view *x,
                                           dwc_view *y) {
    const dwc_gradient same = same_shape(n);
    return dwc_check_gradient_tensors(&same, a, b, written, x, y);
}

double dwc_norm_factor(const dwc_batch_norm *n, const float *gamma, const float *variance, int64_t c) {
    const double factor = 1.0 / sqrt((double)variance[c] + (double)n->epsilon);
    return gamma ? factor * (double)gamma[c] : factor;
}
