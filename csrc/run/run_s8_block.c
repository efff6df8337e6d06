/* Quantized blocks in one pass: see dwc_s8_walk. A chunk of each stage's output is an image of its own to the walks of
 * stages, with the padding that is left of the whole one's. */
#include <string.h>

#include "s8.h"

typedef dwc_s8_block block;

/* A worker in a band of an image. */
typedef struct walk {
    const block *b;
    int64_t image;
    char *memory;
    int64_t held, end; /* expanded rows [held, end) */
    int32_t *sums;
} walk;

/* ---- tensors ----------------------------------------------------------------------------------- */

static dwc_view rows_of(const dwc_view *v, int64_t image, int64_t begin, int64_t end) {
    const int64_t at = image * v->image + begin * v->row;
    dwc_view rows = *v;
    rows.batch = 1;
    rows.height = end - begin;
    if (v->dtype == DWCONV_F32)
        rows.data += at;
    else
        rows.bytes += at;
    return rows;
}

/* Rows of what a stage gives, dense. */
static dwc_view between(const walk *w, int stage, int64_t at, int64_t rows) {
    const dwc_s8_stage_schedule *how = &w->b->how->stage[stage];
    const int64_t row = how->out[2] * how->out[3];
    return (dwc_view){.bytes = (uint8_t *)w->memory + at,
                      .batch = 1,
                      .height = rows,
                      .width = how->out[2],
                      .channels = how->out[3],
                      .image = rows * row,
                      .row = row,
                      .pixel = how->out[3],
                      .dtype = w->b->plan->graph.dtype};
}

/* ---- stages ------------------------------------------------------------------------------------ */

/* All of y, whose first row sees `pad_top` rows above x, and is row `first` of what the stage gives. */
static void run_stage(const walk *w, int stage, const dwc_view *x, const dwc_view *y, int64_t pad_top,
                      int64_t first) {
    dwc_s8_job j = dwc_s8_job_of(w->b->plan, w->b->how, stage);
    dwc_s8_stage_schedule how = *j.how;
    how.extent.pad_top = pad_top;
    how.extent.out_h = y->height;
    j.how = &how;
    j.x = *x;
    j.y = *y;
    if (j.add) j.residual = rows_of(&w->b->x, w->image, first, first + y->height);
    dwc_s8_run_rows(&j, 0, 0, y->height, w->memory);
}

/* Expanded rows [begin, end), of which those that are there are kept. */
static dwc_view expand(walk *w, int64_t begin, int64_t end) {
    const block *b = w->b;
    const dwc_s8_walk *how = &b->how->walk;
    const int64_t row = b->how->stage[0].out[2] * b->how->stage[0].out[3];
    char *kept = w->memory + how->kept_at;
    if (w->end > begin && begin > w->held)
        memmove(kept, kept + (begin - w->held) * row, (size_t)((w->end - begin) * row));
    w->held = begin;
    w->end = larger(w->end, begin);
    if (end > w->end) {
        const dwc_view x = rows_of(&b->x, w->image, w->end, end);
        const dwc_view y = between(w, 0, how->kept_at + (w->end - begin) * row, end - w->end);
        run_stage(w, 0, &x, &y, 0, w->end);
        w->end = end;
    }
    return between(w, 0, how->kept_at, end - begin);
}

/* Output rows [begin, end). */
static void run_chunk(walk *w, int64_t begin, int64_t end) {
    const block *b = w->b;
    const int depthwise = b->how->depthwise;
    const dwc_s8_stage_schedule *how = &b->how->stage[depthwise];
    const dwconv_window *window = &b->plan->graph.nodes[how->node].s8->window;
    const int64_t top = begin * window->stride_h - how->extent.pad_top;
    const int64_t bottom =
        (end - 1) * window->stride_h - how->extent.pad_top + (window->kernel_h - 1) * window->dilation_h + 1;
    const int64_t first = within(top, 0, how->in[1]), last = within(bottom, first, how->in[1]);
    const dwc_view x = depthwise ? expand(w, first, last) : rows_of(&b->x, w->image, first, last);
    const dwc_view y = rows_of(&b->y, w->image, begin, end);
    if (b->sums) {
        run_stage(w, depthwise, &x, &y, first - top, begin);
        dwc_s8_sum_rows(b->plan, &y, 0, y.height, w->sums);
        return;
    }
    const dwc_view chunk = between(w, depthwise, b->how->walk.chunk_at, end - begin);
    run_stage(w, depthwise, &x, &chunk, first - top, begin);
    run_stage(w, depthwise + 1, &chunk, &y, 0, begin);
}

/* ---- bands ------------------------------------------------------------------------------------- */

void dwc_s8_run_band(const block *b, int64_t item, int worker) {
    const dwc_s8_walk *how = &b->how->walk;
    walk w = {.b = b, .image = item / how->bands, .memory = b->workers + worker * b->how->worker_bytes};
    const int64_t begin = item % how->bands * how->band_rows,
                  end = smaller(begin + how->band_rows, b->y.height);
    if (b->sums) {
        w.sums = b->sums + item * b->y.channels;
        memset(w.sums, 0, (size_t)b->y.channels * sizeof *w.sums);
    }
    for (int64_t row = begin; row < end; row += how->chunk_rows)
        run_chunk(&w, row, smaller(row + how->chunk_rows, end));
}

static void task(void *context, int64_t item, int worker) { dwc_s8_run_band(context, item, worker); }

void dwc_s8_run_walk(const dwconv_plan *plan, const dwc_s8_schedule *how, const dwc_view *x,
                     const dwc_view *y, char *scratch, const dwconv_threads *threads) {
    block b = {.plan = plan, .how = how, .x = *x, .y = *y, .workers = scratch + how->workers_at};
    dwc_parallel(threads, how->workers, x->batch * how->walk.bands, task, &b);
}
