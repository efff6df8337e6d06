/* Descriptors -> networks: every node is checked, its weights are packed, every value gets its place. */
#include <stdlib.h>
#include <string.h>

#include "../schedule/arena.h"
#include "network.h"

/* Values, or nodes: more are no network but an accident. */
enum { MOST_COUNT = 1 << 24 };

/* What is being made, and of what. */
typedef struct making {
    dwconv_network_desc desc;
    const dwc_kernel_table *table;
    dwconv_threads threads;
    int32_t node;  /* that is looked at; -1: none */
    int64_t plans; /* bytes of all plans up to here, and of what is bound to them */
} making;

/* A node that was looked at. */
typedef struct looked {
    dwconv_node node;
    const dwc_node_class *class;
    dwconv_value in[DWCONV_NODE_INPUTS], out;
    dwc_built built; /* memory of the plan */
    dwconv_plan plan;
    dwc_byte_parameters parameters;
    size_t scratch_bytes, bound_bytes;
} looked;

static int64_t aligned(int64_t bytes) { return round_up(bytes, DWCONV_ALIGNMENT); }

/* ---- one node ----------------------------------------------------------------------------- */

/* By the dtype of the first input; of FILL and QUANTIZE, which have none of 8 bits, by that of the output. */
static dwconv_status find_class(const making *m, looked *l) {
    const dwconv_node *n = &l->node;
    dwconv_value v;
    const int by_output = n->kind == DWCONV_FILL || n->kind == DWCONV_QUANTIZE;
    DWC_TRY(dwc_take_value(&m->desc, by_output ? n->output : n->inputs[0], &v));
    l->class = dwc_node_class_of(n->kind, dwc_unit(v.dtype) == 1);
    if (l->class) return DWCONV_OK;
    return dwc_node_class_of(n->kind, dwc_unit(v.dtype) != 1) ? DWCONV_BAD_DTYPE : DWCONV_BAD_VALUE;
}

static dwconv_status check_types(const looked *l) {
    const dwc_types types = l->class->types;
    const dwconv_dtype dtype = l->out.dtype;
    if (types == DWC_TYPES_OWN) return DWCONV_OK;
    if (types == DWC_TYPES_FLOATS && dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    if (types == DWC_TYPES_BYTES && dwc_unit(dtype) != 1) return DWCONV_BAD_DTYPE;
    for (int i = 0; i < l->class->inputs; i++)
        if (l->in[i].dtype != dtype) return DWCONV_BAD_DTYPE;
    return DWCONV_OK;
}

static dwconv_status take_operands(const making *m, looked *l) {
    const dwconv_node *n = &l->node;
    for (int i = 0; i < l->class->inputs; i++) DWC_TRY(dwc_take_value(&m->desc, n->inputs[i], &l->in[i]));
    DWC_TRY(dwc_take_value(&m->desc, n->output, &l->out));
    DWC_TRY(check_types(l));
    dwconv_value base;
    DWC_TRY(dwc_take_value(&m->desc, l->out.base, &base));
    const int is_written =
        base.storage == DWCONV_WORKSPACE || base.storage == DWCONV_OUTPUT || base.storage == DWCONV_STATE;
    if (!is_written) return DWCONV_BAD_VALUE;
    return dwc_check_memory(&l->out, l->in, l->class->inputs, l->class->in_place);
}

/* Checks node m->node and finds out what it needs. */
static dwconv_status look_at(const making *m, looked *l) {
    dwconv_node *n = &l->node;
    DWC_TRY(dwc_take_node(&m->desc, m->node, n));
    DWC_TRY(find_class(m, l));
    DWC_TRY(take_operands(m, l));
    dwc_node_call call = {.node = n,
                          .table = m->table,
                          .rounding = m->desc.quant_rounding,
                          .parameters = &l->parameters,
                          .out = dwc_array_of(&l->out),
                          .threads = &m->threads};
    for (int i = 0; i < l->class->inputs; i++) {
        call.in[i] = dwc_array_of(&l->in[i]);
        if (l->in[i].storage == DWCONV_CONSTANT) call.in[i].bytes = (uint8_t *)(uintptr_t)l->in[i].data;
    }
    l->plan.bytes = 0;
    if (n->kind == DWCONV_CONVOLUTION) {
        DWC_TRY(dwc_prepare_plan(n->operation, m->table, &l->built, &l->plan));
        call.plan = &l->plan;
    }
    DWC_TRY(l->class->check(&call));
    memset(&l->parameters, 0, sizeof l->parameters);
    if (l->class->prepare) DWC_TRY(l->class->prepare(&call, &l->parameters));
    l->scratch_bytes = 0;
    l->bound_bytes = l->class->bound_bytes ? l->class->bound_bytes(&call) : 0;
    return l->class->scratch ? l->class->scratch(&call, &l->scratch_bytes) : DWCONV_OK;
}

/* ---- sizes -------------------------------------------------------------------------------- */

static int64_t values_at(void) { return aligned(sizeof(dwconv_network)); }

static int64_t steps_at(const dwconv_network_desc *d) {
    return values_at() + aligned(d->value_count * (int64_t)sizeof(dwc_placed));
}

static int64_t ports_at(const dwconv_network_desc *d) {
    return steps_at(d) + aligned(d->node_count * (int64_t)sizeof(dwc_step));
}

static int64_t plans_at(const dwconv_network_desc *d) {
    return ports_at(d) + aligned(d->value_count * (int64_t)sizeof(int32_t));
}

static int32_t most_tenants(const dwconv_network_desc *d) { return d->value_count + d->node_count; }

/* What is only needed until the plans are packed, and lies where they will: elements written of every value, tenants
 * and their values or nodes, and what placing them takes. */
static int64_t temporary_bytes(const dwconv_network_desc *d) {
    const int64_t tenants = most_tenants(d);
    return aligned(d->value_count * (int64_t)sizeof(int64_t)) +
           aligned(tenants * (int64_t)sizeof(dwc_tenant)) + aligned(tenants * (int64_t)sizeof(int32_t)) +
           aligned(dwc_arena_scratch((int32_t)tenants));
}

static int64_t network_bytes(const making *m) {
    return plans_at(&m->desc) + larger(m->plans, temporary_bytes(&m->desc));
}

/* Checks all that can be checked of a value or a node alone. */
static dwconv_status survey(const dwconv_network_desc *desc, making *m) {
    looked l;
    dwconv_value v;
    *m = (making){.node = -1};
    DWC_TRY(dwc_take_network(desc, &m->desc));
    if (m->desc.value_count > MOST_COUNT || m->desc.node_count > MOST_COUNT) return DWCONV_OVERFLOW;
    m->table = dwc_kernel_table_of(m->desc.isa);
    if (!m->table) return DWCONV_NO_ISA;
    m->threads.count = m->desc.threads;
    for (int32_t i = 0; i < m->desc.value_count; i++) DWC_TRY(dwc_take_value(&m->desc, i, &v));
    for (m->node = 0; m->node < m->desc.node_count; m->node++) {
        DWC_TRY(look_at(m, &l));
        const int64_t left = PTRDIFF_MAX / 2 - network_bytes(m);
        if (left < 0 || l.plan.bytes > (size_t)left || l.bound_bytes > (size_t)left - l.plan.bytes)
            return DWCONV_OVERFLOW;
        m->plans += aligned((int64_t)l.plan.bytes) + aligned((int64_t)l.bound_bytes);
    }
    m->node = -1;
    return network_bytes(m) > PTRDIFF_MAX / 2 ? DWCONV_OVERFLOW : DWCONV_OK;
}

/* ---- the order of execution ---------------------------------------------------------------- */

typedef struct temporary {
    int64_t *written; /* elements, by value that is no view */
    dwc_tenant *tenants;
    int32_t *owners; /* of tenants: value i, or the scratch of node -1 - i */
    void *scratch;
    int32_t count;
} temporary;

static temporary temporary_in(const dwconv_network_desc *d, char *memory) {
    temporary t = {.written = (void *)memory};
    memory += aligned(d->value_count * (int64_t)sizeof *t.written);
    t.tenants = (void *)memory;
    memory += aligned(most_tenants(d) * (int64_t)sizeof *t.tenants);
    t.owners = (void *)memory;
    t.scratch = memory + aligned(most_tenants(d) * (int64_t)sizeof *t.owners);
    return t;
}

/* Values begin as tenants of their own number, of which those that need no place are dropped later. */
static void begin_life(temporary *t, const dwconv_network *n) {
    t->count = n->value_count;
    for (int32_t i = 0; i < n->value_count; i++) {
        const dwconv_value *v = &n->values[i].value;
        const int is_written =
            v->storage == DWCONV_INPUT || v->storage == DWCONV_CONSTANT || v->storage == DWCONV_STATE;
        t->written[i] = is_written ? INT64_MAX : 0;
        t->owners[i] = i;
        t->tenants[i] = (dwc_tenant){.bytes = dwc_value_bytes(v), .first = -1};
    }
}

static void use(temporary *t, int32_t base, int32_t node) {
    dwc_tenant *tenant = &t->tenants[base];
    if (tenant->first < 0) tenant->first = node;
    tenant->last = node;
}

/* As many elements as a value has must have been written before it is read: no proof that they are the same ones, but
 * what is missing of a concatenation is found. */
static int is_written(const temporary *t, const dwconv_network *n, const dwconv_value *v) {
    const int64_t elements = dwc_elements(&n->values[v->base].value);
    return t->written[v->base] >= dwc_elements_of_base(v, elements);
}

static dwconv_status follow(temporary *t, const dwconv_network *n, int32_t i) {
    const dwc_step *step = &n->steps[i];
    const dwconv_value *out = &n->values[step->node.output].value;
    int64_t *written = &t->written[out->base], more = dwc_elements(out);
    for (int k = 0; k < step->class->inputs; k++) {
        const dwconv_value *in = &n->values[step->node.inputs[k]].value;
        if (!is_written(t, n, in)) return DWCONV_BAD_VALUE;
        if (dwc_is_same_memory(in, out)) more = 0;
        use(t, in->base, i);
    }
    *written = *written > INT64_MAX / 2 ? *written : *written + more;
    use(t, out->base, i);
    if (step->scratch_bytes) {
        t->owners[t->count] = -1 - i;
        t->tenants[t->count++] = (dwc_tenant){.bytes = (int64_t)step->scratch_bytes, .first = i, .last = i};
    }
    return DWCONV_OK;
}

static dwconv_status check_outputs(const temporary *t, const dwconv_network *n) {
    for (int32_t i = 0; i < n->value_count; i++) {
        const dwconv_value *v = &n->values[i].value;
        if (v->storage == DWCONV_OUTPUT && !is_written(t, n, v)) return DWCONV_BAD_VALUE;
    }
    return DWCONV_OK;
}

/* ---- places ------------------------------------------------------------------------------- */

/* Leaves the tenants that need a place. */
static void drop_others(temporary *t, const dwconv_network *n) {
    int32_t kept = 0;
    for (int32_t i = 0; i < t->count; i++) {
        const int32_t owner = t->owners[i];
        if (owner >= 0 && (n->values[owner].value.storage != DWCONV_WORKSPACE || t->tenants[i].first < 0))
            continue;
        t->owners[kept] = owner;
        t->tenants[kept++] = t->tenants[i];
    }
    t->count = kept;
}

static dwconv_status place(temporary *t, dwconv_network *n, dwc_placed *values, dwc_step *steps) {
    dwc_arena arena;
    drop_others(t, n);
    DWC_TRY(dwc_place_tenants(t->tenants, t->count, t->scratch, &arena));
    for (int32_t i = 0; i < t->count; i++) {
        const int32_t owner = t->owners[i];
        if (owner >= 0)
            values[owner].place = t->tenants[i].offset;
        else
            steps[-1 - owner].scratch = t->tenants[i].offset;
    }
    n->workspace_bytes = (size_t)arena.bytes;
    n->lower_bound = (size_t)arena.lower_bound;
    return DWCONV_OK;
}

/* ---- making ------------------------------------------------------------------------------- */

static dwconv_status fill_values(making *m, dwconv_network *n, dwc_placed *values, int32_t *ports) {
    for (int32_t i = 0; i < n->value_count; i++) {
        dwc_placed *placed = &values[i];
        (void)dwc_take_value(&m->desc, i, &placed->value); /* was checked */
        placed->place = -1;
        placed->array = dwc_array_of(&placed->value);
        n->has_integers |= dwc_unit(placed->value.dtype) == 1;
        if (placed->value.storage == DWCONV_INPUT || placed->value.storage == DWCONV_OUTPUT)
            ports[n->input_count + n->output_count] = i;
        if (placed->value.storage == DWCONV_INPUT) placed->place = n->input_count++;
        if (placed->value.storage == DWCONV_OUTPUT) placed->place = n->output_count++;
        if (placed->value.storage != DWCONV_STATE) continue;
        const int64_t bytes = aligned(dwc_value_bytes(&placed->value));
        if (bytes > PTRDIFF_MAX / 2 - (int64_t)n->state_bytes) return DWCONV_OVERFLOW;
        placed->place = (int64_t)n->state_bytes;
        n->state_bytes += (size_t)bytes;
    }
    return DWCONV_OK;
}

static dwconv_status fill_steps(making *m, const dwconv_network *n, temporary *t, dwc_step *steps) {
    looked l;
    for (m->node = 0; m->node < n->node_count; m->node++) {
        DWC_TRY(look_at(m, &l));
        steps[m->node] = (dwc_step){
            .node = l.node, .class = l.class, .parameters = l.parameters, .scratch_bytes = l.scratch_bytes};
        DWC_TRY(follow(t, n, m->node));
    }
    m->node = -1;
    return check_outputs(t, n);
}

static void bind_step(const making *m, const dwconv_network *n, const looked *l, dwc_step *step,
                      void *memory) {
    dwc_node_call call = {.node = &step->node,
                          .plan = step->plan,
                          .table = m->table,
                          .out = n->values[step->node.output].array,
                          .threads = &m->threads};
    for (int i = 0; i < step->class->inputs; i++) call.in[i] = n->values[step->node.inputs[i]].array;
    if (!l->bound_bytes) return;
    step->class->bind(&call, memory);
    step->bound = memory;
}

static dwconv_status pack_plans(making *m, const dwconv_network *n, dwc_step *steps, char *memory) {
    looked l;
    for (m->node = 0; m->node < n->node_count; m->node++) {
        dwc_step *step = &steps[m->node];
        if (step->node.kind != DWCONV_CONVOLUTION) continue;
        DWC_TRY(look_at(m, &l));
        DWC_TRY(dwc_check_sums(&l.plan.graph));
        step->plan = (void *)memory;
        step->node.operation = NULL; /* the caller's */
        dwc_fill_plan(&l.plan, step->plan);
        memory += aligned((int64_t)l.plan.bytes);
        bind_step(m, n, &l, step, memory);
        memory += aligned((int64_t)l.bound_bytes);
    }
    m->node = -1;
    return DWCONV_OK;
}

/* In memory of network_bytes. */
static dwconv_status make(making *m, char *memory, dwconv_network **network) {
    const dwconv_network_desc *d = &m->desc;
    dwconv_network *n = (void *)memory;
    dwc_placed *values = (void *)(memory + values_at());
    dwc_step *steps = (void *)(memory + steps_at(d));
    int32_t *ports = (void *)(memory + ports_at(d));
    temporary t = temporary_in(d, memory + plans_at(d));
    *n = (dwconv_network){.table = m->table,
                          .value_count = d->value_count,
                          .node_count = d->node_count,
                          .threads = d->threads,
                          .rounding = d->quant_rounding,
                          .bytes = (size_t)network_bytes(m),
                          .values = values,
                          .steps = steps,
                          .ports = ports};
    DWC_TRY(fill_values(m, n, values, ports));
    begin_life(&t, n);
    DWC_TRY(fill_steps(m, n, &t, steps));
    DWC_TRY(place(&t, n, values, steps));
    DWC_TRY(pack_plans(m, n, steps, memory + plans_at(d)));
    *network = n;
    return DWCONV_OK;
}

/* ---- the interface ------------------------------------------------------------------------ */

static dwconv_status report(dwconv_status status, const making *m, int *bad_node) {
    if (bad_node) *bad_node = status == DWCONV_OK ? -1 : (int)m->node;
    return status;
}

dwconv_status dwconv_network_size(const dwconv_network_desc *desc, size_t *bytes, int *bad_node) {
    making m = {.node = -1};
    if (!bytes) return report(DWCONV_NULL_POINTER, &m, bad_node);
    const dwconv_status status = survey(desc, &m);
    if (status == DWCONV_OK) *bytes = (size_t)network_bytes(&m);
    return report(status, &m, bad_node);
}

dwconv_status dwconv_network_create_in(const dwconv_network_desc *desc, void *memory, size_t bytes,
                                       dwconv_network **network, int *bad_node) {
    making m = {.node = -1};
    if (!network) return report(DWCONV_NULL_POINTER, &m, bad_node);
    *network = NULL;
    if (!memory) return report(DWCONV_NULL_POINTER, &m, bad_node);
    dwconv_status status = survey(desc, &m);
    if (status == DWCONV_OK && (uintptr_t)memory % DWCONV_ALIGNMENT) status = DWCONV_MISALIGNED;
    if (status == DWCONV_OK && bytes < (size_t)network_bytes(&m)) status = DWCONV_TOO_SMALL;
    if (status == DWCONV_OK) status = make(&m, memory, network);
    return report(status, &m, bad_node);
}

dwconv_status dwconv_network_create(const dwconv_network_desc *desc, dwconv_network **network,
                                    int *bad_node) {
    making m = {.node = -1};
    if (!network) return report(DWCONV_NULL_POINTER, &m, bad_node);
    *network = NULL;
    dwconv_status status = survey(desc, &m);
    if (status != DWCONV_OK) return report(status, &m, bad_node);
    void *memory = dwc_allocate((size_t)network_bytes(&m));
    if (!memory) return report(DWCONV_NO_MEMORY, &m, bad_node);
    status = make(&m, memory, network);
    if (status == DWCONV_OK)
        (*network)->owns_memory = 1;
    else
        free(memory);
    return report(status, &m, bad_node);
}

void dwconv_network_destroy(dwconv_network *network) {
    if (network && network->owns_memory) free(network);
}
