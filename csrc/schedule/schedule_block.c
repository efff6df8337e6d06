/* How a block is run: passes, bands, slices, the sizes of ring and chunk. See block.h; block_cost.c for what it takes. */
#include "../block.h"
#include "../graph/text.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Ring and chunk should stay in the second-level cache, beside weights and input: 640 KB of 1 MB. 128x128 24 -> 144 -> 24
 * takes 2.5 ms, with 384 KB 2.6; no block gains by more. A larger cache does not change it: scratch is promised to be
 * less than 1 MB. */
static int64_t scratch_floats(void) {
    return smaller(dwc_cache_bytes(), 1 << 20) / 8 * 5 / (int64_t)sizeof(float);
}

/* The expanded image of a slice, which is read right after it is written, or pixels that are scaled. */
static int64_t slice_floats(void) { return dwc_cache_bytes() / 4 / (int64_t)sizeof(float); }

/* More rows than this share nothing more, weights are read once per 8 rows of pixels, unless they are so short that a
 * chunk takes less than 64 KB: a call of a stage costs 0.1 us, and leaves its last tiles unfilled. On Zen 3 256x14 8 -> 16,
 * 5x5 with stride 2, takes 11.6 us instead of 14.8, 49x1 64 -> 64 9.9 instead of 11.3 and 25x5 32 -> 96 -> 32 20.5
 * instead of 22.0. */
#define CHUNK_ROWS 8
#define CHUNK_FLOATS (64 * 1024 / (int64_t)sizeof(float))
/* Pixels of a narrow image that share each reading of the weights, even if ring and chunk exceed their share of the
 * cache for it: what does not fit comes from the next cache either way, and weights would come more often. On Zen 3,
 * with 512 KB, 26x26 96 -> 576 -> 96 takes 1.64 ms instead of 1.71, 13x13 160 -> 960 -> 320 1.63 instead of 1.69 and 10x10
 * 1536 -> 2048 7.4 instead of 8.0; with 28 pixels the last one gains nothing. */
#define LEAST_PIXELS 42
/* What they may take for it: scratch is promised to be less than 1 MB. */
#define MOST_FLOATS (640 * 1024 / (int64_t)sizeof(float))
/* One pass with chunks of fewer pixels, or with a ring beyond its share of the cache of which each chunk reads that many
 * times the rows that are new, takes longer than slices of channels: 14x14 320 -> 1920 -> 320, 7x7, 6.3 ms, sliced 5.5,
 * 28x28 96 -> 960 -> 96, 7x7, 4.9 and 3.8 (Zen 3). Of 44 blocks with 10 to 40 pixels a chunk others take 0.93 to 1.08 of the
 * time when sliced. Weights of a quarter of the last cache, which is shared, come from memory for every chunk: then
 * LEAST_PIXELS. 7x7 1024 -> 2048 -> 1024 5.9 ms and 5.2, 26x26 512 -> 2048 -> 512 42 and 31. */
#define CRAMPED_PIXELS 24
/* Slices of a sequence: pixels that are still needed move, so that chunks are no shorter. 1x3200 128 -> 512 -> 128 1x3 with dilation 128
 * takes 12.4 ms instead of 15.3 with 64 and 19.5 with 8, its layers 12.5. */
#define SLICED_PIXELS 128
#define CRAMPED_READINGS 6
/* Fewer columns expand too many of them twice: 32x32 192 -> 1152 -> 320, 5x5, takes 12.2 ms with 16 at a time and 11.5
 * with all, although their ring exceeds its share of the cache. 32 of the 64 columns of 64x64 80 -> 480 -> 112, 5x5, pay:
 * 7.8 ms instead of 8.2. */
#define NARROW_COLUMNS 28
/* A cache that has no room for two rows of that many columns: from here on they may take MOST_FLOATS, since a single row
 * leaves half of every depthwise tile unused. On Zen 3, with 512 KB, 5x5 windows: 80x80 40 -> 240 -> 40 takes 3.4 ms instead
 * of 4.3, 64x64 80 -> 480 -> 112 9.4 instead of 10.6 and 52x52 64 -> 384 -> 64 3.6 instead of 4.2. */
#define LEAST_COLUMNS 24
/* Only images lower than this are shared by channels, or summed up by them: what bands expand twice is one row in ten and
 * more. */
#define LOW_ROWS 28
#define LINE_FLOATS (64 / (int64_t)sizeof(float))
/* What depthwise gives for an image is kept up to this size. Computing it again takes 767 us instead of 523 for
 * 56x56 24 -> 144 -> 24 (2 MB), 4.4 ms instead of 3.6 to 4.0 for 128x128 (10 MB), and as long as keeping it for
 * 256x256 (42 MB). */
#define KEPT_FLOATS (16 * 1024 * 1024 / (int64_t)sizeof(float))

/* Pixels a multiple of 1 KB or so apart compete for the same few sets of the first-level cache. An odd number of lines
 * takes each pixel to another set; always a line more, which made 1 KB of 240 channels, cost 28x28 40 -> 240 -> 40, 5x5, with
 * squeeze-and-excite 12 % on Zen 3. Few channels stay dense, which lets kernels treat neighbouring pixels as one. */
static int64_t scratch_pixel(int64_t channels) {
    return channels < 64 ? channels : (divide_up(channels, 16) | 1) * 16;
}

static int64_t whole_lines(int64_t floats) { return divide_up(floats, 16) * 16; }

static int64_t whole_pairs(int64_t rows) { return divide_up(rows, 2) * 2; }

static int64_t ring_rows_for(const dwconv_window *w, int64_t chunk_rows, int64_t in_h) {
    return smaller(in_h, (chunk_rows - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1);
}

/* ---- slices of channels ------------------------------------------------------------------- */

int64_t dwc_slice_begin(const dwc_block *b, int64_t slice) {
    const int64_t first = slice / b->share_slices * b->share_channels, part = slice % b->share_slices;
    const int64_t end = smaller(first + b->share_channels, b->chain.depthwise->channels);
    const int64_t begin = first / b->slice_unit * b->slice_unit + part * b->slice_step;
    return smaller(begin > first ? begin : first, end);
}

/* Cuts the channels: an equal share for every worker, and a share in slices whose ring has room for what so many rows of
 * output see. 0: the image is too large, or shares are fewer than workers. */
static int cut_slices(dwc_block *b, int64_t chunk_rows) {
    const dwc_chain *chain = &b->chain;
    const int64_t ring_rows = ring_rows_for(&chain->depthwise->window, chunk_rows, b->x.height);
    const int64_t unit = dwc_share_unit(b);
    const int64_t channels = chain->depthwise->channels, units = divide_up(channels, unit);
    const int64_t panel = chain->expand ? chain->expand->panel : LINE_FLOATS;
    const int64_t fit = slice_floats() / ring_rows / b->x.width;
    b->slice_unit = panel > fit || panel % b->table->lanes ? LINE_FLOATS : panel;
    if (chain->depthwise->multiplier > 1 || units < b->sharing || fit < b->slice_unit) return 0;
    b->chunk_rows = chunk_rows;
    b->share_channels = divide_up(units, b->sharing) * unit;
    const int64_t seen = b->share_channels / b->slice_unit + (b->share_channels % b->slice_unit ? 2 : 0);
    b->share_slices = divide_up(seen, fit / b->slice_unit);
    b->slice_step = divide_up(seen, b->share_slices) * b->slice_unit;
    b->slices = divide_up(channels, b->share_channels) * b->share_slices;
    for (int64_t slice = 0; slice < b->slices; slice++) {
        const int64_t size = dwc_slice_begin(b, slice + 1) - dwc_slice_begin(b, slice);
        if (size > b->slice_channels) b->slice_channels = size;
    }
    return 1;
}

/* ---- sizes of scratch --------------------------------------------------------------------- */

/* Input columns that so many output columns see, padding included. */
static int64_t columns_seen(const dwconv_window *w, int64_t columns) {
    return (columns - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
}

/* Output columns that scratch has room for, at most all; 0 if there is none. In floating point, since a product of sizes
 * may be beyond int64. */
static int64_t fitting_columns(const dwc_block *b, double room) {
    const dwconv_window *w = &b->chain.depthwise->window;
    const int64_t width = b->extent.out_w;
    const double ring_column = (double)b->ring_rows * (double)b->ring_pixel,
                 chunk_column = (double)b->chunk_rows * (double)b->chunk_pixel;
    if (ring_column * (double)b->x.width + chunk_column * (double)width <= room) return width;
    const double shared = (double)(columns_seen(w, 1) - w->stride_w); /* with the columns before */
    const double fit = (room - ring_column * shared) / (ring_column * (double)w->stride_w + chunk_column);
    return fit < 1 ? 0 : fit < (double)width ? (int64_t)fit : width;
}

/* The largest of as few equal shares of the output's columns as are no wider than that. */
static int64_t share_of_columns(const dwc_block *b, int64_t most) {
    return divide_up(b->extent.out_w, divide_up(b->extent.out_w, most));
}

static void set_chunk_rows(dwc_block *b, int64_t rows) {
    b->chunk_rows = rows;
    b->ring_rows = b->chain.expand ? ring_rows_for(&b->chain.depthwise->window, rows, b->x.height) : 0;
}

static int64_t most_chunk_rows(const dwc_block *b) {
    const int64_t rows = (b->sequence ? 2 : 1) * CHUNK_FLOATS / b->chunk_pixel / b->extent.out_w / 2 * 2;
    return smaller(rows > CHUNK_ROWS ? rows : CHUNK_ROWS, b->extent.out_h);
}

/* As many rows as fit with all columns, but no fewer than make LEAST_PIXELS, in near-equal shares of the image. If two do
 * not fit, two rows of as many columns as fit, or as MOST_FLOATS hold where these would be narrow, or else single rows.
 * Whole pairs of rows: tiles are two rows high. */
static void cut_bands(dwc_block *b) {
    const int64_t width = b->extent.out_w, height = b->extent.out_h;
    const int64_t least = width < LEAST_PIXELS ? whole_pairs(divide_up(LEAST_PIXELS, width)) : 0;
    int64_t fit = 0;
    for (int64_t rows = most_chunk_rows(b); rows > 0; rows = rows > 2 ? (rows - 1) / 2 * 2 : rows - 1) {
        set_chunk_rows(b, rows);
        fit = fitting_columns(b, (double)(rows <= least ? MOST_FLOATS : scratch_floats()));
        b->columns = fit > 0 ? share_of_columns(b, fit) : 0;
        if (fit == width) {
            const int64_t share = whole_pairs(divide_up(height, divide_up(height, rows)));
            set_chunk_rows(b, smaller(rows, share));
            return;
        }
        if (b->passes == 1 && rows <= 2 && b->columns >= NARROW_COLUMNS) return;
        if (b->passes == 1 && rows == 2 && scratch_floats() < MOST_FLOATS) {
            const int64_t most = fitting_columns(b, (double)MOST_FLOATS);
            b->columns = most > 0 ? share_of_columns(b, most) : 0;
            if (b->columns >= LEAST_COLUMNS) return;
        }
    }
    if (b->passes == 2 || width <= NARROW_COLUMNS)
        b->columns = width;
    else if (fit < NARROW_COLUMNS)
        b->columns = divide_up(width, width / NARROW_COLUMNS);
}

/* Ring and chunk of bands; 0 if they do not fit int64. */
static int size_bands(dwc_block *b, int64_t *chunk_floats) {
    const dwc_chain *chain = &b->chain;
    b->ring_pixel = chain->expand ? scratch_pixel(chain->depthwise->in_channels) : 0;
    cut_bands(b);
    const int64_t ring_columns = smaller(columns_seen(&chain->depthwise->window, b->columns), b->x.width);
    return dwc_multiply(b->ring_rows * ring_columns, b->ring_pixel, &b->ring_floats) &&
           dwc_multiply(b->chunk_rows * b->columns, b->chunk_pixel, chunk_floats) &&
           b->ring_floats <= INT64_MAX / 16 - *chunk_floats;
}

/* One slice is at work at a time. */
static void size_slices(dwc_block *b) {
    const int expanded = b->chain.expand != NULL;
    b->ring_pixel = expanded ? scratch_pixel(b->slice_channels) : 0;
    b->ring_rows = expanded ? ring_rows_for(&b->chain.depthwise->window, b->chunk_rows, b->x.height) : 0;
    b->ring_floats = b->ring_rows * b->x.width * b->ring_pixel;
    b->columns = b->extent.out_w;
    b->passes = 2;
}

/* Pixels that are scaled and then projected: their channels stay in the second-level cache. */
static int64_t scaled_pixels(const dwc_block *b, int64_t pixels) {
    const int64_t fit = slice_floats() / b->chunk_pixel;
    return smaller(pixels, fit < b->extent.out_w ? b->extent.out_w : fit);
}

static int size_image(dwc_block *b, int64_t *floats) {
    const dwc_chain *chain = &b->chain;
    const int64_t channels = whole_lines(chain->depthwise->channels);
    *floats = b->keeps ? b->hidden_floats : 0;
    if (!chain->squeeze) return 1;
    int64_t sums;
    if (!dwc_multiply(b->extent.out_h + 1, channels, &sums) || sums > INT64_MAX / 16 - *floats) return 0;
    *floats += sums + whole_lines(chain->squeeze->group_outputs);
    return 1;
}

/* ---- the decision ------------------------------------------------------------------------- */

static int is_dense(const dwc_view *v) { return v->height == 1 || v->row == v->width * v->pixel; }

static void cut_second_pass(dwc_block *b) {
    const int64_t pixels = b->extent.out_h * b->extent.out_w;
    const int flat = b->keeps && is_dense(&b->y) && (!b->add_residual || is_dense(&b->x));
    b->row_pixels = flat ? 1 : b->extent.out_w;
    const int64_t rows = flat ? pixels : b->extent.out_h;
    b->part_rows = divide_up(rows, b->sharing);
    b->parts = divide_up(rows, b->part_rows);
    b->step_rows = b->chain.squeeze ? scaled_pixels(b, pixels) / b->row_pixels : b->part_rows;
    if (!b->keeps) { /* the bands again */
        b->parts = b->bands;
        b->part_rows = b->band_rows;
        b->step_rows = b->chunk_rows;
    }
}

/* Whether slices of channels are first choice: to sum them up, or for workers that share a low image. */
static int wants_slices(const dwc_block *b) {
    return b->keeps && b->extent.out_h < LOW_ROWS &&
           (b->chain.squeeze || (b->sharing > 1 && dwc_slices_pay(b, b->sharing)));
}

/* Whether one pass has no room for what makes it worth it: it would read all weights for few pixels each time, or rows of
 * the ring again and again. Slices read every weight of the expansion once. */
static int is_cramped(const dwc_block *b) {
    const dwc_chain *chain = &b->chain;
    if (b->passes == 2 || !b->keeps || !chain->expand) return 0;
    const dwc_matmul_stage *expand = chain->expand, *project = chain->project;
    const double weights = (double)expand->depth * (double)expand->padded +
                           (double)project->depth * (double)project->padded,
                 quarter = (double)(dwc_far_bytes() / 3 * 2 / (int64_t)sizeof(float));
    const int64_t least = weights >= quarter ? LEAST_PIXELS : CRAMPED_PIXELS;
    if (b->chunk_rows * b->columns < smaller(least, b->extent.out_h * b->extent.out_w)) return 1;
    return b->ring_floats > scratch_floats() &&
           b->ring_rows >= CRAMPED_READINGS * b->chunk_rows * chain->depthwise->window.stride_h;
}

static double bytes_of(const dwc_view *v) {
    return (double)v->batch * (double)v->height * (double)v->width * (double)v->channels * sizeof(float);
}

/* How the depthwise stage goes through a chunk of the widest columns. Its input comes from a ring, or is the block's: then it asks
 * for the next chunk's, which the product of this one gives time to arrive. */
static dwc_dw_schedule schedule_depthwise(const dwc_block *b) {
    const int64_t size = sizeof(float), in_pixel = b->chain.expand ? b->ring_pixel : b->x.pixel;
    dwc_depthwise_stage stage = *b->chain.depthwise;
    const int64_t seen = smaller(columns_seen(&stage.window, b->columns), b->x.width);
    dwc_dw_shape shape = {.in_h = b->x.height,
                          .in_w = seen,
                          .out_h = b->chunk_rows,
                          .out_w = b->columns,
                          .pad_top = b->extent.pad_top,
                          .pad_left = b->extent.pad_left,
                          .x_pixel = in_pixel * size,
                          .y_pixel = b->chunk_pixel * size,
                          .channels = b->slice_channels,
                          .ring = b->chain.expand != NULL,
                          .in_bytes = bytes_of(&b->x),
                          .moved_bytes = bytes_of(&b->x) + bytes_of(&b->y),
                          .rows_ahead = (b->passes == 2 ? 4 : b->chunk_rows) * stage.window.stride_h};
    if (b->sequence) {
        dwc_turn_window(&stage.window);
        shape.x_pixel = (b->chain.expand ? b->ring_pixel : b->x.row) * size;
        shape.in_w = shape.in_h;
        shape.out_w = shape.out_h;
        shape.in_h = shape.out_h = 1;
        shape.pad_left = shape.pad_top;
        shape.pad_top = 0;
    }
    return dwc_schedule_depthwise(&stage, b->table, &shape);
}

static dwconv_status cut_for(dwc_block *b, int workers) {
    const dwc_depthwise_stage *d = b->chain.depthwise;
    DWC_TRY(dwc_window_extent(&d->window, b->x.height, b->x.width, &b->extent));
    b->add_residual = b->chain.add && b->x.height == b->y.height && b->x.width == b->y.width;
    b->far_y = dwc_fetches(b->chain.project, &b->x, &b->y);
    b->nanoseconds = dwc_block_nanoseconds(b);
    b->workers = workers;
    b->sharing = b->x.batch % workers == 0 ? 1 : workers;
    b->scales_apart = b->sharing > 1;
    b->chunk_pixel = scratch_pixel(d->channels);
    b->keeps = dwc_multiply(b->extent.out_h * b->extent.out_w, b->chunk_pixel, &b->hidden_floats) &&
               b->hidden_floats <= KEPT_FLOATS;
    b->columns = b->extent.out_w;
    b->passes = b->chain.squeeze ? 2 : 1;
    int64_t chunk_floats = 0;
    int sliced = wants_slices(b) && cut_slices(b, b->extent.out_h);
    if (!sliced) {
        if (!size_bands(b, &chunk_floats)) return DWCONV_OVERFLOW;
        sliced = b->cramped = is_cramped(b) && cut_slices(b, smaller(b->sequence ? SLICED_PIXELS : CHUNK_ROWS,
                                                                     b->extent.out_h));
    }
    if (sliced) {
        size_slices(b);
    } else {
        b->slices = b->share_slices = b->slice_unit = 1;
        b->slice_channels = b->share_channels = d->channels;
    }
    b->bands = sliced ? 1 : smaller(b->sharing, b->extent.out_h); /* equal shares, the least halo */
    b->band_rows = divide_up(b->extent.out_h, b->bands);
    b->bands = divide_up(b->extent.out_h, b->band_rows);
    b->image_floats = 0;
    b->row_pixels = b->extent.out_w;
    if (b->passes == 2) {
        cut_second_pass(b);
        if (b->keeps) /* bands write where it stays; means need a place, and what is scaled apart */
            chunk_floats = !b->chain.squeeze ? 0
                           : b->scales_apart ? b->step_rows * b->row_pixels * b->chunk_pixel
                                             : b->chunk_pixel;
        if (!size_image(b, &b->image_floats)) return DWCONV_OVERFLOW;
    }
    b->ring_floats = whole_lines(b->ring_floats);
    b->worker_floats = b->ring_floats + whole_lines(chunk_floats);
    b->how = schedule_depthwise(b);
    return DWCONV_OK;
}

int64_t dwc_block_images(const dwc_block *b) {
    if (b->passes == 1) return 0;
    return b->sharing > 1 ? 1 : b->workers;
}

/* Bytes of scratch for a block that is cut. */
static dwconv_status scratch_of(const dwc_block *b, size_t *bytes) {
    int64_t of_workers, of_images;
    if (!dwc_multiply(b->worker_floats, b->workers, &of_workers) ||
        !dwc_multiply(b->image_floats, dwc_block_images(b), &of_images) ||
        of_workers > PTRDIFF_MAX / 8 - of_images)
        return DWCONV_OVERFLOW;
    *bytes = (size_t)(of_workers + of_images) * sizeof(float);
    return DWCONV_OK;
}

void dwc_begin_block(dwc_block *b, const dwconv_plan *plan, dwc_depthwise_stage *turned) {
    b->chain = plan->chain;
    b->table = plan->table;
    const dwconv_window *w = &b->chain.depthwise->window;
    const int row = dwc_is_row(w, &b->x, &b->y);
    b->sequence = row || dwc_is_column(w, &b->x, &b->y);
    if (!row) return;
    *turned = *b->chain.depthwise;
    b->chain.depthwise = turned;
    dwc_turn_window(&turned->window);
    dwc_turn_view(&b->x);
    dwc_turn_view(&b->y);
}

dwconv_status dwc_cut_block(dwc_block *b, const dwconv_threads *threads, size_t *scratch_bytes) {
    const int count = threads && threads->count > 1 ? threads->count : 1;
    const int workers = count > 1 ? dwc_worker_count(threads, dwc_worth_sharing(b, count)) : 1;
    DWC_TRY(cut_for(b, workers));
    return scratch_of(b, scratch_bytes);
}

/* ---- what others want to know ------------------------------------------------------------- */

static dwconv_status scratch_for(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, int workers,
                                 size_t *bytes) {
    dwc_block b = {.x = *x, .y = *y};
    dwc_depthwise_stage turned;
    dwc_begin_block(&b, plan, &turned);
    DWC_TRY(cut_for(&b, workers));
    return scratch_of(&b, bytes);
}

dwconv_status dwc_block_scratch(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y, int threads,
                                size_t *bytes) {
    size_t shared = 0;
    if (threads > 1) DWC_TRY(scratch_for(plan, x, y, threads, &shared));
    DWC_TRY(scratch_for(plan, x, y, 1, bytes));
    if (*bytes < shared) *bytes = shared;
    return DWCONV_OK;
}

static const char *why_two_passes(const dwc_block *b) {
    if (b->chain.squeeze) return "squeeze-and-excite needs the whole output of depthwise";
    if (b->cramped) return "one pass would read its weights, or expanded rows, again for few pixels";
    return "workers share the channels of so low an image";
}

dwconv_status dwc_explain_block(dwc_text *t, const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                const dwconv_threads *threads) {
    dwc_block b = {.x = *x, .y = *y};
    dwc_depthwise_stage turned;
    size_t scratch_bytes;
    dwc_begin_block(&b, plan, &turned);
    DWC_TRY(dwc_cut_block(&b, threads, &scratch_bytes));
    dwc_text_int(t, "nanoseconds", (int64_t)b.nanoseconds);
    dwc_text_int(t, "workers", b.workers);
    dwc_text_int(t, "workers_per_image", b.sharing);
    dwc_text_int(t, "passes", b.passes);
    if (b.passes == 2) dwc_text_string(t, "two_passes_since", why_two_passes(&b));
    dwc_text_int(t, "items", x->batch * b.bands * b.slices);
    dwc_text_int(t, "images", x->batch);
    dwc_text_int(t, "strips", b.bands);
    dwc_text_int(t, "strip_rows", b.band_rows);
    dwc_text_int(t, "row_pixels", b.y.width);
    dwc_text_int(t, "chunk_rows", b.chunk_rows);
    dwc_text_int(t, "chunk_columns", b.columns);
    dwc_text_int(t, "ring_rows", b.ring_rows);
    dwc_text_int(t, "channel_blocks", b.slices);
    dwc_text_int(t, "block_channels", b.slice_channels);
    dwc_text_int(t, "cache_bytes", dwc_cache_bytes());
    dwc_text_int(t, "prefetches_output", b.far_y);
    if (b.passes == 1) return DWCONV_OK;
    dwc_text_int(t, "kept_bytes", b.keeps ? b.hidden_floats * (int64_t)sizeof(float) : 0);
    dwc_text_int(t, "second_pass_parts", b.parts);
    dwc_text_int(t, "part_pixels", b.part_rows * b.row_pixels);
    return DWCONV_OK;
}
