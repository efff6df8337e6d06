/* Softmax and layer normalisation: rows of numbers. */
#include <math.h>

#include "number_rows.h"
#include "walk.h"

enum { X, Y };

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct job {
    const dwc_node_call *call;
    dwc_number_rows_function function;
    dwc_axes axes; /* all but that of the numbers */
    dwc_items items;
} job;

/* Rows of an item, as many at a time as are a constant step apart. */
static void rows_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_axes *axes = &j->axes;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    const int64_t run = axes->count ? axes->axis[axes->count - 1].size : 1;
    const dwc_array *x = &j->call->in[0];
    int64_t step[DWC_MOST_OPERANDS] = {0}, at[DWC_MOST_OPERANDS];
    dwc_axes outer = *axes;
    (void)worker;
    dwc_pop_axis(&outer, step);
    dwc_number_rows rows = {.x_row = step[X], .y_row = step[Y], .count = x->shape[x->rank - 1]};
    for (int64_t i = item * j->items.size; i < end; i += rows.rows) {
        rows.rows = smaller(run - i % run, end - i);
        dwc_axes_at(axes, i, at);
        rows.x = at[X];
        rows.y = at[Y];
        j->function(j->call, &rows);
    }
}

static dwc_axes axes_of(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    dwc_axes axes = {.operands = 2};
    for (int i = 0; i + 1 < x->rank; i++) {
        const int64_t step[DWC_MOST_OPERANDS] = {dwc_step_of(x, i), dwc_step_of(y, i)};
        dwc_add_axis(&axes, x->shape[i], step);
    }
    return axes;
}

int64_t dwc_count_number_rows(const dwc_node_call *call) {
    const dwc_axes axes = axes_of(call);
    return dwc_axes_size(&axes);
}

void dwc_run_number_rows(const dwc_node_call *call, dwc_items items, dwc_number_rows_function function) {
    job j = {.call = call, .function = function, .axes = axes_of(call), .items = items};
    dwc_parallel(call->threads, items.workers, items.count, rows_task, &j);
}

dwconv_status dwc_check_number_rows(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    if (x->rank < 1 || !dwc_same_shape(x, y)) return DWCONV_BAD_SHAPE;
    return dwc_is_contiguous_last(x) && dwc_is_contiguous_last(y) ? DWCONV_OK : DWCONV_BAD_LAYOUT;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void normalise_rows(const dwc_node_call *call, const dwc_number_rows *r) {
    const dwconv_node *node = call->node;
    const float *x = call->in[0].data + r->x;
    float *y = call->out.data + r->y;
    if (node->kind == DWCONV_SOFTMAX)
        call->table->rows.softmax(x, r->x_row, r->rows, r->count, y, r->y_row, node->function == 1);
    else
        call->table->rows.layer_norm(x, r->x_row, r->rows, r->count, call->in[1].data, call->in[2].data,
                                     node->parameters[0], y, r->y_row);
}

static dwc_items items_of(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0];
    const int64_t rows = dwc_count_number_rows(call), count = x->shape[x->rank - 1];
    return call->node->kind == DWCONV_SOFTMAX ? dwc_schedule_softmax(call->threads, rows, count)
                                              : dwc_schedule_layer_norm(call->threads, rows, count);
}

static int normalise_workers(const dwc_node_call *call) { return items_of(call).workers; }

static void normalise_node(const dwc_node_call *call) {
    dwc_run_number_rows(call, items_of(call), normalise_rows);
}

static dwconv_status softmax_check(const dwc_node_call *call) {
    const int function = (int)call->node->function;
    if (function != 0 && function != 1) return DWCONV_BAD_VALUE;
    return dwc_check_number_rows(call);
}

static dwconv_status layer_norm_check(const dwc_node_call *call) {
    DWC_TRY(dwc_check_number_rows(call));
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
