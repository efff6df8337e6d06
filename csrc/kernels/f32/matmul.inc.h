/* Convolution as a matrix product on packed panels: pointwise is one tap, dense convolution several.
 * Activations are read in place, one broadcast per multiply-add row; nothing is copied or reordered.
 *
 * A tile is MR outputs (pixels) times NV whole vectors, plus half a vector if HALF, of output channels.
 * Before: SUFFIX of whole vectors, HALF_SUFFIX of half ones (the same where there are none), MM_UNIT, and
 * MM_CHAINS, how many multiply-adds a core has under way (their latency times how many begin per cycle). */

#define H(name) PASTE(name, HALF_SUFFIX)

enum { MM_ROWS = 14, MM_VECTORS = 4 }; /* of the largest tiles */

/* Part of a call: `tiles` tiles of a panel below each other. */
typedef struct mm_part {
    const dwc_mm_call *call;
    const float *a, *w, *bias, *residual;
    float *y;
    int64_t tiles, w_row, w_run, w_tap_y, w_tap_x; /* steps of w: from k to k, a run of k, from tap to tap */
    int64_t w_panel;                               /* from a panel to the next, in tiles of two */
    int columns;
    /* Where pixels follow each other, a vector at the end of one may run into `spills` that are stored after it: partial
     * stores take three branches, with which 80x80 20 -> 4 takes 1.6 times as long on Zen 3. Not in the last tile. */
    int64_t spills;
    int stored;  /* columns, or some more that run over */
    int fetches; /* tiles ask for what is far */
    float low, high;
    int64_t prefetch; /* see dwc_mm_call; other panels than the first find their inputs */
    int far_y;
} mm_part;

/* Asks for what is far: the lines that the next tile writes, and inputs of pixels that come later. Tiles touch a part of
 * every pixel, in another order than that of memory, which the hardware does not foresee; asking for some of the lines
 * and leaving the rest to the hardware is slower than neither. */
NOINLINE void mm_fetch(const mm_part *p, const float *y, int rows) {
    enum { line = 64 / sizeof(float) };
    const dwc_mm_call *c = p->call;
    const int64_t row = (y - p->y) / c->y_pixel;
    for (int i = 0; p->far_y && i < rows; i++)
        for (int64_t n = 0; n < p->columns; n += line)
            __builtin_prefetch(y + (rows + i) * c->y_pixel + n, 1, 2);
    for (int i = 0; p->prefetch && i < rows; i++)
        for (int64_t k = 0; k < c->k; k += line)
            __builtin_prefetch(p->a + (row + i) * c->a_pixel + p->prefetch + k, 0, 2);
}

/* Tiles of NV vectors, of PV from each panel. */
INLINE void mm_tiles(const mm_part *part, const int MR, const int NV, const int PV, const int HALF) {
    const int WIDTH = NV * V(lanes) + HALF * H(lanes);
    const float *a = part->a;
    float *y = part->y;
    const int64_t pixel = part->call->a_pixel;
    for (int64_t tiles = part->tiles; tiles > 0; tiles--) {
        /* Made opaque again and again: what is needed once per tile or tap is read then. Otherwise the compiler reads
         * all of it ahead of time, and moves it in and out of the registers that the loop needs. */
        const mm_part *p = part;
        OPAQUE(p);
        V(vec) acc[MM_ROWS][MM_VECTORS]; /* never sized by an argument: gcc keeps such arrays in memory */
        H(vec) half[MM_ROWS];
    UNROLL for (int i = 0; i < MR; i++) {
            UNROLL for (int v = 0; v < NV; v++) acc[i][v] = V(load)(p->bias + v * V(lanes));
            if (HALF) half[i] = H(load)(p->bias + NV * V(lanes));
        }
        const float *tap_row = a, *w_row = p->w;
        int64_t ty = p->call->taps_y;
        do {
            const float *tap = tap_row, *w = w_row;
            int64_t tx = p->call->taps_x;
            do {
                const int64_t w_step = p->w_row;
                const int64_t w_panel = PV < NV ? p->w_panel : 0;
                const float *b = w, *end = w + p->w_run;
                const float *rows[5]; /* every third row: the two after it are reached by index */
                UNROLL for (int g = 0; 3 * g < MR; g++) rows[g] = tap + 3 * g * pixel;
                NO_UNROLL while (b != end) {
                    V(vec) panel[MM_VECTORS];
                    H(vec) panel_half = {0};
                    UNROLL for (int v = 0; v < NV; v++) panel[v] = V(load)(b + v / PV * w_panel + v % PV * V(lanes));
                    if (HALF) panel_half = H(load)(b + NV * V(lanes));
                    b += w_step;
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
                OPAQUE(p);
                tap += p->call->a_tap_x;
                w += p->w_tap_x;
            } while (--tx > 0);
            tap_row += p->call->a_tap_y;
            w_row += p->w_tap_y;
        } while (--ty > 0);
        a += MR * pixel;
        OPAQUE(p);
        const dwc_mm_call *c = p->call;
        const int64_t y_pixel = c->y_pixel;
        const float low = p->low, high = p->high;
        if (LIKELY(p->stored == WIDTH)) {
            /* One result after the other: gcc, left alone, clamps all of a tile before it stores any, and then the
             * stores hold up the next tile (a tile of 6x64 and depth 16 alone: 85 instead of 92 % of peak). */
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
        } else { /* the last vector is a partial one */
            const int WHOLE = NV - !HALF, rest = p->columns - WHOLE * V(lanes);
            UNROLL for (int i = 0; i < MR; i++) {
                UNROLL for (int v = 0; v < NV; v++) {
                    V(in_order)(&y, &acc[i][v]);
                    const V(vec) result = V(clamp)(acc[i][v], low, high);
                    if (v < WHOLE)
                        V(store)(y + v * V(lanes), result);
                    else
                        V(store_n)(y + v * V(lanes), result, rest);
                }
                if (HALF) {
                    H(in_order)(&y, &half[i]);
                    H(store_n)(y + NV * V(lanes), H(clamp)(half[i], low, high), rest);
                }
                y += y_pixel;
            }
        }
        if (!LIKELY(!p->fetches)) mm_fetch(p, y - MR * y_pixel, MR);
    }
}

/* Tiles of one height, and all of one width, the highest first; heights end with 1. Tiles lower than `thin` have
 * hardly more accumulators than a core has multiply-adds under way, or fewer, and wait for them. */
typedef struct mm_height {
    int rows;
    void (*run)(const mm_part *);
} mm_height;

typedef struct mm_width {
    int thin;
    mm_height heights[8];
} mm_width;

#define MM_TILE(MR, NV, HALF) \
    NOINLINE void mm_tiles_##MR##_##NV##_##HALF(const mm_part *p) { mm_tiles(p, MR, NV, NV, HALF); }
#define MM_HEIGHT(MR, NV, HALF) {MR, mm_tiles_##MR##_##NV##_##HALF},

/* The same for two panels side by side. */
#define MM_TILE_PAIR(MR, NV, HALF) \
    NOINLINE void mm_tiles_##MR##_##NV##_pair(const mm_part *p) { mm_tiles(p, MR, NV, NV / 2, HALF); }
#define MM_HEIGHT_PAIR(MR, NV, HALF) {MR, mm_tiles_##MR##_##NV##_pair},

/* MM_WIDTH(HEIGHTS, NV, HALF) defines the tiles and mm_width_NV_HALF. */
/* clang-format off */
#define MM_WIDTH(HEIGHTS, NV, HALF)   \
    HEIGHTS(MM_TILE, NV, HALF)        \
    static const mm_width mm_width_##NV##_##HALF = {MM_CHAINS / (NV + HALF) + 1, {HEIGHTS(MM_HEIGHT, NV, HALF)}};
/* clang-format on */

/* What is left to do where clamped results are in y: other activations, the residual. */
NOINLINE void mm_finish(const mm_part *p, int64_t pixels) {
    const dwc_mm_call *c = p->call;
    const dwconv_activation *act = &c->activation;
    const int vectors = p->columns / V(lanes), rest = p->columns % MM_UNIT;
    const int half = p->columns % V(lanes) >= MM_UNIT, last = vectors * V(lanes) + half * H(lanes);
    float *y = p->y;
    if (act->kind != DWCONV_CLIP) {
        if (vectors) V(activate)(y, (int)pixels, c->y_pixel, vectors, V(lanes), act);
        if (half) H(activate)(y + vectors * V(lanes), (int)pixels, c->y_pixel, 1, 0, act);
        if (rest) H(dw_activate)(y + last, (int)pixels, c->y_pixel, 1, 0, rest, act);
    }
    const float *residual = p->residual;
    for (; residual && pixels > 0; pixels--, y += c->y_pixel, residual += c->residual_pixel) {
        int v = 0;
        for (; v < vectors * V(lanes); v += V(lanes)) V(store)(y + v, V(load)(y + v) + V(load)(residual + v));
        if (half) H(store)(y + v, H(load)(y + v) + H(load)(residual + v));
        if (rest) H(store_n)(y + last, H(load_n)(y + last, rest) + H(load_n)(residual + last, rest), rest);
    }
}

/* Results that are finished at once: they stay in the first-level cache, and there are enough of them to make up for
 * what an activation sets up (Zen 3, AVX2, 56x56 24 -> 144 with SiLU: 424 us, tile by tile 462). */
enum { MM_FINISH = 1024 };

/* Tiles of one height, from where a part is to where it ends then: how many pixels, of the `left` ones of the call. */
INLINE int64_t mm_run_tiles(mm_part *part, const mm_height *height, int64_t tiles, int64_t left) {
    const dwc_mm_call *c = part->call;
    const int64_t rows = height->rows, pixels = tiles * rows;
    const int finish = c->activation.kind != DWCONV_CLIP || c->residual;
    for (; tiles > 0; tiles -= part->tiles) {
        const int64_t most = finish ? MM_FINISH / (rows * part->columns) + 1 : tiles;
        const int64_t spilling = part->spills ? (left - part->spills) / rows : 0;
        part->tiles = tiles < most ? tiles : most;
        part->stored = part->columns;
        if (spilling > 0) {
            part->stored = (part->columns + MM_UNIT - 1) / MM_UNIT * MM_UNIT;
            if (part->tiles > spilling) part->tiles = spilling;
        }
        height->run(part);
        const int64_t done = part->tiles * rows;
        if (finish) mm_finish(part, done);
        left -= done;
        part->a += done * c->a_pixel;
        part->y += done * c->y_pixel;
        if (part->residual) part->residual += done * c->residual_pixel;
    }
    return pixels;
}

/* What a tile of so many rows takes, in rows: thin ones wait for their own multiply-adds. */
INLINE int64_t mm_cost(int64_t rows, int64_t thin) { return rows < thin ? thin - 1 : rows; }

/* As many tiles as fit of the highest, then of the next, and so on. A thin rest is shared with a tile more, or computed
 * together with pixels that are done already: 11 pixels of 8 columns go by 8 and 4 rows, not by 8, 2 and 1. */
INLINE void mm_run_panel(mm_part *part, const mm_width *width) {
    const dwc_mm_call *c = part->call;
    const int64_t thin = width->thin;
    const mm_height *height = width->heights;
    for (int64_t left = c->pixels; left > 0;) {
        const int64_t rows = height->rows, lower = rows > 1 ? height[1].rows : 0;
        int64_t tiles = 1, shared = 0;
        if (left >= rows) {
            const int64_t rest = left % rows;
            shared = rest > 0 && rest < thin && rows > thin && rows + rest <= 2 * lower;
            tiles = left / rows - shared;
        } else if (left > lower && c->pixels >= rows &&
                   mm_cost(rows, thin) < mm_cost(lower, thin) + mm_cost(left - lower, thin)) {
            part->a -= (rows - left) * c->a_pixel;
            part->y -= (rows - left) * c->y_pixel;
            if (part->residual) part->residual -= (rows - left) * c->residual_pixel;
            left = rows;
        } else {
            height++;
            continue;
        }
        left -= mm_run_tiles(part, height, tiles, left);
        height += shared;
    }
}

/* widths[u]: tiles of u panel units. Panels outside, pixels inside: a panel stays in the first-level
 * cache while the caller's block of pixels passes by. The first and the last panel may be parts of one. `pair`, if not
 * NULL: tiles of two whole panels of `pair_columns`, for as few pixels as its highest tile has. */
INLINE void mm_run(const dwc_mm_call *c, const mm_width *const *widths, const mm_width *pair, int pair_columns) {
    const int clip = c->activation.kind == DWCONV_CLIP;
    const int few = pair && c->panel == pair_columns && c->pixels <= pair->heights[0].rows;
    /* Where pixels follow each other, a whole vector may run into the next ones. The last panel goes first then. */
    const int spills = c->y_pixel == c->columns && c->columns % MM_UNIT;
    int64_t n = 0;
    if (spills && c->columns > c->panel) n = (c->first + c->columns - 1) / c->panel * c->panel - c->first;
    for (int64_t done = 0, columns; done < c->columns; done += columns) {
        const int64_t skip = (c->first + n) % c->panel, begin = c->first + n - skip;
        const int64_t floats = c->padded - begin < c->panel ? c->padded - begin : c->panel;
        columns = c->columns - n < floats - skip ? c->columns - n : floats - skip;
        const int two = few && skip == 0 && c->columns - n >= 2 * c->panel && c->padded - begin >= 2 * c->panel;
        if (two) columns = 2 * c->panel;
        const int64_t units = (columns + MM_UNIT - 1) / MM_UNIT;
        const int ends = n + columns == c->columns;
        mm_part part = {.call = c,
                        .a = c->a,
                        .w = c->weights + begin * c->depth + c->w_first * floats + skip,
                        .bias = c->bias + c->first + n,
                        .residual = c->residual ? c->residual + n : NULL,
                        .y = c->y + n,
                        .w_row = floats,
                        .w_run = c->k * floats,
                        .w_tap_y = c->w_tap_y * floats,
                        .w_tap_x = c->w_tap_x * floats,
                        .w_panel = c->panel * c->depth,
                        .columns = (int)columns,
                        .spills = spills && ends ? (units * MM_UNIT - columns + c->y_pixel - 1) / c->y_pixel : 0,
                        .fetches = c->far_y || (c->prefetch && done == 0),
                        .low = clip ? c->activation.a : -INFINITY,
                        .high = clip ? c->activation.b : INFINITY,
                        .prefetch = done == 0 ? c->prefetch : 0,
                        .far_y = c->far_y};
        mm_run_panel(&part, two ? pair : widths[units]);
        n = ends ? 0 : n + columns;
    }
}
