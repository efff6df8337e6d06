/* Convolution as a matrix product on packed panels: pointwise is one tap, dense convolution several.
 * Activations are read in place, one broadcast per multiply-add row; nothing is copied or reordered.
 *
 * A tile is MR outputs (pixels) times NV whole vectors, plus half a vector if HALF, of output channels.
 * Before: SUFFIX of whole vectors, HALF_SUFFIX of half ones (the same where there are none), MM_UNIT. */

#define H(name) PASTE(name, HALF_SUFFIX)

enum { MM_ROWS = 14, MM_VECTORS = 4 }; /* of the largest tiles */

/* The end of a tile that clamping and storing whole vectors does not do. */
NOINLINE void mm_finish(const dwc_mm_call *c, const float *results, int rows, int width, float *y,
                        const float *residual, int columns) {
    for (int i = 0; i < rows; i++) {
        for (int n = 0; n < columns; n += V(lanes)) {
            const int lanes = columns - n < V(lanes) ? columns - n : V(lanes);
            V(finish)(results + i * width + n, 1, y + i * c->y_pixel + n, 0, lanes, &c->activation,
                      residual ? residual + i * c->residual_pixel + n : NULL, 0);
        }
    }
}

INLINE void mm_tile(const dwc_mm_call *c, const float *a, const float *w, const float *bias, float *y,
                    const float *residual, int columns, const int MR, const int NV, const int HALF) {
    const int WIDTH = NV * V(lanes) + HALF * H(lanes);
    V(vec) acc[MM_ROWS][MM_VECTORS]; /* never sized by an argument: gcc keeps such arrays in memory */
    H(vec) half[MM_ROWS];
    UNROLL for (int i = 0; i < MR; i++) {
        UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(load)(bias + v * V(lanes));
        if (HALF) half[i] = H(load)(bias + NV * V(lanes));
    }
    const int64_t pixel = c->a_pixel;
    for (int64_t ty = 0; ty < c->taps_y; ty++) {
        for (int64_t tx = 0; tx < c->taps_x; tx++) {
            const float *b = w + (c->w_first + ty * c->w_tap_y + tx * c->w_tap_x) * WIDTH, *end = b + c->k * WIDTH;
            const float *rows[5]; /* every third row: the two after it are reached by index */
            UNROLL for (int g = 0; 3 * g < MR; g++) rows[g] = a + ty * c->a_tap_y + tx * c->a_tap_x + 3 * g * pixel;
            NO_UNROLL do {
                V(vec) panel[MM_VECTORS];
                H(vec) panel_half = {0};
                UNROLL for (int v = 0; v < NV; v++) panel[v] = V(load)(b + v * V(lanes));
                if (HALF) panel_half = H(load)(b + NV * V(lanes));
                b += WIDTH;
                UNROLL for (int i = 0; i < MR; i++) {
                    const float *p = rows[i / 3] + i % 3 * pixel;
                    if (NV > 0) {
                        const V(vec) value = V(set1)(*p);
                        UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(fma)(value, panel[v], acc[i][v]);
                    }
                    if (HALF) half[i] = H(fma)(H(set1)(*p), panel_half, half[i]);
                }
                UNROLL for (int g = 0; 3 * g < MR; g++) {
                    rows[g]++;
                    OPAQUE(rows[g]);
                }
            } while (b != end);
        }
    }
    if (c->activation.kind == DWCONV_CLIP && !residual && columns == WIDTH) {
        const float low = c->activation.a, high = c->activation.b;
        UNROLL for (int i = 0; i < MR; i++) {
            OPAQUE(y);
            UNROLL for (int v = 0; v < NV; v++) V(store)(y + v * V(lanes), V(clamp)(acc[i][v], low, high));
            if (HALF) H(store)(y + NV * V(lanes), H(clamp)(half[i], low, high));
            y += c->y_pixel;
        }
        return;
    }
    float results[MM_ROWS * MM_VECTORS * V(lanes) + V(lanes)]; /* room for the last load of a half vector */
    UNROLL for (int i = 0; i < MR; i++) {
        UNROLL for (int v = 0; v < NV; v++) V(store)(results + i * WIDTH + v * V(lanes), acc[i][v]);
        if (HALF) H(store)(results + i * WIDTH + NV * V(lanes), half[i]);
    }
    mm_finish(c, results, MR, WIDTH, y, residual, columns);
}

typedef void (*mm_tile_function)(const dwc_mm_call *, const float *a, const float *w, const float *bias, float *y,
                                 const float *residual, int columns);

/* Tiles of one width: functions[m] computes m pixels, 1 <= m <= rows. */
typedef struct mm_width {
    int rows;
    mm_tile_function functions[15];
} mm_width;

#define MM_TILE(MR, NV, HALF)                                                                                 \
    NOINLINE void mm_tile_##MR##_##NV##_##HALF(const dwc_mm_call *c, const float *a, const float *w,          \
                                               const float *bias, float *y, const float *r, int columns) {    \
        mm_tile(c, a, w, bias, y, r, columns, MR, NV, HALF);                                                  \
    }
#define MM_NAME(MR, NV, HALF) mm_tile_##MR##_##NV##_##HALF,

#define MM_1(F, ...) F(1, __VA_ARGS__)
#define MM_2(F, ...) MM_1(F, __VA_ARGS__) F(2, __VA_ARGS__)
#define MM_3(F, ...) MM_2(F, __VA_ARGS__) F(3, __VA_ARGS__)
#define MM_4(F, ...) MM_3(F, __VA_ARGS__) F(4, __VA_ARGS__)
#define MM_5(F, ...) MM_4(F, __VA_ARGS__) F(5, __VA_ARGS__)
#define MM_6(F, ...) MM_5(F, __VA_ARGS__) F(6, __VA_ARGS__)
#define MM_7(F, ...) MM_6(F, __VA_ARGS__) F(7, __VA_ARGS__)
#define MM_8(F, ...) MM_7(F, __VA_ARGS__) F(8, __VA_ARGS__)
#define MM_9(F, ...) MM_8(F, __VA_ARGS__) F(9, __VA_ARGS__)
#define MM_10(F, ...) MM_9(F, __VA_ARGS__) F(10, __VA_ARGS__)
#define MM_11(F, ...) MM_10(F, __VA_ARGS__) F(11, __VA_ARGS__)
#define MM_12(F, ...) MM_11(F, __VA_ARGS__) F(12, __VA_ARGS__)
#define MM_13(F, ...) MM_12(F, __VA_ARGS__) F(13, __VA_ARGS__)
#define MM_14(F, ...) MM_13(F, __VA_ARGS__) F(14, __VA_ARGS__)

/* MM_WIDTH(MR, NV, HALF) defines the tiles of 1 to MR pixels and mm_width_NV_HALF. */
/* clang-format off */
#define MM_WIDTH(MR, NV, HALF)      \
    MM_##MR(MM_TILE, NV, HALF)      \
    static const mm_width mm_width_##NV##_##HALF = {MR, {NULL, MM_##MR(MM_NAME, NV, HALF)}};
/* clang-format on */

/* widths[u]: tiles of u panel units. Panels outside, pixels inside: a panel stays in the first-level
 * cache while the caller's block of pixels passes by. */
INLINE void mm_run(const dwc_mm_call *c, const mm_width *const *widths) {
    for (int64_t n = 0; n < c->columns; n += c->panel) {
        const int64_t columns = c->columns - n < c->panel ? c->columns - n : c->panel;
        const mm_width *width = widths[(columns + MM_UNIT - 1) / MM_UNIT];
        int64_t tiles = (c->pixels + width->rows - 1) / width->rows;
        for (int64_t m = 0; m < c->pixels; tiles--) {
            const int64_t count = (c->pixels - m + tiles - 1) / tiles; /* near-equal: no thin last tile */
            width->functions[count](c, c->a + m * c->a_pixel, c->weights + n * c->depth, c->bias + n,
                                    c->y + m * c->y_pixel + n,
                                    c->residual ? c->residual + m * c->residual_pixel + n : NULL, (int)columns);
            m += count;
        }
    }
}
