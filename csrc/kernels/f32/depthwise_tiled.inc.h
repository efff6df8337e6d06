/* Tiles of small square windows along the rows of an image: dw_tile_vector with compile-time sizes.
 * Columns that no tile fits go through dw_window. */

/* Activations other than clamps, where a tile has stored its results: all channels of a tile at once, since what there is
 * to set up takes longer than one vector of channels (Zen 3, AVX2, 14x14x200 with hard_swish: 16 us instead of 19). */
NOINLINE void dw_tile_activate(const dw_tile *c, float *y, int columns) {
    const dwconv_activation *activation = &c->stage->activation;
    const int64_t whole = c->channels / V(lanes), rest = c->channels % V(lanes);
    for (int r = 0; whole && r < c->row_count; r++)
        V(activate)(y + r * c->y_row, (int)whole, V(lanes), columns, c->y_pixel, activation);
    y += whole * V(lanes);
    for (int64_t channel = 0; channel < rest; channel += TAIL(lanes))
        TAIL(dw_activate)(y + channel, columns, c->y_pixel, c->row_count, c->y_row,
                          rest - channel < TAIL(lanes) ? (int)(rest - channel) : TAIL(lanes), activation);
}

enum { DW_LINE = 64 / sizeof(float) };

#ifdef DW_FAR
/* The share of the vector at `channel` in what a tile asks for: `floats` of every row, from `offset` on. */
INLINE void dw_ask(const dw_tile *c, int64_t offset, const int floats) {
    const float *ask = c->ask + offset;
    for (int r = 0; r < c->ask_rows; r++, ask += c->ask_row) {
    UNROLL for (int f = 0; f < floats; f += DW_LINE) __builtin_prefetch(ask + f);
    }
}

/* A tile from where it was stored to `y`, past the caches: whole lines in the order of memory. */
NOINLINE void dw_stream(const dw_tile *c, float *y, int columns) {
    const float *from = c->y;
    for (int r = 0; r < c->row_count; r++, y += c->stream_row)
        for (int t = 0; t < columns; t++)
            for (int64_t channel = 0; channel < c->channels; channel += V(lanes), from += V(lanes))
                V(stream)(y + t * c->stream_pixel + channel, V(load)(from));
}
#endif

INLINE void dw_tile_run(const dw_tile *run, const int KERNEL, const int STRIDE, const int ROWS,
                        const int COLUMNS, const int EDGE) {
    const dw_tile tile = *run, *c = &tile; /* which no store can alias */
    const int64_t end = c->last ? c->channels : c->channels - c->channels % V(lanes);
    for (int64_t i = 0; i < c->tiles; i++) {
        const int64_t x = i * COLUMNS * STRIDE * c->x_pixel;
        float *y = c->y + (c->stream ? 0 : i * COLUMNS * c->y_pixel);
        const float *w = c->weights;
        int64_t channel = 0;
        for (; channel < end; channel += V(lanes), w += c->stage->block) {
            if (!LIKELY(channel + V(lanes) <= c->channels)) {
                channel = c->channels - V(lanes);
                w = c->last;
            }
            OPAQUE(channel);
#ifdef DW_FAR
            if (!LIKELY(!c->ask_rows)) dw_ask(c, x + channel * COLUMNS * STRIDE, COLUMNS * STRIDE * V(lanes));
#endif
            V(dw_tile_vector)(c, c->x + x + channel, y + channel, w, V(lanes), KERNEL, STRIDE, ROWS, COLUMNS,
                              EDGE, 1, V(lanes));
        }
        for (; channel < c->channels; channel += TAIL(lanes), w += TAIL(lanes)) {
            const int64_t left = c->channels - channel;
            TAIL(dw_tile_vector)(c, c->x + x + channel, y + channel, w,
                                 left < TAIL(lanes) ? (int)left : TAIL(lanes), KERNEL, STRIDE, ROWS, COLUMNS,
                                 EDGE, 0, V(lanes));
        }
        if (!LIKELY(c->stage->activation.kind == DWCONV_CLIP)) dw_tile_activate(run, y, COLUMNS);
#ifdef DW_FAR
        if (!LIKELY(!c->stream)) dw_stream(run, c->stream + i * COLUMNS * c->stream_pixel, COLUMNS);
#endif
    }
}

typedef void (*dw_tile_function)(const dw_tile *);

/* Tiles without tests for columns: all are on the image, or (KERNEL - 1) / 2 on one side are padding. */
typedef struct dw_straight {
    dw_tile_function inner, left, right;
} dw_straight;

/* What a tile needs to know of itself at run time. */
typedef struct dw_shape {
    int kernel, stride, rows, columns;
    dw_tile_function inner, edge; /* or NULL: the window kernel takes what straight tiles do not */
    /* NULL, or for whole vectors instead: one column wider in [1] (perhaps none), of rows that are all on the image in [i][1] */
    const dw_straight (*straight)[2];
} dw_shape;

/* DW_TILES(NAME, K, S, R, T) defines dw_shape_NAME: KxK windows with stride S in tiles of R rows x T columns. */
#define DW_TILES(NAME, K, S, R, T)                                                     \
    NOINLINE void dw_inner_##NAME(const dw_tile *c) { dw_tile_run(c, K, S, R, T, 0); } \
    NOINLINE void dw_edge_##NAME(const dw_tile *c) { dw_tile_run(c, K, S, R, T, 1); }  \
    static const dw_shape dw_shape_##NAME = {K, S, R, T, dw_inner_##NAME, dw_edge_##NAME, NULL};

/* DW_SHAPE(K, S, R, T) defines dw_K_S of them. */
#define DW_SHAPE(K, S, R, T)      \
    DW_TILES(K##_##S, K, S, R, T) \
    static void dw_##K##_##S(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_##K##_##S); }

enum { DW_MAX_ROWS = 16 }; /* input rows of the tallest tile: (ROWS - 1) * STRIDE + KERNEL */

/* Columns of a call that go through one function: a run of tiles, or the window kernel where there is none. */
typedef struct dw_run {
    int64_t begin, end;        /* output columns */
    int64_t y;                 /* floats from an output row to the run */
    dw_tile_function asking;   /* where rows are asked for meanwhile */
    dw_tile_function tiles[2]; /* elsewhere, [1] where all rows are on the image; NULL: the window kernel */
    dw_tile tile;              /* without what changes from row to row */
} dw_run;

/* The runs of a row of tiles: outermost columns that no tile fits, tiles at either edge, (KERNEL - 1) / 2 at most, two widths
 * inside, and a last tile that overlaps; all paddings of widths up to 40 make 9 at most. */
enum { DW_RUNS = 12 };
typedef struct dw_cut {
    int count;
    dw_run runs[DW_RUNS];
} dw_cut;

/* The outputs of a row that go in tiles one column wider, so that none overlaps: 14 = 5 + 5 + 4. */
INLINE int64_t dw_wider_outputs(int64_t outputs, int columns) {
    const int64_t wider = outputs % columns * (columns + 1);
    return wider < outputs ? wider : 0;
}

/* A run of tiles of T columns from output column ox on, `limit` at most; of the window kernel where none fits. */
INLINE void dw_make_run(const dwc_dw_call *c, const dw_shape *shape, const dw_straight *straight, int T,
                        int64_t ox, int64_t limit, int streamed, dw_run *run) {
    const int K = shape->kernel, S = shape->stride, edge = (K - 1) / 2;
    const int64_t span = (T - 1) * S + K, ix = ox * S - c->pad_left,
                  channels = c->channel_end - c->channel_begin;
    const int64_t left = ix < 0 ? -ix : 0, right = dw_clamp(ix + span - c->in_w, 0, span);
    const int fits = left <= edge && right <= edge, inner = left == 0 && right == 0;
    int64_t tiles = 1;
    if (inner) tiles = dw_clamp((c->in_w - ix - span) / (S * T) + 1, 1, limit);
    run->begin = ox;
    run->end = ox + tiles * T;
    run->y = ox * c->y_pixel + c->channel_begin;
    run->asking = !fits ? NULL : inner ? shape->inner : shape->edge;
    for (int whole = 0; whole < 2; whole++) {
        run->tiles[whole] = T > shape->columns ? NULL : run->asking;
        if (!straight || !fits || (left && right)) continue;
        if (inner) run->tiles[whole] = straight[whole].inner;
        if (left == edge) run->tiles[whole] = straight[whole].left;
        if (right == edge) run->tiles[whole] = straight[whole].right;
    }
    if (!run->tiles[0]) return;
    run->tile = (dw_tile){.x = ix * c->x_pixel + (c->stage->multiplier > 1 ? 0 : c->channel_begin),
                          .x_pixel = c->x_pixel,
                          .y_row = streamed ? T * channels : c->y_row,
                          .y_pixel = streamed ? channels : c->y_pixel,
                          .live = (1u << (span - right)) - (1u << left),
                          .first = {left * c->x_pixel, left * c->x_pixel},
                          .tiles = tiles,
                          .stream_row = c->y_row,
                          .stream_pixel = c->y_pixel,
                          .stage = c->stage,
                          .weights = c->stage->weights + c->channel_begin / V(lanes) * c->stage->block,
                          .last = dw_last(c, V(lanes)),
                          .channel = c->channel_begin,
                          .channels = channels};
    run->tile.first[(left + 1) % S] += c->x_pixel * (S - 1);
}

static void dw_cut_row(const dwc_dw_call *c, const dw_shape *shape, int streamed, dw_cut *cut) {
    const int whole = (c->channel_end - c->channel_begin) % V(lanes) == 0 || dw_last(c, V(lanes));
    const int straight = shape->straight && !streamed && whole;
    const int widens = straight && shape->straight[1][0].inner && c->prefetch_rows == 0;
    const int64_t wider = widens ? dw_wider_outputs(c->out_w, shape->columns) : 0;
    cut->count = 0;
    for (int64_t done = 0; done < c->out_w;) {
        const int wide = done < wider, T = shape->columns + wide;
        dw_run *run = &cut->runs[cut->count++];
        int64_t ox = done;
        if (ox + T > c->out_w) ox = c->out_w - T; /* the last tile overlaps the one before */
        if (done < T && ox < done) {
            run->begin = done;
            run->end = c->out_w;
            run->tiles[0] = NULL;
        } else {
            dw_make_run(c, shape, straight ? shape->straight[wide] : NULL, T, ox,
                        ((wide ? wider : c->out_w) - ox) / T, streamed, run);
        }
        done = run->end;
        if (!run->tiles[0] && cut->count > 1 && !run[-1].tiles[0]) {
            run[-1].end = done;
            cut->count--;
        }
    }
}

#ifdef DW_FAR
/* Asks for the rows that are prefetch_rows below those that this row of tiles is the first to read, at the columns of a
 * run of tiles. A row of tiles reads short pieces of many pixels, which the CPU does not foresee in time: 208x208x96 with
 * stride 2 takes 1.4 ms instead of 2.8. */
INLINE void dw_ask_for_rows(const dwc_dw_call *c, const dw_shape *shape, int64_t oy, dw_run *run) {
    dw_tile *tile = &run->tile;
    const int S = shape->stride, rows = shape->rows * S;
    const int64_t ox = run->begin, columns = (run->end - ox) * S, last = c->in_w - columns;
    const int64_t iy = (oy - 1) * S - c->pad_top + shape->kernel + c->prefetch_rows;
    tile->ask_rows = 0;
    if (c->prefetch_rows == 0 || !run->asking || c->ring_rows < c->in_h ||
        c->x_pixel - tile->channels >= DW_LINE || last < 0 || iy < 0 || iy >= c->in_h)
        return;
    tile->ask = c->x + iy * c->x_row + (ox * S < last ? ox * S : last) * c->x_pixel;
    tile->ask_row = c->x_row;
    tile->ask_rows = iy + rows <= c->in_h ? rows : (int)(c->in_h - iy);
}
#endif

/* One row of tiles: output rows [oy, oy + count). */
INLINE void dw_tile_row(const dwc_dw_call *c, const dw_shape *shape, dw_cut *cut, int64_t oy, int count,
                        float *buffer) {
    const int K = shape->kernel, S = shape->stride;
    const float *rows[DW_MAX_ROWS];
    const int row_total = (shape->rows - 1) * S + K, row_needed = (count - 1) * S + K;
    int whole = count == shape->rows && !buffer;
    for (int i = 0; i < row_total; i++) {
        rows[i] = i < row_needed ? dw_row(c, oy * S - c->pad_top + i) : NULL;
        whole &= rows[i] != NULL;
    }
    float *y = c->y + (oy - c->row_begin) * c->y_row;
    for (int i = 0; i < cut->count; i++) {
        dw_run *run = &cut->runs[i];
        if (!run->tiles[0]) {
            dw_window(c, oy, oy + count, run->begin, run->end);
            continue;
        }
        run->tile.rows = rows;
        run->tile.row_count = count;
        run->tile.y = buffer ? buffer : y + run->y;
        run->tile.stream = buffer ? y + run->y : NULL;
#ifdef DW_FAR
        dw_ask_for_rows(c, shape, oy, run);
#endif
        (run->tile.ask_rows ? run->asking : run->tiles[whole])(&run->tile);
    }
}

NOINLINE void dw_tiled_into(const dwc_dw_call *c, const dw_shape *shape, float *buffer) {
    dw_cut cut;
    dw_cut_row(c, shape, buffer != NULL, &cut);
    for (int64_t oy = c->row_begin; oy < c->row_end; oy += shape->rows)
        dw_tile_row(c, shape, &cut, oy, (int)dw_clamp(c->row_end - oy, 0, shape->rows), buffer);
}

#ifdef DW_STAGED
#include "depthwise_line.inc.h"
#include "depthwise_copied.inc.h"
#else
#define dw_any_window dw_general_f32
#endif

#ifdef DW_FAR
NOINLINE void dw_streamed(const dwc_dw_call *c, const dw_shape *shape) {
    float buffer[DW_TILE_ROWS * DW_TILE_COLUMNS * DWC_STREAM_CHANNELS];
    dw_tiled_into(c, shape, buffer);
    V(stream_end)();
}
#endif

static void dw_tiled(const dwc_dw_call *c, const dw_shape *shape) {
#ifdef DW_FAR
    if (c->stream) {
        dw_streamed(c, shape);
        return;
    }
#endif
#ifdef DW_STAGED
    const dw_group group = dw_group_of(c, shape);
    const dw_share share = dw_staged_share(c, &group);
    if (share.channels) {
        dw_copied(c, &group, share);
        return;
    }
#endif
    dw_tiled_into(c, shape, NULL);
}

/* Stride 1 with a dilation: outputs d apart see inputs d apart, so that the image is d x d dense ones, tiled each on its
 * own: 56x56x64 with dilation 2 and 4 takes half the time (Zen 3, AVX2). Not where they are narrower than a tile, nor in
 * a ring of rows, which has none of them in equal steps. */
static int dw_is_dense_tiles(const dwc_dw_call *c, const dw_shape *shape) {
    return c->ring_rows >= c->in_h && c->out_w >= shape->columns * c->stage->window.dilation_w && !dw_general_is_quicker(c);
}

INLINE void dw_dilated(const dwc_dw_call *c, const dw_shape *shape) {
    const dwconv_window *w = &c->stage->window;
    const int64_t dy = w->dilation_h, dx = w->dilation_w;
    if (!dw_is_dense_tiles(c, shape)) {
        dw_any_window(c);
        return;
    }
    dwc_depthwise_stage dense = *c->stage;
    dense.window.dilation_h = dense.window.dilation_w = 1;
    for (int64_t oy = c->row_begin; oy < c->row_end && oy < c->row_begin + dy; oy++) {
        const int64_t iy =
            (oy - c->pad_top % dy + dy) % dy; /* the first input row that these outputs can see */
        for (int64_t ox = 0; ox < c->out_w && ox < dx; ox++) {
            const int64_t ix = (ox - c->pad_left % dx + dx) % dx;
            dwc_dw_call part = *c;
            part.stage = &dense;
            part.x = c->x + iy * c->x_row + ix * c->x_pixel;
            part.x_row = dy * c->x_row;
            part.x_pixel = dx * c->x_pixel;
            part.in_h = part.ring_rows = iy < c->in_h ? dw_divide_up(c->in_h - iy, dy) : 0;
            part.in_w = ix < c->in_w ? dw_divide_up(c->in_w - ix, dx) : 0;
            part.y = c->y + (oy - c->row_begin) * c->y_row + ox * c->y_pixel;
            part.y_row = dy * c->y_row;
            part.y_pixel = dx * c->y_pixel;
            part.out_w = dw_divide_up(c->out_w - ox, dx);
            part.pad_top = (iy - (oy - c->pad_top)) / dy;
            part.pad_left = (ix - (ox - c->pad_left)) / dx;
            part.row_begin = 0;
            part.row_end = dw_divide_up(c->row_end - oy, dy);
            dw_tiled(&part, shape);
        }
    }
}

#define DW_DILATED(K) \
    static void dw_dilated_##K(const dwc_dw_call *c) { dw_dilated(c, &dw_shape_##K##_1); }
