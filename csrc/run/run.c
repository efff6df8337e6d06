/* A call: check, schedule, run. */
#include "fp_mode.h"
#include "run.h"

dwconv_status dwconv_scratch_size(const dwconv_plan *plan, const int64_t input[4], int threads,
                                  size_t *scratch) {
    int64_t output[4];
    if (!plan || !input || !scratch) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_output_shape(&plan->graph, input, output));
    *scratch = 0;
    const dwc_machine machine = dwc_this_machine();
    if (dwc_is_quantized(&plan->graph)) return dwc_s8_scratch(plan, input, threads, &machine, scratch);
    if (!dwc_is_block(plan) || input[0] == 0) return DWCONV_OK;
    dwc_view x, y;
    DWC_TRY(dwc_dense_view(input, dwc_input_dtype(&plan->graph), &x));
    DWC_TRY(dwc_dense_view(output, dwc_output_dtype(&plan->graph), &y));
    return dwc_block_scratch(plan, &x, &y, threads, &machine, scratch);
}

static dwconv_status run_quantized(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                   void *scratch, size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_fp_mode own;
    const int changed = dwc_round_to_nearest(&own);
    const dwconv_status status = dwc_run_s8(plan, x, y, scratch, scratch_bytes, threads);
    if (changed) dwc_set_mode(&own);
    return status;
}

dwconv_status dwconv_run(const dwconv_plan *plan, const dwconv_tensor *input, const dwconv_tensor *output,
                         void *scratch, size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_view x, y;
    if (!plan) return DWCONV_NULL_POINTER;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_check_tensors(&plan->graph, input, output, &x, &y));
    if (x.batch == 0) return DWCONV_OK;
    if (dwc_is_quantized(&plan->graph)) return run_quantized(plan, &x, &y, scratch, scratch_bytes, threads);
    if (dwc_is_block(plan)) return dwc_run_block(plan, &x, &y, scratch, scratch_bytes, threads);
    return dwc_run_layer(plan, &x, &y, threads);
}
