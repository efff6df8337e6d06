/* Depthwise convolution of 8-bit integers on lines: four kernel rows at a time, one or two output rows, a group
 * of channels (two vectors) at a time. Both output rows see the same vectors of a line, with weights of their own.
 *
 * Before: SUFFIX; DW_TILE, the outputs of a row of the widest tiles, 2 or 4; DW_ROLLS, if 3x3 have loops of their own: 1, or
 * 2 where there are no registers for sums of several outputs; DW_CONSTANT, if tiles of constant taps are worth their size. */

enum {
    DW_SUMS = 16,
    DW_COLUMNS = 10,
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

/* A tile, all of it constants: outputs of a row, rows; whether inputs are those of a multiplier; taps of a
 * kernel row and columns from output to output, or 0: as the call says. */
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

/* One tap of a tile, at acc[(row * T + output) * 2 + vector]. FIRST, SECOND: which rows see it; SETS of weights,
 * of which that of the first row comes first. Of constant taps a column is loaded once, when the first output
 * sees it. */
INLINE void dw_tap(V(ivec) *acc, const dw_group *g, V(quads) (*in)[2], int tap, const uint8_t *p, const uint8_t *q,
                   int64_t x_out, const uint8_t *w, const dw_shape s, const int FIRST, const int SECOND, const int SETS) {
    V(factors) first[2], second[2];
    UNROLL for (int h = 0; h < 2; h++) {
        first[h] = V(load_factors)(w + h * V(factor_bytes));
        second[h] = V(load_factors)(w + ((SETS - 1) * 2 + h) * V(factor_bytes));
    }
    UNROLL for (int t = 0; t < s.T; t++) {
        const int at = tap + t * s.STRIDE;
        if (tap < s.STRIDE || t == s.T - 1) dw_load(g, p + t * x_out, q + t * x_out, in[at], s.SPREAD);
        UNROLL for (int h = 0; h < 2; h++) {
            if (FIRST) acc[t * 2 + h] = V(dot4)(acc[t * 2 + h], in[at][h], first[h]);
            if (SECOND) acc[(s.T + t) * 2 + h] = V(dot4)(acc[(s.T + t) * 2 + h], in[at][h], second[h]);
        }
    }
}

/* Adds the taps of quads [begin, end) to a tile. */
INLINE const uint8_t *dw_add(V(ivec) *acc, const dw_group *g, int begin, int end, int64_t x, const uint8_t *w,
                             const dw_shape s, const int FIRST, const int SECOND, const int SETS) {
    const dwc_s8_dw_run *c = g->call;
    const int64_t x_tap = c->x_tap, x_out = s.TAPS ? s.STRIDE * x_tap : c->x_out;
    const int STEP = SETS * 2 * V(factor_bytes);
    for (int q = begin; q < end; q++) {
        const uint8_t *p0 = c->lines[2 * q] + x, *p1 = c->lines[2 * q + 1] + x;
        V(quads) in[DW_COLUMNS][2];
        if (s.TAPS) {
            UNROLL for (int tap = 0; tap < DW_TAPS; tap++) {
                if (tap >= s.TAPS) break;
                dw_tap(acc, g, in, tap, p0 + tap * x_tap, p1 + tap * x_tap, x_out, w + tap * STEP, s, FIRST, SECOND, SETS);
            }
            w += s.TAPS * STEP;
            continue;
        }
        const dw_shape any = {s.T, s.ROWS, s.SPREAD, 0, 1};
        NO_UNROLL for (int64_t tap = c->kernel_w; tap > 0; tap--, p0 += x_tap, p1 += x_tap, w += STEP)
            dw_tap(acc, g, in, 0, p0, p1, x_out, w, any, FIRST, SECOND, SETS);
    }
    return w;
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
        const int64_t x = column * c->x_out + g->x;
        const int both = c->second_begin < c->first_end, first = both ? c->second_begin : c->first_end;
        const uint8_t *w = dw_add(acc, g, 0, first, x, g->weights, s, 1, 0, 1);
        if (both) w = dw_add(acc, g, first, c->first_end, x, w, s, 1, ROWS > 1, 2);
        if (ROWS > 1)
            dw_add(acc, g, both ? c->first_end : c->second_begin, c->quads, x, w, s, 0, 1, 1);
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
DW_TILES(DW_TILE, 2, 0, 7, 1)
#endif
DW_TILES(2, 2, 0, 0, 0)
DW_TILES(2, 1, 0, 0, 0)
DW_TILES(2, 2, 1, 0, 0)
DW_TILES(2, 1, 1, 0, 0)

#ifdef DW_ROLLS
/* ---- 3x3 --------------------------------------------------------------------------------------------- */

/* Rows of a run; a single one is stored where the second one was, which sees lines of any content. */
INLINE int64_t dw_second_row(const dwc_s8_dw_run *c) { return c->rows > 1 ? c->y_row : 0; }

/* ---- 3x3 with stride 1 ------------------------------------------------------------------------------- */

/* The sums of the outputs that an input feeds roll along the row: each input is loaded once, and the dot
 * products of some outputs go together with the rounding of others. Sums are of two rows and two vectors. */
typedef struct dw_roll {
    const dw_group *group;
    const uint8_t *line[2];
    int64_t x_tap;
    uint8_t *y;
    int64_t y_row;
} dw_roll;

/* The next input is tap 2 of `old`, tap 1 of `middle` and tap 0 of `fresh`, any of which may be NULL. */
INLINE void dw_roll_input(dw_roll *r, V(ivec) *old, V(ivec) *middle, V(ivec) *fresh, V(factors) (*w)[4]) {
    V(quads) in[2];
    V(load_pairs)(r->line[0], r->line[1], in);
    r->line[0] += r->x_tap;
    r->line[1] += r->x_tap;
    UNROLL for (int i = 0; i < 4; i++) {
        if (old) old[i] = V(dot4)(old[i], in[i % 2], w[2][i]);
        if (middle) middle[i] = V(dot4)(middle[i], in[i % 2], w[1][i]);
        if (fresh) { /* loaded again and again: copies would take the pipes of the products */
            const uint8_t *start = r->group->start;
            OPAQUE(start);
            fresh[i] = V(dot4)(V(load_ints)(start + i % 2 * 4 * V(lanes)), in[i % 2], w[0][i]);
        }
    }
}

/* Ends two outputs of both rows. */
INLINE void dw_roll_end(dw_roll *r, const V(ivec) *a, const V(ivec) *b, int64_t y_out, const V(end) *end,
                        const int RANGE) {
    const float *m = (const float *)r->group->multipliers;
    uint8_t *y = r->y + r->y_row;
    UNROLL for (int row = 1; row >= 0; row--) {
        const V(ivec) sums[4] = {a[2 * row], a[2 * row + 1], b[2 * row], b[2 * row + 1]};
        const V(vec) by[2] = {V(load)(m), V(load)(m + V(lanes))};
        V(store_groups)(y, y + y_out, V(finish_groups)(sums, by, end, RANGE), 2 * V(lanes));
        y -= r->y_row;
    }
    r->y += 2 * y_out;
}

INLINE void dw_roll_3(const dw_group *g, const int RANGE) {
    const dwc_s8_dw_run *c = g->call;
    const V(end) end = V(end_of)(&c->end, RANGE);
    const int64_t y_out = c->y_out;
    dw_roll r = {g, {c->lines[0] + g->x, c->lines[1] + g->x}, c->x_tap, c->y + g->y, dw_second_row(c)};
    V(factors) w[3][4]; /* of tap; of row and vector */
    UNROLL for (int i = 0; i < 12; i++) w[i / 4][i % 4] = V(load_factors)(g->weights + i * V(factor_bytes));
    V(ivec) s0[4], s1[4], s2[4], s3[4];
    dw_roll_input(&r, NULL, NULL, s0, w);
    dw_roll_input(&r, NULL, s0, s1, w);
    int64_t left = c->columns;
    for (; left >= 4; left -= 4) {
        dw_roll_input(&r, s0, s1, s2, w);
        dw_roll_input(&r, s1, s2, s3, w);
        dw_roll_end(&r, s0, s1, y_out, &end, RANGE);
        dw_roll_input(&r, s2, s3, s0, w);
        dw_roll_input(&r, s3, s0, s1, w);
        dw_roll_end(&r, s2, s3, y_out, &end, RANGE);
    }
    if (left >= 2) {
        dw_roll_input(&r, s0, s1, s2, w);
        dw_roll_input(&r, s1, s2, NULL, w);
        dw_roll_end(&r, s0, s1, y_out, &end, RANGE);
        UNROLL for (int i = 0; i < 4; i++) s0[i] = s2[i];
    }
    if (left % 2) {
        dw_roll_input(&r, s0, NULL, NULL, w);
        dw_roll_end(&r, s0, s0, 0, &end, RANGE); /* the output is stored twice */
    }
}

/* ---- 3x3 with stride 2 ------------------------------------------------------------------------------- */

#if DW_ROLLS == 2
#define DW_FACTOR(TAP, H) V(load_factors)(weights + ((TAP) * 4 + (H)) * V(factor_bytes))
#else
#define DW_FACTOR(TAP, H) w[TAP][H]
#endif

/* Of one output row, on two lines of its own: a third of the products fewer than those of two rows that share
 * lines. */
INLINE void dw_roll_3_2(const dw_group *g, int row, const int RANGE) {
    const dwc_s8_dw_run *c = g->call;
    const V(end) end = V(end_of)(&c->end, RANGE);
    const int64_t x_tap = c->x_tap, y_out = c->y_out;
    const uint8_t *p0 = c->lines[row] + g->x, *p1 = c->lines[row + 1] + g->x;
    uint8_t *y = c->y + row * c->y_row + g->y;
    V(factors) w[3][2]; /* of tap, vector: those of the first row */
    UNROLL for (int i = 0; i < 6; i++) w[i / 2][i % 2] = V(load_factors)(g->weights + (i / 2 * 4 + i % 2) * V(factor_bytes));
    const V(vec) by[2] = {V(load)((const float *)g->multipliers), V(load)((const float *)g->multipliers + V(lanes))};
    V(ivec) sums[4], next[2];
    V(quads) in[2];
    V(load_pairs)(p0, p1, in);
    UNROLL for (int h = 0; h < 2; h++) sums[h] = V(dot4)(V(load_ints)(g->start + 4 * h * V(lanes)), in[h], w[0][h]);
    for (int64_t left = c->columns; left > 0; left -= 2) {
        const int two = left > 1;
        UNROLL for (int t = 0; t < 2; t++) {
            const uint8_t *weights = g->weights; /* read again and again where there are no registers for them */
            if (DW_ROLLS == 2) OPAQUE(weights);
            V(load_pairs)(p0 + x_tap, p1 + x_tap, in);
            UNROLL for (int h = 0; h < 2; h++) sums[2 * t + h] = V(dot4)(sums[2 * t + h], in[h], DW_FACTOR(1, h));
            p0 += 2 * x_tap;
            p1 += 2 * x_tap;
            V(load_pairs)(p0, p1, in);
            UNROLL for (int h = 0; h < 2; h++) {
                sums[2 * t + h] = V(dot4)(sums[2 * t + h], in[h], DW_FACTOR(2, h));
                next[h] = V(dot4)(V(load_ints)(g->start + 4 * h * V(lanes)), in[h], DW_FACTOR(0, h));
            }
            if (t == 1) break;
            if (!LIKELY(two)) { /* the last output is stored twice */
                UNROLL for (int h = 0; h < 2; h++) sums[2 + h] = sums[h];
                break;
            }
            UNROLL for (int h = 0; h < 2; h++) sums[2 + h] = next[h];
        }
        V(store_groups)(y, two ? y + y_out : y, V(finish_groups)(sums, by, &end, RANGE), g->channels);
        y += 2 * y_out;
        UNROLL for (int h = 0; h < 2; h++) sums[h] = next[h];
    }
}

/* ---- 3x3 whose outputs have no inputs in common -------------------------------------------------------- */

INLINE void dw_apart_3(const dw_group *g, const int RANGE) {
    const dwc_s8_dw_run *c = g->call;
    const V(end) end = V(end_of)(&c->end, RANGE);
    const int64_t x_tap = c->x_tap, x_out = c->x_out, y_out = c->y_out, y_row = dw_second_row(c);
    const uint8_t *p0 = c->lines[0] + g->x, *p1 = c->lines[1] + g->x;
    uint8_t *y = c->y + g->y;
    V(factors) w[3][4]; /* of tap; of row and vector */
    UNROLL for (int i = 0; i < 12; i++) w[i / 4][i % 4] = V(load_factors)(g->weights + i * V(factor_bytes));
    for (int64_t left = c->columns; left > 0; left--) {
        if (left == 1) p0 -= c->x_back, p1 -= c->x_back, y -= c->y_back;
        const uint8_t *weights = g->weights, *m = g->multipliers, *start = g->start;
        OPAQUE(start);
        if (DW_ROLLS == 2) OPAQUE(weights);
        const V(vec) by[2] = {V(load)((const float *)m), V(load)((const float *)m + V(lanes))};
        V(ivec) sums[4]; /* the second row comes first */
        UNROLL for (int i = 0; i < 4; i++) sums[i] = V(load_ints)(start + i % 2 * 4 * V(lanes));
        UNROLL for (int tap = 0; tap < 3; tap++) {
            V(quads) in[2];
            V(load_pairs)(p0 + tap * x_tap, p1 + tap * x_tap, in);
            UNROLL for (int i = 0; i < 4; i++) {
                const int of = (i + 2) % 4;
                const V(factors) f = DW_ROLLS == 2 ? V(load_factors)(weights + (tap * 4 + of) * V(factor_bytes)) : w[tap][of];
                sums[i] = V(dot4)(sums[i], in[i % 2], f);
            }
        }
        V(store_groups)(y + y_row, y, V(finish_groups)(sums, by, &end, RANGE), g->channels);
        p0 += x_out;
        p1 += x_out;
        y += y_out;
    }
}

/* ---- which of them ----------------------------------------------------------------------------------- */

/* Outputs side by side, whole groups. */
static int dw_is_row(const dw_group *g) {
    const dwc_s8_dw_run *c = g->call;
    return c->x_out == c->x_tap && c->x_back == 0 && g->channels == 2 * V(lanes);
}

INLINE void dw_roll_rows(const dw_group *g, const int RANGE) {
    if (g->call->quads == 1) {
        if (DW_ROLLS == 1 && dw_is_row(g))
            dw_roll_3(g, RANGE);
        else
            dw_apart_3(g, RANGE);
        return;
    }
    for (int row = 0; row < g->call->rows; row++) dw_roll_3_2(g, row, RANGE);
}

NOINLINE void dw_roll_clamped(const dw_group *g) { dw_roll_rows(g, S8_CLAMPED); }
NOINLINE void dw_roll_signed(const dw_group *g) { dw_roll_rows(g, S8_ALL_SIGNED); }
NOINLINE void dw_roll_unsigned(const dw_group *g) { dw_roll_rows(g, S8_ALL_UNSIGNED); }

static int dw_rolls(const dw_group *g) {
    const dwc_s8_dw_run *c = g->call;
    if (!g->is_plain || c->multiplier > 1 || c->kernel_w != 3) return 0;
    if (c->quads == 1) return 1;
    return c->x_back == 0 && c->stride_h == 2 && c->kernel_h <= 4 && c->x_out == 2 * c->x_tap;
}

static void dw_roll_any(const dw_group *g) {
    const dwc_s8_end *e = &g->call->end;
    if (e->low == -128 && e->high == 127)
        dw_roll_signed(g);
    else if (e->low == 0 && e->high == 255)
        dw_roll_unsigned(g);
    else
        dw_roll_clamped(g);
}
#endif

/* ---- the run ------------------------------------------------------------------------------------------ */

typedef void (*dw_tiles_function)(const dw_group *, int64_t, int64_t);

/* Tiles of two rows and the greatest width for constant taps, or NULL. */
static dw_tiles_function dw_constant(const dwc_s8_dw_run *c) {
    if (c->rows == 1 || c->multiplier > 1 || c->x_out != c->x_tap) return NULL;
#ifdef DW_CONSTANT
#ifndef DW_ROLLS
    if (c->kernel_w == 3) return DW_WIDEST(2, 3, 1);
#endif
    if (c->kernel_w == 5) return DW_WIDEST(2, 5, 1);
    if (c->kernel_w == 7) return DW_WIDEST(2, 7, 1);
#endif
    return NULL;
}

/* The only output of a row, twice: a tile of one is not worth its size. */
static void dw_run_one(const dw_group *group, dw_tiles_function two) {
    dwc_s8_dw_run run = *group->call;
    dw_group g = *group;
    run.x_out = run.y_out = 0;
    g.call = &run;
    two(&g, 0, 2);
}

/* The widest tiles, then twos, the last of which may overlap what comes before. */
static void dw_run_columns(const dw_group *g, int64_t all) {
    static const dw_tiles_function tiles[2][2][2] = {
        {{DW_WIDEST(1, 0, 0), dw_tiles_2_1_0_0_0}, {DW_WIDEST(2, 0, 0), dw_tiles_2_2_0_0_0}},
        {{dw_tiles_2_1_1_0_0, dw_tiles_2_1_1_0_0}, {dw_tiles_2_2_1_0_0, dw_tiles_2_2_1_0_0}}};
    const dwc_s8_dw_run *c = g->call;
    const int64_t columns = c->multiplier > 1 ? 2 : DW_TILE;
    const dw_tiles_function *by = tiles[c->multiplier > 1][c->rows > 1], constant = dw_constant(c);
    const int64_t wide = all / columns * columns, twos = all / 2 * 2;
    const dw_tiles_function widest = constant ? constant : by[0];
    if (wide > 0) widest(g, 0, wide);
    if (wide > 0 && twos > wide) {
        widest(g, all - columns, all);
        return;
    }
    if (twos > wide) by[1](g, wide, twos);
    if (all > 1 && all > twos) by[1](g, all - 2, all);
    if (all == 1) dw_run_one(g, by[1]);
}

static void dw_run_group(const dw_group *g) {
    const dwc_s8_dw_run *c = g->call;
#ifdef DW_ROLLS
    if (dw_rolls(g)) {
        dw_roll_any(g);
        return;
    }
#endif
    if (c->x_back == 0) {
        dw_run_columns(g, c->columns);
        return;
    }
    if (c->columns > 1) dw_run_columns(g, c->columns - 1);
    dw_group last = *g;
    last.x += (c->columns - 1) * c->x_out - c->x_back;
    last.y += (c->columns - 1) * c->y_out - c->y_back;
    dw_run_columns(&last, 1);
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
                      .is_plain = c->end.fits && !c->end.sums};
        dw_run_group(&g);
    }
}
