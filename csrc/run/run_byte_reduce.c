/* Reductions of 8-bit integers over any axes: see reduction.h. Sums are exact, in whatever order. */
#include <string.h>

#include "../schedule/schedule_nodes.h"
#include "reduction.h"

enum { X = DWC_REDUCE_X, Y = DWC_REDUCE_Y };

typedef struct job {
    const dwc_node_call *call;
    const uint8_t *x;
    uint8_t *y;
    dwc_reduction r;
    dwc_byte_end end;
    int is_sum; /* or mean */
    dwc_items items;
} job;

/* ---- items ---------------------------------------------------------------------------------- */

static uint8_t sum_runs(const job *j, const uint8_t *x) {
    const dwc_byte_parameters *p = j->call->parameters;
    const dwc_byte_kernels *kernels = &j->call->table->bytes;
    const int64_t runs = dwc_axes_size(&j->r.reduced);
    int64_t at[DWC_MOST_OPERANDS], sum = -j->r.taken * p->zero[0];
    uint8_t y;
    for (int64_t i = 0; i < runs; i++) {
        dwc_axes_at(&j->r.reduced, i, at);
        sum += kernels->sum_run(x + at[X], j->r.run, p->flip);
    }
    const int32_t all = (int32_t)sum;
    kernels->finish(&all, 1, &j->end, &y);
    return y;
}

/* Rows of runs that are a constant step apart. */
static void reduce_runs(const job *j, const uint8_t *x, uint8_t *y, dwc_axis along, int64_t rows) {
    enum { MANY = 64 };
    const int largest = j->call->node->function == DWCONV_LARGEST;
    const int64_t runs = dwc_axes_size(&j->r.reduced);
    int64_t at[DWC_MOST_OPERANDS];
    if (j->is_sum) {
        for (int64_t r = 0; r < rows; r++) y[r * along.step[Y]] = sum_runs(j, x + r * along.step[X]);
        return;
    }
    for (int64_t n; rows > 0; rows -= n, x += n * along.step[X], y += n * along.step[Y]) {
        uint8_t results[MANY];
        n = smaller(rows, MANY);
        for (int64_t i = 0; i < runs; i++) {
            dwc_axes_at(&j->r.reduced, i, at);
            j->call->table->bytes.extreme_rows(x + at[X], along.step[X], n, j->r.run,
                                               j->call->parameters->flip, largest, i > 0, results);
        }
        for (int64_t r = 0; r < n; r++) y[r * along.step[Y]] = results[r];
    }
}

/* Some channels of a pixel. */
static void reduce_grids(const job *j, const uint8_t *x, uint8_t *y, int64_t channels) {
    const dwc_byte_parameters *p = j->call->parameters;
    const dwc_byte_kernels *kernels = &j->call->table->bytes;
    const int largest = j->call->node->function == DWCONV_LARGEST;
    const int64_t grids = dwc_axes_size(&j->r.reduced);
    int32_t sums[DWC_REDUCE_CHANNELS];
    int64_t at[DWC_MOST_OPERANDS];
    for (int64_t c = 0; c < channels; c++) sums[c] = (int32_t)(-j->r.taken * p->zero[0]);
    if (!j->is_sum) memcpy(y, x, (size_t)channels);
    for (int64_t i = 0; i < grids; i++) {
        dwc_axes_at(&j->r.reduced, i, at);
        for (int64_t row = 0; row < j->r.rows; row++) {
            const uint8_t *from = x + at[X] + row * j->r.x_row;
            if (j->is_sum)
                kernels->sum(from, j->r.x_column, j->r.columns, channels, p->flip, sums);
            else
                kernels->extreme(from, j->r.x_column, j->r.columns, channels, p->flip, largest, y);
        }
    }
    if (j->is_sum) kernels->finish(sums, channels, &j->end, y);
}

static void reduce_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    (void)worker;
    for (int64_t i = item * j->items.size; i < end;) {
        const dwc_reduced_part part = dwc_next_reduced(&j->r, &i, end);
        const uint8_t *x = j->x + part.x;
        uint8_t *y = j->y + part.y, results[DWC_REDUCE_CHANNELS];
        if (j->r.run)
            reduce_runs(j, x, y, part.along, part.rows);
        else
            reduce_grids(j, x, results, part.channels);
        for (int64_t c = 0; c < part.channels; c++) y[c * j->r.y_channel] = results[c];
    }
}

/* ---- the node ------------------------------------------------------------------------------- */

static job reduce_job(const dwc_node_call *call) {
    const dwconv_function f = call->node->function;
    job j = {.call = call,
             .x = call->in[0].bytes,
             .y = call->out.bytes,
             .r = dwc_reduction_of(&call->in[0], &call->out),
             .is_sum = f == DWCONV_SUM || f == DWCONV_MEAN};
    j.end = f == DWCONV_MEAN ? dwc_mean_end(call->parameters, j.r.taken) : call->parameters->end;
    j.items = dwc_schedule_reduce(call->threads, dwc_axes_size(&j.r.kept), j.r.channels, (double)j.r.taken);
    return j;
}

static int reduce_workers(const dwc_node_call *call) { return reduce_job(call).items.workers; }

static void reduce_node(const dwc_node_call *call) {
    job j = reduce_job(call);
    dwc_parallel(call->threads, j.items.workers, j.items.count, reduce_task, &j);
}

static dwconv_status reduce_check(const dwc_node_call *call) {
    DWC_TRY(dwc_check_reduction(call));
    if (call->node->function == DWCONV_PRODUCT) return DWCONV_BAD_VALUE;
    return dwc_reduction_of(&call->in[0], &call->out).taken > DWC_MOST_BYTES_SUMMED ? DWCONV_OVERFLOW
                                                                                    : DWCONV_OK;
}

const dwc_node_class dwc_class_byte_reduce = {.name = "reduce",
                                              .inputs = 1,
                                              .types = DWC_TYPES_BYTES,
                                              .check = reduce_check,
                                              .prepare = dwc_prepare_bytes,
                                              .run = reduce_node,
                                              .workers = reduce_workers};
