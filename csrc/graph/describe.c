/* Descriptors -> graphs: fields are checked and defaults filled in here, and nothing after this file does it again. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "graph.h"

/* ---- sizes -------------------------------------------------------------------------------- */

enum { MOST_BYTES = 4096 }; /* of a descriptor: more is no size but an accident */

/* No version ends within a pointer, of which the rest would be taken for 0. */
dwconv_status dwc_take(const void *desc, size_t size, size_t least, void *to, size_t known) {
    if (size < least || size > MOST_BYTES || size % sizeof(void *)) return DWCONV_BAD_SIZE;
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)desc)[i]) return DWCONV_BAD_SIZE;
    memset(to, 0, known);
    memcpy(to, desc, size < known ? size : known);
    return DWCONV_OK;
}

/* A descriptor that begins with its size. */
static dwconv_status take(const void *desc, size_t least, void *to, size_t known) {
    size_t size;
    memcpy(&size, desc, sizeof size);
    return dwc_take(desc, size, least, to, known);
}

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

dwconv_status dwc_check_window(dwconv_window *w) {
    w->kernel_h = or_one(w->kernel_h);
    w->kernel_w = or_one(w->kernel_w);
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

dwconv_status dwc_check_activation(dwconv_activation *act) {
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

static dwc_value value_of(dwconv_dtype dtype, int64_t channels, dwconv_quant quant) {
    return (dwc_value){dtype, channels, quant.scale, quant.zero_point};
}

/* Appends `node`, whose inputs are set, and its output. */
static void append(dwc_graph *g, dwc_node node, int64_t channels) {
    node.output = g->value_count++;
    g->values[node.output] = (dwc_value){.channels = channels};
    g->nodes[g->node_count++] = node;
}

static int last_value(const dwc_graph *g) { return g->value_count - 1; }

static dwc_node *last_node(dwc_graph *g) { return &g->nodes[g->node_count - 1]; }

/* Appends a convolution of the last value; the first one makes the input. One with one input channel per group is
 * depthwise: [kernel_h, kernel_w, channels, multiplier] and [kernel_h, kernel_w, 1, channels * multiplier] are the same
 * memory. */
static dwconv_status append_conv(dwc_graph *g, const dwconv_conv_desc *desc) {
    dwconv_conv_desc c;
    if (!desc) return DWCONV_NULL_POINTER;
    DWC_TRY(take(desc, offsetof(dwconv_conv_desc, bias), &c, sizeof c));
    c.groups = or_one(c.groups);
    DWC_TRY(dwc_check_size(c.in_channels));
    DWC_TRY(dwc_check_size(c.out_channels));
    DWC_TRY(dwc_check_size(c.groups));
    if (c.in_channels % c.groups || c.out_channels % c.groups) return DWCONV_BAD_SHAPE;
    if (g->value_count == 0) g->values[g->value_count++].channels = c.in_channels;
    if (g->values[last_value(g)].channels != c.in_channels) return DWCONV_BAD_SHAPE;
    dwc_node node = {.op = c.groups == c.in_channels ? DWC_DEPTHWISE : DWC_MATRIX,
                     .inputs = {last_value(g)},
                     .window = c.window,
                     .groups = c.groups,
                     .activation = c.activation,
                     .filter = c.filter,
                     .bias = c.bias};
    DWC_TRY(dwc_check_window(&node.window));
    if (!node.filter) return DWCONV_NULL_POINTER;
    if (!is_countable(&node, c.in_channels / c.groups, c.out_channels)) return DWCONV_OVERFLOW;
    DWC_TRY(dwc_check_activation(&node.activation));
    append(g, node, c.out_channels);
    return dwc_is_quantized(g) ? dwc_quantize_node(g, last_node(g), &c) : DWCONV_OK;
}

/* A pointwise part of a block. */
static dwconv_status append_pointwise(dwc_graph *g, const dwconv_conv_desc *desc) {
    DWC_TRY(append_conv(g, desc));
    dwc_node *n = last_node(g);
    const dwconv_window *w = &n->window;
    if (w->stride_h != 1 || w->stride_w != 1) return DWCONV_BAD_STRIDE;
    if (w->kernel_h != 1 || w->kernel_w != 1 || n->groups != 1) return DWCONV_BAD_SHAPE;
    if (w->pad_top || w->pad_bottom || w->pad_left || w->pad_right) return DWCONV_BAD_PADDING;
    n->op = DWC_MATRIX;
    return DWCONV_OK;
}

/* ---- blocks ------------------------------------------------------------------------------- */

/* What a mean or a product gives; a scale of 0: that of what depthwise gives. */
static dwconv_status quantize_gate(dwc_graph *g, int depthwise, dwconv_quant quant, dwconv_formula formula) {
    const dwc_value *like = &g->values[depthwise];
    dwc_value *y = &g->values[last_value(g)];
    if (!dwc_is_quantized(g)) return DWCONV_OK;
    if (quant.scale == 0.0f) quant = (dwconv_quant){like->scale, like->zero_point};
    *y = value_of(g->dtype, y->channels, quant);
    return dwc_quantize_gate(g, last_node(g), quant, formula);
}

static dwconv_status append_squeeze_excite(dwc_graph *g, const dwconv_desc *d) {
    const int value = last_value(g);
    const int64_t channels = g->values[value].channels;
    append(g, (dwc_node){.op = DWC_MEAN, .inputs = {value}}, channels);
    DWC_TRY(quantize_gate(g, value, d->mean, DWCONV_INTEGER_FORMULA));
    DWC_TRY(append_pointwise(g, d->squeeze));
    DWC_TRY(append_pointwise(g, d->excite));
    if (g->values[last_value(g)].channels != channels) return DWCONV_BAD_SHAPE;
    append(g, (dwc_node){.op = DWC_SCALE, .inputs = {value, last_value(g)}}, channels);
    return quantize_gate(g, value, d->scaled, d->product);
}

static dwconv_status append_residual(dwc_graph *g, const dwconv_desc *d, const dwconv_window *w) {
    const int64_t channels = g->values[last_value(g)].channels;
    if (d->residual == DWCONV_RESIDUAL_OFF) return DWCONV_OK;
    const int optional = d->residual == DWCONV_RESIDUAL_AUTO;
    if (w->stride_h != 1 || w->stride_w != 1 || channels != g->values[0].channels)
        return optional ? DWCONV_OK : DWCONV_BAD_RESIDUAL;
    append(g, (dwc_node){.op = DWC_ADD, .inputs = {last_value(g), 0}, .optional = optional}, channels);
    if (!dwc_is_quantized(g)) return DWCONV_OK;
    last_node(g)->optional = 0; /* the scale of an output does not depend on its size */
    g->values[last_value(g)] = value_of(g->dtype, channels, d->sum);
    return dwc_quantize_add(g, last_node(g));
}

static dwconv_status append_block(dwc_graph *g, const dwconv_desc *d) {
    if (d->expand) DWC_TRY(append_pointwise(g, d->expand));
    DWC_TRY(append_conv(g, d->conv));
    if (last_node(g)->op != DWC_DEPTHWISE) return DWCONV_BAD_SHAPE;
    const dwconv_window window = last_node(g)->window;
    if (d->squeeze || d->excite) DWC_TRY(append_squeeze_excite(g, d));
    DWC_TRY(append_pointwise(g, d->project));
    return append_residual(g, d, &window);
}

/* The fields of desc that are neither stages nor their order. */
static dwconv_status check_operation(const dwconv_desc *d, dwc_graph *g) {
    if (d->dtype != DWCONV_F32 && d->dtype != DWCONV_S8 && d->dtype != DWCONV_U8) return DWCONV_BAD_DTYPE;
    if (d->flags & ~(uint32_t)(DWCONV_FLUSH_DENORMAL_WEIGHTS | DWCONV_FLOAT_OUTPUT)) return DWCONV_BAD_VALUE;
    if (d->residual != DWCONV_RESIDUAL_OFF && d->residual != DWCONV_RESIDUAL_AUTO &&
        d->residual != DWCONV_RESIDUAL_ON)
        return DWCONV_BAD_VALUE;
    if (d->dtype == DWCONV_F32) return d->flags & DWCONV_FLOAT_OUTPUT ? DWCONV_BAD_VALUE : DWCONV_OK;
    if ((unsigned)d->rounding >= DWCONV_QUANT_ROUNDING_COUNT) return DWCONV_BAD_VALUE;
    if ((unsigned)d->product >= DWCONV_FORMULA_COUNT) return DWCONV_BAD_VALUE;
    g->dtype = d->dtype;
    g->rounding = d->rounding;
    g->values[0] = value_of(d->dtype, 0, d->input);
    return dwc_check_quant(d->input, d->dtype);
}

dwconv_status dwc_describe(const dwconv_desc *desc, dwconv_desc *known, dwc_built *built) {
    dwc_graph *g = &built->graph;
    *g = (dwc_graph){.nodes = built->nodes, .values = built->values};
    if (!desc) return DWCONV_NULL_POINTER;
    DWC_TRY(take(desc, offsetof(dwconv_desc, expand), known, sizeof *known));
    const dwconv_desc *d = known;
    g->values[0] = (dwc_value){0};
    DWC_TRY(check_operation(d, g));
    const int block = d->expand || d->project || d->squeeze || d->excite || d->residual;
    DWC_TRY(block ? append_block(g, d) : append_conv(g, d->conv));
    if (d->flags & DWCONV_FLOAT_OUTPUT) g->values[last_value(g)].dtype = DWCONV_F32;
    return DWCONV_OK;
}

/* ---- chains ------------------------------------------------------------------------------- */

/* The node at *next, if it is of this kind and takes what the node before gives; then *next moves on. */
static const dwc_node *follow(const dwc_graph *g, int *next, dwc_op op) {
    const dwc_node *node = *next < g->node_count ? &g->nodes[*next] : NULL;
    if (!node || node->op != op || (*next > 0 && node->inputs[0] != g->nodes[*next - 1].output)) return NULL;
    ++*next;
    return node;
}

static const dwc_matmul_stage *follow_pointwise(const dwc_graph *g, int *next) {
    const dwc_node *node = follow(g, next, DWC_MATRIX);
    return node && node->matrix.depth == node->matrix.group_inputs ? &node->matrix : NULL;
}

int dwc_find_chain(const dwc_graph *g, dwc_chain *c) {
    int next = 0;
    *c = (dwc_chain){0};
    c->expand = follow_pointwise(g, &next);
    const dwc_node *depthwise = follow(g, &next, DWC_DEPTHWISE);
    if (!depthwise) return 0;
    c->depthwise = &depthwise->depthwise;
    if (follow(g, &next, DWC_MEAN)) {
        c->squeeze = follow_pointwise(g, &next);
        c->excite = follow_pointwise(g, &next);
        const dwc_node *scale = next < g->node_count ? &g->nodes[next++] : NULL;
        if (!c->excite || !scale || scale->op != DWC_SCALE || scale->inputs[0] != depthwise->output) return 0;
    }
    c->project = follow_pointwise(g, &next);
    if (!c->project) return 0;
    c->add = follow(g, &next, DWC_ADD);
    return next == g->node_count && (!c->add || c->add->inputs[1] == 0);
}
