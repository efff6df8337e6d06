/* Tiles of small square windows along the rows of an image: dw_tile_vector with compile-time sizes.
 * Columns that no tile fits go through dw_window. */

/* Activations other than clamps, where a tile has stored its results: all channels of a tile at once, since what there is
 * to set up takes longer than one vector of channels (Zen 3, AVX2, 14x14x200 with hard_swish: 16 us instead of 19). */
NOINLINE void dw_tile_activate(const dw_tile *c, float *y, int columns) {
    const dwconv_activation *activation = &c->stage->activation;
    const int64_t whole = c->channels / V(lanes), rest = c->channels % V(lanes);
    for (int r = 0; whole && r < c->row_count; r++)
        V(activate)(y + r * c->y_row, (int)whole, V(lanes), columns, c->y_pixel, activation);
    y += whole * V(lanes);
    for (int64_t channel = 0; channel < rest; channel += TAIL(lanes))
        TAIL(dw_activate)(y + channel, columns, c->y_pixel, c->row_count, c->y_row,
                          rest - channel < TAIL(lanes) ? (int)(rest - channel) : TAIL(lanes), activation);
}

enum { DW_LINE = 64 / sizeof(float) };

#ifdef DW_FAR
/* The share of the vector at `channel` in what a tile asks for: `floats` of every row, from `offset` on. */
INLINE void dw_ask(const dw_tile *c, int64_t offset, const int floats) {
    const float *ask = c->ask + offset;
    for (int r = 0; r < c->ask_rows; r++, ask += c->ask_row) {
    UNROLL for (int f = 0; f < floats; f += DW_LINE) __builtin_prefetch(ask + f);
    }
}

/* A tile from where it was stored to `y`, past the caches: whole lines in the order of memory. */
NOINLINE void dw_stream(const dw_tile *c, float *y, int columns) {
    const float *from = c->y;
    for (int r = 0; r < c->row_count; r++, y += c->stream_row)
        for (int t = 0; t < columns; t++)
            for (int64_t channel = 0; channel < c->channels; channel += V(lanes), from += V(lanes))
                V(stream)(y + t * c->stream_pixel + channel, V(load)(from));
}
#endif

INLINE void dw_tile_run(const dw_tile *run, const int KERNEL, const int STRIDE, const int ROWS,
                        const int COLUMNS, const int EDGE) {
    const dw_tile tile = *run, *c = &tile; /* which no store can alias */
    for (int64_t i = 0; i < c->tiles; i++) {
        const int64_t x = i * COLUMNS * STRIDE * c->x_pixel;
        float *y = c->y + (c->stream ? 0 : i * COLUMNS * c->y_pixel);
        const float *w = c->weights;
        int64_t channel = 0;
        for (; channel + V(lanes) <= c->channels; channel += V(lanes), w += c->stage->block) {
#ifdef DW_FAR
            if (!LIKELY(!c->ask_rows)) dw_ask(c, x + channel * COLUMNS * STRIDE, COLUMNS * STRIDE * V(lanes));
#endif
            V(dw_tile_vector)(c, x + channel, y + channel, w, V(lanes), KERNEL, STRIDE, ROWS, COLUMNS, EDGE,
                              1, V(lanes));
        }
        for (; channel < c->channels; channel += TAIL(lanes), w += TAIL(lanes)) {
            const int64_t left = c->channels - channel;
            TAIL(dw_tile_vector)(c, x + channel, y + channel, w, left < TAIL(lanes) ? (int)left : TAIL(lanes),
                                 KERNEL, STRIDE, ROWS, COLUMNS, EDGE, 0, V(lanes));
        }
        if (!LIKELY(c->stage->activation.kind == DWCONV_CLIP)) dw_tile_activate(run, y, COLUMNS);
#ifdef DW_FAR
        if (!LIKELY(!c->stream)) dw_stream(run, c->stream + i * COLUMNS * c->stream_pixel, COLUMNS);
#endif
    }
}

/* What a tile needs to know of itself at run time. */
typedef struct dw_shape {
    int kernel, stride, rows, columns;
    void (*inner)(const dw_tile *), (*edge)(const dw_tile *);
    void (*full)(const dw_tile *); /* of full tiles alone, or NULL */
} dw_shape;

/* DW_TILES(NAME, K, S, R, T, FULL) defines dw_shape_NAME: KxK windows with stride S in tiles of R rows x T columns. */
#define DW_TILES(NAME, K, S, R, T, FULL)                                               \
    NOINLINE void dw_inner_##NAME(const dw_tile *c) { dw_tile_run(c, K, S, R, T, 0); } \
    NOINLINE void dw_edge_##NAME(const dw_tile *c) { dw_tile_run(c, K, S, R, T, 1); }  \
    static const dw_shape dw_shape_##NAME = {K, S, R, T, dw_inner_##NAME, dw_edge_##NAME, FULL};

/* DW_SHAPE(K, S, R, T) defines dw_K_S of them. */
#define DW_SHAPE(K, S, R, T)            \
    DW_TILES(K##_##S, K, S, R, T, NULL) \
    static void dw_##K##_##S(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_##K##_##S); }

enum { DW_MAX_ROWS = 16 }; /* input rows of the tallest tile: (ROWS - 1) * STRIDE + KERNEL */

#ifdef DW_FAR
/* Asks for the rows that are prefetch_rows below those that this row of tiles is the first to read, at the columns of a
 * run of tiles. A row of tiles reads short pieces of many pixels, which the CPU does not foresee in time: 208x208x96 with
 * stride 2 takes 1.4 ms instead of 2.8. */
INLINE void dw_ask_for_rows(const dwc_dw_call *c, const dw_shape *shape, int64_t oy, int64_t ox,
                            dw_tile *run) {
    const int S = shape->stride, rows = shape->rows * S;
    const int64_t columns = run->tiles * shape->columns * S, last = c->in_w - columns;
    const int64_t iy = (oy - 1) * S - c->pad_top + shape->kernel + c->prefetch_rows;
    if (c->prefetch_rows == 0 || c->ring_rows < c->in_h || c->x_pixel - run->channels >= DW_LINE ||
        last < 0 || iy < 0 || iy >= c->in_h)
        return;
    run->ask = c->x + iy * c->x_row + (ox * S < last ? ox * S : last) * c->x_pixel;
    run->ask_row = c->x_row;
    run->ask_rows = iy + rows <= c->in_h ? rows : (int)(c->in_h - iy);
}
#endif

/* One row of tiles: output rows [oy, oy + count). Columns that no tile fits go through the window kernel. */
INLINE void dw_tile_row(const dwc_dw_call *c, const dw_shape *shape, int64_t oy, int count, float *buffer) {
    const int K = shape->kernel, S = shape->stride, T = shape->columns;
    const float *rows[DW_MAX_ROWS], *shifted[DW_MAX_ROWS];
    const int row_total = (shape->rows - 1) * S + K, row_needed = (count - 1) * S + K;
    for (int i = 0; i < row_total; i++) rows[i] = i < row_needed ? dw_row(c, oy * S - c->pad_top + i) : NULL;
    int full = shape->full && count == shape->rows && !buffer && c->stage->activation.kind == DWCONV_CLIP &&
               (c->channel_end - c->channel_begin) % V(lanes) == 0;
    for (int i = 0; i < row_total; i++) full &= rows[i] != NULL;
    const int64_t span = (T - 1) * S + K;
    float *y = c->y + (oy - c->row_begin) * c->y_row;
    int64_t ox = 0, done = 0;
    while (done < c->out_w) {
        if (ox + T > c->out_w) { /* the last tile overlaps the one before */
            if (done < T) break;
            ox = c->out_w - T;
        }
        const int64_t ix = ox * S - c->pad_left;
        const int64_t left = ix < 0 ? -ix : 0, right = dw_clamp(ix + span - c->in_w, 0, span);
        int64_t tiles = 1;
        if (left > (K - 1) / 2 || right > (K - 1) / 2) {
            dw_window(c, oy, oy + count, done, ox + T);
        } else {
            if (left == 0 && right == 0) { /* a run of inner tiles */
                tiles = (c->in_w - ix - span) / (S * T) + 1;
                if (tiles > (c->out_w - ox) / T) tiles = (c->out_w - ox) / T;
                if (tiles < 1) tiles = 1;
            }
            for (int i = 0; i < row_total; i++)
                shifted[i] = rows[i] ? rows[i] + ix * c->x_pixel + c->channel_begin : NULL;
            float *out = y + ox * c->y_pixel + c->channel_begin;
            const int64_t channels = c->channel_end - c->channel_begin;
            dw_tile arguments = {.rows = shifted,
                                 .x_pixel = c->x_pixel,
                                 .y = out,
                                 .y_row = c->y_row,
                                 .y_pixel = c->y_pixel,
                                 .live = (1u << (span - right)) - (1u << left),
                                 .first = {left * c->x_pixel, left * c->x_pixel},
                                 .row_count = count,
                                 .tiles = tiles,
                                 .stage = c->stage,
                                 .weights = c->stage->weights + c->channel_begin / V(lanes) * c->stage->block,
                                 .channels = channels};
            if (buffer) {
                arguments.y = buffer;
                arguments.y_row = T * channels;
                arguments.y_pixel = channels;
                arguments.stream = out;
                arguments.stream_row = c->y_row;
                arguments.stream_pixel = c->y_pixel;
            }
            arguments.first[(left + 1) % S] += c->x_pixel * (S - 1);
#ifdef DW_FAR
            dw_ask_for_rows(c, shape, oy, ox, &arguments);
#endif
            const int whole = full && arguments.ask_rows == 0;
            (left || right ? shape->edge : whole ? shape->full : shape->inner)(&arguments);
        }
        ox += tiles * T;
        done = ox;
    }
    if (done < c->out_w) dw_window(c, oy, oy + count, done, c->out_w);
}

NOINLINE void dw_tiled_into(const dwc_dw_call *c, const dw_shape *shape, float *buffer) {
    for (int64_t oy = c->row_begin; oy < c->row_end; oy += shape->rows) {
        const int64_t left = c->row_end - oy;
        dw_tile_row(c, shape, oy, left < shape->rows ? (int)left : shape->rows, buffer);
    }
}

#ifdef DW_STAGED
/* Power-of-two distances between pixels: the lines of a tile, inputs and outputs, compete for few of the 64 sets of 8 lines
 * that a first-level cache has. With vectors of half a line every line is then read twice. */
static int dw_conflicts(const dwc_dw_call *c, const dw_shape *shape) {
    enum { sets = 64, ways = 8 };
    const int64_t input_rows = (shape->rows - 1) * shape->stride + shape->kernel;
    const int64_t input_columns = (shape->columns - 1) * shape->stride + shape->kernel;
    const int64_t lines = input_rows * input_columns + shape->rows * shape->columns;
    return c->x_pixel % DW_LINE == 0 && lines > ways * sets / dw_common_divisor(c->x_pixel / DW_LINE, sets);
}

/* The same on copies of input rows, as many channels at a time as DW_STAGED floats hold of the rows of a tile, whose pixels
 * are an odd number of lines apart. Rows are copied once: 7x7x1024 takes 20 us instead of 46 (1040 channels 17), 14x14x512
 * 39 instead of 56 (528: 33), with 5x5 77 instead of 136 (Zen 3). */
static void dw_staged(const dwc_dw_call *c, const dw_shape *shape, int64_t channels) {
    _Alignas(64) float staged[DW_STAGED];
    const int64_t pixel = (channels / DW_LINE | 1) * DW_LINE;
    const int K = shape->kernel, S = shape->stride;
    dwc_depthwise_stage stage = *c->stage;
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
        int64_t next = 0; /* input row to be copied */
        for (int64_t oy = c->row_begin; oy < c->row_end; oy = part.row_end) {
            const int64_t first = dw_clamp(oy * S - c->pad_top, 0, c->in_h);
            part.row_begin = oy;
            part.row_end = dw_clamp(oy + shape->rows, oy, c->row_end);
            part.y = c->y + channel + (oy - c->row_begin) * c->y_row;
            part.ring_first = first / part.ring_rows * part.ring_rows;
            if (next < first) next = first;
            for (; next < (part.row_end - 1) * S - c->pad_top + K && next < c->in_h; next++) {
                const float *x = dw_row(c, next) + channel;
                float *to = staged + next % part.ring_rows * part.x_row;
                for (int64_t ix = 0; ix < c->in_w; ix++, x += c->x_pixel, to += pixel)
                    for (int64_t i = 0; i < part.channel_end; i += V(lanes)) V(store)(to + i, V(load)(x + i));
            }
            dw_tile_row(&part, shape, oy, (int)(part.row_end - oy), NULL);
        }
    }
}

/* Channels to copy at a time, 0 if rows are not to be copied: equal shares in whole lines. Less than three lines of a pixel
 * are too short pieces of memory: 56x56x512 would take twice as long. */
static int64_t dw_staged_channels(const dwc_dw_call *c, const dw_shape *shape) {
    const int64_t channels = c->channel_end - c->channel_begin, lines = dw_divide_up(channels, DW_LINE);
    const int64_t pixels = ((shape->rows - 1) * shape->stride + shape->kernel) * c->in_w;
    const int64_t fit = pixels > 0 ? (DW_STAGED / DW_LINE / pixels - 1) | 1 : 0;
    if (fit < 3 || channels % V(lanes) || !dw_conflicts(c, shape)) return 0;
    return dw_divide_up(lines, dw_divide_up(lines, fit)) * DW_LINE;
}
#endif

#ifdef DW_FAR
NOINLINE void dw_streamed(const dwc_dw_call *c, const dw_shape *shape) {
    float buffer[DW_TILE_ROWS * DW_TILE_COLUMNS * DWC_STREAM_CHANNELS];
    dw_tiled_into(c, shape, buffer);
    V(stream_end)();
}
#endif

static void dw_tiled(const dwc_dw_call *c, const dw_shape *shape) {
#ifdef DW_FAR
    if (c->stream) {
        dw_streamed(c, shape);
        return;
    }
#endif
#ifdef DW_STAGED
    const int64_t channels = dw_staged_channels(c, shape);
    if (channels) {
        dw_staged(c, shape, channels);
        return;
    }
#endif
    dw_tiled_into(c, shape, NULL);
}

/* Stride 1 with a dilation: outputs d apart see inputs d apart, so that the image is d x d dense ones, tiled each on its
 * own: 56x56x64 with dilation 2 and 4 takes half the time (Zen 3, AVX2). Not where they are narrower than a tile, nor in
 * a ring of rows, which has none of them in equal steps. */
INLINE void dw_dilated(const dwc_dw_call *c, const dw_shape *shape) {
    const dwconv_window *w = &c->stage->window;
    const int64_t dy = w->dilation_h, dx = w->dilation_w;
    if (c->ring_rows < c->in_h || c->out_w < shape->columns * dx) {
        dw_general_f32(c);
        return;
    }
    dwc_depthwise_stage dense = *c->stage;
    dense.window.dilation_h = dense.window.dilation_w = 1;
    for (int64_t oy = c->row_begin; oy < c->row_end && oy < c->row_begin + dy; oy++) {
        const int64_t iy =
            (oy - c->pad_top % dy + dy) % dy; /* the first input row that these outputs can see */
        for (int64_t ox = 0; ox < c->out_w && ox < dx; ox++) {
            const int64_t ix = (ox - c->pad_left % dx + dx) % dx;
            dwc_dw_call part = *c;
            part.stage = &dense;
            part.x = c->x + iy * c->x_row + ix * c->x_pixel;
            part.x_row = dy * c->x_row;
            part.x_pixel = dx * c->x_pixel;
            part.in_h = part.ring_rows = iy < c->in_h ? dw_divide_up(c->in_h - iy, dy) : 0;
            part.in_w = ix < c->in_w ? dw_divide_up(c->in_w - ix, dx) : 0;
            part.y = c->y + (oy - c->row_begin) * c->y_row + ox * c->y_pixel;
            part.y_row = dy * c->y_row;
            part.y_pixel = dx * c->y_pixel;
            part.out_w = dw_divide_up(c->out_w - ox, dx);
            part.pad_top = (iy - (oy - c->pad_top)) / dy;
            part.pad_left = (ix - (ox - c->pad_left)) / dx;
            part.row_begin = 0;
            part.row_end = dw_divide_up(c->row_end - oy, dy);
            dw_tiled(&part, shape);
        }
    }
}

#define DW_DILATED(K) \
    static void dw_dilated_##K(const dwc_dw_call *c) { dw_dilated(c, &dw_shape_##K##_1); }
