/* The nodes of a graph as plain loops in double precision: the oracle of the tests, never the fast path.
 *
 * Depthwise has one group per input channel, pointwise has a 1x1 window. What a node gives is rounded to float. Outputs
 * are indexed, taps outside the image are skipped, nothing is padded. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"

static float *at(const dwc_view *v, int64_t image, int64_t row, int64_t column) {
    return v->data + image * v->image + row * v->row + column * v->pixel;
}

/* ---- one output --------------------------------------------------------------------------- */

/* A convolution from x to y. */
typedef struct layer {
    const dwc_node *node;
    int flush; /* denormal weights are zero */
    int64_t group_inputs, group_outputs;
    dwc_extent extent;
    const dwc_view *x, *y;
} layer;

static double weight_at(const layer *l, int64_t tap, int64_t channel, int64_t out_channel) {
    const float *filter = l->node->filter;
    const float weight = filter[(tap * l->group_inputs + channel) * l->y->channels + out_channel];
    return l->flush && fabsf(weight) < FLT_MIN ? 0.0 : weight;
}

static double window_sum(const layer *l, int64_t image, int64_t oy, int64_t ox, int64_t out_channel) {
    const dwconv_window *w = &l->node->window;
    const dwc_view *x = l->x;
    const int64_t first_channel = out_channel / l->group_outputs * l->group_inputs;
    double sum = 0.0;
    for (int64_t ky = 0; ky < w->kernel_h; ky++) {
        const int64_t row = oy * w->stride_h - l->extent.pad_top + ky * w->dilation_h;
        if (row < 0 || row >= x->height) continue;
        for (int64_t kx = 0; kx < w->kernel_w; kx++) {
            const int64_t column = ox * w->stride_w - l->extent.pad_left + kx * w->dilation_w;
            if (column < 0 || column >= x->width) continue;
            const float *pixel = at(x, image, row, column) + first_channel;
            for (int64_t c = 0; c < l->group_inputs; c++)
                sum += (double)pixel[c] * weight_at(l, ky * w->kernel_w + kx, c, out_channel);
        }
    }
    return sum;
}

/* The mean of a channel, of all its pixels. */
static double mean(const dwc_view *x, int64_t image, int64_t channel) {
    double sum = 0.0;
    for (int64_t row = 0; row < x->height; row++)
        for (int64_t column = 0; column < x->width; column++) sum += at(x, image, row, column)[channel];
    return sum / ((double)x->height * (double)x->width);
}

/* ---- nodes -------------------------------------------------------------------------------- */

/* Element [image, row, column, c] of what a node gives for `from`, its inputs. */
static float value_of(const layer *l, const dwc_view *const from[2], int adds, int64_t image, int64_t row,
                      int64_t column, int64_t c) {
    const dwc_node *n = l->node;
    if (n->op == DWC_MEAN) return (float)mean(from[0], image, c);
    if (n->op == DWC_SCALE) return at(from[0], image, row, column)[c] * at(from[1], image, 0, 0)[c];
    if (n->op == DWC_ADD) {
        const float value = at(from[0], image, row, column)[c];
        return adds ? value + at(from[1], image, row, column)[c] : value;
    }
    double value = window_sum(l, image, row, column, c);
    if (n->bias) value += ((const float *)n->bias)[c];
    return (float)dwc_activate(value, &n->activation);
}

static void run_node(const dwc_node *n, const dwc_view *views, const dwc_shape *shapes, int flush) {
    const dwc_view *y = &views[n->output];
    const dwc_view *const from[2] = {&views[n->inputs[0]], &views[n->inputs[1]]};
    layer l = {.node = n, .flush = flush, .x = from[0], .y = y};
    if (n->op == DWC_DEPTHWISE || n->op == DWC_MATRIX) {
        l.group_inputs = from[0]->channels / n->groups;
        l.group_outputs = y->channels / n->groups;
        (void)dwc_window_extent(&n->window, from[0]->height, from[0]->width,
                                &l.extent); /* shapes are known */
    }
    const int adds = n->op == DWC_ADD && dwc_adds(shapes[n->inputs[0]], shapes[n->inputs[1]]);
    for (int64_t image = 0; image < y->batch; image++)
        for (int64_t row = 0; row < y->height; row++)
            for (int64_t column = 0; column < y->width; column++)
                for (int64_t c = 0; c < y->channels; c++)
                    at(y, image, row, column)[c] = value_of(&l, from, adds, image, row, column, c);
}

/* ---- graphs ------------------------------------------------------------------------------- */

static dwconv_status allocate(const int64_t shape[4], dwconv_dtype dtype, dwc_view *v) {
    const size_t size = dtype == DWCONV_F32 ? sizeof(float) : 1;
    int64_t image, elements;
    if (!dwc_multiply(shape[1], shape[2], &image) || !dwc_multiply(image, shape[3], &image) ||
        !dwc_multiply(image, shape[0], &elements) || (uint64_t)elements > SIZE_MAX / size)
        return DWCONV_OVERFLOW;
    *v = (dwc_view){.data = malloc((size_t)elements * size + !elements),
                    .batch = shape[0],
                    .height = shape[1],
                    .width = shape[2],
                    .channels = shape[3],
                    .image = image,
                    .row = shape[2] * shape[3],
                    .pixel = shape[3],
                    .dtype = dtype};
    return v->data ? DWCONV_OK : DWCONV_NO_MEMORY;
}

/* Every tensor between input and output exists before the first value of the output is written, so that a failure
 * leaves it alone. */
dwconv_status dwconv_reference(const dwconv_desc *desc, const dwconv_tensor *input,
                               const dwconv_tensor *output) {
    dwc_built built;
    dwconv_desc known;
    dwc_view views[DWC_MOST_VALUES] = {0};
    dwc_shape shapes[DWC_MOST_VALUES];
    const dwc_graph *g = &built.graph;
    DWC_TRY(dwc_describe(desc, &known, &built));
    DWC_TRY(dwc_check_sums(g));
    const int last = g->value_count - 1;
    DWC_TRY(dwc_check_tensors(g, input, output, &views[0], &views[last]));
    memcpy(shapes[0], (dwc_shape){views[0].batch, views[0].height, views[0].width, views[0].channels},
           sizeof(dwc_shape));
    dwconv_status status = dwc_shapes(g, shapes);
    for (int v = 1; v < last && status == DWCONV_OK; v++)
        status = allocate(shapes[v], g->values[v].dtype, &views[v]);
    for (int i = 0; i < g->node_count && status == DWCONV_OK; i++) {
        if (dwc_is_quantized(g))
            dwc_reference_s8(g, &g->nodes[i], views);
        else
            run_node(&g->nodes[i], views, (const dwc_shape *)shapes,
                     (known.flags & DWCONV_FLUSH_DENORMAL_WEIGHTS) != 0);
    }
    for (int v = 1; v < last; v++) free(views[v].data);
    return status;
}
