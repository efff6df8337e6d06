/* Convolution nodes: images as the walks of layers and blocks take them. */
#include "images.h"

static int is_image(const dwc_array *a) {
    if (!dwc_is_contiguous_last(a)) return 0;
    for (int i = 0; i < 3; i++)
        if (a->shape[i] > 1 && a->strides[i] == 0) return 0;
    return 1;
}

static dwconv_status check(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    int64_t shape[4];
    if (x->rank != 4 || y->rank != 4) return DWCONV_BAD_SHAPE;
    if (!is_image(x) || !is_image(y)) return DWCONV_BAD_LAYOUT;
    DWC_TRY(dwc_output_shape(&call->plan->graph, x->shape, shape));
    for (int i = 0; i < 4; i++)
        if (shape[i] != y->shape[i]) return DWCONV_BAD_SHAPE;
    return DWCONV_OK;
}

/* Enough for each number of threads that a run may have, up to as many as the library has. */
static dwconv_status scratch(const dwc_node_call *call, size_t *bytes) {
    *bytes = 0;
    if (!dwc_is_block(call->plan)) return DWCONV_OK;
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    const dwc_machine machine = dwc_this_machine();
    for (int64_t count = smaller(call->threads->count, DWC_MOST_WORKERS); count >= 1; count--) {
        size_t some;
        DWC_TRY(dwc_block_scratch(call->plan, &x, &y, (int)count, &machine, &some));
        if (some > *bytes) *bytes = some;
    }
    return DWCONV_OK;
}

static void run(const dwc_node_call *call) {
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    if (!dwc_is_block(call->plan)) {
        (void)dwc_run_layer(call->plan, &x, &y, call->threads);
        return;
    }
    const dwconv_status status =
        dwc_run_block(call->plan, &x, &y, call->scratch, call->scratch_bytes, call->threads);
    /* A caller's pool with more threads than scratch was sized for. */
    if (status != DWCONV_OK)
        (void)dwc_run_block(call->plan, &x, &y, call->scratch, call->scratch_bytes, NULL);
}

const dwc_node_class dwc_class_convolution = {
    .name = "convolution", .inputs = 1, .check = check, .scratch = scratch, .run = run};
