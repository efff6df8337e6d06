/* Products with few outputs: the inputs of a pixel lie along the lanes, and lanes are summed last.
 *
 * Vectors are those of HALF_SUFFIX: pieces are short. Where a panel would be mostly padding, each output has its weights in one piece (panels of one column), and a tile is some
 * pixels times all outputs, MM_DOT_SUMS accumulators or a few less. Their order of summation is that of no other kernel; it
 * depends on the layer alone. After matmul.inc.h. */

enum { MM_DOT_MOST = 4 }; /* outputs */

/* A vector of inputs of P pixels, in rows of three of them, and of the weights of N outputs, `step` floats apart. */
INLINE void mm_dot_piece(H(vec) * acc, const float *const *rows, int64_t a_pixel, const float *w,
                         int64_t step, int lanes, const int P, const int N, const int WHOLE) {
    H(vec) weights[MM_DOT_MOST];
    UNROLL for (int n = 0; n < N; n++) weights[n] = WHOLE ? H(load)(w + n * step) : H(load_n)(w + n * step, lanes);
    UNROLL for (int p = 0; p < P; p++) {
        const float *from = rows[p / 3] + p % 3 * a_pixel;
        const H(vec) x = WHOLE ? H(load)(from) : H(load_n)(from, lanes);
        UNROLL for (int n = 0; n < N; n++) acc[p * N + n] = H(fma)(x, weights[n], acc[p * N + n]);
    }
}

/* P pixels from `a` on, N outputs: sums[p * N + n], and up to three more that are 0. */
INLINE void mm_dot_tile(const dwc_mm_call *c, const float *a, const float *w, const float *bias, float *sums, const int P,
                        const int N) {
    H(vec) acc[MM_DOT_SUMS + 3]; /* the bias is in the first lane */
    UNROLL for (int i = 0; i < (P * N + 3) / 4 * 4; i++) acc[i] = i < P * N ? H(load_n)(bias + i % N, 1) : H(set1)(0.0f);
    const int rest = (int)(c->k % H(lanes));
    for (int64_t ty = 0; ty < c->taps_y; ty++)
        for (int64_t tx = 0; tx < c->taps_x; tx++) {
            const float *from = a + ty * c->a_tap_y + tx * c->a_tap_x, *b = w + ty * c->w_tap_y + tx * c->w_tap_x;
            const float *rows[MM_DOT_SUMS / 3 + 1]; /* every third pixel: the two after it are reached by index */
            UNROLL for (int g = 0; 3 * g < P; g++) rows[g] = from + 3 * g * c->a_pixel;
            NO_UNROLL for (int64_t k = c->k; k >= H(lanes); k -= H(lanes)) {
                mm_dot_piece(acc, rows, c->a_pixel, b, c->depth, H(lanes), P, N, 1);
                b += H(lanes);
                UNROLL for (int g = 0; 3 * g < P; g++) {
                    rows[g] += H(lanes);
                    OPAQUE(rows[g]);
                }
            }
            if (rest) mm_dot_piece(acc, rows, c->a_pixel, b, c->depth, rest, P, N, 0);
        }
    UNROLL for (int i = 0; i < P * N; i += 4) H(sum4)(acc + i, sums + i);
}

/* P pixels from pixel p on. Where they follow each other in memory, sums are stored where they belong. */
INLINE void mm_dot_pixels(const dwc_mm_call *c, int64_t p, int64_t n, const int P, const int N) {
    const float *w = c->weights + (c->first + n) * c->depth + c->w_first, *bias = c->bias + c->first + n;
    float *y = c->y + p * c->y_pixel + n, sums[MM_DOT_SUMS + 3];
    const int direct = c->y_pixel == N && P * N % 4 == 0;
    mm_dot_tile(c, c->a + p * c->a_pixel, w, bias, direct ? y : sums, P, N);
    if (direct) return;
    UNROLL for (int i = 0; i < P; i++)
        UNROLL for (int j = 0; j < N; j++) y[i * c->y_pixel + j] = sums[i * N + j];
}

/* N outputs from column `n` on. A last tile overlaps the one before it. */
INLINE void mm_dot_columns(const dwc_mm_call *c, int64_t n, const int P, const int N) {
    if (c->pixels >= P)
        for (int64_t p = 0; p < c->pixels; p += P)
            mm_dot_pixels(c, p < c->pixels - P ? p : c->pixels - P, n, P, N);
    else
        for (int64_t p = 0; p < c->pixels; p++) mm_dot_pixels(c, p, n, 1, N);
}

/* `count` floats in a row. */
INLINE void mm_dot_activate(float *y, int64_t count, const dwconv_activation *act) {
    const int64_t whole = count / H(lanes);
    const int rest = (int)(count % H(lanes));
    if (whole) H(activate)(y, 1, 0, whole, H(lanes), act);
    if (rest) H(dw_activate)(y + whole * H(lanes), 1, 0, 1, 0, rest, act);
}

NOINLINE void mm_dots_1(const dwc_mm_call *c, int64_t n) { mm_dot_columns(c, n, MM_DOT_SUMS, 1); }
NOINLINE void mm_dots_2(const dwc_mm_call *c, int64_t n) { mm_dot_columns(c, n, MM_DOT_SUMS / 2, 2); }
NOINLINE void mm_dots_3(const dwc_mm_call *c, int64_t n) { mm_dot_columns(c, n, MM_DOT_SUMS / 4, 3); }
NOINLINE void mm_dots_4(const dwc_mm_call *c, int64_t n) { mm_dot_columns(c, n, MM_DOT_SUMS / 4, 4); }

static void mm_dots(const dwc_mm_call *c) {
    static void (*const run[])(const dwc_mm_call *, int64_t) = {mm_dots_1, mm_dots_2, mm_dots_3, mm_dots_4};
    for (int64_t n = 0, columns; n < c->columns; n += columns) {
        columns = c->columns - n < MM_DOT_MOST ? c->columns - n : MM_DOT_MOST;
        run[columns - 1](c, n);
    }
    if (c->y_pixel == c->columns) {
        mm_dot_activate(c->y, c->pixels * c->columns, &c->activation);
    } else {
        for (int64_t p = 0; p < c->pixels; p++) mm_dot_activate(c->y + p * c->y_pixel, c->columns, &c->activation);
    }
    for (int64_t p = 0; c->residual && p < c->pixels; p++)
        for (int64_t n = 0; n < c->columns; n++) c->y[p * c->y_pixel + n] += c->residual[p * c->residual_pixel + n];
}
