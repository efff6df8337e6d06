/* The filter gradient of pointwise and dense convolution: for every tap, transposed inputs times output gradients, summed
 * over the pixels of boxes. The matrix kernel takes output gradients, packed, as weights, and inputs as pixels: either
 * in place, each of their own pixels being a tap, or transposed. The order of sums is the same. */
#include <math.h>
#include <string.h>

#include "gradient.h"
#include "taps.h"

/* Output pixels, in order. */
typedef dwc_made box;

static box box_of(const dwc_gradient_job *j, int64_t number) {
    const dwc_filter_gradient_schedule *s = &j->how;
    const dwc_view *y = j->y;
    if (s->flat) {
        const int64_t begin = number * s->columns, pixels = y->batch * y->height * y->width;
        return (box){0, 1, 0, 1, begin, smaller(s->columns, pixels - begin)};
    }
    const int64_t across = number % s->boxes_across, down = number / s->boxes_across % s->boxes_down;
    const int64_t image = number / s->boxes_across / s->boxes_down * s->images;
    return (box){image,
                 smaller(s->images, y->batch - image),
                 down * s->rows,
                 smaller(s->rows, y->height - down * s->rows),
                 across * s->columns,
                 smaller(s->columns, y->width - across * s->columns)};
}

/* ---- packing ---------------------------------------------------------------------------------- */

/* Output gradients of a box as panels of columns [begin, end), [pixel][column], and as many zeros as columns: the bias. */
typedef struct panels {
    float *data;
    int64_t begin, end, padded, panel, pixels; /* begin, end: channels of y */
} panels;

static panels panels_of(const dwc_gradient_job *j, int64_t begin, int64_t end, int64_t pixels,
                        float *memory) {
    const int64_t padded = round_up(end - begin, j->g->table->panel_unit);
    return (panels){memory, begin, end, padded, dwc_panel_width(j->g->table, padded), pixels};
}

static void pack_pixels(const dwc_gradient_job *j, const panels *p, int64_t position, const float *dy,
                        int64_t count) {
    for (int64_t first = 0; first < p->padded; first += p->panel) {
        const int64_t width = smaller(p->panel, p->padded - first),
                      used = smaller(width, p->end - p->begin - first);
        float *to = p->data + first * p->pixels + position * width;
        j->g->table->copy_pixels((const char *)(dy + p->begin + first), in_bytes(j->y->pixel), count,
                                 in_bytes(used), (char *)to, in_bytes(width));
        for (int64_t i = 0; used < width && i < count; i++)
            memset(to + i * width + used, 0, (size_t)(width - used) * sizeof *to);
    }
}

static void pack_panels(const dwc_gradient_job *j, const box *b, const panels *p) {
    const dwc_view *y = j->y;
    int64_t position = 0;
    memset(p->data + p->pixels * p->padded, 0, (size_t)p->padded * sizeof *p->data);
    if (j->how.flat) {
        for (int64_t count; position < b->columns; position += count) {
            const float *dy;
            count = dwc_even_pixels(y, b->column + position, b->columns - position, &dy);
            pack_pixels(j, p, position, dy, count);
        }
        return;
    }
    for (int64_t image = b->image; image < b->image + b->images; image++)
        for (int64_t row = b->row; row < b->row + b->rows; row++, position += b->columns)
            pack_pixels(j, p, position, y->data + image * y->image + row * y->row + b->column * y->pixel,
                        b->columns);
}

/* Row by row even where pixels are evenly spaced throughout: the order must not depend on strides. */
static void add_bias(const dwc_gradient_job *j, int64_t chunk, const box *b, int64_t begin, int64_t end) {
    const dwc_view *y = j->y;
    for (int64_t done = 0, count; j->how.flat && done < b->columns; done += count) {
        const float *dy;
        const int64_t pixel = b->column + done;
        (void)dwc_even_pixels(y, pixel, 1, &dy);
        count = smaller(b->columns - done, y->width - pixel % y->width);
        dwc_add_bias(j, chunk, dy, y->pixel, count, begin, end - begin);
    }
    for (int64_t image = b->image; image < b->image + b->images && !j->how.flat; image++)
        for (int64_t row = b->row; row < b->row + b->rows; row++)
            dwc_add_bias(j, chunk, y->data + image * y->image + row * y->row + b->column * y->pixel, y->pixel,
                         b->columns, begin, end - begin);
}

/* The output pixels of a box that see a tap, as rows and columns of it. */
typedef struct sight {
    int64_t row, rows, column, columns;
} sight;

/* Outputs [*first, *first + *count) that tap `tap` of an axis meets, of [begin, end). */
static void seen_outputs(int64_t begin, int64_t end, int64_t tap, int64_t dilation, int64_t stride,
                         int64_t pad, int64_t size, int64_t *first, int64_t *count) {
    const int64_t offset = tap * dilation - pad; /* of the input, for output 0 */
    const int64_t low = offset < 0 ? divide_up(-offset, stride) : 0;
    const int64_t high = offset < size ? (size - 1 - offset) / stride + 1 : 0;
    *first = larger(begin, low);
    *count = larger(smaller(end, high) - *first, 0);
}

static sight sight_of(const dwc_gradient_job *j, const box *b, int64_t ky, int64_t kx) {
    const dwconv_window *w = &j->g->window;
    sight s = {0, 1, 0, b->columns};
    if (j->how.flat) return s;
    seen_outputs(b->row, b->row + b->rows, ky, w->dilation_h, w->stride_h, j->extent.pad_top, j->x->height,
                 &s.row, &s.rows);
    seen_outputs(b->column, b->column + b->columns, kx, w->dilation_w, w->stride_w, j->extent.pad_left,
                 j->x->width, &s.column, &s.columns);
    s.row -= b->row;
    s.column -= b->column;
    return s;
}

/* Inputs [channel, channel + rows) of the pixels that a tap meets: to[c][position of the output in the box]. */
static void transpose(const dwc_gradient_job *j, const box *b, const sight *s, int64_t ky, int64_t kx,
                      int64_t channel, int64_t rows, float *to) {
    const dwconv_window *w = &j->g->window;
    const dwc_view *x = j->x;
    const int64_t pitch = j->how.pitch;
    for (int64_t done = 0, count; j->how.flat && done < b->columns; done += count) {
        const float *from;
        count = dwc_even_pixels(x, b->column + done, b->columns - done, &from);
        j->g->table->each.transpose(from + channel, x->pixel, rows, count, to + done, pitch);
    }
    for (int64_t image = 0; image < b->images && !j->how.flat; image++)
        for (int64_t row = s->row; row < s->row + s->rows; row++) {
            const int64_t iy = (b->row + row) * w->stride_h - j->extent.pad_top + ky * w->dilation_h;
            const int64_t ix =
                (b->column + s->column) * w->stride_w - j->extent.pad_left + kx * w->dilation_w;
            const float *from =
                x->data + (b->image + image) * x->image + iy * x->row + ix * x->pixel + channel;
            j->g->table->each.transpose(from, w->stride_w * x->pixel, rows, s->columns,
                                        to + (image * b->rows + row) * b->columns + s->column, pitch);
        }
}

/* ---- products --------------------------------------------------------------------------------- */

/* What the matrix kernel is told of all: `rows` inputs from a on become its pixels, `step` floats apart. */
static dwc_mm_call shared_call(const panels *p, const float *a, int64_t step, int64_t rows) {
    return (dwc_mm_call){.a = a,
                         .a_pixel = step,
                         .pixels = rows,
                         .taps_y = 1,
                         .taps_x = 1,
                         .weights = p->data,
                         .bias = p->data + p->pixels * p->padded,
                         .depth = p->pixels,
                         .panel = p->panel,
                         .padded = p->padded,
                         .activation = {DWCONV_CLIP, -INFINITY, INFINITY}};
}

/* Transposed pixels, as taps: those that follow each other are one longer run. */
static dwc_mm_call transposed_call(const dwc_gradient_job *j, const box *b, const sight *s, const panels *p,
                                   const float *a, int64_t rows) {
    const int64_t first = s->row * b->columns + s->column, image = b->rows * b->columns;
    dwc_mm_call call = shared_call(p, a + first, j->how.pitch, rows);
    call.taps_y = b->images;
    call.taps_x = s->rows;
    call.a_tap_y = call.w_tap_y = image;
    call.a_tap_x = call.w_tap_x = b->columns;
    call.k = s->columns;
    call.w_first = first;
    if (call.k == call.a_tap_x || call.taps_x == 1) {
        call.k *= call.taps_x;
        call.taps_x = 1;
    }
    if (call.taps_x == 1 && (call.k == image || call.taps_y == 1)) {
        call.k *= call.taps_y;
        call.taps_y = 1;
    }
    return call;
}

/* Where the pixels that a tap meets are rows of evenly spaced ones, they are read in place: each is a tap. 0: not there. */
static int direct_call(const dwc_gradient_job *j, const box *b, const sight *s, const panels *p, int64_t ky,
                       int64_t kx, int64_t channel, int64_t rows, dwc_mm_call *call) {
    const dwconv_window *w = &j->g->window;
    const dwc_view *x = j->x;
    const float *from;
    if (j->how.flat && dwc_even_pixels(x, b->column, b->columns, &from) < b->columns) return 0;
    if (b->images > 1) return 0;
    if (!j->how.flat) {
        const int64_t iy = (b->row + s->row) * w->stride_h - j->extent.pad_top + ky * w->dilation_h;
        const int64_t ix = (b->column + s->column) * w->stride_w - j->extent.pad_left + kx * w->dilation_w;
        from = x->data + b->image * x->image + iy * x->row + ix * x->pixel;
    }
    *call = shared_call(p, from + channel, 1, rows);
    call->taps_y = s->rows;
    call->taps_x = s->columns;
    call->a_tap_y = w->stride_h * x->row;
    call->a_tap_x = w->stride_w * x->pixel;
    call->w_tap_y = b->columns;
    call->w_tap_x = call->k = 1;
    call->w_first = s->row * b->columns + s->column;
    return 1;
}

/* Sums of one tap, of so many inputs from `channel` on in a group: written by the first box of a chunk, else added to. */
static void multiply(const dwc_gradient_job *j, const dwc_mm_call *shared, float *sums, int adds,
                     float *result, const panels *p) {
    const int64_t row = j->g->out_channels, width = p->end - p->begin;
    dwc_mm_call call = *shared;
    if (!adds) {
        call.columns = width;
        call.y = sums;
        call.y_pixel = row;
        j->g->table->matrix.run(&call);
        return;
    }
    for (int64_t first = 0; first < width; first += call.panel) {
        call.first = first;
        call.bias = shared->bias;
        call.columns = smaller(call.panel, width - first);
        call.y = result;
        call.y_pixel = call.columns;
        j->g->table->matrix.run(&call);
        dwc_add_rows(j->g, sums + first, row, result, call.columns, call.pixels, call.columns);
    }
}

static void run_box(const dwc_gradient_job *j, const box *b, int64_t group, const panels *p, float *sums,
                    int adds, float *memory) {
    const dwc_gradient *g = j->g;
    float *result = memory, *inputs = memory + j->how.result_floats;
    pack_panels(j, b, p);
    for (int64_t tap = 0; tap < g->window.kernel_h * g->window.kernel_w; tap++) {
        const int64_t ky = tap / g->window.kernel_w, kx = tap % g->window.kernel_w;
        const sight s = sight_of(j, b, ky, kx);
        for (int64_t first = 0, rows; first < g->group_inputs; first += rows) {
            float *to = sums + (tap * g->group_inputs + first) * g->out_channels + p->begin;
            rows = smaller(j->how.block_rows, g->group_inputs - first);
            if (s.rows && s.columns) {
                const int64_t channel = group * g->group_inputs + first;
                dwc_mm_call call;
                if (!direct_call(j, b, &s, p, ky, kx, channel, rows, &call)) {
                    transpose(j, b, &s, ky, kx, channel, rows, inputs);
                    call = transposed_call(j, b, &s, p, inputs, rows);
                }
                multiply(j, &call, to, adds, result, p);
            } else if (!adds) {
                for (int64_t i = 0; i < rows; i++)
                    memset(to + i * g->out_channels, 0, (size_t)(p->end - p->begin) * sizeof *to);
            }
        }
    }
}

void dwc_product_gradient(const dwc_gradient_job *given, int64_t chunk, int64_t begin, int64_t end,
                          int worker) {
    dwc_own_gradient own;
    const dwc_gradient_job *j = dwc_own_job(given, &own);
    const dwc_filter_gradient_schedule *s = &j->how;
    const dwc_gradient *g = j->g;
    float *memory = j->workers + worker * s->worker_floats;
    float *sums = s->chunk_floats ? dwc_chunk_sums(j, chunk) : j->filter;
    const int64_t first = chunk * s->chunk_boxes, last = smaller(first + s->chunk_boxes, s->boxes);
    for (int64_t number = first; number < last; number++) {
        const box b = box_of(j, number);
        const int64_t pixels = b.images * b.rows * b.columns;
        if (j->norm) dwc_make_pixels(&own, worker, &b, begin, end);
        if (j->input) dwc_run_flat_pixels(j->input, b.column, b.columns);
        for (int64_t group = 0; group < g->groups; group++) {
            const int64_t channel = group * g->group_outputs;
            if (j->bias) add_bias(j, chunk, &b, channel + begin, channel + end);
            for (int64_t column = begin; column < end; column += s->piece_channels) {
                const int64_t piece_end = smaller(column + s->piece_channels, end);
                const panels p = panels_of(j, channel + column, channel + piece_end, pixels, memory);
                run_box(j, &b, group, &p, sums, number > first, memory + s->panel_floats);
            }
        }
    }
}
