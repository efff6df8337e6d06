#include "gradient_case.h"

#include <stdlib.h>
#include <string.h>

size_t gradients_count(const int64_t dims[4]) { return (size_t)(dims[0] * dims[1] * dims[2] * dims[3]); }

dwconv_tensor gradients_tensor(const int64_t dims[4], void *data) {
    return (dwconv_tensor){
        .data = data, .batch = dims[0], .height = dims[1], .width = dims[2], .channels = dims[3]};
}

guarded gradients_floats(size_t count, rng *r, int at_end) {
    guarded g = guarded_create(count * sizeof(float), at_end, sizeof(float));
    for (size_t i = 0; i < count; i++) ((float *)g.data)[i] = rng_float(r);
    guarded_make_read_only(&g);
    return g;
}

static void draw_desc(dwconv_gradient_desc *d, rng *r) {
    static const int channels[] = {1, 2, 3, 5, 8, 15, 16, 17, 24, 33, 40, 64};
    const int kind = (int)rng_range(r, 0, 3), point = kind == 0;
    const int64_t inputs = channels[rng_range(r, 0, 11)],
                  last = kind == 3 ? rng_range(r, 1, 40) : rng_range(r, 1, 3);
    *d = (dwconv_gradient_desc){.size = sizeof *d,
                                .groups = kind == 1   ? inputs
                                          : kind == 2 ? rng_range(r, 1, 3)
                                                      : 1};
    d->in_channels = kind == 2 ? inputs * d->groups : inputs;
    d->out_channels = kind == 1   ? inputs * last
                      : kind == 2 ? d->groups * last * 4
                                  : channels[rng_range(r, 0, 11)];
    dwconv_window *w = &d->window;
    w->kernel_h = point ? 1 : rng_range(r, 1, 7);
    w->kernel_w = point ? 1 : rng_range(r, 0, 2) ? w->kernel_h : rng_range(r, 1, 9);
    w->stride_h = rng_range(r, 1, 2);
    w->stride_w = rng_range(r, 0, 3) ? w->stride_h : rng_range(r, 1, 3);
    w->dilation_h = rng_range(r, 0, 4) ? 1 : rng_range(r, 1, 3);
    w->dilation_w = rng_range(r, 0, 4) ? w->dilation_h : rng_range(r, 1, 3);
    w->padding = (dwconv_padding)rng_range(r, 0, 2);
    if (w->padding == DWCONV_EXPLICIT) {
        w->pad_top = rng_range(r, 0, 4);
        w->pad_bottom = rng_range(r, 0, 4);
        w->pad_left = rng_range(r, 0, 9);
        w->pad_right = rng_range(r, 0, 4);
    }
}

/* The shape of the output, by a forward plan. */
static int find_output(const dwconv_gradient_desc *d, const int64_t input[4], int64_t output[4]) {
    const float stand_in = 0;
    const dwconv_conv_desc conv = {.size = sizeof conv,
                                   .in_channels = d->in_channels,
                                   .out_channels = d->out_channels,
                                   .groups = d->groups,
                                   .window = d->window,
                                   .filter = &stand_in};
    const dwconv_desc desc = {.size = sizeof desc, .conv = &conv};
    size_t bytes = 0;
    if (dwconv_plan_size(&desc, &bytes) != DWCONV_OK) return 0;
    float *weights = calloc(
        (size_t)(d->window.kernel_h * d->window.kernel_w * d->in_channels / d->groups * d->out_channels),
        sizeof *weights);
    dwconv_conv_desc filled = conv;
    filled.filter = weights;
    const dwconv_desc whole = {.size = sizeof whole, .conv = &filled};
    dwconv_plan *plan = NULL;
    int found = dwconv_plan_create(&whole, &plan) == DWCONV_OK;
    found = found && dwconv_output_shape(plan, input, output) == DWCONV_OK;
    dwconv_plan_destroy(plan);
    free(weights);
    return found;
}

/* Of a description that is set: the rest. 0: the window fits nowhere. */
static int make_tensors(gradients *g, const int64_t input[4], rng *r, int at_end) {
    memcpy(g->input, input, sizeof g->input);
    if (!find_output(&g->desc, g->input, g->output)) return 0;
    const dwconv_window *w = &g->desc.window;
    g->filter_floats =
        (size_t)(w->kernel_h * w->kernel_w * g->desc.in_channels / g->desc.groups * g->desc.out_channels);
    g->x = gradients_floats(gradients_count(g->input), r, at_end);
    g->dy = gradients_floats(gradients_count(g->output), r, at_end);
    g->filter = gradients_floats(g->filter_floats, r, at_end);
    return 1;
}

int gradients_draw(gradients *g, rng *r, int at_end) {
    draw_desc(&g->desc, r);
    const int64_t input[4] = {rng_range(r, 1, 3), rng_range(r, 1, 18), rng_range(r, 1, 30),
                              g->desc.in_channels};
    return make_tensors(g, input, r, at_end);
}

int gradients_draw_shared(gradients *g, int number, rng *r, int at_end) {
    static const int outputs[] = {24, 80, 120, 160, 248, 568, 1000, 1080};
    const int count = (int)(sizeof outputs / sizeof *outputs), chunked = number == count;
    if (number > count) return 0;
    g->desc = (dwconv_gradient_desc){
        .size = sizeof g->desc, .groups = 1, .window = {1, 1, 1, 1, 1, 1, .padding = DWCONV_VALID}};
    g->desc.out_channels = chunked ? 40 : outputs[number];
    g->desc.in_channels = chunked ? 17 : 17 + 3000 / g->desc.out_channels;
    const int64_t input[4] = {chunked ? 3 : 1, chunked ? 31 : 17, 23, g->desc.in_channels};
    return make_tensors(g, input, r, at_end);
}

void gradients_in_reverse(void *pool, int64_t items, dwconv_task task, void *context) {
    const int workers = *(const int *)pool;
    for (int64_t i = items; i-- > 0;) task(context, i, (int)(i % workers));
}

void gradients_free(gradients *g) {
    guarded_free(&g->x);
    guarded_free(&g->dy);
    guarded_free(&g->filter);
}
