/* How a block runs: passes, bands, slices, the sizes of ring and chunk. cost.c tells what it takes. */
#include "schedule.h"

/* ---- room ------------------------------------------------------------------------------------- */

/* Ring and chunk stay in the second-level cache, beside weights and input. */
static int64_t scratch_floats(const dwc_machine *m) {
    return DWC_FLOATS(smaller(m->l2_bytes, DWC_MOST_CACHE) / 8 * 5);
}

/* The expanded image of a slice, which is read right after it is written, or pixels that are scaled. */
static int64_t slice_floats(const dwc_machine *m) { return DWC_FLOATS(m->l2_bytes / 4); }

/* Pixels a multiple of 1 KB or so apart compete for the same few sets of the first-level cache: an odd number of
 * lines takes each to another. */
static int64_t scratch_pixel(int64_t channels) {
    const int64_t lines = divide_up(channels, DWC_LINE_FLOATS);
    return channels < DWC_DENSE_CHANNELS ? channels : (lines | 1) * DWC_LINE_FLOATS;
}

static int64_t whole_lines(int64_t floats) { return round_up(floats, DWC_LINE_FLOATS); }

static int64_t whole_pairs(int64_t rows) { return round_up(rows, DWC_TILE_ROWS); }

static int64_t ring_rows(const dwc_block_problem *p, int64_t chunk_rows) {
    const dwconv_window *w = &p->frame->window;
    return smaller(p->frame->x.height,
                   (chunk_rows - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1);
}

/* Input columns that so many output columns see, padding included. */
static int64_t columns_seen(const dwconv_window *w, int64_t columns) {
    return (columns - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
}

/* ---- slices of channels ----------------------------------------------------------------------- */

int64_t dwc_slice_begin(const dwc_slices *s, int64_t slice) {
    const int64_t first = slice / s->share_slices * s->share_channels, part = slice % s->share_slices;
    const int64_t end = smaller(first + s->share_channels, s->channels);
    return smaller(larger(first / s->unit * s->unit + part * s->step, first), end);
}

static dwc_slices all_channels(int64_t channels) {
    return (dwc_slices){.count = 1,
                        .channels = channels,
                        .most = channels,
                        .unit = 1,
                        .share_channels = channels,
                        .share_slices = 1};
}

/* An equal share for every worker, and a share in slices whose ring has room for what so many rows of output see.
 * None if the image is too large, or shares are fewer than workers. */
static dwc_slices cut_slices(const dwc_block_problem *p, int64_t workers, int64_t chunk_rows) {
    const dwc_chain *chain = p->chain;
    const int64_t share_unit = dwc_share_unit(p);
    const int64_t channels = chain->depthwise->channels, units = divide_up(channels, share_unit);
    const int64_t panel = chain->expand ? chain->expand->panel : DWC_LINE_FLOATS;
    const int64_t fit = slice_floats(p->machine) / ring_rows(p, chunk_rows) / p->frame->x.width;
    const int64_t unit = panel > fit || panel % p->table->lanes ? DWC_LINE_FLOATS : panel;
    if (chain->depthwise->multiplier > 1 || units < workers || fit < unit) return (dwc_slices){0};
    const int64_t share = divide_up(units, workers) * share_unit;
    const int64_t seen = share / unit + (share % unit ? 2 : 0), share_slices = divide_up(seen, fit / unit);
    dwc_slices s = {.count = divide_up(channels, share) * share_slices,
                    .channels = channels,
                    .unit = unit,
                    .step = divide_up(seen, share_slices) * unit,
                    .share_channels = share,
                    .share_slices = share_slices};
    for (int64_t slice = 0; slice < s.count; slice++)
        s.most = larger(s.most, dwc_slice_begin(&s, slice + 1) - dwc_slice_begin(&s, slice));
    return s;
}

/* ---- chunks ----------------------------------------------------------------------------------- */

/* Chunks of so many rows and all columns, of slices of so many channels. */
static dwc_chunks chunks_of(const dwc_block_problem *p, int64_t rows, int64_t channels) {
    const int expands = p->chain->expand != NULL;
    return (dwc_chunks){.columns = p->frame->extent.out_w,
                        .rows = rows,
                        .ring_rows = expands ? ring_rows(p, rows) : 0,
                        .ring_pixel = expands ? scratch_pixel(channels) : 0,
                        .pixel = scratch_pixel(p->chain->depthwise->channels)};
}

/* Output columns that scratch has room for, at most all; 0 if there is none. In floating point, since a product of
 * sizes may be beyond int64. */
static int64_t fitting_columns(const dwc_block_problem *p, const dwc_chunks *c, int64_t floats) {
    const dwconv_window *w = &p->frame->window;
    const int64_t width = p->frame->extent.out_w;
    const double room = (double)floats, ring_column = (double)c->ring_rows * (double)c->ring_pixel,
                 chunk_column = (double)c->rows * (double)c->pixel;
    if (ring_column * (double)p->frame->x.width + chunk_column * (double)width <= room) return width;
    const double shared = (double)(columns_seen(w, 1) - w->stride_w); /* with the columns before */
    const double fit = (room - ring_column * shared) / (ring_column * (double)w->stride_w + chunk_column);
    return fit < 1 ? 0 : fit < (double)width ? (int64_t)fit : width;
}

/* The largest of as few equal shares of the output's columns as are no wider than that. */
static int64_t share_of_columns(int64_t width, int64_t most) {
    return most > 0 ? divide_up(width, divide_up(width, most)) : 0;
}

static int64_t most_chunk_rows(const dwc_frame *f, int64_t pixel) {
    const int64_t rows = (f->sequence ? 2 : 1) * DWC_CHUNK_FLOATS / pixel / f->extent.out_w;
    return smaller(larger(rows / DWC_TILE_ROWS * DWC_TILE_ROWS, DWC_CHUNK_ROWS), f->extent.out_h);
}

/* As many rows as fit with all columns, but no fewer than make DWC_LEAST_PIXELS, in near-equal shares of the
 * image. If two do not fit, two rows of as many columns as fit, or as DWC_MOST_FLOATS hold where these would be
 * narrow, or else single rows. Whole pairs of rows: tiles are two rows high. Two passes, of which the first keeps
 * what it gives, have all columns. */
static dwc_chunks cut_bands(const dwc_block_problem *p, int one_pass) {
    const dwc_frame *f = p->frame;
    const int64_t width = f->extent.out_w, height = f->extent.out_h, room = scratch_floats(p->machine);
    const int64_t channels = p->chain->depthwise->in_channels;
    const int64_t pixel = scratch_pixel(p->chain->depthwise->channels);
    const int64_t least = width < DWC_LEAST_PIXELS ? whole_pairs(divide_up(DWC_LEAST_PIXELS, width)) : 0;
    int64_t fit = 0;
    dwc_chunks c = {0};
    for (int64_t rows = most_chunk_rows(f, pixel); rows > 0;
         rows = rows > 2 ? (rows - 1) / 2 * 2 : rows - 1) {
        c = chunks_of(p, rows, channels);
        fit = fitting_columns(p, &c, rows <= least ? DWC_MOST_FLOATS : room);
        if (fit == width)
            return chunks_of(p, smaller(rows, whole_pairs(divide_up(height, divide_up(height, rows)))),
                             channels);
        c.columns = share_of_columns(width, fit);
        if (one_pass && rows <= 2 && c.columns >= DWC_NARROW_COLUMNS) return c;
        if (one_pass && rows == 2 && room < DWC_MOST_FLOATS) {
            c.columns = share_of_columns(width, fitting_columns(p, &c, DWC_MOST_FLOATS));
            if (c.columns >= DWC_LEAST_COLUMNS) return c;
        }
    }
    if (!one_pass || width <= DWC_NARROW_COLUMNS)
        c.columns = width;
    else if (fit < DWC_NARROW_COLUMNS)
        c.columns = divide_up(width, width / DWC_NARROW_COLUMNS);
    return c;
}

/* The floats of ring and chunk; 0 if they do not fit int64. */
static int size_of_chunks(const dwc_block_problem *p, const dwc_chunks *c, int64_t *ring, int64_t *chunk) {
    const int64_t seen = smaller(columns_seen(&p->frame->window, c->columns), p->frame->x.width);
    return dwc_multiply(c->ring_rows * seen, c->ring_pixel, ring) &&
           dwc_multiply(c->rows * c->columns, c->pixel, chunk) && *ring <= INT64_MAX / 16 - *chunk;
}

/* Whether one pass has no room for what makes it worth it: it would read all weights for few pixels each time, or
 * rows of the ring again and again. Weights of a quarter of the last cache, which is shared, come from memory for
 * every chunk. */
static int is_cramped(const dwc_block_problem *p, const dwc_chunks *c, int64_t ring_floats) {
    const dwc_matmul_stage *expand = p->chain->expand, *project = p->chain->project;
    const dwc_extent *e = &p->frame->extent;
    const double weights =
        (double)expand->depth * (double)expand->padded + (double)project->depth * (double)project->padded;
    const double quarter = (double)DWC_FLOATS(dwc_far_bytes(p->machine) / 3 * 2);
    const int64_t least = weights >= quarter ? DWC_LEAST_PIXELS : DWC_CRAMPED_PIXELS;
    if (c->rows * c->columns < smaller(least, e->out_h * e->out_w)) return 1;
    return ring_floats > scratch_floats(p->machine) &&
           c->ring_rows >= DWC_CRAMPED_READINGS * c->rows * p->frame->window.stride_h;
}

/* Sets passes, chunks, slices and the ring; returns the floats of a chunk of bands. Slices come first where
 * channels are summed up, or shared by workers, and an image is low; and last, where bands have no room. */
static dwconv_status choose_passes(const dwc_block_problem *p, dwc_block_schedule *s, int64_t *chunk) {
    const dwc_frame *f = p->frame;
    const int64_t height = f->extent.out_h;
    const int squeezes = p->chain->squeeze != NULL;
    const int shares = s->sharing > 1 && dwc_slices_pay(p, s->sharing);
    int64_t rows = height;
    s->passes = squeezes ? DWC_TWO_FOR_SUMS : DWC_ONE_PASS;
    s->slices = (dwc_slices){0};
    if (s->keeps && height < DWC_LOW_ROWS && (squeezes || shares))
        s->slices = cut_slices(p, s->sharing, rows);
    if (s->slices.count) {
        s->passes = squeezes ? DWC_TWO_FOR_SUMS : DWC_TWO_FOR_SHARES;
    } else {
        s->chunks = cut_bands(p, !squeezes);
        if (!size_of_chunks(p, &s->chunks, &s->ring_floats, chunk)) return DWCONV_OVERFLOW;
        rows = smaller(f->sequence ? DWC_SLICED_PIXELS : DWC_CHUNK_ROWS, height);
        if (s->keeps && !squeezes && p->chain->expand && is_cramped(p, &s->chunks, s->ring_floats))
            s->slices = cut_slices(p, s->sharing, rows);
        if (s->slices.count) s->passes = DWC_TWO_FOR_ROOM;
    }
    if (!s->slices.count) {
        s->slices = all_channels(p->chain->depthwise->channels);
        s->bands = smaller(s->sharing, height); /* equal shares, the least halo */
    } else {                                    /* one slice is at work at a time */
        s->chunks = chunks_of(p, rows, s->slices.most);
        s->ring_floats = s->chunks.ring_rows * f->x.width * s->chunks.ring_pixel;
        s->bands = 1;
    }
    s->band_rows = divide_up(height, s->bands);
    s->bands = divide_up(height, s->band_rows);
    return DWCONV_OK;
}

/* ---- the second pass -------------------------------------------------------------------------- */

static int is_dense(const dwc_view *v) { return v->height == 1 || v->row == v->width * v->pixel; }

/* Pixels that are scaled and then projected: their channels stay in the second-level cache. */
static int64_t scaled_pixels(const dwc_block_problem *p, int64_t pixel) {
    const dwc_extent *e = &p->frame->extent;
    return smaller(e->out_h * e->out_w, larger(slice_floats(p->machine) / pixel, e->out_w));
}

/* Workers share a dense layer of squeeze-and-excite if it alone would be worth it. */
static int64_t gate_parts(const dwc_matmul_stage *squeeze, const dwc_block_schedule *s,
                          const dwconv_threads *threads) {
    if (!squeeze || s->sharing == 1) return 1;
    const double weights = (double)squeeze->depth * (double)squeeze->padded;
    const double layer = dwc_nanoseconds(dwc_matmul_work(squeeze, 1), weights);
    return dwc_worker_count(threads, layer) > 1 ? s->workers : 1;
}

static dwc_second_pass cut_second_pass(const dwc_block_problem *p, const dwc_block_schedule *s,
                                       const dwconv_threads *threads) {
    const dwc_frame *f = p->frame;
    const int64_t out_h = f->extent.out_h, out_w = f->extent.out_w;
    const int64_t gates = gate_parts(p->chain->squeeze, s, threads);
    if (!s->keeps) /* the bands again */
        return (dwc_second_pass){out_w, s->bands, s->band_rows, s->chunks.rows, gates};
    const int flat = is_dense(&f->y) && (!s->add_residual || is_dense(&f->x));
    const int64_t row_pixels = flat ? 1 : out_w, rows = flat ? out_h * out_w : out_h;
    const int64_t part_rows = divide_up(rows, s->sharing);
    const int64_t step = p->chain->squeeze ? scaled_pixels(p, s->chunks.pixel) / row_pixels : part_rows;
    return (dwc_second_pass){row_pixels, divide_up(rows, part_rows), part_rows, step, gates};
}

/* ---- scratch ---------------------------------------------------------------------------------- */

/* The place of a chunk in two passes, of which the first one's result stays: means, or what is scaled apart if
 * another worker's depthwise may have given it, whose lines scaling in place would take. */
static int64_t second_chunk(const dwc_block_problem *p, const dwc_block_schedule *s) {
    if (!p->chain->squeeze) return 0;
    return s->sharing > 1 ? s->second.step_rows * s->second.row_pixels * s->chunks.pixel : s->chunks.pixel;
}

static dwconv_status size_scratch(const dwc_block_problem *p, dwc_block_schedule *s, int64_t chunk) {
    const dwc_matmul_stage *squeeze = p->chain->squeeze;
    const int64_t channels = whole_lines(p->chain->depthwise->channels);
    const int64_t images = s->passes == DWC_ONE_PASS ? 0 : s->sharing > 1 ? 1 : s->workers;
    int64_t of_workers, of_images, sums = 0;
    if (!s->keeps || s->passes == DWC_ONE_PASS) s->hidden_floats = 0;
    s->sum_floats = channels;
    if (squeeze) {
        if (!dwc_multiply(p->frame->extent.out_h + 1, channels, &sums) ||
            sums > INT64_MAX / 16 - s->hidden_floats)
            return DWCONV_OVERFLOW;
        sums += whole_lines(squeeze->group_outputs);
    }
    s->image_floats = s->hidden_floats + sums;
    s->ring_floats = whole_lines(s->ring_floats);
    s->worker_floats = s->ring_floats + whole_lines(chunk);
    if (!dwc_multiply(s->worker_floats, s->workers, &of_workers) ||
        !dwc_multiply(s->image_floats, images, &of_images) || of_workers > PTRDIFF_MAX / 8 - of_images)
        return DWCONV_OVERFLOW;
    s->scratch_bytes = (size_t)(of_workers + of_images) * sizeof(float);
    return DWCONV_OK;
}

/* ---- the stages ------------------------------------------------------------------------------- */

static double bytes_of(const dwc_view *v) {
    return (double)v->batch * (double)v->height * (double)v->width * (double)v->channels * sizeof(float);
}

/* A chunk of the widest columns. Its input comes from a ring, or is the block's: then depthwise prefetches the
 * next chunk's, which the product of this one gives time to arrive. */
static dwc_dw_schedule schedule_depthwise(const dwc_block_problem *p, const dwc_block_schedule *s) {
    const dwc_frame *f = p->frame;
    const int expands = p->chain->expand != NULL;
    const int64_t ahead = s->passes == DWC_ONE_PASS ? s->chunks.rows : DWC_ROWS_AHEAD;
    const dwc_dw_shape shape = {.machine = p->machine,
                                .window = f->window,
                                .sequence = f->sequence,
                                .in_h = f->x.height,
                                .in_w = smaller(columns_seen(&f->window, s->chunks.columns), f->x.width),
                                .out_h = s->chunks.rows,
                                .out_w = s->chunks.columns,
                                .pad_top = f->extent.pad_top,
                                .pad_left = f->extent.pad_left,
                                .x_pixel = in_bytes(expands       ? s->chunks.ring_pixel
                                                    : f->sequence ? f->x.row
                                                                  : f->x.pixel),
                                .y_pixel = in_bytes(s->chunks.pixel),
                                .channels = s->slices.most,
                                .ring = expands,
                                .in_bytes = bytes_of(&f->x),
                                .moved_bytes = bytes_of(&f->x) + bytes_of(&f->y),
                                .rows_ahead = ahead * f->window.stride_h};
    return dwc_schedule_depthwise(p->chain->depthwise, p->table, &shape);
}

static void schedule_stages(const dwc_block_problem *p, dwc_block_schedule *s) {
    const dwc_chain *chain = p->chain;
    s->depthwise = schedule_depthwise(p, s);
    s->project = dwc_schedule_matmul(chain->project, chain->project->group_outputs);
    s->project.far_y = dwc_prefetches(chain->project, &p->frame->x, &p->frame->y, p->machine);
    if (chain->expand) {
        s->expand = dwc_schedule_matmul(chain->expand, chain->expand->group_outputs);
        /* Rows of some of the columns are short pieces of memory, which the CPU does not foresee. */
        if (s->chunks.columns < p->frame->extent.out_w)
            s->expand.rows_ahead = s->chunks.rows * p->frame->window.stride_h;
    }
    if (!chain->squeeze) return;
    s->squeeze = dwc_schedule_matmul(chain->squeeze, chain->squeeze->group_outputs);
    s->excite = dwc_schedule_matmul(chain->excite, chain->excite->group_outputs);
}

/* ---- blocks ----------------------------------------------------------------------------------- */

/* For so many workers, whether it is worth waking them or not. */
static dwconv_status schedule_for(const dwc_block_problem *p, int workers, const dwconv_threads *threads,
                                  dwc_block_schedule *s) {
    const dwc_view *x = &p->frame->x, *y = &p->frame->y;
    int64_t chunk = 0;
    s->add_residual = p->chain->add && x->height == y->height && x->width == y->width;
    s->nanoseconds = dwc_block_nanoseconds(p);
    s->workers = workers;
    s->sharing = x->batch % workers == 0 ? 1 : workers;
    s->keeps =
        dwc_multiply(y->height * y->width, scratch_pixel(p->chain->depthwise->channels), &s->hidden_floats) &&
        s->hidden_floats <= DWC_KEPT_FLOATS;
    DWC_TRY(choose_passes(p, s, &chunk));
    s->second = (dwc_second_pass){.row_pixels = y->width};
    if (s->passes != DWC_ONE_PASS) {
        s->second = cut_second_pass(p, s, threads);
        if (s->keeps) chunk = second_chunk(p, s); /* bands write where it stays */
    }
    schedule_stages(p, s);
    return size_scratch(p, s, chunk);
}

dwconv_status dwc_schedule_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                 const dwconv_threads *threads, const dwc_machine *machine,
                                 dwc_block_schedule *s) {
    const int count = threads && threads->count > 1 ? threads->count : 1;
    *s = (dwc_block_schedule){0};
    DWC_TRY(dwc_frame_of(&plan->chain.depthwise->window, x, y, &s->frame));
    const dwc_block_problem p = {&plan->chain, plan->table, machine, &s->frame};
    const int workers = count > 1 ? dwc_worker_count(threads, dwc_worth_sharing(&p, count)) : 1;
    return schedule_for(&p, workers, threads, s);
}

/* *scratch, or more if so many workers need it. */
static dwconv_status add_workers(const dwc_block_problem *p, int workers, size_t *scratch) {
    dwc_block_schedule s = {0};
    DWC_TRY(schedule_for(p, workers, NULL, &s));
    if (*scratch < s.scratch_bytes) *scratch = s.scratch_bytes;
    return DWCONV_OK;
}

dwconv_status dwc_block_scratch(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, int threads,
                                const dwc_machine *machine, size_t *scratch) {
    dwc_frame frame;
    DWC_TRY(dwc_frame_of(&plan->chain.depthwise->window, x, y, &frame));
    const dwc_block_problem p = {&plan->chain, plan->table, machine, &frame};
    *scratch = 0;
    if (threads > 1) DWC_TRY(add_workers(&p, threads, scratch));
    return add_workers(&p, 1, scratch);
}
