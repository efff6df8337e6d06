/* Every operation as plain loops in double precision: the oracle of the tests, never the fast path.
 *
 * All five operations are chains of one layer, the grouped convolution: depthwise has one group per
 * input channel, pointwise has a 1x1 window; squeeze-and-excite scales the output of one. The output of each layer is rounded to float, as tensors
 * between layers are. Outputs are indexed, taps outside the image are skipped, nothing is padded. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "internal.h"

typedef struct layer {
    dwconv_window window;
    int64_t in_channels, out_channels, groups;
    const float *filter; /* [kernel_h, kernel_w, in_channels / groups, out_channels] */
    const float *bias;
    dwconv_activation activation;
    int flush_denormals;
    const struct layer *gate; /* two layers, squeeze and excite, that scale the output; or NULL */
} layer;

/* [kernel_h, kernel_w, channels, multiplier] and [kernel_h, kernel_w, 1, channels * multiplier] are the same
 * memory. */
static layer depthwise_layer(const dwconv_depthwise_desc *d, int flush_denormals) {
    return (layer){.window = d->window,
                   .in_channels = d->channels,
                   .out_channels = d->channels * d->multiplier,
                   .groups = d->channels,
                   .filter = d->filter,
                   .bias = d->bias,
                   .activation = d->activation,
                   .flush_denormals = flush_denormals};
}

static layer pointwise_layer(const dwconv_pointwise_desc *p, int flush_denormals) {
    return (layer){.window = dwc_pointwise_window(p),
                   .in_channels = p->in_channels,
                   .out_channels = p->out_channels,
                   .groups = 1,
                   .filter = p->filter,
                   .bias = p->bias,
                   .activation = p->activation,
                   .flush_denormals = flush_denormals};
}

static layer conv_layer(const dwconv_conv_desc *c, int flush_denormals) {
    return (layer){.window = c->window,
                   .in_channels = c->in_channels,
                   .out_channels = c->out_channels,
                   .groups = c->groups,
                   .filter = c->filter,
                   .bias = c->bias,
                   .activation = c->activation,
                   .flush_denormals = flush_denormals};
}

/* ---- one output --------------------------------------------------------------------------- */

/* Not fmin and fmax: those drop a NaN. */
static double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* x * p, and the limit 0 where x is -infinity and p, which falls faster than x grows, is 0. */
static double weighted(double x, double p) { return p == 0.0 ? 0.0 : x * p; }

/* The formulas of dwconv.h, written so that negative arguments do not cancel. */
static double activate(double x, const dwconv_activation *activation) {
    static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;
    switch (activation->kind) {
        case DWCONV_LEAKY_RELU: return x < 0.0 ? activation->a * x : x;
        case DWCONV_HARD_SIGMOID: return clamp(x + 3.0, 0.0, 6.0) / 6.0;
        case DWCONV_HARD_SWISH: return x * (clamp(x + 3.0, 0.0, 6.0) / 6.0);
        case DWCONV_SIGMOID: return sigmoid(x);
        case DWCONV_SILU: return weighted(x, sigmoid(x));
        case DWCONV_TANH: return tanh(x);
        case DWCONV_GELU_ERF: return weighted(x, erfc(-x * sqrt_half) * 0.5);
        case DWCONV_GELU_TANH: return weighted(x, sigmoid(2.0 * sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
        default: return clamp(x, activation->a, activation->b);
    }
}

static double weight_at(const layer *l, int64_t tap, int64_t channel, int64_t out_channel) {
    const int64_t group_channels = l->in_channels / l->groups;
    const float weight = l->filter[(tap * group_channels + channel) * l->out_channels + out_channel];
    return l->flush_denormals && fabsf(weight) < FLT_MIN ? 0.0 : weight;
}

/* `image` is the element [0, 0, 0] of one image of x; iy, ix: where tap [0, 0] lies. */
static double window_sum(const layer *l, const dwc_view *x, const float *image, int64_t iy, int64_t ix,
                         int64_t out_channel) {
    const dwconv_window *w = &l->window;
    const int64_t group_channels = l->in_channels / l->groups;
    const int64_t first_channel = out_channel / (l->out_channels / l->groups) * group_channels;
    double sum = 0.0;
    for (int64_t ky = 0; ky < w->kernel_h; ky++) {
        const int64_t row = iy + ky * w->dilation_h;
        if (row < 0 || row >= x->height) continue;
        for (int64_t kx = 0; kx < w->kernel_w; kx++) {
            const int64_t column = ix + kx * w->dilation_w;
            if (column < 0 || column >= x->width) continue;
            const float *pixel = image + row * x->row + column * x->pixel + first_channel;
            for (int64_t c = 0; c < group_channels; c++)
                sum += (double)pixel[c] * weight_at(l, ky * w->kernel_w + kx, c, out_channel);
        }
    }
    return sum;
}

/* ---- one layer ---------------------------------------------------------------------------- */

static void run_layer(const layer *l, const dwc_view *x, const dwc_view *y) {
    dwc_extent extent;
    if (dwc_window_extent(&l->window, x->height, x->width, &extent) != DWCONV_OK) return;
    for (int64_t n = 0; n < y->batch; n++)
        for (int64_t oy = 0; oy < y->height; oy++)
            for (int64_t ox = 0; ox < y->width; ox++)
                for (int64_t o = 0; o < y->channels; o++) {
                    const int64_t iy = oy * l->window.stride_h - extent.pad_top;
                    const int64_t ix = ox * l->window.stride_w - extent.pad_left;
                    double value = window_sum(l, x, x->data + n * x->image, iy, ix, o);
                    if (l->bias) value += l->bias[o];
                    y->data[n * y->image + oy * y->row + ox * y->pixel + o] =
                        (float)activate(value, &l->activation);
                }
}

static void add_residual(const dwc_view *x, const dwc_view *y) {
    for (int64_t n = 0; n < y->batch; n++)
        for (int64_t oy = 0; oy < y->height; oy++)
            for (int64_t ox = 0; ox < y->width; ox++)
                for (int64_t c = 0; c < y->channels; c++)
                    y->data[n * y->image + oy * y->row + ox * y->pixel + c] +=
                        x->data[n * x->image + oy * x->row + ox * x->pixel + c];
}

/* ---- chains of layers --------------------------------------------------------------------- */

static dwconv_status allocate_view(int64_t batch, int64_t height, int64_t width, int64_t channels,
                                   dwc_view *v) {
    int64_t image, elements;
    if (!dwc_multiply(height, width, &image) || !dwc_multiply(image, channels, &image) ||
        !dwc_multiply(image, batch, &elements) || (uint64_t)elements > SIZE_MAX / sizeof(float))
        return DWCONV_OVERFLOW;
    *v = (dwc_view){.data = malloc((size_t)elements * sizeof(float) + !elements),
                    .batch = batch,
                    .height = height,
                    .width = width,
                    .channels = channels,
                    .image = image,
                    .row = width * channels,
                    .pixel = channels};
    return v->data ? DWCONV_OK : DWCONV_NO_MEMORY;
}

static void mean_of_pixels(const dwc_view *x, const dwc_view *y) {
    for (int64_t n = 0; n < x->batch; n++)
        for (int64_t c = 0; c < x->channels; c++) {
            double sum = 0.0;
            for (int64_t iy = 0; iy < x->height; iy++)
                for (int64_t ix = 0; ix < x->width; ix++)
                    sum += x->data[n * x->image + iy * x->row + ix * x->pixel + c];
            y->data[n * y->image + c] = (float)(sum / ((double)x->height * (double)x->width));
        }
}

static void scale_channels(const dwc_view *x, const dwc_view *factors) {
    for (int64_t n = 0; n < x->batch; n++)
        for (int64_t iy = 0; iy < x->height; iy++)
            for (int64_t ix = 0; ix < x->width; ix++)
                for (int64_t c = 0; c < x->channels; c++)
                    x->data[n * x->image + iy * x->row + ix * x->pixel + c] *=
                        factors->data[n * factors->image + c];
}

/* Squeeze-and-excite: scales x by gate[1](gate[0](mean of x over its pixels)). */
static dwconv_status apply_gate(const layer *gate, const dwc_view *x) {
    const int64_t channels[3] = {x->channels, gate[0].out_channels, gate[1].out_channels};
    dwc_view views[3];
    dwconv_status status = DWCONV_OK;
    int allocated = 0;
    while (status == DWCONV_OK && allocated < 3) {
        status = allocate_view(x->batch, 1, 1, channels[allocated], &views[allocated]);
        if (status == DWCONV_OK) allocated++;
    }
    if (status == DWCONV_OK) {
        mean_of_pixels(x, &views[0]);
        run_layer(&gate[0], &views[0], &views[1]);
        run_layer(&gate[1], &views[1], &views[2]);
        scale_channels(x, &views[2]);
    }
    while (allocated > 0) free(views[--allocated].data);
    return status;
}

/* Runs layers[0], layers[1], ... from x to y. Every tensor between them exists before the first value of
 * y is written, so that a failure leaves y alone; the last layer has no gate. */
static dwconv_status run_layers(const layer *layers, int count, const dwc_view *x, const dwc_view *y) {
    enum { MAX_LAYERS = 3 };
    dwc_view views[MAX_LAYERS + 1] = {*x};
    dwconv_status status = DWCONV_OK;
    int allocated = 0;
    while (status == DWCONV_OK && allocated < count - 1) {
        const dwc_view *from = &views[allocated];
        dwc_extent extent;
        status = dwc_window_extent(&layers[allocated].window, from->height, from->width, &extent);
        if (status == DWCONV_OK)
            status = allocate_view(from->batch, extent.out_h, extent.out_w, layers[allocated].out_channels,
                                   &views[allocated + 1]);
        if (status == DWCONV_OK) allocated++;
    }
    views[count] = *y;
    for (int i = 0; i < count && status == DWCONV_OK; i++) {
        run_layer(&layers[i], &views[i], &views[i + 1]);
        if (layers[i].gate) status = apply_gate(layers[i].gate, &views[i + 1]);
    }
    while (allocated > 0) free(views[allocated--].data);
    return status;
}

dwconv_status dwconv_reference(const dwconv_desc *desc, const dwconv_tensor *input,
                               const dwconv_tensor *output) {
    dwconv_desc normal;
    dwc_view x, y;
    dwconv_status status = dwc_normalize(desc, &normal);
    if (status == DWCONV_OK) status = dwc_check_tensors(&normal, input, output, &x, &y);
    if (status != DWCONV_OK) return status;
    const int flush = (normal.flags & DWCONV_FLUSH_DENORMAL_WEIGHTS) != 0;
    layer layers[3], gate[2];
    int count = 0;
    switch (normal.operation) {
        case DWCONV_DEPTHWISE: layers[count++] = depthwise_layer(&normal.depthwise, flush); break;
        case DWCONV_POINTWISE: layers[count++] = pointwise_layer(&normal.pointwise, flush); break;
        case DWCONV_CONV: layers[count++] = conv_layer(&normal.conv, flush); break;
        case DWCONV_SEPARABLE:
            layers[count++] = depthwise_layer(&normal.separable.depthwise, flush);
            layers[count++] = pointwise_layer(&normal.separable.pointwise, flush);
            break;
        default:
            if (normal.inverted_residual.expand.filter)
                layers[count++] = pointwise_layer(&normal.inverted_residual.expand, flush);
            layers[count++] = depthwise_layer(&normal.inverted_residual.depthwise, flush);
            if (normal.inverted_residual.squeeze.filter) {
                gate[0] = pointwise_layer(&normal.inverted_residual.squeeze, flush);
                gate[1] = pointwise_layer(&normal.inverted_residual.excite, flush);
                layers[count - 1].gate = gate;
            }
            layers[count++] = pointwise_layer(&normal.inverted_residual.project, flush);
    }
    status = run_layers(layers, count, &x, &y);
    if (status != DWCONV_OK) return status;
    const int64_t in_shape[4] = {x.batch, x.height, x.width, x.channels};
    const int64_t out_shape[4] = {y.batch, y.height, y.width, y.channels};
    if (dwc_residual_applies(&normal, in_shape, out_shape)) add_residual(&x, &y);
    return DWCONV_OK;
}
