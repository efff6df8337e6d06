/* Decides how a depthwise convolution is computed. A pure function of the stage, the instruction set and the
 * shape. */
#include "schedule.h"

/* ---- sets of the first-level cache --------------------------------------------------------------- */

/* Lines, one of each of many pixels this far apart, that the sets of a first-level cache have room for. */
static int64_t room(const dwc_machine *m, int64_t pixel_bytes) {
    const int64_t line = in_bytes(DWC_LINE_FLOATS);
    return m->l1_sets * m->l1_ways /
           (pixel_bytes % line == 0 ? common_divisor(pixel_bytes / line, m->l1_sets) : 1);
}

/* A dense image of a shape: with a dilation, the largest one of every d-th pixel. */
typedef struct dense {
    int64_t out_h, out_w, in_w, x_pixel, stride_h, stride_w, kernel_h, kernel_w, columns;
    int64_t room; /* lines of these pixels */
} dense;

static dense dense_of(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                      const dwc_dw_shape *s) {
    const dwconv_window *w = &stage->window;
    const int64_t divisor_h = common_divisor(w->stride_h, w->dilation_h);
    const int64_t divisor_w = common_divisor(w->stride_w, w->dilation_w);
    return (dense){.out_h = divide_up(s->out_h, w->dilation_h / divisor_h),
                   .out_w = divide_up(s->out_w, w->dilation_w / divisor_w),
                   .in_w = divide_up(s->in_w, w->dilation_w),
                   .x_pixel = w->dilation_w * s->x_pixel,
                   .stride_h = w->stride_h / divisor_h,
                   .stride_w = w->stride_w / divisor_w,
                   .kernel_h = w->kernel_h,
                   .kernel_w = w->kernel_w,
                   .columns = stage->kernel ? stage->kernel->tiles[0].columns : table->any.columns,
                   .room = room(s->machine, w->dilation_w * s->x_pixel)};
}

/* Lines, of one vector of channels, of two rows of a tile: inputs and outputs. */
static int64_t lines_of(const dense *d) {
    return (d->stride_h + d->kernel_h) * ((d->columns - 1) * d->stride_w + d->kernel_w) + 2 * d->columns;
}

/* Whether a tile has more than `times` as many lines as have room: then they throw each other out before they are
 * read again. */
static int conflicts(const dense *d, int64_t times) { return lines_of(d) > times * d->room; }

/* ---- copied rows --------------------------------------------------------------------------------- */

/* Bands of columns are short pieces of memory, which come from far again and again in large images: up to 4 MB
 * they pay, up to 7 MB where sets are crowded, and above that with stride 1 where they are most. */
static int in_reach(const dense *d, int64_t in_h) {
    const int64_t megabytes = in_h * d->in_w * d->x_pixel / (1024 * 1024);
    return megabytes < DWC_BAND_MEGABYTES ||
           (megabytes < DWC_CROWDED_MEGABYTES && conflicts(d, DWC_CROWDED)) ||
           (d->stride_w == 1 && conflicts(d, DWC_MOST_CROWDED));
}

/* Whether parts of so many channels leave none that is narrower than a vector. */
static int fills_vectors(const dwc_depthwise_stage *stage, const dwc_kernel_table *table, int64_t channels,
                         int64_t part) {
    const int64_t rest = channels % part, lanes = table->lanes;
    return channels % lanes == 0 || !table->overlaps || (stage->last && (rest == 0 || rest > lanes));
}

/* Equal shares of channels in whole lines, of all columns or, for windows larger than 3x3, of bands. Less than
 * three lines of a pixel are too short pieces of memory, but for windows without tiles one is worth it. With
 * stride 2 an input is read less often, so that few lines are worth it only where sets are crowded. */
static void share(const dwc_depthwise_stage *stage, const dwc_kernel_table *table, const dwc_dw_shape *s,
                  const dense *d, int tiles, dwc_dw_schedule *how) {
    if (!conflicts(d, 1)) return;
    const int64_t lines = divide_up(s->channels, DWC_LINE_FLOATS), rows = d->stride_h + d->kernel_h;
    const int64_t across = divide_up(d->out_w, d->columns), least = tiles ? DWC_COPY_LINES : 1;
    for (int64_t bands = 1;; bands++) {
        const int64_t columns = bands == 1 ? d->out_w : divide_up(across, bands) * d->columns;
        if (bands > 1 && (d->kernel_w == 3 || columns < DWC_BAND_COLUMNS || !in_reach(d, s->in_h))) return;
        const int64_t pixels = rows * (bands == 1 ? d->in_w : (columns - 1) * d->stride_w + d->kernel_w);
        const int64_t fit = (DWC_COPY_BYTES / in_bytes(DWC_LINE_FLOATS) / pixels - 1) | 1;
        if (fit < least ||
            (fit < DWC_STRIDED_LINES && tiles && d->stride_w > 1 && !conflicts(d, DWC_CROWDED)))
            continue;
        const int64_t part = divide_up(lines, divide_up(lines, fit)) * DWC_LINE_FLOATS;
        if (fills_vectors(stage, table, s->channels, part))
            how->copied_channels = part, how->copied_columns = columns;
        return;
    }
}

/* Windows without tiles: not up to a tile of columns, nor up to half as many lines again as have room, nor with
 * strides of 3, nor where inputs are skipped, which would be copied for nothing. */
static int window_gains(const dwc_depthwise_stage *stage, const dense *d, int64_t in_h) {
    const dwconv_window *w = &stage->window;
    if (d->out_w <= d->columns || d->stride_w > 2) return 0;
    if (w->kernel_h < d->stride_h || w->kernel_w < d->stride_w || d->stride_w < w->stride_w) return 0;
    return 2 * lines_of(d) > 3 * d->room && in_reach(d, in_h);
}

/* The only width of tiles where lines share few sets: of copied rows, one whose outputs have room; else the narrowest. */
static int64_t columns(const dwc_depthwise_stage *stage, const dwc_dw_shape *s, int copied) {
    const dwc_dw_tiles *tiles = stage->kernel->tiles;
    if (!copied) return tiles[2].columns;
    return 2 * tiles[1].columns > room(s->machine, s->y_pixel) ? tiles[0].columns : 0;
}

/* ---- the way --------------------------------------------------------------------------------------- */

/* Whether tiles of neighbours pay, which a wide dilation lets see the same taps: their lines should have room in
 * the first-level cache, twice that where one tile has all outputs that see the same inputs, and those of large
 * windows should not be too many for the CPU to foresee. */
static int neighbours_pay(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                          const dwc_dw_shape *s) {
    const dwconv_window *w = &stage->window;
    const int64_t apart = w->dilation_w / common_divisor(w->stride_w, w->dilation_w),
                  columns = table->any.columns;
    const int64_t lines = (w->kernel_h + 1) * w->kernel_w * columns;
    return apart >= columns &&
           lines <= (s->out_w <= columns * apart ? 2 : 1) * room(s->machine, s->x_pixel) &&
           (w->kernel_h * w->kernel_w <= DWC_NEIGHBOUR_TAPS || lines * s->channels <= DWC_NEIGHBOUR_LINES);
}

/* Few channels: whole rows where all vectors of a tile but the first and the last are inside, as with 3x3 and 5x5.
 * Of others the columns inside, if they fill a tile. */
dwc_few_columns dwc_columns_of_few(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                   int64_t in_w, int64_t out_w, int64_t pad_left) {
    const dwconv_window *w = &stage->window;
    const int64_t C = stage->channels, vectors = table->few.vectors, fit = table->lanes / C,
                  most = vectors * fit;
    const int64_t width = smaller(out_w, most), apart = divide_up(width - fit, vectors - 1),
                  whole = divide_up(table->lanes, C);
    if (in_w * C < table->lanes || out_w * C < table->lanes) return (dwc_few_columns){0};
    /* Columns in which a vector can begin, so that all its inputs and outputs are in their rows. */
    const int64_t low = pad_left,
                  high = smaller(in_w - whole - (w->kernel_w - 1) * w->dilation_w + low, out_w - whole);
    if (apart >= low && out_w - width + (vectors - 2) * apart <= high && width > (vectors - 1) * apart)
        return (dwc_few_columns){0, out_w, width, apart};
    if (high + fit - low >= most) return (dwc_few_columns){low, high + fit, most, fit};
    return (dwc_few_columns){0};
}

static int goes_as_vectors(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                           const dwc_dw_shape *s) {
    const int64_t pixel = in_bytes(stage->channels);
    return stage->repeated && stage->window.kernel_w <= DWC_FLAT_TAPS && s->x_pixel == pixel &&
           s->y_pixel == pixel && dwc_columns_of_few(stage, table, s->in_w, s->out_w, s->pad_left).width > 0;
}

/* Tiles need a vector of channels, or masks; those of multipliers read four inputs; and an image as wide as a
 * tile. */
static int goes_in_tiles(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                         const dwc_dw_shape *s) {
    const dwc_dw_kernel *k = stage->kernel;
    const dwconv_window *w = &stage->window;
    if (!k || (table->overlaps && (s->channels < table->lanes || (k->spreads && stage->in_channels < 4))))
        return 0;
    const int64_t a = k->tiles[0].columns, b = k->tiles[1].columns, least = b && b < a ? b : a;
    const int64_t apart = w->dilation_w / common_divisor(w->stride_w, w->dilation_w);
    if (s->out_w < least * apart) return 0;
    /* With few channels each dense image of a dilation costs some arithmetic, for four columns or five. */
    return apart == 1 || s->out_w >= (least + 1) * apart || !neighbours_pay(stage, table, s) ||
           (w->kernel_h + 1) * w->kernel_w * table->any.columns * s->channels > DWC_DENSE_LINES;
}

static int is_factor(const dwc_depthwise_stage *stage) {
    return stage->window.kernel_h == 1 && stage->window.kernel_w == 1 && stage->multiplier == 1;
}

/* ---- memory ------------------------------------------------------------------------------------------ */

/* Tiles go along rows and touch a part of every pixel, which the hardware does not foresee. Where vectors are half
 * a line that gains from memory only, and with stride 1 in 3x3 windows of many channels. */
static int64_t rows_ahead(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                          const dwc_dw_shape *s) {
    const dwc_numbers *n = dwc_numbers_of(table);
    const double far = (double)dwc_far_bytes(s->machine);
    const int64_t stride = stage->window.stride_h;
    if (s->ring || !n->prefetches) return 0;
    if (stage->kernel->rolls) return s->rows_ahead; /* which costs them nothing */
    if (n->whole_lines) return s->moved_bytes >= far ? s->rows_ahead : 0;
    if (stride == 1 && (stage->window.kernel_h > 3 || s->channels < n->prefetch_channels)) return 0;
    return s->moved_bytes >= (stride == 1 ? 1.5 : 1.0) * far ? 2 * stride : 0;
}

/* Past the caches a line is not read first, and throws nothing else out. Activations other than clamps read what
 * is stored. */
static int streams(const dwc_depthwise_stage *stage, const dwc_kernel_table *table, const dwc_dw_shape *s) {
    const int64_t least = dwc_numbers_of(table)->stream_channels;
    return least && s->aligned && stage->kernel->kernel == 3 && stage->activation.kind == DWCONV_CLIP &&
           s->channels >= least && s->channels <= DWC_STREAM_CHANNELS &&
           s->moved_bytes - s->in_bytes >= s->stream_bytes;
}

/* The body of any window. Where each output loads its own inputs, two rows without a common one are twins; where there are
 * not the registers to share inputs, a single row is worth two stretches of it. */
static void choose_body(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                        const dwc_dw_shape *s, dwc_dw_schedule *how) {
    const dwconv_window *w = &stage->window;
    if (stage->multiplier > 1) {
        how->body = stage->multiplier % table->lanes ? DWC_SPREAD : DWC_BROADCAST;
        return;
    }
    const int adjacent = how->neighbours ? w->stride_w == w->dilation_w : w->dilation_w % w->stride_w == 0;
    how->doubled = s->out_h == 1 && w->kernel_h == 1 && !how->neighbours && !table->any.shared[0];
    if (adjacent && (how->doubled ? table->any.shared_twins != NULL : table->any.shared[0] != NULL))
        how->body = DWC_SHARED;
    else
        how->twins = !how->doubled && w->kernel_h <= w->stride_h / common_divisor(w->stride_h, w->dilation_h);
}

static dwc_dw_schedule choose(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                              const dwc_dw_shape *s) {
    dwc_dw_schedule how = {.way = DWC_BY_WINDOW};
    if (goes_as_vectors(stage, table, s)) {
        how.way = DWC_BY_VECTORS;
    } else if (is_factor(stage)) {
        how.way = DWC_BY_FACTOR;
    } else if (goes_in_tiles(stage, table, s)) {
        how.way = DWC_BY_TILES;
        how.streams = streams(stage, table, s);
        if (dwc_numbers_of(table)->copies) {
            const dense d = dense_of(stage, table, s);
            if (stage->multiplier == 1 && !how.streams) share(stage, table, s, &d, 1, &how);
            if (conflicts(&d, 1)) how.columns = columns(stage, s, how.copied_channels > 0);
        }
        if (!how.copied_channels) how.rows_ahead = rows_ahead(stage, table, s);
    } else {
        how.neighbours = stage->window.dilation_w > 1 && neighbours_pay(stage, table, s);
        if (dwc_numbers_of(table)->copies && stage->multiplier == 1 && !how.neighbours) {
            const dense d = dense_of(stage, table, s);
            if (window_gains(stage, &d, s->in_h)) share(stage, table, s, &d, 0, &how);
        }
    }
    choose_body(stage, table, s, &how);
    return how;
}

dwc_dw_schedule dwc_schedule_depthwise(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                       const dwc_dw_shape *shape) {
    if (!shape->sequence) return choose(stage, table, shape);
    dwc_depthwise_stage along = *stage;
    dwc_dw_shape s = *shape;
    along.window = s.window;
    dwc_turn_window(&along.window);
    s.in_w = s.in_h;
    s.out_w = s.out_h;
    s.pad_left = s.pad_top;
    s.in_h = s.out_h = 1;
    s.pad_top = 0;
    return choose(&along, table, &s);
}

const char *dwc_dw_way_text(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                            const dwc_dw_schedule *how) {
    if (how->copied_channels)
        return "on copied rows: lines of these pixels share too few sets of the first-level cache";
    if (how->columns) return "narrow tiles: lines of wider ones share too few sets of the first-level cache";
    if (how->neighbours) return "tiles of neighbouring columns, which a wide dilation lets see the same taps";
    if (how->rows_ahead && !stage->kernel->rolls)
        return "tiles ask for rows ahead of time: input and output exceed a cache";
    if (how->way == DWC_BY_WINDOW && (stage->kernel || stage->repeated)) return table->any_name;
    return "";
}

const char *dwc_dw_body_text(const dwc_dw_schedule *how) {
    if (how->way != DWC_BY_WINDOW) return "";
    if (how->body == DWC_SPREAD) return "inputs spread over the lanes of a vector";
    if (how->body == DWC_BROADCAST) return "each input for a whole vector";
    if (how->doubled) return "two stretches of the row at a time";
    if (how->body == DWC_SHARED) return "each input loaded once for neighbouring outputs";
    return how->twins ? "two rows at a time, one kernel row of both" : "";
}
