/* Checked geometry: the shapes of a graph's values, the layout of tensors. */
#include <stdlib.h>
#include <string.h>

#include "graph.h"

/* ---- output shapes ------------------------------------------------------------------------ */

static dwconv_status extent_1d(dwconv_padding padding, int64_t in, int64_t kernel, int64_t stride,
                               int64_t dilation, int64_t before, int64_t after, int64_t *out,
                               int64_t *pad_before) {
    const int64_t effective = (kernel - 1) * dilation + 1; /* below 2^62: all sizes are below 2^31 */
    if (padding == DWCONV_SAME) {
        *out = (in + stride - 1) / stride;
        const int64_t total = (*out - 1) * stride + effective - in;
        *pad_before = total > 0 ? total / 2 : 0;
        return DWCONV_OK;
    }
    if (effective > in + before + after) return DWCONV_KERNEL_TOO_LARGE;
    *out = (in + before + after - effective) / stride + 1;
    *pad_before = before;
    return *out > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

dwconv_status dwc_window_extent(const dwconv_window *w, int64_t in_h, int64_t in_w, dwc_extent *e) {
    DWC_TRY(extent_1d(w->padding, in_h, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom,
                      &e->out_h, &e->pad_top));
    return extent_1d(w->padding, in_w, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right,
                     &e->out_w, &e->pad_left);
}

int dwc_adds(const int64_t a[4], const int64_t b[4]) { return memcmp(a, b, sizeof(dwc_shape)) == 0; }

/* Of 8-bit integers the sum must fit 32 bits. */
static dwconv_status extent_of_mean(const dwc_graph *g, const int64_t in[4], dwc_extent *e) {
    e->out_h = e->out_w = 1;
    return dwc_is_quantized(g) && in[1] > DWC_MOST_BYTES_SUMMED / in[2] ? DWCONV_OVERFLOW : DWCONV_OK;
}

/* The height and width of what a node gives. */
static dwconv_status shape_of(const dwc_graph *g, const dwc_node *n, const dwc_shape *shapes, int64_t *height,
                              int64_t *width) {
    const int64_t *in = shapes[n->inputs[0]];
    dwc_extent e = {.out_h = in[1], .out_w = in[2]};
    if (n->op == DWC_DEPTHWISE || n->op == DWC_MATRIX)
        DWC_TRY(dwc_window_extent(&n->window, in[1], in[2], &e));
    else if (n->op == DWC_MEAN)
        DWC_TRY(extent_of_mean(g, in, &e));
    else if (n->op == DWC_ADD && !n->optional && !dwc_adds(in, shapes[n->inputs[1]]))
        return DWCONV_BAD_RESIDUAL;
    *height = e.out_h;
    *width = e.out_w;
    return DWCONV_OK;
}

dwconv_status dwc_shapes(const dwc_graph *g, dwc_shape *shapes) {
    const int64_t *input = shapes[0];
    if (input[0] < 0) return DWCONV_BAD_SHAPE;
    if (input[0] > DWC_MAX_SIZE) return DWCONV_OVERFLOW;
    for (int i = 1; i < 4; i++) DWC_TRY(dwc_check_size(input[i]));
    if (input[3] != g->values[0].channels) return DWCONV_BAD_SHAPE;
    for (const dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        int64_t *shape = shapes[n->output];
        DWC_TRY(shape_of(g, n, (const dwc_shape *)shapes, &shape[1], &shape[2]));
        shape[0] = input[0];
        shape[3] = g->values[n->output].channels;
    }
    return DWCONV_OK;
}

dwconv_status dwc_output_shape(const dwc_graph *g, const int64_t input[4], int64_t output[4]) {
    dwc_shape shapes[DWC_MOST_VALUES];
    memcpy(shapes[0], input, sizeof(dwc_shape));
    DWC_TRY(dwc_shapes(g, shapes));
    memcpy(output, shapes[g->value_count - 1], sizeof(dwc_shape));
    return DWCONV_OK;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static size_t element_bytes(const dwc_view *v) { return v->dtype == DWCONV_F32 ? sizeof(float) : 1; }

/* Lowest and highest byte address of a non-empty view, as integers so that nothing wraps. */
static dwconv_status address_range(const dwc_view *v, uintptr_t *begin, uintptr_t *end) {
    const int64_t sizes[3] = {v->batch, v->height, v->width};
    const int64_t strides[3] = {v->image, v->row, v->pixel};
    int64_t below = 0, above = v->channels;
    for (int i = 0; i < 3; i++) {
        int64_t reach;
        if (strides[i] == INT64_MIN || !dwc_multiply(sizes[i] - 1, llabs(strides[i]), &reach))
            return DWCONV_OVERFLOW;
        int64_t *side = strides[i] < 0 ? &below : &above;
        if (reach > INT64_MAX / 16 - *side) return DWCONV_OVERFLOW;
        *side += reach;
    }
    const uintptr_t address = (uintptr_t)v->data;
    const size_t size = element_bytes(v);
    if ((uint64_t)below * size > address || (uint64_t)above * size > UINTPTR_MAX - address)
        return DWCONV_OVERFLOW;
    *begin = address - (uintptr_t)below * size;
    *end = address + (uintptr_t)above * size;
    return DWCONV_OK;
}

static dwconv_status resolve(const dwconv_tensor *t, dwc_view *v) {
    *v = (dwc_view){.data = t->data,
                    .batch = t->batch,
                    .height = t->height,
                    .width = t->width,
                    .channels = t->channels,
                    .dtype = t->dtype};
    int64_t elements;
    if (!dwc_multiply(v->height, v->width, &elements) || !dwc_multiply(elements, v->channels, &elements) ||
        !dwc_multiply(elements, v->batch ? v->batch : 1, &elements) || elements > INT64_MAX / 16)
        return DWCONV_OVERFLOW;
    const int64_t limit = INT64_MAX / 16;
    v->pixel = t->pixel_stride ? t->pixel_stride : v->channels;
    if (v->pixel > limit || v->pixel < -limit) return DWCONV_OVERFLOW;
    v->row = t->row_stride;
    if (!v->row && !dwc_multiply(v->width, v->pixel, &v->row)) return DWCONV_OVERFLOW;
    if (v->row > limit || v->row < -limit) return DWCONV_OVERFLOW;
    v->image = t->image_stride;
    if (!v->image && !dwc_multiply(v->height, v->row, &v->image)) return DWCONV_OVERFLOW;
    if (v->image > limit || v->image < -limit) return DWCONV_OVERFLOW;
    /* Strides of axes with one element say nothing, and may be absurd: kernels multiply them by padding. */
    if (v->width == 1) v->pixel = v->channels;
    if (v->height == 1) v->row = v->width * v->pixel;
    if (v->batch <= 1) v->image = v->height * v->row;
    if (v->batch == 0) return DWCONV_OK;
    if (!v->data) return DWCONV_NULL_POINTER;
    return (uintptr_t)v->data % element_bytes(v) ? DWCONV_MISALIGNED : DWCONV_OK;
}

dwconv_status dwc_dense_view(const int64_t shape[4], dwconv_dtype dtype, dwc_view *v) {
    static _Alignas(DWCONV_ALIGNMENT) float nothing;
    const dwconv_tensor t = {.data = &nothing,
                             .dtype = dtype,
                             .batch = shape[0],
                             .height = shape[1],
                             .width = shape[2],
                             .channels = shape[3]};
    return resolve(&t, v);
}

/* Sorted by stride, every axis must step over all that lies inside it. */
static dwconv_status check_distinct(const dwc_view *v) {
    int64_t sizes[3] = {v->width, v->height, v->batch};
    int64_t strides[3] = {llabs(v->pixel), llabs(v->row), llabs(v->image)};
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 3; j++)
            if (strides[j] < strides[i]) {
                const int64_t size = sizes[i], stride = strides[i];
                sizes[i] = sizes[j], strides[i] = strides[j];
                sizes[j] = size, strides[j] = stride;
            }
    int64_t inner = v->channels;
    for (int i = 0; i < 3; i++) {
        if (sizes[i] == 1) continue;
        if (strides[i] < inner) return DWCONV_BAD_LAYOUT;
        inner += (sizes[i] - 1) * strides[i];
    }
    return DWCONV_OK;
}

/* Two channel slices of one buffer, of one dtype, interleave without sharing an element: all strides are multiples
 * of one pixel stride, modulo which the slices are disjoint. */
static int disjoint_slices(const dwc_view *x, const dwc_view *y) {
    const int64_t p = x->pixel, size = (int64_t)element_bytes(x);
    if (x->dtype != y->dtype) return 0;
    if (p <= 0 || y->pixel % p || x->row % p || y->row % p || x->image % p || y->image % p) return 0;
    const int64_t step = p * size;
    int64_t distance =
        (int64_t)((uintptr_t)y->data % (uintptr_t)step) - (int64_t)((uintptr_t)x->data % (uintptr_t)step);
    if (distance < 0) distance += step;
    return distance >= x->channels * size && distance + y->channels * size <= step;
}

int dwc_view_meets(const dwc_view *v, const void *a, size_t bytes) {
    uintptr_t begin, end;
    if (bytes == 0 || v->batch == 0 || address_range(v, &begin, &end) != DWCONV_OK) return 0;
    return begin < (uintptr_t)a + bytes && (uintptr_t)a < end;
}

int dwc_views_meet(const dwc_view *a, const dwc_view *b) {
    uintptr_t a_begin, a_end, b_begin, b_end;
    if (a->batch == 0 || b->batch == 0 || address_range(a, &a_begin, &a_end) != DWCONV_OK ||
        address_range(b, &b_begin, &b_end) != DWCONV_OK)
        return 0;
    return a_begin < b_end && b_begin < a_end && !disjoint_slices(a, b);
}

dwconv_status dwc_check_views(const dwc_graph *graph, const dwconv_tensor *input, const dwconv_tensor *output,
                              const dwc_view *written, dwc_view *x, dwc_view *y) {
    if (!input || !output) return DWCONV_NULL_POINTER;
    const int64_t in_shape[4] = {input->batch, input->height, input->width, input->channels};
    int64_t out_shape[4];
    DWC_TRY(dwc_output_shape(graph, in_shape, out_shape));
    if (output->batch != out_shape[0] || output->height != out_shape[1] || output->width != out_shape[2] ||
        output->channels != out_shape[3])
        return DWCONV_BAD_SHAPE;
    if (input->dtype != graph->values[0].dtype ||
        output->dtype != graph->values[graph->value_count - 1].dtype)
        return DWCONV_BAD_DTYPE;
    DWC_TRY(resolve(input, x));
    DWC_TRY(resolve(output, y));
    if (x->batch == 0) return DWCONV_OK;
    uintptr_t begin, end;
    DWC_TRY(address_range(x, &begin, &end));
    DWC_TRY(address_range(y, &begin, &end));
    if (!written) return DWCONV_OK;
    DWC_TRY(check_distinct(written));
    return dwc_views_meet(x, y) ? DWCONV_OVERLAP : DWCONV_OK;
}

dwconv_status dwc_check_tensors(const dwc_graph *graph, const dwconv_tensor *input,
                                const dwconv_tensor *output, dwc_view *x, dwc_view *y) {
    return dwc_check_views(graph, input, output, y, x, y);
}
