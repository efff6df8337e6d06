/* Depthwise 3x3 by rolling rows: a strip of T columns runs down the image; the accumulators of the two or three
 * output rows that an input row belongs to stay in registers, so every input is loaded once.
 *
 *     input row i   ->  output row i      kernel row 0   (a0)
 *                       output row i - 1  kernel row 1   (a1)
 *                       output row i - 2  kernel row 2   (a2, finished and stored)
 *
 * Stride 1 with T = 7: 21 accumulators, 9 weights, 1 input; 18 loads serve 63 multiply-adds.
 * A first or last column of padding is skipped by a test: variants without it were no faster and took four times the
 * code. Included once per suffix; T, S and WHOLE are compile-time constants. */

/* One input row. Bit ky of MASK: kernel row ky feeds its accumulators. */
INLINE void V(roll_row)(V(vec) * a2, V(vec) * a1, V(vec) * a0, const float *x, int64_t step, int64_t ahead,
                        const float *w, unsigned live, int lanes, const float *spread, const int MASK,
                        const int T, const int S, const int SPREAD, const int WHOLE, const int BLOCK) {
    const int columns = (T - 1) * S + 3;
    V(vec) weight[3][3];
    UNROLL for (int ky = 0; ky < 3; ky++) {
        if (!(MASK >> ky & 1)) continue;
        UNROLL for (int kx = 0; kx < 3; kx++) weight[ky][kx] = V(load)(w + (ky * 3 + kx) * BLOCK);
    }
    OPAQUE(live); /* or the compiler would make a loop of its own for every side */
    UNROLL for (int j = 0; j < columns; j++) {
        OPAQUE(x);
        const float *here = x;
        x += step;
        if ((j == 0 && !LIKELY(live & 1)) || (j == columns - 1 && !LIKELY(live & 2))) continue;
        V(vec) v = WHOLE ? V(load)(here) : V(load_n)(here, lanes);
        if (SPREAD) v = V(spread)(v, spread);
        if (MASK & (S == 1 ? 1 : 3)) __builtin_prefetch(here + ahead, 0, 2);
        UNROLL for (int t = 0; t < T; t++) {
            const int kx = j - t * S;
            if (kx < 0 || kx > 2) continue;
            if (MASK & 4) a2[t] = V(fma)(v, weight[2][kx], a2[t]);
            if (MASK & 2) a1[t] = V(fma)(v, weight[1][kx], a1[t]);
            if (MASK & 1) a0[t] = V(fma)(v, weight[0][kx], a0[t]);
        }
    }
}

/* Output rows `first`, `first` + row_step and so on: with a dilation, those of one dense problem. */
INLINE void V(roll_rows)(const dw_strip *s, int64_t first, const float *x, float *y, const float *w, int lanes,
                         int in_lanes, const int T, const int S, const int SPREAD, const int WHOLE, const int BLOCK) {
    const dwc_dw_call *c = s->call;
    const V(vec) bias = V(load)(w);
    const float *spread = w + c->stage->block - BLOCK;
    const int64_t dilation = S == 1 ? c->stage->window.dilation_h : 1, apart = S == 1 ? s->row_step : 1;
    const int64_t step = s->x_step, x_row = dilation * c->x_row, y_row = apart * c->y_row;
    const int64_t ring = c->ring_rows * c->x_row, ahead = c->prefetch_rows * x_row;
    int64_t rows = dw_divide_up(s->row_end - first, apart);
    const int64_t iy = first * S - c->pad_top;
    const int bottom =
        iy + ((rows - 1) * S + 2) * dilation >= c->in_h; /* the last kernel row of the last output is padding */
    const unsigned live = (unsigned)(s->live_begin == 0) | (unsigned)(s->live_end == (T - 1) * S + 3) << 1;
    V(vec) a0[DW_COLUMNS], a1[DW_COLUMNS], a2[DW_COLUMNS];
    w += BLOCK;
    x += iy * c->x_row;
    int64_t left = c->ring_rows + c->ring_first - iy; /* rows to the end of the ring */
    if (left <= 0) {
        x -= ring;
        left += c->ring_rows;
    }
    y += (first - c->row_begin) * c->y_row;
#define ROLL_NEXT                   \
    {                               \
        x += x_row;                 \
        left -= dilation;           \
        if (left <= 0) {            \
            x -= ring;              \
            left += c->ring_rows;   \
        }                           \
    }
#define ROLL_ROW(A2, A1, A0, MASK)                                                                        \
    {                                                                                                     \
        V(roll_row)(A2, A1, A0, x, step, ahead, w, live, in_lanes, spread, MASK, T, S, SPREAD, WHOLE, BLOCK);                \
        ROLL_NEXT                                                                                         \
    }
#define ROLL_STORE(A)                           \
    {                                           \
        V(dw_store)(s, y, A, lanes, T, 1, WHOLE);  \
        y += y_row;                             \
    }
#define ROLL_EACH(...) UNROLL for (int t = 0; t < T; t++) { __VA_ARGS__; }

    if (S == 1) {
        ROLL_EACH(a1[t] = a0[t] = bias)
        if (iy >= 0)
            ROLL_ROW(a2, a2, a1, 1)
        else
            ROLL_NEXT
        if (rows == 1) {
            ROLL_ROW(a2, a1, a0, 2)
        } else {
            ROLL_ROW(a2, a1, a0, 3)
            NO_UNROLL for (rows -= 2; rows > 0; rows--) {
                ROLL_EACH(a2[t] = a1[t]; a1[t] = a0[t]; a0[t] = bias)
                OPAQUE(w);
                ROLL_ROW(a2, a1, a0, 7)
                ROLL_STORE(a2)
            }
            ROLL_ROW(a1, a0, a2, 6)
            ROLL_STORE(a1)
            ROLL_EACH(a1[t] = a0[t])
        }
    } else { /* 2: an output row shares its last input row with the next */
        ROLL_EACH(a1[t] = bias)
        if (iy >= 0)
            ROLL_ROW(a2, a2, a1, 1)
        else
            ROLL_NEXT
        NO_UNROLL for (; rows > 1; rows--) {
            ROLL_ROW(a2, a1, a2, 2)
            ROLL_EACH(a0[t] = bias)
            OPAQUE(w);
            ROLL_ROW(a1, a2, a0, 5)
            ROLL_STORE(a1)
            ROLL_EACH(a1[t] = a0[t])
        }
        ROLL_ROW(a2, a1, a2, 2)
    }
    if (!bottom) ROLL_ROW(a1, a2, a2, 4)
    ROLL_STORE(a1)
#undef ROLL_NEXT
#undef ROLL_ROW
#undef ROLL_STORE
#undef ROLL_EACH
}

INLINE void V(dw_roll)(const dw_strip *s, const float *x, float *y, const float *w, int lanes, int in_lanes,
                       const int T, const int S, const int SPREAD, const int WHOLE, const int BLOCK) {
    const int64_t end = s->row_begin + (S == 1 ? dw_clamp(s->row_step, 0, s->row_end - s->row_begin) : 1);
    for (int64_t first = s->row_begin; first < end; first++)
        V(roll_rows)(s, first, x, y, w, lanes, in_lanes, T, S, SPREAD, WHOLE, BLOCK);
}

/* The same with stride 2 for up to DW_GROUP vectors side by side, row by row: where all pixels of a column of the image
 * share a set of the first-level cache, a line must be followed by its neighbours before it falls victim to others.
 * What an output row has of its last input row waits in memory. */
INLINE void V(dw_roll_group)(const dw_strip *s, int64_t channel, const float *weights, int group, const int T) {
    const dwc_dw_call *c = s->call;
    const int64_t step = s->x_step, ahead = c->prefetch_rows * c->x_row, place = s->x + channel;
    const unsigned live = (unsigned)(s->live_begin == 0) | (unsigned)(s->live_end == (T - 1) * 2 + 3) << 1;
    V(vec) now[DW_COLUMNS], next[DW_COLUMNS], begun[DW_GROUP][DW_COLUMNS];
    float *y = c->y + s->y + channel;
#define ROLL_GROUP(X, NOW, NEXT, MASK) \
    V(roll_row)(NOW, now, NEXT, X + place + g * V(lanes), step, ahead, w, live, V(lanes), NULL, MASK, T, 2, 0, 1, V(lanes));
    for (int64_t oy = s->row_begin; oy < s->row_end; oy++, y += c->y_row) {
        const int64_t iy = oy * 2 - c->pad_top;
        const float *top = dw_row(c, iy), *middle = dw_row(c, iy + 1), *bottom = dw_row(c, iy + 2);
        const float *w = weights + V(lanes);
        NO_UNROLL for (int g = 0; g < group; g++, w += c->stage->block) {
            const V(vec) bias = V(load)(w - V(lanes));
            OPAQUE(w);
            if (oy > s->row_begin) {
                UNROLL for (int t = 0; t < T; t++) now[t] = begun[g][t];
            } else {
                UNROLL for (int t = 0; t < T; t++) now[t] = bias;
                if (top) ROLL_GROUP(top, now, now, 1)
            }
            ROLL_GROUP(middle, now, now, 2)
            if (LIKELY(oy < s->row_end - 1)) {
                UNROLL for (int t = 0; t < T; t++) next[t] = bias;
                ROLL_GROUP(bottom, now, next, 5)
                UNROLL for (int t = 0; t < T; t++) begun[g][t] = next[t];
            } else if (bottom) {
                ROLL_GROUP(bottom, now, now, 4)
            }
            V(dw_store)(s, y + g * V(lanes), now, V(lanes), T, 1, 1);
        }
    }
#undef ROLL_GROUP
}
