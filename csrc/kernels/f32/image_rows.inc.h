/* Rows of images: pooling and resizing. Included once, for whole vectors, after number_rows.inc.h; see kernels/rows.h.
 *
 * Vectors lie along the channels. Where an image has fewer channels than a vector has lanes, walks join rows first, which
 * are vectors whatever the channels, in memory with room behind it. A pixel then is read and stored as a whole vector:
 * what it spills is overwritten by the next pixels. */

INLINE V(vec) V(pool_join)(V(vec) a, V(vec) b, const int MOST) {
    if (MOST) return V(larger)(a, b);
    return a + b;
}

/* ---- pooling -------------------------------------------------------------------------------- */

INLINE V(vec)
    V(pool_vector)(const dwc_pool_row *p, const float *x, const int MOST, const int ROWS, const int TAPS) {
    const int64_t rows = ROWS ? ROWS : p->rows, taps = TAPS ? TAPS : p->taps;
    V(vec) all = V(set1)(0.0f);
    for (int64_t t = 0; t < taps; t++, x += p->x_tap) {
        V(vec) column = V(load)(x);
        for (int64_t r = 1; r < rows; r++) column = V(pool_join)(column, V(load)(x + r * p->x_row), MOST);
        all = t ? V(pool_join)(all, column, MOST) : column;
    }
    if (!MOST) all = all / V(set1)(p->divisor);
    return all;
}

INLINE void pool_outputs(const dwc_pool_row *p, const int MOST, const int ROWS, const int TAPS) {
    const float *x = p->x;
    float *y = p->y;
    for (int64_t o = 0; o < p->outputs; o++, x += p->x_out, y += p->y_out)
        for (int64_t c = 0; c >= 0; c = V(after)(c, p->channels))
            V(store)(y + c, V(pool_vector)(p, x + c, MOST, ROWS, TAPS));
}

/* The rows are joined: one is left, behind which there is room. */
INLINE void pool_few(const dwc_pool_row *p, const int MOST) {
    const float *x = p->x;
    float *y = p->y;
    int64_t o = 0;
    for (; o < p->outputs && o < p->whole; o++, x += p->x_out, y += p->y_out)
        V(store)(y, V(pool_vector)(p, x, MOST, 1, 0));
    for (; o < p->outputs; o++, x += p->x_out, y += p->y_out)
        V(store_n)(y, V(pool_vector)(p, x, MOST, 1, 0), (int)p->channels);
}

NOINLINE void pool_2x2_most(const dwc_pool_row *p) { pool_outputs(p, 1, 2, 2); }
NOINLINE void pool_3x3_most(const dwc_pool_row *p) { pool_outputs(p, 1, 3, 3); }
NOINLINE void pool_any_most(const dwc_pool_row *p) { pool_outputs(p, 1, 0, 0); }
NOINLINE void pool_2x2_mean(const dwc_pool_row *p) { pool_outputs(p, 0, 2, 2); }
NOINLINE void pool_3x3_mean(const dwc_pool_row *p) { pool_outputs(p, 0, 3, 3); }
NOINLINE void pool_any_mean(const dwc_pool_row *p) { pool_outputs(p, 0, 0, 0); }
NOINLINE void pool_few_most(const dwc_pool_row *p) { pool_few(p, 1); }
NOINLINE void pool_few_mean(const dwc_pool_row *p) { pool_few(p, 0); }

static void pool(const dwc_pool_row *p, int most) {
    const int64_t square = p->rows == p->taps ? p->rows : 0;
    if (p->whole >= 0)
        (most ? pool_few_most : pool_few_mean)(p);
    else if (square == 2)
        (most ? pool_2x2_most : pool_2x2_mean)(p);
    else if (square == 3)
        (most ? pool_3x3_most : pool_3x3_mean)(p);
    else
        (most ? pool_any_most : pool_any_mean)(p);
}

static void pool_columns(const float *x, int64_t x_row, int64_t rows, int64_t x_pixel, int64_t pixels,
                         int64_t channels, float *to, int most) {
    if (x_pixel == channels) {
        channels *= pixels;
        pixels = 1;
    }
    dwc_reduce_grid g = {
        .x = x, .rows = 1, .x_column = x_row, .columns = rows, .channels = channels, .y = to};
    for (; pixels > 0; pixels--, g.x += x_pixel, g.y += channels) (most ? reduce_largest : reduce_sum)(&g);
}

/* ---- resizing ------------------------------------------------------------------------------- */

INLINE V(vec) V(between)(V(vec) a, V(vec) b, V(vec) weight, V(vec) rest) {
    return V(fma)(b, weight, a * rest);
}

static void blend(const float *top, const float *bottom, float weight, int64_t pixel, int64_t pixels,
                  int64_t channels, float *to) {
    const V(vec) w = V(set1)(weight), rest = V(set1)(1.0f - weight);
    if (pixel == channels) {
        channels *= pixels;
        pixels = 1;
    }
    for (; pixels > 0; pixels--, top += pixel, bottom += pixel, to += channels) {
        int64_t c = 0;
        for (; c + V(lanes) <= channels; c += V(lanes))
            V(store)(to + c, V(between)(V(load)(top + c), V(load)(bottom + c), w, rest));
        const int n = (int)(channels - c);
        if (n) V(store_n)(to + c, V(between)(V(load_n)(top + c, n), V(load_n)(bottom + c, n), w, rest), n);
    }
}

NOINLINE void resize_many(const dwc_resize_row *r) {
    const V(vec) down = V(set1)(r->weight), up = V(set1)(1.0f - r->weight);
    float *y = r->y;
    for (int64_t o = 0; o < r->outputs; o++, y += r->y_out) {
        const dwc_resize_column *at = &r->columns[o];
        const float *a = r->top + at->left, *b = r->bottom + at->left;
        const float *c = r->top + at->right, *d = r->bottom + at->right;
        const V(vec) right = V(set1)(at->weight), left = V(set1)(1.0f - at->weight);
        for (int64_t i = 0; i >= 0; i = V(after)(i, r->channels))
            V(store)(y + i, V(between)(V(between)(V(load)(a + i), V(load)(b + i), down, up),
                                       V(between)(V(load)(c + i), V(load)(d + i), down, up), right, left));
    }
}

NOINLINE void resize_few(const dwc_resize_row *r) {
    float *y = r->y;
    for (int64_t o = 0; o < r->outputs; o++, y += r->y_out) {
        const dwc_resize_column *at = &r->columns[o];
        const V(vec) result = V(between)(V(load)(r->top + at->left), V(load)(r->top + at->right),
                                         V(set1)(at->weight), V(set1)(1.0f - at->weight));
        if (o < r->whole)
            V(store)(y, result);
        else
            V(store_n)(y, result, (int)r->channels);
    }
}

static void resize(const dwc_resize_row *r) { (r->bottom ? resize_many : resize_few)(r); }

INLINE void pick_scalars(const dwc_resize_row *r, const int CHANNELS) {
    float *y = r->y;
    for (int64_t o = 0; o < r->outputs; o++, y += r->y_out)
        for (int c = 0; c < CHANNELS; c++) y[c] = r->top[r->columns[o].left + c];
}

static void pick(const dwc_resize_row *r) {
    float *y = r->y;
    switch (r->channels) {
        case 1: pick_scalars(r, 1); return;
        case 2: pick_scalars(r, 2); return;
        case 3: pick_scalars(r, 3); return;
        default: break;
    }
    const int few = r->channels < V(lanes);
    for (int64_t o = 0; o < r->outputs; o++, y += r->y_out) {
        const float *x = r->top + r->columns[o].left;
        if (few)
            V(store_n)(y, V(load_n)(x, (int)r->channels), (int)r->channels);
        else
            for (int64_t c = 0; c >= 0; c = V(after)(c, r->channels)) V(store)(y + c, V(load)(x + c));
    }
}

/* ---- activations ---------------------------------------------------------------------------- */

static void activate_pixels(float *y, int64_t y_pixel, int64_t pixels, int64_t channels,
                            const dwconv_activation *activation) {
    if (y_pixel == channels) {
        channels *= pixels;
        pixels = 1;
    }
    for (; pixels > 0; pixels--, y += y_pixel) each_activate(y, channels, activation);
}
