/* Quantized stages without kernels: plain C, for every shape. */
#include <string.h>

#include "s8.h"

/* Outputs of a pixel that are summed at a time. */
enum { BLOCK = 64 };

/* Outputs [first, first + count) of a pixel. */
typedef struct block {
    const dwc_s8_job *job;
    int64_t first, count;
    int32_t sums[BLOCK];
} block;

/* The input of a tap, or NULL: padding. */
static const uint8_t *input_at(const dwc_s8_job *j, int64_t image, int64_t row, int64_t column) {
    const dwc_view *x = &j->x;
    if (row < 0 || row >= x->height || column < 0 || column >= x->width) return NULL;
    return x->bytes + image * x->image + row * x->row + column * x->pixel;
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* sums += weights * input. Sums of products fit 32 bits: only what they start with may not. */
static void add_products(int32_t *sums, const int16_t *weights, const uint8_t *inputs, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] += weights[i] * inputs[i];
}

static void add_scaled(int32_t *sums, const int16_t *weights, int16_t input, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] += weights[i] * input;
}

/* A tap of a depthwise convolution; weights of the block's first output. */
static void add_depthwise(block *b, const uint8_t *x, const int16_t *weights) {
    const dwc_s8_stage *s = b->job->stage;
    const uint8_t flip = s->requant.flip;
    uint8_t inputs[BLOCK];
    if (!x) {
        add_scaled(b->sums, weights, (int16_t)s->x_zero, b->count);
        return;
    }
    if (s->group_outputs == 1)
        for (int64_t i = 0; i < b->count; i++) inputs[i] = x[b->first + i] ^ flip;
    else
        for (int64_t i = 0; i < b->count; i++) inputs[i] = x[(b->first + i) / s->group_outputs] ^ flip;
    add_products(b->sums, weights, inputs, b->count);
}

/* A tap of any other, whose outputs are all of one group. */
static void add_matrix(block *b, const uint8_t *x, const int16_t *weights, int64_t outputs) {
    const dwc_s8_stage *s = b->job->stage;
    const uint8_t flip = s->requant.flip;
    if (x) x += b->first / s->group_outputs * s->group_inputs;
    for (int64_t k = 0; k < s->group_inputs; k++)
        add_scaled(b->sums, weights + k * outputs, (int16_t)(x ? x[k] ^ flip : s->x_zero), b->count);
}

static void sum_taps(block *b, int64_t image, int64_t row, int64_t column) {
    const dwc_s8_job *j = b->job;
    const dwc_s8_stage *s = j->stage;
    const dwconv_window *w = &s->window;
    const int64_t outputs = s->groups * s->group_outputs;
    const int16_t *weights = s->filter + b->first;
    const int64_t top = row * w->stride_h - j->how->extent.pad_top;
    const int64_t left = column * w->stride_w - j->how->extent.pad_left;
    memset(b->sums, 0, sizeof b->sums);
    for (int64_t ky = 0; ky < w->kernel_h; ky++)
        for (int64_t kx = 0; kx < w->kernel_w; kx++, weights += s->group_inputs * outputs) {
            const uint8_t *x = input_at(j, image, top + ky * w->dilation_h, left + kx * w->dilation_w);
            if (s->is_depthwise)
                add_depthwise(b, x, weights);
            else
                add_matrix(b, x, weights, outputs);
        }
    for (int64_t i = 0; i < b->count; i++)
        b->sums[i] = (int32_t)((uint32_t)b->sums[i] + (uint32_t)s->requant.start[b->first + i]);
}

/* ---- rows ------------------------------------------------------------------------------------- */

static void run_pixel(const dwc_s8_job *j, int64_t image, int64_t row, int64_t column) {
    const dwc_s8_stage *s = j->stage;
    const int64_t outputs = s->groups * s->group_outputs;
    const int64_t unit = s->is_depthwise ? outputs : s->group_outputs; /* blocks do not leave their group */
    for (int64_t begin = 0; begin < outputs; begin += unit)
        for (int64_t first = begin; first < begin + unit; first += BLOCK) {
            block b;
            b.job = j;
            b.first = first;
            b.count = smaller(BLOCK, begin + unit - first);
            sum_taps(&b, image, row, column);
            const dwc_s8_part part = {image, row, column, 1, first, b.count};
            dwc_s8_finish(j, &part, b.sums, NULL);
        }
}

void dwc_s8_run_plain(const dwc_s8_job *j, int64_t image, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++)
        for (int64_t column = 0; column < j->y.width; column++) run_pixel(j, image, row, column);
}
