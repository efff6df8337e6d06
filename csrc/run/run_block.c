/* The stages of a block, chunk by chunk, and the passes that are made of them. See block.h. */
#include <string.h>

#include "../block.h"
#include "depthwise.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t bytes(int64_t floats) { return floats * (int64_t)sizeof(float); }

/* ---- stages ------------------------------------------------------------------------------- */

/* Columns of a band on their way through expansion and depthwise, all channels or a slice of them. */
typedef struct walk {
    const dwc_block *b;
    int64_t out_first, out_columns; /* of the output */
    int64_t in_columns, pad_left;   /* what these see of the input, and of the padding before it */
    const dwc_matmul_stage *expand; /* of the plan, or of a slice */
    const dwc_depthwise_stage *depthwise;
    const float *
        image; /* the input from the first of these columns on; where it is not expanded, also of these channels */
    float *ring;
    int64_t held, expanded; /* rows in the ring: of a sequence the first one, and one past the last */
} walk;

/* The columns are an image of their own to both stages: its padding ends where the real one does. */
static walk begin_columns(const dwc_block *b, const float *image, float *ring, int64_t out_first) {
    const dwconv_window *window = &b->chain.depthwise->window;
    const int64_t out_columns = smaller(b->columns, b->extent.out_w - out_first);
    const int64_t begin = out_first * window->stride_w - b->extent.pad_left, in_first = begin > 0 ? begin : 0;
    const int64_t last =
        begin + (out_columns - 1) * window->stride_w + (window->kernel_w - 1) * window->dilation_w;
    const int64_t in_end = smaller(last + 1, b->x.width);
    return (walk){.b = b,
                  .out_first = out_first,
                  .out_columns = out_columns,
                  .in_columns = in_end > in_first ? in_end - in_first : 0,
                  .pad_left = in_first - begin,
                  .expand = b->chain.expand,
                  .depthwise = b->chain.depthwise,
                  .image = image + in_first * b->x.pixel,
                  .ring = ring};
}

typedef struct slice_stages {
    dwc_matmul_stage expand;
    dwc_depthwise_stage depthwise;
} slice_stages;

/* All columns of a slice, whose stages are written to `stages`. */
static walk begin_slice(const dwc_block *b, const float *image, float *ring, int64_t slice,
                        slice_stages *stages) {
    const int64_t begin = dwc_slice_begin(b, slice), end = dwc_slice_begin(b, slice + 1);
    walk w = begin_columns(b, image, ring, 0);
    if (b->slices == 1) return w;
    stages->depthwise = *b->chain.depthwise;
    stages->depthwise.channels = stages->depthwise.in_channels = end - begin;
    stages->depthwise.weights += begin / b->table->lanes * stages->depthwise.block;
    w.depthwise = &stages->depthwise;
    if (!b->chain.expand) {
        w.image += begin;
    } else {
        stages->expand = *b->chain.expand;
        stages->expand.first = begin;
        stages->expand.group_outputs = end - begin;
        w.expand = &stages->expand;
    }
    return w;
}

/* A row for the depthwise kernel cannot go on at the ring's other end: pixels of a sequence that are still needed move to the front
 * instead, where there is no room for those up to `end` behind them. */
static void make_room(walk *w, int64_t needed, int64_t end) {
    const dwc_block *b = w->b;
    if (end - w->held <= b->ring_rows) return;
    if (w->expanded > needed)
        memmove(w->ring, w->ring + (needed - w->held) * b->ring_pixel,
                (size_t)((w->expanded - needed) * b->ring_pixel) * sizeof(float));
    w->held = needed;
}

/* Input rows [begin, end) into the ring, in the one or two pieces that the ring's end makes of them. */
static void expand_rows(const walk *w, int64_t begin, int64_t end) {
    const dwc_block *b = w->b;
    /* Rows of some of the columns are short pieces of memory, which the CPU does not foresee: asking for what the next
     * chunk reads, 512x512 24 -> 144 -> 24 takes 42.9 ms instead of 43.7. Whole rows gain nothing by it. */
    const int64_t prefetch_rows =
        b->columns < b->extent.out_w ? b->chunk_rows * w->depthwise->window.stride_h : 0;
    const int64_t ring_row = w->in_columns * b->ring_pixel;
    while (begin < end) {
        const int64_t slot = b->sequence ? begin - w->held : begin % b->ring_rows;
        const int64_t stop = smaller(end, begin + b->ring_rows - slot);
        const dwc_matmul_rows rows = {.stage = w->expand,
                                      .x = w->image,
                                      .x_row = b->x.row,
                                      .x_pixel = b->x.pixel,
                                      .in_h = b->x.height,
                                      .in_w = w->in_columns,
                                      .y = w->ring + slot * ring_row,
                                      .y_row = ring_row,
                                      .y_pixel = b->ring_pixel,
                                      .out_w = w->in_columns,
                                      .row_begin = begin,
                                      .row_end = stop,
                                      .prefetch_rows = prefetch_rows,
                                      .column_end = w->expand->group_outputs};
        dwc_run_matmul_rows(&rows);
        begin = stop;
    }
}

/* The depthwise stage's rows [begin, end), which follow those of the call before, to y. */
static void next_rows(walk *w, int64_t begin, int64_t end, float *y) {
    const dwc_block *b = w->b;
    const dwconv_window *window = &w->depthwise->window;
    const int expanded = b->chain.expand != NULL;
    int64_t needed = begin * window->stride_h - b->extent.pad_top;
    int64_t needed_end =
        (end - 1) * window->stride_h - b->extent.pad_top + (window->kernel_h - 1) * window->dilation_h + 1;
    if (needed < 0) needed = 0;
    needed_end = smaller(needed_end, b->x.height);
    if (expanded) {
        if (b->sequence) make_room(w, needed, needed_end);
        expand_rows(w, w->expanded > needed ? w->expanded : needed, needed_end);
        if (needed_end > w->expanded) w->expanded = needed_end;
    }
    const float *x = expanded ? w->ring : w->image;
    dwc_depthwise_stage along = *w->depthwise;
    dwc_dw_call call;
    if (b->sequence) {
        dwc_turn_window(&along.window);
        dwc_view column = b->x;
        if (expanded) column.row = b->ring_pixel;
        call = dwc_stretch(&along, &column, x, w->held, b->extent.pad_top, begin, end);
    } else {
        call = (dwc_dw_call){.stage = w->depthwise,
                             .x = (const char *)x,
                             .x_row = bytes(expanded ? w->in_columns * b->ring_pixel : b->x.row),
                             .x_pixel = bytes(expanded ? b->ring_pixel : b->x.pixel),
                             .in_h = b->x.height,
                             .in_w = w->in_columns,
                             .ring_rows = expanded ? b->ring_rows : b->x.height,
                             .y_row = bytes(w->out_columns * b->chunk_pixel),
                             .out_w = w->out_columns,
                             .pad_top = b->extent.pad_top,
                             .pad_left = w->pad_left,
                             .row_begin = begin,
                             .row_end = end};
    }
    call.table = b->table;
    call.how = &b->how;
    call.y = (char *)y;
    call.y_pixel = bytes(b->chunk_pixel);
    call.channel_end = w->depthwise->channels;
    dwc_run_depthwise(&call);
}

/* Projects rows [begin, end) of an image, rows of b->row_pixels, from `hidden`: `columns` of them from `first` on. */
static void project_rows(const dwc_block *b, int64_t image, const float *hidden, int64_t begin, int64_t end,
                         int64_t first, int64_t columns) {
    const int flat = b->row_pixels != b->y.width;
    const int64_t x_row = flat ? b->x.pixel : b->x.row, y_row = flat ? b->y.pixel : b->y.row;
    const float *x = b->x.data + image * b->x.image + begin * x_row + first * b->x.pixel;
    const dwc_matmul_rows rows = {.stage = b->chain.project,
                                  .x = hidden,
                                  .x_row = columns * b->chunk_pixel,
                                  .x_pixel = b->chunk_pixel,
                                  .in_h = end - begin,
                                  .in_w = columns,
                                  .y = b->y.data + image * b->y.image + begin * y_row + first * b->y.pixel,
                                  .y_row = y_row,
                                  .y_pixel = b->y.pixel,
                                  .out_w = columns,
                                  .residual = b->add_residual ? x : NULL,
                                  .residual_row = x_row,
                                  .residual_pixel = b->x.pixel,
                                  .row_end = end - begin,
                                  .column_end = b->chain.project->group_outputs,
                                  .far_y = b->far_y};
    dwc_run_matmul_rows(&rows);
}

/* ---- scratch ------------------------------------------------------------------------------ */

static float *ring_of(const dwc_block *b, int worker) { return b->scratch + worker * b->worker_floats; }

static float *chunk_of(const dwc_block *b, int worker) { return ring_of(b, worker) + b->ring_floats; }

/* Of an image at work in two passes. */
typedef struct image_scratch {
    float *hidden; /* what depthwise gives, if it stays */
    float *row_sums, *gate, *squeezed;
} image_scratch;

/* Workers that share an image share the first place. */
static image_scratch image_scratch_of(const dwc_block *b, int worker) {
    const int64_t place = b->sharing > 1 ? 0 : worker;
    const int64_t channels = (b->chain.depthwise->channels + 15) / 16 * 16;
    float *hidden = b->scratch + b->workers * b->worker_floats + place * b->image_floats;
    float *row_sums = hidden + (b->keeps ? b->hidden_floats : 0);
    float *gate = row_sums + b->extent.out_h * channels;
    return (image_scratch){hidden, row_sums, gate, gate + channels};
}

/* ---- squeeze-and-excite ------------------------------------------------------------------- */

/* Sums of the rows [begin, end) of depthwise's output, for the channels of a walk. */
static void sum_rows(const walk *w, const float *rows, int64_t begin, int64_t end, float *row_sums) {
    const dwc_block *b = w->b;
    const int64_t channels = (b->chain.depthwise->channels + 15) / 16 * 16;
    for (int64_t row = begin; row < end; row++, rows += b->extent.out_w * b->chunk_pixel)
        b->table->sum_pixels(rows, b->chunk_pixel, b->extent.out_w, w->depthwise->channels,
                             row_sums + row * channels);
}

/* One of so many parts of a dense layer's outputs, in whole panels. */
static void dense_layer(const dwc_matmul_stage *stage, const float *x, float *y, int64_t part,
                        int64_t parts) {
    const int64_t panels = (stage->group_outputs + stage->panel - 1) / stage->panel;
    const dwc_matmul_rows rows = {
        .stage = stage,
        .x = x,
        .x_row = stage->group_inputs,
        .x_pixel = stage->group_inputs,
        .in_h = 1,
        .in_w = 1,
        .y = y,
        .y_row = stage->group_outputs,
        .y_pixel = stage->group_outputs,
        .out_w = 1,
        .row_end = 1,
        .column_begin = panels * part / parts * stage->panel,
        .column_end = smaller(panels * (part + 1) / parts * stage->panel, stage->group_outputs)};
    dwc_run_matmul_rows(&rows);
}

/* The mean of every channel, from the sums of all rows, added from the first to the last, and what squeezes it. Every
 * part computes all of the mean, which is in no other worker's way in the place of a chunk. */
static void squeeze(const dwc_block *b, int64_t part, int worker) {
    const image_scratch s = image_scratch_of(b, worker);
    const int64_t channels = b->chain.depthwise->channels;
    const float pixels = (float)(b->extent.out_h * b->extent.out_w);
    float *mean = chunk_of(b, worker);
    b->table->sum_pixels(s.row_sums, (channels + 15) / 16 * 16, b->extent.out_h, channels, mean);
    for (int64_t c = 0; c < channels; c++) mean[c] /= pixels;
    dense_layer(b->chain.squeeze, mean, s.squeezed, part, b->gate_parts);
}

/* The factor of every channel. */
static void excite(const dwc_block *b, int64_t part, int worker) {
    const image_scratch s = image_scratch_of(b, worker);
    dense_layer(b->chain.excite, s.squeezed, s.gate, part, b->gate_parts);
}

static void scale_rows(const dwc_block *b, const float *rows, int64_t pixels, const float *gate, float *y) {
    b->table->scale_pixels(rows, b->chunk_pixel, pixels, b->chain.depthwise->channels, gate, y,
                           b->chunk_pixel);
}

/* ---- one pass ----------------------------------------------------------------------------- */

/* A band of output rows from the input on; scaled by `gate`, if that is not NULL. */
static void run_band(const dwc_block *b, int64_t image, int64_t band, const float *gate, int worker) {
    const int64_t first = band * b->band_rows, last = smaller(first + b->band_rows, b->extent.out_h);
    float *chunk = chunk_of(b, worker);
    for (int64_t column = 0; column < b->extent.out_w; column += b->columns) {
        walk w = begin_columns(b, b->x.data + image * b->x.image, ring_of(b, worker), column);
        for (int64_t begin = first; begin < last; begin += b->chunk_rows) {
            const int64_t end = smaller(begin + b->chunk_rows, last);
            next_rows(&w, begin, end, chunk);
            if (gate) scale_rows(b, chunk, (end - begin) * w.out_columns, gate, chunk);
            project_rows(b, image, chunk, begin, end, w.out_first, w.out_columns);
        }
    }
}

static void band_task(void *context, int64_t item, int worker) {
    const dwc_block *b = context;
    run_band(b, item / b->bands, item % b->bands, NULL, worker);
}

/* ---- two passes --------------------------------------------------------------------------- */

/* What depthwise gives for a band or slice: kept, or only summed up. */
static void first_pass(const dwc_block *b, int64_t image, int64_t item, int worker) {
    const image_scratch s = image_scratch_of(b, worker);
    const int64_t slice = item % b->slices, channel = dwc_slice_begin(b, slice);
    const int64_t first = item / b->slices * b->band_rows;
    const int64_t last = smaller(first + b->band_rows, b->extent.out_h);
    slice_stages stages;
    walk w = begin_slice(b, b->x.data + image * b->x.image, ring_of(b, worker), slice, &stages);
    if (w.depthwise->channels == 0) return;
    for (int64_t begin = first; begin < last; begin += b->chunk_rows) {
        const int64_t end = smaller(begin + b->chunk_rows, last);
        float *rows =
            b->keeps ? s.hidden + begin * b->extent.out_w * b->chunk_pixel + channel : chunk_of(b, worker);
        next_rows(&w, begin, end, rows);
        if (b->chain.squeeze) sum_rows(&w, rows, begin, end, s.row_sums + channel);
    }
}

static void second_pass(const dwc_block *b, int64_t image, int64_t part, int worker) {
    const image_scratch s = image_scratch_of(b, worker);
    if (!b->keeps) {
        run_band(b, image, part, s.gate, worker);
        return;
    }
    const int64_t rows = b->extent.out_h * b->extent.out_w / b->row_pixels;
    const int64_t last = smaller((part + 1) * b->part_rows, rows);
    for (int64_t begin = part * b->part_rows; begin < last; begin += b->step_rows) {
        const int64_t end = smaller(begin + b->step_rows, last);
        float *hidden = s.hidden + begin * b->row_pixels * b->chunk_pixel;
        if (b->chain.squeeze) {
            float *scaled = b->scales_apart ? chunk_of(b, worker) : hidden;
            scale_rows(b, hidden, (end - begin) * b->row_pixels, s.gate, scaled);
            hidden = scaled;
        }
        project_rows(b, image, hidden, begin, end, 0, b->row_pixels);
    }
}

static void image_task(void *context, int64_t image, int worker) {
    const dwc_block *b = context;
    for (int64_t item = 0; item < b->bands * b->slices; item++) first_pass(b, image, item, worker);
    if (b->chain.squeeze) {
        squeeze(b, 0, worker);
        excite(b, 0, worker);
    }
    for (int64_t part = 0; part < b->parts; part++) second_pass(b, image, part, worker);
}

typedef struct shared_image {
    const dwc_block *b;
    int64_t image;
} shared_image;

static void first_task(void *context, int64_t item, int worker) {
    const shared_image *s = context;
    first_pass(s->b, s->image, item, worker);
}

static void squeeze_task(void *context, int64_t item, int worker) {
    const shared_image *s = context;
    squeeze(s->b, item, worker);
}

static void excite_task(void *context, int64_t item, int worker) {
    const shared_image *s = context;
    excite(s->b, item, worker);
}

static void second_task(void *context, int64_t item, int worker) {
    const shared_image *s = context;
    second_pass(s->b, s->image, item, worker);
}

static void share_images(dwc_block *b, const dwconv_threads *threads) {
    const dwc_matmul_stage *squeeze = b->chain.squeeze;
    int64_t gate_items = 0;
    if (b->chain.squeeze) {
        const double weights = (double)squeeze->depth * (double)squeeze->padded;
        const double layer = dwc_nanoseconds(dwc_matmul_work(squeeze, 1), weights);
        gate_items = b->gate_parts = dwc_worker_count(threads, layer) > 1 ? b->workers : 1;
    }
    const dwc_phase phases[] = {{b->bands * b->slices, first_task},
                                {gate_items, squeeze_task},
                                {gate_items, excite_task},
                                {b->parts, second_task}};
    for (int64_t image = 0; image < b->x.batch; image++) {
        shared_image s = {b, image};
        dwc_parallel_phases(threads, b->workers, phases, 4, &s);
    }
}

static dwconv_status check_scratch(const dwc_block *b, const void *scratch, size_t bytes, size_t needed) {
    if (!scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (bytes < needed) return DWCONV_TOO_SMALL;
    return dwc_view_meets(&b->x, scratch, needed) || dwc_view_meets(&b->y, scratch, needed) ? DWCONV_OVERLAP
                                                                                            : DWCONV_OK;
}

dwconv_status dwc_run_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, void *scratch,
                            size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_block b = {.x = *x, .y = *y, .gate_parts = 1, .scratch = scratch};
    dwc_depthwise_stage turned;
    size_t needed;
    dwc_begin_block(&b, plan, &turned);
    DWC_TRY(dwc_cut_block(&b, threads, &needed));
    DWC_TRY(check_scratch(&b, scratch, scratch_bytes, needed));
    if (b.passes == 1)
        dwc_parallel(threads, b.workers, x->batch * b.bands, band_task, &b);
    else if (b.sharing == 1)
        dwc_parallel(threads, b.workers, x->batch, image_task, &b);
    else
        share_images(&b, threads);
    return DWCONV_OK;
}
