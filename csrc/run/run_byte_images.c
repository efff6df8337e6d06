/* Pooling and resizing of images of 8-bit integers. */
#include <math.h>
#include <string.h>

#include "../schedule/schedule_nodes.h"
#include "images.h"
#include "resize.h"
#include "taps.h"

enum { CHANNELS = 256 }; /* whose sums are on the stack */

/* ---- pooling -------------------------------------------------------------------------------- */

typedef struct pool_job {
    const dwc_node_call *call;
    dwconv_window window;
    dwc_view x, y;
    dwc_items items;
} pool_job;

/* The taps of one output, and how many count. */
typedef struct taps {
    const uint8_t *first;
    int64_t rows, columns, row, column, count;
} taps;

static void clamp_bytes(const dwc_byte_end *e, uint8_t flip, int64_t count, uint8_t *y) {
    if (e->high - e->low == 255) return;
    for (int64_t i = 0; i < count; i++) y[i] = (uint8_t)dwc_clamp(dwc_number(y[i], flip), e->low, e->high);
}

static void pool_largest(const dwc_node_call *call, const taps *t, int64_t channels, uint8_t *y) {
    const dwc_byte_parameters *p = call->parameters;
    memset(y, p->flip, (size_t)channels); /* the least number */
    for (int64_t row = 0; row < t->rows; row++)
        call->table->bytes.extreme(t->first + row * t->row, t->column, t->columns, channels, p->flip, 1, y);
    clamp_bytes(&p->end, p->flip, channels, y);
}

static void pool_mean(const dwc_node_call *call, const taps *t, int64_t channels, uint8_t *y) {
    const dwc_byte_parameters *p = call->parameters;
    const dwc_byte_kernels *kernels = &call->table->bytes;
    const int32_t seen = (int32_t)(t->rows * t->columns);
    dwc_byte_end end = p->end;
    end.multiplier = p->ratio * (1.0f / (float)t->count);
    for (int64_t first = 0; first < channels; first += CHANNELS) {
        int32_t sums[CHANNELS];
        const int64_t some = smaller(CHANNELS, channels - first);
        for (int64_t c = 0; c < some; c++) sums[c] = p->twice ? 0 : -seen * p->zero[0];
        for (int64_t row = 0; row < t->rows; row++)
            kernels->sum(t->first + row * t->row + first, t->column, t->columns, some, p->flip, sums);
        if (p->twice)
            kernels->divide(sums, some, (int32_t)t->count, &end, y + first);
        else
            kernels->finish(sums, some, &end, y + first);
    }
}

/* Taps that count along an axis: with padding those that are not beyond it. */
static int64_t counted(const pool_job *j, tap_range seen, int64_t origin, int axis) {
    const dwconv_window *w = &j->window;
    if (!j->call->node->counts_padding) return seen.end - seen.begin;
    return axis ? valid_taps(origin, w->kernel_w, w->dilation_w, j->x.width + w->pad_right).end
                : valid_taps(origin, w->kernel_h, w->dilation_h, j->x.height + w->pad_bottom).end;
}

static void pool_row(const pool_job *j, int64_t image, int64_t oy) {
    const dwconv_window *w = &j->window;
    const int64_t top = oy * w->stride_h - w->pad_top;
    const tap_range down = valid_taps(top, w->kernel_h, w->dilation_h, j->x.height);
    const int64_t counted_down = counted(j, down, top, 0);
    uint8_t *y = j->y.bytes + image * j->y.image + oy * j->y.row;
    for (int64_t ox = 0; ox < j->y.width; ox++, y += j->y.pixel) {
        const int64_t left = ox * w->stride_w - w->pad_left;
        const tap_range across = valid_taps(left, w->kernel_w, w->dilation_w, j->x.width);
        const int64_t row = top + down.begin * w->dilation_h, column = left + across.begin * w->dilation_w;
        taps t = {.rows = down.end - down.begin,
                  .columns = across.end - across.begin,
                  .row = w->dilation_h * j->x.row,
                  .column = w->dilation_w * j->x.pixel,
                  .count = counted_down * counted(j, across, left, 1)};
        if (t.rows && t.columns)
            t.first = j->x.bytes + image * j->x.image + row * j->x.row + column * j->x.pixel;
        else
            t.rows = t.columns = 0;
        if (t.count < 1) t.count = 1; /* of no element: 0 */
        if (j->call->node->function == DWCONV_LARGEST)
            pool_largest(j->call, &t, j->y.channels, y);
        else
            pool_mean(j->call, &t, j->y.channels, y);
    }
}

static void pool_task(void *context, int64_t item, int worker) {
    const pool_job *j = context;
    const int64_t end = smaller((item + 1) * j->items.size, j->items.units);
    (void)worker;
    for (int64_t i = item * j->items.size; i < end; i++) pool_row(j, i / j->y.height, i % j->y.height);
}

static pool_job pool_of(const dwc_node_call *call) {
    pool_job j = {.call = call,
                  .window = call->node->window,
                  .x = dwc_image_of(&call->in[0]),
                  .y = dwc_image_of(&call->out)};
    (void)dwc_check_window(&j.window);
    j.items = dwc_schedule_byte_pool(&j.window, &j.y, call->threads);
    return j;
}

static int pool_workers(const dwc_node_call *call) { return pool_of(call).items.workers; }

static void pool_node(const dwc_node_call *call) {
    pool_job j = pool_of(call);
    dwc_parallel(call->threads, j.items.workers, j.items.count, pool_task, &j);
}

static dwconv_status pool_check(const dwc_node_call *call) {
    dwconv_window w = call->node->window;
    DWC_TRY(dwc_check_pool(call));
    DWC_TRY(dwc_check_window(&w));
    return w.kernel_h > DWC_MOST_BYTES_SUMMED / w.kernel_w ? DWCONV_OVERFLOW : DWCONV_OK;
}

/* ---- resizing ------------------------------------------------------------------------------- */

typedef struct resize_job {
    const dwc_node_call *call;
    dwc_view x, y;
    dwc_resize_axis rows, columns;
    dwc_byte_column *column;
    int32_t *joined; /* rows of workers */
    dwc_byte_resize_schedule how;
} resize_job;

static void nearest_row(const resize_job *j, const uint8_t *image, int64_t oy, uint8_t *y) {
    const uint8_t *row = image + dwc_resize_nearest(&j->rows, j->call->node->rounding, oy) * j->x.row;
    const size_t channels = (size_t)j->y.channels;
    for (int64_t ox = 0; ox < j->y.width; ox++, y += j->y.pixel)
        memcpy(y, row + j->column[ox].first * j->x.pixel, channels);
}

/* The pixels of two rows that outputs see, joined. */
static void join_rows(const resize_job *j, const uint8_t *image, int64_t oy, int32_t *to) {
    const dwc_byte_parameters *p = j->call->parameters;
    const dwc_byte_column down = dwc_resize_byte_column(&j->rows, p->twice, oy);
    const uint8_t *top = image + down.first * j->x.row, *bottom = image + down.second * j->x.row;
    const dwc_byte_weight weight = {.second = down.weight, .bits = p->twice ? 10 : 11, .flip = p->flip};
    const int64_t channels = j->x.channels, pixel = j->x.pixel;
    if (j->how.whole_rows) {
        j->call->table->bytes.blend_rows(top, bottom, j->x.width * channels, &weight, to);
        return;
    }
    for (int64_t ox = 0; ox < j->y.width; ox++) {
        const dwc_byte_column across = dwc_resize_byte_column(&j->columns, p->twice, ox);
        const int64_t seen[2] = {across.first * pixel, across.second * pixel};
        for (int i = 0; i < 2; i++, to += channels)
            j->call->table->bytes.blend_rows(top + seen[i], bottom + seen[i], channels, &weight, to);
    }
}

static void resize_task(void *context, int64_t item, int worker) {
    const resize_job *j = context;
    const dwc_items *items = &j->how.items;
    const int64_t end = smaller((item + 1) * items->size, items->units);
    const int64_t channels = j->y.channels, room = j->y.width * channels - round_up(channels, DWC_BLENDED);
    const int linear = j->call->node->function == DWCONV_BILINEAR;
    int32_t *joined = linear ? j->joined + worker * dwc_scratch_lines(j->how.worker_ints) : NULL;
    if (linear) memset(joined + j->how.worker_ints - DWC_BLENDED, 0, DWC_BLENDED * sizeof *joined);
    for (int64_t i = item * items->size; i < end; i++) {
        const int64_t image = i / j->y.height, oy = i % j->y.height;
        const uint8_t *x = j->x.bytes + image * j->x.image;
        uint8_t *y = j->y.bytes + image * j->y.image + oy * j->y.row;
        if (!linear) {
            nearest_row(j, x, oy, y);
            continue;
        }
        const dwc_byte_resize resize = {
            .row = joined,
            .columns = j->column,
            .outputs = j->y.width,
            .channels = channels,
            .whole = j->y.pixel == channels && room >= 0 ? room / channels + 1 : 0,
            .twice = j->call->parameters->twice,
            .y = y,
            .y_pixel = j->y.pixel};
        join_rows(j, x, oy, joined);
        j->call->table->bytes.resize(&resize);
    }
}

static int64_t column_ints(const resize_job *j) {
    return j->y.width * (int64_t)(sizeof(dwc_byte_column) / sizeof(int32_t));
}

static resize_job resize_of(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    resize_job j = {.call = call,
                    .x = dwc_image_of(&call->in[0]),
                    .y = dwc_image_of(&call->out),
                    .column = call->scratch};
    j.rows = dwc_resize_axis_of(n, n->parameters[0], j.x.height, j.y.height);
    j.columns = dwc_resize_axis_of(n, n->parameters[1], j.x.width, j.y.width);
    j.how = dwc_schedule_byte_resize(n, &j.x, &j.y, call->threads);
    if (call->scratch) j.joined = (int32_t *)call->scratch + dwc_scratch_lines(column_ints(&j));
    return j;
}

static int resize_workers(const dwc_node_call *call) { return resize_of(call).how.items.workers; }

static dwconv_status resize_scratch(const dwc_node_call *call, size_t *bytes) {
    const resize_job j = resize_of(call);
    return dwc_worker_scratch(column_ints(&j), j.how.worker_ints, j.how.items.seats, bytes);
}

static void resize_node(const dwc_node_call *call) {
    resize_job j = resize_of(call);
    const int64_t channels = j.x.channels;
    for (int64_t ox = 0; ox < j.y.width; ox++) {
        dwc_byte_column *c = &j.column[ox];
        if (call->node->function == DWCONV_BILINEAR) {
            *c = dwc_resize_byte_column(&j.columns, call->parameters->twice, ox);
            c->first = (j.how.whole_rows ? c->first : 2 * ox) * channels;
            c->second = (j.how.whole_rows ? c->second : 2 * ox + 1) * channels;
        } else {
            c->first = dwc_resize_nearest(&j.columns, call->node->rounding, ox);
        }
    }
    dwc_parallel(call->threads, j.how.items.workers, j.how.items.count, resize_task, &j);
}

/* Coordinates of ten bits are those of 32-bit integers. */
static dwconv_status resize_check(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    DWC_TRY(dwc_check_resize(call));
    if (n->function == DWCONV_NEAREST) return DWCONV_OK;
    if (n->parameters[0] != 0 || n->parameters[1] != 0 || n->coordinates > DWCONV_ALIGN_CORNERS)
        return DWCONV_BAD_VALUE;
    for (int axis = 1; axis <= 2; axis++)
        if (call->in[0].shape[axis] > DWC_MOST_BYTE_AXIS || call->out.shape[axis] > DWC_MOST_BYTE_AXIS)
            return DWCONV_OVERFLOW;
    return DWCONV_OK;
}

const dwc_node_class dwc_class_byte_pool = {.name = "pool",
                                            .inputs = 1,
                                            .types = DWC_TYPES_BYTES,
                                            .check = pool_check,
                                            .prepare = dwc_prepare_bytes,
                                            .run = pool_node,
                                            .workers = pool_workers};
const dwc_node_class dwc_class_byte_resize = {.name = "resize",
                                              .inputs = 1,
                                              .types = DWC_TYPES_BYTES,
                                              .check = resize_check,
                                              .prepare = dwc_prepare_bytes,
                                              .scratch = resize_scratch,
                                              .run = resize_node,
                                              .workers = resize_workers};
