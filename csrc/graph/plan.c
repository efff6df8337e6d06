/* Descriptor -> checked geometry -> chosen kernels -> packed weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../internal.h"

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* ---- the choice of kernels ---------------------------------------------------------------- */

static const dwc_kernel *find_kernel(const dwc_kernel_table *table, dwconv_operation operation,
                                     dwconv_dtype dtype, int64_t kernel, int64_t stride) {
    for (int i = 0; i < table->kernel_count; i++) {
        const dwc_kernel *row = &table->kernels[i];
        if (row->operation == operation && row->dtype == dtype &&
            (row->kernel == 0 || row->kernel == kernel) && (row->stride == 0 || row->stride == stride))
            return row;
    }
    return NULL;
}

/* Vectors that hold several pixels. With 5 channels and more they hold little more than one of half the length. */
static int few_channels(const dwc_depthwise_stage *s, const dwc_kernel_table *table) {
    const dwconv_window *w = &s->window;
    return s->channels <= 4 && 2 * s->channels <= table->lanes && s->multiplier == 1 && w->stride_h == 1 &&
           w->stride_w == 1 && w->kernel_w <= DWC_FLAT_TAPS;
}

static void choose_depthwise(dwc_depthwise_stage *s, const dwc_kernel_table *table, dwconv_dtype dtype) {
    const dwconv_window *w = &s->window;
    const int square = w->kernel_h == w->kernel_w && w->stride_h == w->stride_w;
    const int dense = w->dilation_h == 1 && w->dilation_w == 1;
    int64_t kernel = -1;
    if (square && dense && s->multiplier == 1)
        kernel = w->kernel_h;
    else if (square && w->kernel_h == 3 && (dense || w->stride_h == 1))
        kernel = s->multiplier == 1 ? DWC_DILATED : DWC_ROLLS;
    s->kernel = find_kernel(table, DWCONV_DEPTHWISE, dtype, kernel, w->stride_h);
    s->repeated = few_channels(s, table);
    s->overlaps = table->overlaps && s->channels > table->lanes && s->channels % table->lanes;
    if (s->repeated) {
        s->otherwise = s->kernel;
        s->kernel = find_kernel(table, DWCONV_DEPTHWISE, dtype, DWC_FLAT, 1);
    }
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
static int64_t panel_width(const dwc_kernel_table *table, int64_t padded) {
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

static void choose_matmul(dwc_matmul_stage *s, const dwc_kernel_table *table, dwconv_dtype dtype) {
    s->kernel = find_kernel(table, DWCONV_CONV, dtype, 0, 0);
    s->depth = s->window.kernel_h * s->window.kernel_w * s->group_inputs;
    s->padded = round_up(s->group_outputs, table->panel_unit);
    s->panel = panel_width(table, s->padded);
}

/* ---- stages ------------------------------------------------------------------------------- */

static dwc_depthwise_stage depthwise_stage(const dwconv_depthwise_desc *d) {
    dwconv_window window = d->window;
    if (window.kernel_h == 1) window.dilation_h = 1; /* a single tap is as good without */
    if (window.kernel_w == 1) window.dilation_w = 1;
    const int clip = d->activation.kind == DWCONV_CLIP;
    return (dwc_depthwise_stage){.window = window,
                                 .in_channels = d->channels,
                                 .multiplier = d->multiplier,
                                 .channels = d->channels * d->multiplier,
                                 .activation = d->activation,
                                 .low = clip ? d->activation.a : -INFINITY,
                                 .high = clip ? d->activation.b : INFINITY};
}

static dwc_matmul_stage pointwise_stage(const dwconv_pointwise_desc *p) {
    return (dwc_matmul_stage){.window = dwc_pointwise_window(p),
                              .groups = 1,
                              .group_inputs = p->in_channels,
                              .group_outputs = p->out_channels,
                              .activation = p->activation};
}

static dwc_matmul_stage conv_stage(const dwconv_conv_desc *c) {
    return (dwc_matmul_stage){.window = c->window,
                              .groups = c->groups,
                              .group_inputs = c->in_channels / c->groups,
                              .group_outputs = c->out_channels / c->groups,
                              .activation = c->activation};
}

/* A dense convolution with one input channel per group is a depthwise one: [kh, kw, 1, C * m] and
 * [kh, kw, C, m] are the same memory. */
static dwconv_depthwise_desc as_depthwise(const dwconv_conv_desc *c) {
    return (dwconv_depthwise_desc){.channels = c->in_channels,
                                   .multiplier = c->out_channels / c->in_channels,
                                   .window = c->window,
                                   .filter = c->filter,
                                   .bias = c->bias,
                                   .activation = c->activation};
}

/* And a depthwise convolution of one channel is a dense one; so it runs if there are outputs to share
 * the broadcast input. */
static dwconv_conv_desc as_conv(const dwconv_depthwise_desc *d) {
    return (dwconv_conv_desc){.in_channels = 1,
                              .out_channels = d->multiplier,
                              .groups = 1,
                              .window = d->window,
                              .filter = d->filter,
                              .bias = d->bias,
                              .activation = d->activation};
}

/* The weights of the stages of a plan, in the order of execution. */
typedef struct sources {
    const float *expand, *expand_bias, *depthwise, *depthwise_bias, *matmul, *matmul_bias;
    const float *squeeze, *squeeze_bias, *excite, *excite_bias;
} sources;

static void use_depthwise(dwconv_plan *plan, const dwconv_depthwise_desc *d, sources *from) {
    plan->depthwise = depthwise_stage(d);
    plan->has_depthwise = 1;
    from->depthwise = d->filter;
    from->depthwise_bias = d->bias;
}

static void use_matmul(dwconv_plan *plan, dwc_matmul_stage stage, const float *filter, const float *bias,
                       sources *from) {
    plan->matmul = stage;
    plan->has_matmul = 1;
    from->matmul = filter;
    from->matmul_bias = bias;
}

static void use_conv(dwconv_plan *plan, const dwconv_conv_desc *c, sources *from) {
    use_matmul(plan, conv_stage(c), c->filter, c->bias, from);
}

static void use_squeeze(dwconv_plan *plan, const dwconv_inverted_residual_desc *r, sources *from) {
    plan->squeeze = pointwise_stage(&r->squeeze);
    plan->excite = pointwise_stage(&r->excite);
    plan->has_squeeze = 1;
    from->squeeze = r->squeeze.filter;
    from->squeeze_bias = r->squeeze.bias;
    from->excite = r->excite.filter;
    from->excite_bias = r->excite.bias;
}

static void make_stages(dwconv_plan *plan, sources *from) {
    const dwconv_desc *d = &plan->desc;
    const dwconv_inverted_residual_desc *r = &d->inverted_residual;
    switch (d->operation) {
        case DWCONV_DEPTHWISE:
            if (d->depthwise.channels == 1 && d->depthwise.multiplier > plan->table->lanes / 4) {
                const dwconv_conv_desc conv = as_conv(&d->depthwise);
                use_conv(plan, &conv, from);
            } else {
                use_depthwise(plan, &d->depthwise, from);
            }
            break;
        case DWCONV_POINTWISE:
            use_matmul(plan, pointwise_stage(&d->pointwise), d->pointwise.filter, d->pointwise.bias, from);
            break;
        case DWCONV_CONV:
            if (d->conv.groups == d->conv.in_channels && d->conv.in_channels > 1) {
                const dwconv_depthwise_desc depthwise = as_depthwise(&d->conv);
                use_depthwise(plan, &depthwise, from);
            } else {
                use_conv(plan, &d->conv, from);
            }
            break;
        case DWCONV_SEPARABLE:
            use_depthwise(plan, &d->separable.depthwise, from);
            use_matmul(plan, pointwise_stage(&d->separable.pointwise), d->separable.pointwise.filter,
                       d->separable.pointwise.bias, from);
            break;
        default:
            if (r->expand.filter) {
                plan->expand = pointwise_stage(&r->expand);
                plan->has_expand = 1;
                from->expand = r->expand.filter;
                from->expand_bias = r->expand.bias;
            }
            use_depthwise(plan, &r->depthwise, from);
            if (r->squeeze.filter) use_squeeze(plan, r, from);
            use_matmul(plan, pointwise_stage(&r->project), r->project.filter, r->project.bias, from);
    }
    if (plan->has_expand) choose_matmul(&plan->expand, plan->table, d->dtype);
    if (plan->has_depthwise) choose_depthwise(&plan->depthwise, plan->table, d->dtype);
    if (plan->has_squeeze) {
        choose_matmul(&plan->squeeze, plan->table, d->dtype);
        choose_matmul(&plan->excite, plan->table, d->dtype);
    }
    if (plan->has_matmul) choose_matmul(&plan->matmul, plan->table, d->dtype);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Where the weights of each stage begin, in bytes from the plan; `end` is its size. */
typedef struct plan_layout {
    size_t expand, depthwise, squeeze, excite, matmul, end;
} plan_layout;

static int reserve(size_t *end, int64_t floats) {
    const size_t limit = PTRDIFF_MAX - *end;
    if ((uint64_t)floats > (limit - DWCONV_ALIGNMENT) / sizeof(float)) return 0;
    *end += ((size_t)floats * sizeof(float) + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
    return 1;
}

static int reserve_matmul(size_t *end, const dwc_matmul_stage *s) {
    int64_t floats;
    return dwc_matmul_floats(s, &floats) && reserve(end, floats);
}

static dwconv_status lay_out(const dwconv_plan *plan, plan_layout *at) {
    int64_t floats;
    size_t end = (sizeof *plan + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
    at->expand = end;
    if (plan->has_expand && !reserve_matmul(&end, &plan->expand)) return DWCONV_OVERFLOW;
    at->depthwise = end;
    if (plan->has_depthwise &&
        !(dwc_depthwise_floats(&plan->depthwise, plan->table->lanes, &floats) && reserve(&end, floats)))
        return DWCONV_OVERFLOW;
    at->squeeze = end;
    if (plan->has_squeeze && !reserve_matmul(&end, &plan->squeeze)) return DWCONV_OVERFLOW;
    at->excite = end;
    if (plan->has_squeeze && !reserve_matmul(&end, &plan->excite)) return DWCONV_OVERFLOW;
    at->matmul = end;
    if (plan->has_matmul && !reserve_matmul(&end, &plan->matmul)) return DWCONV_OVERFLOW;
    at->end = end;
    return DWCONV_OK;
}

static dwconv_status prepare(const dwconv_desc *desc, dwconv_plan *plan, sources *from, plan_layout *at) {
    *plan = (dwconv_plan){0};
    *from = (sources){0};
    const dwconv_status status = dwc_normalize(desc, &plan->desc);
    if (status != DWCONV_OK) return status;
    if ((unsigned)desc->isa >= DWCONV_ISA_COUNT) return DWCONV_BAD_VALUE;
    plan->table = dwc_kernel_table_of(desc->isa);
    if (!plan->table) return DWCONV_NO_ISA;
    make_stages(plan, from);
    return lay_out(plan, at);
}

static void fill(dwconv_plan *plan, const dwconv_plan *prepared, const sources *from, const plan_layout *at) {
    char *base = (char *)plan;
    const int flush = (prepared->desc.flags & DWCONV_FLUSH_DENORMAL_WEIGHTS) != 0;
    *plan = *prepared;
    plan->bytes = at->end;
    if (plan->has_expand)
        dwc_pack_matmul(&plan->expand, from->expand, from->expand_bias, flush,
                        (float *)(void *)(base + at->expand));
    if (plan->has_depthwise)
        dwc_pack_depthwise(&plan->depthwise, from->depthwise, from->depthwise_bias, plan->table->lanes, flush,
                           (float *)(void *)(base + at->depthwise));
    if (plan->has_squeeze) {
        dwc_pack_matmul(&plan->squeeze, from->squeeze, from->squeeze_bias, flush,
                        (float *)(void *)(base + at->squeeze));
        dwc_pack_matmul(&plan->excite, from->excite, from->excite_bias, flush,
                        (float *)(void *)(base + at->excite));
    }
    if (plan->has_matmul)
        dwc_pack_matmul(&plan->matmul, from->matmul, from->matmul_bias, flush,
                        (float *)(void *)(base + at->matmul));
    dwc_parallel_init();
}

dwconv_status dwconv_plan_size(const dwconv_desc *desc, size_t *bytes) {
    dwconv_plan prepared;
    sources from;
    plan_layout at;
    if (!bytes) return DWCONV_NULL_POINTER;
    const dwconv_status status = prepare(desc, &prepared, &from, &at);
    if (status == DWCONV_OK) *bytes = at.end;
    return status;
}

dwconv_status dwconv_plan_create_in(const dwconv_desc *desc, void *memory, size_t bytes, dwconv_plan **plan) {
    dwconv_plan prepared;
    sources from;
    plan_layout at;
    if (!plan) return DWCONV_NULL_POINTER;
    *plan = NULL;
    if (!memory) return DWCONV_NULL_POINTER;
    const dwconv_status status = prepare(desc, &prepared, &from, &at);
    if (status != DWCONV_OK) return status;
    if ((uintptr_t)memory % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (bytes < at.end) return DWCONV_TOO_SMALL;
    fill(memory, &prepared, &from, &at);
    *plan = memory;
    return DWCONV_OK;
}

dwconv_status dwconv_plan_create(const dwconv_desc *desc, dwconv_plan **plan) {
    dwconv_plan prepared;
    sources from;
    plan_layout at;
    if (!plan) return DWCONV_NULL_POINTER;
    *plan = NULL;
    const dwconv_status status = prepare(desc, &prepared, &from, &at);
    if (status != DWCONV_OK) return status;
    void *memory = aligned_alloc(DWCONV_ALIGNMENT, at.end);
    if (!memory) return DWCONV_NO_MEMORY;
    prepared.owns_memory = 1;
    fill(memory, &prepared, &from, &at);
    *plan = memory;
    return DWCONV_OK;
}

void dwconv_plan_destroy(dwconv_plan *plan) {
    if (plan && plan->owns_memory) free(plan);
}

/* ---- what was chosen ---------------------------------------------------------------------- */

size_t dwconv_plan_bytes(const dwconv_plan *plan) { return plan ? plan->bytes : 0; }

dwconv_isa dwconv_plan_isa(const dwconv_plan *plan) { return plan ? plan->table->isa : DWCONV_ISA_AUTO; }

/* A stage in the order of execution. */
typedef struct chosen {
    const char *kernel;
    int64_t panel;
} chosen;

static chosen chosen_for(const dwconv_plan *plan, int index) {
    chosen stages[5];
    int count = 0;
    if (!plan) return (chosen){NULL, 0};
    if (plan->has_expand) stages[count++] = (chosen){plan->expand.kernel->name, plan->expand.panel};
    if (plan->has_depthwise) stages[count++] = (chosen){plan->depthwise.kernel->name, 0};
    if (plan->has_squeeze) {
        stages[count++] = (chosen){plan->squeeze.kernel->name, plan->squeeze.panel};
        stages[count++] = (chosen){plan->excite.kernel->name, plan->excite.panel};
    }
    if (plan->has_matmul) stages[count++] = (chosen){plan->matmul.kernel->name, plan->matmul.panel};
    return index >= 0 && index < count ? stages[index] : (chosen){NULL, 0};
}

const char *dwconv_plan_kernel(const dwconv_plan *plan, int index) { return chosen_for(plan, index).kernel; }

int64_t dwconv_plan_panel(const dwconv_plan *plan, int index) { return chosen_for(plan, index).panel; }

dwconv_status dwconv_output_shape(const dwconv_plan *plan, const int64_t input[4], int64_t output[4]) {
    if (!plan || !input || !output) return DWCONV_NULL_POINTER;
    return dwc_output_shape(&plan->desc, input, output);
}

const char *dwconv_status_string(dwconv_status status) {
    switch (status) {
        case DWCONV_OK: return "success";
        case DWCONV_NULL_POINTER: return "a required pointer is NULL";
        case DWCONV_BAD_VALUE: return "an enumerator, flag or thread count that does not exist";
        case DWCONV_BAD_DTYPE: return "a dtype that the operation has no kernel for";
        case DWCONV_BAD_SHAPE: return "a size below 1, or sizes that do not fit together";
        case DWCONV_BAD_STRIDE: return "a stride or dilation of the window that is not allowed";
        case DWCONV_BAD_PADDING: return "negative padding, or padding sizes without explicit padding";
        case DWCONV_BAD_ACTIVATION: return "an unknown activation, or bounds that are NaN or swapped";
        case DWCONV_BAD_RESIDUAL: return "a residual was demanded but input and output differ in shape";
        case DWCONV_BAD_LAYOUT: return "tensor strides make elements of the output share memory";
        case DWCONV_KERNEL_TOO_LARGE: return "the dilated kernel is larger than the padded input";
        case DWCONV_OVERFLOW: return "a size does not fit the address space";
        case DWCONV_OVERLAP: return "the output shares memory with the input or the scratch";
        case DWCONV_MISALIGNED: return "memory is not aligned as documented";
        case DWCONV_TOO_SMALL: return "plan memory or scratch is smaller than asked for";
        case DWCONV_NO_MEMORY: return "memory for the plan could not be allocated";
        case DWCONV_NO_ISA: return "an instruction set that this build or this CPU lacks";
        default: return "an unknown status";
    }
}
