/* Resizing: where the columns come from is found once for a call, where a row comes from for each. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "../schedule/schedule_nodes.h"
#include "images.h"
#include "resize.h"

/* ---- coordinates ------------------------------------------------------------------------------- */

typedef dwc_resize_axis axis;

axis dwc_resize_axis_of(const dwconv_node *node, float scale, int64_t in, int64_t out) {
    return (axis){.coordinates = node->coordinates,
                  .scale = scale > 0 ? (double)scale : (double)out / (double)in,
                  .in = in,
                  .out = out};
}

static double coordinate(const axis *a, int64_t index) {
    const double i = (double)index, in = (double)a->in, out = (double)a->out;
    switch (a->coordinates) {
        case DWCONV_ASYMMETRIC: return i / a->scale;
        case DWCONV_ALIGN_CORNERS: return a->out > 1 ? i * (in - 1) / (out - 1) : 0;
        case DWCONV_PYTORCH_HALF_PIXEL: return a->out > 1 ? (i + 0.5) / a->scale - 0.5 : 0;
        case DWCONV_HALF_PIXEL_SYMMETRIC:
            return (i + 0.5) / a->scale - 0.5 + in / 2 * (1 - out / (a->scale * in));
        default: return (i + 0.5) / a->scale - 0.5;
    }
}

/* The pixel on the image that is nearest to a whole coordinate. */
static int64_t on_image(const axis *a, double at) {
    return at > 0 ? at < (double)(a->in - 1) ? (int64_t)at : a->in - 1 : 0;
}

int64_t dwc_resize_nearest(const axis *a, dwconv_rounding rounding, int64_t index) {
    const double at = coordinate(a, index);
    switch (rounding) {
        case DWCONV_ROUND_FLOOR: return on_image(a, floor(at));
        case DWCONV_ROUND_CEIL: return on_image(a, ceil(at));
        case DWCONV_ROUND_PREFER_FLOOR: return on_image(a, ceil(at - 0.5));
        default: return on_image(a, floor(at + 0.5));
    }
}

/* Pixels, and the weight of the second. */
static dwc_resize_column neighbours(const axis *a, int64_t index) {
    const double at = coordinate(a, index), low = floor(at);
    return (dwc_resize_column){
        .left = on_image(a, low), .right = on_image(a, low + 1), .weight = (float)(at - low)};
}

/* TensorFlow Lite's reference kernel of integers: coordinates of ten bits. */
static dwc_byte_column tflite_column(const axis *a, int64_t index) {
    const int aligned = a->coordinates == DWCONV_ALIGN_CORNERS && a->out > 1;
    const int64_t scale = aligned ? (1024 * (a->in - 1) + (a->out - 1) / 2) / (a->out - 1)
                                  : (1024 * a->in + a->out / 2) / a->out;
    const int64_t at = index * scale + (a->coordinates == DWCONV_HALF_PIXEL ? scale / 2 - 512 : 0);
    dwc_byte_column c = {.first = within(at / 1024, 0, a->in - 1)};
    c.second = within((at + 1023) / 1024, c.first, a->in - 1);
    c.weight = (int32_t)(at - 1024 * c.first);
    return c;
}

/* In float32, as XNNPACK. */
static dwc_byte_column even_column(const axis *a, int64_t index) {
    const int aligned = a->coordinates == DWCONV_ALIGN_CORNERS && a->out > 1;
    const float ratio = (float)(a->in - aligned) / (float)(a->out - aligned), most = (float)(a->in - 1);
    float at = (float)index * ratio;
    if (a->coordinates == DWCONV_HALF_PIXEL) at += 0.5f * ratio - 0.5f;
    at = at < 0.0f ? 0.0f : at > most ? most : at;
    dwc_byte_column c = {.first = smaller((int64_t)at, a->in - 1)};
    c.second = smaller(c.first + 1, a->in - 1);
    c.weight = (int32_t)lrintf((at - (float)c.first) * 2048);
    return c;
}

dwc_byte_column dwc_resize_byte_column(const axis *a, int tflite, int64_t index) {
    return tflite ? tflite_column(a, index) : even_column(a, index);
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef struct job {
    const dwc_kernel_table *table;
    const dwconv_node *node;
    axis rows, columns;
    dwc_view x, y;
    dwc_resize_schedule how;
    dwc_resize_column *column;
    float *scratch; /* of workers */
} job;

static void linear_row(const job *j, dwc_resize_row *call, const float *image, int64_t oy, float *blended) {
    const dwc_resize_column at = neighbours(&j->rows, oy);
    call->top = image + at.left * j->x.row;
    call->bottom = image + at.right * j->x.row;
    call->weight = at.weight;
    if (j->how.rows_first) {
        j->table->rows.blend(call->top, call->bottom, at.weight, j->x.pixel, j->x.width, j->x.channels,
                             blended);
        call->top = blended;
        call->bottom = NULL;
    }
    j->table->rows.resize(call);
}

static void resize_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_items *items = &j->how.items;
    const int64_t end = smaller((item + 1) * items->size, items->units);
    const int64_t channels = j->y.channels, room = j->y.width * channels - j->how.lanes;
    const int dense = j->y.pixel == channels;
    float *blended = j->scratch + worker * dwc_scratch_lines(j->how.worker_floats);
    const float *source = NULL; /* of the row before, if that may be copied */
    for (int64_t i = item * items->size; i < end; i++) {
        const int64_t image = i / j->y.height, oy = i % j->y.height;
        const float *x = j->x.data + image * j->x.image;
        dwc_resize_row call = {.columns = j->column,
                               .outputs = j->y.width,
                               .channels = channels,
                               .y = j->y.data + image * j->y.image + oy * j->y.row,
                               .y_out = j->y.pixel,
                               .whole = dense && room >= 0 ? room / channels + 1 : 0};
        if (j->node->function == DWCONV_BILINEAR) {
            linear_row(j, &call, x, oy, blended);
            continue;
        }
        call.top = x + dwc_resize_nearest(&j->rows, j->node->rounding, oy) * j->x.row;
        if (call.top == source && dense && oy > 0)
            memcpy(call.y, call.y - j->y.row, (size_t)(j->y.width * channels) * sizeof(float));
        else
            j->table->rows.pick(&call);
        source = call.top;
    }
}

static void find_columns(const job *j) {
    const int64_t pixel = j->how.rows_first ? j->x.channels : j->x.pixel;
    for (int64_t ox = 0; ox < j->y.width; ox++) {
        dwc_resize_column c = {0};
        if (j->node->function == DWCONV_BILINEAR)
            c = neighbours(&j->columns, ox);
        else
            c.left = dwc_resize_nearest(&j->columns, j->node->rounding, ox);
        c.left *= pixel;
        c.right *= pixel;
        j->column[ox] = c;
    }
}

/* ---- the node ------------------------------------------------------------------------------- */

dwconv_status dwc_check_resize(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    DWC_TRY(dwc_check_images(call));
    if (n->function < DWCONV_NEAREST || n->function >= DWCONV_RESIZE_END) return DWCONV_BAD_VALUE;
    if ((unsigned)n->coordinates >= DWCONV_COORDINATES_COUNT) return DWCONV_BAD_VALUE;
    if (n->function == DWCONV_NEAREST && (unsigned)n->rounding >= DWCONV_ROUNDING_COUNT)
        return DWCONV_BAD_VALUE;
    for (int i = 0; i < 2; i++)
        if (!(n->parameters[i] == 0 || (n->parameters[i] >= FLT_MIN && n->parameters[i] <= FLT_MAX)))
            return DWCONV_BAD_VALUE;
    return DWCONV_OK;
}

static int64_t column_floats(const job *j) {
    return j->y.width * (int64_t)(sizeof(dwc_resize_column) / sizeof(float));
}

static job resize_job(const dwc_node_call *call) {
    const dwconv_node *node = call->node;
    job j = {.table = call->table,
             .node = node,
             .x = dwc_image_of(&call->in[0]),
             .y = dwc_image_of(&call->out),
             .column = call->scratch};
    j.rows = dwc_resize_axis_of(node, node->parameters[0], j.x.height, j.y.height);
    j.columns = dwc_resize_axis_of(node, node->parameters[1], j.x.width, j.y.width);
    j.how = dwc_schedule_resize(call->table, node, &j.x, &j.y, call->threads);
    if (call->scratch) j.scratch = (float *)call->scratch + dwc_scratch_lines(column_floats(&j));
    return j;
}

static dwconv_status resize_scratch(const dwc_node_call *call, size_t *bytes) {
    const job j = resize_job(call);
    return dwc_worker_scratch(column_floats(&j), j.how.worker_floats, j.how.items.seats, bytes);
}

static int resize_workers(const dwc_node_call *call) { return resize_job(call).how.items.workers; }

static void resize_node(const dwc_node_call *call) {
    job j = resize_job(call);
    find_columns(&j);
    dwc_parallel(call->threads, j.how.items.workers, j.how.items.count, resize_task, &j);
}

const dwc_node_class dwc_class_resize = {.name = "resize",
                                         .inputs = 1,
                                         .check = dwc_check_resize,
                                         .scratch = resize_scratch,
                                         .run = resize_node,
                                         .workers = resize_workers};
