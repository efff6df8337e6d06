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

/* Appends axis `axis` of the output. */
static void append_axis(dwc_walk *w, int axis, const dwc_array *out, const dwc_array *in) {
    w->shape[w->rank] = out->shape[axis];
    w->strides[0][w->rank] = out->strides[axis];
    for (int k = 1; k < w->arrays; k++) {
        const dwc_array *x = &in[k - 1];
        const int own = axis - (out->rank - x->rank);
        w->strides[k][w->rank] = own >= 0 && x->shape[own] > 1 ? x->strides[own] : 0;
    }
    w->rank++;
}

static void move_axis(dwc_walk *w, int from, int to) {
    w->shape[to] = w->shape[from];
    for (int k = 0; k < w->arrays; k++) w->strides[k][to] = w->strides[k][from];
}

static void swap(int64_t *a, int64_t *b) {
    const int64_t kept = *a;
    *a = *b;
    *b = kept;
}

void dwc_swap_axes(dwc_walk *w, int a, int b) {
    swap(&w->shape[a], &w->shape[b]);
    for (int k = 0; k < w->arrays; k++) swap(&w->strides[k][a], &w->strides[k][b]);
}

/* Stable, so that a contiguous output keeps its order. */
static void sort_axes(dwc_walk *w) {
    for (int i = 1; i < w->rank; i++)
        for (int at = i; at > 0 && llabs(w->strides[0][at - 1]) < llabs(w->strides[0][at]); at--)
            dwc_swap_axes(w, at - 1, at);
}

/* Whether axes i and i + 1 are one. */
static int are_one(const dwc_walk *w, int i) {
    for (int k = 0; k < w->arrays; k++)
        if (w->strides[k][i] != w->strides[k][i + 1] * w->shape[i + 1]) return 0;
    return 1;
}

static void merge_axes(dwc_walk *w) {
    for (int i = w->rank - 2; i >= 0; i--) {
        if (!are_one(w, i)) continue;
        w->shape[i + 1] *= w->shape[i];
        for (int j = i; j + 1 < w->rank; j++) move_axis(w, j + 1, j);
        w->rank--;
    }
}

static void insert_outer_axis(dwc_walk *w) {
    for (int i = w->rank; i > 0; i--) move_axis(w, i - 1, i);
    w->shape[0] = 1;
    for (int k = 0; k < w->arrays; k++) w->strides[k][0] = 0;
    w->rank++;
}

dwc_walk dwc_walk_of(const dwc_array *out, const dwc_array *in, int inputs) {
    dwc_walk w = {.arrays = inputs + 1, .unit = {dwc_unit(out->dtype)}, .data = {(char *)out->bytes}};
    for (int k = 0; k < inputs; k++) {
        w.unit[k + 1] = dwc_unit(in[k].dtype);
        w.data[k + 1] = (char *)in[k].bytes;
    }
    for (int axis = 0; axis < out->rank; axis++)
        if (out->shape[axis] > 1) append_axis(&w, axis, out, in);
    sort_axes(&w);
    merge_axes(&w);
    while (w.rank < 2) insert_outer_axis(&w);
    return w;
}

/* ---- rows --------------------------------------------------------------------------------- */

typedef struct rows {
    const dwc_rows_job *job;
    int64_t row_blocks, segments, pieces, pieces_of_item;
} rows;

static void run_piece(const rows *r, int64_t piece) {
    const dwc_rows_job *job = r->job;
    const dwc_walk *w = &job->walk;
    const int64_t first = piece % r->segments * job->count, block = piece / r->segments % r->row_blocks;
    const int64_t row = block * job->rows;
    int64_t rest = piece / r->segments / r->row_blocks;
    const int last = w->rank - 1;
    char *data[DWC_WALK_ARRAYS];
    for (int k = 0; k < w->arrays; k++)
        data[k] = w->data[k] + (first * w->strides[k][last] + row * w->strides[k][last - 1]) * w->unit[k];
    for (int axis = last - 2; axis >= 0; axis--) {
        const int64_t at = rest % w->shape[axis];
        rest /= w->shape[axis];
        for (int k = 0; k < w->arrays; k++) data[k] += at * w->strides[k][axis] * w->unit[k];
    }
    job->each(job->context, w, data, smaller(job->rows, w->shape[last - 1] - row),
              smaller(job->count, w->shape[last] - first));
}

static void rows_task(void *context, int64_t item, int worker) {
    const rows *r = context;
    const int64_t end = smaller((item + 1) * r->pieces_of_item, r->pieces);
    (void)worker;
    for (int64_t piece = item * r->pieces_of_item; piece < end; piece++) run_piece(r, piece);
}

void dwc_run_rows(const dwc_rows_job *job, const dwconv_threads *threads, int workers) {
    const dwc_walk *w = &job->walk;
    const int last = w->rank - 1;
    rows r = {.job = job,
              .row_blocks = divide_up(w->shape[last - 1], job->rows),
              .segments = divide_up(w->shape[last], job->count)};
    r.pieces = r.row_blocks * r.segments;
    for (int axis = 0; axis < last - 1; axis++) r.pieces *= w->shape[axis];
    const int64_t items = workers > 1 ? smaller(r.pieces, DWC_ITEMS_PER_WORKER * (int64_t)workers) : 1;
    r.pieces_of_item = divide_up(r.pieces, items);
    dwc_parallel(threads, workers, divide_up(r.pieces, r.pieces_of_item), rows_task, &r);
}
