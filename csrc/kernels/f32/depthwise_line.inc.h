/* Depthwise windows of one row on single rows, which is how sequences come here, where registers are few. The kernel of any
 * window has no second row to take along then, and its four sums wait for each other. So tiles are 1 x 8, or 1 x 4 of a whole
 * cache line where the lines of a tile share too few sets of the first-level cache, and what surrounds the multiply-adds of
 * a tap is a pointer to the next. */

/* How outputs see their inputs. Distances are in bytes. */
typedef struct dw_line {
    int64_t taps, tap; /* how many, and how far apart */
    int64_t x_step;    /* between the inputs of neighbouring outputs */
    int64_t y_step;
} dw_line;

enum { DW_LINE_VECTORS = 2, DW_LINE_COLUMNS = 8 };

/* Input or output t of a tile, by an address that a load can form. */
INLINE float *dw_line_at(char *first, char *fifth, int t, int64_t step, int64_t step3) {
    return (float *)((t < 4 ? first : fifth) + (t % 4 == 3 ? step3 : t % 4 * step));
}

/* T outputs of VECTORS vectors of channels, `block` bytes of weights apart. SHARED: outputs see neighbouring inputs, so two taps at a
 * time load each but once. */
INLINE void dw_line_vectors(const dw_line *l, const dwc_depthwise_stage *stage, const float *input,
                            float *output, const float *packed, const int T, const int VECTORS,
                            const int SHARED) {
    const int64_t vector = V(lanes) * sizeof(float), block = stage->block * (int64_t)sizeof(float);
    const int64_t step = l->x_step, step3 = 3 * step, y_step = l->y_step, y_step3 = 3 * y_step;
    char *x = (char *)input, *w = (char *)packed, *y = (char *)output;
    V(vec) acc[DW_LINE_VECTORS][DW_LINE_COLUMNS];
    UNROLL for (int v = 0; v < VECTORS; v++) {
        const V(vec) bias = V(load)((const float *)(w + v * block));
        UNROLL for (int t = 0; t < T; t++) acc[v][t] = bias;
    }
    int64_t taps = l->taps;
    if (SHARED) {
        NO_UNROLL for (; taps > 1; taps -= 2) {
            const V(vec) first = V(load)((const float *)(w + vector)), second = V(load)((const float *)(w + 2 * vector));
            char *in = x;
            UNROLL for (int t = 0; t <= T; t++) {
                V(vec) v = V(load)((const float *)(in + (t % 4 == 3 ? step3 : t % 4 * step)));
                float *after = (float *)in;
                V(in_order)(&after, &v);
                in = (char *)after;
                if (t > 0) acc[0][t - 1] = V(fma)(v, second, acc[0][t - 1]);
                if (t < T) acc[0][t] = V(fma)(v, first, acc[0][t]);
                if (t % 4 == 3) in += 4 * step;
            }
            w += 2 * vector;
            x += 2 * step;
            OPAQUE(x);
            OPAQUE(w);
        }
    }
    NO_UNROLL for (; taps > 0; taps--) {
        char *fifth = x + 4 * step;
        w += vector;
        UNROLL for (int v = 0; v < VECTORS; v++) {
            const V(vec) weight = V(load)((const float *)(w + v * block));
            UNROLL for (int t = 0; t < T; t++) {
                const V(vec) in = V(load)(dw_line_at(x, fifth, t, step, step3) + v * V(lanes));
                acc[v][t] = V(fma)(in, weight, acc[v][t]);
            }
        }
        x += l->tap;
        OPAQUE(x);
        OPAQUE(w);
    }
    const V(vec) low = V(set1)(stage->low), high = V(set1)(stage->high);
    char *fifth = y + 4 * y_step;
    UNROLL for (int v = 0; v < VECTORS; v++) {
        UNROLL for (int t = 0; t < T; t++) V(store)(dw_line_at(y, fifth, t, y_step, y_step3) + v * V(lanes),
                                                    V(min)(high, V(max)(low, acc[v][t])));
    }
}

/* `tiles` tiles of T outputs, of all channels. */
INLINE void dw_line_tiles(const dwc_dw_call *c, const dw_line *line, const float *x, float *y, int64_t tiles, const int T,
                          const int VECTORS, const int SHARED) {
    const dw_line own = *line, *l = &own; /* which no store can alias */
    const int64_t channels = c->channel_end - c->channel_begin, vectors = channels / V(lanes), block = c->stage->block;
    const float *weights = c->stage->weights + c->channel_begin / V(lanes) * block, *last = dw_last(c, V(lanes));
    const dw_tile tile = {.row_count = 1, .y_pixel = l->y_step / (int64_t)sizeof(float), .stage = c->stage, .channels = channels};
    for (; tiles > 0; tiles--) {
        const float *w = weights;
        int64_t i = 0;
        for (; i + VECTORS <= vectors; i += VECTORS, w += VECTORS * block)
            dw_line_vectors(l, c->stage, x + i * V(lanes), y + i * V(lanes), w, T, VECTORS, SHARED);
        if (VECTORS > 1 && i < vectors) dw_line_vectors(l, c->stage, x + i * V(lanes), y + i * V(lanes), w, T, 1, SHARED);
        if (last) dw_line_vectors(l, c->stage, x + channels - V(lanes), y + channels - V(lanes), last, T, 1, SHARED);
        if (!LIKELY(c->stage->activation.kind == DWCONV_CLIP)) dw_tile_activate(&tile, y, T);
        x += T * l->x_step / (int64_t)sizeof(float);
        y += T * l->y_step / (int64_t)sizeof(float);
    }
}

typedef void (*dw_line_function)(const dwc_dw_call *, const dw_line *, const float *, float *, int64_t);

#define DW_LINE_TILES(NAME, T, VECTORS, SHARED)                                                                        \
    NOINLINE void NAME(const dwc_dw_call *c, const dw_line *l, const float *x, float *y, int64_t tiles) {              \
        dw_line_tiles(c, l, x, y, tiles, T, VECTORS, SHARED);                                                          \
    }

DW_LINE_TILES(dw_line_shared, 8, 1, 1)
DW_LINE_TILES(dw_line_8, 8, 1, 0)
DW_LINE_TILES(dw_line_4, 4, 2, 0)

static int dw_is_line(const dwc_dw_call *c) {
    const dwconv_window *w = &c->stage->window;
    const int64_t channels = c->channel_end - c->channel_begin;
    return w->kernel_h == 1 && c->row_end - c->row_begin == 1 && c->stage->multiplier == 1 && channels >= V(lanes) &&
           (channels % V(lanes) == 0 || dw_last(c, V(lanes)));
}

/* Lines of a tile, of inputs and outputs. */
INLINE int64_t dw_line_lines(const dwc_dw_call *c) {
    const dwconv_window *w = &c->stage->window;
    const int64_t stride = w->stride_w, dilation = w->dilation_w, columns = DW_LINE_COLUMNS;
    const int64_t inputs = dilation >= columns * stride ? w->kernel_w * columns
                                                        : (columns - 1) * stride + 1 + (w->kernel_w - 1) * dilation;
    return inputs + columns;
}

static const char *dw_line_how(const dwc_dw_call *c) {
    return dw_line_lines(c) > dw_room(c->x_pixel) ? "a sequence: tile 1x4 of whole cache lines, which share few sets of the cache"
                                                  : "a sequence: tile 1x8";
}

static void dw_lines(const dwc_dw_call *c) {
    const dwconv_window *w = &c->stage->window;
    const int64_t size = sizeof(float), stride = w->stride_w, taps = w->kernel_w, dilation = w->dilation_w;
    const int64_t reach = (taps - 1) * dilation;
    const float *row = dw_row(c, c->row_begin * w->stride_h - c->pad_top);
    /* Columns of outputs of which all taps are on the image. */
    int64_t begin = dw_clamp(dw_divide_up(c->pad_left > 0 ? c->pad_left : 0, stride), 0, c->out_w);
    const int64_t room = c->in_w + c->pad_left - reach;
    const int64_t end = room > 0 ? dw_clamp((room - 1) / stride + 1, begin, c->out_w) : begin;
    const int crowded = dw_line_lines(c) > dw_room(c->x_pixel);
    const int64_t T = crowded ? 4 : 8;
    if (!row || end - begin < T) {
        dw_window(c, c->row_begin, c->row_end, 0, c->out_w);
        return;
    }
    const dw_line l = {.taps = taps,
                       .tap = dilation * c->x_pixel * size,
                       .x_step = stride * c->x_pixel * size,
                       .y_step = c->y_pixel * size};
    const dw_line_function run = crowded ? dw_line_4 : l.tap == l.x_step ? dw_line_shared : dw_line_8;
    const float *x = row + c->channel_begin - c->pad_left * c->x_pixel;
    float *y = c->y + c->channel_begin;
    const int64_t tiles = (end - begin) / T, last = end - T;
    run(c, &l, x + begin * stride * c->x_pixel, y + begin * c->y_pixel, tiles);
    if (begin + tiles * T < end) run(c, &l, x + last * stride * c->x_pixel, y + last * c->y_pixel, 1); /* overlaps */
    if (begin > 0) dw_window(c, c->row_begin, c->row_end, 0, begin);
    if (end < c->out_w) dw_window(c, c->row_begin, c->row_end, end, c->out_w);
}
