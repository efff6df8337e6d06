/* What networks compute, node by node, beside csrc/reference_network.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/reference.h"
#include "net.h"

/* An element of a value: indices count from the innermost axis, those of missing axes and of axes of size 1 are 0. */
static int64_t place_of(const net *n, int value, const int64_t *index, int rank) {
    const dwconv_value *v = &n->values[value];
    int64_t strides[DWCONV_MAX_RANK], place = v->storage == DWCONV_VIEW ? v->offset : 0;
    net_strides(n, value, strides);
    for (int a = 0; a < v->rank; a++) {
        const int own = rank - v->rank + a;
        if (v->shape[a] > 1) place += index[own] * strides[a];
    }
    return place;
}

/* Any value, in its shadow. */
static dwc_array shadow_of(const net_run *run, int value) {
    const dwconv_value *v = &run->n->values[value];
    dwc_array a = {.rank = v->rank};
    net_strides(run->n, value, a.strides);
    memcpy(a.shape, v->shape, sizeof a.shape);
    a.data = run->shadow[net_root(run->n, value)] + (v->storage == DWCONV_VIEW ? v->offset : 0);
    return a;
}

/* What a node gives, contiguous, read from the shadows. */
static float *result_of(const net_run *run, const dwconv_node *node) {
    const int inputs = dwc_node_class_of(node->kind, 0)->inputs;
    const dwconv_value *v = &run->n->values[node->output];
    dwconv_node known = *node;
    dwc_node_call call = {.node = &known, .out = shadow_of(run, node->output)};
    int64_t stride = 1;
    float *result = malloc(net_bytes(run->n, node->output));
    if (dwc_check_activation(&known.activation) != DWCONV_OK) abort();
    for (int k = 0; k < inputs; k++) call.in[k] = shadow_of(run, node->inputs[k]);
    for (int a = v->rank - 1; a >= 0; stride *= v->shape[a--]) call.out.strides[a] = stride;
    call.out.data = result;
    if (dwc_reference_node(&call) != DWCONV_OK) abort();
    return result;
}

/* How large the terms of an element are. */
static double scale_of(const net_run *run, const dwconv_node *node, const int64_t *index, double result) {
    const int inputs = node->kind == DWCONV_UNARY ? 1 : node->kind == DWCONV_BINARY ? 2 : 0;
    double scale = 0;
    for (int k = 0; k < inputs; k++) {
        const int value = node->inputs[k];
        const int64_t place = place_of(run->n, value, index, run->n->values[node->output].rank);
        scale += fabs((double)run->shadow[net_root(run->n, value)][place]);
    }
    return inputs ? fmax(fabs(result), scale) + 1e-6 : 0;
}

/* Large numbers overflow in float before they do in double. */
static int agrees(double expected, float found, double scale, double unit) {
    if (isnan(expected)) return isnan(found);
    if (fabs(expected) > 3e38) return isinf(found) || fabs(found) > 3e38;
    return fabs(expected - found) <= unit * scale || (scale > 1e37 && !isfinite(found));
}

static int check_elements(net_run *run, const dwconv_node *node) {
    const net *n = run->n;
    const dwconv_value *v = &n->values[node->output];
    const int64_t elements = net_elements(v);
    const float *at = run->at[net_root(n, node->output)];
    float *expected = result_of(run, node);
    int right = 1;
    for (int64_t i = 0; i < elements; i++) {
        int64_t index[DWCONV_MAX_RANK + 1] = {0}, rest = i;
        for (int a = v->rank - 1; a >= 0; a--) {
            index[a] = rest % v->shape[a];
            rest /= v->shape[a];
        }
        const double scale = scale_of(run, node, index, (double)expected[i]);
        right &= agrees((double)expected[i], at[place_of(n, node->output, index, v->rank)], scale, 4e-6);
    }
    free(expected);
    return right;
}

/* A strided tensor of a value that is an image. */
static dwconv_tensor tensor_of(const net *n, int value, float *memory) {
    const dwconv_value *v = &n->values[value];
    int64_t strides[DWCONV_MAX_RANK];
    net_strides(n, value, strides);
    return (dwconv_tensor){.data = memory + (v->storage == DWCONV_VIEW ? v->offset : 0),
                           .batch = v->shape[0],
                           .height = v->shape[1],
                           .width = v->shape[2],
                           .channels = v->shape[3],
                           .image_stride = strides[0],
                           .row_stride = strides[1],
                           .pixel_stride = strides[2]};
}

/* Accuracy is another suite's matter: here the bound is wide enough for all that random networks make. */
static int check_convolution(net_run *run, const dwconv_node *node) {
    const net *n = run->n;
    const dwconv_value *v = &n->values[node->output];
    const int64_t elements = net_elements(v);
    float *expected = malloc((size_t)elements * sizeof *expected);
    const dwconv_tensor x = tensor_of(n, node->inputs[0], run->shadow[net_root(n, node->inputs[0])]);
    const dwconv_tensor y = {.data = expected,
                             .batch = v->shape[0],
                             .height = v->shape[1],
                             .width = v->shape[2],
                             .channels = v->shape[3]};
    int right = dwconv_reference(node->operation, &x, &y) == DWCONV_OK;
    double largest = 1;
    for (int64_t i = 0; i < net_elements(&n->values[node->inputs[0]]); i++) {
        const double value = fabs(((const float *)x.data)[i]); /* dense: see net.c */
        if (isfinite(value) && value > largest) largest = value;
    }
    const float *at = run->at[net_root(n, node->output)];
    for (int64_t i = 0; i < elements; i++) {
        int64_t index[DWCONV_MAX_RANK + 1] = {0}, rest = i;
        for (int a = 3; a >= 0; a--) {
            index[a] = rest % v->shape[a];
            rest /= v->shape[a];
        }
        const float found = at[place_of(n, node->output, index, 4)];
        if (!isfinite(expected[i]) || largest > 1e30) continue;
        right &= agrees(expected[i], found, largest * 1e3, 1e-5);
    }
    free(expected);
    return right;
}

void net_follow(void *context, int32_t index) {
    net_run *run = context;
    const dwconv_node *node = &run->n->nodes[index];
    const int root = net_root(run->n, node->output);
    const int right = index == run->node++ && (node->kind == DWCONV_CONVOLUTION ? check_convolution(run, node)
                                                                                : check_elements(run, node));
    run->wrong += !right;
    memcpy(run->shadow[root], run->at[root], net_bytes(run->n, root));
}
