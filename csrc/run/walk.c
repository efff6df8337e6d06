/* See walk.h. */
#include "walk.h"

#include <stdlib.h>

int64_t dwc_array_elements(const dwc_array *a) {
    int64_t elements = 1;
    for (int i = 0; i < a->rank; i++) elements *= a->shape[i];
    return elements;
}

int dwc_same_shape(const dwc_array *a, const dwc_array *b) {
    if (a->rank != b->rank) return 0;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return 0;
    return 1;
}

/* ---- axes --------------------------------------------------------------------------------- */

dwc_walk dwc_walk_of(const dwc_array *out, const dwc_array *in, int inputs) {
    dwc_walk w = {.axes = {.operands = inputs + 1}, .data = {out->data}};
    dwc_axis sorted[DWCONV_MAX_RANK];
    for (int k = 0; k < inputs; k++) w.data[k + 1] = in[k].data;
    for (int i = 0; i < out->rank; i++) { /* stable, so that a contiguous output keeps its order */
        dwc_axis axis = {.size = out->shape[i], .step = {dwc_step_of(out, i)}};
        int at = i;
        for (int k = 0; k < inputs; k++) axis.step[k + 1] = dwc_broadcast_step(&in[k], out->rank, i);
        for (; at > 0 && llabs(sorted[at - 1].step[0]) < llabs(axis.step[0]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = axis;
    }
    for (int i = 0; i < out->rank; i++) dwc_add_axis(&w.axes, sorted[i].size, sorted[i].step);
    for (; w.axes.count < 2; w.axes.count++) {
        w.axes.axis[1] = w.axes.axis[0];
        w.axes.axis[0] = (dwc_axis){.size = 1};
    }
    return w;
}

/* ---- rows --------------------------------------------------------------------------------- */

typedef struct rows {
    const dwc_rows_job *job;
    dwc_axes outer;
    const dwc_axis *row; /* row[1]: its elements */
    int64_t row_blocks, segments, pieces, pieces_of_item;
} rows;

static void run_piece(const rows *r, int64_t piece) {
    const dwc_rows_job *job = r->job;
    const int64_t first = piece % r->segments * job->count,
                  row = piece / r->segments % r->row_blocks * job->rows;
    int64_t at[DWC_MOST_OPERANDS];
    float *data[DWC_MOST_OPERANDS];
    dwc_axes_at(&r->outer, piece / r->segments / r->row_blocks, at);
    for (int k = 0; k < r->outer.operands; k++)
        data[k] = job->walk.data[k] + at[k] + row * r->row[0].step[k] + first * r->row[1].step[k];
    job->each(job->context, r->row, data, smaller(job->rows, r->row[0].size - row),
              smaller(job->count, r->row[1].size - first));
}

static void rows_task(void *context, int64_t item, int worker) {
    const rows *r = context;
    const int64_t end = smaller((item + 1) * r->pieces_of_item, r->pieces);
    (void)worker;
    for (int64_t piece = item * r->pieces_of_item; piece < end; piece++) run_piece(r, piece);
}

void dwc_run_rows(const dwc_rows_job *job, const dwconv_threads *threads, int workers) {
    const dwc_axis *row = dwc_row_of(&job->walk);
    rows r = {.job = job,
              .outer = job->walk.axes,
              .row = row,
              .row_blocks = divide_up(row[0].size, job->rows),
              .segments = divide_up(row[1].size, job->count)};
    r.outer.count -= 2;
    r.pieces = r.row_blocks * r.segments * dwc_axes_size(&r.outer);
    const int64_t items = workers > 1 ? smaller(r.pieces, DWC_ITEMS_PER_WORKER * (int64_t)workers) : 1;
    r.pieces_of_item = divide_up(r.pieces, items);
    dwc_parallel(threads, workers, divide_up(r.pieces, r.pieces_of_item), rows_task, &r);
}
