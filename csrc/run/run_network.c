/* A run of a network: addresses, then node after node; and what can be asked of it. */
#include <stdio.h>
#include <string.h>

#include "fp_mode.h"
#include "network.h"

/* The memory of one run. */
typedef struct memory {
    const dwconv_network *network;
    const void *const *inputs;
    void *const *outputs;
    char *state, *workspace;
} memory;

/* ---- addresses ---------------------------------------------------------------------------- */

/* Where the memory of a value that is no view begins. Inputs and constants are never written. */
static uint8_t *begin_of(const memory *m, const dwc_placed *base) {
    switch (base->value.storage) {
        case DWCONV_CONSTANT: return (uint8_t *)(uintptr_t)base->value.data;
        case DWCONV_INPUT: return (uint8_t *)(uintptr_t)m->inputs[base->place];
        case DWCONV_OUTPUT: return m->outputs[base->place];
        case DWCONV_STATE: return (uint8_t *)m->state + base->place;
        default: return (uint8_t *)m->workspace + base->place;
    }
}

static void resolve(const memory *m, int32_t i, dwc_array *a) {
    const dwc_placed *placed = &m->network->values[i];
    const dwconv_value *v = &placed->value;
    *a = placed->array;
    a->bytes = begin_of(m, &m->network->values[v->base]) + v->offset * dwc_unit(v->dtype);
}

static int32_t port_count(const dwconv_network *n) { return n->input_count + n->output_count; }

static size_t bytes_of(const dwconv_value *v) { return (size_t)dwc_value_bytes(v); }

static int meet(const void *a, size_t a_bytes, const void *b, size_t b_bytes) {
    return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

/* Whether something of the caller's shares memory with what a run writes beside its outputs. */
static int meets_own(const memory *m, const void *a, size_t bytes) {
    const dwconv_network *n = m->network;
    return (n->workspace_bytes && meet(a, bytes, m->workspace, n->workspace_bytes)) ||
           (n->state_bytes && meet(a, bytes, m->state, n->state_bytes));
}

/* An output against the workspace, all inputs and the outputs before it. */
static dwconv_status check_output(const memory *m, int32_t output) {
    const dwconv_network *n = m->network;
    const size_t bytes = bytes_of(&n->values[output].value);
    const void *to = m->outputs[n->values[output].place];
    if (meets_own(m, to, bytes)) return DWCONV_OVERLAP;
    for (int32_t i = 0; i < port_count(n); i++) {
        const dwc_placed *other = &n->values[n->ports[i]];
        const void *at = NULL;
        if (other->value.storage == DWCONV_INPUT) at = m->inputs[other->place];
        if (other->value.storage == DWCONV_OUTPUT && n->ports[i] < output) at = m->outputs[other->place];
        if (at && meet(to, bytes, at, bytes_of(&other->value))) return DWCONV_OVERLAP;
    }
    return DWCONV_OK;
}

static dwconv_status check_pointer(const void *pointer, size_t alignment) {
    if (!pointer) return DWCONV_NULL_POINTER;
    return (uintptr_t)pointer % alignment ? DWCONV_MISALIGNED : DWCONV_OK;
}

/* Workspace or state. */
static dwconv_status check_own(size_t needed, const void *own, size_t bytes) {
    if (needed) DWC_TRY(check_pointer(own, DWCONV_ALIGNMENT));
    return bytes < needed ? DWCONV_TOO_SMALL : DWCONV_OK;
}

static dwconv_status check(const memory *m, size_t state_bytes, size_t workspace_bytes,
                           const dwconv_threads *threads) {
    const dwconv_network *n = m->network;
    if (threads && (threads->count < 0 || threads->count > n->threads)) return DWCONV_BAD_VALUE;
    if ((n->input_count && !m->inputs) || (n->output_count && !m->outputs)) return DWCONV_NULL_POINTER;
    for (int32_t i = 0; i < port_count(n); i++) {
        const dwc_placed *placed = &n->values[n->ports[i]];
        const size_t unit = (size_t)dwc_unit(placed->value.dtype);
        if (placed->value.storage == DWCONV_INPUT) DWC_TRY(check_pointer(m->inputs[placed->place], unit));
        if (placed->value.storage == DWCONV_OUTPUT) DWC_TRY(check_pointer(m->outputs[placed->place], unit));
    }
    DWC_TRY(check_own(n->workspace_bytes, m->workspace, workspace_bytes));
    DWC_TRY(check_own(n->state_bytes, m->state, state_bytes));
    if (n->state_bytes && n->workspace_bytes &&
        meet(m->state, n->state_bytes, m->workspace, n->workspace_bytes))
        return DWCONV_OVERLAP;
    for (int32_t i = 0; i < port_count(n); i++) {
        const dwc_placed *placed = &n->values[n->ports[i]];
        const int is_input = placed->value.storage == DWCONV_INPUT;
        if (is_input && meets_own(m, m->inputs[placed->place], bytes_of(&placed->value)))
            return DWCONV_OVERLAP;
        if (placed->value.storage == DWCONV_OUTPUT) DWC_TRY(check_output(m, n->ports[i]));
    }
    return DWCONV_OK;
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* All but arrays and scratch. Arrays that a node does not read stay what they are: clearing them takes time. */
static void begin_call(const dwconv_network *n, const dwc_step *step, const dwconv_threads *threads,
                       dwc_node_call *call) {
    call->node = &step->node;
    call->plan = step->plan;
    call->table = n->table;
    call->rounding = n->rounding;
    call->parameters = &step->parameters;
    call->threads = threads;
    call->scratch = NULL;
    call->scratch_bytes = step->scratch_bytes;
    call->bound = step->bound;
}

static void run_step(const memory *m, const dwc_step *step, const dwconv_threads *threads) {
    dwc_node_call call;
    begin_call(m->network, step, threads, &call);
    for (int i = 0; i < step->class->inputs; i++) resolve(m, step->node.inputs[i], &call.in[i]);
    resolve(m, step->node.output, &call.out);
    if (step->scratch_bytes) call.scratch = m->workspace + step->scratch;
    step->class->run(&call);
}

static void run_steps(const memory *m, const dwconv_threads *threads, dwconv_node_done done, void *context) {
    for (int32_t i = 0; i < m->network->node_count; i++) {
        run_step(m, &m->network->steps[i], threads);
        if (done) done(context, i);
    }
}

dwconv_status dwconv_network_run(const dwconv_network *network, const void *const inputs[],
                                 void *const outputs[], void *state, size_t state_bytes, void *workspace,
                                 size_t workspace_bytes, const dwconv_threads *threads, dwconv_node_done done,
                                 void *context) {
    static const dwconv_threads alone = {.count = 1};
    const memory m = {network, inputs, outputs, state, workspace};
    if (!network) return DWCONV_NULL_POINTER;
    DWC_TRY(check(&m, state_bytes, workspace_bytes, threads));
    if (!threads || threads->count < 1) threads = &alone;
    if (network->has_integers) {
        dwc_fp_mode own;
        const int changed = dwc_round_to_nearest(&own);
        run_steps(&m, threads, done, context);
        if (changed) dwc_set_mode(&own);
    } else
        run_steps(&m, threads, done, context);
    return DWCONV_OK;
}

dwconv_status dwconv_network_reset(const dwconv_network *network, void *state, size_t bytes) {
    if (!network) return DWCONV_NULL_POINTER;
    DWC_TRY(check_own(network->state_bytes, state, bytes));
    for (int32_t i = 0; i < network->value_count; i++) {
        const dwconv_value *v = &network->values[i].value;
        if (v->storage != DWCONV_STATE) continue;
        char *to = (char *)state + network->values[i].place;
        if (v->data)
            memcpy(to, v->data, bytes_of(v));
        else
            memset(to, dwc_unit(v->dtype) == 1 && v->scale != 0.0f ? v->zero_point : 0, bytes_of(v));
    }
    return DWCONV_OK;
}

/* ---- questions ---------------------------------------------------------------------------- */

size_t dwconv_network_workspace(const dwconv_network *network) {
    return network ? network->workspace_bytes : 0;
}

size_t dwconv_network_state_bytes(const dwconv_network *network) {
    return network ? network->state_bytes : 0;
}

size_t dwconv_network_bytes(const dwconv_network *network) { return network ? network->bytes : 0; }

size_t dwconv_network_lower_bound(const dwconv_network *network) {
    return network ? network->lower_bound : 0;
}

int64_t dwconv_network_offset(const dwconv_network *network, int32_t value) {
    if (!network || value < 0 || value >= network->value_count) return -1;
    const dwconv_value *v = &network->values[value].value;
    const dwc_placed *base = &network->values[v->base];
    const int is_placed = base->value.storage == DWCONV_WORKSPACE || base->value.storage == DWCONV_STATE;
    return is_placed && base->place >= 0 ? base->place + v->offset * dwc_unit(v->dtype) : -1;
}

static void put_shape(dwc_text *t, const char *key, const dwconv_value *v) {
    char text[DWCONV_MAX_RANK * 12 + 1] = "";
    size_t used = 0;
    if (!t->is_json) {
        for (int a = 0; a < v->rank; a++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", a ? "x" : "",
                                     (long long)v->shape[a]);
        dwc_text_string(t, key, v->rank ? text : "scalar");
        return;
    }
    dwc_text_open(t, key, '[');
    for (int a = 0; a < v->rank; a++) dwc_text_int(t, NULL, v->shape[a]);
    dwc_text_close(t, ']');
}

static dwconv_status put_step(dwc_text *t, const dwconv_network *n, const dwc_step *step) {
    const dwconv_threads threads = {.count = n->threads};
    dwc_node_call call;
    begin_call(n, step, &threads, &call);
    if (step->plan) {
        const int64_t *in = n->values[step->node.inputs[0]].value.shape;
        const dwc_machine machine = dwc_this_machine();
        return dwc_explain(step->plan, in, &threads, &machine, t);
    }
    const dwc_placed *out = &n->values[step->node.output];
    call.out = out->array;
    for (int i = 0; i < step->class->inputs; i++) call.in[i] = n->values[step->node.inputs[i]].array;
    dwc_text_open(t, NULL, '{');
    dwc_text_string(t, "instruction_set", dwc_table_name(n->table));
    dwc_text_string(t, "op", step->class->name);
    put_shape(t, "output", &out->value);
    if (step->class->workers) dwc_text_int(t, "workers", step->class->workers(&call));
    dwc_text_int(t, "scratch_bytes", (int64_t)step->scratch_bytes);
    dwc_text_close(t, '}');
    return DWCONV_OK;
}

dwconv_status dwconv_network_explain(const dwconv_network *network, int32_t node, dwconv_format format,
                                     char *buffer, size_t size, size_t *needed) {
    dwc_text t;
    if (!network) return DWCONV_NULL_POINTER;
    if (node < 0 || node >= network->node_count) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_text_begin(&t, format, buffer, size));
    DWC_TRY(put_step(&t, network, &network->steps[node]));
    return dwc_text_end(&t, needed);
}
