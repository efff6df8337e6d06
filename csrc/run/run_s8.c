/* Quantized operations, stage by stage; what lies between stages stays in scratch. */
#include "s8.h"

/* ---- results ---------------------------------------------------------------------------------- */

void dwc_s8_finish(const dwc_s8_job *j, const dwc_s8_part *part, const int32_t *sums, const uint8_t *bytes) {
    const dwc_requant *requant = &j->stage->requant;
    if (!sums && !bytes && !requant->table && !j->add) return;
    const int64_t at = dwc_s8_at(&j->y, part), count = part->channels;
    const int64_t residual_at = j->add ? dwc_s8_at(&j->residual, part) : 0;
    for (int64_t p = 0; p < part->pixels; p++)
        for (int64_t i = 0; i < count; i++) {
            const int64_t y = at + p * j->y.pixel + i;
            uint8_t byte;
            if (sums) {
                byte = dwc_requant_byte(requant, part->first + i, sums[p * count + i]);
            } else {
                byte = bytes ? bytes[p * count + i] : j->y.bytes[y];
                if (requant->table) byte = requant->table[byte];
            }
            if (j->add)
                byte =
                    dwc_add_bytes(j->add, byte, j->residual.bytes[residual_at + p * j->residual.pixel + i]);
            if (j->y.dtype == DWCONV_F32)
                j->y.data[y] =
                    j->quant.scale * (float)(dwc_number(byte, requant->flip) - j->quant.zero_point);
            else
                j->y.bytes[y] = byte;
        }
}

/* ---- stages ----------------------------------------------------------------------------------- */

static void task(void *context, int64_t item, int worker) {
    const dwc_s8_job *j = context;
    const dwc_s8_stage_schedule *how = j->how;
    const int64_t image = item / how->strips, begin = item % how->strips * how->strip_rows;
    const int64_t end = smaller(begin + how->strip_rows, j->y.height);
    char *memory = j->workers + worker * j->worker_bytes;
    if (!j->stage->kernels)
        dwc_s8_run_plain(j, image, begin, end);
    else if (j->stage->is_depthwise)
        dwc_s8_run_lines(j, image, begin, end, memory);
    else
        dwc_s8_run_matrix(j, image, begin, end, memory);
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
                       const dwc_view *y, char *scratch, const dwconv_threads *threads) {
    const dwc_graph *g = &plan->graph;
    const dwc_node *end = &g->nodes[g->node_count - 1];
    const dwc_value *output = &g->values[g->value_count - 1];
    dwc_view from = *x;
    for (int i = 0; i < s->stages; i++) {
        const dwc_s8_stage_schedule *how = &s->stage[i];
        const int last = i == s->stages - 1;
        dwc_s8_job j = {.stage = g->nodes[i].s8,
                        .how = how,
                        .x = from,
                        .y = last ? *y : between(how, g->dtype, scratch),
                        .add = last && end->op == DWC_ADD ? &end->add : NULL,
                        .residual = *x,
                        .quant = {output->scale, output->zero_point},
                        .workers = scratch + (scratch ? s->workers_at : 0),
                        .worker_bytes = s->worker_bytes};
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
