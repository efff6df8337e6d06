/* Tiles on copied input rows, where pixels lie too many to a set of the first-level cache. Included by depthwise_tiled.inc.h
 * where DW_STAGED is defined. */

/* What is computed from the same copied rows: so many output rows, by tiles of a shape or, if that is NULL, by pairs of rows of
 * any window. A window spans so many input rows and columns. */
typedef struct dw_group {
    const dw_shape *shape;
    int line; /* a sequence: see depthwise_line.inc.h */
    int64_t rows, span_h, span_w, stride_h, stride_w;
    int64_t lines; /* of one vector of channels that are in use together */
} dw_group;

static dw_group dw_group_of(const dwc_dw_call *c, const dw_shape *shape) {
    const dwconv_window *w = &c->stage->window;
    const int64_t rows = shape ? shape->rows : 2, columns = shape ? shape->columns : DW_WIDE;
    return (dw_group){
        .shape = shape,
        .rows = shape ? rows : 2 * w->dilation_h / dw_common_divisor(w->stride_h, w->dilation_h),
        .span_h = (w->kernel_h - 1) * w->dilation_h + 1,
        .span_w = (w->kernel_w - 1) * w->dilation_w + 1,
        .stride_h = w->stride_h,
        .stride_w = w->stride_w,
        .lines = ((rows - 1) * w->stride_h + w->kernel_h) * ((columns - 1) * w->stride_w + w->kernel_w) +
                 rows * columns};
}

/* Power-of-two distances between pixels: the lines of a tile, inputs and outputs, compete for few of the sets
 * that a first-level cache has. With vectors of half a line every line is then read twice. Whether there are more than
 * `times` as many as have room. */
static int dw_conflicts(const dwc_dw_call *c, const dw_group *g, int times) {
    return g->lines > times * dw_room(c->stage->window.dilation_w * c->x_pixel);
}

/* `count` channels, from `channel` on, of `in_w` pixels of an input row to where pixels are `apart` floats from each other. */
INLINE void dw_copy_row(const dwc_dw_call *c, const float *x, int64_t in_w, int64_t channel, int64_t count,
                        float *to, int64_t apart) {
    const int64_t x_pixel = c->x_pixel;
    x += channel;
    for (int64_t ix = 0; ix < in_w; ix++, x += x_pixel, to += apart) {
        /* By two: one at a time, layers take up to 17 % longer by where this loop happens to lie. */
        int64_t i = 0;
        for (; i + 2 * V(lanes) <= count; i += 2 * V(lanes)) {
            const V(vec) first = V(load)(x + i), second = V(load)(x + i + V(lanes));
            V(store)(to + i, first);
            V(store)(to + i + V(lanes), second);
        }
        for (; i + V(lanes) <= count; i += V(lanes)) V(store)(to + i, V(load)(x + i));
        if (i < count) V(store)(to + i, V(load_n)(x + i, (int)(count - i)));
    }
}

/* Whether parts of so many channels leave none that is narrower than a vector. */
static int dw_fills_vectors(const dwc_dw_call *c, int64_t part) {
    const int64_t channels = c->channel_end - c->channel_begin, rest = channels % part;
    return channels % V(lanes) == 0 || (dw_last(c, V(lanes)) && (rest == 0 || rest > V(lanes)));
}

/* What is copied at a time: so many channels of the columns that so many outputs see. Channels 0: rows are not copied. */
typedef struct dw_share {
    int64_t channels, columns;
} dw_share;

/* Output columns [begin, end) of the channels of `part`: rows of tiles on copies of the input rows, each copied once. */
INLINE void dw_staged_columns(const dwc_dw_call *c, dwc_dw_call *part, const dw_group *g, int64_t channel,
                              int64_t begin, int64_t end, float *staged) {
    const int64_t S = g->stride_h;
    const int64_t ix = begin * g->stride_w - c->pad_left, left = ix < 0 ? 0 : ix;
    const int64_t right = dw_clamp((end - 1) * g->stride_w - c->pad_left + g->span_w, left, c->in_w);
    part->in_w = right - left;
    part->out_w = end - begin;
    part->pad_left = left - ix;
    part->x_row = part->in_w * part->x_pixel;
    dw_cut cut;
    if (g->shape) dw_cut_row(part, g->shape, 0, &cut);
    int64_t next = 0; /* input row to be copied */
    for (int64_t oy = c->row_begin; oy < c->row_end; oy = part->row_end) {
        const int64_t first = dw_clamp(oy * S - c->pad_top, 0, c->in_h);
        part->row_begin = oy;
        part->row_end = dw_clamp(oy + g->rows, oy, c->row_end);
        part->y = c->y + channel + (oy - c->row_begin) * c->y_row + begin * c->y_pixel;
        part->ring_first = first / part->ring_rows * part->ring_rows;
        if (next < first) next = first;
        for (; next < (part->row_end - 1) * S - c->pad_top + g->span_h && next < c->in_h; next++)
            dw_copy_row(c, dw_row(c, next) + left * c->x_pixel, part->in_w, channel, part->channel_end,
                        staged + next % part->ring_rows * part->x_row, part->x_pixel);
        if (g->shape)
            dw_tile_row(part, g->shape, &cut, oy, (int)(part->row_end - oy), NULL);
        else if (g->line)
            dw_lines(part);
        else
            dw_window(part, oy, part->row_end, 0, part->out_w);
    }
}

/* Bands of columns are short pieces of memory, which come from far again and again in large images: up to 4 MB they pay, up
 * to 7 MB where the sets are crowded, and above that with stride 1 where they are most. 80x80x256 5x5 would take 1.1 to
 * 1.2 times as long, 64x64x512 7x7 with stride 2 1.6 times; 33x33x1024 5x5 takes 1.3 ms instead of 2.8, with stride 2 0.41
 * instead of 1.05, 33x33x2048 7x7 4.1 instead of 8.2 (Zen 3). */
enum { DW_BAND_COLUMNS = 8 };

INLINE int dw_in_reach(const dwc_dw_call *c, const dw_group *g) {
    const int64_t megabytes = c->in_h * c->in_w * c->x_pixel / (1024 * 1024 / (int64_t)sizeof(float));
    return megabytes < 4 || (megabytes < 7 && dw_conflicts(c, g, 2)) ||
           (g->stride_w == 1 && dw_conflicts(c, g, 5));
}

/* Equal shares of channels in whole lines, of all columns or, for windows larger than 3x3, of bands. Less than three lines of
 * a pixel are too short pieces of memory: 56x56x512 would take twice as long. With stride 2 an input is read less often, so
 * that three are worth it only where the sets are crowded: 28x28x512 takes 67 us instead of 79, 28x28x256 would take 33
 * instead of 29. Dense windows without tiles are worth a single line: 28x28x512 7x1 takes 231 us instead of 378. Bands:
 * 32x32x512 5x5 takes 354 us instead of 700, 28x28x256 7x7 240 instead of 361; with 3x3 some would take 1.4 times as long. */
static dw_share dw_staged_share(const dwc_dw_call *c, const dw_group *g) {
    const dw_share none = {0, 0};
    if (!dw_conflicts(c, g, 1)) return none;
    const int64_t channels = c->channel_end - c->channel_begin, lines = dw_divide_up(channels, DW_LINE);
    const int64_t rows = (g->rows - 1) * g->stride_h + g->span_h;
    const int64_t unit = g->shape ? g->shape->columns : DW_WIDE, tiles = dw_divide_up(c->out_w, unit);
    const dwconv_window *w = &c->stage->window;
    const int64_t least = g->line ? 4 : g->shape || w->dilation_h > 1 || w->dilation_w > 1 ? 3 : 1;
    for (int64_t bands = 1;; bands++) {
        const int64_t columns = bands == 1 ? c->out_w : dw_divide_up(tiles, bands) * unit;
        if (bands > 1 && (g->span_w == 3 || columns < DW_BAND_COLUMNS || !dw_in_reach(c, g))) return none;
        const int64_t pixels = rows * (bands == 1 ? c->in_w : (columns - 1) * g->stride_w + g->span_w);
        const int64_t fit = pixels > 0 ? (DW_STAGED / DW_LINE / pixels - 1) | 1 : 0;
        if (fit < least || (fit < 5 && g->shape && g->stride_w > 1 && !dw_conflicts(c, g, 2))) continue;
        const int64_t part = dw_divide_up(lines, dw_divide_up(lines, fit)) * DW_LINE;
        return dw_fills_vectors(c, part) ? (dw_share){part, columns} : none;
    }
}

/* Copies have pixels an odd number of lines apart: 7x7x1024 takes 20 us instead of 46 (1040 channels 17), 14x14x512 39
 * instead of 56 (528: 33), with 5x5 77 instead of 136 (Zen 3, with the tiles of then). */
NOINLINE void dw_copied(const dwc_dw_call *c, const dw_group *g, dw_share share) {
    _Alignas(64) float staged[DW_STAGED];
    const int64_t channels = share.channels;
    dwc_depthwise_stage stage = *c->stage;
    dwc_dw_call part = *c;
    part.stage = &stage;
    part.x = staged;
    part.x_pixel = (channels / DW_LINE | 1) * DW_LINE;
    part.ring_rows = (g->rows - 1) * g->stride_h + g->span_h;
    part.channel_begin = 0;
    part.prefetch_rows = 0;
    for (int64_t channel = c->channel_begin; channel < c->channel_end; channel += channels) {
        const int64_t left = c->channel_end - channel;
        part.channel_end = left < channels ? left : channels;
        stage.weights = c->stage->weights + channel / V(lanes) * stage.block;
        for (int64_t begin = 0; begin < c->out_w; begin += share.columns)
            dw_staged_columns(c, &part, g, channel, begin, dw_clamp(begin + share.columns, 0, c->out_w),
                              staged);
    }
}

/* Any window, where that pays: not up to four columns, nor up to half as many lines again as have room (56x56x256 2x2 with
 * stride 2 would take 1.7 times as long), large images (64x64x256 9x9 1.1 times), strides of 3 (16x16x128 7x7 1.3 times),
 * nor where inputs are skipped, which would be copied for nothing (28x28x256 3x3 with stride and dilation 2 twice as long). */
static dw_share dw_window_share(const dwc_dw_call *c, dw_group *g) {
    const dw_share none = {0, 0};
    const dwconv_window *w = &c->stage->window;
    if (c->stage->multiplier > 1 || c->out_w <= DW_WIDE || w->stride_w > 2) return none;
    if (w->kernel_h < w->stride_h || w->kernel_w < w->stride_w ||
        dw_common_divisor(w->stride_h, w->dilation_h) > 1 ||
        dw_common_divisor(w->stride_w, w->dilation_w) > 1)
        return none;
    *g = dw_group_of(c, NULL);
    if (dw_is_line(c)) {
        g->line = 1;
        g->rows = 1;
        g->lines = dw_line_lines(c);
        return w->kernel_w > 8 && w->dilation_w == 1 ? dw_staged_share(c, g) : none;
    }
    if (2 * g->lines <= 3 * dw_room(w->dilation_w * c->x_pixel)) return none;
    return dw_in_reach(c, g) ? dw_staged_share(c, g) : none;
}

static int dw_copies_window(const dwc_dw_call *c) {
    dw_group g;
    return dw_window_share(c, &g).channels > 0;
}

/* 17x17x1024 9x9 with stride 2 takes 280 us instead of 670 (1040 channels 241), 40x40x512 7x7 with stride 2 490 instead of
 * 770, 14x14x512 5x5 with dilation 2 101 instead of 166, 14x14x512 7x1 52 instead of 95 (Zen 3). */
static void dw_any_window(const dwc_dw_call *c) {
    dw_group g;
    const dw_share share = dw_window_share(c, &g);
    if (share.channels)
        dw_copied(c, &g, share);
    else if (dw_is_line(c))
        dw_lines(c);
    else
        dw_general_f32(c);
}
