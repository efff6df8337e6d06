/* Separable convolution and inverted residuals: the layers of a block run strip by strip through scratch.
 *
 * A worker takes a band of output rows of one image and walks down it in chunks of a few rows:
 *
 *     input rows --expand--> ring of expanded rows --depthwise--> chunk --project (+ input)--> output rows
 *
 * The ring keeps the rows that the next chunk needs again, so that no row of a band is expanded twice. Without
 * an expansion the depthwise stage reads the input itself. Scratch is a ring and a chunk per worker: it grows
 * with the width of the image, never with its height. */
#include "internal.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Ring and chunk should stay in the second-level cache, beside weights and input. */
#define SCRATCH_FLOATS (384 * 1024 / (int64_t)sizeof(float))
/* More rows than this share nothing more: weights are read once per 8 rows of pixels. */
#define CHUNK_ROWS 8

typedef struct block {
    const dwconv_plan *plan;
    dwc_view x, y;
    dwc_extent extent; /* of the depthwise stage */
    int add_residual;
    int64_t bands, band_rows;
    int64_t ring_rows, chunk_rows;
    int64_t ring_pixel, chunk_pixel; /* floats from pixel to pixel in scratch */
    int64_t worker_floats;
    double nanoseconds; /* estimate for one worker */
    int workers;
    float *scratch;
} block;

/* Pixels a multiple of 1 KB or so apart compete for the same few sets of the first-level cache: 16 floats more
 * spread them. Few channels stay dense, which lets kernels treat neighbouring pixels as one. */
static int64_t scratch_pixel(int64_t channels) {
    return channels < 64 ? channels : (channels + 15) / 16 * 16 + 16;
}

static int64_t ring_rows_for(const dwconv_window *w, int64_t chunk_rows, int64_t in_h) {
    return smaller(in_h, (chunk_rows - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1);
}

/* Sizes of ring and chunk; 0 if they do not fit int64. */
static int size_scratch(block *b) {
    const dwconv_plan *plan = b->plan;
    const dwconv_window *w = &plan->depthwise.window;
    b->ring_pixel = plan->has_expand ? scratch_pixel(plan->depthwise.in_channels) : 0;
    b->chunk_pixel = scratch_pixel(plan->depthwise.channels);
    int64_t rows = smaller(CHUNK_ROWS, b->extent.out_h), ring, chunk;
    for (;; rows = rows > 2 ? rows - 2 : 1) { /* whole pairs: tiles are two rows high */
        b->chunk_rows = rows;
        b->ring_rows = plan->has_expand ? ring_rows_for(w, rows, b->x.height) : 0;
        if (!dwc_multiply(b->ring_rows * b->x.width, b->ring_pixel, &ring) ||
            !dwc_multiply(rows * b->y.width, b->chunk_pixel, &chunk) || ring > INT64_MAX / 16 - chunk)
            return 0;
        b->worker_floats = (ring + chunk + 15) / 16 * 16;
        if (rows == 1 || ring + chunk <= SCRATCH_FLOATS) return 1;
    }
}

dwconv_status dwc_block_scratch(const dwconv_plan *plan, const int64_t input[4], size_t *bytes) {
    block b = {.plan = plan, .x = {.height = input[1], .width = input[2]}};
    *bytes = 0;
    if (!plan->has_depthwise || !plan->has_matmul || input[0] == 0) return DWCONV_OK;
    const dwconv_status status = dwc_window_extent(&plan->depthwise.window, input[1], input[2], &b.extent);
    if (status != DWCONV_OK) return status;
    b.y.width = b.extent.out_w;
    if (!size_scratch(&b) || (uint64_t)b.worker_floats > PTRDIFF_MAX / sizeof(float)) return DWCONV_OVERFLOW;
    *bytes = (size_t)b.worker_floats * sizeof(float);
    return DWCONV_OK;
}

/* ---- the stages of a chunk ---------------------------------------------------------------- */

/* Input rows [begin, end) into the ring, in the one or two pieces that the ring's end makes of them. */
static void expand_rows(const block *b, const float *image, float *ring, int64_t begin, int64_t end) {
    while (begin < end) {
        const int64_t slot = begin % b->ring_rows, stop = smaller(end, begin + b->ring_rows - slot);
        const dwc_matmul_rows rows = {.stage = &b->plan->expand,
                                      .x = image,
                                      .x_row = b->x.row,
                                      .x_pixel = b->x.pixel,
                                      .in_h = b->x.height,
                                      .in_w = b->x.width,
                                      .y = ring + slot * b->x.width * b->ring_pixel,
                                      .y_row = b->x.width * b->ring_pixel,
                                      .y_pixel = b->ring_pixel,
                                      .out_w = b->x.width,
                                      .row_begin = begin,
                                      .row_end = stop,
                                      .column_end = b->plan->expand.group_outputs};
        dwc_run_matmul_rows(&rows);
        begin = stop;
    }
}

static void depthwise_rows(const block *b, const float *image, const float *ring, float *chunk,
                           int64_t first_row, int64_t begin, int64_t end) {
    const int expanded = b->plan->has_expand;
    const dwc_dw_call call = {
        .stage = &b->plan->depthwise,
        .x = expanded ? ring : image,
        .x_row = expanded ? b->x.width * b->ring_pixel : b->x.row,
        .x_pixel = expanded ? b->ring_pixel : b->x.pixel,
        .in_h = b->x.height,
        .in_w = b->x.width,
        .ring_first = expanded ? first_row / b->ring_rows * b->ring_rows : 0,
        .ring_rows = expanded ? b->ring_rows : b->x.height,
        /* the next chunk's input, which the product of this chunk gives time to arrive:
                               * 256x256 32 -> 64 takes 3.1 ms instead of 3.35 */
        .prefetch_rows = expanded ? 0 : b->chunk_rows * b->plan->depthwise.window.stride_h,
        .y = chunk,
        .y_row = b->y.width * b->chunk_pixel,
        .y_pixel = b->chunk_pixel,
        .out_w = b->y.width,
        .pad_top = b->extent.pad_top,
        .pad_left = b->extent.pad_left,
        .row_begin = begin,
        .row_end = end,
        .channel_end = b->plan->depthwise.channels};
    b->plan->depthwise.kernel->depthwise(&call);
}

static void project_rows(const block *b, int64_t image, const float *chunk, int64_t begin, int64_t end) {
    const float *input = b->x.data + image * b->x.image;
    const dwc_matmul_rows rows = {.stage = &b->plan->matmul,
                                  .x = chunk,
                                  .x_row = b->y.width * b->chunk_pixel,
                                  .x_pixel = b->chunk_pixel,
                                  .in_h = end - begin,
                                  .in_w = b->y.width,
                                  .y = b->y.data + image * b->y.image + begin * b->y.row,
                                  .y_row = b->y.row,
                                  .y_pixel = b->y.pixel,
                                  .out_w = b->y.width,
                                  .residual = b->add_residual ? input + begin * b->x.row : NULL,
                                  .residual_row = b->x.row,
                                  .residual_pixel = b->x.pixel,
                                  .row_end = end - begin,
                                  .column_end = b->plan->matmul.group_outputs};
    dwc_run_matmul_rows(&rows);
}

/* ---- bands -------------------------------------------------------------------------------- */

static void band_task(void *context, int64_t item, int worker) {
    const block *b = context;
    const dwconv_window *w = &b->plan->depthwise.window;
    const int64_t image = item / b->bands, first = item % b->bands * b->band_rows;
    const int64_t last = smaller(first + b->band_rows, b->extent.out_h);
    const float *input = b->x.data + image * b->x.image;
    float *ring = b->scratch + worker * b->worker_floats;
    float *chunk = ring + b->ring_rows * b->x.width * b->ring_pixel;
    int64_t expanded = 0; /* one past the last row in the ring */
    for (int64_t begin = first; begin < last; begin += b->chunk_rows) {
        const int64_t end = smaller(begin + b->chunk_rows, last);
        int64_t needed = begin * w->stride_h - b->extent.pad_top;
        int64_t needed_end =
            (end - 1) * w->stride_h - b->extent.pad_top + (w->kernel_h - 1) * w->dilation_h + 1;
        if (needed < 0) needed = 0;
        needed_end = smaller(needed_end, b->x.height);
        if (b->plan->has_expand) {
            expand_rows(b, input, ring, expanded > needed ? expanded : needed, needed_end);
            if (needed_end > expanded) expanded = needed_end;
        }
        depthwise_rows(b, input, ring, chunk, needed, begin, end);
        project_rows(b, image, chunk, begin, end);
    }
}

/* All of a block but its scratch: sizes, bands and how many workers share them. */
static dwconv_status cut_block(block *b, const dwconv_threads *threads) {
    const dwc_view *x = &b->x, *y = &b->y;
    const dwc_depthwise_stage *d = &b->plan->depthwise;
    const int64_t in_shape[4] = {x->batch, x->height, x->width, x->channels};
    const int64_t out_shape[4] = {y->batch, y->height, y->width, y->channels};
    const dwconv_status status = dwc_window_extent(&d->window, x->height, x->width, &b->extent);
    if (status != DWCONV_OK) return status;
    if (!size_scratch(b)) return DWCONV_OVERFLOW;
    b->add_residual = dwc_residual_applies(&b->plan->desc, in_shape, out_shape);
    const double in_pixels = (double)x->batch * (double)x->height * (double)x->width;
    const double out_pixels = (double)y->batch * (double)y->height * (double)y->width;
    const double work =
        out_pixels * (double)d->channels * (double)(d->window.kernel_h * d->window.kernel_w + y->channels) +
        (b->plan->has_expand ? in_pixels * (double)x->channels * (double)d->in_channels : 0.0);
    b->nanoseconds =
        dwc_nanoseconds(work, in_pixels * (double)x->channels + out_pixels * (double)y->channels);
    b->workers = dwc_worker_count(threads, b->nanoseconds);
    /* equal shares, the least halo */
    b->bands = x->batch % b->workers == 0 ? 1 : smaller(b->workers, b->extent.out_h);
    b->band_rows = (b->extent.out_h + b->bands - 1) / b->bands;
    b->bands = (b->extent.out_h + b->band_rows - 1) / b->band_rows;
    return DWCONV_OK;
}

dwconv_status dwc_block_cut(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                            const dwconv_threads *threads, dwconv_cut *result) {
    block b = {.plan = plan, .x = *x, .y = *y};
    const dwconv_status status = cut_block(&b, threads);
    if (status == DWCONV_OK)
        *result = (dwconv_cut){.nanoseconds = b.nanoseconds,
                               .workers = b.workers,
                               .images = x->batch,
                               .strips = b.bands,
                               .strip_rows = b.band_rows,
                               .row_pixels = y->width,
                               .blocks = 1,
                               .block_channels = y->channels,
                               .chunk_rows = b.chunk_rows,
                               .ring_rows = b.ring_rows};
    return status;
}

void dwc_run_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, void *scratch,
                   const dwconv_threads *threads) {
    block b = {.plan = plan, .x = *x, .y = *y, .scratch = scratch};
    if (cut_block(&b, threads) == DWCONV_OK)
        dwc_parallel(threads, b.workers, x->batch * b.bands, band_task, &b);
}
