/* Input, filter and bias gradient of a convolution: of a depthwise layer in one walk, else one after the other. */
#include "gradient.h"

dwconv_status dwconv_both_gradients_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                            int threads, size_t *bytes) {
    dwc_gradient g;
    dwc_view x, y;
    dwc_both_gradients_schedule s;
    const dwconv_threads workers = {.count = threads};
    if (!bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_dense_gradient(desc, input, &g, &x, &y));
    *bytes = 0;
    if (input[0] == 0) return DWCONV_OK;
    for (int shared = 0; shared < 2; shared++) { /* either may be more, by a little */
        DWC_TRY(dwc_schedule_both_gradients(&g, &x, &y, shared ? &workers : NULL, 1, &s));
        if (s.scratch_bytes > *bytes) *bytes = s.scratch_bytes;
    }
    return DWCONV_OK;
}

/* What is written meets neither what is read nor each other. */
static dwconv_status check_apart(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                 const dwc_view *dx, const float *filter, const float *filter_gradient,
                                 const float *bias_gradient, const void *scratch, size_t scratch_bytes) {
    const size_t bytes = (size_t)in_bytes(dwc_filter_size(g));
    const dwc_view weights = {.data = (float *)(uintptr_t)filter,
                              .batch = 1,
                              .height = 1,
                              .width = 1,
                              .channels = dwc_filter_size(g)};
    DWC_TRY(dwc_check_results(g, x, y, filter_gradient, bias_gradient, scratch, scratch_bytes));
    DWC_TRY(dwc_check_results(g, &weights, dx, filter_gradient, bias_gradient, scratch, scratch_bytes));
    return dwc_views_meet(x, dx) || dwc_view_meets(dx, filter, bytes) ? DWCONV_OVERLAP : DWCONV_OK;
}

static dwconv_status run_joint(dwc_gradient_job *j, dwc_dx_job *input, const float *filter,
                               const dwc_both_gradients_schedule *s, void *scratch,
                               const dwconv_threads *threads) {
    input->how = s->input;
    j->how = s->filter;
    j->input = input;
    j->band_rows = s->band_rows;
    dwc_begin_phases(input, filter, scratch, s->filter.block_channels);
    dwc_run_filter_gradient(j, (char *)scratch + s->filter_at, threads);
    return DWCONV_OK;
}

dwconv_status dwconv_both_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                    const dwconv_tensor *x_tensor, const dwconv_tensor *dy,
                                    const dwconv_tensor *dx_tensor, float *filter_gradient,
                                    float *bias_gradient, void *scratch, size_t scratch_bytes,
                                    const dwconv_threads *threads) {
    dwc_gradient g;
    dwc_view x, dx, y;
    dwc_both_gradients_schedule s;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_gradient(desc, &g));
    if (!filter || !filter_gradient) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_check_gradient_tensors(&g, x_tensor, dy, NULL, &x, &y));
    DWC_TRY(dwc_check_gradient_tensors(&g, dx_tensor, dy, &dx, &dx, &y));
    if (x.batch != dx.batch || x.height != dx.height || x.width != dx.width) return DWCONV_BAD_SHAPE;
    if (y.batch == 0)
        return dwconv_filter_gradient(desc, x_tensor, dy, filter_gradient, bias_gradient, NULL, 0, NULL);
    DWC_TRY(dwc_schedule_both_gradients(&g, &dx, &y, threads, bias_gradient != NULL, &s));
    if (s.scratch_bytes && !scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < s.scratch_bytes) return DWCONV_TOO_SMALL;
    DWC_TRY(check_apart(&g, &x, &y, &dx, filter, filter_gradient, bias_gradient, scratch, s.scratch_bytes));
    if (!s.joint) {
        DWC_TRY(dwconv_filter_gradient(desc, x_tensor, dy, filter_gradient, bias_gradient, scratch,
                                       scratch_bytes, threads));
        return dwconv_input_gradient(desc, filter, dy, dx_tensor, scratch, scratch_bytes, threads);
    }
    dwc_gradient_job j = {.g = &g, .x = &x, .y = &y, .filter = filter_gradient, .bias = bias_gradient};
    dwc_dx_job input = {.g = &g, .dx = &dx, .dy = &y};
    DWC_TRY(dwc_window_extent(&g.window, x.height, x.width, &j.extent));
    input.extent = j.extent;
    return run_joint(&j, &input, filter, &s, scratch, threads);
}
