/* Reductions over any axes. An axis whose elements follow each other goes innermost: kept, it is the channels of
 * pixels that are reduced side by side; reduced, it is a run of numbers. Where there is none, pixels have one channel. */
#include <math.h>

#include "../schedule/schedule_nodes.h"
#include "axes.h"

enum { X, Y };

typedef struct job {
    const dwc_row_kernels *kernels;
    dwconv_function function;
    const float *x;
    float *y;
    dwc_axes kept, reduced;  /* but those that follow, which kernels walk; of `reduced` steps of y are 0 */
    int64_t run;             /* of numbers that are reduced, or 0: the last axis is kept, that of channels */
    dwc_reduce_grid grid;    /* without data */
    int64_t y_channel;       /* steps of channels in y */
    int64_t blocks, divisor; /* of channels; of the mean */
    dwc_items items;
} job;

/* ---- items ----------------------------------------------------------------------------------- */

static float reduce_runs(const job *j, const float *x) {
    const int64_t runs = dwc_axes_size(&j->reduced);
    int64_t at[DWC_MOST_OPERANDS];
    float result = j->kernels->reduce_run(x, j->run, j->function);
    for (int64_t i = 1; i < runs; i++) {
        dwc_axes_at(&j->reduced, i, at);
        result = dwc_reduce_two(result, j->kernels->reduce_run(x + at[X], j->run, j->function), j->function);
    }
    return j->divisor ? result / (float)j->divisor : result;
}

/* Some channels of a pixel. */
static void reduce_grids(const job *j, const float *x, float *y, int64_t channels) {
    const int64_t grids = dwc_axes_size(&j->reduced);
    int64_t at[DWC_MOST_OPERANDS];
    dwc_reduce_grid grid = j->grid;
    grid.y = y;
    grid.channels = channels;
    for (int64_t i = 0; i < grids; i++) {
        dwc_axes_at(&j->reduced, i, at);
        grid.x = x + at[X];
        grid.resumes = i > 0;
        j->kernels->reduce_grid(&grid, j->function);
    }
    if (j->divisor)
        for (int64_t c = 0; c < channels; c++) y[c] /= (float)j->divisor;
}

/* The same where channels of y do not follow each other. */
static void reduce_apart(const job *j, const float *x, float *y, int64_t channels) {
    float results[DWC_REDUCE_CHANNELS];
    reduce_grids(j, x, results, channels);
    for (int64_t c = 0; c < channels; c++) y[c * j->y_channel] = results[c];
}

static void reduce_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    (void)worker;
    for (int64_t i = item * j->items.size; i < end; i++) {
        int64_t at[DWC_MOST_OPERANDS];
        dwc_axes_at(&j->kept, i / j->blocks, at);
        const float *x = j->x + at[X];
        float *y = j->y + at[Y];
        if (j->run) {
            *y = reduce_runs(j, x);
            continue;
        }
        const int64_t first = i % j->blocks * DWC_REDUCE_CHANNELS;
        const int64_t channels = smaller(j->grid.channels - first, DWC_REDUCE_CHANNELS);
        if (j->y_channel == 1)
            reduce_grids(j, x + first, y + first, channels);
        else
            reduce_apart(j, x + first, y + first * j->y_channel, channels);
    }
}

/* ---- the node ------------------------------------------------------------------------------- */

static dwconv_status reduce_check(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    const dwconv_function f = call->node->function;
    if (f < DWCONV_MEAN || f >= DWCONV_REDUCTION_END) return DWCONV_BAD_VALUE;
    if (x->rank != y->rank) return DWCONV_BAD_SHAPE;
    for (int i = 0; i < x->rank; i++)
        if (y->shape[i] != 1 && y->shape[i] != x->shape[i]) return DWCONV_BAD_SHAPE;
    return DWCONV_OK;
}

/* The axis to go innermost: the last one that is contiguous, or -1. */
static int contiguous_axis(const dwc_array *x) {
    for (int i = x->rank - 1; i >= 0; i--)
        if (x->shape[i] > 1 && x->strides[i] == 1) return i;
    return -1;
}

/* All axes, kept and reduced ones apart. Reduced ones are not merged where channels are kept: the order of a sum over an
 * image does not depend on how its rows lie in memory. */
static void divide_axes(job *j, const dwc_array *x, const dwc_array *y) {
    const int last = contiguous_axis(x), apart = last < 0 || y->shape[last] > 1;
    for (int n = 0; n <= x->rank; n++) {
        const int i = n < x->rank ? n : last;
        if (i < 0 || (n < x->rank && i == last)) continue;
        const int64_t step[DWC_MOST_OPERANDS] = {dwc_step_of(x, i), dwc_step_of(y, i)};
        dwc_axes *axes = y->shape[i] == x->shape[i] ? &j->kept : &j->reduced;
        if (axes == &j->reduced && apart && x->shape[i] > 1)
            axes->axis[axes->count++] = (dwc_axis){x->shape[i], {step[X], 0}};
        else
            dwc_add_axis(axes, x->shape[i], step);
    }
    int64_t step[DWC_MOST_OPERANDS] = {0};
    if (!apart) {
        j->run = dwc_pop_axis(&j->reduced, step);
        j->blocks = 1;
        return;
    }
    j->grid.channels = last < 0 ? 1 : dwc_pop_axis(&j->kept, step);
    j->y_channel = step[Y];
    j->blocks = divide_up(j->grid.channels, DWC_REDUCE_CHANNELS);
    j->grid.columns = dwc_pop_axis(&j->reduced, step);
    j->grid.x_column = step[X];
    j->grid.rows = dwc_pop_axis(&j->reduced, step);
    j->grid.x_row = step[X];
}

static job reduce_job(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    const int mean = call->node->function == DWCONV_MEAN;
    job j = {.kernels = &call->table->rows,
             .function = mean ? DWCONV_SUM : call->node->function,
             .x = x->data,
             .y = y->data,
             .kept = {.operands = 2},
             .reduced = {.operands = 2}};
    int64_t taken = 1;
    for (int i = 0; i < x->rank; i++)
        if (y->shape[i] != x->shape[i]) taken *= x->shape[i];
    j.divisor = mean ? taken : 0;
    divide_axes(&j, x, y);
    j.items = dwc_schedule_reduce(call->threads, dwc_axes_size(&j.kept), j.run ? 1 : j.grid.channels,
                                  (double)taken);
    return j;
}

static int reduce_workers(const dwc_node_call *call) { return reduce_job(call).items.workers; }

static void reduce_node(const dwc_node_call *call) {
    job j = reduce_job(call);
    dwc_parallel(call->threads, j.items.workers, j.items.count, reduce_task, &j);
}

const dwc_node_class dwc_class_reduce = {
    .name = "reduce", .inputs = 1, .check = reduce_check, .run = reduce_node, .workers = reduce_workers};
