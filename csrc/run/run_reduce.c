/* Reductions over any axes: see reduction.h. */
#include <math.h>

#include "../schedule/schedule_nodes.h"
#include "reduction.h"

enum { X = DWC_REDUCE_X, Y = DWC_REDUCE_Y };

typedef struct job {
    const dwc_row_kernels *kernels;
    dwconv_function function;
    const float *x;
    float *y;
    dwc_reduction r;
    dwc_reduce_grid grid; /* without data */
    int64_t divisor;      /* of the mean */
    dwc_items items;
} job;

/* ---- items ----------------------------------------------------------------------------------- */

/* Rows of runs that are a constant step apart. */
static void reduce_runs(const job *j, const float *x, float *y, dwc_axis along, int64_t rows) {
    enum { MANY = 64 };
    const int64_t runs = dwc_axes_size(&j->r.reduced), x_row = along.step[X], y_row = along.step[Y];
    int64_t at[DWC_MOST_OPERANDS];
    if (j->function == DWCONV_PLACE_OF_LARGEST) {
        j->kernels->place_rows(x, x_row, rows, j->r.run, y, y_row);
        return;
    }
    for (int64_t n; rows > 0; rows -= n, x += n * x_row, y += n * y_row) {
        n = smaller(rows, MANY);
        j->kernels->reduce_rows(x, x_row, n, j->r.run, j->function, y, y_row);
        for (int64_t i = 1; i < runs; i++) {
            float results[MANY];
            dwc_axes_at(&j->r.reduced, i, at);
            j->kernels->reduce_rows(x + at[X], x_row, n, j->r.run, j->function, results, 1);
            for (int64_t r = 0; r < n; r++)
                y[r * y_row] = dwc_reduce_two(y[r * y_row], results[r], j->function);
        }
        for (int64_t r = 0; r < n && j->divisor; r++) y[r * y_row] /= (float)j->divisor;
    }
}

/* Some channels of a pixel. */
static void reduce_grids(const job *j, const float *x, float *y, int64_t channels) {
    const int64_t grids = dwc_axes_size(&j->r.reduced);
    int64_t at[DWC_MOST_OPERANDS];
    dwc_reduce_grid grid = j->grid;
    grid.y = y;
    grid.channels = channels;
    for (int64_t i = 0; i < grids; i++) {
        dwc_axes_at(&j->r.reduced, i, at);
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
    for (int64_t c = 0; c < channels; c++) y[c * j->r.y_channel] = results[c];
}

static void reduce_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    (void)worker;
    for (int64_t i = item * j->items.size; i < end;) {
        const dwc_reduced_part part = dwc_next_reduced(&j->r, &i, end);
        if (j->r.run)
            reduce_runs(j, j->x + part.x, j->y + part.y, part.along, part.rows);
        else if (j->r.y_channel == 1)
            reduce_grids(j, j->x + part.x, j->y + part.y, part.channels);
        else
            reduce_apart(j, j->x + part.x, j->y + part.y, part.channels);
    }
}

/* ---- the node ------------------------------------------------------------------------------- */

static job reduce_job(const dwc_node_call *call) {
    const int mean = call->node->function == DWCONV_MEAN;
    job j = {.kernels = &call->table->rows,
             .function = mean ? DWCONV_SUM : call->node->function,
             .x = call->in[0].data,
             .y = call->out.data,
             .r = dwc_reduction_of(&call->in[0], &call->out)};
    const dwc_reduction *r = &j.r;
    j.grid =
        (dwc_reduce_grid){.x_row = r->x_row, .rows = r->rows, .x_column = r->x_column, .columns = r->columns};
    j.divisor = mean ? r->taken : 0;
    j.items = dwc_schedule_reduce(call->threads, dwc_axes_size(&r->kept), r->channels, (double)r->taken);
    return j;
}

static int reduce_workers(const dwc_node_call *call) { return reduce_job(call).items.workers; }

static void reduce_node(const dwc_node_call *call) {
    job j = reduce_job(call);
    dwc_parallel(call->threads, j.items.workers, j.items.count, reduce_task, &j);
}

const dwc_node_class dwc_class_reduce = {.name = "reduce",
                                         .inputs = 1,
                                         .check = dwc_check_reduction,
                                         .run = reduce_node,
                                         .workers = reduce_workers};
