/* Checked geometry: descriptors, output shapes, tensor layouts. Nothing after this file checks again. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../internal.h"

#define TRY(call)                                       \
    do {                                                \
        const dwconv_status try_status = (call);        \
        if (try_status != DWCONV_OK) return try_status; \
    } while (0)

/* ---- descriptors -------------------------------------------------------------------------- */

static dwconv_status check_size(int64_t size) {
    if (size < 1) return DWCONV_BAD_SHAPE;
    return size > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static dwconv_status check_step(int64_t *step) {
    if (*step < 0) return DWCONV_BAD_STRIDE;
    if (*step == 0) *step = 1;
    return *step > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static dwconv_status check_pad(int64_t pad, int is_explicit) {
    if (pad < 0 || (pad > 0 && !is_explicit)) return DWCONV_BAD_PADDING;
    return pad > DWC_MAX_SIZE ? DWCONV_OVERFLOW : DWCONV_OK;
}

static dwconv_status normalize_window(dwconv_window *w) {
    TRY(check_size(w->kernel_h));
    TRY(check_size(w->kernel_w));
    TRY(check_step(&w->stride_h));
    TRY(check_step(&w->stride_w));
    TRY(check_step(&w->dilation_h));
    TRY(check_step(&w->dilation_w));
    if (w->padding != DWCONV_VALID && w->padding != DWCONV_SAME && w->padding != DWCONV_EXPLICIT)
        return DWCONV_BAD_PADDING;
    const int is_explicit = w->padding == DWCONV_EXPLICIT;
    TRY(check_pad(w->pad_top, is_explicit));
    TRY(check_pad(w->pad_bottom, is_explicit));
    TRY(check_pad(w->pad_left, is_explicit));
    return check_pad(w->pad_right, is_explicit);
}

static dwconv_status normalize_activation(dwconv_activation *act) {
    switch (act->kind) {
        case DWCONV_IDENTITY: *act = (dwconv_activation){DWCONV_CLIP, -INFINITY, INFINITY}; return DWCONV_OK;
        case DWCONV_RELU: *act = (dwconv_activation){DWCONV_CLIP, 0.0f, INFINITY}; return DWCONV_OK;
        case DWCONV_RELU6: *act = (dwconv_activation){DWCONV_CLIP, 0.0f, 6.0f}; return DWCONV_OK;
        case DWCONV_CLIP: return act->a <= act->b ? DWCONV_OK : DWCONV_BAD_ACTIVATION;
        case DWCONV_LEAKY_RELU: return isnan(act->a) ? DWCONV_BAD_ACTIVATION : DWCONV_OK;
        case DWCONV_HARD_SIGMOID:
        case DWCONV_HARD_SWISH:
        case DWCONV_SIGMOID:
        case DWCONV_SILU:
        case DWCONV_TANH:
        case DWCONV_GELU_ERF:
        case DWCONV_GELU_TANH: return DWCONV_OK;
        default: return DWCONV_BAD_ACTIVATION;
    }
}

/* Elements of a filter must be countable with room for padding to whole panels of every tap. */
static dwconv_status check_filter(const float *filter, int64_t a, int64_t b, int64_t c, int64_t d) {
    int64_t count;
    if (!filter) return DWCONV_NULL_POINTER;
    if (!dwc_multiply(a, b, &count) || !dwc_multiply(count, c, &count) || !dwc_multiply(count, d, &count) ||
        count > INT64_MAX / 4096)
        return DWCONV_OVERFLOW;
    return DWCONV_OK;
}

static dwconv_status normalize_depthwise(dwconv_depthwise_desc *d) {
    TRY(check_size(d->channels));
    if (d->multiplier == 0) d->multiplier = 1;
    TRY(check_size(d->multiplier));
    if (d->channels * d->multiplier > DWC_MAX_SIZE) return DWCONV_OVERFLOW;
    TRY(normalize_window(&d->window));
    TRY(check_filter(d->filter, d->window.kernel_h, d->window.kernel_w, d->channels, d->multiplier));
    return normalize_activation(&d->activation);
}

static dwconv_status normalize_pointwise(dwconv_pointwise_desc *p) {
    TRY(check_size(p->in_channels));
    TRY(check_size(p->out_channels));
    TRY(check_step(&p->stride_h));
    TRY(check_step(&p->stride_w));
    TRY(check_filter(p->filter, p->in_channels, p->out_channels, 1, 1));
    return normalize_activation(&p->activation);
}

static dwconv_status normalize_conv(dwconv_conv_desc *c) {
    TRY(check_size(c->in_channels));
    TRY(check_size(c->out_channels));
    if (c->groups == 0) c->groups = 1;
    TRY(check_size(c->groups));
    if (c->in_channels % c->groups || c->out_channels % c->groups) return DWCONV_BAD_SHAPE;
    TRY(normalize_window(&c->window));
    TRY(check_filter(c->filter, c->window.kernel_h, c->window.kernel_w, c->in_channels / c->groups,
                     c->out_channels));
    return normalize_activation(&c->activation);
}

/* A pointwise stage of a block. */
static dwconv_status normalize_unit_stride(dwconv_pointwise_desc *p) {
    TRY(normalize_pointwise(p));
    return p->stride_h == 1 && p->stride_w == 1 ? DWCONV_OK : DWCONV_BAD_STRIDE;
}

static dwconv_status normalize_separable(dwconv_separable_desc *s) {
    TRY(normalize_depthwise(&s->depthwise));
    TRY(normalize_unit_stride(&s->pointwise));
    return s->pointwise.in_channels == s->depthwise.channels * s->depthwise.multiplier ? DWCONV_OK
                                                                                       : DWCONV_BAD_SHAPE;
}

static dwconv_status normalize_squeeze(dwconv_pointwise_desc *squeeze, dwconv_pointwise_desc *excite,
                                       int64_t channels) {
    if (!squeeze->filter) return DWCONV_OK;
    TRY(normalize_unit_stride(squeeze));
    TRY(normalize_unit_stride(excite));
    return squeeze->in_channels == channels && excite->in_channels == squeeze->out_channels &&
                   excite->out_channels == channels
               ? DWCONV_OK
               : DWCONV_BAD_SHAPE;
}

static dwconv_status normalize_inverted_residual(dwconv_inverted_residual_desc *r) {
    TRY(normalize_depthwise(&r->depthwise));
    TRY(normalize_unit_stride(&r->project));
    if (r->project.in_channels != r->depthwise.channels * r->depthwise.multiplier) return DWCONV_BAD_SHAPE;
    TRY(normalize_squeeze(&r->squeeze, &r->excite, r->project.in_channels));
    if (r->residual != DWCONV_RESIDUAL_AUTO && r->residual != DWCONV_RESIDUAL_OFF &&
        r->residual != DWCONV_RESIDUAL_ON)
        return DWCONV_BAD_VALUE;
    if (!r->expand.filter) return DWCONV_OK;
    TRY(normalize_unit_stride(&r->expand));
    return r->expand.out_channels == r->depthwise.channels ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

dwconv_status dwc_normalize(const dwconv_desc *desc, dwconv_desc *normal) {
    if (!desc || !normal) return DWCONV_NULL_POINTER;
    *normal = *desc;
    if (desc->dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    if (desc->flags & ~(uint32_t)DWCONV_FLUSH_DENORMAL_WEIGHTS) return DWCONV_BAD_VALUE;
    switch (desc->operation) {
        case DWCONV_DEPTHWISE: return normalize_depthwise(&normal->depthwise);
        case DWCONV_POINTWISE: return normalize_pointwise(&normal->pointwise);
        case DWCONV_CONV: return normalize_conv(&normal->conv);
        case DWCONV_SEPARABLE: return normalize_separable(&normal->separable);
        case DWCONV_INVERTED_RESIDUAL: return normalize_inverted_residual(&normal->inverted_residual);
        default: return DWCONV_BAD_VALUE;
    }
}

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
    TRY(extent_1d(w->padding, in_h, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom,
                  &e->out_h, &e->pad_top));
    return extent_1d(w->padding, in_w, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right,
                     &e->out_w, &e->pad_left);
}

dwconv_window dwc_pointwise_window(const dwconv_pointwise_desc *p) {
    return (dwconv_window){.kernel_h = 1,
                           .kernel_w = 1,
                           .stride_h = p->stride_h,
                           .stride_w = p->stride_w,
                           .dilation_h = 1,
                           .dilation_w = 1};
}

dwconv_status dwc_output_shape(const dwconv_desc *d, const int64_t input[4], int64_t output[4]) {
    dwconv_window window;
    int64_t in_channels, out_channels;
    switch (d->operation) {
        case DWCONV_DEPTHWISE:
            window = d->depthwise.window;
            in_channels = d->depthwise.channels;
            out_channels = in_channels * d->depthwise.multiplier;
            break;
        case DWCONV_POINTWISE:
            window = dwc_pointwise_window(&d->pointwise);
            in_channels = d->pointwise.in_channels;
            out_channels = d->pointwise.out_channels;
            break;
        case DWCONV_CONV:
            window = d->conv.window;
            in_channels = d->conv.in_channels;
            out_channels = d->conv.out_channels;
            break;
        case DWCONV_SEPARABLE:
            window = d->separable.depthwise.window;
            in_channels = d->separable.depthwise.channels;
            out_channels = d->separable.pointwise.out_channels;
            break;
        default:
            window = d->inverted_residual.depthwise.window;
            in_channels = d->inverted_residual.expand.filter ? d->inverted_residual.expand.in_channels
                                                             : d->inverted_residual.depthwise.channels;
            out_channels = d->inverted_residual.project.out_channels;
    }
    if (input[0] < 0) return DWCONV_BAD_SHAPE;
    if (input[0] > DWC_MAX_SIZE) return DWCONV_OVERFLOW;
    for (int i = 1; i < 4; i++) TRY(check_size(input[i]));
    if (input[3] != in_channels) return DWCONV_BAD_SHAPE;
    dwc_extent e;
    TRY(dwc_window_extent(&window, input[1], input[2], &e));
    output[0] = input[0];
    output[1] = e.out_h;
    output[2] = e.out_w;
    output[3] = out_channels;
    if (d->operation == DWCONV_INVERTED_RESIDUAL && d->inverted_residual.residual == DWCONV_RESIDUAL_ON &&
        !dwc_residual_applies(d, input, output))
        return DWCONV_BAD_RESIDUAL;
    return DWCONV_OK;
}

int dwc_residual_applies(const dwconv_desc *d, const int64_t input[4], const int64_t output[4]) {
    const dwconv_inverted_residual_desc *r = &d->inverted_residual;
    return d->operation == DWCONV_INVERTED_RESIDUAL && r->residual != DWCONV_RESIDUAL_OFF &&
           r->depthwise.window.stride_h == 1 && r->depthwise.window.stride_w == 1 &&
           memcmp(input, output, 4 * sizeof *input) == 0;
}

/* ---- tensors ------------------------------------------------------------------------------ */

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
    if ((uint64_t)below * sizeof(float) > address || (uint64_t)above * sizeof(float) > UINTPTR_MAX - address)
        return DWCONV_OVERFLOW;
    *begin = address - (uintptr_t)below * sizeof(float);
    *end = address + (uintptr_t)above * sizeof(float);
    return DWCONV_OK;
}

static dwconv_status resolve(const dwconv_tensor *t, dwc_view *v) {
    if (t->dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    *v = (dwc_view){
        .data = t->data, .batch = t->batch, .height = t->height, .width = t->width, .channels = t->channels};
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
    return (uintptr_t)v->data % sizeof(float) ? DWCONV_MISALIGNED : DWCONV_OK;
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

/* Two channel slices of one buffer interleave without sharing an element: all strides are multiples
 * of one pixel stride, modulo which the slices are disjoint. */
static int disjoint_slices(const dwc_view *x, const dwc_view *y) {
    const int64_t p = x->pixel;
    if (p <= 0 || y->pixel % p || x->row % p || y->row % p || x->image % p || y->image % p) return 0;
    const int64_t step = p * (int64_t)sizeof(float);
    int64_t distance =
        (int64_t)((uintptr_t)y->data % (uintptr_t)step) - (int64_t)((uintptr_t)x->data % (uintptr_t)step);
    if (distance < 0) distance += step;
    return distance >= x->channels * (int64_t)sizeof(float) &&
           distance + y->channels * (int64_t)sizeof(float) <= step;
}

int dwc_view_meets(const dwc_view *v, const void *a, size_t bytes) {
    uintptr_t begin, end;
    if (bytes == 0 || v->batch == 0 || address_range(v, &begin, &end) != DWCONV_OK) return 0;
    return begin < (uintptr_t)a + bytes && (uintptr_t)a < end;
}

dwconv_status dwc_check_tensors(const dwconv_desc *normal, const dwconv_tensor *input,
                                const dwconv_tensor *output, dwc_view *x, dwc_view *y) {
    if (!input || !output) return DWCONV_NULL_POINTER;
    const int64_t in_shape[4] = {input->batch, input->height, input->width, input->channels};
    int64_t out_shape[4];
    TRY(dwc_output_shape(normal, in_shape, out_shape));
    if (output->batch != out_shape[0] || output->height != out_shape[1] || output->width != out_shape[2] ||
        output->channels != out_shape[3])
        return DWCONV_BAD_SHAPE;
    TRY(resolve(input, x));
    TRY(resolve(output, y));
    if (x->batch == 0) return DWCONV_OK;
    uintptr_t x_begin, x_end, y_begin, y_end;
    TRY(address_range(x, &x_begin, &x_end));
    TRY(address_range(y, &y_begin, &y_end));
    TRY(check_distinct(y));
    if (x_begin < y_end && y_begin < x_end && !disjoint_slices(x, y)) return DWCONV_OVERLAP;
    return DWCONV_OK;
}
