/* Filter and bias gradients: chunks of pixels, each with sums of its own, then the sums of these, in order. */
#include <math.h>
#include <string.h>

#include "gradient.h"

void dwc_add_rows(const dwc_gradient *g, float *y, int64_t y_row, const float *x, int64_t x_row, int64_t rows,
                  int64_t count) {
    const dwc_each_call call = {.function = DWCONV_PLUS,
                                .activation = {DWCONV_CLIP, -INFINITY, INFINITY},
                                .rows = rows,
                                .count = count,
                                .y = y,
                                .y_row = y_row,
                                .x = {y, x},
                                .x_row = {y_row, x_row},
                                .x_step = {1, 1}};
    g->table->each.binary(&call);
}

void dwc_add_bias(const dwc_gradient_job *j, int64_t chunk, const float *dy, int64_t step, int64_t pixels,
                  int64_t channel, int64_t channels) {
    float *sums = dwc_chunk_sums(j, chunk) + j->how.chunk_floats, *row = sums + j->how.bias_floats;
    j->g->table->sum_pixels(dy + channel, step, pixels, channels, row + channel);
    dwc_add_rows(j->g, sums + channel, 0, row + channel, 0, 1, channels);
}

/* The bias alone: output rows of a chunk. */
static void add_rows_of_bias(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end) {
    const dwc_view *y = j->y;
    const int64_t last = smaller((chunk + 1) * j->how.chunk_rows, y->batch * y->height);
    for (int64_t row = chunk * j->how.chunk_rows; row < last; row++)
        dwc_add_bias(j, chunk, y->data + row / y->height * y->image + row % y->height * y->row, y->pixel,
                     y->width, begin, end - begin);
}

static void chunk_task(void *context, int64_t item, int worker) {
    const dwc_gradient_job *j = context;
    const dwc_filter_gradient_schedule *s = &j->how;
    const int64_t chunk = item / s->blocks, begin = item % s->blocks * s->block_channels;
    const int64_t channels = s->depthwise ? j->g->out_channels : j->g->group_outputs;
    const int64_t end = smaller(begin + s->block_channels, channels);
    float *bias = dwc_chunk_sums(j, chunk) + s->chunk_floats;
    for (int64_t group = 0; j->bias && group < (s->depthwise ? 1 : j->g->groups); group++)
        memset(bias + group * channels + begin, 0, (size_t)(end - begin) * sizeof *bias);
    if (!j->x)
        add_rows_of_bias(j, chunk, begin, end);
    else if (s->depthwise)
        dwc_depthwise_gradient(j, chunk, begin, end, worker);
    else
        dwc_product_gradient(j, chunk, begin, end, worker);
}

/* Rows of `count` values: the sums of all chunks, the first one being written, the others added. */
static void join(const dwc_gradient_job *j, const float *sums, int64_t sums_row, int64_t rows, int64_t count,
                 float *to) {
    const int64_t step = j->how.chunk_floats + 2 * j->how.bias_floats;
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + row * count, sums + row * sums_row, (size_t)count * sizeof *to);
    for (int64_t chunk = 1; chunk < j->how.chunks; chunk++)
        dwc_add_rows(j->g, to, count, sums + chunk * step, sums_row, rows, count);
}

/* One row of the filter each: the outputs of a tap, or of an input. */
static void join_task(void *context, int64_t item, int worker) {
    const dwc_gradient_job *j = context;
    const int64_t row = j->how.depthwise ? j->how.padded : j->g->out_channels;
    (void)worker;
    join(j, j->chunks + item * row, row, 1, j->g->out_channels, j->filter + item * j->g->out_channels);
}

/* The input channel of every output channel. */
static void list_inputs(const dwc_gradient_job *j) {
    for (int64_t c = 0; j->inputs && c < j->how.padded + DWC_MOST_LANES; c++)
        j->inputs[c] = (int32_t)(c / j->g->group_outputs);
}

void dwc_run_filter_gradient(dwc_gradient_job *j, void *scratch, const dwconv_threads *threads) {
    const dwc_filter_gradient_schedule *s = &j->how;
    const int64_t rows = dwc_filter_size(j->g) / j->g->out_channels;
    const int joins = j->x && s->chunk_floats;
    if (!j->band_rows) j->band_rows = s->row_group;
    j->workers = scratch;
    j->chunks = j->workers + s->worker_floats * s->workers;
    if (s->depthwise && j->x && j->g->group_outputs > 1)
        j->inputs = (int32_t *)(void *)(j->chunks + s->chunks * (s->chunk_floats + 2 * s->bias_floats));
    list_inputs(j);
    const dwc_phase phases[2] = {{s->chunks * s->blocks, chunk_task}, {rows, join_task}};
    dwc_parallel_phases(threads, s->workers, phases, 1 + joins, j);
    if (j->bias) join(j, j->chunks + s->chunk_floats, 0, 1, j->g->out_channels, j->bias);
}

/* ---- calls ---------------------------------------------------------------------------------- */

dwconv_status dwconv_filter_gradient_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                             int threads, size_t *bytes) {
    dwc_gradient g;
    dwc_view x, y;
    dwc_filter_gradient_schedule serial, shared;
    const dwconv_threads workers = {.count = threads};
    if (!bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_dense_gradient(desc, input, &g, &x, &y));
    *bytes = 0;
    if (input[0] == 0) return DWCONV_OK;
    for (int with_filter = 0; with_filter < 2; with_filter++) { /* either may be more, by a little */
        const dwc_view *from = with_filter ? &x : NULL;
        DWC_TRY(dwc_schedule_filter_gradient(&g, from, &y, NULL, 1, &serial));
        DWC_TRY(dwc_schedule_filter_gradient(&g, from, &y, &workers, 1, &shared));
        if (serial.scratch_bytes > *bytes) *bytes = serial.scratch_bytes;
        if (shared.scratch_bytes > *bytes) *bytes = shared.scratch_bytes;
    }
    return DWCONV_OK;
}

/* That results meet neither each other nor what is read. */
static dwconv_status check_results(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                   const float *filter, const float *bias, const void *scratch,
                                   size_t scratch_bytes) {
    const size_t sizes[3] = {filter ? (size_t)in_bytes(dwc_filter_size(g)) : 0,
                             bias ? (size_t)in_bytes(g->out_channels) : 0, scratch_bytes};
    const void *memory[3] = {filter, bias, scratch};
    for (int i = 0; i < 3; i++) {
        if (i < 2 && (uintptr_t)memory[i] % sizeof(float)) return DWCONV_MISALIGNED;
        if (!sizes[i]) continue;
        if ((x && dwc_view_meets(x, memory[i], sizes[i])) || dwc_view_meets(y, memory[i], sizes[i]))
            return DWCONV_OVERLAP;
        for (int k = 0; k < i; k++) {
            const uintptr_t a = (uintptr_t)memory[i], b = (uintptr_t)memory[k];
            if (sizes[k] && a < b + sizes[k] && b < a + sizes[i]) return DWCONV_OVERLAP;
        }
    }
    return DWCONV_OK;
}

dwconv_status dwconv_filter_gradient(const dwconv_gradient_desc *desc, const dwconv_tensor *x_tensor,
                                     const dwconv_tensor *dy, float *filter, float *bias, void *scratch,
                                     size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_gradient g;
    dwc_view x, y;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_gradient(desc, &g));
    DWC_TRY(dwc_check_gradient_tensors(&g, x_tensor, dy, NULL, &x, &y));
    if (!filter && !bias) return DWCONV_OK;
    if (y.batch == 0) {
        if (filter) memset(filter, 0, (size_t)in_bytes(dwc_filter_size(&g)));
        if (bias) memset(bias, 0, (size_t)in_bytes(g.out_channels));
        return DWCONV_OK;
    }
    dwc_gradient_job j = {.g = &g, .x = filter ? &x : NULL, .y = &y, .filter = filter, .bias = bias};
    DWC_TRY(dwc_window_extent(&g.window, x.height, x.width, &j.extent));
    DWC_TRY(dwc_schedule_filter_gradient(&g, j.x, &y, threads, bias != NULL, &j.how));
    const dwc_filter_gradient_schedule *s = &j.how;
    if (s->scratch_bytes && !scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < s->scratch_bytes) return DWCONV_TOO_SMALL;
    DWC_TRY(check_results(&g, j.x, &y, filter, bias, scratch, s->scratch_bytes));
    dwc_run_filter_gradient(&j, scratch, threads);
    return DWCONV_OK;
}
