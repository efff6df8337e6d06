/* Depthwise convolution of 8-bit integers on lines: four kernel rows at a time, one or two output rows, a group of channels
 * (two vectors) at a time. Both output rows see the same vectors of a line, with weights of their own. */

enum { DW_SUMS = 16, DW_TILE = 4 }; /* sums of the largest tile, which has so many outputs of a row */

/* What is known once of a group of channels. */
typedef struct dw_group {
    const dwc_s8_dw_run *call;
    const uint8_t *start, *multipliers, *sources, *weights;
    int64_t x, y; /* bytes of a line, and of an output, to its first channel */
    int channels; /* that are stored */
    int bytes;    /* they are stored as bytes, whose rounding fits */
} dw_group;

/* ---- the end of two outputs ----------------------------------------------------------------------- */

NOINLINE void dw_put(const dw_group *g, const int32_t *sums, uint8_t *y) {
    V(ivec) by[2] = {V(load_ints)(g->multipliers), V(load_ints)(g->multipliers + 4 * V(lanes))};
    V(unpair)(by);
    const V(end) end = V(end_of)(&g->call->end);
    for (int h = 0; h < 2; h++) {
        const int n = g->channels - h * V(lanes);
        const V(ivec) acc = V(load_ints)(sums + h * V(lanes));
        if (n <= 0) break;
        if (g->call->end.sums) {
            memcpy(y + 4 * h * V(lanes), sums + h * V(lanes), (size_t)(n < V(lanes) ? n : V(lanes)) * sizeof *sums);
            continue;
        }
        const V(bytes) bytes = V(finish)(acc, (V(vec))by[h], &end);
        if (n >= V(lanes))
            V(store_bytes)(y + h * V(lanes), bytes);
        else
            V(store_bytes_n)(y + h * V(lanes), bytes, n);
    }
}

/* Two outputs side by side, of two vectors each; the second one is at `second`. */
INLINE void dw_end(const dw_group *g, V(ivec) *acc, uint8_t *first, uint8_t *second, const V(end) *end) {
    if (LIKELY(g->bytes)) {
        const V(vec) by[2] = {V(load)((const float *)g->multipliers), V(load)((const float *)g->multipliers + V(lanes))};
        V(store_groups)(first, second, V(finish_groups)(acc, by, end), g->channels);
        return;
    }
    int32_t sums[4 * V(lanes)];
    V(unpair)(acc);
    V(unpair)(acc + 2);
    UNROLL for (int i = 0; i < 4; i++) V(store_ints)(sums + i * V(lanes), acc[i]);
    dw_put(g, sums, first);
    dw_put(g, sums + 2 * V(lanes), second);
}

/* ---- any window ------------------------------------------------------------------------------------- */

/* Adds the taps of quads [begin, end) to a tile of T outputs of a row, at acc[(row * T + output) * 2 + vector]. FIRST,
 * SECOND: which rows see them; SETS of weights for each tap, of which that of the first row comes first. */
INLINE const uint8_t *dw_add(V(ivec) *acc, const dw_group *g, int begin, int end, int64_t x, const uint8_t *w, const int T,
                             const int SPREAD, const int FIRST, const int SECOND, const int SETS) {
    const dwc_s8_dw_run *c = g->call;
    const int64_t x_out = c->x_out, x_tap = c->x_tap;
    for (int q = begin; q < end; q++) {
        const uint8_t *p0 = c->lines[2 * q] + x, *p1 = c->lines[2 * q + 1] + x;
        for (int64_t tap = c->kernel_w; tap > 0; tap--) {
            V(factors) first[2], second[2];
            UNROLL for (int h = 0; h < 2; h++) {
                first[h] = V(load_factors)(w + h * V(factor_bytes));
                second[h] = V(load_factors)(w + ((SETS - 1) * 2 + h) * V(factor_bytes));
            }
            UNROLL for (int t = 0; t < T; t++) {
                V(quads) in[2];
                if (SPREAD) {
                    UNROLL for (int h = 0; h < 2; h++) {
                        const V(ivec) lanes = V(load_ints)(g->sources + h * 4 * V(lanes));
                        in[h] = V(spread_pairs)(p0 + t * x_out, p1 + t * x_out, lanes);
                    }
                } else {
                    V(load_pairs)(p0 + t * x_out, p1 + t * x_out, in);
                }
                UNROLL for (int h = 0; h < 2; h++) {
                    if (FIRST) acc[t * 2 + h] = V(dot4)(acc[t * 2 + h], in[h], first[h]);
                    if (SECOND) acc[(T + t) * 2 + h] = V(dot4)(acc[(T + t) * 2 + h], in[h], second[h]);
                }
            }
            p0 += x_tap;
            p1 += x_tap;
            w += SETS * 2 * V(factor_bytes);
        }
    }
    return w;
}

/* Outputs [begin, end), which are a multiple of T. */
INLINE void dw_tiles(const dw_group *group, int64_t begin, int64_t end, const int T, const int ROWS, const int SPREAD) {
    const V(end) ends = V(end_of)(&group->call->end);
    for (int64_t column = begin; column < end; column += T) {
        const dw_group *g = group;
        OPAQUE(g);
        const dwc_s8_dw_run *c = g->call;
        V(ivec) acc[DW_SUMS];
        UNROLL for (int i = 0; i < 2 * T * ROWS; i++) acc[i] = V(load_ints)(g->start + i % 2 * 4 * V(lanes));
        const int64_t x = column * c->x_out + g->x;
        const int both = c->second_begin < c->first_end, first = both ? c->second_begin : c->first_end;
        const uint8_t *w = dw_add(acc, g, 0, first, x, g->weights, T, SPREAD, 1, 0, 1);
        if (both) w = dw_add(acc, g, first, c->first_end, x, w, T, SPREAD, 1, ROWS > 1, 2);
        if (ROWS > 1)
            dw_add(acc, g, both ? c->first_end : c->second_begin, c->quads, x, w, T, SPREAD, 0, 1, 1);
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

#define DW_TILES(T, ROWS, SPREAD)                                                                  \
    NOINLINE void dw_tiles_##T##_##ROWS##_##SPREAD(const dw_group *g, int64_t begin, int64_t end) { \
        dw_tiles(g, begin, end, T, ROWS, SPREAD);                                                  \
    }
DW_TILES(4, 2, 0)
DW_TILES(2, 2, 0)
DW_TILES(1, 2, 0)
DW_TILES(4, 1, 0)
DW_TILES(1, 1, 0)
DW_TILES(2, 2, 1)
DW_TILES(1, 2, 1)
DW_TILES(2, 1, 1)
DW_TILES(1, 1, 1)

/* ---- 3x3 with stride 1 ------------------------------------------------------------------------------- */

/* The sums of the columns that an input feeds roll along the row: each is loaded once, and the dot products of some outputs
 * go together with the end of others. */
NOINLINE void dw_roll_3(const dw_group *group) {
    const dw_group *g = group;
    const dwc_s8_dw_run *c = g->call;
    const V(end) end = V(end_of)(&c->end);
    const int64_t x_tap = c->x_tap, y_out = c->y_out, y_row = c->y_row;
    const uint8_t *p0 = c->lines[0] + g->x, *p1 = c->lines[1] + g->x;
    uint8_t *y = c->y + g->y;
    V(factors) w[3][2][2]; /* of tap, row, vector */
    UNROLL for (int i = 0; i < 12; i++) w[i / 4][i / 2 % 2][i % 2] = V(load_factors)(g->weights + i * V(factor_bytes));
    V(ivec) a[4], b[4]; /* sums of an output and the next one: of row, vector */
    V(quads) in[2];
    V(load_pairs)(p0, p1, in);
    UNROLL for (int i = 0; i < 4; i++) a[i] = V(dot4)(V(load_ints)(g->start + i % 2 * 4 * V(lanes)), in[i % 2], w[0][i / 2][i % 2]);
    V(load_pairs)(p0 + x_tap, p1 + x_tap, in);
    UNROLL for (int i = 0; i < 4; i++) {
        a[i] = V(dot4)(a[i], in[i % 2], w[1][i / 2][i % 2]);
        b[i] = V(dot4)(V(load_ints)(g->start + i % 2 * 4 * V(lanes)), in[i % 2], w[0][i / 2][i % 2]);
    }
    int64_t left = c->columns;
    for (; left > 1; left -= 2) {
        V(ivec) next[4], after[4];
        p0 += 2 * x_tap;
        p1 += 2 * x_tap;
        V(load_pairs)(p0, p1, in);
        UNROLL for (int i = 0; i < 4; i++) {
            a[i] = V(dot4)(a[i], in[i % 2], w[2][i / 2][i % 2]);
            b[i] = V(dot4)(b[i], in[i % 2], w[1][i / 2][i % 2]);
            next[i] = V(dot4)(V(load_ints)(g->start + i % 2 * 4 * V(lanes)), in[i % 2], w[0][i / 2][i % 2]);
        }
        V(load_pairs)(p0 + x_tap, p1 + x_tap, in);
        UNROLL for (int i = 0; i < 4; i++) {
            b[i] = V(dot4)(b[i], in[i % 2], w[2][i / 2][i % 2]);
            next[i] = V(dot4)(next[i], in[i % 2], w[1][i / 2][i % 2]);
            after[i] = V(dot4)(V(load_ints)(g->start + i % 2 * 4 * V(lanes)), in[i % 2], w[0][i / 2][i % 2]);
        }
        UNROLL for (int r = 0; r < 2; r++) {
            V(ivec) sums[4] = {a[2 * r], a[2 * r + 1], b[2 * r], b[2 * r + 1]};
            dw_end(g, sums, y + r * y_row, y + r * y_row + y_out, &end);
        }
        y += 2 * y_out;
        UNROLL for (int i = 0; i < 4; i++) {
            a[i] = next[i];
            b[i] = after[i];
        }
    }
    if (left) {
        V(load_pairs)(p0 + 2 * x_tap, p1 + 2 * x_tap, in);
        UNROLL for (int i = 0; i < 4; i++) a[i] = V(dot4)(a[i], in[i % 2], w[2][i / 2][i % 2]);
        UNROLL for (int r = 0; r < 2; r++) {
            V(ivec) sums[4] = {a[2 * r], a[2 * r + 1], a[2 * r], a[2 * r + 1]};
            dw_end(g, sums, y + r * y_row, y + r * y_row, &end);
        }
    }
}

/* ---- the run ------------------------------------------------------------------------------------------ */

typedef void (*dw_tiles_function)(const dw_group *, int64_t, int64_t);

/* Tiles of four outputs, then of what is left. */
INLINE void dw_run_group(const dw_group *g) {
    static const dw_tiles_function tiles[2][2][3] = {{{dw_tiles_4_1_0, dw_tiles_1_1_0, dw_tiles_1_1_0},
                                                      {dw_tiles_4_2_0, dw_tiles_2_2_0, dw_tiles_1_2_0}},
                                                     {{dw_tiles_2_1_1, dw_tiles_2_1_1, dw_tiles_1_1_1},
                                                      {dw_tiles_2_2_1, dw_tiles_2_2_1, dw_tiles_1_2_1}}};
    const dwc_s8_dw_run *c = g->call;
    if (c->kernel_w == 3 && c->quads == 1 && c->rows == 2 && c->x_out == c->x_tap && c->multiplier == 1) {
        dw_roll_3(g);
        return;
    }
    const dw_tiles_function *by = tiles[c->multiplier > 1][c->rows > 1];
    const int64_t fours = c->columns / 4 * 4, twos = c->columns / 2 * 2;
    if (fours > 0) by[0](g, 0, fours);
    if (twos > fours) by[1](g, fours, twos);
    if (c->columns > twos) by[2](g, twos, c->columns);
}

static void dw_s8(const dwc_s8_dw_run *c) {
    const int group = 2 * V(lanes);
    const uint8_t *w = c->weights;
    for (int64_t done = 0; done < c->channels; done += group, w += c->block) {
        const int64_t begin = c->channels - done >= group || done == 0 ? done : c->channels - group;
        dw_group g = {.call = c,
                      .start = w,
                      .multipliers = w + 8 * V(lanes),
                      .sources = w + 16 * V(lanes),
                      .weights = w + (c->multiplier > 1 ? 24 : 16) * V(lanes),
                      .x = (c->channel + begin) / (c->multiplier > 1 ? c->multiplier : 1) * 2,
                      .y = begin * (c->end.sums ? 4 : 1),
                      .channels = c->channels < group ? (int)c->channels : group,
                      .bytes = c->end.fits && !c->end.sums};
        dw_run_group(&g);
    }
}
