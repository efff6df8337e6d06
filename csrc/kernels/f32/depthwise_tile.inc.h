/* The register tile of small square depthwise kernels: ROWS x COLUMNS outputs of one vector of channels.
 * Included once per suffix; KERNEL, STRIDE, ROWS, COLUMNS and EDGE are compile-time constants.
 *
 * Inputs are stationary in registers: along a kernel row every input column is loaded once, and weights
 * are streamed, each load serving COLUMNS multiply-adds. One input row feeds all output rows it belongs
 * to. That is 0.25 to 0.45 loads per multiply-add, where one would already be the limit.
 * Columns of padding are skipped by tests, which only tiles at an EDGE of the image have: they cost 2 to 5 %. */

/* One input row for the output rows [R_BEGIN, R_END); `w` is the kernel row that output row 0 would see it with. In
 * place of a column of padding its neighbour is loaded, for nothing: a register that is set on one way only costs others. */
INLINE void V(dw_input_row)(V(vec) acc[][DW_TILE_COLUMNS], const float *x, const dw_tile *c, const float *w,
                            int lanes, const int R_BEGIN, const int R_END, const int KERNEL, const int STRIDE,
                            const int COLUMNS, const int EDGE, const int WHOLE, const int BLOCK_LANES) {
    const int columns = (COLUMNS - 1) * STRIDE + KERNEL, edge = EDGE ? (KERNEL - 1) / 2 : 0;
    const int64_t step = STRIDE * c->x_pixel;
    unsigned live = c->live;
    OPAQUE(live); /* or the compiler would make a loop of its own for every mask */
#define DW_LIVE(J) (((J) >= edge && (J) < columns - edge) || (live >> (J) & 1))
    V(vec) in[24];
    const float *next[2];
    UNROLL for (int s = 0; s < STRIDE; s++) {
        next[s] = x + (EDGE ? c->first[s] : s * c->x_pixel);
        OPAQUE(next[s]);
    }
    UNROLL for (int kx = 0; kx < KERNEL; kx++) {
        UNROLL for (int t = 0; t < COLUMNS; t++) {
            const int j = t * STRIDE + kx;
            if (kx >= STRIDE && t < COLUMNS - 1) continue;
            in[j] = WHOLE ? V(load)(next[kx % STRIDE]) : V(load_n)(next[kx % STRIDE], lanes);
            if (j + STRIDE < columns) next[kx % STRIDE] += DW_LIVE(j) && DW_LIVE(j + STRIDE) ? step : 0;
            OPAQUE(next[kx % STRIDE]);
        }
        UNROLL for (int r = R_BEGIN; r < R_END; r++) {
            const V(vec) weight = V(load)(w + (kx - r * STRIDE * KERNEL) * BLOCK_LANES);
            UNROLL for (int t = 0; t < COLUMNS; t++) {
                const int j = t * STRIDE + kx;
                if (LIKELY(DW_LIVE(j))) acc[r][t] = V(fma)(in[j], weight, acc[r][t]);
            }
        }
    }
#undef DW_LIVE
}

INLINE void V(dw_tile_vector)(const dw_tile *c, int64_t x_offset, float *y, const float *w, int lanes, const int KERNEL,
                              const int STRIDE, const int ROWS, const int COLUMNS, const int EDGE,
                              const int WHOLE, const int BLOCK_LANES) {
    const int head = (ROWS - 1) * STRIDE; /* input rows that the first (last) of two output rows has for itself */
    V(vec) acc[DW_TILE_ROWS][DW_TILE_COLUMNS];
    const V(vec) bias = V(load)(w);
    const float *const *rows = c->rows;
    w += BLOCK_LANES;
    UNROLL for (int r = 0; r < ROWS; r++) {
        UNROLL for (int t = 0; t < COLUMNS; t++) acc[r][t] = bias;
    }
#define DW_INPUT_ROW(R_BEGIN, R_END)                                                                                 \
    if (*rows)                                                                                                       \
        V(dw_input_row)(acc, *rows + x_offset, c, w, lanes, R_BEGIN, R_END, KERNEL, STRIDE, COLUMNS, EDGE,  \
                        WHOLE, BLOCK_LANES);                                                                  \
    rows++;                                                                                                          \
    w += KERNEL * BLOCK_LANES;                                                                                       \
    OPAQUE(w);
    NO_UNROLL for (int i = 0; i < head; i++) { DW_INPUT_ROW(0, 1) }
    NO_UNROLL for (int i = head; i < KERNEL; i++) { DW_INPUT_ROW(0, ROWS) }
    NO_UNROLL for (int i = 0; i < head; i++) { DW_INPUT_ROW(ROWS - 1, ROWS) }
#undef DW_INPUT_ROW
    const dwc_depthwise_stage *stage = c->stage;
    const V(vec) low = V(set1)(stage->low), high = V(set1)(stage->high);
    const int64_t y_pixel = c->y_pixel; /* stores of vectors may alias anything: it would be read again after each */
    UNROLL for (int r = 0; r < ROWS; r++) {
        if (r >= c->row_count) break;
        float *out = y + r * c->y_row;
        UNROLL for (int t = 0; t < COLUMNS; t++) {
            V(in_order)(&out, &acc[r][t]);
            const V(vec) v = V(min)(high, V(max)(low, acc[r][t]));
            if (WHOLE)
                V(store)(out, v);
            else
                V(store_n)(out, v, lanes);
            out += y_pixel;
        }
    }
}
