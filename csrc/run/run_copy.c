/* Copies between any strides, and fills. */
#include <string.h>

#include "walk.h"

enum {
    COPY_PIECE = 4096,     /* elements at a time */
    TRANSPOSED_ROWS = 64,  /* rows of a piece: four lines of every column ... */
    TRANSPOSED_COUNT = 256 /* ... of so many */
};

/* ---- ways to copy ------------------------------------------------------------------------- */

/* What is copied, in elements of so many bytes. */
typedef struct copying {
    const dwc_kernel_table *table;
    int64_t unit;
} copying;

/* Floats through the kernel, bytes by the C library. */
static void copy_rows(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                      int64_t count) {
    const copying *c = context;
    const int64_t from_step = row->step[1] * c->unit, to_step = row->step[0] * c->unit;
    if (c->unit == sizeof(float))
        c->table->copy_pixels(data[1], from_step, rows, in_bytes(count), data[0], to_step);
    else
        for (int64_t r = 0; r < rows; r++)
            memcpy(data[0] + r * to_step, data[1] + r * from_step, (size_t)count);
}

static void transpose_rows(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                           int64_t count) {
    const copying *c = context;
    const int64_t column = row[1].step[1], to_row = row->step[0];
    if (c->unit == sizeof(float))
        c->table->each.transpose(dwc_floats(data[1]), column, rows, count, dwc_floats(data[0]), to_row);
    else
        c->table->bytes.transpose((const uint8_t *)data[1], column, rows, count, (uint8_t *)data[0], to_row);
}

static void copy_floats(const float *from, int64_t from_step, int64_t count, float *to, int64_t to_step) {
    if (to_step == 1 && from_step == 0)
        for (int64_t i = 0; i < count; i++) to[i] = *from;
    else
        for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
}

static void copy_bytes(const char *from, int64_t from_step, int64_t count, char *to, int64_t to_step) {
    if (to_step == 1 && from_step == 0)
        memset(to, *from, (size_t)count);
    else
        for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
}

static void copy_strided(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                         int64_t count) {
    const copying *c = context;
    const int64_t to_step = row[1].step[0], from_step = row[1].step[1];
    for (int64_t r = 0; r < rows; r++) {
        char *to = data[0] + r * row->step[0] * c->unit, *from = data[1] + r * row->step[1] * c->unit;
        if (c->unit == sizeof(float))
            copy_floats(dwc_floats(from), from_step, count, dwc_floats(to), to_step);
        else
            copy_bytes(from, from_step, count, to, to_step);
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
    const copying c = {table, walk.unit[0]};
    dwc_rows_job job = {.walk = walk, .context = &c};
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
    const double floats = elements * (double)dwc_unit(call->out.dtype) / sizeof(float);
    return dwc_worker_count(call->threads, dwc_nanoseconds(0, (double)(1 + reads) * floats));
}

/* ---- nodes -------------------------------------------------------------------------------- */

static dwconv_status check_copy(const dwc_node_call *call) {
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

static int copy_workers(const dwc_node_call *call) { return dwc_copy_workers(call, 1); }

static void run_copy(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    const int64_t bytes = dwc_array_elements(y) * dwc_unit(y->dtype);
    if (bytes <= COPY_PIECE && dwc_is_dense(x) && dwc_is_dense(y)) {
        memcpy(y->bytes, x->bytes, (size_t)bytes);
        return;
    }
    dwc_copy(call->table, dwc_walk_of(&call->out, call->in, 1), call->threads, copy_workers(call));
}

/* Of bytes, an integer of their dtype. */
static dwconv_status check_fill(const dwc_node_call *call) {
    const float value = call->node->parameters[0];
    const dwconv_dtype dtype = call->out.dtype;
    if (dtype == DWCONV_F32) return DWCONV_OK;
    if (dwc_unit(dtype) != 1) return DWCONV_BAD_DTYPE;
    const int fits = value >= (float)dwc_lowest(dtype) && value <= (float)dwc_highest(dtype);
    return fits && value == (float)(int)value ? DWCONV_OK : DWCONV_BAD_VALUE;
}

static int fill_workers(const dwc_node_call *call) { return dwc_copy_workers(call, 0); }

/* Copies of one number. */
static void run_fill(const dwc_node_call *call) {
    float value = call->node->parameters[0];
    uint8_t byte = call->out.dtype == DWCONV_F32 ? 0 : (uint8_t)(int)value;
    dwc_array number = {.data = &value, .dtype = call->out.dtype};
    if (call->out.dtype != DWCONV_F32) number.bytes = &byte;
    dwc_copy(call->table, dwc_walk_of(&call->out, &number, 1), call->threads, fill_workers(call));
}

const dwc_node_class dwc_class_copy = {.name = "copy",
                                       .inputs = 1,
                                       .types = DWC_TYPES_ONE,
                                       .check = check_copy,
                                       .run = run_copy,
                                       .workers = copy_workers};
const dwc_node_class dwc_class_fill = {.name = "fill",
                                       .inputs = 0,
                                       .types = DWC_TYPES_ONE,
                                       .check = check_fill,
                                       .run = run_fill,
                                       .workers = fill_workers};
