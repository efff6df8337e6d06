/* The stages of a block, chunk by chunk, and the passes that are made of them: see dwc_block_schedule. */
#include <string.h>

#include "depthwise.h"
#include "run.h"

typedef struct block {
    const dwc_kernel_table *table;
    const dwc_chain *chain;
    dwc_block_schedule how;
    dwc_depthwise_stage depthwise; /* with the window as it is walked */
    float *scratch;
    int64_t image; /* that all workers share; else each has its own */
} block;

/* ---- stages ------------------------------------------------------------------------------- */

/* Columns of a band on their way through expansion and depthwise, all channels or a slice of them. */
typedef struct walk {
    const block *b;
    int64_t out_first, out_columns; /* of the output */
    int64_t in_columns, pad_left;   /* what these see of the input, and of the padding before it */
    const dwc_matmul_stage *expand; /* of the plan, or of a slice */
    const dwc_depthwise_stage *depthwise;
    const float *image; /* from the first of these columns on; where it is not expanded, of these channels */
    float *ring;
    int64_t held, expanded; /* rows in the ring: of a sequence the first one, and one past the last */
} walk;

/* The columns are an image of their own to both stages: its padding ends where the real one does. */
static walk begin_columns(const block *b, const float *image, float *ring, int64_t out_first) {
    const dwc_frame *f = &b->how.frame;
    const dwconv_window *window = &b->depthwise.window;
    const int64_t out_columns = smaller(b->how.chunks.columns, f->extent.out_w - out_first);
    const int64_t begin = out_first * window->stride_w - f->extent.pad_left, in_first = larger(begin, 0);
    const int64_t last =
        begin + (out_columns - 1) * window->stride_w + (window->kernel_w - 1) * window->dilation_w;
    const int64_t in_end = smaller(last + 1, f->x.width);
    return (walk){.b = b,
                  .out_first = out_first,
                  .out_columns = out_columns,
                  .in_columns = larger(in_end - in_first, 0),
                  .pad_left = in_first - begin,
                  .expand = b->chain->expand,
                  .depthwise = &b->depthwise,
                  .image = image + in_first * f->x.pixel,
                  .ring = ring};
}

typedef struct slice_stages {
    dwc_matmul_stage expand;
    dwc_depthwise_stage depthwise;
} slice_stages;

/* All columns of a slice, whose stages are written to `stages`. */
static walk begin_slice(const block *b, const float *image, float *ring, int64_t slice,
                        slice_stages *stages) {
    const int64_t begin = dwc_slice_begin(&b->how.slices, slice),
                  end = dwc_slice_begin(&b->how.slices, slice + 1);
    walk w = begin_columns(b, image, ring, 0);
    if (b->how.slices.count == 1) return w;
    stages->depthwise = b->depthwise;
    stages->depthwise.channels = stages->depthwise.in_channels = end - begin;
    stages->depthwise.weights += begin / b->table->lanes * stages->depthwise.block;
    w.depthwise = &stages->depthwise;
    if (!b->chain->expand) {
        w.image += begin;
    } else {
        stages->expand = *b->chain->expand;
        stages->expand.first = begin;
        stages->expand.group_outputs = end - begin;
        w.expand = &stages->expand;
    }
    return w;
}

/* A row for the depthwise kernel cannot go on at the ring's other end: pixels of a sequence that are still needed
 * move to the front instead, where there is no room for those up to `end` behind them. */
static void make_room(walk *w, int64_t needed, int64_t end) {
    const block *b = w->b;
    const dwc_chunks *c = &b->how.chunks;
    if (end - w->held <= c->ring_rows) return;
    if (w->expanded > needed)
        memmove(w->ring, w->ring + (needed - w->held) * c->ring_pixel,
                (size_t)((w->expanded - needed) * c->ring_pixel) * sizeof(float));
    w->held = needed;
}

/* Input rows [begin, end) into the ring, in the one or two pieces that the ring's end makes of them. */
static void expand_rows(const walk *w, int64_t begin, int64_t end) {
    const block *b = w->b;
    const dwc_frame *f = &b->how.frame;
    const dwc_chunks *c = &b->how.chunks;
    const int64_t ring_row = w->in_columns * c->ring_pixel;
    while (begin < end) {
        const int64_t slot = f->sequence ? begin - w->held : begin % c->ring_rows;
        const int64_t stop = smaller(end, begin + c->ring_rows - slot);
        const dwc_matmul_rows rows = {.stage = w->expand,
                                      .how = &b->how.expand,
                                      .x = w->image,
                                      .x_row = f->x.row,
                                      .x_pixel = f->x.pixel,
                                      .in_h = f->x.height,
                                      .in_w = w->in_columns,
                                      .y = w->ring + slot * ring_row,
                                      .y_row = ring_row,
                                      .y_pixel = c->ring_pixel,
                                      .out_w = w->in_columns,
                                      .row_begin = begin,
                                      .row_end = stop,
                                      .column_end = w->expand->group_outputs};
        dwc_run_matmul_rows(&rows);
        begin = stop;
    }
}

/* The depthwise stage's rows [begin, end), which follow those of the call before, to y. */
static void next_rows(walk *w, int64_t begin, int64_t end, float *y) {
    const block *b = w->b;
    const dwc_frame *f = &b->how.frame;
    const dwc_chunks *c = &b->how.chunks;
    const dwconv_window *window = &w->depthwise->window;
    const int expanded = b->chain->expand != NULL;
    const int64_t needed = larger(begin * window->stride_h - f->extent.pad_top, 0);
    const int64_t last =
        (end - 1) * window->stride_h - f->extent.pad_top + (window->kernel_h - 1) * window->dilation_h;
    const int64_t needed_end = smaller(last + 1, f->x.height);
    if (expanded) {
        if (f->sequence) make_room(w, needed, needed_end);
        expand_rows(w, larger(w->expanded, needed), needed_end);
        w->expanded = larger(w->expanded, needed_end);
    }
    const float *x = expanded ? w->ring : w->image;
    dwc_depthwise_stage along = *w->depthwise;
    dwc_dw_call call;
    if (f->sequence) {
        dwc_turn_window(&along.window);
        dwc_view column = f->x;
        if (expanded) column.row = c->ring_pixel;
        call = dwc_stretch(&along, &column, x, w->held, f->extent.pad_top, begin, end);
    } else {
        call = (dwc_dw_call){.stage = w->depthwise,
                             .x = (const char *)x,
                             .x_row = in_bytes(expanded ? w->in_columns * c->ring_pixel : f->x.row),
                             .x_pixel = in_bytes(expanded ? c->ring_pixel : f->x.pixel),
                             .in_h = f->x.height,
                             .in_w = w->in_columns,
                             .ring_rows = expanded ? c->ring_rows : f->x.height,
                             .y_row = in_bytes(w->out_columns * c->pixel),
                             .out_w = w->out_columns,
                             .pad_top = f->extent.pad_top,
                             .pad_left = w->pad_left,
                             .row_begin = begin,
                             .row_end = end};
    }
    call.table = b->table;
    call.how = &b->how.depthwise;
    call.y = (char *)y;
    call.y_pixel = in_bytes(c->pixel);
    call.channel_end = w->depthwise->channels;
    dwc_run_depthwise(&call);
}

/* Projects rows [begin, end) of an image, rows of row_pixels, from `hidden`: `columns` of them from `first` on. */
static void project_rows(const block *b, int64_t image, const float *hidden, int64_t begin, int64_t end,
                         int64_t first, int64_t columns) {
    const dwc_frame *f = &b->how.frame;
    const dwc_chunks *c = &b->how.chunks;
    const int flat = b->how.second.row_pixels != f->y.width;
    const int64_t x_row = flat ? f->x.pixel : f->x.row, y_row = flat ? f->y.pixel : f->y.row;
    const float *x = f->x.data + image * f->x.image + begin * x_row + first * f->x.pixel;
    const dwc_matmul_rows rows = {.stage = b->chain->project,
                                  .how = &b->how.project,
                                  .x = hidden,
                                  .x_row = columns * c->pixel,
                                  .x_pixel = c->pixel,
                                  .in_h = end - begin,
                                  .in_w = columns,
                                  .y = f->y.data + image * f->y.image + begin * y_row + first * f->y.pixel,
                                  .y_row = y_row,
                                  .y_pixel = f->y.pixel,
                                  .out_w = columns,
                                  .residual = b->how.add_residual ? x : NULL,
                                  .residual_row = x_row,
                                  .residual_pixel = f->x.pixel,
                                  .row_end = end - begin,
                                  .column_end = b->chain->project->group_outputs};
    dwc_run_matmul_rows(&rows);
}

/* ---- scratch ------------------------------------------------------------------------------ */

static float *ring_of(const block *b, int worker) { return b->scratch + worker * b->how.worker_floats; }

static float *chunk_of(const block *b, int worker) { return ring_of(b, worker) + b->how.ring_floats; }

/* Of an image at work in two passes. */
typedef struct image_scratch {
    float *hidden; /* what depthwise gives, if it stays */
    float *row_sums, *gate, *squeezed;
} image_scratch;

/* Workers that share an image share the first place. */
static image_scratch image_scratch_of(const block *b, int worker) {
    const int64_t place = b->how.sharing > 1 ? 0 : worker;
    float *hidden = b->scratch + b->how.workers * b->how.worker_floats + place * b->how.image_floats;
    float *row_sums = hidden + b->how.hidden_floats;
    float *gate = row_sums + b->how.frame.extent.out_h * b->how.sum_floats;
    return (image_scratch){hidden, row_sums, gate, gate + b->how.sum_floats};
}

/* ---- squeeze-and-excite ------------------------------------------------------------------- */

/* Sums of the rows [begin, end) of depthwise's output, for the channels of a walk. */
static void sum_rows(const walk *w, const float *rows, int64_t begin, int64_t end, float *row_sums) {
    const block *b = w->b;
    const int64_t pixel = b->how.chunks.pixel, width = b->how.frame.extent.out_w;
    for (int64_t row = begin; row < end; row++, rows += width * pixel)
        b->table->sum_pixels(rows, pixel, width, w->depthwise->channels, row_sums + row * b->how.sum_floats);
}

/* One of so many parts of a dense layer's outputs, in whole panels. */
static void dense_layer(const dwc_matmul_stage *stage, const dwc_mm_schedule *how, const float *x, float *y,
                        int64_t part, int64_t parts) {
    const int64_t panels = divide_up(stage->group_outputs, stage->panel);
    const dwc_matmul_rows rows = {
        .stage = stage,
        .how = how,
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
static void squeeze(void *context, int64_t part, int worker) {
    const block *b = context;
    const image_scratch s = image_scratch_of(b, worker);
    const dwc_extent *e = &b->how.frame.extent;
    const int64_t channels = b->chain->depthwise->channels;
    const float pixels = (float)(e->out_h * e->out_w);
    float *mean = chunk_of(b, worker);
    b->table->sum_pixels(s.row_sums, b->how.sum_floats, e->out_h, channels, mean);
    for (int64_t c = 0; c < channels; c++) mean[c] /= pixels;
    dense_layer(b->chain->squeeze, &b->how.squeeze, mean, s.squeezed, part, b->how.second.gate_parts);
}

/* The factor of every channel. */
static void excite(void *context, int64_t part, int worker) {
    const block *b = context;
    const image_scratch s = image_scratch_of(b, worker);
    dense_layer(b->chain->excite, &b->how.excite, s.squeezed, s.gate, part, b->how.second.gate_parts);
}

static void scale_rows(const block *b, const float *rows, int64_t pixels, const float *gate, float *y) {
    const int64_t pixel = b->how.chunks.pixel;
    b->table->scale_pixels(rows, pixel, pixels, b->chain->depthwise->channels, gate, y, pixel);
}

/* ---- one pass ----------------------------------------------------------------------------- */

/* A band of output rows from the input on; scaled by `gate`, if that is not NULL. */
static void run_band(const block *b, int64_t image, int64_t band, const float *gate, int worker) {
    const dwc_frame *f = &b->how.frame;
    const dwc_chunks *c = &b->how.chunks;
    const int64_t first = band * b->how.band_rows, last = smaller(first + b->how.band_rows, f->extent.out_h);
    float *chunk = chunk_of(b, worker);
    for (int64_t column = 0; column < f->extent.out_w; column += c->columns) {
        walk w = begin_columns(b, f->x.data + image * f->x.image, ring_of(b, worker), column);
        for (int64_t begin = first; begin < last; begin += c->rows) {
            const int64_t end = smaller(begin + c->rows, last);
            next_rows(&w, begin, end, chunk);
            if (gate) scale_rows(b, chunk, (end - begin) * w.out_columns, gate, chunk);
            project_rows(b, image, chunk, begin, end, w.out_first, w.out_columns);
        }
    }
}

static void band_task(void *context, int64_t item, int worker) {
    const block *b = context;
    run_band(b, item / b->how.bands, item % b->how.bands, NULL, worker);
}

/* ---- two passes --------------------------------------------------------------------------- */

/* What depthwise gives for a band or slice: kept, or only summed up. */
static void first_pass(const block *b, int64_t image, int64_t item, int worker) {
    const dwc_frame *f = &b->how.frame;
    const dwc_chunks *c = &b->how.chunks;
    const image_scratch s = image_scratch_of(b, worker);
    const int64_t slice = item % b->how.slices.count, channel = dwc_slice_begin(&b->how.slices, slice);
    const int64_t first = item / b->how.slices.count * b->how.band_rows;
    const int64_t last = smaller(first + b->how.band_rows, f->extent.out_h);
    slice_stages stages;
    walk w = begin_slice(b, f->x.data + image * f->x.image, ring_of(b, worker), slice, &stages);
    if (w.depthwise->channels == 0) return;
    for (int64_t begin = first; begin < last; begin += c->rows) {
        const int64_t end = smaller(begin + c->rows, last);
        float *rows =
            b->how.keeps ? s.hidden + begin * f->extent.out_w * c->pixel + channel : chunk_of(b, worker);
        next_rows(&w, begin, end, rows);
        if (b->chain->squeeze) sum_rows(&w, rows, begin, end, s.row_sums + channel);
    }
}

static void second_pass(const block *b, int64_t image, int64_t part, int worker) {
    const dwc_frame *f = &b->how.frame;
    const dwc_second_pass *second = &b->how.second;
    const image_scratch s = image_scratch_of(b, worker);
    if (!b->how.keeps) {
        run_band(b, image, part, s.gate, worker);
        return;
    }
    const int64_t rows = f->extent.out_h * f->extent.out_w / second->row_pixels;
    const int64_t last = smaller((part + 1) * second->part_rows, rows);
    for (int64_t begin = part * second->part_rows; begin < last; begin += second->step_rows) {
        const int64_t end = smaller(begin + second->step_rows, last);
        float *hidden = s.hidden + begin * second->row_pixels * b->how.chunks.pixel;
        if (b->chain->squeeze) {
            float *scaled = b->how.sharing > 1 ? chunk_of(b, worker) : hidden;
            scale_rows(b, hidden, (end - begin) * second->row_pixels, s.gate, scaled);
            hidden = scaled;
        }
        project_rows(b, image, hidden, begin, end, 0, second->row_pixels);
    }
}

static void image_task(void *context, int64_t image, int worker) {
    const block *b = context;
    for (int64_t item = 0; item < b->how.bands * b->how.slices.count; item++)
        first_pass(b, image, item, worker);
    if (b->chain->squeeze) {
        squeeze(context, 0, worker);
        excite(context, 0, worker);
    }
    for (int64_t part = 0; part < b->how.second.parts; part++) second_pass(b, image, part, worker);
}

static void first_task(void *context, int64_t item, int worker) {
    const block *b = context;
    first_pass(b, b->image, item, worker);
}

static void second_task(void *context, int64_t item, int worker) {
    const block *b = context;
    second_pass(b, b->image, item, worker);
}

static void share_images(block *b, const dwconv_threads *threads) {
    const int64_t gates = b->chain->squeeze ? b->how.second.gate_parts : 0;
    const dwc_phase phases[] = {{b->how.bands * b->how.slices.count, first_task},
                                {gates, squeeze},
                                {gates, excite},
                                {b->how.second.parts, second_task}};
    for (b->image = 0; b->image < b->how.frame.x.batch; b->image++)
        dwc_parallel_phases(threads, b->how.workers, phases, DWC_MOST_PHASES, b);
}

static dwconv_status check_scratch(const dwc_block_schedule *s, const void *scratch, size_t size) {
    const size_t needed = s->scratch_bytes;
    if (!scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (size < needed) return DWCONV_TOO_SMALL;
    const int meets =
        dwc_view_meets(&s->frame.x, scratch, needed) || dwc_view_meets(&s->frame.y, scratch, needed);
    return meets ? DWCONV_OVERLAP : DWCONV_OK;
}

dwconv_status dwc_run_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, void *scratch,
                            size_t scratch_bytes, const dwconv_threads *threads) {
    const dwc_machine machine = dwc_this_machine();
    block b;
    DWC_TRY(dwc_schedule_block(plan, x, y, threads, &machine, &b.how));
    DWC_TRY(check_scratch(&b.how, scratch, scratch_bytes));
    b.table = plan->table;
    b.chain = &plan->chain;
    b.depthwise = *plan->chain.depthwise;
    b.depthwise.window = b.how.frame.window;
    b.scratch = scratch;
    if (b.how.passes == DWC_ONE_PASS)
        dwc_parallel(threads, b.how.workers, x->batch * b.how.bands, band_task, &b);
    else if (b.how.sharing == 1)
        dwc_parallel(threads, b.how.workers, x->batch, image_task, &b);
    else
        share_images(&b, threads);
    return DWCONV_OK;
}
