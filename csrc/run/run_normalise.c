/* Softmax and layer normalisation: rows of numbers. */
#include <math.h>

#include "../schedule/schedule_nodes.h"
#include "axes.h"
#include "walk.h"

enum { X, Y };

typedef struct job {
    const dwc_node_call *call;
    dwc_axes axes; /* all but that of the numbers */
    int64_t count;
    dwc_items items;
} job;

static void run_rows(const dwc_node_call *call, const float *x, int64_t x_row, int64_t rows, int64_t count,
                     float *y, int64_t y_row) {
    const dwconv_node *node = call->node;
    if (node->kind == DWCONV_SOFTMAX)
        call->table->rows.softmax(x, x_row, rows, count, y, y_row, node->function == 1);
    else
        call->table->rows.layer_norm(x, x_row, rows, count, call->in[1].data, call->in[2].data,
                                     node->parameters[0], y, y_row);
}

/* Rows of an item, as many at a time as are a constant step apart. */
static void normalise_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_axes *axes = &j->axes;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    const int64_t run = axes->count ? axes->axis[axes->count - 1].size : 1;
    int64_t step[DWC_MOST_OPERANDS] = {0}, at[DWC_MOST_OPERANDS], rows;
    dwc_axes outer = *axes;
    (void)worker;
    dwc_pop_axis(&outer, step);
    for (int64_t i = item * j->items.size; i < end; i += rows) {
        rows = smaller(run - i % run, end - i);
        dwc_axes_at(axes, i, at);
        run_rows(j->call, j->call->in[0].data + at[X], step[X], rows, j->count, j->call->out.data + at[Y],
                 step[Y]);
    }
}

static job normalise_job(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    job j = {.call = call, .axes = {.operands = 2}, .count = x->shape[x->rank - 1]};
    for (int i = 0; i + 1 < x->rank; i++) {
        const int64_t step[DWC_MOST_OPERANDS] = {dwc_step_of(x, i), dwc_step_of(y, i)};
        dwc_add_axis(&j.axes, x->shape[i], step);
    }
    const int64_t rows = dwc_axes_size(&j.axes);
    j.items = call->node->kind == DWCONV_SOFTMAX ? dwc_schedule_softmax(call->threads, rows, j.count)
                                                 : dwc_schedule_layer_norm(call->threads, rows, j.count);
    return j;
}

static int normalise_workers(const dwc_node_call *call) { return normalise_job(call).items.workers; }

static void normalise_node(const dwc_node_call *call) {
    job j = normalise_job(call);
    dwc_parallel(call->threads, j.items.workers, j.items.count, normalise_task, &j);
}

static dwconv_status check_rows(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    if (x->rank < 1 || !dwc_same_shape(x, y)) return DWCONV_BAD_SHAPE;
    return dwc_is_contiguous_last(x) && dwc_is_contiguous_last(y) ? DWCONV_OK : DWCONV_BAD_LAYOUT;
}

static dwconv_status softmax_check(const dwc_node_call *call) {
    const int function = (int)call->node->function;
    if (function != 0 && function != 1) return DWCONV_BAD_VALUE;
    return check_rows(call);
}

static dwconv_status layer_norm_check(const dwc_node_call *call) {
    DWC_TRY(check_rows(call));
    for (int i = 1; i < 3; i++) {
        const dwc_array *a = &call->in[i];
        if (a->rank != 1 || a->shape[0] != call->out.shape[call->out.rank - 1]) return DWCONV_BAD_SHAPE;
        if (!dwc_is_contiguous_last(a)) return DWCONV_BAD_LAYOUT;
    }
    return call->node->parameters[0] >= 0 && call->node->parameters[0] < INFINITY ? DWCONV_OK
                                                                                  : DWCONV_BAD_VALUE;
}

const dwc_node_class dwc_class_softmax = {.name = "softmax",
                                          .inputs = 1,
                                          .check = softmax_check,
                                          .run = normalise_node,
                                          .workers = normalise_workers};
const dwc_node_class dwc_class_layer_norm = {.name = "layer norm",
                                             .inputs = 3,
                                             .check = layer_norm_check,
                                             .run = normalise_node,
                                             .workers = normalise_workers};
