/* Runs of full tiles: 2 x COLUMNS outputs of a small square window with stride 1, all of whose inputs are on the image, all
 * channels in whole vectors, clamped. What depthwise_tile.inc.h does, in its order, without a test and in one piece.
 *
 * A CPU begins some 6 instructions in a cycle, two of them multiply-adds, and looks some 250 ahead, which would hide the
 * second-level cache if a tile were shorter than that (counters could not be read). With tests between the rows, and
 * pointers that move from column to column, a tile of 3x3 is 240 instructions for 72 multiply-adds; here it is 155, since
 * columns are found by addressing, from a few distances in registers. 28x28x192 takes 40 us instead of 43, 56x56x144 114
 * instead of 123, 112x112x32 90 instead of 96 (Zen 3, AVX2); 5x5 gains nothing, nor does stride 2. KERNEL and COLUMNS are
 * compile-time constants. */

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

/* Input row i of a tile, which the first output row sees with kernel row i and the second with the one before. */
INLINE void dw_full_row(V(vec) acc[2][DW_TILE_COLUMNS], char *x, const int64_t *times, const float *w,
                        const int i, const int KERNEL, const int COLUMNS) {
    V(vec) in[DW_FULL_COLUMNS];
    UNROLL for (int t = 0; t < COLUMNS - 1; t++) in[t] = V(load)(dw_column(x, times, t));
    UNROLL for (int kx = 0; kx < KERNEL; kx++) {
        in[kx + COLUMNS - 1] = V(load)(dw_column(x, times, kx + COLUMNS - 1));
        UNROLL for (int r = 0; r < 2; r++) {
            if (i - r < 0 || i - r >= KERNEL) continue;
            const V(vec) weight = V(load)(w + ((i - r) * KERNEL + kx) * V(lanes));
            UNROLL for (int t = 0; t < COLUMNS; t++) acc[r][t] = V(fma)(in[kx + t], weight, acc[r][t]);
        }
    }
}

INLINE void dw_full_run(const dw_tile *run, const int KERNEL, const int COLUMNS) {
    const dw_tile tile = *run, *c = &tile; /* which no store can alias */
    const int64_t block = c->stage->block, step = V(lanes) * (int64_t)sizeof(float);
    const float low = c->stage->low, high = c->stage->high;
    int64_t x_times[DW_FULL_TIMES], y_times[DW_FULL_TIMES];
    dw_times(x_times, c->x_pixel, (KERNEL + COLUMNS - 1) / 2);
    dw_times(y_times, c->y_pixel, COLUMNS / 2);
    for (int64_t i = 0; i < c->tiles; i++) {
        char *x[DW_FULL_ROWS], *y[2];
        UNROLL for (int r = 0; r < KERNEL + 1; r++) x[r] = (char *)(c->rows[r] + i * COLUMNS * c->x_pixel);
        UNROLL for (int r = 0; r < 2; r++) y[r] = (char *)(c->y + r * c->y_row + i * COLUMNS * c->y_pixel);
        const float *w = c->weights;
        for (int64_t left = c->channels; left > 0; left -= V(lanes), w += block) {
            V(vec) acc[2][DW_TILE_COLUMNS];
            const V(vec) bias = V(load)(w);
            UNROLL for (int t = 0; t < COLUMNS; t++) acc[0][t] = acc[1][t] = bias;
            UNROLL for (int r = 0; r < KERNEL + 1; r++) {
                dw_full_row(acc, x[r], x_times, w + V(lanes), r, KERNEL, COLUMNS);
                x[r] += step;
                OPAQUE(x[r]);
            }
            const V(vec) lowest = V(set1)(low), highest = V(set1)(high);
            UNROLL for (int r = 0; r < 2; r++) {
                UNROLL for (int t = 0; t < COLUMNS; t++)
                    V(store)(dw_column(y[r], y_times, t), V(min)(highest, V(max)(lowest, acc[r][t])));
                y[r] += step;
                OPAQUE(y[r]);
            }
        }
    }
}
