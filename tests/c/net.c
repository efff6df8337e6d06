/* See net.h: building networks, and running them. */
#include "net.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ---- building ------------------------------------------------------------------------------ */

static void *keep(net *n, void *memory) {
    if (n->memory_count == NET_BLOCKS) abort();
    return n->memory[n->memory_count++] = memory;
}

void net_free(net *n) {
    for (int i = 0; i < n->memory_count; i++) free(n->memory[i]);
    n->memory_count = 0;
}

dwconv_network_desc net_desc(const net *n, const char *isa, int threads) {
    return (dwconv_network_desc){.size = sizeof(dwconv_network_desc),
                                 .value_size = sizeof(dwconv_value),
                                 .node_size = sizeof(dwconv_node),
                                 .value_count = n->value_count,
                                 .node_count = n->node_count,
                                 .values = n->values,
                                 .nodes = n->nodes,
                                 .isa = isa,
                                 .threads = threads};
}

int64_t net_elements(const dwconv_value *v) {
    int64_t elements = 1;
    for (int a = 0; a < v->rank; a++) elements *= v->shape[a];
    return elements;
}

size_t net_bytes(const net *n, int value) { return (size_t)net_elements(&n->values[value]) * sizeof(float); }

int net_root(const net *n, int value) {
    return n->values[value].storage == DWCONV_VIEW ? n->values[value].base : value;
}

void net_strides(const net *n, int value, int64_t strides[DWCONV_MAX_RANK]) {
    const dwconv_value *v = &n->values[value];
    int64_t stride = 1;
    for (int a = v->rank - 1; a >= 0; a--) {
        strides[a] = v->storage == DWCONV_VIEW ? v->strides[a] : stride;
        stride *= v->shape[a];
    }
}

int net_value(net *n, dwconv_storage storage, int rank, const int64_t *sizes) {
    if (n->value_count == NET_VALUES) abort();
    dwconv_value *v = &n->values[n->value_count];
    *v = (dwconv_value){.storage = storage, .rank = rank};
    memcpy(v->shape, sizes, (size_t)rank * sizeof *sizes);
    return n->value_count++;
}

static float *random_floats(net *n, int64_t count, rng *r) {
    float *data = keep(n, malloc((size_t)count * sizeof *data));
    for (int64_t i = 0; i < count; i++) data[i] = rng_float(r) * 2.0f;
    return data;
}

int net_constant(net *n, int rank, const int64_t *sizes, rng *r) {
    const int value = net_value(n, DWCONV_CONSTANT, rank, sizes);
    n->values[value].data = random_floats(n, net_elements(&n->values[value]), r);
    return value;
}

int net_view(net *n, int base, int rank, const int64_t *sizes, const int64_t *strides, int64_t offset) {
    const int value = net_value(n, DWCONV_VIEW, rank, sizes);
    dwconv_value *v = &n->values[value];
    v->base = net_root(n, base);
    v->offset = offset;
    memcpy(v->strides, strides, (size_t)rank * sizeof *strides);
    return value;
}

dwconv_node *net_node(net *n, dwconv_node_kind kind, int output, int input0, int input1) {
    if (n->node_count == NET_NODES) abort();
    dwconv_node *node = &n->nodes[n->node_count++];
    *node = (dwconv_node){.kind = kind, .output = output, .inputs = {input0, input1, -1, -1}};
    return node;
}

/* ---- random parts -------------------------------------------------------------------------- */

/* What may be read, in the order of writing. */
typedef struct growing {
    net *n;
    rng *r;
    int64_t elements;
    int ready[NET_VALUES], count;
} growing;

static int any_ready(growing *g) { return g->ready[rng_range(g->r, 0, g->count - 1)]; }

static void make_ready(growing *g, int value) { g->ready[g->count++] = value; }

/* A view of part of a value: its axes permuted, cut, flipped or with a step. */
static int random_view(growing *g, int of) {
    const dwconv_value v = g->n->values[of];
    int64_t own[DWCONV_MAX_RANK], sizes[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK], offset = v.offset;
    int axes[DWCONV_MAX_RANK];
    net_strides(g->n, of, own);
    for (int a = 0; a < v.rank; a++) axes[a] = a;
    for (int a = 1; a < v.rank; a++) {
        const int other = (int)rng_range(g->r, 0, a), kept = axes[a];
        if (rng_range(g->r, 0, 1)) continue;
        axes[a] = axes[other];
        axes[other] = kept;
    }
    for (int a = 0; a < v.rank; a++) {
        const int axis = axes[a];
        const int64_t size = v.shape[axis], step = rng_range(g->r, 1, size > 2 ? 2 : 1);
        const int64_t first = rng_range(g->r, 0, size > 1 ? 1 : 0);
        sizes[a] = (size - first + step - 1) / step;
        strides[a] = own[axis] * step;
        offset += first * own[axis];
        if (rng_range(g->r, 0, 3) == 0) {
            offset += (sizes[a] - 1) * strides[a];
            strides[a] = -strides[a];
        }
    }
    return net_view(g->n, of, v.rank, sizes, strides, offset);
}

/* A place for a result of this shape: dense, or a part of something larger. */
static int place_for(growing *g, int rank, const int64_t *sizes) {
    int64_t larger_sizes[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK], offset = 0;
    if (rank == 0 || rng_range(g->r, 0, 2)) return net_value(g->n, DWCONV_WORKSPACE, rank, sizes);
    for (int a = 0; a < rank; a++) larger_sizes[a] = sizes[a] + rng_range(g->r, 0, 2);
    const int base = net_value(g->n, DWCONV_WORKSPACE, rank, larger_sizes);
    net_strides(g->n, base, strides);
    for (int a = 0; a < rank; a++) offset += rng_range(g->r, 0, larger_sizes[a] - sizes[a]) * strides[a];
    return net_view(g->n, base, rank, sizes, strides, offset);
}

static dwconv_activation random_activation(rng *r) {
    const dwconv_activation_kind kind = (dwconv_activation_kind)rng_range(r, 0, DWCONV_ACTIVATION_COUNT - 1);
    const dwconv_activation identity = {DWCONV_IDENTITY, 0, 0};
    return rng_range(r, 0, 1) ? identity
                              : (dwconv_activation){kind, kind == DWCONV_CLIP ? -0.5f : 0.1f, 0.7f};
}

static void add_copy(growing *g) {
    const int view = random_view(g, any_ready(g));
    const dwconv_value v = g->n->values[view];
    const int to = place_for(g, v.rank, v.shape);
    net_node(g->n, DWCONV_COPY, to, view, -1);
    make_ready(g, to);
}

static void add_unary(growing *g) {
    int from = any_ready(g);
    if (rng_range(g->r, 0, 2) == 0) from = random_view(g, from);
    const dwconv_value v = g->n->values[from];
    const int written = g->n->values[net_root(g->n, from)].storage == DWCONV_WORKSPACE;
    const int in_place = written && rng_range(g->r, 0, 2) == 0;
    const int to = in_place ? from : place_for(g, v.rank, v.shape);
    dwconv_node *node = net_node(g->n, DWCONV_UNARY, to, from, -1);
    node->function = (dwconv_function)rng_range(g->r, 0, DWCONV_UNARY_COUNT - 1);
    node->parameters[0] = 0.5f;
    node->parameters[1] = -1.25f;
    node->activation = random_activation(g->r);
    make_ready(g, to);
}

/* A shape that broadcasts to that of v. */
static int random_operand(growing *g, const dwconv_value *v) {
    int64_t sizes[DWCONV_MAX_RANK];
    const int missing = (int)rng_range(g->r, 0, v->rank);
    for (int a = missing; a < v->rank; a++) sizes[a - missing] = rng_range(g->r, 0, 1) ? v->shape[a] : 1;
    return net_constant(g->n, v->rank - missing, sizes, g->r);
}

static void add_binary(growing *g) {
    int from = any_ready(g);
    if (rng_range(g->r, 0, 2) == 0) from = random_view(g, from);
    const dwconv_value v = g->n->values[from];
    const int other = rng_range(g->r, 0, 3) ? random_operand(g, &v) : from,
              swaps = rng_range(g->r, 0, 1) != 0;
    const int written = g->n->values[net_root(g->n, from)].storage == DWCONV_WORKSPACE;
    const int in_place = written && rng_range(g->r, 0, 2) == 0;
    const int to = in_place ? from : place_for(g, v.rank, v.shape);
    dwconv_node *node = net_node(g->n, DWCONV_BINARY, to, swaps ? other : from, swaps ? from : other);
    node->function = (dwconv_function)rng_range(g->r, DWCONV_PLUS, DWCONV_BINARY_END - 1);
    node->activation = random_activation(g->r);
    make_ready(g, to);
}

static void add_gather(growing *g) {
    const int from = any_ready(g);
    dwconv_value v = g->n->values[from];
    if (v.rank == 0) return;
    const int axis = (int)rng_range(g->r, 0, v.rank - 1);
    const int64_t size = v.shape[axis];
    const int32_t count = (int32_t)rng_range(g->r, 1, size);
    int32_t *indices = keep(g->n, malloc((size_t)count * sizeof *indices));
    for (int32_t i = 0; i < count; i++) indices[i] = (int32_t)rng_range(g->r, 0, size - 1);
    v.shape[axis] = count;
    const int to = place_for(g, v.rank, v.shape);
    dwconv_node *node = net_node(g->n, DWCONV_GATHER, to, from, -1);
    node->axis = axis;
    node->index_count = count;
    node->indices = indices;
    make_ready(g, to);
}

/* A border of zeros around a value: two nodes write parts of one memory. */
static void add_padding(growing *g) {
    const int from = any_ready(g);
    const dwconv_value v = g->n->values[from];
    int64_t sizes[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK], offset = 0;
    for (int a = 0; a < v.rank; a++) sizes[a] = v.shape[a] + 2;
    const int base = net_value(g->n, DWCONV_WORKSPACE, v.rank, sizes);
    net_strides(g->n, base, strides);
    for (int a = 0; a < v.rank; a++) offset += strides[a];
    net_node(g->n, DWCONV_FILL, base, -1, -1)->parameters[0] = 0.25f;
    net_node(g->n, DWCONV_COPY, net_view(g->n, base, v.rank, v.shape, strides, offset), from, -1);
    make_ready(g, base);
}

static dwconv_conv_desc random_conv(growing *g, int64_t inputs, int64_t outputs, int64_t groups,
                                    int64_t kernel) {
    return (dwconv_conv_desc){
        .size = sizeof(dwconv_conv_desc),
        .in_channels = inputs,
        .out_channels = outputs,
        .groups = groups,
        .window = {.kernel_h = kernel, .kernel_w = kernel, .padding = DWCONV_SAME},
        .filter = random_floats(g->n, kernel * kernel * inputs / groups * outputs, g->r),
        .bias = random_floats(g->n, outputs, g->r),
        .activation = {DWCONV_SILU, 0, 0}};
}

/* Pointwise, depthwise, dense or an inverted residual, of the newest image. */
static void add_convolution(growing *g) {
    int from = -1;
    for (int i = 0; i < g->count; i++)
        if (g->n->values[g->ready[i]].rank == 4) from = g->ready[i];
    if (from < 0) return;
    const int what = (int)rng_range(g->r, 0, 3), at = g->n->node_count + 1;
    dwconv_value v = g->n->values[from];
    const int dense = net_value(g->n, DWCONV_WORKSPACE, 4, v.shape);
    net_node(g->n, DWCONV_COPY, dense, from, -1);
    const int64_t inputs = v.shape[3], outputs = what == 1 || what == 3 ? inputs : rng_range(g->r, 1, 9);
    dwconv_conv_desc *parts = g->n->parts[at];
    dwconv_desc *d = &g->n->operations[at];
    *d = (dwconv_desc){.size = sizeof *d, .conv = &parts[0], .isa = "ignored"};
    parts[0] = random_conv(g, what == 3 ? 2 * inputs : inputs, what == 3 ? 2 * inputs : outputs,
                           what == 1   ? inputs
                           : what == 3 ? 2 * inputs
                                       : 1,
                           what == 0 ? 1 : 3);
    if (what == 3) {
        parts[1] = random_conv(g, inputs, 2 * inputs, 1, 1);
        parts[2] = random_conv(g, 2 * inputs, outputs, 1, 1);
        d->expand = &parts[1];
        d->project = &parts[2];
        d->residual = DWCONV_RESIDUAL_AUTO;
    }
    v.shape[3] = outputs;
    const int to = place_for(g, 4, v.shape);
    net_node(g->n, DWCONV_CONVOLUTION, to, dense, -1)->operation = d;
    make_ready(g, to);
}

void net_random(net *n, rng *r, int steps, int64_t elements) {
    static void (*const adders[])(growing *) = {add_copy,   add_unary,   add_binary,
                                                add_gather, add_padding, add_convolution};
    growing g = {.n = n, .r = r, .elements = elements};
    *n = (net){0};
    for (int i = 0; i < 2; i++) {
        const int rank = i ? (int)rng_range(r, 0, DWCONV_MAX_RANK) : 4;
        int64_t sizes[DWCONV_MAX_RANK], left = elements;
        for (int a = 0; a < rank; a++) {
            sizes[a] = rng_range(r, 1, left > 40 ? 40 : left);
            left = left / sizes[a] > 1 ? left / sizes[a] : 1;
        }
        make_ready(&g, net_value(n, DWCONV_INPUT, rank, sizes));
    }
    for (int i = 0; i < steps; i++)
        adders[rng_range(r, 0, (int64_t)(sizeof adders / sizeof *adders) - 1)](&g);
    for (int i = 0; i < 2; i++) {
        const int from = i ? any_ready(&g) : g.ready[g.count - 1];
        const dwconv_value v = n->values[from];
        const int output = net_value(n, DWCONV_OUTPUT, v.rank, v.shape);
        net_node(n, DWCONV_COPY, output, from, -1);
        if (i == 0) make_ready(&g, output);
    }
}

/* ---- running ------------------------------------------------------------------------------- */

void net_run_create(net_run *run, const net *n, dwconv_network *network, rng *r) {
    int inputs = 0, outputs = 0;
    *run = (net_run){.n = n, .network = network};
    run->workspace = aligned_memory(dwconv_network_workspace(network));
    for (int i = 0; i < n->value_count; i++) {
        const dwconv_value *v = &n->values[i];
        if (v->storage == DWCONV_VIEW) continue;
        const int64_t offset = dwconv_network_offset(network, i), elements = net_elements(v);
        run->shadow[i] = malloc(net_bytes(n, i));
        if (offset >= 0) run->at[i] = (float *)(void *)(run->workspace + offset);
        if (v->storage == DWCONV_CONSTANT) run->at[i] = (float *)(uintptr_t)v->data;
        if (v->storage == DWCONV_INPUT || v->storage == DWCONV_OUTPUT) run->at[i] = malloc(net_bytes(n, i));
        if (v->storage == DWCONV_INPUT) {
            for (int64_t k = 0; k < elements; k++) run->at[i][k] = rng_float(r) * 3.0f;
            run->inputs[inputs++] = run->at[i];
        }
        if (v->storage == DWCONV_OUTPUT) run->outputs[outputs++] = run->at[i];
        if (v->storage == DWCONV_INPUT || v->storage == DWCONV_CONSTANT)
            memcpy(run->shadow[i], run->at[i], net_bytes(n, i));
    }
}

void net_run_free(net_run *run) {
    for (int i = 0; i < run->n->value_count; i++) {
        const dwconv_storage storage = run->n->values[i].storage;
        free(run->shadow[i]);
        if (storage == DWCONV_INPUT || storage == DWCONV_OUTPUT) free(run->at[i]);
    }
    free(run->workspace);
    dwconv_network_destroy(run->network);
}

void net_poison(net_run *run, int byte) {
    if (run->workspace) memset(run->workspace, byte, dwconv_network_workspace(run->network));
    for (int i = 0; i < run->n->value_count; i++)
        if (run->n->values[i].storage == DWCONV_OUTPUT) memset(run->at[i], byte, net_bytes(run->n, i));
    run->node = run->wrong = 0;
}

dwconv_status net_run_once(net_run *run, const dwconv_threads *threads, dwconv_node_done done) {
    return dwconv_network_run(run->network, (const void *const *)run->inputs, run->outputs, NULL, 0,
                              run->workspace, dwconv_network_workspace(run->network), threads, done, run);
}
