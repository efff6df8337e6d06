/* Packs quantized filters: what follows from scales and zero points, for each output channel, and the weights. */
#include <string.h>

#include "graph.h"

static dwc_s8_stage stage_of(const dwc_graph *g, const dwc_node *n) {
    const dwc_value *x = &g->values[n->inputs[0]], *y = &g->values[n->output];
    return (dwc_s8_stage){.window = n->window,
                          .groups = n->groups,
                          .group_inputs = x->channels / n->groups,
                          .group_outputs = y->channels / n->groups,
                          .x_zero = x->zero_point + dwc_flip(g->dtype)};
}

static int64_t depth_of(const dwc_s8_stage *s) {
    return s->window.kernel_h * s->window.kernel_w * s->group_inputs;
}

/* Starts of sums and factors, which are both of 4 or 8 bytes, then the table, then the weights. */
typedef struct parts {
    int64_t factors, table, filter, end;
} parts;

static int parts_of(const dwc_graph *g, const dwc_node *n, parts *p) {
    const dwc_s8_stage s = stage_of(g, n);
    const int64_t outputs = s.groups * s.group_outputs; /* below 2^31 */
    const size_t factor = g->rounding == DWCONV_ROUND_TFLITE ? sizeof(dwc_fixed) : sizeof(float);
    int64_t weights;
    if (!dwc_multiply(depth_of(&s), outputs, &weights)) return 0;
    p->factors = outputs * (int64_t)sizeof(int32_t);
    p->table = p->factors + outputs * (int64_t)factor;
    p->filter = p->table + (n->quant.has_table ? 256 : 0);
    return !__builtin_add_overflow(p->filter, weights, &p->end);
}

int dwc_s8_bytes(const dwc_graph *g, const dwc_node *n, int64_t *bytes) {
    parts p = {0};
    if (!parts_of(g, n, &p)) return 0;
    *bytes = p.end;
    return 1;
}

/* The true sum fits 32 bits, as dwc_check_sums has seen; a start alone need not. */
static int32_t start_of(const dwc_node *n, const dwc_s8_stage *s, int64_t outputs, int64_t c) {
    const int8_t *filter = n->filter;
    const uint32_t bias = n->bias ? (uint32_t)((const int32_t *)n->bias)[c] : 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < depth_of(s); k++) sum += filter[k * outputs + c];
    return (int32_t)(bias - (uint32_t)s->x_zero * (uint32_t)sum);
}

void dwc_pack_s8(const dwc_graph *g, dwc_node *n, void *memory) {
    parts p = {0};
    char *at = memory;
    dwc_s8_stage s = stage_of(g, n);
    const int64_t outputs = s.groups * s.group_outputs;
    const int twice = g->rounding == DWCONV_ROUND_TFLITE;
    (void)parts_of(g, n, &p);
    int32_t *start = memory;
    float *multiplier = (float *)(void *)(at + p.factors);
    dwc_fixed *fixed = (dwc_fixed *)(void *)(at + p.factors);
    for (int64_t c = 0; c < outputs; c++) {
        start[c] = start_of(n, &s, outputs, c);
        if (twice)
            fixed[c] = dwc_fixed_multiplier(g, n, c);
        else
            multiplier[c] = dwc_multiplier(g, n, c);
    }
    uint8_t *table = (uint8_t *)at + p.table;
    if (n->quant.has_table) dwc_fill_table(g, n, table);
    int8_t *filter = (int8_t *)at + p.filter;
    memcpy(filter, n->filter, (size_t)(p.end - p.filter));
    s.filter = filter;
    s.requant = (dwc_requant){.start = start,
                              .multiplier = twice ? NULL : multiplier,
                              .fixed = twice ? fixed : NULL,
                              .table = n->quant.has_table ? table : NULL,
                              .zero_point = n->quant.before.zero_point,
                              .low = n->quant.low,
                              .high = n->quant.high,
                              .flip = dwc_flip(g->dtype)};
    n->s8 = s;
    n->quant = (dwc_node_quant){0};
}
