/* Depthwise convolution of few channels with stride 1: a dense row of the image is one vector of width x channels
 * floats, on which an output at p sees inputs at p + tap * channels, by loads that are not aligned.
 *
 * A strip of T vectors, each of as many whole pixels as fit, rolls down the image as in depthwise_roll.inc.h: an input
 * feeds the accumulators of KH output rows. Taller filters go down several times, 3 kernel rows each, then single ones;
 * what an output has so far waits in its place. In a strip at the edge of an image the first and the last vector see
 * padding in some lanes: their inputs become -0 and their weights 0, whose product changes no sum, not even the sign
 * of a zero. What a vector has beyond its pixels belongs to the next, which computes it to the same bits.
 *
 * T is DW_FLAT: with 16 registers 3 x 4 accumulators, 3 weights and an input. KH and EDGE are compile-time constants. */

enum { DW_FLAT_ROWS = 3 };

/* A tap of the first and of the last vector of a strip: floats from the row to a load inside of it, and which of its
 * lanes become which; the mask of those that are on the image is 3 vectors further. */
typedef struct dw_edge {
    int64_t x[2];
    const float *lanes[2];
} dw_edge;

typedef struct dw_flat {
    const dwc_dw_call *call;
    int64_t x, y; /* floats from a row to what the first vector sees with its first tap, and to its outputs */
    int64_t tap, step; /* floats from tap to tap, and from vector to vector */
    int last;          /* lanes of the last vector that are outputs of this strip */
    dw_edge edge[DWC_FLAT_TAPS];
} dw_flat;

/* KH kernel rows of one input row; `x` is what the first vector sees with its first tap. */
INLINE void V(flat_row)(V(vec) acc[][DW_FLAT], const dw_flat *s, const float *x, const float *w,
                        int64_t w_row, const int KH, const int EDGE) {
    const int64_t step = s->step, tap = s->tap;
    const dw_edge *edge = s->edge;
    const float *row = x - s->x, *const end = w + w_row;
    NO_UNROLL for (; w != end; w += V(lanes), x += tap, edge++) {
        V(vec) weight[DW_FLAT_ROWS];
        const float *here = x;
        UNROLL for (int k = 0; k < KH; k++) weight[k] = V(load)(w + k * w_row);
        UNROLL for (int t = 0; t < DW_FLAT; t++) {
            if (EDGE && (t == 0 || t == DW_FLAT - 1)) {
                const float *lanes = edge->lanes[t > 0];
                const V(ivec) live = (V(ivec))V(load)(lanes + 3 * V(lanes));
                const V(vec) v = V(spread)(V(load)(row + edge->x[t > 0]), lanes);
                const V(vec) in = (V(vec))(((V(ivec))v & live) | (~live & INT32_MIN));
                UNROLL for (int k = 0; k < KH; k++)
                    acc[k][t] = V(fma)(in, (V(vec))((V(ivec))weight[k] & live), acc[k][t]);
            } else {
                const V(vec) v = V(load)(here);
                UNROLL for (int k = 0; k < KH; k++) acc[k][t] = V(fma)(v, weight[k], acc[k][t]);
            }
            here += step;
            OPAQUE(here);
        }
    }
}

/* Kernel rows [ky, ky + KH) of output rows `first`, `first` + dilation and so on. */
INLINE void V(flat_rows)(const dw_flat *s, int64_t ky, int64_t first, const int KH, const int EDGE) {
    const dwc_dw_call *c = s->call;
    const dwc_depthwise_stage *stage = c->stage;
    const int64_t dilation = stage->window.dilation_h, w_row = stage->window.kernel_w * V(lanes);
    const int64_t step = s->step, x_row = dilation * c->x_row, y_row = dilation * c->y_row;
    const int64_t rows = dw_divide_up(c->row_end - first, dilation), ring = c->ring_rows * c->x_row;
    const float *w = stage->weights + V(lanes) + ky * w_row;
    const int finish = ky + KH == stage->window.kernel_h;
    const float bounds[2] = {finish ? stage->low : -INFINITY, finish ? stage->high : INFINITY};
    int64_t iy = first - c->pad_top + ky * dilation;
    int64_t left = c->ring_first + c->ring_rows - iy; /* rows to the end of the ring */
    const float *x = c->x + (iy - c->ring_first) * c->x_row + s->x;
    float *y = c->y + s->y + (first - c->row_begin) * c->y_row - (KH - 1) * y_row; /* of the row that ends */
    V(vec) acc[DW_FLAT_ROWS][DW_FLAT];
    const V(vec) bias = V(load)(stage->weights);
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
        if (ky > 0 && i <= rows - KH) {
            const float *begun = y + (KH - 1) * y_row;
            UNROLL for (int t = 0; t < DW_FLAT; t++, begun += step)
                acc[0][t] = EDGE && t == DW_FLAT - 1 ? V(load_n)(begun, s->last) : V(load)(begun);
        }
        if (left <= 0) {
            x -= ring;
            left += c->ring_rows;
        }
        if (LIKELY((uint64_t)iy < (uint64_t)c->in_h)) V(flat_row)(acc, s, x, w, w_row, KH, EDGE);
        x += x_row;
        iy += dilation;
        left -= dilation;
        if (LIKELY(i >= 0)) {
            float *out = y;
            UNROLL for (int t = 0; t < DW_FLAT; t++) {
                V(vec) v = acc[KH - 1][t];
                V(in_order)(&out, &v);
                v = V(min)(V(set1)(bounds[1]), V(max)(V(set1)(bounds[0]), v));
                if (EDGE && t == DW_FLAT - 1)
                    V(store_n)(out, v, s->last);
                else
                    V(store)(out, v);
                out += step;
            }
        }
        y += y_row;
    }
}

NOINLINE void dw_flat_1(const dw_flat *s, int64_t ky, int64_t first) { V(flat_rows)(s, ky, first, 1, 0); }
NOINLINE void dw_flat_3(const dw_flat *s, int64_t ky, int64_t first) { V(flat_rows)(s, ky, first, 3, 0); }
NOINLINE void dw_flat_edge_1(const dw_flat *s, int64_t ky, int64_t first) { V(flat_rows)(s, ky, first, 1, 1); }
NOINLINE void dw_flat_edge_3(const dw_flat *s, int64_t ky, int64_t first) { V(flat_rows)(s, ky, first, 3, 1); }

/* Where the first and the last vector of a strip load. `lanes` are indices of lanes, then masks. */
static void dw_flat_edges(dw_flat *s, const int32_t *lanes) {
    const dwc_dw_call *c = s->call;
    NO_UNROLL for (int side = 0; side < 2; side++) {
        int64_t x = s->x + side * (DW_FLAT - 1) * s->step;
        NO_UNROLL for (int64_t kx = 0; kx < c->stage->window.kernel_w; kx++, x += s->tap) {
            const int64_t inside = dw_clamp(x, 0, c->in_w * c->x_pixel - V(lanes));
            const int64_t shift = dw_clamp(x - inside, -V(lanes), V(lanes));
            s->edge[kx].x[side] = inside;
            s->edge[kx].lanes[side] = (const float *)(const void *)(lanes + V(lanes) + shift);
        }
    }
}

/* Columns [begin, end) in strips of `width`, evenly spread, with vectors `apart` pixels apart. */
static void dw_flat_columns(const dwc_dw_call *c, int64_t begin, int64_t end, int64_t width, int64_t apart) {
    const dwc_depthwise_stage *stage = c->stage;
    const dwconv_window *w = &stage->window;
    const int64_t C = stage->channels, inner = (DW_FLAT - 1) * apart, count = dw_divide_up(end - begin, width);
    const int64_t stop = dw_clamp(c->row_begin + w->dilation_h, 0, c->row_end);
    int32_t lanes[6 * V(lanes)]; /* lane i comes from i + shift, if that is one */
    NO_UNROLL for (int i = 0; i < 3 * V(lanes); i++) {
        lanes[i] = i % V(lanes);
        lanes[3 * V(lanes) + i] = i >= V(lanes) && i < 2 * V(lanes) ? -1 : 0;
    }
    dw_flat s = {.call = c, .tap = w->dilation_w * C, .step = apart * C, .last = (int)((width - inner) * C)};
    NO_UNROLL for (int64_t i = 0; i < count; i++) {
        const int64_t ox = count > 1 ? begin + i * (end - begin - width) / (count - 1) : begin;
        s.x = (ox - c->pad_left) * C;
        s.y = ox * C;
        const int edge = s.x < 0 || s.x + (w->kernel_w - 1) * s.tap + inner * C + V(lanes) > c->in_w * C;
        if (edge) dw_flat_edges(&s, lanes);
        for (int64_t ky = 0; ky < w->kernel_h;) {
            const int rows = w->kernel_h - ky < 3 ? 1 : 3;
            NO_UNROLL for (int64_t first = c->row_begin; first < stop; first++)
                (rows == 3 ? edge ? dw_flat_edge_3 : dw_flat_3 : edge ? dw_flat_edge_1 : dw_flat_1)(&s, ky, first);
            ky += rows;
        }
    }
    if (!LIKELY(stage->activation.kind == DWCONV_CLIP)) {
        const int64_t floats = (end - begin) * C, rest = floats % V(lanes), rows = c->row_end - c->row_begin;
        float *y = c->y + begin * C;
        V(dw_activate)(y, (int)(floats / V(lanes)), V(lanes), rows, c->y_row, V(lanes), &stage->activation);
        if (rest)
            V(dw_activate)(y + floats - rest, 1, V(lanes), rows, c->y_row, (int)rest, &stage->activation);
    }
}

/* Whole rows where all vectors of a strip but the first and the last are inside, as with 3x3 and 5x5. Of others the
 * columns inside, if they fill a strip. */
static void dw_flat_f32(const dwc_dw_call *c) {
    const dwc_depthwise_stage *stage = c->stage;
    const dwconv_window *w = &stage->window;
    const int64_t C = stage->channels, fit = V(lanes) / C, most = DW_FLAT * fit, out_w = c->out_w;
    /* More taps than a plan has this kernel for: those of a column that is seen as a row. */
    const int fits = w->kernel_w <= DWC_FLAT_TAPS;
    if (fits && c->x_pixel == C && c->y_pixel == C && c->in_w * C >= V(lanes) && out_w * C >= V(lanes)) {
        const int64_t width = out_w < most ? out_w : most;
        const int64_t apart = dw_divide_up(width - fit, DW_FLAT - 1);
        /* Columns in which a vector can begin, so that all its inputs and outputs are in their rows. */
        const int64_t low = c->pad_left;
        int64_t high = c->in_w - dw_divide_up(V(lanes), C) - (w->kernel_w - 1) * w->dilation_w + low;
        if (high > out_w - dw_divide_up(V(lanes), C)) high = out_w - dw_divide_up(V(lanes), C);
        if (apart >= low && out_w - width + (DW_FLAT - 2) * apart <= high && width > (DW_FLAT - 1) * apart) {
            dw_flat_columns(c, 0, out_w, width, apart);
            return;
        }
        if (high + fit - low >= most) {
            dw_flat_columns(c, low, high + fit, most, fit);
            dw_window(c, c->row_begin, c->row_end, 0, low);
            dw_window(c, c->row_begin, c->row_end, high + fit, out_w);
            return;
        }
    }
    stage->otherwise->depthwise(c);
}
