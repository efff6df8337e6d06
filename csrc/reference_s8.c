/* Quantized nodes as plain loops in 64-bit integers: see reference.c. Taps outside the image are skipped, and zero
 * points subtracted where they stand in the formulas of dwconv.h. */
#include "reference.h"

static const uint8_t *at(const dwc_view *v, int64_t image, int64_t row, int64_t column) {
    return v->bytes + image * v->image + row * v->row + column * v->pixel;
}

typedef struct layer {
    const dwc_graph *graph;
    const dwc_node *node;
    const dwc_view *x, *y;
    int64_t group_inputs, group_outputs;
    dwc_extent extent;
    uint8_t table[256];
} layer;

static int64_t window_sum(const layer *l, int64_t image, int64_t oy, int64_t ox, int64_t out_channel) {
    const dwconv_window *w = &l->node->window;
    const int32_t *bias = l->node->bias;
    const int32_t zero = l->graph->values[l->node->inputs[0]].zero_point;
    const int64_t first_channel = out_channel / l->group_outputs * l->group_inputs;
    int64_t sum = bias ? bias[out_channel] : 0;
    for (int64_t ky = 0; ky < w->kernel_h; ky++) {
        const int64_t row = oy * w->stride_h - l->extent.pad_top + ky * w->dilation_h;
        if (row < 0 || row >= l->x->height) continue;
        for (int64_t kx = 0; kx < w->kernel_w; kx++) {
            const int64_t column = ox * w->stride_w - l->extent.pad_left + kx * w->dilation_w;
            if (column < 0 || column >= l->x->width) continue;
            const uint8_t *pixel = at(l->x, image, row, column) + first_channel;
            const int64_t first = (ky * w->kernel_w + kx) * l->group_inputs;
            for (int64_t c = 0; c < l->group_inputs; c++)
                sum += (int64_t)dwc_s8_weight(&l->node->quant.filter,
                                              (first + c) * l->y->channels + out_channel, out_channel) *
                       (dwc_number(pixel[c], dwc_flip(l->graph->dtype)) - zero);
        }
    }
    return sum;
}

static uint8_t convolved(const layer *l, int64_t image, int64_t row, int64_t column, int64_t c) {
    const dwc_graph *g = l->graph;
    const dwc_node_quant *q = &l->node->quant;
    const int once = g->rounding == DWCONV_ROUND_EVEN;
    const float multiplier = once ? dwc_multiplier(g, l->node, c) : 0.0f;
    const dwc_fixed fixed = once ? (dwc_fixed){0, 0} : dwc_fixed_multiplier(g, l->node, c);
    const dwc_requant requant = {.multiplier = once ? &multiplier : NULL,
                                 .fixed = &fixed,
                                 .table = q->has_table ? l->table : NULL,
                                 .zero_point = q->before.zero_point,
                                 .low = q->low,
                                 .high = q->high};
    return dwc_requant_byte(&requant, 0, (int32_t)window_sum(l, image, row, column, c));
}

/* The mean of a channel, of all its pixels. */
static uint8_t mean(const layer *l, int64_t image, int64_t c) {
    const dwc_byte_parameters *p = &l->node->bytes;
    const dwc_byte_end end = dwc_mean_end(p, l->x->height * l->x->width);
    int64_t sum = 0;
    for (int64_t row = 0; row < l->x->height; row++)
        for (int64_t column = 0; column < l->x->width; column++)
            sum += dwc_number(at(l->x, image, row, column)[c], p->flip) - p->zero[0];
    return (uint8_t)(end.twice ? dwc_end_twice((int32_t)sum, &end) : dwc_end_once((int32_t)sum, &end));
}

static uint8_t product(const dwc_byte_parameters *p, uint8_t x, uint8_t factor) {
    const int32_t a = dwc_number(x, p->flip) - p->zero[0], b = dwc_number(factor, p->flip) - p->zero[1];
    if (p->form == DWC_BYTES_FLOATS)
        return (uint8_t)dwc_quantize_one((p->scale[0] * (float)a) * (p->scale[1] * (float)b), p->y_scale,
                                         &p->end);
    return (uint8_t)(p->end.twice ? dwc_end_twice(a * b, &p->end) : dwc_end_once(a * b, &p->end));
}

/* Byte [image, row, column, c] of what a node gives; `second`: its second input. */
static uint8_t byte_of(const layer *l, const dwc_view *second, int64_t image, int64_t row, int64_t column,
                       int64_t c) {
    const dwc_node *n = l->node;
    if (n->op == DWC_MEAN) return mean(l, image, c);
    if (n->op == DWC_SCALE)
        return product(&n->bytes, at(l->x, image, row, column)[c], at(second, image, 0, 0)[c]);
    if (n->op == DWC_ADD)
        return dwc_add_bytes(&n->add, at(l->x, image, row, column)[c], at(second, image, row, column)[c]);
    return convolved(l, image, row, column, c);
}

void dwc_reference_s8(const dwc_graph *g, const dwc_node *n, const dwc_view *views) {
    const dwc_view *x = &views[n->inputs[0]], *y = &views[n->output];
    const dwc_value *value = &g->values[n->output];
    layer l = {.graph = g, .node = n, .x = x, .y = y};
    if (n->op == DWC_DEPTHWISE || n->op == DWC_MATRIX) {
        l.group_inputs = x->channels / n->groups;
        l.group_outputs = y->channels / n->groups;
        (void)dwc_window_extent(&n->window, x->height, x->width, &l.extent); /* shapes are known */
        if (n->quant.has_table) dwc_fill_table(g, n, l.table);
    }
    for (int64_t image = 0; image < y->batch; image++)
        for (int64_t row = 0; row < y->height; row++)
            for (int64_t column = 0; column < y->width; column++)
                for (int64_t c = 0; c < y->channels; c++) {
                    const int64_t to = image * y->image + row * y->row + column * y->pixel + c;
                    const uint8_t byte = byte_of(&l, &views[n->inputs[1]], image, row, column, c);
                    if (y->dtype == DWCONV_F32)
                        y->data[to] =
                            value->scale * (float)(dwc_number(byte, dwc_flip(g->dtype)) - value->zero_point);
                    else
                        y->bytes[to] = byte;
                }
}
