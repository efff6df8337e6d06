/* 3x3 windows by rolling rows, where there are many registers: a tile of T columns, one vector of channels wide, goes down the
 * image. The sums of the two or three output rows that an input row belongs to stay in registers, so that every input is
 * loaded once, where tiles two rows high load it twice:
 *
 *     input row i   ->  output row i      kernel row 0   (a0)
 *                       output row i - 1  kernel row 1   (a1)
 *                       output row i - 2  kernel row 2   (a2, finished and stored)
 *
 * A first or last column of padding is skipped by a test. Included once per suffix; T, S and FULL are compile-time constants. */

/* One input row. Bit ky of MASK: kernel row ky feeds its sums. */
INLINE void V(roll_row)(V(vec) * a2, V(vec) * a1, V(vec) * a0, const char *x, int64_t step, int64_t ahead,
                        const float *w, unsigned live, int lanes, const int MASK, const int T, const int S,
                        const int FULL, const int BLOCK) {
    const int columns = (T - 1) * S + 3;
    V(vec) weight[3][3];
    UNROLL for (int ky = 0; ky < 3; ky++) {
        if (!(MASK >> ky & 1)) continue;
        UNROLL for (int kx = 0; kx < 3; kx++) weight[ky][kx] = V(load)(w + (ky * 3 + kx) * BLOCK);
    }
    OPAQUE(live); /* or the compiler would make a loop of its own for every side */
    UNROLL for (int j = 0; j < columns; j++) {
        OPAQUE(x);
        const char *here = x;
        x += step;
        if ((j == 0 || j == columns - 1) && !LIKELY(live >> j & 1)) continue;
        const V(vec) v = FULL ? V(load)((const float *)here) : V(load_n)((const float *)here, lanes);
        if (MASK & (S == 1 ? 1 : 3)) __builtin_prefetch(here + ahead, 0, 2); /* rows seen for the first time */
        UNROLL for (int t = 0; t < T; t++) {
            const int kx = j - t * S;
            if (kx < 0 || kx > 2) continue;
            if (MASK & 4) a2[t] = V(fma)(v, weight[2][kx], a2[t]);
            if (MASK & 2) a1[t] = V(fma)(v, weight[1][kx], a1[t]);
            if (MASK & 1) a0[t] = V(fma)(v, weight[0][kx], a0[t]);
        }
    }
}

INLINE void V(roll_store)(const dwc_dw_run *c, char *y, const V(vec) * acc, int lanes, const int T, const int FULL) {
    OPAQUE(c); /* or the compiler keeps the bounds, in registers that the rows need */
    const V(vec) low = V(set1)(c->low), high = V(set1)(c->high);
    const int64_t step = c->y_out;
    if (FULL && (int)V(lanes) == (int)DWC_LINE_FLOATS && !LIKELY(!c->streams)) {
        UNROLL for (int t = 0; t < T; t++, y += step)
            V(stream)((float *)y, V(min)(high, V(max)(low, acc[t])));
    } else {
        UNROLL for (int t = 0; t < T; t++, y += step) V(dw_put)(y, acc[t], low, high, lanes, FULL);
    }
}

/* All output rows of a tile, one vector of channels: `x` bytes from an input row. */
INLINE void V(roll_rows)(const dwc_dw_run *c, int64_t x, char *y, const float *weights, int lanes, const int T,
                         const int S, const int FULL, const int BLOCK) {
    const int64_t step = c->x_tap, ahead = c->ahead, y_row = c->y_row;
    const char *const *in = c->in;
    const unsigned live = c->live;
    const int rows = c->rows;
    const float *w = weights + BLOCK;
    V(vec) a0[DWC_MOST_COLUMNS], a1[DWC_MOST_COLUMNS], a2[DWC_MOST_COLUMNS];
    const V(vec) bias = V(load)(weights);
#define ROLL_ROW(A2, A1, A0, MASK)                                                                             \
    {                                                                                                          \
        const char *row = *in++;                                                                               \
        if (LIKELY(row != NULL))                                                                               \
            V(roll_row)(A2, A1, A0, row + x, step, ahead, w, live, lanes, MASK, T, S, FULL, BLOCK);            \
    }
#define ROLL_STORE(A)                             \
    {                                             \
        V(roll_store)(c, y, A, lanes, T, FULL);   \
        y += y_row;                               \
    }
#define ROLL_EACH(...) UNROLL for (int t = 0; t < T; t++) { __VA_ARGS__; }
    ROLL_EACH(a1[t] = a0[t] = bias)
    ROLL_ROW(a2, a2, a1, 1)
    if (S == 1 && rows == 1) {
        ROLL_ROW(a2, a1, a0, 2)
    } else if (S == 1) {
        ROLL_ROW(a2, a1, a0, 3)
        NO_UNROLL for (int i = rows - 2; i > 0; i--) {
            ROLL_EACH(a2[t] = a1[t]; a1[t] = a0[t]; a0[t] = bias)
            OPAQUE(w);
            ROLL_ROW(a2, a1, a0, 7)
            ROLL_STORE(a2)
        }
        ROLL_ROW(a1, a0, a2, 6)
        ROLL_STORE(a1)
        ROLL_EACH(a1[t] = a0[t])
    } else { /* 2: an output row shares its last input row with the next */
        NO_UNROLL for (int i = rows - 1; i > 0; i--) {
            ROLL_ROW(a2, a1, a2, 2)
            ROLL_EACH(a0[t] = bias)
            OPAQUE(w);
            ROLL_ROW(a1, a2, a0, 5)
            ROLL_STORE(a1)
            ROLL_EACH(a1[t] = a0[t])
        }
        ROLL_ROW(a2, a1, a2, 2)
    }
    ROLL_ROW(a1, a2, a2, 4)
    ROLL_STORE(a1)
#undef ROLL_ROW
#undef ROLL_STORE
#undef ROLL_EACH
}

/* The same and its activation. */
INLINE void V(roll_tile)(const dwc_dw_run *c, int64_t x, char *y, const float *w, int lanes, const int T, const int S,
                         const int FULL, const int BLOCK) {
    enum { size = sizeof(float) };
    V(roll_rows)(c, x, y, w, lanes, T, S, FULL, BLOCK);
    if (!LIKELY(!c->activation))
        V(dw_activate)((float *)y, T, c->y_out / size, c->rows, c->y_row / size, lanes, c->activation);
}
