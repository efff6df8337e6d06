/* Depthwise convolution with any window: two output rows x T outputs, inputs stationary.
 *
 * The taps of a kernel row are taken in segments of up to KS. In a segment every input column is loaded once (and
 * spread over the outputs of a multiplier once) and feeds all outputs that see it:
 *
 *     column j -> output t of row r with weight [i - r * row_stride][j - t * S]
 *
 * 2 x 7 outputs and 5 taps: 21 loads serve 70 multiply-adds, where the load port would allow 70. Columns of padding
 * are skipped by a test each. Included once per suffix; T, KS, S (0: any stride, which takes one tap at a time),
 * SPREAD and WHOLE are compile-time constants. */

/* A segment of KS taps of one input row for the output rows in ROWS (1: the first, 2: the second, 3: both). */
INLINE void V(window_segment)(V(vec) * acc0, V(vec) * acc1, const float *x, int64_t step, const float *w0,
                              const float *w1, unsigned live, int lanes, const float *spread, const int ROWS,
                              const int KS, const int T, const int S, const int SPREAD, const int WHOLE,
                              const int BLOCK) {
    V(vec) weight0[DW_SEGMENT], weight1[DW_SEGMENT];
    UNROLL for (int kx = 0; kx < KS; kx++) {
        if (ROWS & 1) weight0[kx] = V(load)(w0 + kx * BLOCK);
        if (ROWS & 2) weight1[kx] = V(load)(w1 + kx * BLOCK);
    }
    OPAQUE(live); /* or the compiler would make a loop of its own for every mask */
    UNROLL for (int j = 0; j < (T - 1) * S + KS; j++) {
        if (j % S < KS && LIKELY(live >> j & 1)) {
            V(vec) v = WHOLE ? V(load)(x) : V(load_n)(x, lanes);
            if (SPREAD) v = V(spread)(v, spread);
            UNROLL for (int t = 0; t < T; t++) {
                const int kx = j - t * S;
                if (kx < 0 || kx >= KS) continue;
                if (ROWS & 1) acc0[t] = V(fma)(v, weight0[kx], acc0[t]);
                if (ROWS & 2) acc1[t] = V(fma)(v, weight1[kx], acc1[t]);
            }
        }
        x += step;
        OPAQUE(x);
    }
}

/* One input row: segments of KS taps, then of KS - 1. `w0` and `w1` are the rows' kernel rows. */
INLINE void V(window_row)(const dw_strip *s, V(vec) *acc0, V(vec) *acc1, const float *x, const float *w0,
                          const float *w1, int lanes, const float *spread, const int ROWS, const int KS, const int T,
                          const int S, const int SPREAD, const int WHOLE, const int BLOCK) {
    const int64_t x_step = s->x_step, taps = s->taps, long_taps = s->long_taps;
    const int inner = s->inner;
    int64_t kx = 0;
#define WINDOW_SEGMENT(TAPS)                                                                                     \
    {                                                                                                            \
        unsigned live = ~0u;                                                                                     \
        if (!inner) live = S ? dw_live(s, kx, (T - 1) * S + TAPS) : dw_live_apart(s, kx, T);                     \
        V(window_segment)(acc0, acc1, x, S ? x_step : s->group_step, w0, w1, live, lanes, spread, ROWS,     \
                          TAPS, T, S ? S : 1, SPREAD, WHOLE, BLOCK);                                             \
        x += TAPS * x_step;                                                                                      \
        w0 += TAPS * BLOCK;                                                                                      \
        w1 += TAPS * BLOCK;                                                                                      \
        kx += TAPS;                                                                                              \
    }
    NO_UNROLL while (kx < long_taps) WINDOW_SEGMENT(KS)
    if (KS > 1) {
        NO_UNROLL while (kx < taps) WINDOW_SEGMENT((KS > 1 ? KS - 1 : 1))
    }
#undef WINDOW_SEGMENT
}

/* One output row at `y` or, if `second`, it and the one s->row_step below; `iy` is the first input row. */
INLINE void V(window_rows)(const dw_strip *s, int64_t iy, const float *x, float *y, const float *w, int second,
                           int lanes, int in_lanes, const int KS, const int T, const int S, const int SPREAD,
                           const int WHOLE, const int BLOCK) {
    const dwc_dw_call *c = s->call;
    const int64_t dilation = c->stage->window.dilation_h, kernel_h = c->stage->window.kernel_h;
    const int64_t row_stride = s->row_stride, w_row = s->taps * BLOCK;
    const float *spread = w + c->stage->block - BLOCK;
    V(vec) acc0[DW_COLUMNS], acc1[DW_COLUMNS];
    const V(vec) bias = V(load)(w);
    UNROLL for (int t = 0; t < T; t++) acc0[t] = acc1[t] = bias;
    w += BLOCK;

    /* Input rows i on the image; the first output row sees those below kernel_h, the second from row_stride on. */
    int64_t i = iy < 0 ? dw_divide_up(-iy, dilation) : 0;
    int64_t end = kernel_h + (second ? row_stride : 0);
    if (iy + (end - 1) * dilation >= c->in_h) end = iy < c->in_h ? dw_divide_up(c->in_h - iy, dilation) : 0;
    const float *w0 = w + i * w_row, *w1 = w0 - row_stride * w_row;
    const int64_t x_row = dilation * c->x_row, ring = c->ring_rows * c->x_row;
    x += (iy + i * dilation) * c->x_row;
    int64_t left = c->ring_first + c->ring_rows - (iy + i * dilation); /* rows to the end of the ring */
#define WINDOW_ROWS(ROWS, END)                                                                                    \
    {                                                                                                             \
        const int64_t stop = (END) < end ? (END) : end;                                                           \
        NO_UNROLL for (; i < stop; i++) {                                                                         \
            if (left <= 0) {                                                                                      \
                x -= ring;                                                                                        \
                left += c->ring_rows;                                                                             \
            }                                                                                                     \
            V(window_row)(s, acc0, acc1, x, w0, w1, in_lanes, spread, ROWS, KS, T, S, SPREAD, WHOLE, BLOCK);     \
            x += x_row;                                                                                           \
            left -= dilation;                                                                                     \
            w0 += w_row;                                                                                          \
            w1 += w_row;                                                                                          \
        }                                                                                                         \
    }
    WINDOW_ROWS(1, second && row_stride < kernel_h ? row_stride : kernel_h)
    if (second) {
        if (i < row_stride) { /* rows between those of a small kernel, which no output sees */
            x += (row_stride - i) * x_row;
            left -= (row_stride - i) * dilation;
            w1 = w;
            i = row_stride;
        }
        WINDOW_ROWS(3, kernel_h)
        WINDOW_ROWS(2, kernel_h + row_stride)
    }
#undef WINDOW_ROWS
    V(dw_store)(s, y, acc0, lanes, T, 0, WHOLE);
    if (second) V(dw_store)(s, y + s->row_step * c->y_row, acc1, lanes, T, 0, WHOLE);
}

/* A strip: pairs of output rows that share inputs. `x` is the place of row 0 of the image, were it in the ring. */
INLINE void V(dw_window)(const dw_strip *s, const float *x, float *y, const float *w, int lanes, int in_lanes,
                         const int KS, const int T, const int S, const int SPREAD, const int WHOLE, const int BLOCK) {
    const dwc_dw_call *c = s->call;
    const int64_t step = s->row_step;
    for (int64_t pair = s->row_begin; pair < s->row_end; pair += 2 * step) {
        for (int64_t oy = pair; oy < pair + step && oy < s->row_end; oy++)
            V(window_rows)(s, oy * c->stage->window.stride_h - c->pad_top, x, y + (oy - c->row_begin) * c->y_row, w,
                           oy + step < s->row_end, lanes, in_lanes, KS, T, S, SPREAD, WHOLE, BLOCK);
    }
}
