/* Runs of tiles of a small square window: all channels of a tile, tile after tile, which is the order of memory. */

/* Activations other than clamps, where a tile has stored its results: all channels at once, since what there is to set up
 * takes longer than one vector. */
NOINLINE void dw_activate_tile(const dwc_dw_run *c, char *output, int columns) {
    const int64_t whole = c->channels / V(lanes), rest = c->channels % V(lanes), size = sizeof(float);
    const int64_t step = c->y_out / size, row = c->y_row / size;
    float *y = (float *)output;
    for (int r = 0; whole && r < c->rows; r++)
        V(activate)(y + r * row, (int)whole, V(lanes), columns, step, c->activation);
    y += whole * V(lanes);
    for (int64_t channel = 0; channel < rest; channel += TAIL(lanes))
        TAIL(dw_activate)(y + channel, columns, step, c->rows, row,
                          rest - channel < TAIL(lanes) ? (int)(rest - channel) : TAIL(lanes), c->activation);
}

/* Where the inputs of a vector of outputs begin, how many there are, and which lane takes the first of its group. Without masks
 * a vector or DW_FEW are read; at the end of a pixel the last ones, so that none is read beyond. */
INLINE int64_t dw_spread(const dwc_dw_run *c, int64_t channel, int lanes, const float *w, int *inputs,
                         V(ivec) * spread, const int SPREAD) {
    const int32_t outputs = (int32_t)c->multiplier, each = (int32_t)c->group_inputs;
    const int32_t first = (int32_t)channel / outputs * each;
    *spread = (V(ivec))V(load)(w + c->block - V(lanes));
#ifdef DW_MASKED
    (void)SPREAD;
    *inputs = (int32_t)(channel + lanes - 1) / outputs * each + each - first;
    return first * (int64_t)sizeof(float);
#else
    const int32_t last = (int32_t)c->in_channels - (SPREAD == DW_FEW ? 4 : V(lanes)),
                  from = first < last ? first : last;
    *spread += first - from;
    *inputs = lanes;
    return from * (int64_t)sizeof(float);
#endif
}

/* Asks ahead of time for the input rows that the tiles below are the first to see: some bytes from the first channel of a run,
 * in the first of the vectors that share a line. Where there are few registers; elsewhere the rows of a tile do. */
NOINLINE void dw_ask(const dwc_dw_run *c, int64_t from) {
    enum { line = DWC_LINE_FLOATS * sizeof(float), vector = V(lanes) * sizeof(float) };
    __asm__ volatile(""); /* or the compiler drops the call, which to it has no effect */
    for (int r = c->kernel_h - c->row_stride; r < c->kernel_h + c->row_stride; r++) {
        if (!c->in[r]) continue;
        const char *x = c->in[r] + c->x + from + c->ahead;
        if (vector < line && (uintptr_t)x % line >= vector) continue;
        for (int j = c->columns * c->row_stride; j > 0; j--, x += c->x_tap) __builtin_prefetch(x, 0, 2);
    }
}

/* Fields are read one by one: a copy of the run, in vectors, would wait for stores of the walk that are still under way. */
INLINE void dw_tile_run(const dwc_dw_run *c, const int KERNEL, const int STRIDE, const int COLUMNS,
                        const int EDGE, const int SPREAD) {
    enum { size = sizeof(float) };
    const int ROWS = STRIDE + KERNEL, PIECE = KERNEL == 3 && !SPREAD,
              STAY = DW_WEIGHTS_STAY(KERNEL, STRIDE, COLUMNS);
    const int64_t step = V(lanes) * size, channels = c->channels, block = c->block, tiles = c->tiles;
    const int64_t x_tile = c->x_tile, y_tile = c->y_tile, ahead = c->ahead;
    const float *const weights = c->weights;
    const char *in[DWC_MOST_TILE_ROWS];
    char *out[DW_TILE_ROWS];
    dw_tile_steps s = {.step = c->x_tap,
                       .ahead = ahead,
                       .streams = c->streams,
                       .live = c->live,
                       .low = c->low,
                       .high = c->high,
                       .rows = c->rows,
                       .group_inputs = c->group_inputs};
    if (!STAY) V(distances)(s.x_times, c->x_tap, ((COLUMNS - 1) * STRIDE + KERNEL) / 2);
    V(distances)(s.y_times, c->y_out, COLUMNS / 2);
    UNROLL for (int r = 0; r < ROWS; r++) {
        s.seen[r] = c->in[r] != NULL;
        in[r] = (s.seen[r] ? c->in[r] : (const char *)weights) + c->x; /* some address, which is not read from */
    }
    UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) out[r] = c->y + r * c->y_row;
    for (int64_t i = 0; i < tiles; i++) {
        char *x[DWC_MOST_TILE_ROWS], *y[DW_TILE_ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) x[r] = (char *)in[r] + i * x_tile;
        UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) y[r] = out[r] + i * y_tile;
        const float *w = weights;
        int64_t offset = 0, left = channels;
        V(ivec) spread = {0};
        int inputs = V(lanes);
#ifdef DW_MASKED
        for (; SPREAD && left > 0; left -= V(lanes), w += block) {
            const int lanes = left < V(lanes) ? (int)left : V(lanes);
            offset = dw_spread(c, c->channel + channels - left, lanes, w, &inputs, &spread, SPREAD);
            V(tile_vector)(&s, x, offset, step, y, w, spread, inputs, lanes, KERNEL, STRIDE, COLUMNS, EDGE,
                           SPREAD, 0, V(lanes));
        }
        for (; left >= V(lanes); left -= V(lanes), w += block) {
#else
        for (; left > 0; left -= V(lanes), w += block) {
            if (!LIKELY(left >= V(lanes))) { /* the last vector overlaps the one before */
                const int64_t back = (V(lanes) - left) * size;
                UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) y[r] -= back;
                if (PIECE) {
                    UNROLL for (int r = 0; r < ROWS; r++) x[r] -= back;
                } else {
                    offset -= back;
                }
                w = c->last;
            }
            OPAQUE(left); /* or the compiler makes another copy of all this for it */
            if (SPREAD) {
                const int64_t end = c->channel + channels;
                offset = dw_spread(c, left >= V(lanes) ? end - left : end - V(lanes), V(lanes), w, &inputs, &spread,
                                   SPREAD);
            }
#endif
            if (!STAY && !SPREAD && !LIKELY(!ahead)) dw_ask(c, i * x_tile + (channels - left) * size);
            V(tile_vector)(&s, x, offset, step, y, w, spread, inputs, V(lanes), KERNEL, STRIDE, COLUMNS, EDGE,
                           SPREAD, 1, V(lanes));
            if (!PIECE && !SPREAD) offset += step;
        }
#ifdef DW_MASKED
        for (; left > 0; left -= TAIL(lanes), w += TAIL(lanes)) {
            const int lanes = left < TAIL(lanes) ? (int)left : TAIL(lanes);
            TAIL(tile_vector)(&s, x, offset, TAIL(lanes) * size, y, w, (TAIL(ivec)){0}, lanes, lanes, KERNEL, STRIDE,
                              COLUMNS, EDGE, 0, 0, V(lanes));
            if (!PIECE) offset += TAIL(lanes) * size;
        }
#endif
        if (!LIKELY(!c->activation)) dw_activate_tile(c, out[0] + i * y_tile, COLUMNS);
    }
}

#define DW_TILE(NAME, K, S, T, EDGE, SPREAD) \
    NOINLINE void NAME##_##K##_##S##_##T(const dwc_dw_run *c) { dw_tile_run(c, K, S, T, EDGE, SPREAD); }

/* DW_TILES(K, S, T) defines tiles of T columns, of a function for inner ones and for either edge; DW_TILES_OF lists them. */
#define DW_TILES(K, S, T)                       \
    DW_TILE(dw_inner, K, S, T, DW_INSIDE, 0) \
    DW_TILE(dw_left, K, S, T, DW_LEFT, 0)    \
    DW_TILE(dw_right, K, S, T, DW_RIGHT, 0)
#define DW_TILES_OF(K, S, T)                                                                          \
    {T, dw_inner_##K##_##S##_##T, dw_left_##K##_##S##_##T, dw_right_##K##_##S##_##T, NULL}

/* With tests at edges: of two functions, or of one where tiles are few. */
#define DW_TESTED_TILES(K, S, T) DW_TILE(dw_inner, K, S, T, DW_INSIDE, 0) DW_EDGE_TILES(K, S, T)
#define DW_TESTED_TILES_OF(K, S, T) \
    {T, dw_inner_##K##_##S##_##T, NULL, NULL, dw_tested_##K##_##S##_##T}
#define DW_EDGE_TILES(K, S, T) DW_TILE(dw_tested, K, S, T, DW_TESTED, 0)
#define DW_EDGE_TILES_OF(K, S, T) \
    {T, dw_tested_##K##_##S##_##T, NULL, NULL, dw_tested_##K##_##S##_##T}

/* For groups; DW_FEW: whose vectors have four inputs at most, as those of multipliers. */
#define DW_SPREADING_TILES(NAME, K, S, T, SPREAD)       \
    DW_TILE(NAME, K, S, T, DW_INSIDE, SPREAD)        \
    DW_TILE(NAME##_left, K, S, T, DW_LEFT, SPREAD)   \
    DW_TILE(NAME##_right, K, S, T, DW_RIGHT, SPREAD)
#define DW_SPREADING_TILES_OF(NAME, K, S, T)                                                 \
    {T, NAME##_##K##_##S##_##T, NAME##_left_##K##_##S##_##T,             \
     NAME##_right_##K##_##S##_##T, NULL}
#define DW_SPREADING_TESTED(K, S, T)                   \
    DW_TILE(dw_spread, K, S, T, DW_INSIDE, DW_SOME) \
    DW_TILE(dw_spread_tested, K, S, T, DW_TESTED, DW_SOME)
#define DW_SPREADING_TESTED_OF(K, S, T) \
    {T, dw_spread_##K##_##S##_##T, NULL, NULL, dw_spread_tested_##K##_##S##_##T}

/* Rolling rows: all channels of a tile, each vector down all rows, then the next tile. */
#ifdef DW_ROLLS
INLINE void dw_roll_run(const dwc_dw_run *c, const int STRIDE, const int COLUMNS) {
    enum { size = sizeof(float) };
    const int64_t tiles = c->tiles, block = c->block;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t x = c->x + i * c->x_tile, left = c->channels;
        char *y = c->y + i * c->y_tile;
        const float *w = c->weights;
        for (; left >= V(lanes); left -= V(lanes), w += block, x += V(lanes) * size, y += V(lanes) * size)
            V(roll_tile)(c, x, y, w, V(lanes), COLUMNS, STRIDE, 1, V(lanes));
        for (; left > 0; left -= TAIL(lanes), w += TAIL(lanes), x += TAIL(lanes) * size, y += TAIL(lanes) * size)
            TAIL(roll_tile)(c, x, y, w, left < TAIL(lanes) ? (int)left : TAIL(lanes), COLUMNS, STRIDE, 0, V(lanes));
    }
}

#define DW_ROLLING(S, T) \
    NOINLINE void dw_roll_##S##_##T(const dwc_dw_run *c) { dw_roll_run(c, S, T); }
#define DW_ROLLING_OF(S, T) {T, dw_roll_##S##_##T, NULL, NULL, dw_roll_##S##_##T}
#endif
