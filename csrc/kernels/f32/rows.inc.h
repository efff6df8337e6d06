/* Rows of pixels: factors of squeeze-and-excite, copies. Included once, for whole vectors. */

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

/* `bytes` of each of so many pixels to where they are `to_pixel` bytes apart. */
static void copy_pixels(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                        int64_t to_pixel) {
    const int64_t floats = bytes / (int64_t)sizeof(float);
    for (; pixels > 0; pixels--, x += x_pixel, to += to_pixel) {
        /* By two: one at a time, layers take up to a sixth longer by where this loop happens to lie. */
        const float *from = (const float *)x;
        float *y = (float *)to;
        int64_t i = 0;
        for (; i + 2 * V(lanes) <= floats; i += 2 * V(lanes)) {
            const V(vec) first = V(load)(from + i), second = V(load)(from + i + V(lanes));
            V(store)(y + i, first);
            V(store)(y + i + V(lanes), second);
        }
        for (; i + V(lanes) <= floats; i += V(lanes)) V(store)(y + i, V(load)(from + i));
        if (i < floats) V(store_n)(y + i, V(load_n)(from + i, (int)(floats - i)), (int)(floats - i));
    }
}

#ifdef STREAMS
/* The same past the caches, of whole and aligned cache lines. */
static void stream_pixels(const char *x, int64_t x_pixel, int64_t pixels, int64_t bytes, char *to,
                          int64_t to_pixel) {
    const int64_t floats = bytes / (int64_t)sizeof(float);
    for (; pixels > 0; pixels--, x += x_pixel, to += to_pixel)
        for (int64_t i = 0; i < floats; i += V(lanes))
            V(stream)((float *)to + i, V(load)((const float *)x + i));
}
static void end_stream(void) { V(stream_end)(); }
#define STREAM_KERNELS , .stream_pixels = stream_pixels, .end_stream = end_stream
#else
#define STREAM_KERNELS
#endif
