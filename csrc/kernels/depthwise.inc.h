/* Depthwise convolution: tiles of small square kernels where an instruction set names them, and the
 * general kernel for everything else, the tiles' leftover columns included. All of them add up the taps
 * of an output in the same order, so which one computes an output cannot be seen in its bits.
 *
 * Before: SUFFIX of whole vectors, TAIL_SUFFIX of the vectors that finish a row of channels. */

/* The input row `iy` of a call, NULL where it is padding. */
INLINE const float *dw_row(const dwc_dw_call *c, int64_t iy) {
    if (iy < 0 || iy >= c->in_h) return NULL;
    int64_t slot = iy - c->ring_first;
    if (slot >= c->ring_rows) slot -= c->ring_rows;
    return c->x + slot * c->x_row;
}

/* Quotient of positive numbers, rounded up; a division takes longer than the taps of a small filter. */
INLINE int64_t dw_divide_up(int64_t a, int64_t b) { return b == 1 ? a : (a + b - 1) / b; }

/* First and one past the last kernel position that reads inside [0, size). */
INLINE void dw_valid(int64_t origin, int64_t kernel, int64_t dilation, int64_t size, int64_t *begin,
                     int64_t *end) {
    *begin = origin < 0 ? dw_divide_up(-origin, dilation) : 0;
    *end = kernel;
    if (origin + (kernel - 1) * dilation >= size)
        *end = origin >= size ? 0 : dw_divide_up(size - origin, dilation);
    if (*begin > *end) *begin = *end;
}

/* ---- the general kernel ------------------------------------------------------------------- */

/* Outputs of one row. Checked: taps outside the image are skipped one by one; else there are none. */
typedef struct dw_run {
    const dwc_dw_call *call;
    int64_t ix; /* input column of the first output's first tap */
    int64_t oy;
    int checked;
    int64_t x_step, y_step; /* floats from output to output */
    float *y;               /* first output, channel 0 */
    int64_t ky_begin, ky_end;
    int64_t channel_begin, channel_end;
} dw_run;

enum { DW_RUN = 8 }; /* outputs per tile: 1 + 1/8 loads per multiply-add, the load port's limit */

INLINE void V(dw_general)(const dw_run *r, int64_t from, int64_t channel, int lanes, const int T,
                          const int SPREAD, const int CHECKED, const int WHOLE) {
    const dwc_dw_call *c = r->call;
    const dwc_depthwise_stage *s = c->stage;
    const dwconv_window *win = &s->window;
    const float *w = s->weights + channel / V(lanes) * s->block;
    int64_t in_channel = channel;
    int in_lanes = lanes;
    const float *spread = NULL;
    V(vec) acc[DW_RUN];
    UNROLL for (int t = 0; t < T; t++) acc[t] = V(load)(w);
    w += V(lanes);
    if (SPREAD) {
        spread = w;
        w += V(lanes);
        in_channel = channel / s->multiplier;
        in_lanes = (int)((channel + lanes - 1) / s->multiplier - in_channel + 1);
    }
    const int64_t tap = win->dilation_w * c->x_pixel, step = r->x_step, stride = win->stride_w;
    const int64_t ix = r->ix + from * stride;
    const uint64_t in_w = (uint64_t)c->in_w;
    int64_t kx_begin = 0, kx_end = win->kernel_w, unused;
    if (CHECKED) { /* the kernel columns that any of the outputs sees */
        dw_valid(ix + (T - 1) * stride, win->kernel_w, win->dilation_w, c->in_w, &kx_begin, &unused);
        dw_valid(ix, win->kernel_w, win->dilation_w, c->in_w, &unused, &kx_end);
    }
    const int64_t offset = r->ix * c->x_pixel + from * step + in_channel + kx_begin * tap;
    for (int64_t ky = r->ky_begin; ky < r->ky_end; ky++) {
        const float *x = dw_row(c, r->oy * win->stride_h - c->pad_top + ky * win->dilation_h) + offset;
        const float *k = w + (ky * win->kernel_w + kx_begin) * V(lanes);
        int64_t column = ix + kx_begin * win->dilation_w;
        NO_UNROLL for (int64_t kx = kx_begin; kx < kx_end; kx++) {
            const V(vec) weight = V(load)(k);
            const float *p = x;
            UNROLL for (int t = 0; t < T; t++) {
                if (!CHECKED || (uint64_t)(column + t * stride) < in_w) {
                    const float *q = p + t % 3 * step;
                    V(vec) v = WHOLE && !SPREAD ? V(load)(q) : V(load_n)(q, in_lanes);
                    if (SPREAD) v = V(spread)(v, spread);
                    acc[t] = V(fma)(v, weight, acc[t]);
                }
                if (t % 3 == 2) p += 3 * step;
            }
            x += tap;
            k += V(lanes);
            column += win->dilation_w;
        }
    }
    float *y = r->y + from * r->y_step + channel;
    if (s->activation.kind == DWCONV_CLIP) {
        const V(vec) low = V(set1)(s->activation.a), high = V(set1)(s->activation.b);
        UNROLL for (int t = 0; t < T; t++) {
            const V(vec) v = V(min)(high, V(max)(low, acc[t]));
            OPAQUE(y);
            if (WHOLE)
                V(store)(y, v);
            else
                V(store_n)(y, v, lanes);
            y += r->y_step;
        }
        return;
    }
    float results[DW_RUN][V(lanes)];
    UNROLL for (int t = 0; t < T; t++) V(store)(results[t], acc[t]);
    V(finish)(results[0], T, y, r->y_step, lanes, &s->activation, NULL, 0);
}

INLINE void V(dw_general_channels)(const dw_run *r, int64_t from, const int T, const int SPREAD, const int CHECKED) {
    int64_t channel = r->channel_begin;
    for (; channel + V(lanes) <= r->channel_end; channel += V(lanes))
        V(dw_general)(r, from, channel, V(lanes), T, SPREAD, CHECKED, 1);
    if (channel < r->channel_end)
        V(dw_general)(r, from, channel, (int)(r->channel_end - channel), T, SPREAD, CHECKED, 0);
}

#define DW_GENERAL(T, SPREAD, CHECKED)                                                           \
    NOINLINE void dw_general_##T##_##SPREAD##_##CHECKED(const dw_run *r, int64_t from) {         \
        V(dw_general_channels)(r, from, T, SPREAD, CHECKED);                                     \
    }
#define DW_GENERALS(SPREAD, CHECKED)                                                             \
    DW_GENERAL(1, SPREAD, CHECKED) DW_GENERAL(2, SPREAD, CHECKED) DW_GENERAL(3, SPREAD, CHECKED) \
    DW_GENERAL(4, SPREAD, CHECKED) DW_GENERAL(5, SPREAD, CHECKED) DW_GENERAL(6, SPREAD, CHECKED) \
    DW_GENERAL(7, SPREAD, CHECKED) DW_GENERAL(8, SPREAD, CHECKED)
#define DW_NAMES(SPREAD, CHECKED)                                                                \
    {NULL, dw_general_1_##SPREAD##_##CHECKED, dw_general_2_##SPREAD##_##CHECKED,                 \
     dw_general_3_##SPREAD##_##CHECKED, dw_general_4_##SPREAD##_##CHECKED,                       \
     dw_general_5_##SPREAD##_##CHECKED, dw_general_6_##SPREAD##_##CHECKED,                       \
     dw_general_7_##SPREAD##_##CHECKED, dw_general_8_##SPREAD##_##CHECKED}
DW_GENERALS(0, 0)
DW_GENERALS(0, 1)
DW_GENERALS(1, 0)
DW_GENERALS(1, 1)

static void dw_run_outputs(const dw_run *r, int64_t count) {
    static void (*const kernels[2][2][DW_RUN + 1])(const dw_run *, int64_t) = {{DW_NAMES(0, 0), DW_NAMES(0, 1)},
                                                                               {DW_NAMES(1, 0), DW_NAMES(1, 1)}};
    const int spread = r->call->stage->multiplier > 1;
    int64_t tiles = (count + DW_RUN - 1) / DW_RUN;
    for (int64_t from = 0; from < count; tiles--) {
        const int64_t n = (count - from + tiles - 1) / tiles; /* near-equal parts instead of a remainder */
        kernels[spread][r->checked][n](r, from);
        from += n;
    }
}

/* Outputs [ox, ox + count) of row oy. Where channels do not fill vectors and pixels are dense, `group` pixels
 * side by side are treated as one pixel of many channels. */
static void dw_general_span(dw_run *r, int64_t ox, int64_t count) {
    const dwc_dw_call *c = r->call;
    const dwc_depthwise_stage *s = c->stage;
    float *y = c->y + (r->oy - c->row_begin) * c->y_row + ox * c->y_pixel;
    const int64_t g = s->group;
    r->ix = ox * s->window.stride_w - c->pad_left;
    r->y = y;
    if (g > 1 && !r->checked && count >= g && c->x_pixel == s->channels && c->y_pixel == s->channels) {
        r->x_step = r->y_step = g * s->channels;
        r->channel_begin = 0;
        r->channel_end = g * s->channels;
        dw_run_outputs(r, count / g);
        if (count % g == 0) return;
        r->ix += count - g; /* the last group overlaps the one before */
        r->y = y + (count - g) * c->y_pixel;
        dw_run_outputs(r, 1);
        return;
    }
    r->x_step = s->window.stride_w * c->x_pixel;
    r->y_step = c->y_pixel;
    r->channel_begin = c->channel_begin;
    r->channel_end = c->channel_end;
    dw_run_outputs(r, count);
}

INLINE int64_t dw_clamp(int64_t n, int64_t low, int64_t high) { return n < low ? low : n > high ? high : n; }

/* Output columns [ox, ox_end) of one row: those that see padding at the left, none, at the right. */
static void dw_general_row(const dwc_dw_call *c, int64_t oy, int64_t ox, int64_t ox_end) {
    const dwconv_window *w = &c->stage->window;
    dw_run r = {.call = c, .oy = oy};
    dw_valid(oy * w->stride_h - c->pad_top, w->kernel_h, w->dilation_h, c->in_h, &r.ky_begin, &r.ky_end);
    const int64_t reach = c->in_w + c->pad_left - (w->kernel_w - 1) * w->dilation_w - 1; /* of the last inner tap */
    const int64_t inner = dw_clamp((c->pad_left + w->stride_w - 1) / w->stride_w, ox, ox_end);
    const int64_t inner_end = dw_clamp(reach < 0 ? 0 : reach / w->stride_w + 1, inner, ox_end);
    r.checked = 1;
    if (ox < inner) dw_general_span(&r, ox, inner - ox);
    if (inner_end < ox_end) dw_general_span(&r, inner_end, ox_end - inner_end);
    r.checked = 0;
    if (inner < inner_end) dw_general_span(&r, inner, inner_end - inner);
}

static void dw_general_f32(const dwc_dw_call *c) {
    for (int64_t oy = c->row_begin; oy < c->row_end; oy++) dw_general_row(c, oy, 0, c->out_w);
}

/* ---- tiles -------------------------------------------------------------------------------- */

#define TAIL(name) PASTE(name, TAIL_SUFFIX)

INLINE void dw_tile_run(const dw_tile *c, const int KERNEL, const int STRIDE, const int ROWS, const int COLUMNS,
                        const int LEFT, const int RIGHT) {
    for (int64_t i = 0; i < c->tiles; i++) {
        const int64_t x = i * COLUMNS * STRIDE * c->x_pixel;
        float *y = c->y + i * COLUMNS * c->y_pixel;
        const float *w = c->weights;
        int64_t channel = 0;
        for (; channel + V(lanes) <= c->channels; channel += V(lanes), w += c->block)
            V(dw_tile_vector)(c, x + channel, y + channel, w, V(lanes), KERNEL, STRIDE, ROWS, COLUMNS, LEFT, RIGHT, 1,
                              V(lanes));
        for (; channel < c->channels; channel += TAIL(lanes), w += TAIL(lanes)) {
            const int64_t left = c->channels - channel;
            TAIL(dw_tile_vector)(c, x + channel, y + channel, w, left < TAIL(lanes) ? (int)left : TAIL(lanes), KERNEL,
                                 STRIDE, ROWS, COLUMNS, LEFT, RIGHT, 0, V(lanes));
        }
    }
}

typedef void (*dw_tile_function)(const dw_tile *);

/* What a tile needs to know of itself at run time. tiles[left][right]: 0 for no padding, 1 for
 * (KERNEL - 1) / 2 columns, 2 for one less (the short side of "same" padding at stride 2). */
typedef struct dw_shape {
    int kernel, stride, rows, columns;
    dw_tile_function tiles[3][3];
} dw_shape;

#define DW_TILE(K, S, R, T, LEFT, RIGHT)                                       \
    NOINLINE void dw_tile_##K##_##S##_##LEFT##_##RIGHT(const dw_tile *c) {     \
        enum { side_0 = 0, side_1 = (K - 1) / 2, side_2 = (K - 1) / 2 - 1 };   \
        dw_tile_run(c, K, S, R, T, side_##LEFT, side_##RIGHT);                 \
    }

#define DW_SHAPE_OF(K, S, R, T, ...)                                           \
    static const dw_shape dw_shape_##K##_##S = {K, S, R, T, {__VA_ARGS__}};    \
    static void dw_##K##_##S(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_##K##_##S); }

/* The padding of both sides is (KERNEL - 1) / 2 or none. */
#define DW_SHAPE(K, S, R, T)                                                                                     \
    DW_TILE(K, S, R, T, 0, 0) DW_TILE(K, S, R, T, 0, 1) DW_TILE(K, S, R, T, 1, 0) DW_TILE(K, S, R, T, 1, 1)     \
    DW_SHAPE_OF(K, S, R, T, {dw_tile_##K##_##S##_0_0, dw_tile_##K##_##S##_0_1},                                  \
                {dw_tile_##K##_##S##_1_0, dw_tile_##K##_##S##_1_1})

/* The same with the short side, for stride 2 and kernels above 3 (whose short side is not empty). */
#define DW_SHAPE_SHORT(K, S, R, T)                                                                               \
    DW_TILE(K, S, R, T, 0, 0) DW_TILE(K, S, R, T, 0, 1) DW_TILE(K, S, R, T, 0, 2) DW_TILE(K, S, R, T, 1, 0)     \
    DW_TILE(K, S, R, T, 1, 1) DW_TILE(K, S, R, T, 1, 2) DW_TILE(K, S, R, T, 2, 0) DW_TILE(K, S, R, T, 2, 1)     \
    DW_SHAPE_OF(K, S, R, T, {dw_tile_##K##_##S##_0_0, dw_tile_##K##_##S##_0_1, dw_tile_##K##_##S##_0_2},         \
                {dw_tile_##K##_##S##_1_0, dw_tile_##K##_##S##_1_1, dw_tile_##K##_##S##_1_2},                     \
                {dw_tile_##K##_##S##_2_0, dw_tile_##K##_##S##_2_1})

/* 0, 1 or 2 as above for `dead` columns of padding, -1 if there is no such tile. */
INLINE int dw_side(int64_t dead, int kernel) {
    if (dead <= 0) return 0;
    return dead == (kernel - 1) / 2 ? 1 : dead == (kernel - 1) / 2 - 1 ? 2 : -1;
}

enum { DW_MAX_ROWS = 16 }; /* input rows of the tallest tile: (ROWS - 1) * STRIDE + KERNEL */

/* One row of tiles: output rows [oy, oy + count). Columns that no tile fits go through the general kernel. */
INLINE void dw_tile_row(const dwc_dw_call *c, const dw_shape *shape, int64_t oy, int count) {
    const int K = shape->kernel, S = shape->stride, T = shape->columns;
    const float *rows[DW_MAX_ROWS], *shifted[DW_MAX_ROWS];
    const int row_total = (shape->rows - 1) * S + K, row_needed = (count - 1) * S + K;
    for (int i = 0; i < row_total; i++) rows[i] = i < row_needed ? dw_row(c, oy * S - c->pad_top + i) : NULL;
    const int64_t span = (T - 1) * S + K;
    float *y = c->y + (oy - c->row_begin) * c->y_row;
    int64_t ox = 0, done = 0;
    while (done < c->out_w) {
        if (ox + T > c->out_w) { /* the last tile overlaps the one before */
            if (done < T) break;
            ox = c->out_w - T;
        }
        const int64_t ix = ox * S - c->pad_left;
        const int left = dw_side(-ix, K), right = dw_side(ix + span - c->in_w, K);
        const dw_tile_function tile = left < 0 || right < 0 ? NULL : shape->tiles[left][right];
        int64_t tiles = 1;
        if (!tile) {
            for (int r = 0; r < count; r++) dw_general_row(c, oy + r, done, ox + T);
        } else {
            if (left == 0 && right == 0) { /* a run of inner tiles */
                tiles = (c->in_w - ix - span) / (S * T) + 1;
                if (tiles > (c->out_w - ox) / T) tiles = (c->out_w - ox) / T;
                if (tiles < 1) tiles = 1;
            }
            for (int i = 0; i < row_total; i++)
                shifted[i] = rows[i] ? rows[i] + ix * c->x_pixel + c->channel_begin : NULL;
            const dw_tile arguments = {.rows = shifted,
                                       .x_pixel = c->x_pixel,
                                       .y = y + ox * c->y_pixel + c->channel_begin,
                                       .y_row = c->y_row,
                                       .y_pixel = c->y_pixel,
                                       .row_count = count,
                                       .tiles = tiles,
                                       .weights = c->stage->weights + c->channel_begin / V(lanes) * c->stage->block,
                                       .block = c->stage->block,
                                       .channels = c->channel_end - c->channel_begin,
                                       .activation = &c->stage->activation};
            tile(&arguments);
        }
        ox += tiles * T;
        done = ox;
    }
    for (int r = 0; r < count && done < c->out_w; r++) dw_general_row(c, oy + r, done, c->out_w);
}

static void dw_tiled(const dwc_dw_call *c, const dw_shape *shape) {
    for (int64_t oy = c->row_begin; oy < c->row_end; oy += shape->rows) {
        const int64_t left = c->row_end - oy;
        dw_tile_row(c, shape, oy, left < shape->rows ? (int)left : shape->rows);
    }
}
