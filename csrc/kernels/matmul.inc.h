/* Convolution as a matrix product on packed panels: pointwise is one tap, dense convolution several.
 * Activations are read in place, one broadcast per multiply-add row; nothing is copied or reordered.
 *
 * A tile is MR outputs (pixels) times NV whole vectors, plus half a vector if HALF, of output channels.
 * Before: SUFFIX of whole vectors, HALF_SUFFIX of half ones (the same where there are none), MM_UNIT. */

#define H(name) PASTE(name, HALF_SUFFIX)

enum { MM_ROWS = 14, MM_VECTORS = 4 }; /* of the largest tiles */

/* Part of a call: `tiles` tiles of a panel below each other. */
typedef struct mm_part {
    const dwc_mm_call *call;
    const float *a, *w, *bias, *residual;
    float *y;
    int64_t tiles, w_run, w_tap_y, w_tap_x; /* steps of w: a run of k, from tap to tap */
    int columns;
} mm_part;

/* The end of a tile that clamping and storing whole vectors does not do. `results` has room for a whole last vector. */
NOINLINE void mm_finish(const mm_part *p, float *results, int rows, int width, float *y,
                        const float *residual) {
    const dwc_mm_call *c = p->call;
    V(activate)(results, (rows * width + V(lanes) - 1) / V(lanes), &c->activation);
    for (int i = 0; i < rows; i++, results += width, y += c->y_pixel) {
        for (int n = 0; n < p->columns; n += V(lanes)) {
            const int lanes = p->columns - n;
            V(vec) result = V(load)(results + n);
            if (lanes < V(lanes)) {
                if (residual) result = result + V(load_n)(residual + n, lanes);
                V(store_n)(y + n, result, lanes);
            } else {
                if (residual) result = result + V(load)(residual + n);
                V(store)(y + n, result);
            }
        }
        if (residual) residual += c->residual_pixel;
    }
}

INLINE void mm_tiles(const mm_part *p, const int MR, const int NV, const int HALF) {
    const int WIDTH = NV * V(lanes) + HALF * H(lanes);
    const dwc_mm_call *c = p->call;
    const float *a = p->a, *residual = p->residual;
    float *y = p->y;
    const int64_t pixel = c->a_pixel, y_pixel = c->y_pixel;
    const int simple = c->activation.kind == DWCONV_CLIP && !residual && p->columns == WIDTH;
    for (int64_t tiles = p->tiles; tiles > 0; tiles--) {
        V(vec) acc[MM_ROWS][MM_VECTORS]; /* never sized by an argument: gcc keeps such arrays in memory */
        H(vec) half[MM_ROWS];
    UNROLL for (int i = 0; i < MR; i++) {
            UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(load)(p->bias + v * V(lanes));
            if (HALF) half[i] = H(load)(p->bias + NV * V(lanes));
        }
        const float *tap_row = a, *w_row = p->w;
        int64_t ty = c->taps_y;
        do {
            const float *tap = tap_row, *w = w_row;
            int64_t tx = c->taps_x;
            do {
                const float *b = w, *end = w + p->w_run;
                const float *rows[5]; /* every third row: the two after it are reached by index */
                UNROLL for (int g = 0; 3 * g < MR; g++) rows[g] = tap + 3 * g * pixel;
                NO_UNROLL while (b != end) {
                    V(vec) panel[MM_VECTORS];
                    H(vec) panel_half = {0};
                    UNROLL for (int v = 0; v < NV; v++) panel[v] = V(load)(b + v * V(lanes));
                    if (HALF) panel_half = H(load)(b + NV * V(lanes));
                    b += WIDTH;
                    UNROLL for (int i = 0; i < MR; i++) {
                        const float *x = rows[i / 3] + i % 3 * pixel;
                        if (NV > 0) {
                            const V(one) value = V(load_one)(x);
                            UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(fma_one)(value, panel[v], acc[i][v]);
                        }
                        if (HALF) half[i] = H(fma_one)(H(load_one)(x), panel_half, half[i]);
                    }
                    UNROLL for (int g = 0; 3 * g < MR; g++) {
                        rows[g]++;
                        OPAQUE(rows[g]);
                    }
                }
                tap += c->a_tap_x;
                w += p->w_tap_x;
            } while (--tx > 0);
            tap_row += c->a_tap_y;
            w_row += p->w_tap_y;
        } while (--ty > 0);
        a += MR * pixel;
        if (LIKELY(simple)) {
            /* One result after the other: gcc, left alone, clamps all of a tile before it stores any, and then the
             * stores hold up the next tile (a tile of 6x64 and depth 16 alone: 85 instead of 92 % of peak). */
            const dwconv_activation *clip = &c->activation;
            OPAQUE(clip); /* read here: the tiles leave no registers for the bounds */
            const float low = clip->a, high = clip->b;
            UNROLL for (int i = 0; i < MR; i++) {
                UNROLL for (int v = 0; v < NV; v++) {
                    V(in_order)(&y, &acc[i][v]);
                    V(store)(y + v * V(lanes), V(clamp)(acc[i][v], low, high));
                }
                if (HALF) {
                    H(in_order)(&y, &half[i]);
                    H(store)(y + NV * V(lanes), H(clamp)(half[i], low, high));
                }
                y += y_pixel;
            }
        } else {
            float results[MM_ROWS * MM_VECTORS * V(lanes) + V(lanes)]; /* room for the last load of a half vector */
            UNROLL for (int i = 0; i < MR; i++) {
                UNROLL for (int v = 0; v < NV; v++) V(store)(results + i * WIDTH + v * V(lanes), acc[i][v]);
                if (HALF) H(store)(results + i * WIDTH + NV * V(lanes), half[i]);
            }
            mm_finish(p, results, MR, WIDTH, y, residual);
            y += MR * c->y_pixel;
            if (residual) residual += MR * c->residual_pixel;
        }
    }
}

typedef void (*mm_function)(const mm_part *);

/* Tiles of one width: functions[m] computes tiles of m pixels, 1 <= m <= rows. */
typedef struct mm_width {
    int rows;
    mm_function functions[15];
} mm_width;

#define MM_TILE(MR, NV, HALF) \
    NOINLINE void mm_tiles_##MR##_##NV##_##HALF(const mm_part *p) { mm_tiles(p, MR, NV, HALF); }
#define MM_NAME(MR, NV, HALF) mm_tiles_##MR##_##NV##_##HALF,

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
        const int64_t units = (columns + MM_UNIT - 1) / MM_UNIT, floats = units * MM_UNIT;
        const mm_width *width = widths[units];
        /* Near-equal tiles, no thin last one: the first ones have a pixel more than the others. */
        const int64_t tiles = (c->pixels + width->rows - 1) / width->rows;
        const int64_t rows = c->pixels / tiles, more = c->pixels % tiles;
        mm_part part = {.call = c,
                        .a = c->a,
                        .w = c->weights + n * c->depth + c->w_first * floats,
                        .bias = c->bias + n,
                        .residual = c->residual ? c->residual + n : NULL,
                        .y = c->y + n,
                        .tiles = more,
                        .w_run = c->k * floats,
                        .w_tap_y = c->w_tap_y * floats,
                        .w_tap_x = c->w_tap_x * floats,
                        .columns = (int)columns};
        if (more > 0) {
            width->functions[rows + 1](&part);
            const int64_t done = more * (rows + 1);
            part.a += done * c->a_pixel;
            part.y += done * c->y_pixel;
            if (part.residual) part.residual += done * c->residual_pixel;
        }
        part.tiles = tiles - more;
        width->functions[rows](&part);
    }
}
