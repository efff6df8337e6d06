/* The filter gradient of 3x3 windows by rolling rows, where there are many registers: the output gradients of the rows that
 * an input row belongs to stay in registers beside the nine sums, so that every input is loaded once.
 *
 *     input row i   with output row i      feeds kernel row 0   (d0)
 *                   with output row i - 1  kernel row 1         (d1)
 *                   with output row i - 2  kernel row 2         (d2)
 *
 * A first or last column of padding is skipped by a test. Included once per suffix; T columns, S taps from one to the next. */

/* One input row. Bit ky of MASK: kernel row ky has an output row. */
INLINE void V(dwg_roll_row)(V(vec) sums[][DWC_GRADIENT_TAPS], const V(vec) * d0, const V(vec) * d1,
                            const V(vec) * d2, const char *x, int64_t step, int64_t ahead, int64_t to_dx,
                            unsigned live, int lanes, const int MASK, const int T, const int S,
                            const int FULL) {
    const int columns = (T - 1) * S + 3;
    OPAQUE(live);
    UNROLL for (int j = 0; j < columns; j++) {
        OPAQUE(x);
        const char *here = x;
        x += step;
        if ((j == 0 || j == columns - 1) && !LIKELY(live >> (j != 0) & 1)) continue;
        const V(vec) v = V(dwg_load)(here, lanes, FULL);
        if (MASK & (S == 1 ? 1 : 3)) { /* rows seen for the first time */
            __builtin_prefetch(here + ahead, 0, 2);
            __builtin_prefetch(here + to_dx, 1, 2);
        }
        UNROLL for (int t = 0; t < T; t++) {
            const int k = j - t * S;
            if (k < 0 || k > 2) continue;
            if (MASK & 4) sums[2][k] = V(fma)(v, d2[t], sums[2][k]);
            if (MASK & 2) sums[1][k] = V(fma)(v, d1[t], sums[1][k]);
            if (MASK & 1) sums[0][k] = V(fma)(v, d0[t], sums[0][k]);
        }
    }
}

INLINE void V(dwg_roll_dy)(V(vec) * d, const char *dy, int64_t step, int64_t ahead, int lanes, const int T,
                           const int FULL) {
    UNROLL for (int t = 0; t < T; t++, dy += step) {
        OPAQUE(dy);
        d[t] = V(dwg_load)(dy, lanes, FULL);
        __builtin_prefetch(dy + ahead, 0, 2);
    }
}

INLINE void V(dwg_roll)(const dwc_dw_gradient_run *c, int64_t x, const char *dy, float *sums, int64_t channel, int lanes,
                        const int T, const int S, const int FULL) {
    V(vec) acc[3][DWC_GRADIENT_TAPS], d0[DWC_GRADIENT_COLUMNS], d1[DWC_GRADIENT_COLUMNS], d2[DWC_GRADIENT_COLUMNS];
    const int64_t step = c->x_tap, out = c->dy_out, dy_row = c->dy_row, ahead = c->x_ahead, to_dx = c->x_to_dx, dy_ahead = c->dy_ahead;
    const unsigned live = c->live;
    const char *const *in = c->in;
    int left = c->rows;
    x += channel * (int64_t)sizeof(float);
    dy += (channel - c->channel) * (int64_t)sizeof(float);
    sums += channel - c->channel;
    UNROLL for (int r = 0; r < 3; r++)
        UNROLL for (int k = 0; k < 3; k++) acc[r][k] = V(load)(sums + r * c->sums_row + k * c->sums_tap);
#define ROLL_ROW(MASK)                                                                                         \
    {                                                                                                          \
        const char *row = *in++;                                                                               \
        if (LIKELY(row != NULL))                                                                               \
            V(dwg_roll_row)(acc, d0, d1, d2, row + x, step, ahead, to_dx, live, lanes, MASK, T, S, FULL);             \
    }
#define ROLL_DY                                                 \
    {                                                           \
        V(dwg_roll_dy)(d0, dy, out, dy_ahead, lanes, T, FULL);  \
        dy += dy_row;                                           \
    }
#define ROLL_ON UNROLL for (int t = 0; t < T; t++) { d2[t] = d1[t]; d1[t] = d0[t]; }
    ROLL_DY
    if (S == 1) {
        ROLL_ROW(1)
        ROLL_ON
        if (left > 1) {
            ROLL_DY
            ROLL_ROW(3)
            ROLL_ON
            NO_UNROLL for (left -= 2; left > 0; left--) {
                ROLL_DY
                ROLL_ROW(7)
                ROLL_ON
            }
            ROLL_ROW(6)
            UNROLL for (int t = 0; t < T; t++) d2[t] = d1[t];
            ROLL_ROW(4)
        } else {
            ROLL_ROW(2)
            UNROLL for (int t = 0; t < T; t++) d2[t] = d1[t];
            ROLL_ROW(4)
        }
    } else { /* 2: an output row shares its last input row with the next */
        ROLL_ROW(1)
        NO_UNROLL for (left -= 1; left > 0; left--) {
            UNROLL for (int t = 0; t < T; t++) d1[t] = d0[t];
            ROLL_ROW(2)
            UNROLL for (int t = 0; t < T; t++) d2[t] = d1[t];
            ROLL_DY
            ROLL_ROW(5)
        }
        UNROLL for (int t = 0; t < T; t++) d1[t] = d0[t];
        ROLL_ROW(2)
        UNROLL for (int t = 0; t < T; t++) d2[t] = d1[t];
        ROLL_ROW(4)
    }
#undef ROLL_ROW
#undef ROLL_DY
#undef ROLL_ON
    UNROLL for (int r = 0; r < 3; r++)
        UNROLL for (int k = 0; k < 3; k++) V(store)(sums + r * c->sums_row + k * c->sums_tap, acc[r][k]);
}
