/* Convolution of 8-bit integers as a matrix product on packed panels of [quads][columns][4]. Inputs are read in
 * place: four bytes of a pixel are broadcast to a dot product with each of the panel's vectors, as in
 * f32/matmul.inc.h.
 *
 * A tile is MR outputs (pixels) times NV whole vectors, plus half a vector if HALF, of output channels.
 * Before: SUFFIX of whole vectors, HALF_SUFFIX of half ones (the same where there are none), MM_UNIT, and MM_RELOADS:
 * whether there are too few registers for a panel's vectors, which every row of a tile then reads for itself. */

#define H(name) PASTE(name, HALF_SUFFIX)

enum { MM_ROWS = 14, MM_VECTORS = 4 }; /* of the largest tiles */

/* Part of a call: `tiles` tiles of a panel below each other. */
typedef struct mm_part {
    const dwc_s8_mm_call *call;
    const uint8_t *w;
    const dwc_s8_run *runs, *runs_end;
    const int32_t *start;
    const float *multipliers;
    int64_t a;  /* bytes from rows[ty] to the first pixel */
    uint8_t *y; /* bytes or sums */
    int64_t tiles, w_quad;
    int columns;
    int whole; /* all columns of the tiles are stored as bytes, whose rounding fits */
} mm_part;

/* What becomes of a tile's sums where they are not `whole`. */
NOINLINE void mm_put(const mm_part *p, const int32_t *sums, uint8_t *y, int rows, int width) {
    const int columns = p->columns;
    const H(end) end = H(end_of)(&p->call->end, S8_CLAMPED);
    for (; rows > 0; rows--, sums += width, y += p->call->y_pixel) {
        if (p->call->end.sums) {
            memcpy(y, sums, (size_t)columns * sizeof *sums);
            continue;
        }
        int n = 0;
        for (; n + H(lanes) <= columns; n += H(lanes))
            H(store_bytes)(y + n, H(finish)(H(load_ints)(sums + n), H(load)(p->multipliers + n), &end));
        if (n < columns)
            H(store_bytes_n)(y + n, H(finish)(H(load_ints)(sums + n), H(load)(p->multipliers + n), &end),
                             columns - n);
    }
}

/* The last words of runs that are no multiple of four. */
NOINLINE void mm_last_words(const uint8_t *run, int64_t pixel, int64_t k, int rows, int32_t *words) {
    NO_UNROLL for (; rows > 0; rows--, run += pixel) {
        *words++ = s8_last_word(run, k);
        OPAQUE(run); /* not worth vectors */
    }
}

INLINE void mm_tiles(const mm_part *part, const int MR, const int NV, const int HALF) {
    const int WIDTH = NV * V(lanes) + HALF * H(lanes);
    int64_t a = part->a;
    uint8_t *y = part->y;
    const int64_t pixel = part->call->a_pixel;
    for (int64_t tiles = part->tiles; tiles > 0; tiles--) {
        /* Made opaque again and again: what is needed once per tile or tap is read then, not ahead of time into
         * registers that the loop needs. */
        const mm_part *p = part;
        OPAQUE(p);
        V(ivec) acc[MM_ROWS][MM_VECTORS]; /* never sized by an argument: gcc keeps such arrays in memory */
        H(ivec) half[MM_ROWS];
    UNROLL for (int i = 0; i < MR; i++) {
            UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(load_ints)(p->start + v * V(lanes));
            if (HALF) half[i] = H(load_ints)(p->start + NV * V(lanes));
        }
        const V(ivec) flip = V(flips)(p->call->flip);
        const H(ivec) flip_half = H(flips)(p->call->flip);
        const int64_t w_quad = p->w_quad;
        const uint8_t *b = p->w;
        int32_t last[MM_ROWS];
        for (const dwc_s8_run *r = p->runs; r != p->runs_end; r++) {
            const uint8_t *tap = p->call->rows[r->row] + r->tap * p->call->a_tap + r->offset + a;
            const int64_t bytes = r->bytes + (p->call->reads_on ? -r->bytes & 3 : 0);
            const uint8_t *run = tap, *end = b + bytes / 4 * w_quad;
            int64_t step = p->call->a_pixel;
            for (int64_t rest = bytes % 4;; rest = 0) {
                const uint8_t *at[5]; /* every third pixel: the two after it are reached by index */
                UNROLL for (int g = 0; 3 * g < MR; g++) at[g] = run + 3 * g * step;
                NO_UNROLL while (b != end) {
                    V(factors) panel[MM_VECTORS];
                    H(factors) panel_half;
                    UNROLL for (int v = 0; v < NV; v++) panel[v] = V(load_factors)(b + v * V(factor_bytes));
                    if (HALF) panel_half = H(load_factors)(b + NV * V(factor_bytes));
                    UNROLL for (int i = 0; i < MR; i++) {
                        if (MM_RELOADS && i > 0) {
                            OPAQUE(b);
                            UNROLL for (int v = 0; v < NV; v++)
                                panel[v] = V(load_factors)(b + v * V(factor_bytes));
                        }
                        const int32_t word = s8_word(at[i / 3] + i % 3 * step);
                        if (NV > 0) {
                            const V(quads) q = V(one_quad)(word, flip);
                            UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(dot4)(acc[i][v], q, panel[v]);
                        }
                        if (HALF) half[i] = H(dot4)(half[i], H(one_quad)(word, flip_half), panel_half);
                    }
                    b += w_quad;
                    UNROLL for (int g = 0; 3 * g < MR; g++) {
                        at[g] += 4;
                        OPAQUE(at[g]);
                    }
                }
                if (!rest) break;
                OPAQUE(p);
                mm_last_words(tap, p->call->a_pixel, r->bytes, MR, last);
                run = (const uint8_t *)last;
                step = sizeof *last;
                end = b + w_quad;
            }
            OPAQUE(p);
        }
        a += MR * pixel;
        OPAQUE(p);
        const int64_t y_pixel = p->call->y_pixel;
        if (LIKELY(p->whole)) {
            const V(end) end = V(end_of)(&p->call->end, S8_CLAMPED);
            const H(end) end_half = H(end_of)(&p->call->end, S8_CLAMPED);
            const float *m = p->multipliers;
            /* Some results after the others, lest all of a tile are held in registers before any is stored. */
            const int TOGETHER = NV == 4 ? 4 : NV == 2 ? 2 : 1, FOURS = MR * NV / 4 * 4;
            UNROLL for (int q = 0; q < FOURS; q += 4) {
                uint8_t *at[4];
                V(ivec) sums[4];
                V(vec) by[4];
                UNROLL for (int j = 0; j < 4; j++) {
                    const int i = (q + j) / NV, v = (q + j) % NV;
                    V(ints_in_order)(&y, &acc[i][v]);
                    at[j] = y + i * y_pixel + v * V(lanes);
                    sums[j] = acc[i][v];
                    by[j] = V(load)(m + v * V(lanes));
                }
                V(store_bytes4)(at, V(finish4)(sums, by, &end), TOGETHER);
            }
            UNROLL for (int q = FOURS; q < MR * NV; q++) {
                const int i = q / NV, v = q % NV;
                V(ints_in_order)(&y, &acc[i][v]);
                V(store_bytes)(y + i * y_pixel + v * V(lanes),
                               V(finish)(acc[i][v], V(load)(m + v * V(lanes)), &end));
            }
            const int HALVES = HALF ? MR : 0;
            UNROLL for (int i = 0; i < HALVES; i++) {
                H(ints_in_order)(&y, &half[i]);
                H(store_bytes)(y + i * y_pixel + NV * V(lanes),
                               H(finish)(half[i], H(load)(m + NV * V(lanes)), &end_half));
            }
        } else {
            int32_t sums[MR * WIDTH];
            UNROLL for (int i = 0; i < MR; i++) {
                UNROLL for (int v = 0; v < NV; v++) V(store_ints)(sums + i * WIDTH + v * V(lanes), acc[i][v]);
                if (HALF) H(store_ints)(sums + i * WIDTH + NV * V(lanes), half[i]);
            }
            mm_put(p, sums, y, MR, WIDTH);
        }
        y += MR * y_pixel;
    }
}

/* Tiles of one height, and all of one width, the highest first; heights end with 1. */
typedef struct mm_height {
    int rows;
    void (*run)(const mm_part *);
} mm_height;

typedef struct mm_width {
    mm_height heights[8];
} mm_width;

#define MM_TILE(MR, NV, HALF) \
    NOINLINE void mm_tiles_##MR##_##NV##_##HALF(const mm_part *p) { mm_tiles(p, MR, NV, HALF); }
#define MM_HEIGHT(MR, NV, HALF) {MR, mm_tiles_##MR##_##NV##_##HALF},

/* MM_WIDTH(HEIGHTS, NV, HALF) defines the tiles and mm_width_NV_HALF. */
/* clang-format off */
#define MM_WIDTH(HEIGHTS, NV, HALF)   \
    HEIGHTS(MM_TILE, NV, HALF)        \
    static const mm_width mm_width_##NV##_##HALF = {{HEIGHTS(MM_HEIGHT, NV, HALF)}};
/* clang-format on */

/* As many tiles as fit of the highest. What is left goes with a lower tile that covers it, and some pixels that
 * are done already and become the same again, or with two where that takes less. */
INLINE void mm_run_panel(mm_part *part, const mm_width *width) {
    const dwc_s8_mm_call *c = part->call;
    const mm_height *height = width->heights;
    for (int64_t left = c->pixels; left > 0;) {
        int64_t tiles = left / height->rows;
        while (tiles == 0) {
            const int64_t lower = height->rows > 1 ? height[1].rows : 0;
            /* With fewer than a quarter of a tile wasted, covering is as fast. */
            if (left > lower && height->rows <= c->pixels && 4 * (height->rows - left) <= height->rows) {
                part->a -= (height->rows - left) * c->a_pixel;
                part->y -= (height->rows - left) * c->y_pixel;
                left = height->rows;
            } else {
                height++;
            }
            tiles = left / height->rows;
        }
        part->tiles = tiles;
        height->run(part);
        const int64_t done = tiles * height->rows;
        left -= done;
        part->a += done * c->a_pixel;
        part->y += done * c->y_pixel;
    }
}

/* widths[u]: tiles of u panel units. Panels outside, pixels inside: a panel stays in the first-level cache while the
 * caller's block of pixels passes by. The last panel may be a part of one. */
INLINE void mm_run(const dwc_s8_mm_call *c, const mm_width *const *widths) {
    const int size = c->end.sums ? 4 : 1;
    for (int64_t n = 0, columns; n < c->columns; n += columns) {
        const dwc_s8_panel *panel = &c->panels[n / c->panel];
        const int64_t width = c->padded - n < c->panel ? c->padded - n : c->panel;
        columns = c->columns - n < width ? c->columns - n : width;
        mm_part part = {.call = c,
                        .w = (const uint8_t *)c->weights + panel->weights,
                        .runs = c->runs + panel->first_run,
                        .runs_end = c->runs + panel->first_run + panel->runs,
                        .start = c->start + n,
                        .multipliers = c->multipliers + n,
                        .y = (uint8_t *)c->y + n * size,
                        .w_quad = width * V(quad_bytes),
                        .columns = (int)columns};
        part.whole = columns % MM_UNIT == 0 && !c->end.sums && c->end.fits;
        mm_run_panel(&part, widths[(columns + MM_UNIT - 1) / MM_UNIT]);
    }
}
