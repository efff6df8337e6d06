/* Depthwise convolution of 8-bit integers with windows of 3x3: loops along a row of outputs. */

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
INLINE void dw_roll_input(dw_roll *r, V(ivec) * old, V(ivec) * middle, V(ivec) * fresh, V(factors) (*w)[4]) {
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
    dw_roll r = {g, {c->passes->lines[0] + g->x, c->passes->lines[1] + g->x}, c->x_tap, c->y + g->y, dw_second_row(c)};
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
#define DW_FACTOR(TAP, H) V(load_factors)(weights + ((TAP) * 2 + (H)) * V(factor_bytes))
#else
#define DW_FACTOR(TAP, H) w[TAP][H]
#endif

INLINE void dw_roll_3_2(const dw_group *g, const int RANGE) {
    const dwc_s8_dw_run *c = g->call;
    const V(end) end = V(end_of)(&c->end, RANGE);
    const int64_t x_tap = c->x_tap, y_out = c->y_out;
    const uint8_t *p0 = c->passes->lines[0] + g->x, *p1 = c->passes->lines[1] + g->x;
    uint8_t *y = c->y + g->y;
    V(factors) w[3][2]; /* of tap, vector */
    UNROLL for (int i = 0; i < 6; i++) w[i / 2][i % 2] = V(load_factors)(g->weights + i * V(factor_bytes));
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
    const uint8_t *p0 = c->passes->lines[0] + g->x, *p1 = c->passes->lines[1] + g->x;
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
    if (g->call->sets == 1)
        dw_roll_3_2(g, RANGE);
    else if (DW_ROLLS == 1 && dw_is_row(g))
        dw_roll_3(g, RANGE);
    else
        dw_apart_3(g, RANGE);
}

NOINLINE void dw_roll_clamped(const dw_group *g) { dw_roll_rows(g, S8_CLAMPED); }
NOINLINE void dw_roll_signed(const dw_group *g) { dw_roll_rows(g, S8_ALL_SIGNED); }
NOINLINE void dw_roll_unsigned(const dw_group *g) { dw_roll_rows(g, S8_ALL_UNSIGNED); }

static int dw_rolls(const dw_group *g) {
    const dwc_s8_dw_run *c = g->call;
    if (!g->is_plain || c->multiplier > 1 || c->kernel_w != 3 || c->count > 1) return 0;
    return c->sets == 2 || (c->x_back == 0 && c->x_out == 2 * c->x_tap);
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
