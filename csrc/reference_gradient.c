/* Gradients as plain loops in double precision: the oracle of the tests, never the fast path. Every element of a result is
 * a sum over all that it meets; taps outside the image are skipped. */
#include <math.h>

#include "graph/gradient.h"

static const float *at(const dwc_view *v, int64_t image, int64_t row, int64_t column) {
    return v->data + image * v->image + row * v->row + column * v->pixel;
}

typedef struct problem {
    dwc_gradient g;
    dwc_view x, y; /* y: the gradient of the output */
    dwc_extent extent;
} problem;

/* The output row or column that meets input `i` at a tap, or -1. */
static int64_t output_of(int64_t i, int64_t pad, int64_t tap, int64_t dilation, int64_t stride,
                         int64_t size) {
    const int64_t distance = i + pad - tap * dilation;
    return distance >= 0 && distance % stride == 0 && distance / stride < size ? distance / stride : -1;
}

/* ---- inputs --------------------------------------------------------------------------------- */

static double input_sum(const problem *p, const float *filter, int64_t image, int64_t row, int64_t column,
                        int64_t channel) {
    const dwc_gradient *g = &p->g;
    const dwconv_window *w = &g->window;
    const int64_t first = channel / g->group_inputs * g->group_outputs;
    double sum = 0.0;
    for (int64_t ky = 0; ky < w->kernel_h; ky++) {
        const int64_t oy = output_of(row, p->extent.pad_top, ky, w->dilation_h, w->stride_h, p->y.height);
        for (int64_t kx = 0; kx < w->kernel_w && oy >= 0; kx++) {
            const int64_t ox =
                output_of(column, p->extent.pad_left, kx, w->dilation_w, w->stride_w, p->y.width);
            if (ox < 0) continue;
            const float *dy = at(&p->y, image, oy, ox) + first;
            const float *weights =
                filter +
                ((ky * w->kernel_w + kx) * g->group_inputs + channel % g->group_inputs) * g->out_channels +
                first;
            for (int64_t o = 0; o < g->group_outputs; o++) sum += (double)dy[o] * (double)weights[o];
        }
    }
    return sum;
}

static dwconv_status open(const dwconv_gradient_desc *desc, const dwconv_tensor *x, const dwconv_tensor *y,
                          int writes_x, problem *p) {
    DWC_TRY(dwc_describe_gradient(desc, &p->g));
    DWC_TRY(dwc_check_gradient_tensors(&p->g, x, y, writes_x ? &p->x : NULL, &p->x, &p->y));
    return dwc_window_extent(&p->g.window, p->x.height, p->x.width, &p->extent);
}

dwconv_status dwconv_input_gradient_reference(const dwconv_gradient_desc *desc, const float *filter,
                                              const dwconv_tensor *dy, const dwconv_tensor *dx) {
    problem p;
    DWC_TRY(open(desc, dx, dy, 1, &p));
    if (!filter) return DWCONV_NULL_POINTER;
    for (int64_t image = 0; image < p.x.batch; image++)
        for (int64_t row = 0; row < p.x.height; row++)
            for (int64_t column = 0; column < p.x.width; column++)
                for (int64_t c = 0; c < p.x.channels; c++)
                    p.x.data[image * p.x.image + row * p.x.row + column * p.x.pixel + c] =
                        (float)input_sum(&p, filter, image, row, column, c);
    return DWCONV_OK;
}

/* ---- filters -------------------------------------------------------------------------------- */

static double filter_sum(const problem *p, int64_t ky, int64_t kx, int64_t input, int64_t output) {
    const dwc_gradient *g = &p->g;
    const dwconv_window *w = &g->window;
    const int64_t channel = output / g->group_outputs * g->group_inputs + input;
    double sum = 0.0;
    for (int64_t oy = 0; oy < p->y.height; oy++) {
        const int64_t row = oy * w->stride_h - p->extent.pad_top + ky * w->dilation_h;
        if (row < 0 || row >= p->x.height) continue;
        for (int64_t ox = 0; ox < p->y.width; ox++) {
            const int64_t column = ox * w->stride_w - p->extent.pad_left + kx * w->dilation_w;
            if (column < 0 || column >= p->x.width) continue;
            for (int64_t image = 0; image < p->y.batch; image++)
                sum +=
                    (double)at(&p->x, image, row, column)[channel] * (double)at(&p->y, image, oy, ox)[output];
        }
    }
    return sum;
}

static double bias_sum(const dwc_view *y, int64_t output) {
    double sum = 0.0;
    for (int64_t image = 0; image < y->batch; image++)
        for (int64_t row = 0; row < y->height; row++)
            for (int64_t column = 0; column < y->width; column++)
                sum += (double)at(y, image, row, column)[output];
    return sum;
}

dwconv_status dwconv_filter_gradient_reference(const dwconv_gradient_desc *desc, const dwconv_tensor *x,
                                               const dwconv_tensor *dy, float *filter_gradient,
                                               float *bias_gradient) {
    problem p;
    DWC_TRY(open(desc, x, dy, 0, &p));
    const dwc_gradient *g = &p.g;
    float *to = filter_gradient;
    for (int64_t ky = 0; ky < g->window.kernel_h && to; ky++)
        for (int64_t kx = 0; kx < g->window.kernel_w; kx++)
            for (int64_t input = 0; input < g->group_inputs; input++)
                for (int64_t output = 0; output < g->out_channels; output++)
                    *to++ = (float)filter_sum(&p, ky, kx, input, output);
    for (int64_t output = 0; output < g->out_channels && bias_gradient; output++)
        bias_gradient[output] = (float)bias_sum(&p.y, output);
    return DWCONV_OK;
}

/* ---- activations ---------------------------------------------------------------------------- */

static const double half_bell = 0.39894228040143267794; /* 1 / sqrt(2 pi) */
static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;

/* Of a bound that there is. */
static double inside(double v, double low, double high) {
    return (v > low || low == -INFINITY) && (v < high || high == INFINITY) ? 1.0 : 0.0;
}

/* p * (1 + x (1 - p) u'), the slope of x * sigmoid(u(x)); beyond +-700 it is 0 or 1. */
static double weighted_slope(double x, double u, double u_slope) {
    const double p = 1.0 / (1.0 + exp(-u));
    if (fabs(x) > 700.0) return x > 0.0 ? 1.0 : 0.0;
    return p + x * p * (1.0 - p) * u_slope;
}

static double slope_of(const dwconv_activation *a, int from_output, double v) {
    double p;
    switch (a->kind) {
        case DWCONV_LEAKY_RELU: return v > 0.0 ? 1.0 : a->a;
        case DWCONV_HARD_SIGMOID: return (from_output ? inside(v, 0.0, 1.0) : inside(v, -3.0, 3.0)) / 6.0;
        case DWCONV_HARD_SWISH: return v <= -3.0 ? 0.0 : v < 3.0 ? v / 3.0 + 0.5 : 1.0;
        case DWCONV_SIGMOID: p = from_output ? v : 1.0 / (1.0 + exp(-v)); return p * (1.0 - p);
        case DWCONV_TANH: p = from_output ? v : tanh(v); return 1.0 - p * p;
        case DWCONV_SILU: return weighted_slope(v, v, 1.0);
        case DWCONV_GELU_ERF:
            return erfc(-v * sqrt_half) * 0.5 + (fabs(v) < 700.0 ? v * exp(-0.5 * v * v) * half_bell : 0.0);
        case DWCONV_GELU_TANH:
            return weighted_slope(v, 2.0 * sqrt_2_over_pi * (v + 0.044715 * v * v * v),
                                  2.0 * sqrt_2_over_pi * (1.0 + 3.0 * 0.044715 * v * v));
        default: return inside(v, a->a, a->b);
    }
}

dwconv_status dwconv_activation_gradient_reference(const dwconv_activation *activation,
                                                   dwconv_slope_source source, const float *values,
                                                   const float *dy, float *dx, int64_t count) {
    dwconv_activation act;
    DWC_TRY(dwc_check_slope(activation, source, values, dy, dx, count, &act));
    for (int64_t i = 0; i < count; i++) {
        const double slope = slope_of(&act, source == DWCONV_FROM_OUTPUT, values[i]);
        dx[i] = slope == 0.0 ? 0.0f : (float)((double)dy[i] * slope);
    }
    return DWCONV_OK;
}
