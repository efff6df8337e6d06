/* Quantized blocks with squeeze-and-excite, an image at a time: see dwc_s8_gate. */
#include <string.h>

#include "nodes.h"
#include "../graph/network.h"
#include "s8.h"

typedef struct gate {
    const dwconv_plan *plan;
    const dwc_s8_schedule *how;
    dwc_s8_block walk;                   /* as far as depthwise, or: */
    dwc_s8_job jobs[DWC_MOST_S8_STAGES]; /* of each stage */
    char *scratch;
} gate;

static char *memory_of(const gate *g, int worker) {
    return g->scratch + g->how->workers_at + worker * g->how->worker_bytes;
}

void dwc_s8_sum_rows(const dwconv_plan *plan, const dwc_view *v, int64_t begin, int64_t end, int32_t *sums) {
    for (int64_t row = begin; row < end; row++)
        plan->table->bytes.sum(v->bytes + row * v->row, v->pixel, v->width, v->channels, dwc_flip(v->dtype),
                               sums);
}

/* ---- until depthwise ------------------------------------------------------------------------------ */

static void run_strip(const gate *g, int stage, int64_t item, int worker) {
    const dwc_s8_job *j = &g->jobs[stage];
    const int64_t begin = item * j->how->strip_rows, end = smaller(begin + j->how->strip_rows, j->y.height);
    dwc_s8_run_rows(j, 0, begin, end, memory_of(g, worker));
    if (stage != g->how->depthwise) return;
    int32_t *sums = (int32_t *)(void *)(g->scratch + g->how->gate.sums_at) + item * j->y.channels;
    memset(sums, 0, (size_t)j->y.channels * sizeof *sums);
    dwc_s8_sum_rows(g->plan, &j->y, begin, end, sums);
}

static void band_task(void *context, int64_t item, int worker) {
    dwc_s8_run_band(&((const gate *)context)->walk, item, worker);
}

static void expand_task(void *context, int64_t item, int worker) { run_strip(context, 0, item, worker); }

static void depthwise_task(void *context, int64_t item, int worker) {
    const gate *g = context;
    run_strip(g, g->how->depthwise, item, worker);
}

/* ---- the factors ---------------------------------------------------------------------------------- */

static dwc_view pixel(const gate *g, int64_t at, int64_t channels) {
    return (dwc_view){.bytes = (uint8_t *)g->scratch + at,
                      .batch = 1,
                      .height = 1,
                      .width = 1,
                      .channels = channels,
                      .image = channels,
                      .row = channels,
                      .pixel = channels,
                      .dtype = g->plan->graph.dtype};
}

static void take_mean(const gate *g, const dwc_view *mean) {
    const dwc_s8_gate *how = &g->how->gate;
    const dwc_view *x = &g->jobs[g->how->depthwise].y;
    const dwc_byte_parameters *p = &g->plan->graph.nodes[how->mean].bytes;
    const int64_t count = x->height * x->width, channels = x->channels;
    const dwc_byte_end end = dwc_mean_end(p, count);
    int32_t *sums = (int32_t *)(void *)(g->scratch + how->sums_at);
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t part = 1; part < how->parts; part++) sums[c] += sums[part * channels + c];
        sums[c] -= (int32_t)count * p->zero[0];
    }
    g->plan->table->bytes.finish(sums, channels, &end, mean->bytes);
}

static void factors_task(void *context, int64_t item, int worker) {
    const gate *g = context;
    const dwc_s8_gate *how = &g->how->gate;
    const dwc_s8_job *depthwise = &g->jobs[g->how->depthwise];
    dwc_s8_job squeeze = depthwise[1], excite = depthwise[2];
    const int64_t channels = depthwise->y.channels, row = depthwise->y.width * channels;
    squeeze.x = pixel(g, how->mean_at, channels);
    squeeze.y = excite.x = pixel(g, how->squeezed_at, squeeze.how->out[3]);
    excite.y = pixel(g, how->factors_at, channels);
    (void)item;
    take_mean(g, &squeeze.x);
    dwc_s8_run_rows(&squeeze, 0, 0, 1, memory_of(g, worker));
    dwc_s8_run_rows(&excite, 0, 0, 1, memory_of(g, worker));
    for (int64_t done = channels; done < row; done += done)
        memcpy(excite.y.bytes + done, excite.y.bytes, (size_t)smaller(done, row - done));
}

/* ---- the projection ------------------------------------------------------------------------------- */

static void scale_rows(const gate *g, const dwc_view *v, int64_t begin, int64_t end) {
    const int64_t row = v->width * v->channels;
    uint8_t *y = v->bytes + begin * row;
    const dwc_byte_binary call = {.parameters = &g->plan->graph.nodes[g->how->gate.scale].bytes,
                                  .rows = end - begin,
                                  .count = row,
                                  .x = {y, (const uint8_t *)g->scratch + g->how->gate.factors_at},
                                  .x_row = {row, 0},
                                  .x_step = {1, 1},
                                  .y = y,
                                  .y_row = row};
    g->plan->table->bytes.binary(&call);
}

static void project_task(void *context, int64_t item, int worker) {
    const gate *g = context;
    const dwc_s8_job *j = &g->jobs[g->how->stages - 1];
    const int64_t end = smaller((item + 1) * j->how->strip_rows, j->y.height);
    for (int64_t row = item * j->how->strip_rows; row < end; row += g->how->gate.rows) {
        const int64_t next = smaller(row + g->how->gate.rows, end);
        scale_rows(g, &j->x, row, next);
        dwc_s8_run_rows(j, 0, row, next, memory_of(g, worker));
    }
}

/* ---- all of it ------------------------------------------------------------------------------------ */

static void set_jobs(gate *g, const dwc_view *x, const dwc_view *y) {
    const int depthwise = g->how->depthwise, last = g->how->stages - 1;
    for (int i = 0; i <= last; i++) g->jobs[i] = dwc_s8_job_of(g->plan, g->how, i);
    const dwc_view wide = dwc_s8_between(&g->how->stage[depthwise], g->plan->graph.dtype, g->scratch);
    g->jobs[0].x = g->jobs[last].residual = *x;
    if (depthwise)
        g->jobs[0].y = g->jobs[1].x = dwc_s8_between(&g->how->stage[0], g->plan->graph.dtype, g->scratch);
    g->jobs[depthwise].y = g->jobs[last].x = wide;
    g->jobs[last].y = *y;
}

void dwc_s8_run_gate(const dwconv_plan *plan, const dwc_s8_schedule *s, const dwc_view *x, const dwc_view *y,
                     char *scratch, const dwconv_threads *threads) {
    gate g = {.plan = plan, .how = s, .scratch = scratch};
    dwc_phase phases[DWC_MOST_PHASES];
    int count = 0;
    set_jobs(&g, x, y);
    if (s->walk.chunk_rows) {
        g.walk = (dwc_s8_block){.plan = plan,
                                .how = s,
                                .x = *x,
                                .y = g.jobs[s->depthwise].y,
                                .sums = (int32_t *)(void *)(scratch + s->gate.sums_at),
                                .workers = memory_of(&g, 0)};
        phases[count++] = (dwc_phase){s->walk.bands, band_task};
    } else {
        if (s->depthwise) phases[count++] = (dwc_phase){s->stage[0].strips, expand_task};
        phases[count++] = (dwc_phase){s->stage[s->depthwise].strips, depthwise_task};
    }
    phases[count++] = (dwc_phase){1, factors_task};
    phases[count++] = (dwc_phase){s->stage[s->stages - 1].strips, project_task};
    dwc_parallel_phases(threads, s->workers, phases, count, &g);
}
