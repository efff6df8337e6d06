/* Packs quantized filters: what follows from scales and zero points, for each output channel, and the weights, in the
 * order of the instruction set's kernels, or as they are for the plain path. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

enum {
    MOST_LINES = 64
}; /* of rows at a time, that walks have room for; taller windows take the plain path */

static int64_t depth_of(const dwc_s8_stage *s) {
    return s->window.kernel_h * s->window.kernel_w * s->group_inputs;
}

/* ---- the choice of kernels -------------------------------------------------------------------- */

/* Lines hold rows `dilation` apart, whose stride is what the two have no divisor in common for. */
static int choose_lines(dwc_s8_stage *s) {
    const dwconv_window *w = &s->window;
    s->lines = (dwc_s8_depthwise){.kernel_h = w->kernel_h,
                                  .kernel_w = w->kernel_w,
                                  .stride_h = w->stride_h / common_divisor(w->stride_h, w->dilation_h),
                                  .stride_w = w->stride_w,
                                  .channels = s->groups * s->group_outputs,
                                  .multiplier = s->group_outputs};
    return dwc_s8_choose_depthwise(&s->lines, s->kernels) && s->lines.lines <= MOST_LINES;
}

/* Taps side by side are one piece where walks have their pixels side by side. */
static int choose_matrix(dwc_s8_stage *s) {
    const dwconv_window *w = &s->window;
    s->joins_taps = s->groups == 1 && w->dilation_w == 1;
    s->matrix = (dwc_s8_matrix){.taps_y = w->kernel_h,
                                .taps_x = s->joins_taps ? 1 : w->kernel_w,
                                .k = s->group_inputs * (s->joins_taps ? w->kernel_w : 1),
                                .outputs = s->group_outputs,
                                .row = s->groups * s->group_outputs};
    dwc_s8_choose_matrix(&s->matrix, s->kernels);
    return w->kernel_h <= MOST_LINES;
}

static dwc_s8_stage stage_of(const dwc_graph *g, const dwc_node *n, const dwc_s8_kernels *kernels) {
    const dwc_value *x = &g->values[n->inputs[0]], *y = &g->values[n->output];
    dwc_s8_stage s = {.window = n->window,
                      .groups = n->groups,
                      .group_inputs = x->channels / n->groups,
                      .group_outputs = y->channels / n->groups,
                      .x_zero = x->zero_point + dwc_flip(g->dtype),
                      .is_depthwise = n->op == DWC_DEPTHWISE,
                      .kernels = kernels};
    if (s.window.kernel_h == 1) s.window.dilation_h = 1; /* a single tap is as good without */
    if (s.window.kernel_w == 1) s.window.dilation_w = 1;
    if (kernels && !(s.is_depthwise ? choose_lines(&s) : choose_matrix(&s))) s.kernels = NULL;
    return s;
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* The stage, starts of sums and factors for each output, the table, then the weights of the plain path, or those of
 * kernels with what finds them, `index`, and runs, starts and multipliers of the groups of a matrix. */
typedef struct parts {
    int64_t start, factors, table, weights, index, runs, starts, multipliers, end;
} parts;

/* Adds some bytes, to the next cache line. */
static int add(int64_t *at, int64_t bytes) {
    if (bytes < 0 || bytes > INT64_MAX / 4 || *at > INT64_MAX / 4) return 0;
    *at = round_up(*at + bytes, DWCONV_ALIGNMENT);
    return 1;
}

/* Bytes of what depends on whether there are kernels, and which. */
typedef struct varying {
    int64_t weights, index, runs, columns;
} varying;

static int lines_bytes(const dwc_node *n, dwc_s8_stage *s, varying *v) {
    s->vectors = s->lines.groups;
    return dwc_s8_depthwise_bytes(&s->lines, s->kernels, &n->quant.filter, &v->weights, &s->wide) &&
           dwc_multiply(s->lines.groups, (int64_t)sizeof(dwc_s8_group), &v->index);
}

static int matrix_bytes(const dwc_node *n, dwc_s8_stage *s, varying *v) {
    dwc_s8_matrix_size size = {0};
    for (int64_t group = 0; group < s->groups; group++) {
        const dwc_s8_filter filter = dwc_s8_filter_from(&n->quant.filter, group * s->matrix.outputs);
        if (!dwc_s8_matrix_add(&s->matrix, s->kernels, &filter, &size)) return 0;
    }
    v->weights = size.bytes;
    s->vectors = size.quads;
    s->wide = size.repeated;
    return dwc_multiply(size.runs, (int64_t)sizeof(dwc_s8_run), &v->runs) &&
           dwc_multiply(s->groups * s->matrix.panels, (int64_t)sizeof(dwc_s8_panel), &v->index) &&
           dwc_multiply(s->groups, s->matrix.padded * 4, &v->columns);
}

static int varying_bytes(const dwc_node *n, dwc_s8_stage *s, varying *v) {
    *v = (varying){0};
    if (!s->kernels) return dwc_multiply(depth_of(s), 2 * s->groups * s->group_outputs, &v->weights);
    return s->is_depthwise ? lines_bytes(n, s, v) : matrix_bytes(n, s, v);
}

/* And tells the stage how many weights are wide. */
static int parts_of(const dwc_graph *g, const dwc_node *n, dwc_s8_stage *s, parts *p) {
    const int64_t outputs = s->groups * s->group_outputs; /* below 2^31 */
    const size_t factor =
        g->rounding == DWCONV_ROUND_TFLITE ? sizeof(dwc_fixed) + sizeof(float) : sizeof(float);
    int64_t at = round_up((int64_t)sizeof *s, DWCONV_ALIGNMENT);
    varying v;
    if (!varying_bytes(n, s, &v)) return 0;
    int64_t *const places[] = {&p->start, &p->factors, &p->table,  &p->weights,
                               &p->index, &p->runs,    &p->starts, &p->multipliers};
    const int64_t bytes[] = {outputs * (int64_t)sizeof(int32_t),
                             outputs * (int64_t)factor,
                             n->quant.has_table ? 256 : 0,
                             v.weights,
                             v.index,
                             v.runs,
                             v.columns,
                             v.columns};
    for (int i = 0; i < 8; i++) {
        *places[i] = at;
        if (!add(&at, bytes[i])) return 0;
    }
    p->end = at;
    return 1;
}

void dwc_make_s8_stages(const dwc_graph *g, const dwc_s8_kernels *kernels, dwc_s8_stage *stages) {
    for (dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        if (n->op != DWC_DEPTHWISE && n->op != DWC_MATRIX) continue;
        *stages = stage_of(g, n, kernels);
        n->s8 = stages++;
    }
}

int dwc_s8_bytes(const dwc_graph *g, const dwc_node *n, const dwc_s8_kernels *kernels, int64_t *bytes) {
    dwc_s8_stage s = stage_of(g, n, kernels);
    parts p;
    if (!parts_of(g, n, &s, &p)) return 0;
    *bytes = p.end;
    return 1;
}

/* ---- packing ---------------------------------------------------------------------------------- */

/* The true sum fits 32 bits, as dwc_check_sums has seen; a start alone need not. */
static int32_t start_of(const dwc_node *n, const dwc_s8_stage *s, int64_t outputs, int64_t c) {
    const uint32_t bias = n->bias ? (uint32_t)((const int32_t *)n->bias)[c] : 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < depth_of(s); k++) sum += dwc_s8_weight(&n->quant.filter, k * outputs + c, c);
    return (int32_t)(bias - (uint32_t)s->x_zero * (uint32_t)sum);
}

/* No sum of an output channel is greater, whatever the inputs and their zero point. */
static int64_t largest_sum(const dwc_node *n, const dwc_s8_stage *s, int64_t outputs, int64_t c) {
    int64_t most = n->bias ? llabs(((const int32_t *)n->bias)[c]) : 0;
    for (int64_t k = 0; k < depth_of(s); k++)
        most += 255 * abs(dwc_s8_weight(&n->quant.filter, k * outputs + c, c));
    return most;
}

/* No sum times its multiplier reaches what converts to int32. */
static int products_fit(const dwc_graph *g, const dwc_node *n, const dwc_s8_stage *s, int64_t outputs) {
    for (int64_t c = 0; c < outputs; c++) {
        const double most = (double)largest_sum(n, s, outputs, c);
        if (most * (double)dwc_multiplier(g, n, c) >= 2147480000.0) return 0;
    }
    return 1;
}

/* See dwc_requant. */
static int fixed_fit(const dwc_node *n, const dwc_s8_stage *s, const dwc_fixed *fixed, int64_t outputs) {
    for (int64_t c = 0; c < outputs; c++) {
        const int64_t most = largest_sum(n, s, outputs, c);
        const int left = fixed[c].shift > 0 ? fixed[c].shift : 0; /* factors are below 2^8 */
        if (most >= INT64_C(1) << (31 - left)) return 0;
    }
    return 1;
}

static void pack_matrix(const dwc_graph *g, const dwc_node *n, dwc_s8_stage *s, int32_t seen, const parts *p,
                        char *at) {
    const dwc_s8_matrix *m = &s->matrix;
    dwc_s8_panel *panels = (dwc_s8_panel *)(void *)(at + p->index);
    dwc_s8_run *runs = (dwc_s8_run *)(void *)(at + p->runs);
    int32_t *starts = (int32_t *)(void *)(at + p->starts);
    float *multipliers = (float *)(void *)(at + p->multipliers);
    dwc_s8_matrix_size size = {0};
    for (int64_t group = 0; group < s->groups; group++) {
        const int64_t first = group * m->outputs;
        const dwc_s8_filter filter = dwc_s8_filter_from(&n->quant.filter, first);
        const int32_t *bias = n->bias ? (const int32_t *)n->bias + first : NULL;
        dwc_s8_pack_matrix(m, s->kernels, &filter, &size, panels + group * m->panels, runs, at + p->weights);
        dwc_s8_matrix_start(m, &filter, bias, seen, starts + group * m->padded);
        for (int64_t c = 0; c < m->padded; c++)
            multipliers[group * m->padded + c] = c < m->outputs ? dwc_multiplier(g, n, first + c) : 0.0f;
    }
    s->panels = panels;
    s->runs = runs;
    s->starts = starts;
    s->multipliers = multipliers;
}

static void pack_plain(const dwc_node *n, dwc_s8_stage *s, int64_t outputs, int16_t *weights) {
    for (int64_t i = 0; i < depth_of(s) * outputs; i++)
        weights[i] = (int16_t)dwc_s8_weight(&n->quant.filter, i, i % outputs);
    s->filter = weights;
}

static void pack_kernels(const dwc_graph *g, const dwc_node *n, dwc_s8_stage *s, const parts *p,
                         const float *multipliers, char *at) {
    const int is_signed = g->dtype == DWCONV_S8;
    const int32_t seen = dwc_s8_seen(s->kernels, is_signed, g->values[n->inputs[0]].zero_point);
    s->flip = dwc_s8_flip(s->kernels, is_signed);
    s->fill = (uint8_t)g->values[n->inputs[0]].zero_point;
    s->end = (dwc_s8_end){.zero_point = n->quant.before.zero_point,
                          .low = n->quant.low,
                          .high = n->quant.high,
                          .fits = products_fit(g, n, s, s->groups * s->group_outputs),
                          .sums = g->rounding == DWCONV_ROUND_TFLITE};
    s->packed = at + p->weights;
    if (!s->is_depthwise) {
        pack_matrix(g, n, s, seen, p, at);
        return;
    }
    dwc_s8_group *index = (dwc_s8_group *)(void *)(at + p->index);
    dwc_s8_pack_depthwise(&s->lines, s->kernels, &n->quant.filter, n->bias, seen, multipliers, index,
                          at + p->weights);
    s->index = index;
}

void dwc_pack_s8(const dwc_graph *g, dwc_node *n, const dwc_s8_kernels *kernels, void *memory) {
    parts p = {0};
    char *at = memory;
    dwc_s8_stage s = stage_of(g, n, kernels);
    const int64_t outputs = s.groups * s.group_outputs;
    const int twice = g->rounding == DWCONV_ROUND_TFLITE;
    (void)parts_of(g, n, &s, &p);
    int32_t *start = (int32_t *)(void *)(at + p.start);
    dwc_fixed *fixed = (dwc_fixed *)(void *)(at + p.factors);
    float *multiplier = (float *)(void *)(twice ? fixed + outputs : fixed);
    for (int64_t c = 0; c < outputs; c++) {
        start[c] = start_of(n, &s, outputs, c);
        multiplier[c] = dwc_multiplier(g, n, c);
        if (twice) fixed[c] = dwc_fixed_multiplier(g, n, c);
    }
    uint8_t *table = (uint8_t *)at + p.table;
    if (n->quant.has_table) dwc_fill_table(g, n, table);
    s.requant = (dwc_requant){.start = start,
                              .multiplier = twice ? NULL : multiplier,
                              .fixed = twice ? fixed : NULL,
                              .fits = twice && fixed_fit(n, &s, fixed, outputs),
                              .table = n->quant.has_table ? table : NULL,
                              .zero_point = n->quant.before.zero_point,
                              .low = n->quant.low,
                              .high = n->quant.high,
                              .flip = dwc_flip(g->dtype)};
    if (s.kernels)
        pack_kernels(g, n, &s, &p, multiplier, at);
    else
        pack_plain(n, &s, outputs, (int16_t *)(void *)(at + p.weights));
    memcpy(memory, &s, sizeof s);
    n->s8 = memory;
    n->quant = (dwc_node_quant){0};
}
