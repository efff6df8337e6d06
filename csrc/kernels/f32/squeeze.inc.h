/* Squeeze-and-excite: sums over pixels, and a factor for every channel. Included once, for whole vectors. */

/* sums[c] = x[0][c] + x[1][c] + ..., in this order. Four vectors at a time, so that additions need not wait for
 * each other. */
static void sum_pixels(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels, float *sums) {
    int64_t c = 0;
    for (; c + 4 * V(lanes) <= channels; c += 4 * V(lanes)) {
        V(vec) sum[4];
        const float *p = x + c;
    UNROLL for (int v = 0; v < 4; v++) sum[v] = V(load)(p + v * V(lanes));
        for (int64_t i = 1; i < pixels; i++) {
            p += x_pixel;
            UNROLL for (int v = 0; v < 4; v++) sum[v] = sum[v] + V(load)(p + v * V(lanes));
        }
        UNROLL for (int v = 0; v < 4; v++) V(store)(sums + c + v * V(lanes), sum[v]);
    }
    for (; c < channels; c += V(lanes)) {
        const int n = channels - c < V(lanes) ? (int)(channels - c) : V(lanes);
        V(vec) sum = V(load_n)(x + c, n);
        for (int64_t i = 1; i < pixels; i++) sum = sum + V(load_n)(x + i * x_pixel + c, n);
        V(store_n)(sums + c, sum, n);
    }
}

/* y[p][c] = x[p][c] * factors[c]; y may be x. */
static void scale_pixels(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels,
                         const float *factors, float *y, int64_t y_pixel) {
    for (int64_t i = 0; i < pixels; i++, x += x_pixel, y += y_pixel) {
        int64_t c = 0;
        for (; c + V(lanes) <= channels; c += V(lanes))
            V(store)(y + c, V(load)(x + c) * V(load)(factors + c));
        if (c < channels) {
            const int n = (int)(channels - c);
            V(store_n)(y + c, V(load_n)(x + c, n) * V(load_n)(factors + c, n), n);
        }
    }
}
