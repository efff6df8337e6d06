/* The filter gradient of depthwise convolution: rows of pointers, tiles of columns, blocks of taps. */
#include <string.h>

#include "gradient.h"

/* Some kernel rows and taps of a row, and a chunk's channels. */
typedef struct block {
    const dwc_gradient_job *j;
    int64_t ky, kx;     /* the first tap */
    int64_t rows, taps; /* at most those of the kernel */
    dwc_dw_gradient_run run;
    float *sums; /* of tap 0, first channel */
} block;

static int64_t row_of(const block *b, int64_t oy, int64_t r) {
    const dwconv_window *w = &b->j->g->window;
    return oy * w->stride_h - b->j->extent.pad_top + (b->ky + r) * w->dilation_h;
}

/* Pointers to the input rows of `rows` output rows of an image. Whether none is padding. */
static int point(const block *b, const float *image, int64_t oy, int64_t rows, const char **in) {
    const dwc_view *x = b->j->x;
    const int kernel_rows = b->j->how.kernel->rows;
    int whole = b->rows == kernel_rows;
    for (int64_t o = 0; o < rows; o++)
        for (int64_t r = 0; r < kernel_rows; r++) {
            const int64_t iy = row_of(b, oy + o, r);
            const int seen = r < b->rows && iy >= 0 && iy < x->height;
            in[o * kernel_rows + r] = seen ? (const char *)(image + iy * x->row) : NULL;
            whole &= seen;
        }
    return whole;
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

/* Tiles of some rows: those inside the image one run, each of the others its own. */
static void run_tiles(block *b, const float *dy, int whole) {
    const dwc_gradient_job *j = b->j;
    const dwconv_window *w = &j->g->window;
    const dwc_dw_gradient_kernel *kernel = j->how.kernel;
    const int64_t width = j->y->width, step = in_bytes(j->y->pixel);
    const unsigned all = (1u << kernel->taps) - 1;
    dwc_dw_gradient_run *run = &b->run;
    for (int64_t ox = 0; ox < width;) {
        int64_t tiles = 0;
        while (whole && ox + (tiles + 1) * kernel->columns <= width &&
               seen_by(b, ox + tiles * kernel->columns) == all &&
               seen_by(b, ox + (tiles + 1) * kernel->columns - 1) == all)
            tiles++;
        const int inner = tiles > 0;
        run->tiles = inner ? tiles : 1;
        run->columns = (int)smaller(kernel->columns, width - ox);
        run->x = in_bytes((ox * w->stride_w - j->extent.pad_left + b->kx * w->dilation_w) * j->x->pixel);
        run->dy = (const char *)dy + ox * step;
        for (int t = 0; t < run->columns && !inner; t++) run->seen[t] = seen_by(b, ox + t);
        (inner ? kernel->inner : kernel->edge)(run);
        ox += inner ? tiles * kernel->columns : run->columns;
    }
}

/* All blocks of taps, of `rows` rows of an image from oy on. */
static void run_rows(const dwc_gradient_job *j, int64_t image, int64_t oy, int64_t rows, block *b) {
    const dwconv_window *w = &j->g->window;
    const dwc_dw_gradient_kernel *kernel = j->how.kernel;
    const char *in[DWC_GRADIENT_ROWS * 5];
    const float *dy = j->y->data + image * j->y->image + oy * j->y->row + b->run.channel;
    for (b->ky = 0; b->ky < w->kernel_h; b->ky += kernel->rows) {
        b->rows = smaller(kernel->rows, w->kernel_h - b->ky);
        const int whole = point(b, j->x->data + image * j->x->image, oy, rows, in);
        b->run.in = in;
        b->run.rows = (int)rows;
        for (b->kx = 0; b->kx < w->kernel_w; b->kx += kernel->taps) {
            b->taps = smaller(kernel->taps, w->kernel_w - b->kx);
            b->run.sums = b->sums + (b->ky * w->kernel_w + b->kx) * j->how.padded;
            run_tiles(b, dy, whole);
        }
    }
}

void dwc_depthwise_gradient(const dwc_gradient_job *j, int64_t chunk, int64_t begin, int64_t end) {
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
                       .channel = begin,
                       .channels = end - begin,
                       .inputs = j->inputs,
                       .sums_tap = s->padded,
                       .sums_row = w->kernel_w * s->padded}};
    for (int64_t row = chunk * s->chunk_rows, rows; row < last; row += rows) {
        const int64_t image = row / y->height, oy = row % y->height;
        rows = smaller(smaller(s->row_group, last - row), y->height - oy);
        for (int64_t i = 0; i < rows && j->bias; i++)
            dwc_add_bias(j, chunk, y->data + image * y->image + (oy + i) * y->row, y->pixel, y->width, begin,
                         end - begin);
        run_rows(j, image, oy, rows, &b);
    }
}
