/* Tiles on copied input rows: where pixels lie too many to a set of the first-level cache, and for multipliers, which a copied
 * row spreads to the input of every output. Included by depthwise_tiled.inc.h where DW_STAGED is defined. */

/* Power-of-two distances between pixels: the lines of a tile, inputs and outputs, compete for few of the sets
 * that a first-level cache has. With vectors of half a line every line is then read twice. Whether there are more than
 * `times` as many as have room. */
static int dw_conflicts(const dwc_dw_call *c, const dw_shape *shape, int times) {
    const int64_t input_rows = (shape->rows - 1) * shape->stride + shape->kernel;
    const int64_t input_columns = (shape->columns - 1) * shape->stride + shape->kernel;
    const int64_t lines = input_rows * input_columns + shape->rows * shape->columns;
    return lines > times * dw_room(c->x_pixel);
}

/* An input row to where its pixels are `apart` floats from each other, the inputs of `count` channels from `channel` on, as
 * many times as the multiplier says. */
INLINE void dw_copy_row(const dwc_dw_call *c, const float *x, int64_t channel, int64_t count, float *to,
                        int64_t apart) {
    const int64_t multiplier = c->stage->multiplier, x_pixel = c->x_pixel, in_w = c->in_w;
    if (multiplier == 1) {
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
        return;
    }
    const float *w = c->stage->weights + channel / V(lanes) * c->stage->block;
    for (int64_t i = 0; i < count; i += V(lanes), w += c->stage->block) {
        const int64_t first = (channel + i) / multiplier;
        const int64_t last = channel + dw_clamp(i + V(lanes), 0, count) - 1;
        const int inputs = (int)(last / multiplier - first + 1);
        const float *in = x + first, *spread = w + c->stage->block - V(lanes);
        if (first + 4 <= c->channel_end / multiplier) /* as many can be read; no vector sees more */
            for (int64_t ix = 0; ix < in_w; ix++, in += x_pixel)
                V(store)(to + i + ix * apart, V(spread_few)(in, spread));
        else
            for (int64_t ix = 0; ix < in_w; ix++, in += x_pixel)
                V(store)(to + i + ix * apart, V(spread)(V(load_n)(in, inputs), spread));
    }
}

/* Whether parts of so many channels leave none that is narrower than a vector. */
static int dw_fills_vectors(const dwc_dw_call *c, int64_t part) {
    const int64_t channels = c->channel_end - c->channel_begin, rest = channels % part;
    return channels % V(lanes) == 0 || (dw_last(c, V(lanes)) && (rest == 0 || rest > V(lanes)));
}

/* Rows of tiles on copies of input rows, as many channels at a time as `staged` holds of the rows of a tile, whose pixels
 * are an odd number of lines apart. Rows are copied once: 7x7x1024 takes 20 us instead of 46 (1040 channels 17), 14x14x512
 * 39 instead of 56 (528: 33), with 5x5 77 instead of 136 (Zen 3, with the tiles of then). */
NOINLINE void dw_staged(const dwc_dw_call *c, const dw_shape *shape, int64_t channels, float *staged) {
    const int64_t pixel = channels < DW_LINE ? channels : (channels / DW_LINE | 1) * DW_LINE;
    const int K = shape->kernel, S = shape->stride;
    dwc_depthwise_stage stage = *c->stage;
    stage.multiplier = 1;
    dwc_dw_call part = *c;
    part.stage = &stage;
    part.x = staged;
    part.x_pixel = pixel;
    part.x_row = c->in_w * pixel;
    part.ring_rows = (shape->rows - 1) * S + K;
    part.channel_begin = 0;
    part.prefetch_rows = 0;
    for (int64_t channel = c->channel_begin; channel < c->channel_end; channel += channels) {
        const int64_t left = c->channel_end - channel;
        part.channel_end = left < channels ? left : channels;
        stage.weights = c->stage->weights + channel / V(lanes) * stage.block;
        dw_cut cut;
        dw_cut_row(&part, shape, 0, &cut);
        int64_t next = 0; /* input row to be copied */
        for (int64_t oy = c->row_begin; oy < c->row_end; oy = part.row_end) {
            const int64_t first = dw_clamp(oy * S - c->pad_top, 0, c->in_h);
            part.row_begin = oy;
            part.row_end = dw_clamp(oy + shape->rows, oy, c->row_end);
            part.y = c->y + channel + (oy - c->row_begin) * c->y_row;
            part.ring_first = first / part.ring_rows * part.ring_rows;
            if (next < first) next = first;
            for (; next < (part.row_end - 1) * S - c->pad_top + K && next < c->in_h; next++)
                dw_copy_row(c, dw_row(c, next), channel, part.channel_end,
                            staged + next % part.ring_rows * part.x_row, pixel);
            dw_tile_row(&part, shape, &cut, oy, (int)(part.row_end - oy), NULL);
        }
    }
}

/* Channels to copy at a time, 0 if rows are not to be copied: equal shares in whole lines. Less than three lines of a pixel
 * are too short pieces of memory: 56x56x512 would take twice as long. With stride 2 an input is read less often, so that
 * three are worth it only where the sets are crowded: 28x28x512 takes 67 us instead of 79, 28x28x256 would take 33 instead
 * of 29. */
static int64_t dw_staged_channels(const dwc_dw_call *c, const dw_shape *shape) {
    const int64_t channels = c->channel_end - c->channel_begin, lines = dw_divide_up(channels, DW_LINE);
    const int64_t pixels = ((shape->rows - 1) * shape->stride + shape->kernel) * c->in_w;
    const int64_t fit = pixels > 0 ? (DW_STAGED / DW_LINE / pixels - 1) | 1 : 0;
    if (fit < 3 || !dw_conflicts(c, shape, fit < 5 && shape->stride > 1 ? 2 : 1)) return 0;
    const int64_t part = dw_divide_up(lines, dw_divide_up(lines, fit)) * DW_LINE;
    return dw_fills_vectors(c, part) ? part : 0;
}

NOINLINE void dw_copied(const dwc_dw_call *c, const dw_shape *shape, int64_t channels) {
    _Alignas(64) float staged[DW_STAGED];
    dw_staged(c, shape, channels, staged);
}

/* Channels to spread at a time, 0 if rows are not to be spread: equal shares in whole lines, or half a line. */
static int64_t dw_spread_channels(const dwc_dw_call *c, const dw_shape *shape) {
    const int64_t fit = DW_SPREAD / ((shape->rows - 1 + shape->kernel) * c->in_w),
                  lines = dw_divide_up(c->channel_end - c->channel_begin, DW_LINE);
    if (fit < V(lanes)) return 0;
    const int64_t parts = dw_divide_up(lines, (fit / DW_LINE - 1) | 1);
    const int64_t part = fit < DW_LINE ? V(lanes) : dw_divide_up(lines, parts) * DW_LINE;
    return dw_fills_vectors(c, part) ? part : 0;
}

/* On rows with the input of every output of a multiplier: 56x56x32 with multiplier 2 takes 62 us instead of 91, 28x28x32
 * with 4 and 5x5 66 instead of 89 (Zen 3). */
NOINLINE void dw_multiplied(const dwc_dw_call *c, const dw_shape *shape) {
    _Alignas(64) float staged[DW_SPREAD];
    dw_staged(c, shape, dw_spread_channels(c, shape), staged);
}
