/* Batch normalization of rows of pixels, forward and backward. Included once, for whole vectors. Sums of a channel go from
 * pixel to pixel, on from what is there: a run may be cut anywhere. Four vectors of channels at a time, so that sums need
 * not wait for each other, and what belongs to channels stays in registers. */

INLINE V(vec) bn_load(const float *p, int lanes, const int FULL) {
    return FULL ? V(load)(p) : V(load_n)(p, lanes);
}

INLINE void bn_store(float *p, V(vec) v, int lanes, const int FULL) {
    if (FULL)
        V(store)(p, v);
    else
        V(store_n)(p, v, lanes);
}

/* STREAM: whole cache lines, past the caches. */
INLINE void bn_put(float *p, V(vec) v, int lanes, const int FULL, const int STREAM) {
#ifdef STREAMS
    if (STREAM && FULL) {
        V(stream)(p, v);
        return;
    }
#else
    (void)STREAM;
#endif
    bn_store(p, v, lanes, FULL);
}

/* dy, but 0 where the clamp stopped what became of x. */
INLINE V(vec) bn_passed(V(vec) dy, V(vec) normal, V(vec) low, V(vec) high) {
    return (V(vec))((V(ivec))dy & ~((normal <= low) | (normal >= high)));
}

/* sums += x - mean, squares += (x - mean)^2: NV vectors from channel c on, the last one of `lanes` channels. */
INLINE void bn_moments(const dwc_norm_run *r, int64_t c, int lanes, const int NV, const int FULL) {
    V(vec) sum[4], square[4], mean[4];
    const float *x = r->x + c;
    UNROLL for (int v = 0; v < NV; v++) {
        sum[v] = bn_load(r->sums + c + v * V(lanes), lanes, FULL);
        square[v] = bn_load(r->squares + c + v * V(lanes), lanes, FULL);
        mean[v] = bn_load(r->mean + c + v * V(lanes), lanes, FULL);
    }
    for (int64_t i = 0; i < r->pixels; i++, x += r->x_pixel)
        UNROLL for (int v = 0; v < NV; v++) {
            const V(vec) centred = bn_load(x + v * V(lanes), lanes, FULL) - mean[v];
            sum[v] = sum[v] + centred;
            square[v] = V(fma)(centred, centred, square[v]);
        }
    UNROLL for (int v = 0; v < NV; v++) {
        bn_store(r->sums + c + v * V(lanes), sum[v], lanes, FULL);
        bn_store(r->squares + c + v * V(lanes), square[v], lanes, FULL);
    }
}

INLINE void bn_apply(const dwc_norm_run *r, int64_t c, int lanes, const int NV, const int FULL, const int STREAM) {
    V(vec) mean[4], factor[4], offset[4];
    const float *x = r->x + c;
    float *y = r->y + c;
    UNROLL for (int v = 0; v < NV; v++) {
        mean[v] = bn_load(r->mean + c + v * V(lanes), lanes, FULL);
        factor[v] = bn_load(r->factor + c + v * V(lanes), lanes, FULL);
        offset[v] = bn_load(r->offset + c + v * V(lanes), lanes, FULL);
    }
    for (int64_t i = 0; i < r->pixels; i++, x += r->x_pixel, y += r->y_pixel)
        UNROLL for (int v = 0; v < NV; v++) {
            const V(vec) centred = bn_load(x + v * V(lanes), lanes, FULL) - mean[v];
            const V(vec) normal = V(fma)(centred, factor[v], offset[v]);
            bn_put(y + v * V(lanes), V(clamp)(normal, r->low, r->high), lanes, FULL, STREAM);
        }
}

/* sums += dy, squares += dy * (x - mean), of what passes the clamp. */
INLINE void bn_slopes(const dwc_norm_run *r, int64_t c, int lanes, const int NV, const int FULL) {
    V(vec) sum[4], along[4], mean[4], factor[4], offset[4];
    const V(vec) low = V(set1)(r->stop_low), high = V(set1)(r->stop_high);
    const float *x = r->x + c, *dy = r->dy + c;
    UNROLL for (int v = 0; v < NV; v++) {
        const int64_t at = c + v * V(lanes);
        sum[v] = bn_load(r->sums + at, lanes, FULL);
        along[v] = bn_load(r->squares + at, lanes, FULL);
        mean[v] = bn_load(r->mean + at, lanes, FULL);
        factor[v] = bn_load(r->factor + at, lanes, FULL);
        offset[v] = bn_load(r->offset + at, lanes, FULL);
    }
    for (int64_t i = 0; i < r->pixels; i++, x += r->x_pixel, dy += r->dy_pixel)
        UNROLL for (int v = 0; v < NV; v++) {
            const V(vec) centred = bn_load(x + v * V(lanes), lanes, FULL) - mean[v];
            const V(vec) normal = V(fma)(centred, factor[v], offset[v]);
            const V(vec) passed = bn_passed(bn_load(dy + v * V(lanes), lanes, FULL), normal, low, high);
            sum[v] = sum[v] + passed;
            along[v] = V(fma)(passed, centred, along[v]);
        }
    UNROLL for (int v = 0; v < NV; v++) {
        bn_store(r->sums + c + v * V(lanes), sum[v], lanes, FULL);
        bn_store(r->squares + c + v * V(lanes), along[v], lanes, FULL);
    }
}

/* y = dy * factor + (x - mean) * slope + constant, of what passes the clamp; FIXED: without the last two. */
INLINE void bn_back(const dwc_norm_run *r, int64_t c, int lanes, const int NV, const int FULL, const int STREAM, const int FIXED) {
    V(vec) mean[4], factor[4], offset[4], slope[4], constant[4];
    const V(vec) low = V(set1)(r->stop_low), high = V(set1)(r->stop_high);
    const float *x = r->x + c, *dy = r->dy + c;
    float *y = r->y + c;
    UNROLL for (int v = 0; v < NV; v++) {
        const int64_t at = c + v * V(lanes);
        mean[v] = bn_load(r->mean + at, lanes, FULL);
        factor[v] = bn_load(r->factor + at, lanes, FULL);
        offset[v] = bn_load(r->offset + at, lanes, FULL);
        if (FIXED) continue;
        slope[v] = bn_load(r->slope + at, lanes, FULL);
        constant[v] = bn_load(r->constant + at, lanes, FULL);
    }
    for (int64_t i = 0; i < r->pixels; i++, x += r->x_pixel, dy += r->dy_pixel, y += r->y_pixel)
        UNROLL for (int v = 0; v < NV; v++) {
            const V(vec) centred = bn_load(x + v * V(lanes), lanes, FULL) - mean[v];
            const V(vec) normal = V(fma)(centred, factor[v], offset[v]);
            const V(vec) passed = bn_passed(bn_load(dy + v * V(lanes), lanes, FULL), normal, low, high);
            V(vec) dx = passed * factor[v];
            if (!FIXED) dx = V(fma)(passed, factor[v], V(fma)(centred, slope[v], constant[v]));
            bn_put(y + v * V(lanes), dx, lanes, FULL, STREAM);
        }
}

/* Pixels at a time where channels take several passes: few, so that lines come nearly in the order of memory. */
enum { BN_PIXELS = 4 };

INLINE void bn_forward(dwc_norm_run *r, int64_t pixels) {
    r->x += pixels * r->x_pixel;
    if (r->dy) r->dy += pixels * r->dy_pixel;
    if (r->y) r->y += pixels * r->y_pixel;
}

#define BN_EACH(TILE, MOST, ...)                                                             \
    for (; c + MOST * V(lanes) <= r.channels; c += MOST * V(lanes))                          \
        TILE(&r, c, V(lanes), MOST, 1 __VA_ARGS__);                                          \
    for (; MOST > 2 && c + 2 * V(lanes) <= r.channels; c += 2 * V(lanes))                    \
        TILE(&r, c, V(lanes), 2, 1 __VA_ARGS__);                                             \
    for (; c + V(lanes) <= r.channels; c += V(lanes)) TILE(&r, c, V(lanes), 1, 1 __VA_ARGS__);
#define BN_DEFINE(NAME, TILE, MOST, ...)                                               \
    static void NAME(const dwc_norm_run *all) {                                        \
        const int64_t most = all->channels > MOST * V(lanes) ? BN_PIXELS : all->pixels; \
        dwc_norm_run r = *all;                                                         \
        for (int64_t left = all->pixels; left > 0; left -= r.pixels) {                 \
            int64_t c = 0;                                                             \
            r.pixels = left < most ? left : most;                                      \
            BN_EACH(TILE, MOST, __VA_ARGS__)                                           \
            if (c < r.channels) TILE(&r, c, (int)(r.channels - c), 1, 0 __VA_ARGS__);  \
            bn_forward(&r, r.pixels);                                                  \
        }                                                                              \
    }
#define BN_MORE(...) , __VA_ARGS__
/* clang-format off */
BN_DEFINE(norm_moments, bn_moments, BN_VECTORS, )
BN_DEFINE(norm_slopes, bn_slopes, BN_VECTORS, )
BN_DEFINE(norm_apply, bn_apply, BN_VECTORS, BN_MORE(0))
BN_DEFINE(norm_back, bn_back, BN_VECTORS, BN_MORE(0, 0))
BN_DEFINE(norm_back_fixed, bn_back, BN_VECTORS, BN_MORE(0, 1))
#ifdef STREAMS
BN_DEFINE(norm_apply_streaming, bn_apply, BN_VECTORS, BN_MORE(1))
BN_DEFINE(norm_back_streaming, bn_back, BN_VECTORS, BN_MORE(1, 0))
#define NORM_STREAMING , norm_apply_streaming, norm_back_streaming
#else
#define NORM_STREAMING , NULL, NULL
#endif
/* clang-format on */

#define NORM_KERNELS {norm_moments, norm_slopes, norm_apply, norm_back, norm_back_fixed NORM_STREAMING}
