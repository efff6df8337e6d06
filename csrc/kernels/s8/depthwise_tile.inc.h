/* Tiles of a depthwise convolution of 8-bit integers, for any window: two or four outputs of one or two rows. */

enum {
    DW_SUMS = 16,
    DW_COLUMNS = 11,
    DW_TAPS = 7
}; /* of the largest tile: sums, columns and constant taps */

/* What is known once of a group of channels. */
typedef struct dw_group {
    const dwc_s8_dw_run *call;
    const uint8_t *start, *multipliers, *sources, *weights;
    int64_t x, y; /* bytes of a line, and of an output, to its first channel */
    int channels; /* that are stored */
    int is_plain; /* stored as bytes whose rounding fits */
} dw_group;

/* ---- the end of two outputs ----------------------------------------------------------------------- */

/* Sums of a group in order: as numbers, or as bytes. */
NOINLINE void dw_put(const dw_group *g, const int32_t *sums, uint8_t *y) {
    V(ivec) by[2] = {V(load_ints)(g->multipliers), V(load_ints)(g->multipliers + 4 * V(lanes))};
    V(unpair)(by);
    const V(end) end = V(end_of)(&g->call->end, S8_CLAMPED);
    if (g->call->end.sums) {
        memcpy(y, sums, (size_t)g->channels * sizeof *sums);
        return;
    }
    for (int h = 0; h < 2 && h * V(lanes) < g->channels; h++) {
        const int n = g->channels - h * V(lanes);
        const V(bytes) bytes = V(finish)(V(load_ints)(sums + h * V(lanes)), (V(vec))by[h], &end);
        if (n >= V(lanes))
            V(store_bytes)(y + h * V(lanes), bytes);
        else
            V(store_bytes_n)(y + h * V(lanes), bytes, n);
    }
}

/* Two outputs that are not plain. */
NOINLINE void dw_end_other(const dw_group *g, V(ivec) * acc, uint8_t *first, uint8_t *second) {
    int32_t sums[4 * V(lanes)];
    V(unpair)(acc);
    V(unpair)(acc + 2);
    for (int i = 0; i < 4; i++) V(store_ints)(sums + i * V(lanes), acc[i]);
    dw_put(g, sums, first);
    dw_put(g, sums + 2 * V(lanes), second);
}

/* Two outputs side by side, of two vectors each; the second one is at `second`. */
INLINE void dw_end(const dw_group *g, const V(ivec) * acc, uint8_t *first, uint8_t *second,
                   const V(end) * end) {
    if (LIKELY(g->is_plain)) {
        const V(vec) by[2] = {V(load)((const float *)g->multipliers),
                              V(load)((const float *)g->multipliers + V(lanes))};
        V(store_groups)(first, second, V(finish_groups)(acc, by, end, S8_CLAMPED), g->channels);
        return;
    }
    V(ivec) sums[4] = {acc[0], acc[1], acc[2], acc[3]};
    dw_end_other(g, sums, first, second);
}

/* ---- any window ------------------------------------------------------------------------------------- */

/* A tile, all of it constants: outputs of a row, rows; whether inputs are those of a multiplier; columns of a window and
 * from output to output, or 0: as the call says. */
typedef struct dw_shape {
    int T, ROWS, SPREAD, TAPS, STRIDE;
} dw_shape;

/* A column of a line, for both vectors. */
INLINE void dw_load(const dw_group *g, const uint8_t *p, const uint8_t *q, V(quads) * in, const int SPREAD) {
    if (!SPREAD) {
        V(load_pairs)(p, q, in);
        return;
    }
    UNROLL for (int h = 0; h < 2; h++) in[h] = V(spread_pairs)(p, q, V(load_ints)(g->sources + h * 4 * V(lanes)));
}

/* One dot product along a row of each output of a tile, at acc[(row * T + output) * 2 + vector]. w: the weights, those of
 * each set after each other. Dot products are STEP columns apart. Of constant taps a column is loaded once, when the first
 * output sees it. */
INLINE void dw_tap(V(ivec) *acc, const dw_group *g, V(quads) (*in)[2], int tap, const uint8_t *p, const uint8_t *q,
                   int64_t x_out, const uint8_t *w, const dw_shape s, const int STEP) {
    V(factors) first[2], second[2];
    UNROLL for (int h = 0; h < 2; h++) {
        first[h] = V(load_factors)(w + h * V(factor_bytes));
        second[h] = V(load_factors)(w + ((s.ROWS - 1) * 2 + h) * V(factor_bytes));
    }
    /* A column is seen again so many dot products and outputs on. */
    const int LATER = s.STRIDE > STEP ? 2 : 1, BEFORE = STEP > s.STRIDE ? 2 : 1;
    UNROLL for (int t = 0; t < s.T; t++) {
        const int at = STEP * tap + t * s.STRIDE;
        if (tap < LATER || t + BEFORE >= s.T) dw_load(g, p + t * x_out, q + t * x_out, in[at], s.SPREAD);
        UNROLL for (int h = 0; h < 2; h++) {
            acc[t * 2 + h] = V(dot4)(acc[t * 2 + h], in[at][h], first[h]);
            if (s.ROWS > 1) acc[(s.T + t) * 2 + h] = V(dot4)(acc[(s.T + t) * 2 + h], in[at][h], second[h]);
        }
    }
}

/* TAPS dot products of a tile in a pass. */
INLINE void dw_taps(V(ivec) *acc, const dw_group *g, const dwc_s8_pass *pass, int64_t x, int64_t x_out,
                    const uint8_t *w, const dw_shape s, const int TAPS, const int STEP) {
    const int64_t step = (s.ROWS > 1 ? 2 : g->call->sets) * (2 * V(factor_bytes)), x_tap = STEP * g->call->x_tap;
    const uint8_t *p = pass->lines[0] + x, *q = pass->lines[1] + x;
    V(quads) in[DW_COLUMNS][2];
    UNROLL for (int tap = 0; tap < DW_TAPS; tap++) {
        if (tap >= TAPS) break;
        dw_tap(acc, g, in, tap, p + tap * x_tap, q + tap * x_tap, x_out, w + tap * step, s, STEP);
    }
}

/* Adds all passes to a tile. Of five constant rows there are two: a column at a time, and two. */
INLINE void dw_add(V(ivec) *acc, const dw_group *g, int64_t x, const dw_shape s) {
    const dwc_s8_dw_run *c = g->call;
    const int64_t x_out = s.TAPS ? s.STRIDE * c->x_tap : c->x_out, step = c->sets * 2 * V(factor_bytes);
    const uint8_t *w = g->weights;
    if (s.TAPS == 5) {
        dw_taps(acc, g, c->passes, x, x_out, w, s, s.TAPS, 1);
        dw_taps(acc, g, c->passes + 1, x, x_out, w + s.TAPS * step, s, (s.TAPS + 1) / 2, 2);
        return;
    }
    for (const dwc_s8_pass *pass = c->passes, *end = pass + c->count; pass < end; pass++) {
        if (s.TAPS) {
            dw_taps(acc, g, pass, x, x_out, w, s, s.TAPS, 1);
            w += pass->taps * step;
            continue;
        }
        const dw_shape any = {s.T, s.ROWS, s.SPREAD, 0, 1};
        const uint8_t *p = pass->lines[0] + x, *q = pass->lines[1] + x;
        const int64_t x_tap = pass->x_tap;
        V(quads) in[DW_COLUMNS][2];
        NO_UNROLL for (int64_t tap = pass->taps; tap > 0; tap--, p += x_tap, q += x_tap, w += step)
            dw_tap(acc, g, in, 0, p, q, x_out, w, any, 1);
    }
}

/* Outputs [begin, end), which are a multiple of T. */
INLINE void dw_tiles(const dw_group *group, int64_t begin, int64_t end, const dw_shape s) {
    const int T = s.T, ROWS = s.ROWS;
    const V(end) ends = V(end_of)(&group->call->end, S8_CLAMPED);
    for (int64_t column = begin; column < end; column += T) {
        const dw_group *g = group;
        OPAQUE(g);
        const dwc_s8_dw_run *c = g->call;
        V(ivec) acc[DW_SUMS];
        UNROLL for (int i = 0; i < 2 * T * ROWS; i++) acc[i] = V(load_ints)(g->start + i % 2 * 4 * V(lanes));
        dw_add(acc, g, column * c->x_out + g->x, s);
        OPAQUE(g);
        c = g->call;
        const int64_t y_out = c->y_out;
        UNROLL for (int r = 0; r < ROWS; r++) {
            uint8_t *y = c->y + g->y + column * y_out + r * c->y_row;
            UNROLL for (int t = 0; t < T; t += 2) {
                V(ivec) sums[4];
                UNROLL for (int i = 0; i < 4; i++) {
                    const int output = t + i / 2 < T ? t + i / 2 : t;
                    sums[i] = acc[(r * T + output) * 2 + i % 2];
                    V(ints_in_order)(&y, &sums[i]);
                }
                dw_end(g, sums, y + t * y_out, y + (t + 1 < T ? t + 1 : t) * y_out, &ends);
            }
        }
    }
}

#define DW_TILES(...) DW_DEFINE_TILES(__VA_ARGS__)
#define DW_DEFINE_TILES(T, ROWS, SPREAD, TAPS, STRIDE)                                                               \
    NOINLINE void dw_tiles_##T##_##ROWS##_##SPREAD##_##TAPS##_##STRIDE(const dw_group *g, int64_t begin, int64_t end) { \
        dw_tiles(g, begin, end, (dw_shape){T, ROWS, SPREAD, TAPS, STRIDE});                                   \
    }
#if DW_TILE == 4
DW_TILES(4, 2, 0, 0, 0)
DW_TILES(4, 1, 0, 0, 0)
#define DW_WIDEST(ROWS, TAPS, STRIDE) dw_tiles_4_##ROWS##_0_##TAPS##_##STRIDE
#else
#define DW_WIDEST(ROWS, TAPS, STRIDE) dw_tiles_2_##ROWS##_0_##TAPS##_##STRIDE
#endif
#ifdef DW_CONSTANT
#ifndef DW_ROLLS
DW_TILES(DW_TILE, 2, 0, 3, 1)
#endif
DW_TILES(DW_TILE, 2, 0, 5, 1)
DW_TILES(DW_TILE, 1, 0, 5, 2)
DW_TILES(DW_TILE, 2, 0, 7, 1)
#endif
DW_TILES(2, 2, 0, 0, 0)
DW_TILES(2, 1, 0, 0, 0)
DW_TILES(2, 2, 1, 0, 0)
DW_TILES(2, 1, 1, 0, 0)
