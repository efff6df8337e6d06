/* Descriptors of gradients, and the geometry of running backward. */
#include <stddef.h>
#include <string.h>

#include "gradient.h"

/* ---- descriptors ---------------------------------------------------------------------------- */

dwconv_status dwc_describe_gradient(const dwconv_gradient_desc *desc, dwc_gradient *g) {
    dwconv_gradient_desc d;
    int64_t count;
    if (!desc) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_take(desc, desc->size, sizeof d, &d, sizeof d));
    if (d.dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    if (d.flags) return DWCONV_BAD_VALUE;
    if (d.groups == 0) d.groups = 1;
    DWC_TRY(dwc_check_size(d.in_channels));
    DWC_TRY(dwc_check_size(d.out_channels));
    DWC_TRY(dwc_check_size(d.groups));
    if (d.in_channels % d.groups || d.out_channels % d.groups) return DWCONV_BAD_SHAPE;
    DWC_TRY(dwc_check_window(&d.window));
    *g = (dwc_gradient){.table = dwc_kernel_table_of(d.isa ? d.isa : dwconv_isa_best()),
                        .window = d.window,
                        .in_channels = d.in_channels,
                        .out_channels = d.out_channels,
                        .groups = d.groups,
                        .group_inputs = d.in_channels / d.groups,
                        .group_outputs = d.out_channels / d.groups};
    if (!g->table) return DWCONV_NO_ISA;
    if (g->window.kernel_h == 1) g->window.dilation_h = 1;
    if (g->window.kernel_w == 1) g->window.dilation_w = 1;
    const int countable = dwc_multiply(d.window.kernel_h, d.window.kernel_w, &count) &&
                          dwc_multiply(count, g->group_inputs, &count) &&
                          dwc_multiply(count, d.out_channels, &count) && count <= INT64_MAX / 65536;
    return countable ? DWCONV_OK : DWCONV_OVERFLOW;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* The forward convolution as a graph of one node, to be checked by. */
static void make_graph(const dwc_gradient *g, dwc_built *built) {
    built->graph =
        (dwc_graph){.node_count = 1, .value_count = 2, .nodes = built->nodes, .values = built->values};
    built->values[0] = (dwc_value){.channels = g->in_channels};
    built->values[1] = (dwc_value){.channels = g->out_channels};
    built->nodes[0] = (dwc_node){.op = DWC_MATRIX, .output = 1, .window = g->window, .groups = g->groups};
}

dwconv_status dwc_gradient_output(const dwc_gradient *g, const int64_t input[4], int64_t output[4]) {
    dwc_built built;
    make_graph(g, &built);
    return dwc_output_shape(&built.graph, input, output);
}

dwconv_status dwc_dense_gradient(const dwconv_gradient_desc *desc, const int64_t input[4], dwc_gradient *g,
                                 dwc_view *x, dwc_view *y) {
    int64_t output[4];
    if (!input) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_describe_gradient(desc, g));
    DWC_TRY(dwc_gradient_output(g, input, output));
    DWC_TRY(dwc_dense_view(input, DWCONV_F32, x));
    return dwc_dense_view(output, DWCONV_F32, y);
}

dwconv_status dwc_check_gradient_tensors(const dwc_gradient *g, const dwconv_tensor *input,
                                         const dwconv_tensor *output, const dwc_view *written, dwc_view *x,
                                         dwc_view *y) {
    dwc_built built;
    make_graph(g, &built);
    return dwc_check_views(&built.graph, input, output, written, x, y);
}

/* ---- phases --------------------------------------------------------------------------------- */

/* Pixel i of the input and tap t meet in output o where i + pad = o * stride + t * dilation. Of the pixels first + j *
 * stride, taps tap + m * tap_step meet outputs j + base - m * (dilation of the phase). */
dwc_phase_axis dwc_phase_of(int64_t phase, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                            int64_t dilation, int64_t pad) {
    const int64_t divisor = common_divisor(stride, dilation), tap_step = stride / divisor;
    dwc_phase_axis a = {.first = phase, .tap_step = tap_step, .dilation = dilation / divisor};
    if (phase >= in) return a;
    a.count = (in - 1 - phase) / stride + 1;
    const int64_t most = smaller(kernel, tap_step);
    while (a.tap < most && (phase + pad - a.tap * dilation) % stride) a.tap++;
    if (a.tap == most) return a;
    a.taps = divide_up(kernel - a.tap, tap_step);
    if (a.taps == 1) a.dilation = 1;
    const int64_t base = (phase + pad - a.tap * dilation) / stride;
    const int64_t before = (a.taps - 1) * a.dilation - base, after = a.count + base - out;
    a.begin = larger(-before, 0);
    a.size = out + smaller(after, 0) - a.begin;
    a.before = larger(before, 0);
    a.after = larger(after, 0);
    if (a.size <= 0) a.taps = 0;
    return a;
}

void dwc_phase_views(const dwc_gradient *g, const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                     dwc_view *dx, dwc_view *dy) {
    if (dx->data) dx->data += rows->first * dx->row + columns->first * dx->pixel;
    dx->height = rows->count;
    dx->width = columns->count;
    dx->row *= g->window.stride_h;
    dx->pixel *= g->window.stride_w;
    if (dy->data) dy->data += rows->begin * dy->row + columns->begin * dy->pixel;
    dy->height = rows->size;
    dy->width = columns->size;
}

dwconv_status dwc_prepare_phase(const dwc_gradient *g, const dwc_phase_axis *rows,
                                const dwc_phase_axis *columns, dwc_built *built, dwconv_plan *prepared) {
    static const float stand_in; /* weights come later */
    const dwconv_conv_desc conv = {.size = sizeof conv,
                                   .in_channels = g->out_channels,
                                   .out_channels = g->in_channels,
                                   .groups = g->groups,
                                   .window = {.kernel_h = rows->taps,
                                              .kernel_w = columns->taps,
                                              .dilation_h = rows->dilation,
                                              .dilation_w = columns->dilation,
                                              .padding = DWCONV_EXPLICIT,
                                              .pad_top = rows->before,
                                              .pad_bottom = rows->after,
                                              .pad_left = columns->before,
                                              .pad_right = columns->after},
                                   .filter = &stand_in};
    const dwconv_desc desc = {.size = sizeof desc, .conv = &conv};
    return dwc_prepare_plan(&desc, g->table, built, prepared);
}

/* The taps of a phase, from last to first, with inputs and outputs swapped. */
static void flip(const dwc_gradient *g, const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                 const float *filter, float *to) {
    const int64_t inputs = g->group_inputs, outputs = g->group_outputs;
    for (int64_t ky = rows->taps - 1; ky >= 0; ky--)
        for (int64_t kx = columns->taps - 1; kx >= 0; kx--, to += outputs * g->in_channels) {
            const int64_t tap = (rows->tap + ky * rows->tap_step) * g->window.kernel_w + columns->tap +
                                kx * columns->tap_step;
            const float *from = filter + tap * inputs * g->out_channels;
            if (inputs == 1 && outputs == 1) {
                memcpy(to, from, (size_t)g->in_channels * sizeof *to);
                continue;
            }
            for (int64_t group = 0; group < g->groups; group++)
                for (int64_t i = 0; i < inputs; i++)
                    for (int64_t o = 0; o < outputs; o++)
                        to[o * g->in_channels + group * inputs + i] =
                            from[i * g->out_channels + group * outputs + o];
        }
}

/* Panels of a matrix plan straight from the filter: inputs become columns, [tap][output][input]. */
static void pack_panels(const dwc_gradient *g, const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                        const float *filter, dwc_matmul_stage *s, float *to) {
    const int64_t taps = rows->taps * columns->taps, outputs = g->group_outputs;
    float *biases = to + g->groups * s->depth * s->padded;
    s->weights = to;
    s->bias = biases;
    memset(biases, 0, (size_t)(g->groups * s->padded) * sizeof *biases);
    for (int64_t group = 0; group < g->groups; group++)
        for (int64_t first = 0; first < s->padded; first += s->panel) {
            const int64_t width = smaller(s->panel, s->padded - first);
            const int64_t used = smaller(width, s->group_outputs - first);
            for (int64_t t = taps - 1; t >= 0; t--, to += outputs * width) {
                const int64_t ky = t / columns->taps, kx = t % columns->taps;
                const int64_t tap = (rows->tap + ky * rows->tap_step) * g->window.kernel_w + columns->tap +
                                    kx * columns->tap_step;
                const float *from =
                    filter + (tap * g->group_inputs + first) * g->out_channels + group * outputs;
                g->table->each.transpose(from, g->out_channels, outputs, used, to, width);
                for (int64_t o = 0; o < outputs && used < width; o++)
                    memset(to + o * width + used, 0, (size_t)(width - used) * sizeof *to);
            }
        }
}

void dwc_fill_phase(const dwc_gradient *g, const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                    const dwconv_plan *prepared, const float *filter, float *flipped, dwconv_plan *plan) {
    dwc_place_plan(prepared, plan);
    dwc_node *n = plan->graph.nodes;
    float *weights = (float *)(void *)((char *)plan + n->weights);
    if (n->op == DWC_MATRIX) {
        pack_panels(g, rows, columns, filter, &n->matrix, weights);
    } else {
        flip(g, rows, columns, filter, flipped);
        dwc_pack_depthwise(&n->depthwise, flipped, NULL, plan->table->lanes, 0, weights);
    }
}

/* ---- activations ---------------------------------------------------------------------------- */

/* Not where two inputs of different slopes give the same output. */
static int output_tells_slope(const dwconv_activation *a) {
    switch (a->kind) {
        case DWCONV_CLIP:
        case DWCONV_HARD_SIGMOID:
        case DWCONV_SIGMOID:
        case DWCONV_TANH: return 1;
        case DWCONV_LEAKY_RELU: return a->a > 0.0f;
        default: return 0;
    }
}

dwconv_status dwc_check_slope(const dwconv_activation *activation, dwconv_slope_source source,
                              const float *values, const float *dy, const float *dx, int64_t count,
                              dwconv_activation *act) {
    if (!activation) return DWCONV_NULL_POINTER;
    if (source != DWCONV_FROM_INPUT && source != DWCONV_FROM_OUTPUT) return DWCONV_BAD_VALUE;
    if (count < 0) return DWCONV_BAD_VALUE;
    *act = *activation;
    DWC_TRY(dwc_check_activation(act));
    if (source == DWCONV_FROM_OUTPUT && !output_tells_slope(act)) return DWCONV_BAD_ACTIVATION;
    if (count && (!values || !dy || !dx)) return DWCONV_NULL_POINTER;
    const uintptr_t bits = (uintptr_t)values | (uintptr_t)dy | (uintptr_t)dx;
    return bits % sizeof(float) ? DWCONV_MISALIGNED : DWCONV_OK;
}
