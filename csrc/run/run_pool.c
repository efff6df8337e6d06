/* Pooling: for every output row, runs of outputs that see the same taps. */
#include <math.h>

#include "../schedule/schedule_nodes.h"
#include "images.h"
#include "taps.h"

typedef struct job {
    const dwc_row_kernels *kernels;
    dwconv_window window;
    dwconv_activation activation;
    dwc_view x, y;
    dwc_pool_schedule how;
    float *scratch;
    int most, counts_padding;
} job;

/* ---- one row -------------------------------------------------------------------------------- */

/* Taps of an output that count, along one axis: with padding those that are not beyond it. */
static int64_t counted(int64_t origin, int64_t kernel, int64_t dilation, int64_t size, int64_t pad_after) {
    return valid_taps(origin, kernel, dilation, size + pad_after).end;
}

/* Outputs, `pixels` of them, that see no element at all. */
static void fill(const job *j, float *y, int64_t pixels) {
    for (; pixels > 0; pixels--, y += j->y.pixel)
        for (int64_t c = 0; c < j->y.channels; c++) y[c] = j->most ? -INFINITY : 0.0f;
}

typedef struct row {
    const float *x; /* its first row with a tap */
    float *y;
    tap_range taps; /* on the image */
    int64_t counted;
    float *columns; /* scratch, or NULL */
} row;

/* Outputs [ox, ox + outputs) of a row, which see the same taps. */
static void pool_run(const job *j, const row *r, tap_range taps, int64_t ox, int64_t outputs) {
    const dwconv_window *w = &j->window;
    const int64_t origin = ox * w->stride_w - w->pad_left, first = origin + taps.begin * w->dilation_w;
    const int64_t beside = j->counts_padding
                               ? counted(origin, w->kernel_w, w->dilation_w, j->x.width, w->pad_right)
                               : taps.end - taps.begin;
    const int64_t channels = j->y.channels, pixel = r->columns ? channels : j->x.pixel;
    dwc_pool_row call = {.x = (r->columns ? r->columns : r->x) + first * pixel,
                         .x_row = w->dilation_h * j->x.row,
                         .rows = r->columns ? 1 : r->taps.end - r->taps.begin,
                         .x_tap = w->dilation_w * pixel,
                         .taps = taps.end - taps.begin,
                         .x_out = w->stride_w * pixel,
                         .outputs = outputs,
                         .channels = channels,
                         .y = r->y + ox * j->y.pixel,
                         .y_out = j->y.pixel,
                         .divisor = (float)(r->counted * beside),
                         .whole = -1};
    if (r->columns && channels < j->how.lanes) {
        const int64_t room = (j->y.width - ox) * channels - j->how.lanes;
        call.whole = j->y.pixel == channels && room >= 0 ? room / channels + 1 : 0;
    }
    j->kernels->pool(&call, j->most);
}

static void pool_row(const job *j, row *r) {
    const dwconv_window *w = &j->window;
    if (r->columns)
        j->kernels->pool_columns(r->x, w->dilation_h * j->x.row, r->taps.end - r->taps.begin, j->x.pixel,
                                 j->x.width, j->x.channels, r->columns, j->most);
    for (int64_t ox = 0, outputs; ox < j->y.width; ox += outputs) {
        const tap_range taps =
            valid_taps(ox * w->stride_w - w->pad_left, w->kernel_w, w->dilation_w, j->x.width);
        const int interior = taps.begin == 0 && taps.end == w->kernel_w;
        outputs = 1;
        if (interior)
            outputs =
                run_length(ox, j->y.width, w->pad_left, w->kernel_w, w->stride_w, w->dilation_w, j->x.width);
        if (taps.begin == taps.end)
            fill(j, r->y + ox * j->y.pixel, outputs);
        else
            pool_run(j, r, taps, ox, outputs);
    }
}

static void pool_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_items *items = &j->how.items;
    const dwconv_window *w = &j->window;
    const int64_t end = smaller((item + 1) * items->size, items->units);
    const int clips = j->activation.kind == DWCONV_CLIP;
    const int activates = !clips || j->activation.a > -INFINITY || j->activation.b < INFINITY;
    for (int64_t i = item * items->size; i < end; i++) {
        const int64_t image = i / j->y.height, oy = i % j->y.height, origin = oy * w->stride_h - w->pad_top;
        row r = {.taps = valid_taps(origin, w->kernel_h, w->dilation_h, j->x.height)};
        r.y = j->y.data + image * j->y.image + oy * j->y.row;
        r.counted = j->counts_padding
                        ? counted(origin, w->kernel_h, w->dilation_h, j->x.height, w->pad_bottom)
                        : r.taps.end - r.taps.begin;
        if (r.taps.begin == r.taps.end) {
            fill(j, r.y, j->y.width);
        } else {
            r.x = j->x.data + image * j->x.image + (origin + r.taps.begin * w->dilation_h) * j->x.row;
            if (j->how.columns_first)
                r.columns = j->scratch + worker * dwc_scratch_lines(j->how.worker_floats);
            pool_row(j, &r);
        }
        if (activates) j->kernels->activate(r.y, j->y.pixel, j->y.width, j->y.channels, &j->activation);
    }
}

/* ---- the node ------------------------------------------------------------------------------- */

dwconv_status dwc_check_pool(const dwc_node_call *call) {
    dwconv_node node = *call->node;
    DWC_TRY(dwc_check_images(call));
    if (node.function != DWCONV_MEAN && node.function != DWCONV_LARGEST) return DWCONV_BAD_VALUE;
    if (node.counts_padding != 0 && node.counts_padding != 1) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_check_window(&node.window));
    if (node.window.padding == DWCONV_SAME) return DWCONV_BAD_PADDING;
    return dwc_check_activation(&node.activation);
}

static job pool_job(const dwc_node_call *call) {
    dwconv_node node = *call->node;
    job j = {.kernels = &call->table->rows,
             .x = dwc_image_of(&call->in[0]),
             .y = dwc_image_of(&call->out),
             .scratch = call->scratch,
             .most = node.function == DWCONV_LARGEST,
             .counts_padding = node.counts_padding};
    dwc_check_window(&node.window);
    dwc_check_activation(&node.activation);
    j.window = node.window;
    j.activation = node.activation;
    j.how = dwc_schedule_pool(call->table, &node, &j.x, &j.y, call->threads);
    return j;
}

static dwconv_status pool_scratch(const dwc_node_call *call, size_t *bytes) {
    const job j = pool_job(call);
    return dwc_worker_scratch(0, j.how.worker_floats, j.how.items.seats, bytes);
}

static int pool_workers(const dwc_node_call *call) { return pool_job(call).how.items.workers; }

static void pool_node(const dwc_node_call *call) {
    job j = pool_job(call);
    dwc_parallel(call->threads, j.how.items.workers, j.how.items.count, pool_task, &j);
}

const dwc_node_class dwc_class_pool = {.name = "pool",
                                       .inputs = 1,
                                       .check = dwc_check_pool,
                                       .scratch = pool_scratch,
                                       .run = pool_node,
                                       .workers = pool_workers};
