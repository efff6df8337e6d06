/* Graph -> chosen kernels -> packed weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

/* ---- the choice of kernels ---------------------------------------------------------------- */

/* Tiles for dense windows of a size and a stride: the first row that fits, or NULL. */
static const dwc_dw_kernel *find_tiles(const dwc_kernel_table *table, int64_t kernel, int64_t stride,
                                       dwc_dw_spreads spreads) {
    for (int i = 0; i < table->tile_count; i++) {
        const dwc_dw_kernel *row = &table->tiles[i];
        const int suits = spreads ? (row->spreads & (int)spreads) != 0 : !row->spreads;
        if (row->kernel == kernel && row->stride == stride && suits) return row;
    }
    return NULL;
}

/* Vectors that hold several pixels. With 5 channels and more they hold little more than one of half the length. */
static int few_channels(const dwc_depthwise_stage *s, const dwc_kernel_table *table) {
    const dwconv_window *w = &s->window;
    return s->channels <= 4 && 2 * s->channels <= table->lanes && s->multiplier == 1 && w->stride_h == 1 &&
           w->stride_w == 1 && w->kernel_w <= DWC_FLAT_TAPS;
}

/* With a dilation d, every d-th pixel makes a dense image, whose stride is what they have no divisor in common for. */
static void choose_depthwise(dwc_depthwise_stage *s, const dwc_kernel_table *table) {
    const dwconv_window *w = &s->window;
    const int64_t stride = w->stride_h / common_divisor(w->stride_h, w->dilation_h);
    const int square =
        w->kernel_h == w->kernel_w && stride == w->stride_w / common_divisor(w->stride_w, w->dilation_w);
    const dwc_dw_spreads spreads = s->multiplier == 1     ? DWC_SPREADS_NONE
                                   : s->group_inputs == 1 ? DWC_SPREADS_ONE
                                                          : DWC_SPREADS_SOME;
    s->kernel = square ? find_tiles(table, w->kernel_h, stride, spreads) : NULL;
    s->repeated = few_channels(s, table);
    s->overlaps = table->overlaps && s->channels > table->lanes && s->channels % table->lanes;
}

/* AVX-512 has no tiles of 56 columns. */
static int has_tiles(const dwc_kernel_table *table, int64_t width) {
    return width <= table->panel_width - table->lanes || width == table->panel_width;
}

/* One panel if it is of whole vectors, or of one and a half; 40 columns are better 24 and 16 (92 % of peak against
 * 86 with 17 inputs, 98 against 92 with 120). More columns: the widest panel that divides them or leaves a rest of
 * 16 or more: 64, 48 or 32 columns with AVX-512 (6x64, 9x48 and 14x32 tiles), 24 or 16 with AVX2. Wide panels write
 * whole stretches of a pixel's channels at once: 16 -> 96 runs at 92 % of peak with panels of 64 and 32, at 89 %
 * with two of 48, and 24 -> 144 at 95 % with 64, 64 and 16, at 91 % with three of 48. */
int64_t dwc_panel_width(const dwc_kernel_table *table, int64_t padded) {
    if (padded <= table->panel_width) {
        const int simple = padded <= 2 * table->lanes || padded % table->lanes == 0;
        return simple ? padded : round_up(padded / 2, table->panel_unit);
    }
    for (int64_t width = table->panel_width; width >= 2 * table->lanes; width -= table->lanes) {
        const int64_t rest = padded % width;
        if (rest == 0 || (rest >= 16 && has_tiles(table, rest))) return width;
    }
    return table->panel_width;
}

/* Few outputs leave most of a panel empty. Their inputs lie along the lanes instead, if those of a pixel fill a vector, and
 * with more than two outputs several of them, since every sum of lanes takes some steps. */
static int sums_along_inputs(const dwc_matmul_stage *s, const dwc_kernel_table *table) {
    return s->group_outputs <= table->dot_outputs && s->group_inputs >= table->panel_unit &&
           s->depth >= (s->group_outputs > 2 ? 4 : 1) * table->panel_unit;
}

void dwc_choose_matmul(dwc_matmul_stage *s, const dwc_kernel_table *table) {
    s->depth = s->window.kernel_h * s->window.kernel_w * s->group_inputs;
    const int dots = sums_along_inputs(s, table);
    s->kernel = dots ? &table->dots : &table->matrix;
    s->padded = dots ? s->group_outputs : round_up(s->group_outputs, table->panel_unit);
    s->panel = dots ? 1 : dwc_panel_width(table, s->padded);
    s->joins = !dots || s->group_inputs % table->panel_unit == 0;
}

/* ---- stages ------------------------------------------------------------------------------- */

static dwc_depthwise_stage depthwise_stage(const dwc_node *n, int64_t inputs, int64_t outputs) {
    dwconv_window window = n->window;
    if (window.kernel_h == 1) window.dilation_h = 1; /* a single tap is as good without */
    if (window.kernel_w == 1) window.dilation_w = 1;
    const int clip = n->activation.kind == DWCONV_CLIP;
    return (dwc_depthwise_stage){.window = window,
                                 .in_channels = inputs,
                                 .group_inputs = inputs / n->groups,
                                 .multiplier = outputs / n->groups,
                                 .channels = outputs,
                                 .activation = n->activation,
                                 .low = clip ? n->activation.a : -INFINITY,
                                 .high = clip ? n->activation.b : INFINITY};
}

static dwc_matmul_stage matmul_stage(const dwc_node *n, int64_t inputs, int64_t outputs) {
    return (dwc_matmul_stage){.window = n->window,
                              .groups = n->groups,
                              .group_inputs = inputs / n->groups,
                              .group_outputs = outputs / n->groups,
                              .activation = n->activation};
}

/* Groups of few outputs, of which a panel is mostly padding, where a vector of outputs has whole groups, whose inputs fit a
 * vector too. Larger windows gain with wider groups as well: tiles share what they read. Without masks vectors are whole.
 * Not a window of one column: in a sequence it goes along a row, where taps would come in another order. Nor groups of a
 * whole vector with stride 2, where tiles share fewer inputs and a panel has no padding (RegNet: 1.2 to 1.45 times as fast). */
static int has_thin_groups(const dwc_node *n, int64_t inputs, int64_t outputs,
                           const dwc_kernel_table *table) {
    const dwconv_window *w = &n->window;
    const int64_t group_inputs = inputs / n->groups, group_outputs = outputs / n->groups;
    const int64_t lanes = table->lanes, least = table->overlaps ? lanes : 1;
    const int64_t most = w->kernel_w > 1 ? table->thin_outputs : w->kernel_h > 1 ? 0 : table->panel_unit - 1;
    if (group_outputs == DWC_LINE_FLOATS && w->stride_w > 1) return 0;
    return n->groups > 1 && group_outputs <= smaller(most, table->thin_outputs) &&
           group_inputs <= group_outputs && lanes % group_outputs == 0 && inputs >= least && outputs >= least;
}

/* A depthwise layer of one channel is a dense one; so it runs if there are outputs to share the broadcast input. */
static void choose_op(const dwc_graph *g, const dwc_kernel_table *table) {
    dwc_node *n = g->nodes;
    const int64_t inputs = g->values[0].channels, outputs = g->values[1].channels;
    if (g->node_count != 1) return;
    if (inputs == 1 && outputs > table->lanes / 4)
        n->op = DWC_MATRIX;
    else if (has_thin_groups(n, inputs, outputs, table))
        n->op = DWC_DEPTHWISE;
}

static void make_stages(const dwc_graph *g, const dwc_kernel_table *table) {
    choose_op(g, table);
    for (dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        const int64_t inputs = g->values[n->inputs[0]].channels;
        const dwc_value *output = &g->values[n->output];
        if (n->op == DWC_DEPTHWISE) {
            n->depthwise = depthwise_stage(n, inputs, output->channels);
            choose_depthwise(&n->depthwise, table);
        } else if (n->op == DWC_MATRIX) {
            n->matrix = matmul_stage(n, inputs, output->channels);
            dwc_choose_matmul(&n->matrix, table);
        }
    }
}

/* ---- memory ------------------------------------------------------------------------------- */

/* A plan in one piece of memory: itself, nodes, values, then the weights of each node. */

static size_t aligned(size_t bytes) {
    return (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
}

static size_t nodes_at(void) { return aligned(sizeof(dwconv_plan)); }

static size_t values_at(const dwc_graph *g) {
    return nodes_at() + aligned((size_t)g->node_count * sizeof *g->nodes);
}

static int packed_bytes(const dwc_graph *g, const dwc_node *n, const dwc_kernel_table *table,
                        int64_t *bytes) {
    *bytes = 0;
    if (n->op != DWC_DEPTHWISE && n->op != DWC_MATRIX) return 1;
    if (dwc_is_quantized(g)) return dwc_s8_bytes(g, n, table->s8, bytes);
    if (n->op == DWC_DEPTHWISE) return dwc_depthwise_bytes(&n->depthwise, table->lanes, bytes);
    return dwc_matmul_bytes(&n->matrix, bytes);
}

static void find_chain(dwconv_plan *plan) {
    if (dwc_is_quantized(&plan->graph) || !dwc_find_chain(&plan->graph, &plan->chain))
        plan->chain = (dwc_chain){0};
}

/* Decides where weights lie, and the size of the plan. */
static dwconv_status lay_out(dwconv_plan *plan) {
    const dwc_graph *g = &plan->graph;
    plan->bytes = values_at(g) + aligned((size_t)g->value_count * sizeof *g->values);
    for (dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        int64_t bytes;
        n->weights = plan->bytes;
        if (!packed_bytes(g, n, plan->table, &bytes) ||
            (uint64_t)bytes > PTRDIFF_MAX - plan->bytes - DWCONV_ALIGNMENT)
            return DWCONV_OVERFLOW;
        plan->bytes += aligned((size_t)bytes);
    }
    return DWCONV_OK;
}

dwconv_status dwc_prepare_plan(const dwconv_desc *desc, const dwc_kernel_table *table, dwc_built *built,
                               dwconv_plan *plan) {
    dwconv_desc known;
    *plan = (dwconv_plan){0};
    DWC_TRY(dwc_describe(desc, &known, built));
    plan->graph = built->graph;
    plan->flush = (known.flags & DWCONV_FLUSH_DENORMAL_WEIGHTS) != 0;
    plan->table = table ? table : dwc_kernel_table_of(known.isa);
    if (!plan->table) return DWCONV_NO_ISA;
    if (dwc_is_quantized(&plan->graph))
        dwc_make_s8_stages(&plan->graph, plan->table->s8, built->stages);
    else
        make_stages(&plan->graph, plan->table);
    find_chain(plan);
    return lay_out(plan);
}

static void pack(dwconv_plan *plan, dwc_node *n) {
    void *weights = (char *)plan + n->weights;
    if (dwc_is_quantized(&plan->graph)) {
        if (n->op == DWC_DEPTHWISE || n->op == DWC_MATRIX)
            dwc_pack_s8(&plan->graph, n, plan->table->s8, weights);
    } else if (n->op == DWC_DEPTHWISE)
        dwc_pack_depthwise(&n->depthwise, n->filter, n->bias, plan->table->lanes, plan->flush, weights);
    else if (n->op == DWC_MATRIX)
        dwc_pack_matmul(&n->matrix, n->filter, n->bias, plan->flush, weights);
    n->filter = n->bias = NULL;
}

void dwc_place_plan(const dwconv_plan *prepared, dwconv_plan *plan) {
    const dwc_graph *from = &prepared->graph;
    dwc_graph *g = &plan->graph;
    *plan = *prepared;
    g->nodes = (dwc_node *)(void *)((char *)plan + nodes_at());
    g->values = (dwc_value *)(void *)((char *)plan + values_at(from));
    memcpy(g->nodes, from->nodes, (size_t)g->node_count * sizeof *g->nodes);
    memcpy(g->values, from->values, (size_t)g->value_count * sizeof *g->values);
    find_chain(plan);
}

void dwc_fill_plan(const dwconv_plan *prepared, dwconv_plan *plan) {
    dwc_place_plan(prepared, plan);
    for (int i = 0; i < plan->graph.node_count; i++) pack(plan, &plan->graph.nodes[i]);
}

dwconv_status dwconv_plan_size(const dwconv_desc *desc, size_t *bytes) {
    dwc_built built;
    dwconv_plan prepared;
    if (!bytes) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_prepare_plan(desc, NULL, &built, &prepared));
    *bytes = prepared.bytes;
    return DWCONV_OK;
}

dwconv_status dwconv_plan_create_in(const dwconv_desc *desc, void *memory, size_t bytes, dwconv_plan **plan) {
    dwc_built built;
    dwconv_plan prepared;
    if (!plan) return DWCONV_NULL_POINTER;
    *plan = NULL;
    if (!memory) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_prepare_plan(desc, NULL, &built, &prepared));
    DWC_TRY(dwc_check_sums(&prepared.graph));
    if ((uintptr_t)memory % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (bytes < prepared.bytes) return DWCONV_TOO_SMALL;
    dwc_fill_plan(&prepared, memory);
    *plan = memory;
    return DWCONV_OK;
}

dwconv_status dwconv_plan_create(const dwconv_desc *desc, dwconv_plan **plan) {
    dwc_built built;
    dwconv_plan prepared;
    if (!plan) return DWCONV_NULL_POINTER;
    *plan = NULL;
    DWC_TRY(dwc_prepare_plan(desc, NULL, &built, &prepared));
    DWC_TRY(dwc_check_sums(&prepared.graph));
    void *memory = dwc_allocate(prepared.bytes);
    if (!memory) return DWCONV_NO_MEMORY;
    prepared.owns_memory = 1;
    dwc_fill_plan(&prepared, memory);
    *plan = memory;
    return DWCONV_OK;
}

void dwconv_plan_destroy(dwconv_plan *plan) {
    if (plan && plan->owns_memory) free(plan);
}

/* ---- what was chosen ---------------------------------------------------------------------- */

size_t dwconv_plan_bytes(const dwconv_plan *plan) { return plan ? plan->bytes : 0; }

const char *dwconv_plan_isa(const dwconv_plan *plan) { return plan ? dwc_table_name(plan->table) : NULL; }

dwconv_status dwconv_output_shape(const dwconv_plan *plan, const int64_t input[4], int64_t output[4]) {
    if (!plan || !input || !output) return DWCONV_NULL_POINTER;
    return dwc_output_shape(&plan->graph, input, output);
}

const char *dwconv_status_string(dwconv_status status) {
    switch (status) {
        case DWCONV_OK: return "success";
        case DWCONV_NULL_POINTER: return "a required pointer is NULL";
        case DWCONV_BAD_SIZE: return "a descriptor of a size that this version of the library does not take";
        case DWCONV_BAD_VALUE: return "an enumerator, flag or thread count that does not exist";
        case DWCONV_BAD_DTYPE: return "a dtype that the operation has no kernel for";
        case DWCONV_BAD_SHAPE: return "a size below 1, or sizes that do not fit together";
        case DWCONV_BAD_STRIDE: return "a stride or dilation of the window that is not allowed";
        case DWCONV_BAD_PADDING: return "negative padding, or padding sizes without explicit padding";
        case DWCONV_BAD_ACTIVATION: return "an unknown activation, or bounds that are NaN or swapped";
        case DWCONV_BAD_RESIDUAL:
            return "a residual was demanded but strides are not 1, or input and output differ in shape";
        case DWCONV_BAD_LAYOUT: return "tensor strides make elements of the output share memory";
        case DWCONV_KERNEL_TOO_LARGE: return "the dilated kernel is larger than the padded input";
        case DWCONV_OVERFLOW: return "a size does not fit the address space";
        case DWCONV_OVERLAP: return "the output shares memory with the input or the scratch";
        case DWCONV_MISALIGNED: return "memory is not aligned as documented";
        case DWCONV_TOO_SMALL: return "plan memory, scratch or a text buffer is smaller than needed";
        case DWCONV_NO_MEMORY: return "memory for the plan could not be allocated";
        case DWCONV_NO_ISA:
            return "an instruction set that does not exist, or that this build or this CPU lacks";
        case DWCONV_BAD_QUANTIZATION:
            return "a scale, zero point or clamp that cannot be, or sums that may leave 32 bits";
        default: return "an unknown status";
    }
}
