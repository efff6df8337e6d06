/* Gathers: copies of what lies at the indices of an axis. */
#include "walk.h"

enum {
    INNER = 8,
    GATHER_PIECE = 256
}; /* elements beyond the axis from which they are copied index by index */

static dwconv_status check(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    const dwc_array *x = &call->in[0], *y = &call->out;
    if (n->axis < 0 || n->axis >= x->rank || n->index_count < 0) return DWCONV_BAD_VALUE;
    if (x->rank != y->rank || n->index_count != y->shape[n->axis]) return DWCONV_BAD_SHAPE;
    for (int i = 0; i < x->rank; i++)
        if (i != n->axis && x->shape[i] != y->shape[i]) return DWCONV_BAD_SHAPE;
    if (!n->indices) return DWCONV_NULL_POINTER;
    for (int32_t i = 0; i < n->index_count; i++)
        if (n->indices[i] < 0 || n->indices[i] >= x->shape[n->axis]) return DWCONV_BAD_VALUE;
    return DWCONV_OK;
}

/* Every element of the walk, which lacks the axis, stands for a row of indices. */
static void gather_rows(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                        int64_t count) {
    const dwc_node_call *call = context;
    const dwconv_node *n = call->node;
    const int64_t unit = dwc_unit(call->out.dtype);
    const int64_t to_step = call->out.strides[n->axis], from_step = call->in[0].strides[n->axis];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < count; i++) {
            char *to = data[0] + (r * row->step[0] + i * row[1].step[0]) * unit;
            char *from = data[1] + (r * row->step[1] + i * row[1].step[1]) * unit;
            if (unit == 1)
                for (int32_t k = 0; k < n->index_count; k++)
                    to[k * to_step] = from[n->indices[k] * from_step];
            else
                for (int32_t k = 0; k < n->index_count; k++)
                    dwc_floats(to)[k * to_step] = dwc_floats(from)[n->indices[k] * from_step];
        }
}

static int workers(const dwc_node_call *call) { return dwc_copy_workers(call, 1); }

static void run(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    dwc_array x = call->in[0], y = call->out;
    int64_t inner = 1;
    for (int i = n->axis + 1; i < y.rank; i++) inner *= y.shape[i];
    x.shape[n->axis] = y.shape[n->axis] = 1; /* the walk drops it */
    dwc_walk walk = dwc_walk_of(&y, &x, 1);
    const int count = workers(call);
    if (inner < INNER) {
        dwc_rows_job job = {.walk = walk, .each = gather_rows, .context = call};
        job.count = smaller(dwc_row_of(&walk)[1].size, GATHER_PIECE);
        job.rows = larger(GATHER_PIECE / job.count, 1);
        dwc_run_rows(&job, call->threads, count);
        return;
    }
    for (int32_t i = 0; i < n->index_count; i++) {
        walk.data[0] = (char *)y.bytes + i * y.strides[n->axis] * walk.unit[0];
        walk.data[1] = (char *)x.bytes + n->indices[i] * x.strides[n->axis] * walk.unit[1];
        dwc_copy(call->table, walk, call->threads, count);
    }
}

const dwc_node_class dwc_class_gather = {
    .name = "gather", .inputs = 1, .types = DWC_TYPES_ONE, .check = check, .run = run, .workers = workers};
