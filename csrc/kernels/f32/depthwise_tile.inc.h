/* Depthwise convolution with a small square window: two output rows x COLUMNS outputs of one vector of channels.
 *
 * Along an input row every column is loaded once and feeds the outputs of both rows that see it. What stays in registers
 * follows from how many there are: the weights of two kernel rows, where they fit beside the sums, else the inputs that taps
 * still need, with weights as operands in memory. All outputs of a network add up kernel rows, then kernel columns.
 *
 * EDGE says what a tile knows of padding: nothing in its columns, all that a window can see on the LEFT or on the RIGHT, or
 * anything in the outermost columns, which are TESTED one by one. Rows of padding are tested for.
 * Included once per suffix; all arguments in capitals are compile-time constants. */

/* Column j of a row at `x`; times[k] are the bytes of 2 k + 1 columns. Addresses may have 1, 2, 4 and 8 times a distance,
 * which makes all others. */
INLINE char *V(column)(char *x, const int64_t *times, const int j) {
    const int shift = j ? __builtin_ctz((unsigned)j) : 0;
    return j ? x + times[j >> shift >> 1] * (1 << shift) : x;
}

INLINE void V(distances)(int64_t *times, int64_t step, const int count) {
    UNROLL for (int k = 0; k < count; k++) {
        times[k] = (2 * k + 1) * step;
        OPAQUE(times[k]); /* or the compiler has registers for all columns, too many */
    }
}

/* The input of a vector of outputs: as many; or those of its groups, spread over the lanes, of which DW_FEW are four. */
INLINE V(vec) V(tile_input)(const char *x, int lanes, V(ivec) spread, const int SPREAD, const int FULL) {
    if (SPREAD == DW_FEW) return V(spread_few)((const float *)x, spread);
    const V(vec) v = FULL ? V(load)((const float *)x) : V(load_n)((const float *)x, lanes);
    return SPREAD ? V(spread)(v, spread) : v;
}

#define DW_OUTERMOST(J) ((J) < edge || (J) >= (COLUMNS - 1) * STRIDE + KERNEL - edge)

/* An input row for the output rows [R_BEGIN, R_END), weights in registers; `w` is the kernel row that output row 0 would see
 * it with. */
INLINE void V(tile_row_weights)(V(vec) acc[DW_TILE_ROWS][DWC_MOST_COLUMNS], char *x, int64_t step, const float *w,
                                unsigned live, V(ivec) spread, int lanes, const int R_BEGIN, const int R_END,
                                const int KERNEL, const int STRIDE, const int COLUMNS, const int EDGE,
                                const int SPREAD, const int FULL, const int BLOCK) {
    const int edge = (KERNEL - 1) / 2, begin = EDGE == DW_LEFT ? edge : 0;
    const int end = (COLUMNS - 1) * STRIDE + KERNEL - (EDGE == DW_RIGHT ? edge : 0);
    V(vec) weight[DW_TILE_ROWS][DW_TILE_KERNEL];
    UNROLL for (int r = R_BEGIN; r < R_END; r++) {
        UNROLL for (int k = 0; k < KERNEL; k++) weight[r][k] = V(load)(w + (k - r * STRIDE * KERNEL) * BLOCK);
    }
    if (EDGE == DW_TESTED) OPAQUE(live); /* or the compiler makes a loop of its own for every mask */
    x += begin * step;
    UNROLL for (int j = begin; j < end; j++) {
        OPAQUE(x);
        if (EDGE == DW_TESTED && DW_OUTERMOST(j) && !LIKELY(live >> j & 1)) {
            x += step;
            continue;
        }
        const V(vec) v = V(tile_input)(x, lanes, spread, SPREAD, FULL);
        x += step;
        UNROLL for (int t = 0; t < COLUMNS; t++) {
            const int k = j - t * STRIDE;
            if (k < 0 || k >= KERNEL) continue;
            UNROLL for (int r = R_BEGIN; r < R_END; r++) acc[r][t] = V(fma)(v, weight[r][k], acc[r][t]);
        }
    }
}

/* The same with inputs in registers, as far as these go. Beyond 3x3 some are operands in memory, read once for each output
 * row: with stride 2 those of odd taps, those that are tested, and with five columns the one that only the last taps see.
 * With five columns the compiler is kept from changing the order too. */
INLINE void V(tile_row_inputs)(V(vec) acc[DW_TILE_ROWS][DWC_MOST_COLUMNS], char *x, const int64_t *times,
                               const float *w, unsigned live, V(ivec) spread, int lanes, const int R_BEGIN,
                               const int R_END, const int KERNEL, const int STRIDE, const int COLUMNS, const int EDGE,
                               const int SPREAD, const int FULL, const int BLOCK) {
    const int edge = (KERNEL - 1) / 2, begin = EDGE == DW_LEFT ? edge : 0;
    const int end = (COLUMNS - 1) * STRIDE + KERNEL - (EDGE == DW_RIGHT ? edge : 0);
    V(vec) in[DW_TILE_INPUTS];
    if (EDGE == DW_TESTED) OPAQUE(live);
#define DW_IS_TESTED(J) (EDGE == DW_TESTED && DW_OUTERMOST(J))
    UNROLL for (int k = 0; k < KERNEL; k++) {
        UNROLL for (int r = R_BEGIN; r < R_END; r++) {
            const int odd = KERNEL > 3 && STRIDE == 2 && k % 2;
            const int last = COLUMNS > 4 && KERNEL > 3 && k == KERNEL - 1 && r > R_BEGIN;
            char *from = x;
            if (odd || last) __asm__ volatile("" : "+r"(from)); /* or the compiler keeps what it loads */
            UNROLL for (int t = 0; t < COLUMNS; t++) {
                const int j = t * STRIDE + k;
                if (odd || DW_IS_TESTED(j) || r > R_BEGIN || j < begin || j >= end || (k >= STRIDE && t < COLUMNS - 1)) continue;
                in[j] = V(tile_input)(V(column)(x, times, j), lanes, spread, SPREAD, FULL);
            }
            const V(vec) weight = V(load)(w + (k - r * STRIDE * KERNEL) * BLOCK);
            UNROLL for (int t = 0; t < COLUMNS; t++) {
                const int j = t * STRIDE + k;
                if (j < begin || j >= end || (DW_IS_TESTED(j) && !LIKELY(live >> j & 1))) continue;
                const int operand = odd || DW_IS_TESTED(j) || (last && t == COLUMNS - 1);
                const V(vec) v = operand ? V(tile_input)(V(column)(from, times, j), lanes, spread, SPREAD, FULL) : in[j];
                acc[r][t] = V(fma)(v, weight, acc[r][t]);
            }
#ifdef HOLD_FIVE /* with four there are registers to spare */
            if (COLUMNS == 5) HOLD_FIVE(acc[r]);
#endif
        }
    }
#undef DW_IS_TESTED
}

/* Asks for the columns of a row that this tile is the first to see. */
INLINE void V(tile_ask)(const char *x, int64_t step, const int columns) {
    UNROLL for (int j = 0; j < columns; j++, x += step) __builtin_prefetch(x, 0, 2);
}

/* One vector of channels: `x` are its input rows, `offset` bytes from there, `y` its output rows. */
INLINE void V(tile_vector)(const dw_tile_steps *c, char **x, int64_t offset, int64_t next, char **y,
                           const float *weights, V(ivec) spread, int in_lanes, int lanes, const int KERNEL,
                           const int STRIDE, const int COLUMNS, const int EDGE, const int SPREAD,
                           const int FULL, const int BLOCK) {
    const int ROWS = STRIDE + KERNEL, STAY = DW_WEIGHTS_STAY(KERNEL, STRIDE, COLUMNS);
    const int PIECE = KERNEL == 3 && !SPREAD; /* whether all rows are one piece of code */
    V(vec) acc[DW_TILE_ROWS][DWC_MOST_COLUMNS];
    const V(vec) bias = V(load)(weights);
    UNROLL for (int t = 0; t < COLUMNS; t++) acc[0][t] = acc[1][t] = bias;
    const float *w = weights + BLOCK; /* kernel row that output row 0 sees input row r with */
/* An input row; of groups, one of their inputs. */
#define DW_ROW(FROM, W, INPUT, R_BEGIN, R_END)                                                                     \
    if (STAY)                                                                                                      \
        V(tile_row_weights)(acc, FROM, c->step, W, c->live, INPUT, in_lanes, R_BEGIN, R_END, KERNEL,               \
                            STRIDE, COLUMNS, EDGE, SPREAD, FULL, BLOCK);                                           \
    else                                                                                                           \
        V(tile_row_inputs)(acc, FROM, c->x_times, W, c->live, INPUT, in_lanes, R_BEGIN, R_END, KERNEL,             \
                           STRIDE, COLUMNS, EDGE, SPREAD, FULL, BLOCK);
/* The input rows that the output rows [R_BEGIN, R_END) see. */
#define DW_ROWS_BETWEEN(FROM, TO, R_BEGIN, R_END)                                                                  \
    for (int r = FROM; r < TO; r++) {                                                                              \
        if (PIECE && (STAY || COLUMNS > 4)) OPAQUE(w); /* there are no registers for the weights of two rows */    \
        if (c->seen[r]) {                                                                                          \
            if (STAY && !SPREAD && r >= KERNEL - STRIDE && !LIKELY(!c->ahead))                                     \
                V(tile_ask)(x[r] + offset + c->ahead, c->step, COLUMNS * STRIDE);                                  \
            if (SPREAD == DW_SOME) {                                                                               \
                char *from = x[r] + offset;                                                                        \
                const float *part = w;                                                                             \
                V(ivec) input = spread;                                                                            \
                NO_UNROLL for (int64_t j = c->group_inputs; j > 0; j--) {                                          \
                    OPAQUE(from); /* or the compiler keeps what it loads, on the stack */                          \
                    DW_ROW(from, part, input, R_BEGIN, R_END)                                                      \
                    part += KERNEL * KERNEL * BLOCK;                                                               \
                    input += 1;                                                                                    \
                }                                                                                                  \
            } else {                                                                                               \
                DW_ROW(x[r] + offset, w, spread, R_BEGIN, R_END)                                                   \
            }                                                                                                      \
        }                                                                                                          \
        w += KERNEL * BLOCK;                                                                                       \
        if (PIECE) {                                                                                               \
            x[r] += next;                                                                                          \
            OPAQUE(x[r]);                                                                                          \
        } else {                                                                                                   \
            OPAQUE(w);                                                                                             \
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
    }
#undef DW_ROWS_BETWEEN
#undef DW_ROW
    const V(vec) low = V(set1)(c->low), high = V(set1)(c->high);
    UNROLL for (int r = 0; r < DW_TILE_ROWS; r++) {
        if (r >= c->rows) break;
        if (FULL && (int)V(lanes) == (int)DWC_LINE_FLOATS && !LIKELY(!c->streams)) {
            UNROLL for (int t = 0; t < COLUMNS; t++)
                V(stream)((float *)V(column)(y[r], c->y_times, t), V(min)(high, V(max)(low, acc[r][t])));
        } else {
            UNROLL for (int t = 0; t < COLUMNS; t++)
                V(dw_put)(V(column)(y[r], c->y_times, t), acc[r][t], low, high, lanes, FULL);
        }
        y[r] += next;
        OPAQUE(y[r]);
    }
}
