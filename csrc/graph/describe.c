/* Descriptors -> graphs: every field is checked here, defaults are filled in, and nothing after this file checks again. */
#include <math.h>

#include "graph.h"

/* ---- fields ------------------------------------------------------------------------------- */

dwconv_status dwc_check_size(int64_t size) {
    if (size < 1) return DWCONV_BAD_SHAPE;
    return size > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static int64_t or_one(int64_t value) { return value == 0 ? 1 : value; }

static dwconv_status check_step(int64_t *step) {
    *step = or_one(*step);
    if (*step < 0) return DWCONV_BAD_STRIDE;
    return *step > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static dwconv_status check_pad(int64_t pad, int is_explicit) {
    if (pad < 0 || (pad > 0 && !is_explicit)) return DWCONV_BAD_PADDING;
    return pad > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static dwconv_status check_window(dwconv_window *w) {
    DWC_TRY(dwc_check_size(w->kernel_h));
    DWC_TRY(dwc_check_size(w->kernel_w));
    DWC_TRY(check_step(&w->stride_h));
    DWC_TRY(check_step(&w->stride_w));
    DWC_TRY(check_step(&w->dilation_h));
    DWC_TRY(check_step(&w->dilation_w));
    if (w->padding != DWCONV_VALID && w->padding != DWCONV_SAME && w->padding != DWCONV_EXPLICIT)
        return DWCONV_BAD_PADDING;
    const int is_explicit = w->padding == DWCONV_EXPLICIT;
    DWC_TRY(check_pad(w->pad_top, is_explicit));
    DWC_TRY(check_pad(w->pad_bottom, is_explicit));
    DWC_TRY(check_pad(w->pad_left, is_explicit));
    return check_pad(w->pad_right, is_explicit);
}

static dwconv_status check_activation(dwconv_activation *act) {
    switch (act->kind) {
        case DWCONV_IDENTITY: *act = (dwconv_activation){DWCONV_CLIP, -INFINITY, INFINITY}; return DWCONV_OK;
        case DWCONV_RELU: *act = (dwconv_activation){DWCONV_CLIP, 0.0f, INFINITY}; return DWCONV_OK;
        case DWCONV_RELU6: *act = (dwconv_activation){DWCONV_CLIP, 0.0f, 6.0f}; return DWCONV_OK;
        case DWCONV_CLIP: return act->a <= act->b ? DWCONV_OK : DWCONV_BAD_ACTIVATION;
        case DWCONV_LEAKY_RELU: return isnan(act->a) ? DWCONV_BAD_ACTIVATION : DWCONV_OK;
        case DWCONV_HARD_SIGMOID:
        case DWCONV_HARD_SWISH:
        case DWCONV_SIGMOID:
        case DWCONV_SILU:
        case DWCONV_TANH:
        case DWCONV_GELU_ERF:
        case DWCONV_GELU_TANH: return DWCONV_OK;
        default: return DWCONV_BAD_ACTIVATION;
    }
}

/* Elements of a filter must be countable with room for padding to whole panels of every tap. */
static int is_countable(const dwc_node *n, int64_t group_inputs, int64_t outputs) {
    int64_t count;
    return dwc_multiply(n->window.kernel_h, n->window.kernel_w, &count) &&
           dwc_multiply(count, group_inputs, &count) && dwc_multiply(count, outputs, &count) &&
           count <= INT64_MAX / 4096;
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* Appends `node`, whose inputs are set, and its output. */
static void append(dwc_graph *g, dwc_node node, int64_t channels) {
    node.output = g->value_count++;
    g->values[node.output] = (dwc_value){.channels = channels};
    g->nodes[g->node_count++] = node;
}

static int last_value(const dwc_graph *g) { return g->value_count - 1; }

/* Appends a convolution of the last value; the first one makes the input. */
static dwconv_status append_layer(dwc_graph *g, dwc_node node, int64_t inputs, int64_t outputs) {
    DWC_TRY(dwc_check_size(inputs));
    DWC_TRY(dwc_check_size(outputs));
    DWC_TRY(dwc_check_size(node.groups));
    if (inputs % node.groups || outputs % node.groups) return DWCONV_BAD_SHAPE;
    if (g->value_count == 0) g->values[g->value_count++] = (dwc_value){.channels = inputs};
    node.inputs[0] = last_value(g);
    if (g->values[node.inputs[0]].channels != inputs) return DWCONV_BAD_SHAPE;
    DWC_TRY(check_window(&node.window));
    if (!node.filter) return DWCONV_NULL_POINTER;
    if (!is_countable(&node, inputs / node.groups, outputs)) return DWCONV_OVERFLOW;
    DWC_TRY(check_activation(&node.activation));
    append(g, node, outputs);
    return DWCONV_OK;
}

/* [kernel_h, kernel_w, channels, multiplier] and [kernel_h, kernel_w, 1, channels * multiplier] are the same memory. */
static dwconv_status append_depthwise(dwc_graph *g, const dwconv_depthwise_desc *d) {
    const int64_t multiplier = or_one(d->multiplier);
    DWC_TRY(dwc_check_size(d->channels));
    DWC_TRY(dwc_check_size(multiplier));
    const dwc_node node = {.op = DWC_DEPTHWISE,
                           .window = d->window,
                           .groups = d->channels,
                           .activation = d->activation,
                           .filter = d->filter,
                           .bias = d->bias};
    return append_layer(g, node, d->channels, d->channels * multiplier);
}

static dwconv_status append_pointwise(dwc_graph *g, const dwconv_pointwise_desc *p) {
    const dwc_node node = {
        .op = DWC_MATRIX,
        .window = {.kernel_h = 1, .kernel_w = 1, .stride_h = p->stride_h, .stride_w = p->stride_w},
        .groups = 1,
        .activation = p->activation,
        .filter = p->filter,
        .bias = p->bias};
    return append_layer(g, node, p->in_channels, p->out_channels);
}

/* A pointwise stage of a block. */
static dwconv_status append_stage(dwc_graph *g, const dwconv_pointwise_desc *p) {
    DWC_TRY(append_pointwise(g, p));
    const dwconv_window *w = &g->nodes[g->node_count - 1].window;
    return w->stride_h == 1 && w->stride_w == 1 ? DWCONV_OK : DWCONV_BAD_STRIDE;
}

/* A dense convolution with one input channel per group is a depthwise one. */
static dwconv_status append_conv(dwc_graph *g, const dwconv_conv_desc *c) {
    const int64_t groups = or_one(c->groups);
    const dwc_node node = {.op = groups == c->in_channels && groups > 1 ? DWC_DEPTHWISE : DWC_MATRIX,
                           .window = c->window,
                           .groups = groups,
                           .activation = c->activation,
                           .filter = c->filter,
                           .bias = c->bias};
    return append_layer(g, node, c->in_channels, c->out_channels);
}

/* ---- blocks ------------------------------------------------------------------------------- */

static dwconv_status append_squeeze_excite(dwc_graph *g, const dwconv_inverted_residual_desc *r) {
    const int value = last_value(g);
    const int64_t channels = g->values[value].channels;
    append(g, (dwc_node){.op = DWC_MEAN, .inputs = {value}}, channels);
    DWC_TRY(append_stage(g, &r->squeeze));
    DWC_TRY(append_stage(g, &r->excite));
    if (g->values[last_value(g)].channels != channels) return DWCONV_BAD_SHAPE;
    append(g, (dwc_node){.op = DWC_SCALE, .inputs = {value, last_value(g)}}, channels);
    return DWCONV_OK;
}

/* The input is added where strides are 1 and shapes agree. */
static dwconv_status append_residual(dwc_graph *g, dwconv_residual residual, const dwconv_window *w) {
    const int64_t channels = g->values[last_value(g)].channels;
    if (residual == DWCONV_RESIDUAL_OFF) return DWCONV_OK;
    if (residual != DWCONV_RESIDUAL_AUTO && residual != DWCONV_RESIDUAL_ON) return DWCONV_BAD_VALUE;
    const int optional = residual == DWCONV_RESIDUAL_AUTO;
    if (w->stride_h != 1 || w->stride_w != 1 || channels != g->values[0].channels)
        return optional ? DWCONV_OK : DWCONV_BAD_RESIDUAL;
    append(g, (dwc_node){.op = DWC_ADD, .inputs = {last_value(g), 0}, .optional = optional}, channels);
    return DWCONV_OK;
}

static dwconv_status append_inverted_residual(dwc_graph *g, const dwconv_inverted_residual_desc *r) {
    if (r->expand.filter) DWC_TRY(append_stage(g, &r->expand));
    DWC_TRY(append_depthwise(g, &r->depthwise));
    const dwconv_window window = g->nodes[g->node_count - 1].window;
    if (r->squeeze.filter) DWC_TRY(append_squeeze_excite(g, r));
    DWC_TRY(append_stage(g, &r->project));
    return append_residual(g, r->residual, &window);
}

dwconv_status dwc_describe(const dwconv_desc *d, dwc_built *built) {
    dwc_graph *g = &built->graph;
    *g = (dwc_graph){.nodes = built->nodes, .values = built->values};
    if (!d) return DWCONV_NULL_POINTER;
    if (d->dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    if (d->flags & ~(uint32_t)DWCONV_FLUSH_DENORMAL_WEIGHTS) return DWCONV_BAD_VALUE;
    switch (d->operation) {
        case DWCONV_DEPTHWISE: return append_depthwise(g, &d->depthwise);
        case DWCONV_POINTWISE: return append_pointwise(g, &d->pointwise);
        case DWCONV_CONV: return append_conv(g, &d->conv);
        case DWCONV_SEPARABLE:
            DWC_TRY(append_depthwise(g, &d->separable.depthwise));
            return append_stage(g, &d->separable.pointwise);
        case DWCONV_INVERTED_RESIDUAL: return append_inverted_residual(g, &d->inverted_residual);
        default: return DWCONV_BAD_VALUE;
    }
}

/* ---- chains ------------------------------------------------------------------------------- */

/* The node at *next, if it is of this kind and takes what the node before gives; then *next moves on. */
static const dwc_node *take(const dwc_graph *g, int *next, dwc_op op) {
    const dwc_node *node = *next < g->node_count ? &g->nodes[*next] : NULL;
    if (!node || node->op != op || (*next > 0 && node->inputs[0] != g->nodes[*next - 1].output)) return NULL;
    ++*next;
    return node;
}

static const dwc_matmul_stage *take_pointwise(const dwc_graph *g, int *next) {
    const dwc_node *node = take(g, next, DWC_MATRIX);
    return node && node->matrix.depth == node->matrix.group_inputs ? &node->matrix : NULL;
}

int dwc_find_chain(const dwc_graph *g, dwc_chain *c) {
    int next = 0;
    *c = (dwc_chain){0};
    c->expand = take_pointwise(g, &next);
    const dwc_node *depthwise = take(g, &next, DWC_DEPTHWISE);
    if (!depthwise) return 0;
    c->depthwise = &depthwise->depthwise;
    if (take(g, &next, DWC_MEAN)) {
        c->squeeze = take_pointwise(g, &next);
        c->excite = take_pointwise(g, &next);
        const dwc_node *scale = next < g->node_count ? &g->nodes[next++] : NULL;
        if (!c->excite || !scale || scale->op != DWC_SCALE || scale->inputs[0] != depthwise->output) return 0;
    }
    c->project = take_pointwise(g, &next);
    if (!c->project) return 0;
    c->add = take(g, &next, DWC_ADD);
    return next == g->node_count && (!c->add || c->add->inputs[1] == 0);
}
