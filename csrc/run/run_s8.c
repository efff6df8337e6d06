/* Quantized operations, stage by stage: plain C, for every shape. */
#include <string.h>

#include "run.h"

/* Outputs of a pixel that are summed at a time. */
enum { BLOCK = 64 };

typedef struct job {
    const dwc_s8_stage *stage;
    const dwc_s8_stage_schedule *how;
    int is_depthwise;
    dwc_view x, y;         /* of one image, or of all of them */
    const dwc_s8_add *add; /* or NULL, and then no residual */
    dwc_view residual;
    dwconv_quant quant; /* of the output, which may be float32 */
} job;

/* Outputs [first, first + count) of a pixel. */
typedef struct block {
    const job *job;
    int64_t first, count;
    int32_t sums[BLOCK];
} block;

/* The input of a tap, or NULL: padding. */
static const uint8_t *input_at(const job *j, int64_t image, int64_t row, int64_t column) {
    const dwc_view *x = &j->x;
    if (row < 0 || row >= x->height || column < 0 || column >= x->width) return NULL;
    return x->bytes + image * x->image + row * x->row + column * x->pixel;
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* sums += weights * input. A product fits 16 bits, a sum of them 32: only what it starts with may not. */
static void add_products(int32_t *sums, const int8_t *weights, const uint8_t *inputs, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] += (int16_t)(weights[i] * inputs[i]);
}

static void add_scaled(int32_t *sums, const int8_t *weights, int16_t input, int64_t count) {
    for (int64_t i = 0; i < count; i++) sums[i] += (int16_t)(weights[i] * input);
}

/* A tap of a depthwise convolution; weights of the block's first output. */
static void add_depthwise(block *b, const uint8_t *x, const int8_t *weights) {
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
static void add_matrix(block *b, const uint8_t *x, const int8_t *weights, int64_t outputs) {
    const dwc_s8_stage *s = b->job->stage;
    const uint8_t flip = s->requant.flip;
    if (x) x += b->first / s->group_outputs * s->group_inputs;
    for (int64_t k = 0; k < s->group_inputs; k++)
        add_scaled(b->sums, weights + k * outputs, (int16_t)(x ? x[k] ^ flip : s->x_zero), b->count);
}

static void sum_taps(block *b, int64_t image, int64_t row, int64_t column) {
    const job *j = b->job;
    const dwc_s8_stage *s = j->stage;
    const dwconv_window *w = &s->window;
    const int64_t outputs = s->groups * s->group_outputs;
    const int8_t *weights = s->filter + b->first;
    const int64_t top = row * w->stride_h - j->how->extent.pad_top;
    const int64_t left = column * w->stride_w - j->how->extent.pad_left;
    memset(b->sums, 0, sizeof b->sums);
    for (int64_t ky = 0; ky < w->kernel_h; ky++)
        for (int64_t kx = 0; kx < w->kernel_w; kx++, weights += s->group_inputs * outputs) {
            const uint8_t *x = input_at(j, image, top + ky * w->dilation_h, left + kx * w->dilation_w);
            if (j->is_depthwise)
                add_depthwise(b, x, weights);
            else
                add_matrix(b, x, weights, outputs);
        }
}

/* ---- results ---------------------------------------------------------------------------------- */

static void store(const block *b, int64_t image, int64_t row, int64_t column) {
    const job *j = b->job;
    const dwc_view *y = &j->y, *r = &j->residual;
    const dwc_requant *requant = &j->stage->requant;
    const int64_t at = image * y->image + row * y->row + column * y->pixel + b->first;
    const uint8_t *residual =
        j->add ? r->bytes + image * r->image + row * r->row + column * r->pixel + b->first : NULL;
    for (int64_t i = 0; i < b->count; i++) {
        const int32_t sum = (int32_t)((uint32_t)requant->start[b->first + i] + (uint32_t)b->sums[i]);
        uint8_t byte = dwc_requant_byte(requant, b->first + i, sum);
        if (residual) byte = dwc_add_bytes(j->add, byte, residual[i]);
        if (y->dtype == DWCONV_F32)
            y->data[at + i] = j->quant.scale * (float)(dwc_number(byte, requant->flip) - j->quant.zero_point);
        else
            y->bytes[at + i] = byte;
    }
}

static void run_pixel(const job *j, int64_t image, int64_t row, int64_t column) {
    const dwc_s8_stage *s = j->stage;
    const int64_t outputs = s->groups * s->group_outputs;
    const int64_t unit = j->is_depthwise ? outputs : s->group_outputs; /* blocks do not leave their group */
    for (int64_t begin = 0; begin < outputs; begin += unit)
        for (int64_t first = begin; first < begin + unit; first += BLOCK) {
            block b;
            b.job = j;
            b.first = first;
            b.count = smaller(BLOCK, begin + unit - first);
            sum_taps(&b, image, row, column);
            store(&b, image, row, column);
        }
}

static void task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_s8_stage_schedule *how = j->how;
    const int64_t image = item / how->strips, first = item % how->strips * how->strip_rows;
    (void)worker;
    for (int64_t row = first; row < smaller(first + how->strip_rows, j->y.height); row++)
        for (int64_t column = 0; column < j->y.width; column++) run_pixel(j, image, row, column);
}

/* ---- stages ----------------------------------------------------------------------------------- */

static dwc_view image_of(const dwc_view *v, int64_t image) {
    dwc_view one = *v;
    one.batch = 1;
    if (v->dtype == DWCONV_F32)
        one.data += image * v->image;
    else
        one.bytes += image * v->image;
    return one;
}

/* What a stage gives for one image, between stages. */
static dwc_view between(const dwc_s8_stage_schedule *how, dwconv_dtype dtype, void *scratch) {
    const int64_t row = how->out[2] * how->out[3];
    return (dwc_view){.bytes = (uint8_t *)scratch + how->scratch,
                      .batch = 1,
                      .height = how->out[1],
                      .width = how->out[2],
                      .channels = how->out[3],
                      .image = how->out[1] * row,
                      .row = row,
                      .pixel = how->out[3],
                      .dtype = dtype};
}

/* All stages, from x to y, which are one image or, of a single stage, all of them. */
static void run_stages(const dwconv_plan *plan, const dwc_s8_schedule *s, const dwc_view *x,
                       const dwc_view *y, void *scratch, const dwconv_threads *threads) {
    const dwc_graph *g = &plan->graph;
    const dwc_node *end = &g->nodes[g->node_count - 1];
    const dwc_value *output = &g->values[g->value_count - 1];
    dwc_view from = *x;
    for (int i = 0; i < s->stages; i++) {
        const dwc_s8_stage_schedule *how = &s->stage[i];
        const int last = i == s->stages - 1;
        job j = {.stage = &g->nodes[i].s8,
                 .how = how,
                 .is_depthwise = g->nodes[i].op == DWC_DEPTHWISE,
                 .x = from,
                 .y = last ? *y : between(how, g->dtype, scratch),
                 .add = last && end->op == DWC_ADD ? &end->add : NULL,
                 .residual = *x,
                 .quant = {output->scale, output->zero_point}};
        dwc_parallel(threads, how->workers, from.batch * how->strips, task, &j);
        from = j.y;
    }
}

static dwconv_status check_scratch(const dwc_s8_schedule *s, const dwc_view *x, const dwc_view *y,
                                   const void *scratch, size_t bytes) {
    const size_t needed = s->scratch_bytes;
    if (needed == 0) return DWCONV_OK;
    if (!scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (bytes < needed) return DWCONV_TOO_SMALL;
    return dwc_view_meets(x, scratch, needed) || dwc_view_meets(y, scratch, needed) ? DWCONV_OVERLAP
                                                                                    : DWCONV_OK;
}

dwconv_status dwc_run_s8(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, void *scratch,
                         size_t scratch_bytes, const dwconv_threads *threads) {
    const int64_t input[4] = {x->batch, x->height, x->width, x->channels};
    dwc_s8_schedule s;
    DWC_TRY(dwc_schedule_s8(plan, input, threads, &s));
    DWC_TRY(check_scratch(&s, x, y, scratch, scratch_bytes));
    if (s.stages == 1) {
        run_stages(plan, &s, x, y, scratch, threads);
        return DWCONV_OK;
    }
    for (int64_t image = 0; image < x->batch; image++) {
        const dwc_view from = image_of(x, image), to = image_of(y, image);
        run_stages(plan, &s, &from, &to, scratch, threads);
    }
    return DWCONV_OK;
}
