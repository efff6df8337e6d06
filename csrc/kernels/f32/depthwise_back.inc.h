/* The input gradient of 3x3 windows with stride 2: outputs are blocks of 2x2 pixels of dx, which see 2x2 pixels of dy:
 *
 *     row     2m + 1 of a padded dx   output row m by kernel row 1
 *     row     2m + 2                  output row m by kernel row 2, m + 1 by kernel row 0
 *
 * and columns alike. The nine weights stay in registers while a tile goes down some rows. Included once per suffix; UP and DOWN (the
 * two rows of dy are on the image), FULL and EDGE are compile-time constants. */

INLINE void V(dwb_put)(const dwc_dw_back_run *c, char *y, V(vec) v, int lanes, const int FULL) {
    if (!FULL)
        V(store_n)((float *)y, v, lanes);
    else if ((int)V(lanes) == (int)DWC_LINE_FLOATS && !LIKELY(!c->streams))
        V(stream)((float *)y, v);
    else
        V(store)((float *)y, v);
}

/* Blocks side by side that see no padding to their sides and are stored whole. */
INLINE void V(dwb_row)(const dwc_dw_back_run *c, const V(vec) * w, const char *up, const char *down,
                       char *odd, char *even, int64_t columns, int lanes, const int UP, const int DOWN,
                       const int FULL) {
    const int64_t dy = c->dy_pixel, dx = c->dx_pixel, ahead = c->ahead;
    const V(vec) zero = V(set1)(0.0f);
    V(vec) a = UP ? V(dwg_load)(up, lanes, FULL) : zero, s = DOWN ? V(dwg_load)(down, lanes, FULL) : zero;
    NO_UNROLL for (; columns > 0; columns--) {
        const V(vec) b = UP ? V(dwg_load)(up += dy, lanes, FULL) : zero;
        const V(vec) d = DOWN ? V(dwg_load)(down += dy, lanes, FULL) : zero;
        if (DOWN) __builtin_prefetch(down + ahead, 0, 2);
        V(vec) y[2][2] = {{zero, zero}, {zero, zero}};
        if (UP) {
            y[0][0] = a * w[4];
            y[0][1] = V(fma)(b, w[3], a * w[5]);
            y[1][0] = a * w[7];
            y[1][1] = V(fma)(b, w[6], a * w[8]);
        }
        if (DOWN) {
            y[1][0] = V(fma)(s, w[1], y[1][0]);
            y[1][1] = V(fma)(d, w[0], V(fma)(s, w[2], y[1][1]));
        }
        if (odd) {
            V(dwb_put)(c, odd, y[0][0], lanes, FULL);
            V(dwb_put)(c, odd + dx, y[0][1], lanes, FULL);
            odd += 2 * dx;
        }
        if (even) {
            V(dwb_put)(c, even, y[1][0], lanes, FULL);
            V(dwb_put)(c, even + dx, y[1][1], lanes, FULL);
            even += 2 * dx;
        }
        a = b;
        s = d;
    }
}

/* A block at an edge: bits 0 and 1 of `seen`: its columns of dy, of `stored`: of dx. */
INLINE void V(dwb_edge)(const dwc_dw_back_run *c, const V(vec) * w, const char *up, const char *down, char *odd,
                        char *even, int lanes, const int FULL) {
    V(vec) y[2][2];
    UNROLL for (int i = 0; i < 4; i++) y[i / 2][i % 2] = V(set1)(0.0f);
    UNROLL for (int row = 0; row < 2; row++) {
        const char *from = row ? down : up;
        if (!from) continue;
        if (c->seen & 1) {
            const V(vec) v = V(dwg_load)(from, lanes, FULL);
            if (row == 0) y[0][0] = V(fma)(v, w[4], y[0][0]);
            if (row == 0) y[0][1] = V(fma)(v, w[5], y[0][1]);
            y[1][0] = V(fma)(v, w[row ? 1 : 7], y[1][0]);
            y[1][1] = V(fma)(v, w[row ? 2 : 8], y[1][1]);
        }
        if (c->seen & 2) {
            const V(vec) v = V(dwg_load)(from + c->dy_pixel, lanes, FULL);
            if (row == 0) y[0][1] = V(fma)(v, w[3], y[0][1]);
            y[1][1] = V(fma)(v, w[row ? 0 : 6], y[1][1]);
        }
    }
    UNROLL for (int i = 0; i < 4; i++) {
        char *to = i / 2 ? even : odd;
        if (to && c->stored >> i % 2 & 1) V(dwb_put)(c, to + i % 2 * c->dx_pixel, y[i / 2][i % 2], lanes, FULL);
    }
}

INLINE void V(dwb_tile)(const dwc_dw_back_run *c, int64_t dy, int64_t dx, int64_t columns, int64_t channel, int lanes,
                        const int FULL, const int EDGE) {
    V(vec) w[9];
    UNROLL for (int k = 0; k < 9; k++) w[k] = V(dwg_load)((const char *)(c->weights + k * c->tap + channel), lanes, FULL);
    dy += channel * (int64_t)sizeof(float);
    dx += channel * (int64_t)sizeof(float);
    NO_UNROLL for (int r = 0; r < c->rows; r++) {
        const char *up = c->in[r] ? c->in[r] + dy : NULL, *down = c->in[r + 1] ? c->in[r + 1] + dy : NULL;
        char *odd = c->out[2 * r] ? c->out[2 * r] + dx : NULL, *even = c->out[2 * r + 1] ? c->out[2 * r + 1] + dx : NULL;
        if (EDGE)
            V(dwb_edge)(c, w, up, down, odd, even, lanes, FULL);
        else if (LIKELY(up && down))
            V(dwb_row)(c, w, up, down, odd, even, columns, lanes, 1, 1, FULL);
        else if (up)
            V(dwb_row)(c, w, up, down, odd, even, columns, lanes, 1, 0, FULL);
        else if (down)
            V(dwb_row)(c, w, up, down, odd, even, columns, lanes, 0, 1, FULL);
        else
            V(dwb_row)(c, w, up, down, odd, even, columns, lanes, 0, 0, FULL);
    }
}
