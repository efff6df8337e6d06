/* Tiles in straight lines: 2 x COLUMNS outputs of a small square window, in whole vectors of channels, that see no padding in
 * a row, or as much as there can be on the LEFT or on the RIGHT. They do what depthwise_tile.inc.h does, in its order,
 * without a test for any column. All arguments in capitals are compile-time constants.
 *
 * With tests for padding and pointers that move from column to column among the multiply-adds, a tile of 3x3 is 240
 * instructions for 72 of these, at an edge 250 for 54. Here it is 155 and 130: columns are found by addressing, from a few
 * distances in registers. Whole rows of padding are tested for, but not in WHOLE tiles, which are one piece, in which the
 * two output rows of a 3x3 window share weights in registers.
 *
 * Tiles of five columns are for rows that those of four would only cover twice in part: 14 outputs are 5 + 5 + 4. Where four
 * fit, four are quicker, since five leave no register to spare.
 *
 * Zen 3, AVX2, before and after: 14x14x64 3.8 and 3.0 us, with 5x5 8.2 and 6.8, with 7x7 on 96 channels 21.7 and 16.8;
 * 7x7x160 2.5 and 1.9; 28x28x96 18.5 and 16.8; 56x56x128 100 and 95; 28x28x192 with stride 2 18.2 and 15.5. */

/* The inputs of a vector of outputs of a multiplier: four floats of every pixel, so many bytes from its first, and which lane
 * takes which. At the end of a pixel these are the last four, so that none is read beyond. */
INLINE int64_t dw_spread(const dwc_depthwise_stage *stage, int64_t channel, const float *w, V(ivec) * lanes) {
    const int32_t first = (int32_t)channel / (int32_t)stage->multiplier,
                  last = (int32_t)stage->in_channels - 4;
    const int32_t from = first < last ? first : last;
    *lanes = (V(ivec))V(load)(w + stage->block - V(lanes)) + (first - from);
    return from * (int64_t)sizeof(float);
}

/* Column j of a row at `x`; times[k] are the bytes of 2 k + 1 columns. Addresses may have 1, 2, 4 and 8 times a distance,
 * which makes all others. */
INLINE float *dw_column(char *x, const int64_t *times, const int j) {
    const int shift = j ? __builtin_ctz((unsigned)j) : 0;
    return (float *)(j ? x + times[j >> shift >> 1] * (1 << shift) : x);
}

INLINE void dw_times(int64_t *times, int64_t pixel, const int count) {
    UNROLL for (int k = 0; k < count; k++) {
        times[k] = (2 * k + 1) * pixel * (int64_t)sizeof(float);
        OPAQUE(times[k]); /* or the compiler has registers for all columns, too many */
    }
}

/* An input row for the output rows [R_BEGIN, R_END); `w` is the kernel row that the first one would see it with. With five
 * columns the compiler is kept from changing the order, and beyond 3x3 from holding the input that only the last taps see:
 * it has no register to spare. */
INLINE void dw_straight_row(V(vec) acc[DW_TILE_ROWS][DW_TILE_COLUMNS], char *x, const int64_t *times,
                            const float *w, V(ivec) spread, const int R_BEGIN, const int R_END,
                            const int KERNEL, const int STRIDE, const int COLUMNS, const int LEFT,
                            const int RIGHT, const int SPREAD) {
    const int edge = (KERNEL - 1) / 2, begin = LEFT ? edge : 0;
    const int end = (COLUMNS - 1) * STRIDE + KERNEL - (RIGHT ? edge : 0);
    V(vec) in[DW_STRAIGHT_COLUMNS];
    UNROLL for (int kx = 0; kx < KERNEL; kx++) {
        UNROLL for (int r = R_BEGIN; r < R_END; r++) {
            const int again = COLUMNS > 4 && KERNEL > 3 && kx == KERNEL - 1 && r > R_BEGIN;
            char *from = x;
            if (again) OPAQUE(from);
            UNROLL for (int t = 0; t < COLUMNS; t++) {
                const int j = t * STRIDE + kx;
                if (r > R_BEGIN || j < begin || j >= end || (kx >= STRIDE && t < COLUMNS - 1)) continue;
                const float *column = dw_column(x, times, j);
                in[j] = SPREAD ? V(spread_few)(column, spread) : V(load)(column);
            }
            const V(vec) weight = V(load)(w + (kx - r * STRIDE * KERNEL) * V(lanes));
            UNROLL for (int t = 0; t < COLUMNS; t++) {
                const int j = t * STRIDE + kx;
                if (j < begin || j >= end) continue;
                const V(vec) input = again && t == COLUMNS - 1 ? V(load)(dw_column(from, times, j)) : in[j];
                acc[r][t] = V(fma)(input, weight, acc[r][t]);
            }
            if (COLUMNS > 4) V(pin5)(acc[r]);
        }
    }
}

INLINE void dw_straight_run(const dw_tile *run, const int KERNEL, const int STRIDE, const int COLUMNS, const int LEFT,
                            const int RIGHT, const int WHOLE, const int SPREAD) {
    const int ROWS = STRIDE + KERNEL, PIECE = KERNEL == 3 && !SPREAD; /* whether all rows are one piece of code */
    const dw_tile tile = *run, *c = &tile; /* which no store can alias */
    const int64_t block = c->stage->block, step = V(lanes) * (int64_t)sizeof(float);
    const float low = c->stage->low, high = c->stage->high;
    int64_t x_times[DW_STRAIGHT_TIMES], y_times[DW_STRAIGHT_TIMES];
    dw_times(x_times, c->x_pixel, ((COLUMNS - 1) * STRIDE + KERNEL) / 2);
    dw_times(y_times, c->y_pixel, COLUMNS / 2);
    int seen[DW_STRAIGHT_ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) seen[r] = WHOLE || c->rows[r];
    for (int64_t i = 0; i < c->tiles; i++) {
        char *x[DW_STRAIGHT_ROWS], *y[DW_TILE_ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) {
            const float *row = seen[r] ? c->rows[r] : c->weights; /* some address, which is not read from */
            x[r] = (char *)(row + c->x + i * COLUMNS * STRIDE * c->x_pixel);
        }
        float *const out = c->y + i * COLUMNS * c->y_pixel;
        UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) y[r] = (char *)(out + r * c->y_row);
        const float *w = c->weights;
        int64_t offset = 0;
        for (int64_t left = c->channels; left > 0; left -= V(lanes), w += block) {
            if (!LIKELY(left >= V(lanes))) { /* the last vector overlaps the one before */
                const int64_t back = (V(lanes) - left) * (int64_t)sizeof(float);
                UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) y[r] -= back;
                if (PIECE) {
                    UNROLL for (int r = 0; r < ROWS; r++) x[r] -= back;
                } else {
                    offset -= back;
                }
                w = c->last;
            }
            OPAQUE(left); /* or the compiler makes another copy of all this for it */
            V(ivec) spread = {0};
            if (SPREAD) {
                const int64_t end = c->channel + c->channels;
                offset = dw_spread(c->stage, left >= V(lanes) ? end - left : end - V(lanes), w, &spread);
            }
            V(vec) acc[DW_TILE_ROWS][DW_TILE_COLUMNS];
            const V(vec) bias = V(load)(w);
            UNROLL for (int t = 0; t < COLUMNS; t++) acc[0][t] = acc[1][t] = bias;
            const float *kernel_row = w + V(lanes); /* that the first output row sees input row r with */
/* The input rows that the output rows [R_BEGIN, R_END) see. */
#define DW_ROWS_BETWEEN(FROM, TO, R_BEGIN, R_END)                                                                  \
    for (int r = FROM; r < TO; r++) {                                                                              \
        if (PIECE && COLUMNS > 4) OPAQUE(kernel_row); /* there are no registers for the weights of two rows */     \
        if (seen[r])                                                                                               \
            dw_straight_row(acc, x[r] + offset, x_times, kernel_row, spread, R_BEGIN, R_END, KERNEL, STRIDE, \
                            COLUMNS, LEFT, RIGHT, SPREAD);                                                         \
        kernel_row += KERNEL * V(lanes);                                                                           \
        if (PIECE) {                                                                                               \
            x[r] += step;                                                                                          \
            OPAQUE(x[r]);                                                                                          \
        } else {                                                                                                   \
            OPAQUE(kernel_row);                                                                                    \
        }                                                                                                          \
    }
            if (PIECE) {
                UNROLL DW_ROWS_BETWEEN(0, STRIDE, 0, 1)
                UNROLL DW_ROWS_BETWEEN(STRIDE, KERNEL, 0, 2)
                UNROLL DW_ROWS_BETWEEN(KERNEL, ROWS, 1, 2)
            } else {
                NO_UNROLL DW_ROWS_BETWEEN(0, STRIDE, 0, 1)
                NO_UNROLL DW_ROWS_BETWEEN(STRIDE, KERNEL, 0, 2)
                NO_UNROLL DW_ROWS_BETWEEN(KERNEL, ROWS, 1, 2)
                if (!SPREAD) offset += step;
            }
#undef DW_ROWS_BETWEEN
            const V(vec) lowest = V(set1)(low), highest = V(set1)(high);
            UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) {
                if (!WHOLE && r >= c->row_count) break;
                UNROLL for (int t = 0; t < COLUMNS; t++)
                    V(store)(dw_column(y[r], y_times, t), V(min)(highest, V(max)(lowest, acc[r][t])));
                y[r] += step;
                OPAQUE(y[r]);
            }
        }
        if (!LIKELY(c->stage->activation.kind == DWCONV_CLIP)) dw_tile_activate(run, out, COLUMNS);
    }
}

#define DW_STRAIGHT_TILE(NAME, K, S, T, LEFT, RIGHT, WHOLE, SPREAD)         \
    NOINLINE void NAME##_##K##_##S##_##T(const dw_tile *c) {                \
        dw_straight_run(c, K, S, T, LEFT, RIGHT, WHOLE, SPREAD);            \
    }
#define DW_STRAIGHT_TILES(NAME, K, S, T, WHOLE, SPREAD)         \
    DW_STRAIGHT_TILE(NAME, K, S, T, 0, 0, WHOLE, SPREAD)        \
    DW_STRAIGHT_TILE(NAME##_left, K, S, T, 1, 0, WHOLE, SPREAD) \
    DW_STRAIGHT_TILE(NAME##_right, K, S, T, 0, 1, WHOLE, SPREAD)
#define DW_STRAIGHT_TABLE(NAME, K, S, T) \
    {NAME##_##K##_##S##_##T, NAME##_left_##K##_##S##_##T, NAME##_right_##K##_##S##_##T}

/* DW_STRAIGHT(K, S, INNER, EDGE, WHOLE) defines dw_shape_K_S: KxK windows with stride S, in tiles of 2x4 and 2x5. INNER and
 * EDGE are for all that these do not do, WHOLE tiles for rows that are all on the image. */
#define DW_STRAIGHT(K, S, INNER, EDGE, WHOLE)                                               \
    DW_STRAIGHT_TILES(dw_straight, K, S, 4, 0, 0)                                           \
    DW_STRAIGHT_TILES(dw_straight, K, S, 5, 0, 0)                                           \
    static const dw_straight dw_straight_##K##_##S[2][2] = {                                \
        {DW_STRAIGHT_TABLE(dw_straight, K, S, 4), DW_STRAIGHT_TABLE(WHOLE, K, S, 4)},       \
        {DW_STRAIGHT_TABLE(dw_straight, K, S, 5), DW_STRAIGHT_TABLE(WHOLE, K, S, 5)}};      \
    static const dw_shape dw_shape_##K##_##S = {K, S, 2, 4, INNER, EDGE, dw_straight_##K##_##S};

/* DW_SPREADING(K, S) defines dw_spread_K_S: the same for multipliers, in tiles of 2x4. */
#define DW_SPREADING(K, S)                                                                       \
    DW_STRAIGHT_TILES(dw_spread, K, S, 4, 0, 1)                                                  \
    static const dw_straight dw_spreading_##K##_##S[2][2] = {                                    \
        {DW_STRAIGHT_TABLE(dw_spread, K, S, 4), DW_STRAIGHT_TABLE(dw_spread, K, S, 4)}};         \
    static const dw_shape dw_spread_##K##_##S = {K, S, 2, 4, NULL, NULL, dw_spreading_##K##_##S};
