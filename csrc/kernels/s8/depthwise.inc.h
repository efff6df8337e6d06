/* Depthwise convolution of 8-bit integers on lines: four kernel rows at a time. A tile is two output rows times T outputs;
 * both rows see the same vectors of a line, with weights of their own.
 *
 * Before: SUFFIX, and DW_COLUMNS and DW_FEW_COLUMNS, the widths of tiles. */

enum { DW_ROWS = 2, DW_MOST = 7 };

/* Adds the taps of lines [begin, end) to a tile. FIRST, SECOND: which rows see them; SETS of weights for each tap, of which
 * that of the first row comes first. TAPS of a row, or 0: as many as the call says. */
INLINE const uint8_t *dw_add(V(ivec) (*acc)[DW_MOST], const dwc_s8_dw_run *c, int begin, int end, int64_t x,
                             const uint8_t *w, const V(ivec) *lanes, const int T, const int FIRST, const int SECOND,
                             const int SETS, const int TAPS) {
    for (int g = begin; g < end; g++) {
        const uint8_t *in = c->lines[g] + x;
        const int64_t x_out = c->x_out;
        for (int64_t tap = TAPS ? TAPS : c->kernel_w; tap > 0; tap--, in += c->x_tap, w += SETS * V(factor_bytes)) {
            const V(factors) first = V(load_factors)(w), second = V(load_factors)(w + (SETS - 1) * V(factor_bytes));
            const uint8_t *p = in;
            UNROLL for (int t = 0; t < T; t++) {
                const V(quads) q = lanes ? V(spread_quads)(p, *lanes) : V(load_quads)(p);
                if (FIRST) acc[0][t] = V(dot4)(acc[0][t], q, first);
                if (SECOND) acc[1][t] = V(dot4)(acc[1][t], q, second);
                p += x_out;
            }
        }
    }
    return w;
}

/* The same of a line whose taps and strides are constants: an input is loaded once for all outputs that see it. */
INLINE void dw_add_line(V(ivec) (*acc)[DW_MOST], const uint8_t *in, int64_t x_tap, const uint8_t *w, const int T,
                        const int STRIDE, const int TAPS) {
    UNROLL for (int j = 0; j < (T - 1) * STRIDE + TAPS; j++) {
        const V(quads) q = V(load_quads)(in);
        in += x_tap;
        UNROLL for (int k = 0; k < TAPS; k++) {
            const int t = (j - k) / STRIDE;
            if (j < k || (j - k) % STRIDE || t >= T) continue;
            acc[0][t] = V(dot4)(acc[0][t], q, V(load_factors)(w + 2 * k * V(factor_bytes)));
            acc[1][t] = V(dot4)(acc[1][t], q, V(load_factors)(w + (2 * k + 1) * V(factor_bytes)));
        }
    }
}

/* What becomes of sums that are not bytes of whole tiles: n lanes of `columns` outputs. */
NOINLINE void dw_put(const dwc_s8_dw_run *c, const int32_t *sums, const float *multipliers, uint8_t *y, int64_t columns,
                     int n) {
    const V(end) end = V(end_of)(&c->end);
    for (; columns > 0; columns--, sums += V(lanes), y += c->y_out) {
        const V(ivec) acc = V(load_ints)(sums);
        if (c->end.sums) {
            memcpy(y, sums, (size_t)n * sizeof *sums);
            continue;
        }
        const V(bytes) bytes = V(finish)(acc, V(load)(multipliers), &end);
        if (n == V(lanes))
            V(store_bytes)(y, bytes);
        else
            V(store_bytes_n)(y, bytes, n);
    }
}

/* The tiles of a vector of n channels: outputs [begin, end), T at a time. The last tile overlaps others, if there are
 * enough outputs before; else more are computed and not stored. */
INLINE void dw_tiles(const dwc_s8_dw_run *run, const uint8_t *weights, int64_t channel, int n, int64_t begin, int64_t end,
                     const int T, const int ROWS, const int SPREAD, const int TAPS) {
    const V(end) ends = V(end_of)(&run->end);
    for (int64_t next = begin; next < end; next += T) {
        const int64_t column = next + T <= end || end < T ? next : end - T;
        const dwc_s8_dw_run *c = run;
        OPAQUE(c);
        V(ivec) acc[DW_ROWS][DW_MOST], lanes;
        const V(ivec) start = V(load_ints)(weights);
        const float *multipliers = (const float *)weights + V(lanes);
        const uint8_t *w = weights + 2 * V(lanes) * sizeof(float);
        if (SPREAD) {
            lanes = V(load_ints)(w);
            w += V(lanes) * sizeof(float);
        }
        UNROLL for (int r = 0; r < ROWS; r++) {
            UNROLL for (int t = 0; t < T; t++) acc[r][t] = start;
        }
        const int64_t x = column * c->x_out + (c->channel + channel) / (SPREAD ? c->multiplier : 1) * 4;
        if (TAPS) {
            dw_add_line(acc, c->lines[0] + x, c->x_tap, w, T, 1, TAPS);
        } else {
            const int both = c->second_begin < c->first_end, first = both ? c->second_begin : c->first_end;
            const V(ivec) *spread = SPREAD ? &lanes : NULL;
            w = dw_add(acc, c, 0, first, x, w, spread, T, 1, 0, 1, 0);
            if (both) w = dw_add(acc, c, first, c->first_end, x, w, spread, T, 1, ROWS > 1, 2, 0);
            if (ROWS > 1)
                dw_add(acc, c, both ? c->first_end : c->second_begin, c->line_count, x, w, spread, T, 0, 1, 1, 0);
        }
        OPAQUE(c);
        const int64_t y_out = c->y_out, y_row = c->y_row;
        uint8_t *y = c->y + column * y_out + channel * (c->end.sums ? 4 : 1);
        if (LIKELY(column + T <= end && n == V(lanes) && c->end.fits && !c->end.sums)) {
            const V(vec) by = V(load)(multipliers);
            const V(vec) bys[4] = {by, by, by, by};
            const int FOURS = ROWS * T / 4 * 4;
            UNROLL for (int i = 0; i < FOURS; i += 4) {
                uint8_t *at[4];
                V(ivec) sums[4];
                UNROLL for (int j = 0; j < 4; j++) {
                    V(ints_in_order)(&y, &acc[(i + j) / T][(i + j) % T]);
                    at[j] = y + (i + j) / T * y_row + (i + j) % T * y_out;
                    sums[j] = acc[(i + j) / T][(i + j) % T];
                }
                V(store_bytes4)(at, V(finish4)(sums, bys, &ends), 1);
            }
            UNROLL for (int i = FOURS; i < ROWS * T; i++)
                V(store_bytes)(y + i / T * y_row + i % T * y_out, V(finish)(acc[i / T][i % T], by, &ends));
        } else {
            int32_t sums[DW_ROWS][DW_MOST * V(lanes)];
            UNROLL for (int r = 0; r < ROWS; r++) {
                UNROLL for (int t = 0; t < T; t++) V(store_ints)(sums[r] + t * V(lanes), acc[r][t]);
            }
            const int64_t columns = end - column < T ? end - column : T;
            for (int r = 0; r < ROWS; r++) dw_put(c, sums[r], multipliers, y + r * y_row, columns, n);
        }
    }
}

#define DW_TILES(T, ROWS, SPREAD, TAPS)                                                                               \
    NOINLINE void dw_tiles_##T##_##ROWS##_##SPREAD##_##TAPS(const dwc_s8_dw_run *c, const uint8_t *w, int64_t channel, \
                                                            int n, int64_t begin, int64_t end) {                      \
        dw_tiles(c, w, channel, n, begin, end, T, ROWS, SPREAD, TAPS);                                                \
    }
DW_TILES(7, 2, 0, 0)
DW_TILES(7, 2, 0, 3)
DW_TILES(7, 1, 0, 0)
DW_TILES(4, 2, 0, 0)
DW_TILES(4, 1, 0, 0)
DW_TILES(4, 2, 1, 0)
DW_TILES(4, 1, 1, 0)

typedef void (*dw_tiles_function)(const dwc_s8_dw_run *, const uint8_t *, int64_t, int, int64_t, int64_t);

static void dw_s8(const dwc_s8_dw_run *c) {
    static const dw_tiles_function wide[2] = {dw_tiles_7_1_0_0, dw_tiles_7_2_0_0}, narrow[2] = {dw_tiles_4_1_0_0, dw_tiles_4_2_0_0},
                                   spread[2] = {dw_tiles_4_1_1_0, dw_tiles_4_2_1_0};
    const int second = c->rows > 1, few = c->channels < V(lanes);
    /* As many tiles of the greater width as leave a multiple of the smaller one, or of the greater one, with little over. */
    int64_t wides = 0, least = INT64_MAX;
    for (int64_t n = 0; n <= c->columns / 7 + 1; n++) {
        const int64_t rest = c->columns - 7 * n, cost = 7 * n + (rest > 0 ? (rest + 3) / 4 * 4 : 0);
        if (cost <= least) {
            least = cost;
            wides = n;
        }
    }
    const int64_t split = c->multiplier > 1 ? 0 : 7 * wides < c->columns ? 7 * wides : c->columns;
    const uint8_t *w = c->weights;
    for (int64_t i = 0; i < c->channels; i += V(lanes), w += c->block) {
        const int64_t channel = i + V(lanes) <= c->channels || few ? i : c->channels - V(lanes);
        const int n = few ? (int)c->channels : V(lanes);
        const int three = c->kernel_w == 3 && c->line_count == 1 && second && c->x_out == c->x_tap;
        if (split && three) dw_tiles_7_2_0_3(c, w, channel, n, 0, split);
        else if (split) wide[second](c, w, channel, n, 0, split);
        if (split < c->columns) (c->multiplier > 1 ? spread : narrow)[second](c, w, channel, n, split, c->columns);
    }
}
