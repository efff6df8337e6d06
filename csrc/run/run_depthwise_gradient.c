/* The filter gradient of depthwise convolution: rows of pointers, tiles of columns, blocks of taps. */
#include <string.h>

#include "gradient.h"

/* Some kernel rows and taps of a row, and a chunk's channels. */
typedef struct block {
    const dwc_gradient_job *j;
    const dwc_dw_gradient_kernel *kernel;
    int64_t ky, kx;     /* the first tap */
    int64_t rows, taps; /* at most those of the kernel */
    dwc_dw_gradient_run run;
    float *sums;        /* of tap 0, first channel */
    const float *image; /* of x */
    int whole;          /* no input row of the output rows is padding, and there are all kernel rows */
    const char *in[DWC_GRADIENT_ROWS * 5], *rolled[2 * DWC_GRADIENT_ROWS + 1];
} block;

static const char *row_of(const block *b, int64_t iy) {
    return iy >= 0 && iy < b->j->x->height ? (const char *)(b->image + iy * b->j->x->row) : NULL;
}

/* Pointers to the input rows of `rows` output rows. */
static void point(block *b, int64_t oy, int64_t rows) {
    const dwconv_window *w = &b->j->g->window;
    const int64_t first = oy * w->stride_h - b->j->extent.pad_top + b->ky * w->dilation_h;
    b->whole = b->rows == b->kernel->rows;
    for (int64_t o = 0; o < rows; o++)
        for (int64_t r = 0; r < b->kernel->rows; r++) {
            const char *row = r < b->rows ? row_of(b, first + o * w->stride_h + r * w->dilation_h) : NULL;
            b->in[o * b->kernel->rows + r] = row;
            b->whole &= row != NULL;
        }
    for (int64_t i = 0; b->kernel->rolls && i < (rows - 1) * w->stride_h + 3; i++)
        b->rolled[i] = row_of(b, first + i);
}

/* Taps of the block that output column ox sees, as bits. */
static unsigned seen_by(const block *b, int64_t ox) {
    const dwconv_window *w = &b->j->g->window;
    unsigned seen = 0;
    for (int64_t k = 0; k < b->taps; k++) {
        const int64_t ix = ox * w->stride_w - b->j->extent.pad_left + (b->kx + k) * w->dilation_w;
        if (ix >= 0 && ix < b->j->x->width) seen |= 1u << k;
    }
    return seen;
}

/* Whether a tile from ox on is one for the inner function; *live as kernels that roll want it. */
static int is_inner(const block *b, int64_t ox, unsigned *live) {
    const dwc_dw_gradient_kernel *kernel = b->kernel;
    const unsigned all = (1u << kernel->taps) - 1;
    const int64_t last = ox + kernel->columns - 1;
    *live = 3;
    if (last >= b->j->y->width || (!b->whole && !kernel->rolls)) return 0;
    const unsigned left = seen_by(b, ox), right = seen_by(b, last);
    if (!kernel->rolls) return left == all && right == all;
    *live = (left & 1) | (right >> 2 & 1) << 1;
    return (left | 1) == all && (right | 4) == all && seen_by(b, ox + 1) == all &&
           seen_by(b, last - 1) == all;
}

/* Tiles of some rows: those inside the image as few runs, each of the others its own. */
static void run_tiles(block *b, const float *dy) {
    const dwc_gradient_job *j = b->j;
    const dwconv_window *w = &j->g->window;
    const dwc_dw_gradient_kernel *kernel = b->kernel;
    const int64_t width = j->y->width, step = in_bytes(j->y->pixel);
    dwc_dw_gradient_run *run = &b->run;
    for (int64_t ox = 0; ox < width;) {
        unsigned live, next;
        const int inner = is_inner(b, ox, &live);
        run->tiles = 1;
        while (inner && is_inner(b, ox + run->tiles * kernel->columns, &next) && next == live) run->tiles++;
        run->live = live;
        run->in = inner && kernel->rolls ? b->rolled : b->in;
        run->columns = (int)smaller(kernel->columns, width - ox);
        run->x = in_bytes((ox * w->stride_w - j->extent.pad_left + b->kx * w->dilation_w) * j->x->pixel);
        run->dy = (const char *)dy + ox * step;
        for (int t = 0; t < run->columns && !inner; t++) run->seen[t] = seen_by(b, ox + t);
        (inner ? kernel->inner : kernel->edge)(run);
        ox += run->tiles * run->columns;
    }
}

/* All blocks of taps, of `rows` rows of an image from oy on. */
static void run_rows(const dwc_gradient_job *j, int64_t image, int64_t oy, int64_t rows, block *b) {
    const dwconv_window *w = &j->g->window;
    const float *dy = j->y->data + image * j->y->image + oy * j->y->row + b->run.channel;
    b->image = j->x->data + image * j->x->image;
    b->run.rows = (int)rows;
    for (b->ky = 0; b->ky < w->kernel_h; b->ky += b->rows) {
        const int64_t left = w->kernel_h - b->ky;
        b->kernel = left < j->how.kernel->rows ? j->how.rest : j->how.kernel;
        b->rows = smaller(b->kernel->rows, left);
        point(b, oy, rows);
        for (b->kx = 0; b->kx < w->kernel_w; b->kx += b->kernel->taps) {
            b->taps = smaller(b->kernel->taps, w->kernel_w - b->kx);
            b->run.sums = b->sums + (b->ky * w->kernel_w + b->kx) * j->how.padded;
            run_tiles(b, dy);
        }
    }
}

/* From elements of x to those of dx, where these follow in the same walk, have the same strides and stay in the caches. */
static int64_t to_dx(const dwc_gradient_job *j) {
    const dwc_view *x = j->x, *dx = j->input->dx;
    if (j->input->how.back ? j->input->how.streams : j->input->phases->how.streams) return 0;
    if (x->pixel != dx->pixel || x->row != dx->row || x->image != dx->image) return 0;
    return (int64_t)((uintptr_t)dx->data - (uintptr_t)x->data);
}

/* Filter and bias, of so many rows from oy on. */
static void run_band(const dwc_gradient_job *j, int64_t chunk, int64_t image, int64_t oy, int64_t rows,
                     block *b) {
    const int64_t end = oy + rows;
    for (int64_t group; oy < end; oy += group) {
        group = smaller(j->how.row_group, end - oy);
        const float *dy = j->y->data + image * j->y->image + oy * j->y->row;
        for (int64_t i = 0; i < group && j->bias; i++)
            dwc_add_bias(j, chunk, dy + i * j->y->row, j->y->pixel, j->y->width, b->run.channel,
                         b->run.channels);
        run_rows(j, image, oy, group, b);
    }
}

/* Makes the rows of y that output rows [oy, oy + rows) are, and those that the rows of dx after them see. */
static void make_rows(dwc_own_gradient *o, int worker, int64_t image, int64_t oy, int64_t rows, int64_t begin,
                      int64_t end) {
    const dwc_gradient_job *j = &o->j;
    int64_t first = oy, last = oy + rows;
    if (j->input) dwc_rows_of_band(j->g, &j->extent, j->x->height, oy, rows, &first, &last);
    const dwc_made rows_of_y = {image, 1, first, last - first, 0, j->y->width};
    dwc_make_pixels(o, worker, &rows_of_y, begin, end);
}

void dwc_depthwise_gradient(const dwc_gradient_job *given, int64_t chunk, int64_t begin, int64_t end,
                            int worker) {
    dwc_own_gradient own;
    const dwc_gradient_job *j = dwc_own_job(given, &own);
    const dwc_filter_gradient_schedule *s = &j->how;
    const dwc_view *x = j->x, *y = j->y;
    const dwconv_window *w = &j->g->window;
    const int64_t last = smaller((chunk + 1) * s->chunk_rows, y->batch * y->height);
    float *sums = dwc_chunk_sums(j, chunk) + begin;
    const int64_t channels = round_up(end - begin, DWC_MOST_LANES);
    for (int64_t row = 0; row < s->chunk_floats / s->padded; row++)
        memset(sums + row * s->padded, 0, (size_t)channels * sizeof *sums);
    block b = {.j = j,
               .sums = sums,
               .run = {.x_tap = in_bytes(w->dilation_w * x->pixel),
                       .x_out = in_bytes(w->stride_w * x->pixel),
                       .x_tile = in_bytes(s->kernel->columns * w->stride_w * x->pixel),
                       .dy_tile = in_bytes(s->kernel->columns * y->pixel),
                       .dy_row = in_bytes(y->row),
                       .dy_out = in_bytes(y->pixel),
                       .x_ahead = in_bytes(s->row_group * w->stride_h * x->row),
                       .dy_ahead = in_bytes(s->row_group * y->row),
                       .x_to_dx = j->input ? to_dx(j) : 0,
                       .channel = begin,
                       .channels = end - begin,
                       .inputs = j->inputs,
                       .sums_tap = s->padded,
                       .sums_row = w->kernel_w * s->padded}};
    for (int64_t row = chunk * s->chunk_rows, rows; row < last; row += rows) {
        const int64_t image = row / y->height, oy = row % y->height;
        rows = smaller(smaller(j->band_rows, last - row), y->height - oy);
        if (j->norm) make_rows(&own, worker, image, oy, rows, begin, end);
        run_band(j, chunk, image, oy, rows, &b);
        if (j->input)
            dwc_run_band(j->input, image, dwc_band_begin(j->g, &j->extent, x->height, oy),
                         dwc_band_begin(j->g, &j->extent, x->height, oy + rows), begin, end);
    }
}
