/* Copies between any strides, and fills. */
#include "copy.h"

enum {
    COPY_PIECE = 4096,     /* elements at a time */
    TRANSPOSED_ROWS = 64,  /* rows of a piece: four lines of every column ... */
    TRANSPOSED_COUNT = 256 /* ... of so many */
};

/* ---- ways to copy ------------------------------------------------------------------------- */

static void copy_rows(const void *context, const dwc_axis *row, float *const data[], int64_t rows,
                      int64_t count) {
    const dwc_kernel_table *table = context;
    table->copy_pixels((const char *)data[1], in_bytes(row->step[1]), rows, in_bytes(count), (char *)data[0],
                       in_bytes(row->step[0]));
}

static void transpose_rows(const void *context, const dwc_axis *row, float *const data[], int64_t rows,
                           int64_t count) {
    const dwc_kernel_table *table = context;
    table->each.transpose(data[1], row[1].step[1], rows, count, data[0], row->step[0]);
}

static void copy_strided(const void *context, const dwc_axis *row, float *const data[], int64_t rows,
                         int64_t count) {
    const int64_t to_step = row[1].step[0], from_step = row[1].step[1];
    (void)context;
    for (int64_t r = 0; r < rows; r++) {
        float *to = data[0] + r * row->step[0];
        const float *from = data[1] + r * row->step[1];
        if (to_step == 1 && from_step == 0)
            for (int64_t i = 0; i < count; i++) to[i] = *from;
        else
            for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
    }
}

/* Makes the rows those of an axis along which the input is contiguous where the output is along the last one, if
 * there is one. */
static int turn_rows(dwc_axes *axes) {
    const dwc_axis *last = &axes->axis[axes->count - 1];
    if (last->step[0] != 1 || last->step[1] == 0) return 0;
    for (int i = 0; i < axes->count - 1; i++) {
        const dwc_axis turned = axes->axis[i];
        if (turned.step[1] != 1) continue;
        for (; i < axes->count - 2; i++) axes->axis[i] = axes->axis[i + 1];
        axes->axis[i] = turned;
        return 1;
    }
    return 0;
}

void dwc_copy(const dwc_kernel_table *table, dwc_walk walk, const dwconv_threads *threads, int workers) {
    dwc_rows_job job = {.walk = walk, .context = table};
    const dwc_axis *elements = dwc_row_of(&job.walk) + 1;
    job.count = smaller(elements->size, COPY_PIECE);
    job.rows = larger(COPY_PIECE / job.count, 1);
    if (elements->size == 1 || (elements->step[0] == 1 && elements->step[1] == 1)) {
        job.each = copy_rows;
    } else if (turn_rows(&job.walk.axes)) {
        job.each = transpose_rows;
        job.count = smaller(elements->size, TRANSPOSED_COUNT);
        job.rows = larger(COPY_PIECE / job.count, TRANSPOSED_ROWS);
    } else {
        job.each = copy_strided;
    }
    dwc_run_rows(&job, threads, workers);
}

int dwc_copy_workers(const dwc_node_call *call, int reads) {
    const double elements = (double)dwc_array_elements(&call->out);
    return dwc_worker_count(call->threads, dwc_nanoseconds(0, (double)(1 + reads) * elements));
}

/* ---- nodes -------------------------------------------------------------------------------- */

static dwconv_status check_copy(const dwc_node_call *call) {
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

static int copy_workers(const dwc_node_call *call) { return dwc_copy_workers(call, 1); }

static void run_copy(const dwc_node_call *call) {
    dwc_copy(call->table, dwc_walk_of(&call->out, call->in, 1), call->threads, copy_workers(call));
}

static dwconv_status check_fill(const dwc_node_call *call) {
    (void)call;
    return DWCONV_OK;
}

static int fill_workers(const dwc_node_call *call) { return dwc_copy_workers(call, 0); }

/* Copies of one number. */
static void run_fill(const dwc_node_call *call) {
    float value = call->node->parameters[0];
    const dwc_array number = {.data = &value};
    dwc_copy(call->table, dwc_walk_of(&call->out, &number, 1), call->threads, fill_workers(call));
}

const dwc_node_class dwc_class_copy = {
    .name = "copy", .inputs = 1, .check = check_copy, .run = run_copy, .workers = copy_workers};
const dwc_node_class dwc_class_fill = {
    .name = "fill", .inputs = 0, .check = check_fill, .run = run_fill, .workers = fill_workers};
