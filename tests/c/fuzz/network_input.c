/* See network_input.h. */
#include "network_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *keep(network_input *in, void *memory) {
    if (!memory || in->memory_count == MAX_BLOCKS) abort();
    return in->memory[in->memory_count++] = memory;
}

void network_input_free(network_input *in) {
    while (in->memory_count > 0) free(in->memory[--in->memory_count]);
}

int64_t value_floats(const dwconv_value *v) {
    int64_t floats = 1;
    for (int a = 0; a < v->rank && a < DWCONV_MAX_RANK; a++) {
        if (v->shape[a] < 1 || v->shape[a] > MAX_VALUE_FLOATS) return -1;
        floats *= v->shape[a];
        if (floats > MAX_VALUE_FLOATS) return -1;
    }
    return floats;
}

/* ---- values -------------------------------------------------------------------------------- */

static int add_value(network_input *in, dwconv_storage storage, int rank, const int64_t *sizes,
                     double bound) {
    const int i = in->value_count++;
    in->values[i] = (dwconv_value){.storage = storage, .rank = rank};
    memcpy(in->values[i].shape, sizes, (size_t)rank * sizeof *sizes);
    in->bound[i] = bound;
    return i;
}

static int is_full(const network_input *in) {
    return in->value_count + 5 > MAX_VALUES || in->node_count + 3 > MAX_NODES;
}

static dwconv_node *add_node(network_input *in, dwconv_node_kind kind, int output, int x0, int x1) {
    dwconv_node *n = &in->nodes[in->node_count++];
    *n = (dwconv_node){.kind = kind, .output = output, .inputs = {x0, x1, 0, 0}};
    return n;
}

static int any_value(const network_input *in, reader *r) { return read_byte(r) % in->value_count; }

static void strides_of(const network_input *in, int i, int64_t strides[DWCONV_MAX_RANK]) {
    const dwconv_value *v = &in->values[i];
    int64_t stride = 1;
    for (int a = v->rank - 1; a >= 0; stride *= v->shape[a--])
        strides[a] = v->storage == DWCONV_VIEW ? v->strides[a] : stride;
}

/* A part of a value, two of its axes swapped. */
static int add_view(network_input *in, reader *r, int of) {
    const dwconv_value v = in->values[of];
    int64_t own[DWCONV_MAX_RANK] = {0};
    const int i = add_value(in, DWCONV_VIEW, v.rank, v.shape, in->bound[of]);
    dwconv_value *view = &in->values[i];
    strides_of(in, of, own);
    view->base = v.storage == DWCONV_VIEW ? v.base : of;
    view->offset = v.offset;
    const int a = v.rank ? read_byte(r) % v.rank : 0, b = v.rank ? read_byte(r) % v.rank : 0;
    for (int k = 0; k < v.rank; k++) {
        const int from = k == a ? b : k == b ? a : k;
        const int64_t first = read_byte(r) % 2 && v.shape[from] > 1;
        view->shape[k] = v.shape[from] - first;
        view->strides[k] = own[from];
        view->offset += first * own[from];
        if (read_byte(r) % 4) continue;
        view->offset += (view->shape[k] - 1) * own[from];
        view->strides[k] = -own[from];
    }
    return i;
}

static dwconv_activation read_kind(reader *r, double *bound) {
    static const dwconv_activation exact[] = {
        {DWCONV_IDENTITY, 0, 0}, {DWCONV_RELU, 0, 0}, {DWCONV_RELU6, 0, 0}, {DWCONV_CLIP, -3, 2}};
    const uint8_t byte = read_byte(r);
    if (byte < 200) return exact[byte % 4];
    *bound = INFINITY;
    return (dwconv_activation){(dwconv_activation_kind)(byte % DWCONV_ACTIVATION_COUNT), -1, 1};
}

/* ---- nodes --------------------------------------------------------------------------------- */

static void add_unary(network_input *in, reader *r, int x) {
    const dwconv_value v = in->values[x];
    const dwconv_function f = (dwconv_function)(read_byte(r) % DWCONV_UNARY_COUNT);
    const double b = in->bound[x];
    double bound = INFINITY;
    if (f == DWCONV_SAME_VALUE || f == DWCONV_ABS || f == DWCONV_NEGATE || f == DWCONV_SIGN) bound = b + 1;
    if (f == DWCONV_SQUARE) bound = b * b;
    if (f == DWCONV_LINEAR) bound = 2 * b + 3;
    const dwconv_activation activation = read_kind(r, &bound);
    const int in_place = v.storage == DWCONV_WORKSPACE && read_byte(r) % 3 == 0;
    const int y = in_place ? x : add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, bound + 6);
    dwconv_node *n = add_node(in, DWCONV_UNARY, y, x, 0);
    in->bound[y] = bound + 6;
    n->function = f;
    n->activation = activation;
    n->parameters[0] = 2;
    n->parameters[1] = -3;
}

static void add_binary(network_input *in, reader *r, int x) {
    const dwconv_value v = in->values[x];
    const int dropped = v.rank ? read_byte(r) % v.rank : 0;
    const dwconv_function f =
        (dwconv_function)(DWCONV_PLUS + read_byte(r) % (DWCONV_BINARY_END - DWCONV_PLUS));
    const double b = in->bound[x];
    double bound = f == DWCONV_TIMES || f == DWCONV_PRELU ? 2 * b : b + 2;
    if (f == DWCONV_DIVIDE || f == DWCONV_POWER) bound = INFINITY;
    const int other = add_value(in, DWCONV_CONSTANT, v.rank - dropped, v.shape + dropped, 2);
    for (int a = 0; a < v.rank - dropped; a++)
        if (read_byte(r) % 2) in->values[other].shape[a] = 1;
    const dwconv_activation activation = read_kind(r, &bound);
    const int y = add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, bound + 6);
    const int swaps = read_byte(r) % 2;
    dwconv_node *n = add_node(in, DWCONV_BINARY, y, swaps ? other : x, swaps ? x : other);
    n->function = f;
    n->activation = activation;
}

static void add_gather(network_input *in, reader *r, int x) {
    dwconv_value v = in->values[x];
    if (v.rank == 0) return;
    const int axis = read_byte(r) % v.rank;
    const int64_t size = v.shape[axis];
    const int32_t count = 1 + read_byte(r) % 5;
    v.shape[axis] = count;
    const int y = add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, in->bound[x]);
    dwconv_node *n = add_node(in, DWCONV_GATHER, y, x, 0);
    int32_t *indices = keep(in, malloc((size_t)count * sizeof *indices));
    for (int32_t i = 0; i < count; i++) indices[i] = (int32_t)(read_byte(r) % size);
    n->axis = axis;
    n->index_count = count;
    n->indices = indices;
}

static void add_reduce(network_input *in, reader *r, int x) {
    dwconv_value v = in->values[x];
    const double b = in->bound[x];
    double terms = 1;
    for (int a = 0; a < v.rank; a++)
        if (read_byte(r) % 2) {
            terms *= (double)v.shape[a];
            v.shape[a] = 1;
        }
    const dwconv_function f =
        (dwconv_function)(DWCONV_MEAN + read_byte(r) % (DWCONV_REDUCTION_END - DWCONV_MEAN));
    const double bound = f == DWCONV_MEAN      ? INFINITY
                         : f == DWCONV_PRODUCT ? pow(b, terms)
                         : f == DWCONV_SUM     ? b * terms
                                               : b;
    add_node(in, DWCONV_REDUCE, add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, bound), x, 0)->function = f;
}

static void add_pool(network_input *in, reader *r, int x) {
    dwconv_value v = in->values[x];
    double bound = read_byte(r) % 2 ? in->bound[x] : INFINITY;
    const dwconv_function f = bound < INFINITY ? DWCONV_LARGEST : DWCONV_MEAN;
    if (v.rank != 4) return;
    const dwconv_window w = {.kernel_h = read_size(r, 1, 4),
                             .kernel_w = read_size(r, 1, 4),
                             .stride_h = read_size(r, 0, 3),
                             .stride_w = read_size(r, 0, 3),
                             .dilation_h = read_size(r, 0, 2),
                             .padding = DWCONV_EXPLICIT,
                             .pad_top = read_size(r, 0, 2),
                             .pad_left = read_size(r, 0, 2),
                             .pad_bottom = read_size(r, 0, 2),
                             .pad_right = read_size(r, 0, 2)};
    v.shape[1] = read_size(r, 1, 7);
    v.shape[2] = read_size(r, 1, 7);
    const dwconv_activation activation = read_kind(r, &bound);
    /* The largest of no element is minus infinity. */
    dwconv_node *n = add_node(in, DWCONV_POOL, add_value(in, DWCONV_WORKSPACE, 4, v.shape, INFINITY), x, 0);
    n->function = f;
    n->window = w;
    n->counts_padding = read_byte(r) % 2;
    n->activation = activation;
}

static void add_resize(network_input *in, reader *r, int x) {
    static const float scales[] = {0, 0, 0, 2, 1.5f, 0.3f, 1e-30f, 1e30f};
    dwconv_value v = in->values[x];
    const int linear = read_byte(r) % 2;
    if (v.rank != 4) return;
    v.shape[1] = 1 + read_byte(r) % 12;
    v.shape[2] = 1 + read_byte(r) % 12;
    const int y = add_value(in, DWCONV_WORKSPACE, 4, v.shape, linear ? INFINITY : in->bound[x]);
    dwconv_node *n = add_node(in, DWCONV_RESIZE, y, x, 0);
    n->function = linear ? DWCONV_BILINEAR : DWCONV_NEAREST;
    n->coordinates = (dwconv_coordinates)(read_byte(r) % DWCONV_COORDINATES_COUNT);
    n->rounding = (dwconv_rounding)(read_byte(r) % DWCONV_ROUNDING_COUNT);
    n->parameters[0] = scales[read_byte(r) % 8];
    n->parameters[1] = scales[read_byte(r) % 8];
}

static void add_rows(network_input *in, reader *r, int x) {
    const dwconv_value v = in->values[x];
    const int norm = read_byte(r) % 2;
    if (v.rank == 0) return;
    const int64_t *last = &v.shape[v.rank - 1];
    const int y = add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, INFINITY);
    dwconv_node *n = add_node(in, norm ? DWCONV_LAYER_NORM : DWCONV_SOFTMAX, y, x, 0);
    if (norm) {
        n->inputs[1] = add_value(in, DWCONV_CONSTANT, 1, last, 2);
        n->inputs[2] = add_value(in, DWCONV_CONSTANT, 1, last, 2);
        n->parameters[0] = 1e-3f;
    } else {
        n->function = (dwconv_function)(read_byte(r) % 2);
    }
}

static void add_matmul(network_input *in, reader *r, int x) {
    dwconv_value v = in->values[x];
    if (v.rank < 2) return;
    const int64_t k = v.shape[v.rank - 1], n = 1 + read_byte(r) % 20;
    const int b = add_value(in, DWCONV_CONSTANT, 2, (const int64_t[]){k, n}, 2);
    v.shape[v.rank - 1] = n;
    const double bound = 2 * (double)k * in->bound[x];
    add_node(in, DWCONV_MATMUL, add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, bound), x, b);
}

static dwconv_conv_desc read_conv(network_input *in, int64_t inputs, int64_t outputs, int64_t groups,
                                  int64_t kernel) {
    return (dwconv_conv_desc){
        .size = sizeof(dwconv_conv_desc),
        .in_channels = inputs,
        .out_channels = outputs,
        .groups = groups,
        .window = {.kernel_h = kernel, .kernel_w = kernel, .padding = DWCONV_SAME},
        .filter = keep(in, small_integers(kernel * kernel * (inputs / groups) * outputs)),
        .bias = keep(in, small_integers(outputs))};
}

/* Pointwise, dense, depthwise or an inverted residual, with `same` padding. */
static void add_convolution(network_input *in, reader *r, int x) {
    dwconv_value v = in->values[x];
    if (v.rank != 4 || v.shape[3] > 40) return;
    const int what = read_byte(r) % 4, at = in->node_count;
    const int64_t c = v.shape[3], outputs = what < 2 ? 1 + read_byte(r) % 24 : c;
    const double terms = what == 0 ? (double)c : what == 1 ? 9 * (double)c : 9;
    double bound = 2 * terms * in->bound[x] + 2;
    dwconv_desc *d = &in->operations[at];
    dwconv_conv_desc *parts = in->parts[at];
    *d = (dwconv_desc){.size = sizeof *d, .conv = &parts[0]};
    parts[0] = read_conv(in, what == 3 ? 2 * c : c, what == 3 ? 2 * c : outputs,
                         what == 2   ? c
                         : what == 3 ? 2 * c
                                     : 1,
                         what == 0 ? 1 : 3);
    if (what == 3) {
        parts[1] = read_conv(in, c, 2 * c, 1, 1);
        parts[2] = read_conv(in, 2 * c, c, 1, 1);
        d->expand = &parts[1];
        d->project = &parts[2];
        const double expanded = 2 * (double)c * in->bound[x] + 2;
        bound = 4 * (double)c * (18 * expanded + 2) + 2 + in->bound[x];
    }
    v.shape[3] = outputs;
    const int y = add_value(in, DWCONV_WORKSPACE, 4, v.shape, bound);
    add_node(in, DWCONV_CONVOLUTION, y, x, 0)->operation = d;
}

/* A border around a value, by a view of what is larger. */
static void add_border(network_input *in, reader *r, int x) {
    const dwconv_value v = in->values[x];
    int64_t sizes[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK] = {0}, offset = 0;
    for (int a = 0; a < v.rank; a++) sizes[a] = v.shape[a] + read_byte(r) % 2;
    const int y = add_value(in, DWCONV_WORKSPACE, v.rank, sizes, in->bound[x] + 1);
    strides_of(in, y, strides);
    for (int a = 0; a < v.rank; a++) offset += (sizes[a] - v.shape[a]) * strides[a];
    const int inside = add_value(in, DWCONV_VIEW, v.rank, v.shape, in->bound[x] + 1);
    memcpy(in->values[inside].strides, strides, sizeof strides);
    in->values[inside].offset = offset;
    in->values[inside].base = y;
    add_node(in, DWCONV_FILL, y, 0, 0)->parameters[0] = 1;
    add_node(in, DWCONV_COPY, inside, x, 0);
}

static void add_copy(network_input *in, reader *r, int x) {
    const int view = add_view(in, r, x);
    const dwconv_value v = in->values[view];
    add_node(in, DWCONV_COPY, add_value(in, DWCONV_WORKSPACE, v.rank, v.shape, in->bound[x]), view, 0);
}

/* ---- what is wrong ------------------------------------------------------------------------- */

static void damage_value(dwconv_value *v, reader *r) {
    const int a = read_byte(r) % DWCONV_MAX_RANK;
    switch (read_byte(r) % 8) {
        case 0: v->shape[a] = read_size(r, 1, 30); break;
        case 1: v->strides[a] = read_size(r, -40, 40); break;
        case 2: v->offset = read_size(r, -4, 60); break;
        case 3: v->rank = (int32_t)read_size(r, -1, DWCONV_MAX_RANK + 1); break;
        case 4: v->storage = (dwconv_storage)(read_byte(r) % (DWCONV_STORAGE_COUNT + 1)); break;
        case 5: v->base = (int32_t)read_size(r, -1, MAX_VALUES); break;
        case 6: v->dtype = (dwconv_dtype)(read_byte(r) % (DWCONV_DTYPE_COUNT + 1)); break;
        default: v->shape[a] = read_size(r, 0, 3);
    }
}

static void damage_node(dwconv_node *n, reader *r) {
    static const float numbers[] = {NAN, INFINITY, -INFINITY, -1, 0, 1e-38f, 3e38f, 0.5f};
    switch (read_byte(r) % 12) {
        case 0: n->kind = (dwconv_node_kind)(read_byte(r) % (DWCONV_NODE_KIND_COUNT + 1)); break;
        case 1: n->function = (dwconv_function)read_byte(r); break;
        case 2: n->inputs[read_byte(r) % DWCONV_NODE_INPUTS] = (int32_t)read_size(r, -1, MAX_VALUES); break;
        case 3: n->output = (int32_t)read_size(r, -1, MAX_VALUES); break;
        case 4: n->axis = (int32_t)read_size(r, -1, DWCONV_MAX_RANK); break;
        case 5: n->window.kernel_h = read_size(r, 0, 20); break;
        case 6: n->window.dilation_w = read_size(r, -1, 9); break;
        case 7: n->window.pad_top = read_size(r, -1, 9); break;
        case 8: n->window.padding = (dwconv_padding)(read_byte(r) % 4); break;
        case 9: n->coordinates = (dwconv_coordinates)(read_byte(r) % 8); break;
        case 10: n->activation.kind = (dwconv_activation_kind)(read_byte(r) % 16); break;
        default: n->parameters[read_byte(r) % 4] = numbers[read_byte(r) % 8];
    }
}

static void damage_desc(dwconv_network_desc *d, reader *r) {
    switch (read_byte(r) % 5) {
        case 0: d->value_size = (size_t)read_byte(r); break;
        case 1: d->node_size = (size_t)read_byte(r); break;
        case 2: d->threads = (int32_t)read_size(r, -1, 5); break;
        case 3: d->size = (size_t)read_byte(r); break;
        default: d->isa = "none";
    }
    if (d->value_size > sizeof(dwconv_value)) d->value_size = sizeof(dwconv_value) + 4;
    if (d->node_size > sizeof(dwconv_node)) d->node_size = sizeof(dwconv_node) + 4;
    if (d->size > sizeof *d) d->size = sizeof *d + 4;
}

static void damage(network_input *in, reader *r) {
    const uint8_t what = read_byte(r);
    if (what % 8 == 0)
        damage_desc(&in->desc, r);
    else if (what % 2 && in->node_count)
        damage_node(&in->nodes[read_byte(r) % in->node_count], r);
    else
        damage_value(&in->values[read_byte(r) % in->value_count], r);
    for (int i = 0; i < in->value_count; i++) in->bound[i] = INFINITY;
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* Constants are as large as their shape, to the float. */
static void fill_constants(network_input *in) {
    for (int i = 0; i < in->value_count; i++) {
        dwconv_value *v = &in->values[i];
        const int64_t floats = value_floats(v);
        if (floats < 0 && v->storage != DWCONV_VIEW) in->vast = 1;
        if (v->storage == DWCONV_CONSTANT) v->data = keep(in, small_integers(floats < 0 ? 1 : floats));
    }
}

void network_input_read(network_input *in, reader *r) {
    static void (*const adders[])(network_input *, reader *, int) = {
        add_unary, add_binary, add_gather, add_reduce,      add_pool,   add_resize,
        add_rows,  add_matmul, add_copy,   add_convolution, add_border, add_convolution};
    enum { FIRST = 16 }; /* bytes decide what is wrong: networks do not change with it */
    reader wrong = {r->data, r->size < FIRST ? r->size : FIRST};
    *in = (network_input){0};
    r->data += wrong.size;
    r->size -= wrong.size;
    const int rank = read_byte(r) % 3 ? 4 : read_byte(r) % (DWCONV_MAX_RANK + 1);
    int64_t sizes[DWCONV_MAX_RANK];
    for (int a = 0; a < rank; a++)
        sizes[a] = 1 + read_byte(r) % (rank == 4 && a == 3 ? 24 : rank > 4 ? 3 : 7);
    add_value(in, DWCONV_INPUT, rank, sizes, 2);
    for (int steps = 1 + read_byte(r) % 8; steps > 0 && !is_full(in); steps--) {
        const int x = any_value(in, r);
        const dwconv_value *v = &in->values[x];
        const int64_t floats = value_floats(v);
        if (floats > 0 && floats < MAX_VALUE_FLOATS / 4)
            adders[read_byte(r) % (sizeof adders / sizeof *adders)](in, r, x);
    }
    const int last = read_byte(r) % 4 ? in->value_count - 1 : any_value(in, r);
    const dwconv_value v = in->values[last];
    add_node(in, DWCONV_COPY, add_value(in, DWCONV_OUTPUT, v.rank, v.shape, in->bound[last]), last, 0);
    const uint8_t isa = read_byte(r) % 16;
    in->desc = (dwconv_network_desc){.size = sizeof in->desc,
                                     .value_size = sizeof *in->values,
                                     .node_size = sizeof *in->nodes,
                                     .value_count = in->value_count,
                                     .node_count = in->node_count,
                                     .values = in->values,
                                     .nodes = in->nodes,
                                     .isa = isa > 7 ? NULL : dwconv_isa_name(isa % dwconv_isa_count()),
                                     .threads = read_byte(r) % 4};
    for (int i = 0; i < 4 && read_byte(&wrong) >= 128; i++) damage(in, &wrong);
    fill_constants(in);
}
