/* Convolution nodes: images as the walks of layers and blocks take them. */
#include "images.h"

static int is_image(const dwc_array *a) {
    if (!dwc_is_contiguous_last(a)) return 0;
    for (int i = 0; i < 3; i++)
        if (a->shape[i] > 1 && a->strides[i] == 0) return 0;
    return 1;
}

/* The operation's input or output is what its value is. Scales may be told otherwise: products of them count. */
static dwconv_status check_value(const dwc_value *v, const dwc_array *a) {
    if (v->dtype != a->dtype) return DWCONV_BAD_DTYPE;
    return v->dtype == DWCONV_F32 || v->zero_point == a->quant.zero_point ? DWCONV_OK
                                                                          : DWCONV_BAD_QUANTIZATION;
}

static dwconv_status check(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    const dwc_graph *g = &call->plan->graph;
    int64_t shape[4];
    if (x->rank != 4 || y->rank != 4) return DWCONV_BAD_SHAPE;
    DWC_TRY(check_value(&g->values[0], x));
    DWC_TRY(check_value(&g->values[g->value_count - 1], y));
    if (!is_image(x) || !is_image(y)) return DWCONV_BAD_LAYOUT;
    DWC_TRY(dwc_output_shape(g, x->shape, shape));
    for (int i = 0; i < 4; i++)
        if (shape[i] != y->shape[i]) return DWCONV_BAD_SHAPE;
    return DWCONV_OK;
}

/* Enough for each number of threads that a run may have, up to as many as the library has. */
static dwconv_status scratch(const dwc_node_call *call, size_t *bytes) {
    *bytes = 0;
    const dwc_machine machine = dwc_this_machine();
    if (dwc_is_quantized(&call->plan->graph))
        return dwc_s8_scratch(call->plan, call->in[0].shape, call->threads->count, &machine, bytes);
    if (!dwc_is_block(call->plan)) return DWCONV_OK;
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    for (int64_t count = smaller(call->threads->count, DWC_MOST_WORKERS); count >= 1; count--) {
        size_t some;
        DWC_TRY(dwc_block_scratch(call->plan, &x, &y, (int)count, &machine, &some));
        if (some > *bytes) *bytes = some;
    }
    return DWCONV_OK;
}

/* ---- schedules that are made once ---- */

/* A schedule that says how long it takes on one worker; alignment of tensors is no matter of small ones. */
static int schedule_layer(const dwc_node_call *call, dwc_layer_schedule *how) {
    const dwc_machine machine = dwc_this_machine();
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    return !dwc_is_quantized(&call->plan->graph) && !dwc_is_block(call->plan) &&
           dwc_schedule_layer(call->plan, &x, &y, call->threads, &machine, how) == DWCONV_OK &&
           how->nanoseconds < DWC_SERIAL_NANOSECONDS;
}

static int schedule_s8(const dwc_node_call *call, dwc_s8_schedule *how) {
    const dwc_machine machine = dwc_this_machine();
    return dwc_is_quantized(&call->plan->graph) &&
           dwc_schedule_s8(call->plan, call->in[0].shape, call->threads, &machine, how) == DWCONV_OK &&
           how->nanoseconds < DWC_SERIAL_NANOSECONDS;
}

/* Of a layer that is too small to be shared: to schedule it takes as long as to run it. */
static size_t bound_bytes(const dwc_node_call *call) {
    dwc_layer_schedule layer;
    dwc_s8_schedule s8;
    return schedule_layer(call, &layer) ? sizeof layer : schedule_s8(call, &s8) ? sizeof s8 : 0;
}

static void bind(const dwc_node_call *call, void *memory) {
    if (!schedule_layer(call, memory)) (void)schedule_s8(call, memory);
}

static void run_bound(const dwc_node_call *call) {
    if (!dwc_is_quantized(&call->plan->graph)) {
        dwc_run_scheduled_layer(call->plan, call->bound, call->in[0].data, call->out.data, call->threads);
        return;
    }
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    dwc_run_scheduled_s8(call->plan, call->bound, &x, &y, call->scratch, call->threads);
}

static void run(const dwc_node_call *call) {
    if (call->bound) {
        run_bound(call);
        return;
    }
    const dwc_view x = dwc_image_of(&call->in[0]), y = dwc_image_of(&call->out);
    if (dwc_is_quantized(&call->plan->graph)) {
        (void)dwc_run_s8(call->plan, &x, &y, call->scratch, call->scratch_bytes, call->threads);
        return;
    }
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

const dwc_node_class dwc_class_convolution = {.name = "convolution",
                                              .inputs = 1,
                                              .types = DWC_TYPES_OWN,
                                              .check = check,
                                              .scratch = scratch,
                                              .bound_bytes = bound_bytes,
                                              .bind = bind,
                                              .run = run};
