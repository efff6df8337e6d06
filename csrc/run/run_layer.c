/* Plan and tensors -> work items -> parallel_for -> kernels. */
#include "../graph/graph.h"
#include "../graph/text.h"
#include "depthwise.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Items are numbered image by image, strip by strip, block of channels by block of channels. */
typedef struct job {
    const dwc_node *node;
    const dwc_kernel_table *table;
    dwc_view x, y;
    dwc_extent extent;
    int64_t strips, strip_rows;     /* of output rows */
    int64_t blocks, block_channels; /* of output channels */
    double nanoseconds;             /* estimate for one worker */
    int workers;
    /* The plan's, or for sequences, which are a column here: depthwise sees them as a row, products as they are. */
    const dwc_depthwise_stage *stage;
    dwc_depthwise_stage along;
    const dwc_matmul_stage *product;
    dwc_matmul_stage down;
    int far;             /* input and output come from beyond the caches */
    dwc_dw_schedule how; /* depthwise */
} job;

static int is_depthwise(const job *j) { return j->node->op == DWC_DEPTHWISE; }

typedef struct piece {
    int64_t image, row_begin, row_end, channel_begin, channel_end;
} piece;

static piece piece_of(const job *j, int64_t item) {
    const int64_t block = item % j->blocks, strip = item / j->blocks % j->strips;
    return (piece){.image = item / j->blocks / j->strips,
                   .row_begin = strip * j->strip_rows,
                   .row_end = smaller((strip + 1) * j->strip_rows, j->extent.out_h),
                   .channel_begin = block * j->block_channels,
                   .channel_end = smaller((block + 1) * j->block_channels, j->y.channels)};
}

/* Items per worker: more of them even out what else the machine does. */
#define ITEMS_PER_WORKER 4
/* Shorter strips cost more than they even out: every strip starts anew and reads rows of its neighbours. */
#define SHORT_STRIP 28

/* Cuts rows into strips of a multiple of `unit`, so that all workers have the same number of items, or nearly. */
static void cut_rows(job *j, int64_t unit) {
    const int64_t out_h = j->extent.out_h, others = j->y.batch * j->blocks, workers = j->workers;
    j->strips = 1;
    if (workers > 1) {
        int64_t each = out_h * others / SHORT_STRIP / workers; /* strips per worker */
        each = each < 1 ? 1 : smaller(each, ITEMS_PER_WORKER);
        j->strips = divide_up(each * workers, others);
        if (others < ITEMS_PER_WORKER * workers && j->strips * others % workers)
            j->strips = divide_up(j->strips, workers) * workers;
    }
    j->strip_rows = divide_up(divide_up(out_h, j->strips), unit) * unit;
    j->strips = divide_up(out_h, j->strip_rows);
}

static int64_t bytes(int64_t floats) { return floats * (int64_t)sizeof(float); }

static double pixels_of(const dwc_view *v) { return (double)v->batch * (double)v->height * (double)v->width; }

static double values_of(const dwc_view *v) { return pixels_of(v) * (double)v->channels; }

static double bytes_of(const dwc_view *v) { return values_of(v) * sizeof(float); }

/* ---- depthwise ---------------------------------------------------------------------------- */

static int is_sequence(const job *j) { return j->stage == &j->along; }

/* Makes a column of a row. */
static void turn(job *j) {
    dwc_turn_view(&j->x);
    dwc_turn_view(&j->y);
    j->extent = (dwc_extent){.out_h = j->y.height, .out_w = 1, .pad_top = j->extent.pad_left};
}

static void see_sequence(job *j) {
    const dwconv_window *w = &j->stage->window;
    const int row = dwc_is_row(w, &j->x, &j->y);
    if (!row && !dwc_is_column(w, &j->x, &j->y)) return;
    j->along = *j->stage;
    j->stage = &j->along;
    if (row)
        turn(j);
    else
        dwc_turn_window(&j->along.window);
}

static void depthwise_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const piece p = piece_of(j, item);
    const float *x = j->x.data + p.image * j->x.image;
    (void)worker;
    dwc_dw_call call;
    if (is_sequence(j)) {
        call = dwc_stretch(j->stage, &j->x, x, 0, j->extent.pad_top, p.row_begin, p.row_end);
        call.y_pixel = bytes(j->y.row);
    } else {
        call = (dwc_dw_call){.stage = j->stage,
                             .x = (const char *)x,
                             .x_row = bytes(j->x.row),
                             .x_pixel = bytes(j->x.pixel),
                             .in_h = j->x.height,
                             .in_w = j->x.width,
                             .ring_rows = j->x.height,
                             .y_row = bytes(j->y.row),
                             .y_pixel = bytes(j->y.pixel),
                             .out_w = j->y.width,
                             .pad_top = j->extent.pad_top,
                             .pad_left = j->extent.pad_left,
                             .row_begin = p.row_begin,
                             .row_end = p.row_end};
    }
    call.table = j->table;
    call.how = &j->how;
    call.y = (char *)(j->y.data + p.image * j->y.image + p.row_begin * j->y.row);
    call.channel_begin = p.channel_begin;
    call.channel_end = p.channel_end;
    dwc_run_depthwise(&call);
}

/* Whether outputs are made of whole and aligned cache lines. */
static int has_whole_lines(const dwc_view *y) {
    return (uintptr_t)y->data % 64 == 0 &&
           (y->channels | y->pixel | y->row | y->image) % DWC_LINE_FLOATS == 0;
}

/* Input rows between being asked for and being used, where kernels ask for whole lines; more where they come from memory. */
enum { ROWS_AHEAD = 4, FAR_ROWS_AHEAD = 8 };

static dwc_dw_schedule schedule_depthwise(const job *j) {
    const dwc_view *x = &j->x, *y = &j->y;
    const int sequence = is_sequence(j);
    const dwc_dw_shape shape = {
        .in_h = sequence ? 1 : x->height,
        .in_w = sequence ? x->height : x->width,
        .out_h = sequence ? 1 : y->height,
        .out_w = sequence ? j->strip_rows : y->width,
        .pad_top = sequence ? 0 : j->extent.pad_top,
        .pad_left = sequence ? j->extent.pad_top : j->extent.pad_left,
        .x_pixel = bytes(sequence ? x->row : x->pixel),
        .y_pixel = bytes(sequence ? y->row : y->pixel),
        .channels = smaller(j->block_channels, y->channels),
        .in_bytes = bytes_of(x),
        .moved_bytes = bytes_of(x) + bytes_of(y),
        .aligned = !sequence && has_whole_lines(y),
        .rows_ahead = (j->far ? FAR_ROWS_AHEAD : ROWS_AHEAD) * j->stage->window.stride_h};
    return dwc_schedule_depthwise(j->stage, j->table, &shape);
}

static void cut_depthwise(job *j, const dwconv_threads *threads) {
    const dwc_depthwise_stage *s = &j->node->depthwise;
    const int lanes = j->table->lanes;
    j->stage = s;
    see_sequence(j);
    j->nanoseconds =
        dwc_nanoseconds(dwc_depthwise_work(s, pixels_of(&j->y)), values_of(&j->x) + values_of(&j->y));
    j->workers = dwc_worker_count(threads, j->nanoseconds);
    /* Workers that write different channels of a pixel take lines from each other, by what their prefetchers fetch
     * beyond a block. So channels are shared only where there are too few rows. */
    const int64_t vectors = divide_up(j->y.channels, lanes), rows = j->y.batch * j->y.height;
    const int64_t blocks = j->workers > 1 ? divide_up(2 * (int64_t)j->workers, rows) : 1;
    j->block_channels = divide_up(vectors, smaller(blocks, vectors)) * lanes;
    j->blocks = divide_up(j->y.channels, j->block_channels);
    cut_rows(j, is_sequence(j) ? 1 : 2); /* tiles are two rows high */
    j->far = bytes_of(&j->x) + bytes_of(&j->y) >= (double)dwc_far_bytes();
    j->how = schedule_depthwise(j);
}

/* ---- pointwise and dense ------------------------------------------------------------------ */

static void matmul_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const piece p = piece_of(j, item);
    const int64_t group_outputs = j->product->group_outputs;
    (void)worker;
    const dwc_matmul_rows rows = {.stage = j->product,
                                  .x = j->x.data + p.image * j->x.image,
                                  .x_row = j->x.row,
                                  .x_pixel = j->x.pixel,
                                  .in_h = j->x.height,
                                  .in_w = j->x.width,
                                  .y = j->y.data + p.image * j->y.image + p.row_begin * j->y.row,
                                  .y_row = j->y.row,
                                  .y_pixel = j->y.pixel,
                                  .out_w = j->y.width,
                                  .pad_top = j->extent.pad_top,
                                  .pad_left = j->extent.pad_left,
                                  .row_begin = p.row_begin,
                                  .row_end = p.row_end,
                                  .column_begin = j->blocks > 1 ? p.channel_begin : 0,
                                  .column_end = j->blocks > 1 ? p.channel_end : group_outputs,
                                  .far_x = j->far,
                                  .far_y = j->far};
    dwc_run_matmul_rows(&rows);
}

/* A 1x1 window with stride 1 does not care where rows and images end: dense ones become single pixels in
 * a column, which strips cut where they like. */
static void flatten(job *j, const dwconv_window *w) {
    dwc_view *x = &j->x, *y = &j->y;
    if (w->kernel_h != 1 || w->kernel_w != 1 || w->stride_h != 1 || w->stride_w != 1 || j->extent.pad_top ||
        j->extent.pad_left || x->height != y->height || x->width != y->width)
        return;
    if ((x->row != x->width * x->pixel && x->height > 1) || (y->row != y->width * y->pixel && y->height > 1))
        return;
    x->height = y->height = x->width * x->height;
    x->width = y->width = 1;
    x->row = x->pixel;
    y->row = y->pixel;
    if (x->image == x->height * x->row && y->image == y->height * y->row) {
        x->height = y->height = x->height * x->batch;
        x->batch = y->batch = 1;
    }
    j->extent.out_h = y->height;
}

/* Asking for the lines of a tile takes as long as some inputs of it do: 512x512 32 -> 64 would lose 4 %. */
#define FETCH_DEPTH 64

int dwc_fetches(const dwc_matmul_stage *stage, const dwc_view *x, const dwc_view *y) {
    return stage->depth == stage->group_inputs && stage->depth >= FETCH_DEPTH &&
           bytes_of(x) + bytes_of(y) >= (double)dwc_far_bytes();
}

static void cut_matmul(job *j, const dwconv_threads *threads) {
    const dwc_matmul_stage *s = &j->node->matrix;
    const double pixels = pixels_of(&j->y);
    const double weights = (double)s->depth * (double)s->group_outputs * (double)s->groups;
    j->nanoseconds = dwc_nanoseconds(dwc_matmul_work(s, pixels), values_of(&j->y) + weights / 2);
    j->workers = dwc_worker_count(threads, j->nanoseconds);
    j->far = dwc_fetches(s, &j->x, &j->y);
    j->product = s;
    if (dwc_is_row(&s->window, &j->x, &j->y)) {
        j->down = *s;
        dwc_turn_window(&j->down.window);
        j->product = &j->down;
        turn(j);
    }
    flatten(j, &j->product->window);
    j->blocks = 1;
    j->block_channels = j->y.channels;
    const int64_t panels = divide_up(s->group_outputs, s->panel);
    /* A dozen pixels per worker hide the reading of the weights, which all workers do then, and 8 rows or more can be
     * shared out evenly. With less than that workers share the panels instead, if there are enough of them. */
    const int few = pixels < 12.0 * j->workers || j->y.batch * j->extent.out_h < 8 * (int64_t)j->workers;
    if (j->workers > 1 && s->groups == 1 && few &&
        (panels >= 2 * (int64_t)j->workers || pixels < j->workers)) {
        j->block_channels = divide_up(panels, smaller(panels, 4 * (int64_t)j->workers)) * s->panel;
        j->blocks = divide_up(s->group_outputs, j->block_channels);
    }
    cut_rows(j, 1);
}

/* ---- any single operation ----------------------------------------------------------------- */

static dwconv_status cut(job *j, const dwconv_threads *threads) {
    DWC_TRY(dwc_window_extent(&j->node->window, j->x.height, j->x.width, &j->extent));
    if (is_depthwise(j))
        cut_depthwise(j, threads);
    else
        cut_matmul(j, threads);
    return DWCONV_OK;
}

static job job_of(const dwconv_plan *plan) { return (job){.node = plan->graph.nodes, .table = plan->table}; }

dwconv_status dwc_explain_layer(dwc_text *t, const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                const dwconv_threads *threads) {
    job j = job_of(plan);
    j.x = *x;
    j.y = *y;
    DWC_TRY(cut(&j, threads));
    const piece first = piece_of(&j, 0);
    dwc_text_int(t, "nanoseconds", (int64_t)j.nanoseconds);
    dwc_text_int(t, "workers", j.workers);
    dwc_text_int(t, "items", j.y.batch * j.strips * j.blocks);
    dwc_text_int(t, "images", j.y.batch);
    dwc_text_int(t, "strips", j.strips);
    dwc_text_int(t, "strip_rows", first.row_end);
    dwc_text_int(t, "row_pixels", j.y.width);
    dwc_text_int(t, "channel_blocks", j.blocks);
    dwc_text_int(t, "block_channels", first.channel_end);
    if (!is_depthwise(&j)) {
        dwc_text_int(t, "prefetches_output", j.far);
    } else {
        dwc_text_int(t, "streams_output", j.how.streams);
        const char *how = dwc_dw_way_text(j.stage, j.table, &j.how);
        if (*how) dwc_text_string(t, "how", how);
    }
    return DWCONV_OK;
}

/* ---- the call ----------------------------------------------------------------------------- */

dwconv_status dwconv_scratch_size(const dwconv_plan *plan, const int64_t input[4], int threads,
                                  size_t *bytes) {
    int64_t output[4];
    if (!plan || !input || !bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_output_shape(&plan->graph, input, output));
    *bytes = 0;
    if (!dwc_is_block(plan) || input[0] == 0) return DWCONV_OK;
    dwc_view x, y;
    DWC_TRY(dwc_dense_view(input, &x));
    DWC_TRY(dwc_dense_view(output, &y));
    return dwc_block_scratch(plan, &x, &y, threads, bytes);
}

dwconv_status dwconv_run(const dwconv_plan *plan, const dwconv_tensor *input, const dwconv_tensor *output,
                         void *scratch, size_t scratch_bytes, const dwconv_threads *threads) {
    if (!plan) return DWCONV_NULL_POINTER;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    job j = job_of(plan);
    DWC_TRY(dwc_check_tensors(&plan->graph, input, output, &j.x, &j.y));
    if (j.x.batch == 0) return DWCONV_OK;
    if (dwc_is_block(plan)) return dwc_run_block(plan, &j.x, &j.y, scratch, scratch_bytes, threads);
    DWC_TRY(cut(&j, threads));
    dwc_parallel(threads, j.workers, j.y.batch * j.strips * j.blocks,
                 is_depthwise(&j) ? depthwise_task : matmul_task, &j);
    return DWCONV_OK;
}
