/* Copies between any strides, and fills. */
#include <string.h>

#include "copy.h"

enum {
    COPY_PIECE = 4096,     /* elements at a time */
    TRANSPOSED_ROWS = 64,  /* rows of a piece: four lines of every column ... */
    TRANSPOSED_COUNT = 256 /* ... of so many */
};

/* ---- ways to copy ------------------------------------------------------------------------- */

/* Floats through the kernel, what else there is by the C library. */
static void copy_rows(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                      int64_t count) {
    const dwc_kernel_table *table = context;
    const int row = w->rank - 2;
    const int64_t from_step = w->strides[1][row] * w->unit[1], to_step = w->strides[0][row] * w->unit[0];
    if (w->unit[0] == sizeof(float))
        table->copy_pixels(data[1], from_step, rows, in_bytes(count), data[0], to_step);
    else
        for (int64_t i = 0; i < rows; i++)
            memcpy(data[0] + i * to_step, data[1] + i * from_step, (size_t)count);
}

static void transpose_rows(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                           int64_t count) {
    const dwc_kernel_table *table = context;
    const int64_t column = w->strides[1][w->rank - 1], row = w->strides[0][w->rank - 2];
    if (w->unit[0] == sizeof(float))
        table->each.transpose(dwc_floats(data[1]), column, rows, count, dwc_floats(data[0]), row);
    else
        table->bytes.transpose((const uint8_t *)data[1], column, rows, count, (uint8_t *)data[0], row);
}

static void copy_strided(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                         int64_t count) {
    const int last = w->rank - 1;
    const int64_t to_step = w->strides[0][last], from_step = w->strides[1][last];
    (void)context;
    for (int64_t row = 0; row < rows; row++) {
        char *at = data[0] + row * w->strides[0][last - 1] * w->unit[0];
        const char *source = data[1] + row * w->strides[1][last - 1] * w->unit[1];
        if (w->unit[0] == 1) {
            for (int64_t i = 0; i < count; i++) at[i * to_step] = source[i * from_step];
        } else {
            float *to = dwc_floats(at);
            const float *from = (const float *)(const void *)source;
            if (to_step == 1 && from_step == 0)
                for (int64_t i = 0; i < count; i++) to[i] = *from;
            else
                for (int64_t i = 0; i < count; i++) to[i * to_step] = from[i * from_step];
        }
    }
}

/* Makes axis `axis` the last but one. */
static void bring_inwards(dwc_walk *w, int axis) {
    for (int i = axis; i < w->rank - 2; i++) dwc_swap_axes(w, i, i + 1);
}

/* An axis along which the input is contiguous where the output is along the last one; -1: there is none. */
static int transposed_axis(const dwc_walk *w) {
    const int last = w->rank - 1;
    if (w->strides[0][last] != 1 || w->strides[1][last] == 0) return -1;
    for (int i = 0; i < last; i++)
        if (w->strides[1][i] == 1) return i;
    return -1;
}

void dwc_copy(const dwc_kernel_table *table, dwc_walk walk, const dwconv_threads *threads, int workers) {
    dwc_rows_job job = {.walk = walk, .context = table};
    const int last = walk.rank - 1, axis = transposed_axis(&walk);
    job.count = smaller(walk.shape[last], COPY_PIECE);
    job.rows = larger(COPY_PIECE / job.count, 1);
    if (walk.shape[last] == 1 || (walk.strides[0][last] == 1 && walk.strides[1][last] == 1)) {
        job.each = copy_rows;
    } else if (axis >= 0) {
        job.each = transpose_rows;
        bring_inwards(&job.walk, axis);
        job.count = smaller(walk.shape[last], TRANSPOSED_COUNT);
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

static void fill_rows(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                      int64_t count) {
    const float value = *(const float *)context;
    const int last = w->rank - 1;
    const int64_t step = w->strides[0][last];
    for (int64_t row = 0; row < rows; row++) {
        char *at = data[0] + row * w->strides[0][last - 1] * w->unit[0];
        if (w->unit[0] == 1) {
            const uint8_t byte = (uint8_t)(int)value;
            for (int64_t i = 0; i < count; i++) at[i * step] = (char)byte;
            continue;
        }
        float *to = dwc_floats(at);
        if (step == 1)
            for (int64_t i = 0; i < count; i++) to[i] = value;
        else
            for (int64_t i = 0; i < count; i++) to[i * step] = value;
    }
}

static int fill_workers(const dwc_node_call *call) { return dwc_copy_workers(call, 0); }

static void run_fill(const dwc_node_call *call) {
    dwc_rows_job job = {
        .walk = dwc_walk_of(&call->out, NULL, 0), .each = fill_rows, .context = &call->node->parameters[0]};
    job.count = smaller(job.walk.shape[job.walk.rank - 1], COPY_PIECE);
    job.rows = larger(COPY_PIECE / job.count, 1);
    dwc_run_rows(&job, call->threads, fill_workers(call));
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
