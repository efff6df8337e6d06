/* Quantized operations: what becomes of results, and stage after stage; what lies between them stays in scratch. */
#include <string.h>

#include "s8.h"

/* ---- results ---------------------------------------------------------------------------------- */

/* Sums of pixels, dense -> bytes of them, y_pixel apart. */
static void finish_sums(const dwc_s8_job *j, const dwc_s8_part *part, const int32_t *sums, uint8_t *y,
                        int64_t y_pixel) {
    const dwc_requant *r = &j->stage->requant;
    const int64_t count = part->channels;
    if (r->fits) {
        j->bytes->requant(sums, part->pixels, count, r, part->first, y, y_pixel);
        return;
    }
    for (int64_t p = 0; p < part->pixels; p++)
        for (int64_t i = 0; i < count; i++)
            y[p * y_pixel + i] = (uint8_t)dwc_requant_number(r, part->first + i, sums[p * count + i]);
}

/* In place: the table, then the residual. */
static void finish_bytes(const dwc_s8_job *j, const dwc_s8_part *part, uint8_t *y, int64_t y_pixel) {
    const dwc_requant *r = &j->stage->requant;
    const int64_t count = part->channels, residual_pixel = j->residual.pixel;
    const int whole = y_pixel == count && (!j->add || residual_pixel == count); /* pixels are one row */
    const int64_t rows = whole ? 1 : part->pixels, of_row = whole ? part->pixels * count : count;
    if (r->table)
        for (int64_t p = 0; p < rows; p++)
            j->bytes->lookup(y + p * y_pixel, of_row, r->table, y + p * y_pixel);
    if (!j->add) return;
    const dwc_byte_parameters parameters = {
        .form = DWC_BYTES_ADD, .flip = r->flip, .twice = j->add->twice, .add = *j->add};
    const dwc_byte_binary call = {.parameters = &parameters,
                                  .rows = rows,
                                  .count = of_row,
                                  .x = {y, j->residual.bytes + dwc_s8_at(&j->residual, part)},
                                  .x_row = {y_pixel, residual_pixel},
                                  .x_step = {1, 1},
                                  .y = y,
                                  .y_row = y_pixel};
    j->bytes->binary(&call);
}

/* The same where the output is of floats: pixel by pixel, through bytes. */
static void finish_floats(const dwc_s8_job *j, const dwc_s8_part *part, const int32_t *sums,
                          const uint8_t *bytes) {
    enum { MOST = 256 };
    const dwc_byte_parameters parameters = {
        .flip = j->stage->requant.flip, .zero = {j->quant.zero_point}, .scale = {j->quant.scale}};
    uint8_t some[MOST];
    for (int64_t p = 0; p < part->pixels; p++)
        for (int64_t at = 0; at < part->channels; at += MOST) {
            dwc_s8_part one = *part;
            const int64_t from = p * part->channels + at;
            one.column += p;
            one.pixels = 1;
            one.first += at;
            one.channels = smaller(MOST, part->channels - at);
            if (sums)
                finish_sums(j, &one, sums + from, some, MOST);
            else
                memcpy(some, bytes + from, (size_t)one.channels);
            finish_bytes(j, &one, some, MOST);
            j->bytes->dequantize(some, one.channels, &parameters, j->y.data + dwc_s8_at(&j->y, &one));
        }
}

void dwc_s8_finish(const dwc_s8_job *j, const dwc_s8_part *part, const int32_t *sums, const uint8_t *bytes) {
    if (j->y.dtype == DWCONV_F32) {
        finish_floats(j, part, sums, bytes);
        return;
    }
    uint8_t *y = j->y.bytes + dwc_s8_at(&j->y, part);
    if (sums) finish_sums(j, part, sums, y, j->y.pixel);
    for (int64_t p = 0; bytes && p < part->pixels; p++)
        memcpy(y + p * j->y.pixel, bytes + p * part->channels, (size_t)part->channels);
    finish_bytes(j, part, y, j->y.pixel);
}

/* ---- stages ----------------------------------------------------------------------------------- */

void dwc_s8_run_rows(const dwc_s8_job *j, int64_t image, int64_t begin, int64_t end, char *memory) {
    if (!j->stage->kernels)
        dwc_s8_run_plain(j, image, begin, end);
    else if (j->stage->is_depthwise)
        dwc_s8_run_lines(j, image, begin, end, memory);
    else
        dwc_s8_run_matrix(j, image, begin, end, memory);
}

static void run_strip(const dwc_s8_job *j, int64_t item, int worker) {
    const dwc_s8_stage_schedule *how = j->how;
    const int64_t image = item / how->strips, begin = item % how->strips * how->strip_rows;
    const int64_t end = smaller(begin + how->strip_rows, j->y.height);
    dwc_s8_run_rows(j, image, begin, end, j->workers + worker * j->worker_bytes);
}

static void first_task(void *jobs, int64_t item, int worker) { run_strip(jobs, item, worker); }
static void second_task(void *jobs, int64_t item, int worker) {
    run_strip((dwc_s8_job *)jobs + 1, item, worker);
}
static void third_task(void *jobs, int64_t item, int worker) {
    run_strip((dwc_s8_job *)jobs + 2, item, worker);
}

dwc_s8_job dwc_s8_job_of(const dwconv_plan *plan, const dwc_s8_schedule *s, int stage) {
    const dwc_graph *g = &plan->graph;
    const dwc_node *end = &g->nodes[g->node_count - 1];
    const dwc_value *output = &g->values[g->value_count - 1];
    const int is_last = stage == s->stages - 1;
    return (dwc_s8_job){.stage = g->nodes[s->stage[stage].node].s8,
                        .bytes = &plan->table->bytes,
                        .how = &s->stage[stage],
                        .add = is_last && end->op == DWC_ADD ? &end->add : NULL,
                        .quant = {output->scale, output->zero_point}};
}

static dwc_view image_of(const dwc_view *v, int64_t image) {
    dwc_view one = *v;
    one.batch = 1;
    if (v->dtype == DWCONV_F32)
        one.data += image * v->image;
    else
        one.bytes += image * v->image;
    return one;
}

dwc_view dwc_s8_between(const dwc_s8_stage_schedule *how, dwconv_dtype dtype, void *scratch) {
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
                       const dwc_view *y, char *scratch, const dwconv_threads *threads) {
    static const dwconv_task tasks[] = {first_task, second_task, third_task};
    dwc_s8_job jobs[3];
    dwc_phase phases[3];
    for (int i = 0; i < s->stages; i++) {
        const dwc_s8_stage_schedule *how = &s->stage[i];
        dwc_s8_job *j = &jobs[i];
        *j = dwc_s8_job_of(plan, s, i);
        j->x = i ? jobs[i - 1].y : *x;
        j->y = i == s->stages - 1 ? *y : dwc_s8_between(how, plan->graph.dtype, scratch);
        j->residual = *x;
        j->workers = scratch + (scratch ? s->workers_at : 0);
        j->worker_bytes = s->worker_bytes;
        phases[i] = (dwc_phase){x->batch * how->strips, tasks[i]};
    }
    dwc_parallel_phases(threads, s->workers, phases, s->stages, jobs);
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

void dwc_run_scheduled_s8(const dwconv_plan *plan, const dwc_s8_schedule *s, const dwc_view *x,
                          const dwc_view *y, void *scratch, const dwconv_threads *threads) {
    if (s->walk.chunk_rows && !s->gate.mean) {
        dwc_s8_run_walk(plan, s, x, y, scratch, threads);
        return;
    }
    if (s->stages == 1) {
        run_stages(plan, s, x, y, scratch, threads);
        return;
    }
    for (int64_t image = 0; image < x->batch; image++) {
        const dwc_view from = image_of(x, image), to = image_of(y, image);
        (s->gate.mean ? dwc_s8_run_gate : run_stages)(plan, s, &from, &to, scratch, threads);
    }
}

dwconv_status dwc_run_s8(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, void *scratch,
                         size_t scratch_bytes, const dwconv_threads *threads) {
    const int64_t input[4] = {x->batch, x->height, x->width, x->channels};
    const dwc_machine machine = dwc_this_machine();
    dwc_s8_schedule s;
    DWC_TRY(dwc_schedule_s8(plan, input, threads, &machine, &s));
    DWC_TRY(check_scratch(&s, x, y, scratch, scratch_bytes));
    dwc_run_scheduled_s8(plan, &s, x, y, scratch, threads);
    return DWCONV_OK;
}
