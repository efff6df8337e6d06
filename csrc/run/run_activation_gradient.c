/* Gradients of activations: pieces of an array. */
#include "../graph/gradient.h"
#include "../schedule/schedule.h"
#include "parallel.h"

typedef struct job {
    const dwc_kernel_table *table;
    const dwconv_activation *activation;
    int from_output;
    const float *values, *dy;
    float *dx;
    int64_t count, piece;
} job;

static void task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t begin = item * j->piece;
    (void)worker;
    j->table->each.slope(j->activation, j->from_output, j->values + begin, j->dy + begin, j->dx + begin,
                         smaller(j->piece, j->count - begin));
}

dwconv_status dwconv_activation_gradient(const char *isa, const dwconv_activation *activation,
                                         dwconv_slope_source source, const float *values, const float *dy,
                                         float *dx, int64_t count, const dwconv_threads *threads) {
    dwconv_activation act;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_check_slope(activation, source, values, dy, dx, count, &act));
    const dwc_kernel_table *table = dwc_kernel_table_of(isa);
    if (!table) return DWCONV_NO_ISA;
    if (count == 0) return DWCONV_OK;
    const int workers =
        dwc_worker_count(threads, dwc_each_nanoseconds(DWCONV_SAME_VALUE, act.kind, (double)count, 2));
    job j = {table, &act, source == DWCONV_FROM_OUTPUT, values, dy, dx, count, count};
    if (workers > 1) j.piece = round_up(divide_up(count, workers * DWC_ITEMS_PER_WORKER), DWC_LINE_FLOATS);
    dwc_parallel(threads, workers, divide_up(count, j.piece), task, &j);
    return DWCONV_OK;
}
