/* Depthwise convolution of few channels with stride 1: a dense row of the image is one vector of width x channels floats, on
 * which an output at p sees inputs at p + tap * channels, by loads that are not aligned.
 *
 * A tile of DW_FLAT vectors, each of as many whole pixels as fit, rolls down the image: an input row feeds the sums of KH
 * output rows, which move up by one. Taller filters go down several times, what an output has so far waits in its place.
 * At the edge of an image the first and the last vector see padding in some lanes: their inputs become -0 and their weights
 * 0, whose product changes no sum, not even the sign of a zero. What a vector has beyond its pixels belongs to the next,
 * which computes it to the same bits. KH and EDGE are compile-time constants. */

enum { DW_FLAT_ROWS = 3 };

/* KH kernel rows of one input row. */
INLINE void V(flat_row)(V(vec) acc[][DW_FLAT], const dwc_dw_run *c, const char *row, const float *w,
                        const int KH, const int EDGE) {
    const int64_t step = c->x_out, tap = c->x_tap, w_row = c->kernel_w * V(lanes);
    const char *x = row + c->x;
    const float *const end = w + w_row;
    int64_t k = 0;
    NO_UNROLL for (; w != end; w += V(lanes), x += tap, k++) {
        V(vec) weight[DW_FLAT_ROWS];
        const char *here = x;
        UNROLL for (int ky = 0; ky < KH; ky++) weight[ky] = V(load)(w + ky * w_row);
        UNROLL for (int t = 0; t < DW_FLAT; t++) {
            if (EDGE && (t == 0 || t == DW_FLAT - 1)) {
                const float *lanes = (const float *)(const void *)c->flat->lanes[k][t > 0];
                const V(ivec) live = (V(ivec))V(load)(lanes + 3 * V(lanes));
                const V(vec) v = V(spread)(V(load)((const float *)(row + c->flat->x[k][t > 0])), (V(ivec))V(load)(lanes));
                const V(vec) in = (V(vec))(((V(ivec))v & live) | (~live & INT32_MIN));
                UNROLL for (int ky = 0; ky < KH; ky++)
                    acc[ky][t] = V(fma)(in, (V(vec))((V(ivec))weight[ky] & live), acc[ky][t]);
            } else {
                const V(vec) v = V(load)((const float *)here);
                UNROLL for (int ky = 0; ky < KH; ky++) acc[ky][t] = V(fma)(v, weight[ky], acc[ky][t]);
            }
            here += step;
            OPAQUE(here);
        }
    }
}

INLINE void V(flat_rows)(const dwc_dw_run *run, const int KH, const int EDGE) {
    const dwc_dw_run own = *run, *c = &own;
    const float *w = c->weights + V(lanes) * (1 + c->kernel_row * c->kernel_w);
    const int64_t rows = c->rows, step = c->y_out;
    const char *const *in = c->in;
    char *y = c->y - (KH - 1) * c->y_row; /* of the row that ends */
    V(vec) acc[DW_FLAT_ROWS][DW_FLAT];
    const V(vec) bias = V(load)(c->weights);
    UNROLL for (int k = 0; k < KH; k++) {
        UNROLL for (int t = 0; t < DW_FLAT; t++) acc[k][t] = bias;
    }
    /* KH - 1 rows at either end are computed in part and not stored. */
    NO_UNROLL for (int64_t i = 1 - KH; i < rows; i++) {
        OPAQUE(i); /* or gcc makes a loop of its own for the rows that are not stored */
        UNROLL for (int t = 0; t < DW_FLAT; t++) {
            UNROLL for (int k = KH - 1; k > 0; k--) acc[k][t] = acc[k - 1][t];
            acc[0][t] = bias;
        }
        if (c->resumes && i <= rows - KH) {
            char *begun = y + (KH - 1) * c->y_row;
            UNROLL for (int t = 0; t < DW_FLAT; t++, begun += step)
                acc[0][t] = EDGE && t == DW_FLAT - 1 ? V(load_n)((float *)begun, c->columns) : V(load)((float *)begun);
        }
        const char *row = *in++;
        if (LIKELY(row != NULL)) V(flat_row)(acc, c, row, w, KH, EDGE);
        if (LIKELY(i >= 0)) {
            const V(vec) low = V(set1)(c->low), high = V(set1)(c->high);
            char *out = y;
            UNROLL for (int t = 0; t < DW_FLAT; t++, out += step)
                V(dw_put)(out, acc[KH - 1][t], low, high, c->columns, !(EDGE && t == DW_FLAT - 1));
        }
        y += c->y_row;
    }
}

INLINE void dw_flat_tiles(const dwc_dw_run *run, const int KH) {
    dwc_dw_run tile = *run;
    for (; tile.tiles > 0; tile.tiles--, tile.x += tile.x_tile, tile.y += tile.y_tile) V(flat_rows)(&tile, KH, 0);
}

NOINLINE void dw_flat_inner_1(const dwc_dw_run *c) { dw_flat_tiles(c, 1); }
NOINLINE void dw_flat_inner_3(const dwc_dw_run *c) { dw_flat_tiles(c, 3); }
NOINLINE void dw_flat_edge_1(const dwc_dw_run *c) { V(flat_rows)(c, 1, 1); }
NOINLINE void dw_flat_edge_3(const dwc_dw_run *c) { V(flat_rows)(c, 3, 1); }
static void dw_flat_1(const dwc_dw_run *c) { (c->flat ? dw_flat_edge_1 : dw_flat_inner_1)(c); }
static void dw_flat_3(const dwc_dw_run *c) { (c->flat ? dw_flat_edge_3 : dw_flat_inner_3)(c); }

static void dw_flat_activate(float *y, int64_t floats, int64_t rows, int64_t row_step,
                             const dwconv_activation *activation) {
    const int64_t rest = floats % V(lanes);
    V(dw_activate)(y, (int)(floats / V(lanes)), V(lanes), rows, row_step, V(lanes), activation);
    if (rest) V(dw_activate)(y + floats - rest, 1, V(lanes), rows, row_step, (int)rest, activation);
}

#define DW_FEW_CHANNELS {DW_FLAT, dw_flat_1, dw_flat_3, dw_flat_activate}
