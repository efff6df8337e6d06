/* How a quantized block is walked down: bands, chunks, and the rows that stay. */
#include "schedule.h"

/* Rows that two bands both expand may be this part of the image: else workers share stages. */
enum { LEAST_BANDS_SHARE = 16 };

/* What chunks are made of; pixels are dense. */
typedef struct block {
    const dwc_s8_stage_schedule *expand, *depthwise; /* expand: or NULL */
    const dwconv_window *window;
    int64_t in_row, out_row; /* bytes of a row of the expanded image, and of depthwise's output */
    int64_t unit;            /* output rows that depthwise takes at a time */
    double room;
} block;

static int row_bytes(const dwc_s8_stage_schedule *how, int64_t *bytes) {
    return dwc_multiply(how->out[2], how->out[3], bytes);
}

static int64_t seen_rows(const block *b, int64_t rows) {
    const dwconv_window *w = b->window;
    return smaller((rows - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1, b->depthwise->in[1]);
}

/* As few equal shares of a band as fit the room, or the fewest rows. */
static int64_t chunk_rows(const block *b, int64_t band_rows) {
    const dwconv_window *w = b->window;
    const int64_t span = (w->kernel_h - 1) * w->dilation_h + 1;
    const double first = (double)(span - w->stride_h) * (double)b->in_row,
                 each = (double)w->stride_h * (double)b->in_row + (double)b->out_row;
    const double fit = (b->room - first) / each / (double)b->unit;
    const int64_t most = fit < 1 ? b->unit : fit < (double)band_rows ? (int64_t)fit * b->unit : band_rows;
    if (most >= band_rows) return band_rows;
    return smaller(round_up(divide_up(band_rows, divide_up(band_rows, most)), b->unit), band_rows);
}

/* Equal shares of an image for workers that have no images of their own. Returns 0 where they expand too many rows
 * twice. */
static int cut_bands(const block *b, int64_t batch, int workers, dwc_s8_walk *w) {
    const int64_t height = b->depthwise->out[1];
    const int64_t shared = batch % workers ? workers : 1;
    const int64_t halo = (b->window->kernel_h - 1) * b->window->dilation_h + 1 - b->window->stride_h;
    w->band_rows = smaller(round_up(divide_up(height, shared), b->unit), height);
    w->bands = divide_up(height, w->band_rows);
    return !b->expand || halo <= 0 || (w->bands - 1) * halo <= b->depthwise->in[1] / LEAST_BANDS_SHARE;
}

dwconv_status dwc_schedule_s8_walk(const dwc_graph *g, const dwc_machine *machine, dwc_s8_schedule *s) {
    const int at = s->depthwise;
    const dwconv_window *window = &g->nodes[s->stage[at].node].s8->window;
    const int64_t batch = s->gate.mean ? 1 : s->stage[at].out[0]; /* images that workers have at a time */
    block b = {.expand = at > 0 ? &s->stage[0] : NULL, .depthwise = &s->stage[at], .window = window};
    dwc_s8_walk w = {0};
    b.unit = 2 * (window->dilation_h / common_divisor(window->stride_h, window->dilation_h));
    b.room = (double)(smaller(machine->l2_bytes, DWC_MOST_CACHE) / 2);
    if (!row_bytes(b.depthwise, &b.out_row) || (b.expand && !row_bytes(b.expand, &b.in_row)))
        return DWCONV_OVERFLOW;
    s->walk = w;
    if (b.depthwise->out[1] == 0 || !cut_bands(&b, batch, s->workers, &w)) return DWCONV_OK;
    w.chunk_rows = chunk_rows(&b, w.band_rows);
    w.kept_rows = b.expand ? seen_rows(&b, w.chunk_rows) : 0;
    int64_t kept, chunk; /* with a gate there are no chunks: what depthwise gives goes where it stays */
    if (!dwc_multiply(w.kept_rows, b.in_row, &kept) ||
        !dwc_multiply(s->gate.mean ? 0 : w.chunk_rows, b.out_row, &chunk) || kept > PTRDIFF_MAX / 4 ||
        chunk > PTRDIFF_MAX / 4)
        return DWCONV_OVERFLOW;
    w.kept_at = round_up(s->worker_bytes, DWCONV_ALIGNMENT);
    w.chunk_at = w.kept_at + round_up(kept, DWCONV_ALIGNMENT);
    s->worker_bytes = w.chunk_at + round_up(chunk, DWCONV_ALIGNMENT);
    s->walk = w;
    return DWCONV_OK;
}
