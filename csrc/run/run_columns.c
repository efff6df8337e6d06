/* Columns of a dense image -> runs of tiles. What depends on columns alone is found once for all rows and channels. */
#include <string.h>

#include "depthwise.h"

/* A run that begins with output column `ox`, of tiles of so many columns. */
static dwc_dw_columns *add_run(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox, int columns) {
    dwc_dw_columns *c = &cut->runs[cut->count++];
    const dwc_depthwise_stage *stage = m->call->stage;
    *c = (dwc_dw_columns){.run = {.row_stride = (int)m->stride_h,
                                  .columns = columns,
                                  .x = (ox * m->stride_w - m->pad_left) * m->x_pixel,
                                  .x_tap = m->dilation_w * m->x_pixel,
                                  .x_out = m->stride_w * m->x_pixel,
                                  .x_tile = columns * m->stride_w * m->x_pixel,
                                  .y_tile = columns * m->y_pixel,
                                  .y = m->y + ox * m->y_pixel,
                                  .y_row = m->y_row,
                                  .y_out = m->y_pixel,
                                  .tiles = 1,
                                  .kernel_w = stage->window.kernel_w,
                                  .channel = m->channel,
                                  .channels = m->channels,
                                  .in_channels = stage->in_channels,
                                  .group_inputs = stage->group_inputs,
                                  .multiplier = stage->multiplier,
                                  .weights = m->weights,
                                  .block = stage->block,
                                  .input_block = stage->input_block,
                                  .last = m->last}};
    c->run.taps = &c->taps;
    return c;
}

/* ---- any window ------------------------------------------------------------------------------ */

/* The taps of a tile by the outputs that see them on the image: where there is padding on the left, the last output first and
 * one more after `stride` taps; where it is on the right, less and less of the first ones. */
static void cut_taps(dwc_dw_taps *s, int64_t taps, int columns, int count) {
    const int64_t stride = s->stride;
    const int64_t begin = within(s->live_begin - (count - 1) * stride, 0, taps);
    const int64_t end = within(s->live_end, begin, taps);
    const int64_t left_end = within(s->live_begin, begin, end); /* taps with padding on the left */
    const int64_t right_begin = within(s->live_end - (columns - 1) * stride, begin, end); /* on the right */
    const int64_t left_alone = smaller(left_end, right_begin);
    const int64_t right_alone = left_end > right_begin ? left_end : right_begin;
    s->first = begin;
    s->seen = end - begin;
    s->left = begin < left_alone;
    s->right = right_alone < end;
    s->tested_begin = left_alone;
    s->tested_end = left_end;
    s->whole = right_alone - left_end;
    for (int t = 1; t < columns; t++) {
        if (s->left)
            s->from[t] = within(s->live_begin - (t - 1) * stride, begin, left_alone) -
                         within(s->live_begin - t * stride, begin, left_alone);
        if (s->right)
            s->to[t] = within(s->live_end - (t - 1) * stride, right_alone, end) -
                       within(s->live_end - t * stride, right_alone, end);
    }
}

/* The functions of the scheduled body; `inner`: all outputs of a tile see the taps that any of them sees. */
static void take_body(const dwc_dw_image *m, dwc_dw_columns *c, int inner) {
    const dwc_dw_any *any = &m->call->table->any;
    const dwc_dw_schedule *how = m->call->how;
    const int64_t lanes = m->call->table->lanes, rest = c->taps.seen % 4;
    if (how->body == DWC_SPREAD || how->body == DWC_BROADCAST) {
        c->some = c->whole = how->body == DWC_SPREAD ? any->spread
                             : inner                 ? any->broadcast_inner
                                                     : any->broadcast;
        return;
    }
    if (m->channels >= lanes) {
        const int shared = how->body == DWC_SHARED && any->shared[0];
        c->some = c->whole = !inner ? any->edge : shared ? any->shared[rest] : any->rest[rest];
        if (inner && how->twins) c->whole = any->twins;
    }
    if (m->channels % lanes && !m->last) c->lanes = any->lanes;
}

/* Two stretches of a sequence as two rows: tiles of twice as many outputs, in which as many sums are under way. */
static void double_tiles(const dwc_dw_image *m, dwc_dw_columns *c) {
    dwc_dw_run *run = &c->run;
    c->doubled = 1;
    run->tiles /= 2;
    run->row_stride = 1;
    run->y_row = run->columns * m->y_pixel;
    run->x_tile *= 2;
    run->y_tile *= 2;
    const dwc_dw_any *any = &m->call->table->any;
    const int shared =
        m->call->how->body == DWC_SHARED && c->taps.seen > 3; /* which loads four taps' inputs */
    if (m->channels >= m->call->table->lanes) c->whole = shared ? any->shared_twins : any->twins;
}

/* Columns [ox, end) without a dilation; returns the first one that there was no room for, or end. */
static int64_t cut_any(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox, int64_t end) {
    const int T = m->call->table->any.columns;
    const int64_t taps = m->call->stage->window.kernel_w, begin = ox;
    const int64_t last_seen =
        (end - 1) * m->stride_w - m->pad_left + taps; /* one past what the last output sees */
    while (ox < end && cut->count < DWC_COLUMN_RUNS) {
        /* The last tile may overlap the one before; but if it sees padding, it is quicker with less outputs. */
        if (end - ox < T && end - begin > T && last_seen <= m->in_w) ox = end - T;
        const int count = (int)smaller(end - ox, T);
        dwc_dw_columns *c = add_run(m, cut, ox, T);
        const int64_t ix = ox * m->stride_w - m->pad_left, seen = (count - 1) * m->stride_w + taps;
        c->run.columns = count;
        c->taps.stride = m->stride_w;
        c->taps.live_begin = ix < 0 ? -ix : 0;
        c->taps.live_end = ix < m->in_w ? m->in_w - ix : 0;
        const int inner = count == T && c->taps.live_begin == 0 && c->taps.live_end >= seen;
        if (inner) c->run.tiles = smaller((c->taps.live_end - seen) / (T * m->stride_w) + 1, (end - ox) / T);
        c->taps.live_end = smaller(c->taps.live_end, seen);
        cut_taps(&c->taps, taps, T, count);
        take_body(m, c, inner && (c->run.multiplier == 1 || c->taps.seen == taps));
        if (m->call->how->doubled && m->out_h == 1 && inner && c->run.tiles > 1) double_tiles(m, c);
        ox += (c->doubled ? 2 : 1) * c->run.tiles * count;
    }
    return ox;
}

/* The same with a dilation and tiles of neighbours, which share no input, but nearly all see the same taps, as outputs that do
 * share some would not: a row of 56 with dilation 18 is three stretches of 18, 20 and 18. */
static int64_t cut_neighbours(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox, int64_t end) {
    const int T = m->call->table->any.columns;
    const int64_t taps = m->call->stage->window.kernel_w, dilation = m->dilation_w, stride = m->stride_w;
    while (ox < end && cut->count < DWC_COLUMN_RUNS) {
        const int64_t ix = ox * stride - m->pad_left, right = m->in_w - ix;
        const int64_t first = ix < 0 ? within(divide_up(-ix, dilation), 0, taps) : 0;
        const int64_t last = right > 0 ? smaller(divide_up(right, dilation), taps) : 0;
        /* Inputs up to where a tap begins or ends to see the image: at multiples of the dilation. */
        int64_t alike = ix < 0 ? (-ix - 1) % dilation : m->in_w;
        if (right > 0) {
            const int64_t before = divide_up(right, dilation) < taps ? (right - 1) % dilation
                                                                     : right - 1 - (taps - 1) * dilation;
            alike = smaller(before, alike);
        }
        const int64_t outputs = within(alike / stride + 1, 0, end - ox);
        const int count = (int)smaller(outputs, T);
        dwc_dw_columns *c = add_run(m, cut, ox, T);
        c->run.columns = count;
        c->run.tiles = outputs < T ? 1 : outputs / T;
        c->taps.stride = taps; /* columns are told apart by outputs alone */
        c->taps.live_end = count * taps;
        c->taps.first = c->taps.tested_begin = c->taps.tested_end = first;
        c->taps.seen = last > first ? last - first : 0;
        c->taps.whole = count == T ? c->taps.seen : 0;
        c->taps.right = count < T; /* as if the outputs that are missing saw padding */
        for (int t = 1; t < T; t++) c->taps.to[t] = t == count ? c->taps.seen : 0;
        const int64_t least = c->run.multiplier > 1 ? taps : 1; /* of a tile without an edge */
        take_body(m, c, count == T && c->taps.seen >= least);
        ox += c->run.tiles * count;
    }
    return ox;
}

/* ---- tiles of square windows ----------------------------------------------------------------- */

/* Whether to take tiles of the larger of two widths next: as many of each as cover the fewest columns that are not there, and if
 * that leaves a choice, the preferred ones. */
static const dwc_dw_tiles *next_width(const dwc_dw_kernel *kernel, int64_t only, int64_t outputs,
                                      int64_t *tiles) {
    const dwc_dw_tiles *a = &kernel->tiles[0], *b = &kernel->tiles[1];
    while (only && a->columns != only) a++;
    if (only || !b->columns) {
        *tiles = divide_up(outputs, a->columns);
        return a;
    }
    /* What is left over repeats with every b->columns tiles of the first width: only the largest numbers of them are tried. */
    const int64_t most = divide_up(outputs, a->columns);
    int64_t least = INT64_MAX, best_a = 0, best_b = 0;
    for (int64_t n = within(most - b->columns, 0, most); n <= most; n++) {
        const int64_t rest = outputs - n * a->columns, others = rest > 0 ? divide_up(rest, b->columns) : 0;
        const int64_t total = n * a->columns + others * b->columns;
        if (total <= least) least = total, best_a = n, best_b = others;
    }
    const int first = best_b == 0 || (best_a > 0 && a->columns > b->columns);
    *tiles = first ? best_a : best_b;
    return first ? a : b;
}

/* The function for a tile with so many columns of padding on both sides; NULL: none fits. */
static dwc_dw_function tile_function(const dwc_dw_tiles *t, int64_t edge, int64_t left, int64_t right) {
    if (left == 0 && right == 0) return t->inner;
    if (left == edge && right == 0 && t->left) return t->left;
    if (right == edge && left == 0 && t->right) return t->right;
    return left <= edge && right <= edge ? t->tested : NULL;
}

static int64_t cut_tiles(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox) {
    const dwc_dw_kernel *kernel = m->call->stage->kernel;
    const dwc_kernel_table *table = m->call->table;
    /* A part that is less than a vector, where there are no masks. */
    if (table->overlaps && m->channels % table->lanes && !m->last) return cut_any(m, cut, ox, m->out_w);
    const int64_t K = kernel->kernel, S = m->stride_w;
    while (ox < m->out_w && cut->count < DWC_COLUMN_RUNS) {
        int64_t tiles;
        const dwc_dw_tiles *width = next_width(kernel, m->call->how->columns, m->out_w - ox, &tiles);
        const int T = width->columns;
        const int64_t begin = smaller(ox, m->out_w - T); /* the last tile overlaps the one before */
        const int64_t span = (T - 1) * S + K, ix = begin * S - m->pad_left;
        const int64_t left = ix < 0 ? -ix : 0, right = within(ix + span - m->in_w, 0, span);
        const dwc_dw_function function = begin < 0 ? NULL : tile_function(width, (K - 1) / 2, left, right);
        if (!function) {
            const int64_t end = begin < 0 ? m->out_w : begin + T;
            ox = cut_any(m, cut, ox, end);
            continue;
        }
        dwc_dw_columns *c = add_run(m, cut, begin, T);
        if (left == 0 && right == 0) c->run.tiles = within((m->in_w - ix - span) / (S * T) + 1, 1, tiles);
        if (begin < ox) c->run.tiles = 1;
        c->run.live = (1u << (span - right)) - (1u << left);
        c->some = c->whole = function;
        c->tile = T;
        c->run.ahead = m->call->how->rows_ahead * m->x_row;
        c->run.streams = table->lanes == DWC_LINE_FLOATS && m->call->how->streams;
        ox = begin + c->run.tiles * T;
    }
    return ox;
}

/* ---- rows of vectors ------------------------------------------------------------------------- */

/* Where the first and the last vector of a tile load. */
static void find_edges(const dwc_dw_image *m, dwc_dw_cut *cut, dwc_dw_run *run) {
    const int64_t size = sizeof(float), lanes = m->call->table->lanes,
                  end = m->in_w * m->x_pixel / size - lanes;
    dwc_dw_flat *flat = &cut->flat[cut->flats++];
    for (int side = 0; side < 2; side++) {
        int64_t x = (run->x + side * (m->call->table->few.vectors - 1) * run->x_out) / size;
        for (int64_t k = 0; k < run->kernel_w; k++, x += run->x_tap / size) {
            const int64_t inside = within(x, 0, end);
            flat->x[k][side] = inside * size;
            flat->lanes[k][side] = cut->flat_lanes + lanes + within(x - inside, -lanes, lanes);
        }
    }
    run->flat = flat;
}

static void cut_vectors(const dwc_dw_image *m, dwc_dw_cut *cut, const dwc_few_columns *f) {
    const dwconv_window *w = &m->call->stage->window;
    const int64_t size = sizeof(float), lanes = m->call->table->lanes, C = m->channels;
    const int64_t inner = (m->call->table->few.vectors - 1) * f->apart, width = f->width;
    const int64_t reach = ((w->kernel_w - 1) * m->dilation_w + inner) * m->x_pixel + lanes * size;
    cut->vectors_begin = f->begin;
    cut->vectors_end = f->end;
    for (int64_t i = 0; i < 3 * lanes; i++) { /* lane i comes from i + shift, if that is one */
        cut->flat_lanes[i] = (int32_t)(i % lanes);
        cut->flat_lanes[3 * lanes + i] = i >= lanes && i < 2 * lanes ? -1 : 0;
    }
    dwc_dw_run *before = NULL; /* a run without an edge, which more tiles may go with */
    for (int64_t done = f->begin; done < f->end; done += width) {
        const int64_t ox = smaller(done, f->end - width), x = (ox - m->pad_left) * m->x_pixel;
        /* Inputs beside the image; or outputs beyond the last, as in a stretch of a sequence whose next one others write. */
        const int edge = x < 0 || x + reach > m->in_w * m->x_pixel || (ox + inner) * C + lanes > m->out_w * C;
        if (!edge && before && ox == done) {
            before->tiles++;
            continue;
        }
        dwc_dw_columns *c = add_run(m, cut, ox, (int)((width - inner) * C));
        c->vectors = 1;
        c->run.x_out = c->run.y_out = f->apart * m->x_pixel;
        c->run.x_tile = c->run.y_tile = width * m->x_pixel;
        if (edge) find_edges(m, cut, &c->run);
        before = edge ? NULL : &c->run;
    }
}

/* Rows of vectors, and the columns beside them that are none: all of them in a short stretch of a longer sequence. */
static int64_t cut_few(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox) {
    enum { MOST_RUNS = 5 }; /* three at edges, two between these */
    const dwc_few_columns f =
        dwc_columns_of_few(m->call->stage, m->call->table, m->in_w, m->out_w, m->pad_left);
    const int64_t end = ox < f.begin ? f.begin : m->out_w;
    if (ox != f.begin || f.width == 0) return (m->dilation_w > 1 ? cut_neighbours : cut_any)(m, cut, ox, end);
    if (cut->count + MOST_RUNS > DWC_COLUMN_RUNS) {
        cut->full = 1;
        return ox;
    }
    cut->vectors = 1;
    cut_vectors(m, cut, &f);
    return f.end;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Single outputs that see the image; others are padding, and get the bias alone. */
static int64_t cut_factors(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t ox) {
    const int64_t begin = within(m->pad_left > 0 ? divide_up(m->pad_left, m->stride_w) : 0, 0, m->out_w);
    const int64_t end = within(divide_up(m->in_w + m->pad_left, m->stride_w), begin, m->out_w);
    if (ox < begin) return cut_any(m, cut, ox, begin);
    if (ox >= end) return cut_any(m, cut, ox, m->out_w);
    dwc_dw_columns *c = add_run(m, cut, ox, 1);
    c->run.tiles = end - ox;
    c->some = c->whole = m->call->table->any.scale;
    return end;
}

void dwc_cut_columns(const dwc_dw_image *m, dwc_dw_cut *cut) {
    cut->count = cut->vectors = cut->flats = cut->full = 0;
    cut->begin = cut->next;
    while (cut->next < m->out_w && cut->count < DWC_COLUMN_RUNS && !cut->full) switch (m->call->how->way) {
            case DWC_BY_TILES: cut->next = cut_tiles(m, cut, cut->next); break;
            case DWC_BY_VECTORS: cut->next = cut_few(m, cut, cut->next); break;
            case DWC_BY_FACTOR: cut->next = cut_factors(m, cut, cut->next); break;
            default: cut->next = (m->dilation_w > 1 ? cut_neighbours : cut_any)(m, cut, cut->next, m->out_w);
        }
}
