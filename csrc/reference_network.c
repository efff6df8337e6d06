/* Networks as plain loops in double precision: the oracle of the tests, never the fast path.
 *
 * Every element of what a node gives is computed on its own, from its index. What a node gives is rounded to float, and
 * so is what it activates. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"
#include "run/network.h"

/* ---- elements ----------------------------------------------------------------------------- */

/* An element of an array that is broadcast to the rank of the index. */
static float *element(const dwc_array *a, const int64_t *index, int rank) {
    float *at = a->data;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] > 1) at += index[rank - a->rank + i] * a->strides[i];
    return at;
}

static double input_at(const dwc_node_call *call, int input, const int64_t *index) {
    return (double)*element(&call->in[input], index, call->out.rank);
}

/* The next index of a shape, the last axis first; 0 after the last one. */
static int advance(int64_t *index, const int64_t *shape, int rank) {
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < shape[i]) return 1;
        index[i] = 0;
    }
    return 0;
}

/* Not fmax: that drops a NaN. */
static double larger_of(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }

static double activated(const dwc_node_call *call, double x) {
    return dwc_activate((double)(float)x, &call->node->activation);
}

/* ---- element by element ------------------------------------------------------------------- */

static double unary(const dwconv_node *n, double x) {
    const double a = (double)n->parameters[0], b = (double)n->parameters[1];
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
        case DWCONV_ROUND: return nearbyint(x);
        case DWCONV_SIGN: return isnan(x) ? x : (double)((x > 0) - (x < 0));
        case DWCONV_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
        case DWCONV_ELU: return x < 0 ? a * expm1(x) : x * b;
        case DWCONV_SIN: return sin(x);
        case DWCONV_COS: return cos(x);
        case DWCONV_LINEAR: return a * x + b;
        default: return x;
    }
}

static double binary(dwconv_function f, double a, double b) {
    switch (f) {
        case DWCONV_PLUS: return a + b;
        case DWCONV_MINUS: return a - b;
        case DWCONV_TIMES: return a * b;
        case DWCONV_DIVIDE: return a / b;
        case DWCONV_MAXIMUM: return larger_of(a, b);
        case DWCONV_MINIMUM: return -larger_of(-a, -b);
        case DWCONV_POWER: return pow(a, b);
        case DWCONV_GREATER: return a > b;
        case DWCONV_GREATER_OR_EQUAL: return a >= b;
        case DWCONV_EQUAL: return a == b;
        case DWCONV_KEEP: return b == 0 ? -0.0 : a;
        default: return a < 0 ? a * b : a;
    }
}

/* ---- many elements to one ------------------------------------------------------------------ */

static double joined(dwconv_function f, double result, double x) {
    switch (f) {
        case DWCONV_PRODUCT: return result * x;
        case DWCONV_LARGEST: return larger_of(result, x);
        case DWCONV_SMALLEST: return -larger_of(-result, -x);
        default: return result + x;
    }
}

static double of_nothing(dwconv_function f) {
    return f == DWCONV_PRODUCT ? 1 : f == DWCONV_LARGEST ? -INFINITY : f == DWCONV_SMALLEST ? INFINITY : 0;
}

static double reduced(const dwc_node_call *call, const int64_t *index) {
    const dwc_array *x = &call->in[0];
    const dwconv_function f = call->node->function;
    dwc_array window = *x; /* what becomes the element */
    int64_t at[DWCONV_MAX_RANK] = {0};
    double result = of_nothing(f), count = 0, largest = -INFINITY, place = 0;
    for (int i = 0; i < x->rank; i++) {
        if (call->out.shape[i] != x->shape[i]) continue;
        window.data += index[i] * x->strides[i];
        window.shape[i] = 1;
    }
    do {
        const double one = (double)*element(&window, at, window.rank);
        if (one > largest || (isnan(one) && !isnan(largest))) largest = one, place = count;
        result = joined(f, result, one);
        count++;
    } while (advance(at, window.shape, window.rank));
    if (f == DWCONV_PLACE_OF_LARGEST) return place;
    return f == DWCONV_MEAN ? result / count : result;
}

/* Taps [*first, *end) of an axis meet [0, size); the return value is how many do not lie beyond `end_of_padding`. */
static int64_t met(int64_t at, int64_t taps, int64_t dilation, int64_t size, int64_t end_of_padding,
                   int64_t *first, int64_t *end) {
    *first = at < 0 ? smaller(divide_up(-at, dilation), taps) : 0;
    *end = at < size ? smaller((size - 1 - at) / dilation + 1, taps) : 0;
    return at < end_of_padding ? smaller((end_of_padding - 1 - at) / dilation + 1, taps) : 0;
}

static double pooled(const dwc_node_call *call, const int64_t *index) {
    const dwconv_node *n = call->node;
    const dwconv_window *w = &n->window;
    const dwc_array *x = &call->in[0];
    const int64_t row = index[1] * w->stride_h - w->pad_top, column = index[2] * w->stride_w - w->pad_left;
    const int64_t height = x->shape[1], width = x->shape[2];
    double result = of_nothing(n->function);
    int64_t top, bottom, left, right;
    const int64_t rows = met(row, w->kernel_h, w->dilation_h, height, height + w->pad_bottom, &top, &bottom);
    const int64_t columns =
        met(column, w->kernel_w, w->dilation_w, width, width + w->pad_right, &left, &right);
    for (int64_t ky = top; ky < bottom; ky++)
        for (int64_t kx = left; kx < right; kx++) {
            const int64_t at[] = {index[0], row + ky * w->dilation_h, column + kx * w->dilation_w, index[3]};
            result = joined(n->function, result, (double)*element(x, at, 4));
        }
    const double real = (double)larger(bottom - top, 0) * (double)larger(right - left, 0);
    const double count = n->counts_padding ? (double)rows * (double)columns : real;
    if (n->function == DWCONV_MEAN && count > 0) result /= count;
    return activated(call, result);
}

static double product(const dwc_node_call *call, const int64_t *index) {
    const dwc_array *a = &call->in[0], *b = &call->in[1];
    const int last = call->out.rank - 1;
    int64_t in_a[DWCONV_MAX_RANK], in_b[DWCONV_MAX_RANK];
    double sum = 0;
    memcpy(in_a, index, sizeof in_a);
    memcpy(in_b, index, sizeof in_b);
    for (int64_t k = 0; k < a->shape[a->rank - 1]; k++) {
        in_a[last] = in_b[last - 1] = k;
        sum += (double)*element(a, in_a, last + 1) * (double)*element(b, in_b, last + 1);
    }
    return sum;
}

/* ---- resizing ----------------------------------------------------------------------------- */

/* The input coordinate of an index of axis 1 or 2. */
static double coordinate(const dwc_node_call *call, int axis, int64_t i) {
    const double in = (double)call->in[0].shape[axis], out = (double)call->out.shape[axis];
    const float told = call->node->parameters[axis - 1];
    const double scale = told > 0 ? (double)told : out / in, half = ((double)i + 0.5) / scale - 0.5;
    switch (call->node->coordinates) {
        case DWCONV_ASYMMETRIC: return (double)i / scale;
        case DWCONV_ALIGN_CORNERS: return out > 1 ? (double)i * (in - 1) / (out - 1) : 0;
        case DWCONV_PYTORCH_HALF_PIXEL: return out > 1 ? half : 0;
        case DWCONV_HALF_PIXEL_SYMMETRIC: return half + in / 2 * (1 - out / (scale * in));
        default: return half;
    }
}

static int64_t cut(double at, int64_t size) {
    return at<0 ? 0 : at>(double)(size - 1) ? size - 1 : (int64_t)at;
}

static double rounded(dwconv_rounding rounding, double at) {
    switch (rounding) {
        case DWCONV_ROUND_FLOOR: return floor(at);
        case DWCONV_ROUND_CEIL: return ceil(at);
        case DWCONV_ROUND_PREFER_FLOOR: return ceil(at - 0.5);
        default: return floor(at + 0.5);
    }
}

static double resized(const dwc_node_call *call, const int64_t *index) {
    const dwc_array *x = &call->in[0];
    const int nearest = call->node->function == DWCONV_NEAREST;
    double part[2], first[2], sum = 0;
    for (int i = 0; i < 2; i++) {
        const double at = coordinate(call, i + 1, index[i + 1]);
        first[i] = nearest ? rounded(call->node->rounding, at) : floor(at);
        part[i] = nearest ? 0 : at - first[i];
    }
    for (int corner = 0; corner < (nearest ? 1 : 4); corner++) {
        const int down = corner & 1, right = corner >> 1;
        const int64_t from[4] = {index[0], cut(first[0] + down, x->shape[1]),
                                 cut(first[1] + right, x->shape[2]), index[3]};
        sum +=
            (down ? part[0] : 1 - part[0]) * (right ? part[1] : 1 - part[1]) * (double)*element(x, from, 4);
    }
    return sum;
}

/* ---- rows of numbers ------------------------------------------------------------------------ */

static double softmax(const dwc_node_call *call, const int64_t *index) {
    const int last = call->out.rank - 1;
    const double x = input_at(call, 0, index);
    double largest = -INFINITY, sum = 0;
    int64_t at[DWCONV_MAX_RANK];
    memcpy(at, index, sizeof at);
    for (at[last] = 0; at[last] < call->out.shape[last]; at[last]++)
        largest = larger_of(largest, input_at(call, 0, at));
    for (at[last] = 0; at[last] < call->out.shape[last]; at[last]++)
        sum += exp(input_at(call, 0, at) - largest);
    return call->node->function ? x - largest - log(sum) : exp(x - largest) / sum;
}

static double normalised(const dwc_node_call *call, const int64_t *index) {
    const int last = call->out.rank - 1;
    const double count = (double)call->out.shape[last];
    double mean = 0, variance = 0;
    int64_t at[DWCONV_MAX_RANK];
    memcpy(at, index, sizeof at);
    for (at[last] = 0; at[last] < call->out.shape[last]; at[last]++) mean += input_at(call, 0, at) / count;
    for (at[last] = 0; at[last] < call->out.shape[last]; at[last]++)
        variance += pow(input_at(call, 0, at) - mean, 2) / count;
    return (input_at(call, 0, index) - mean) / sqrt(variance + (double)call->node->parameters[0]) *
               input_at(call, 1, index) +
           input_at(call, 2, index);
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static double gathered(const dwc_node_call *call, const int64_t *index) {
    const dwconv_node *n = call->node;
    int64_t from[DWCONV_MAX_RANK];
    memcpy(from, index, sizeof from);
    from[n->axis] = n->indices[index[n->axis]];
    return (double)*element(&call->in[0], from, call->out.rank);
}

static double value_of(const dwc_node_call *call, const int64_t *index) {
    const dwconv_node *n = call->node;
    switch (n->kind) {
        case DWCONV_FILL: return (double)n->parameters[0];
        case DWCONV_UNARY: return activated(call, unary(n, input_at(call, 0, index)));
        case DWCONV_BINARY:
            return activated(call, binary(n->function, input_at(call, 0, index), input_at(call, 1, index)));
        case DWCONV_REDUCE: return reduced(call, index);
        case DWCONV_POOL: return pooled(call, index);
        case DWCONV_RESIZE: return resized(call, index);
        case DWCONV_SOFTMAX: return softmax(call, index);
        case DWCONV_LAYER_NORM: return normalised(call, index);
        case DWCONV_MATMUL: return product(call, index);
        case DWCONV_GATHER: return gathered(call, index);
        default: return input_at(call, 0, index);
    }
}

static size_t bytes_of(const dwc_array *a) {
    size_t bytes = sizeof(float);
    for (int i = 0; i < a->rank; i++) bytes *= (size_t)a->shape[i];
    return bytes;
}

static dwconv_tensor dense_tensor(const dwc_array *a, float *data) {
    return (dwconv_tensor){.data = data,
                           .batch = a->shape[0],
                           .height = a->shape[1],
                           .width = a->shape[2],
                           .channels = a->shape[3]};
}

/* From x to y, of one shape. */
static void copy(const dwc_array *x, const dwc_array *y) {
    int64_t index[DWCONV_MAX_RANK] = {0};
    do *element(y, index, y->rank) = *element(x, index, y->rank);
    while (advance(index, y->shape, y->rank));
}

static dwc_array dense(const dwc_array *of, float *data) {
    dwc_array a = *of;
    int64_t stride = 1;
    for (int i = a.rank - 1; i >= 0; stride *= a.shape[i--]) a.strides[i] = stride;
    a.data = data;
    return a;
}

/* Through dense copies, since dwconv_reference wants tensors apart. */
static dwconv_status convolve(const dwc_node_call *call) {
    float *x = malloc(bytes_of(&call->in[0])), *y = malloc(bytes_of(&call->out));
    dwconv_status status = DWCONV_NO_MEMORY;
    if (x && y) {
        const dwc_array from = dense(&call->in[0], x), to = dense(&call->out, y);
        const dwconv_tensor input = dense_tensor(&from, x), output = dense_tensor(&to, y);
        copy(&call->in[0], &from);
        status = dwconv_reference(call->node->operation, &input, &output);
        if (status == DWCONV_OK) copy(&to, &call->out);
    }
    free(x);
    free(y);
    return status;
}

dwconv_status dwc_reference_node(const dwc_node_call *call) {
    int64_t index[DWCONV_MAX_RANK] = {0};
    if (call->node->kind == DWCONV_CONVOLUTION) return convolve(call);
    do *element(&call->out, index, call->out.rank) = (float)value_of(call, index);
    while (advance(index, call->out.shape, call->out.rank));
    return DWCONV_OK;
}

/* ---- networks ------------------------------------------------------------------------------- */

static dwc_array array_at(const dwconv_network_desc *d, float *const memory[], int32_t i) {
    dwconv_value v;
    (void)dwc_take_value(d, i, &v); /* was checked */
    dwc_array a = dwc_array_of(&v);
    a.data = memory[v.base] + v.offset;
    return a;
}

static dwconv_status run_nodes(const dwconv_network_desc *d, float *const memory[]) {
    for (int32_t i = 0; i < d->node_count; i++) {
        dwconv_node node;
        DWC_TRY(dwc_take_node(d, i, &node));
        dwc_node_call call = {.node = &node, .out = array_at(d, memory, node.output)};
        for (int k = 0; k < dwc_node_class_of(node.kind, 0)->inputs; k++)
            call.in[k] = array_at(d, memory, node.inputs[k]);
        DWC_TRY(dwc_reference_node(&call));
    }
    return DWCONV_OK;
}

static int is_new(const dwconv_value *v) {
    return v->storage == DWCONV_WORKSPACE || v->storage == DWCONV_OUTPUT || v->storage == DWCONV_STATE;
}

/* Memory of values: constants and inputs where they are, all others new and zero, but a state as it begins. */
static dwconv_status allocate(const dwconv_network_desc *d, const void *const inputs[], float *memory[]) {
    for (int32_t i = 0; i < d->value_count; i++) {
        dwconv_value v;
        DWC_TRY(dwc_take_value(d, i, &v));
        if (v.storage == DWCONV_CONSTANT) memory[i] = (float *)(uintptr_t)v.data;
        if (v.storage == DWCONV_INPUT) memory[i] = (float *)(uintptr_t)*inputs++;
        if (!is_new(&v)) continue;
        memory[i] = calloc((size_t)dwc_elements(&v), sizeof(float));
        if (!memory[i]) return DWCONV_NO_MEMORY;
        if (v.storage == DWCONV_STATE && v.data)
            memcpy(memory[i], v.data, (size_t)dwc_elements(&v) * sizeof(float));
    }
    return DWCONV_OK;
}

/* Frees what `allocate` made, after copying outputs to their owner, if there is one. */
static void release(const dwconv_network_desc *d, void *const outputs[], float *memory[]) {
    for (int32_t i = 0; i < d->value_count; i++) {
        dwconv_value v;
        (void)dwc_take_value(d, i, &v);
        if (v.storage == DWCONV_OUTPUT && outputs)
            memcpy(*outputs++, memory[i], (size_t)dwc_elements(&v) * sizeof(float));
        if (is_new(&v)) free(memory[i]);
    }
    free(memory);
}

/* Integers have no plain loops here. */
static dwconv_status check_floats(const dwconv_network_desc *d) {
    for (int32_t i = 0; i < d->value_count; i++) {
        dwconv_value v;
        DWC_TRY(dwc_take_value(d, i, &v));
        if (v.dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    }
    return DWCONV_OK;
}

dwconv_status dwconv_network_reference(const dwconv_network_desc *desc, const void *const inputs[],
                                       void *const outputs[]) {
    dwconv_network_desc d;
    size_t bytes;
    DWC_TRY(dwconv_network_size(desc, &bytes, NULL));
    DWC_TRY(dwc_take_network(desc, &d));
    DWC_TRY(check_floats(&d));
    float **memory = calloc((size_t)d.value_count + 1, sizeof *memory);
    if (!memory) return DWCONV_NO_MEMORY;
    dwconv_status status = allocate(&d, inputs, memory);
    if (status == DWCONV_OK) status = run_nodes(&d, memory);
    release(&d, status == DWCONV_OK ? outputs : NULL, memory);
    return status;
}
