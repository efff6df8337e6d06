/* The filter gradient of depthwise convolution: sums[ky][kx] += x * dy over output pixels. The sums of R x K taps stay in
 * registers while a tile of T output columns, one vector of channels wide, goes down a few output rows. With S taps from
 * column to column an input is loaded once for all taps that see it; S == 0: any steps, an input for every product.
 *
 * Within a tap, products are added row by row, from left to right. Included once per suffix; R, K, T, S, FULL (a whole
 * vector), EDGE and SPREAD (multipliers) are compile-time constants. */

INLINE V(vec) V(dwg_load)(const char *p, int lanes, const int FULL) {
    return FULL ? V(load)((const float *)p) : V(load_n)((const float *)p, lanes);
}

/* Which inputs the lanes of a vector of outputs have, and how many there are. */
typedef struct V(dwg_spread) {
    V(ivec) lanes;
    int count;
} V(dwg_spread);

INLINE V(dwg_spread) V(dwg_inputs)(const int32_t *inputs, int lanes) {
    V(dwg_spread) s;
    __builtin_memcpy(&s.lanes, inputs, sizeof s.lanes);
    s.lanes -= inputs[0];
    s.count = inputs[lanes - 1] - inputs[0] + 1;
    return s;
}

INLINE V(vec) V(dwg_x)(const char *p, int lanes, const V(dwg_spread) * s, const int FULL, const int SPREAD) {
    if (!SPREAD) return V(dwg_load)(p, lanes, FULL);
    return V(spread)(V(load_n)((const float *)p, s->count), s->lanes);
}

/* One output row of a tile inside the image. */
INLINE void V(dwg_inner_row)(V(vec) sums[][DWC_GRADIENT_TAPS], const dwc_dw_gradient_run *c,
                             const char *const *in, int64_t x, const V(vec) * dy, int lanes,
                             const V(dwg_spread) * spread, const int R, const int K, const int T, const int S,
                             const int FULL, const int SPREAD) {
    const char *row[5];
    UNROLL for (int r = 0; r < R; r++) row[r] = in[r] + x;
    if (S > 0) {
        const int64_t step = c->x_tap;
        UNROLL for (int j = 0; j < (T - 1) * S + K; j++) {
            UNROLL for (int r = 0; r < R; r++) {
                const V(vec) v = V(dwg_x)(row[r], lanes, spread, FULL, SPREAD);
                row[r] += step;
                OPAQUE(row[r]);
                UNROLL for (int t = 0; t < T; t++) {
                    const int k = j - t * S;
                    if (k >= 0 && k < K) sums[r][k] = V(fma)(v, dy[t], sums[r][k]);
                }
            }
        }
        return;
    }
    const int64_t tap = c->x_tap, out = c->x_out;
    UNROLL for (int t = 0; t < T; t++) {
        UNROLL for (int r = 0; r < R; r++) {
            const char *p = row[r];
            UNROLL for (int k = 0; k < K; k++, p += tap)
                sums[r][k] = V(fma)(V(dwg_x)(p, lanes, spread, FULL, SPREAD), dy[t], sums[r][k]);
            row[r] += out;
            OPAQUE(row[r]);
        }
    }
}

/* One output row of a tile with padding, or with fewer columns or taps. */
INLINE void V(dwg_edge_row)(V(vec) sums[][DWC_GRADIENT_TAPS], const dwc_dw_gradient_run *c, const char *const *in,
                            int64_t x, const char *dy, int lanes, const V(dwg_spread) * spread, const int R,
                            const int K, const int T, const int FULL, const int SPREAD) {
    const int64_t tap = c->x_tap;
    const unsigned all = (1u << K) - 1;
    UNROLL for (int t = 0; t < T; t++, dy += c->dy_out, x += c->x_out) {
        if (t >= c->columns) continue;
        const unsigned seen = c->seen[t];
        const V(vec) v = V(dwg_load)(dy, lanes, FULL);
        UNROLL for (int r = 0; r < R; r++) {
            if (!in[r]) continue;
            const char *p = in[r] + x;
            if (LIKELY(seen == all)) {
                UNROLL for (int k = 0; k < K; k++, p += tap)
                    sums[r][k] = V(fma)(V(dwg_x)(p, lanes, spread, FULL, SPREAD), v, sums[r][k]);
            } else {
                UNROLL for (int k = 0; k < K; k++, p += tap)
                    if (seen >> k & 1)
                        sums[r][k] = V(fma)(V(dwg_x)(p, lanes, spread, FULL, SPREAD), v, sums[r][k]);
            }
        }
    }
}

INLINE void V(dwg_tile)(const dwc_dw_gradient_run *c, int64_t x, const char *dy, float *sums, int64_t channel, int lanes,
                        const int R, const int K, const int T, const int S, const int FULL, const int EDGE,
                        const int SPREAD) {
    V(vec) acc[5][DWC_GRADIENT_TAPS];
    V(dwg_spread) spread = {0};
    if (SPREAD) {
        const int32_t *inputs = c->inputs + channel;
        spread = V(dwg_inputs)(inputs, lanes);
        x += inputs[0] * (int64_t)sizeof(float);
    } else {
        x += channel * (int64_t)sizeof(float);
    }
    dy += (channel - c->channel) * (int64_t)sizeof(float);
    sums += channel - c->channel;
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int k = 0; k < K; k++) acc[r][k] = V(load)(sums + r * c->sums_row + k * c->sums_tap);
    const char *const *in = c->in;
    NO_UNROLL for (int o = 0; o < c->rows; o++, in += R, dy += c->dy_row) {
        OPAQUE(c);
        if (EDGE) {
            V(dwg_edge_row)(acc, c, in, x, dy, lanes, &spread, R, K, T, FULL, SPREAD);
        } else {
            V(vec) d[DWC_GRADIENT_COLUMNS];
            const char *p = dy;
            UNROLL for (int t = 0; t < T; t++, p += c->dy_out) d[t] = V(dwg_load)(p, lanes, FULL);
            V(dwg_inner_row)(acc, c, in, x, d, lanes, &spread, R, K, T, S, FULL, SPREAD);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int k = 0; k < K; k++) V(store)(sums + r * c->sums_row + k * c->sums_tap, acc[r][k]);
}
