/* Depthwise 3x3 by rolling rows: a strip of T columns runs down the image; the accumulators of the two or three
 * output rows that an input row belongs to stay in registers, so every input is loaded once.
 *
 *     input row i   ->  output row i      kernel row 0   (a0)
 *                       output row i - 1  kernel row 1   (a1)
 *                       output row i - 2  kernel row 2   (a2, finished and stored)
 *
 * Stride 1 with T = 7: 21 accumulators, 9 weights, 1 input; 18 loads serve 63 multiply-adds.
 * Included once per suffix. T, S, and LEFT and RIGHT, which say whether the first and the last column are padding,
 * are compile-time constants. */

/* One input row. Bit ky of MASK: kernel row ky feeds its accumulators. */
INLINE void V(roll_row)(V(vec) * a2, V(vec) * a1, V(vec) * a0, const float *x, int64_t step, int64_t ahead,
                        const float *w, int lanes, const int MASK, const int T, const int S, const int LEFT,
                        const int RIGHT, const int WHOLE, const int BLOCK) {
    V(vec) weight[3][3];
    UNROLL for (int ky = 0; ky < 3; ky++) {
        if (!(MASK >> ky & 1)) continue;
        UNROLL for (int kx = 0; kx < 3; kx++) weight[ky][kx] = V(load)(w + (ky * 3 + kx) * BLOCK);
    }
    x += LEFT * step;
    UNROLL for (int j = LEFT; j < (T - 1) * S + 3 - RIGHT; j++) {
        OPAQUE(x);
        const V(vec) v = WHOLE ? V(load)(x) : V(load_n)(x, lanes);
        if (MASK & (S == 1 ? 1 : 3)) __builtin_prefetch(x + ahead, 0, 2);
        x += step;
        UNROLL for (int t = 0; t < T; t++) {
            const int kx = j - t * S;
            if (kx < 0 || kx > 2) continue;
            if (MASK & 4) a2[t] = V(fma)(v, weight[2][kx], a2[t]);
            if (MASK & 2) a1[t] = V(fma)(v, weight[1][kx], a1[t]);
            if (MASK & 1) a0[t] = V(fma)(v, weight[0][kx], a0[t]);
        }
    }
}

INLINE void V(dw_roll)(const dw_strip *s, const float *x, float *y, const float *w, int lanes, const int T,
                       const int S, const int LEFT, const int RIGHT, const int WHOLE, const int BLOCK) {
    const dwc_dw_call *c = s->call;
    const V(vec) bias = V(load)(w);
    const int64_t step = s->x_step, x_row = c->x_row, y_row = c->y_row;
    const int64_t ring = c->ring_rows * x_row, ahead = c->prefetch_rows * x_row;
    int64_t rows = s->row_end - s->row_begin;
    const int64_t iy = s->row_begin * S - c->pad_top;
    const int bottom = iy + (rows - 1) * S + 2 >= c->in_h; /* the last kernel row of the last output is padding */
    V(vec) a0[DW_COLUMNS], a1[DW_COLUMNS], a2[DW_COLUMNS];
    w += BLOCK;
    x += iy * x_row;
    int64_t left = c->ring_rows + c->ring_first - iy; /* rows to the end of the ring */
    if (left <= 0) {
        x -= ring;
        left += c->ring_rows;
    }
    y += (s->row_begin - c->row_begin) * y_row;
#define ROLL_NEXT                   \
    {                               \
        x += x_row;                 \
        if (--left == 0) x -= ring; \
    }
#define ROLL_ROW(A2, A1, A0, MASK)                                                                        \
    {                                                                                                     \
        V(roll_row)(A2, A1, A0, x, step, ahead, w, lanes, MASK, T, S, LEFT, RIGHT, WHOLE, BLOCK);                \
        ROLL_NEXT                                                                                         \
    }
#define ROLL_STORE(A)                           \
    {                                           \
        V(dw_store)(s, y, A, lanes, T, WHOLE);  \
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
