/* Nodes of networks as plain loops in double precision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static double activate(double x, const dwconv_activation *act) {
    static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;
    switch (act->kind) {
        case DWCONV_RELU: return clamp(x, 0.0, INFINITY);
        case DWCONV_RELU6: return clamp(x, 0.0, 6.0);
        case DWCONV_CLIP: return clamp(x, act->a, act->b);
        case DWCONV_LEAKY_RELU: return x < 0.0 ? act->a * x : x;
        case DWCONV_HARD_SIGMOID: return clamp(x + 3.0, 0.0, 6.0) / 6.0;
        case DWCONV_HARD_SWISH: return x * clamp(x + 3.0, 0.0, 6.0) / 6.0;
        case DWCONV_SIGMOID: return 1.0 / (1.0 + exp(-x));
        case DWCONV_SILU: return x == -INFINITY ? 0.0 : x / (1.0 + exp(-x));
        case DWCONV_TANH: return tanh(x);
        case DWCONV_GELU_ERF: return x == -INFINITY ? 0.0 : x * erfc(-x * sqrt_half) * 0.5;
        case DWCONV_GELU_TANH:
            return x == -INFINITY ? 0.0 : x / (1.0 + exp(-2.0 * sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
        default: return x;
    }
}

static double unary(const dwconv_node *n, double x) {
    switch (n->function) {
        case DWCONV_ABS: return fabs(x);
        case DWCONV_NEGATE: return -x;
        case DWCONV_EXP: return exp(x);
        case DWCONV_LOG: return log(x);
        case DWCONV_SQRT: return sqrt(x);
        case DWCONV_RECIPROCAL: return 1.0 / x;
        case DWCONV_SQUARE: return x * x;
        case DWCONV_ERF: return erf(x);
        case DWCONV_FLOOR: return floor(x);
        case DWCONV_CEIL: return ceil(x);
        case DWCONV_ROUND: return rint(x);
        case DWCONV_SIGN: return isnan(x) ? x : (x > 0) - (x < 0);
        case DWCONV_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
        case DWCONV_ELU: return x < 0 ? n->parameters[0] * expm1(x) : x * n->parameters[1];
        case DWCONV_SIN: return sin(x);
        case DWCONV_COS: return cos(x);
        case DWCONV_LINEAR: return n->parameters[0] * x + n->parameters[1];
        default: return x;
    }
}

static double binary(dwconv_function f, double a, double b) {
    switch (f) {
        case DWCONV_PLUS: return a + b;
        case DWCONV_MINUS: return a - b;
        case DWCONV_TIMES: return a * b;
        case DWCONV_DIVIDE: return a / b;
        case DWCONV_MAXIMUM: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
        case DWCONV_MINIMUM: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
        case DWCONV_POWER: return pow(a, b);
        default: return a < 0 ? a * b : a;
    }
}

/* What a node gives at an index, read from the shadows; *scale is how large the terms are. */
static double value_at(const net_run *run, const dwconv_node *node, const int64_t *index, double *scale) {
    const net *n = run->n;
    const int rank = n->values[node->output].rank;
    int64_t from[DWCONV_MAX_RANK + 1] = {0};
    double x[2] = {0};
    if (node->kind == DWCONV_FILL) return node->parameters[0];
    memcpy(from, index, (size_t)rank * sizeof *from);
    if (node->kind == DWCONV_GATHER) from[node->axis] = node->indices[index[node->axis]];
    for (int k = 0; k < (node->kind == DWCONV_BINARY ? 2 : 1); k++) {
        const int value = node->inputs[k];
        x[k] = run->shadow[net_root(n, value)][place_of(n, value, from, rank)];
    }
    if (node->kind == DWCONV_UNARY || node->kind == DWCONV_BINARY) {
        const double y = node->kind == DWCONV_UNARY ? unary(node, x[0]) : binary(node->function, x[0], x[1]);
        *scale = fmax(fabs(y), fabs(x[0]) + fabs(x[1])) + 1e-6;
        const double activated = activate((float)y, &node->activation);
        *scale = fmax(*scale, fabs(activated));
        return activated;
    }
    return x[0];
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
    int right = 1;
    for (int64_t i = 0; i < elements; i++) {
        int64_t index[DWCONV_MAX_RANK + 1] = {0}, rest = i;
        for (int a = v->rank - 1; a >= 0; a--) {
            index[a] = rest % v->shape[a];
            rest /= v->shape[a];
        }
        double scale = 0;
        const double expected = value_at(run, node, index, &scale);
        right &= agrees(expected, at[place_of(n, node->output, index, v->rank)], scale, 4e-6);
    }
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
