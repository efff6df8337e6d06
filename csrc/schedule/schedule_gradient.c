/* How gradients are computed: phases of input gradients, chunks and items of filter gradients. */
#include <math.h>

#include "schedule_gradient.h"

static double values_of(const dwc_view *v) {
    return (double)v->batch * (double)v->height * (double)v->width * (double)v->channels;
}

static size_t aligned(size_t bytes) {
    return (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
}

/* Nanoseconds on one worker of as many multiply-adds as the forward pass has. */
static double nanoseconds(const dwc_gradient *g, double moved, const dwc_view *y) {
    const double taps = (double)(g->window.kernel_h * g->window.kernel_w * g->group_inputs);
    return dwc_nanoseconds(values_of(y) * taps, moved);
}

/* ---- input gradients ------------------------------------------------------------------------ */

static size_t bytes_of_row(const dwc_view *v) { return (size_t)in_bytes(v->width * v->channels); }

/* What of it bands may take beside weights and what else comes by. */
static size_t band_bytes(void) { return (size_t)dwc_this_machine().l2_bytes / DWC_BAND_SHARE; }

/* Rows of dx: whole strides, as many as fit, and few enough that all workers have some. */
static int64_t band_rows(const dwc_gradient *g, const dwc_view *x, const dwc_view *y, int workers) {
    const int64_t stride = g->window.stride_h;
    const size_t bytes = (size_t)stride * bytes_of_row(x) + bytes_of_row(y);
    const int64_t fit = larger((int64_t)(band_bytes() / bytes), 1) * stride;
    const int64_t items = workers > 1 ? DWC_ITEMS_PER_WORKER * (int64_t)workers : 1;
    const int64_t even = round_up(divide_up(x->height, divide_up(items, x->batch)), stride);
    return smaller(smaller(fit, even), x->height);
}

/* The plan of a phase, its scratch, and whether bands can walk it. */
static dwconv_status add_phase(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                               const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                               dwc_input_gradient_schedule *s) {
    dwc_built built;
    dwconv_plan prepared;
    dwc_frame frame;
    dwc_view dx = *x, dy = *y;
    DWC_TRY(dwc_prepare_phase(g, rows, columns, &built, &prepared));
    const dwc_node *n = built.nodes;
    s->plan_bytes += aligned(prepared.bytes);
    s->depthwise &= n->op == DWC_DEPTHWISE;
    if (n->op != DWC_DEPTHWISE) return DWCONV_OK;
    const int64_t values = rows->taps * columns->taps * g->group_outputs * g->in_channels;
    if ((size_t)in_bytes(values) > s->flipped_bytes) s->flipped_bytes = aligned((size_t)in_bytes(values));
    dwc_phase_views(g, rows, columns, &dx, &dy);
    DWC_TRY(dwc_frame_of(&n->depthwise.window, &dy, &dx, &frame));
    s->depthwise &= !frame.sequence;
    return DWCONV_OK;
}

/* Blocks of 2x2 pixels are for 3x3 windows with stride 2: each pixel of dy is loaded once for all that see it. */
static int goes_in_blocks(const dwc_gradient *g) {
    const dwconv_window *w = &g->window;
    return g->group_inputs == 1 && g->group_outputs == 1 && w->kernel_h == 3 && w->kernel_w == 3 &&
           w->stride_h == 2 && w->stride_w == 2 && w->dilation_h == 1 && w->dilation_w == 1;
}

/* Kernels whose vectors are lines store large results past the caches. */
static int streams(const dwc_gradient *g, const dwc_view *x) {
    return dwc_numbers_of(g->table)->whole_lines && dwc_has_whole_lines(x) &&
           values_of(x) * sizeof(float) >= DWC_STREAM_CACHES * (double)dwc_this_machine().l2_bytes;
}

dwconv_status dwc_schedule_input_gradient(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                          const dwconv_threads *threads, dwc_input_gradient_schedule *s) {
    const dwconv_window *w = &g->window;
    dwc_extent extent;
    DWC_TRY(dwc_window_extent(w, x->height, x->width, &extent));
    *s = (dwc_input_gradient_schedule){.row_phases = smaller(w->stride_h, x->height),
                                       .column_phases = smaller(w->stride_w, x->width)};
    s->workers = dwc_worker_count(threads, nanoseconds(g, values_of(x) + values_of(y), y));
    if (goes_in_blocks(g)) {
        s->back = g->table->back;
        s->streams = streams(g, x);
        s->depthwise = 1;
        s->band_rows = band_rows(g, x, y, s->workers);
        return DWCONV_OK;
    }
    s->depthwise = s->row_phases <= DWC_MOST_BAND_STRIDE && s->column_phases <= DWC_MOST_BAND_STRIDE;
    for (int64_t i = 0; i < s->row_phases; i++) {
        const dwc_phase_axis rows =
            dwc_phase_of(i, x->height, y->height, w->kernel_h, w->stride_h, w->dilation_h, extent.pad_top);
        for (int64_t j = 0; j < s->column_phases && rows.taps; j++) {
            const dwc_phase_axis columns =
                dwc_phase_of(j, x->width, y->width, w->kernel_w, w->stride_w, w->dilation_w, extent.pad_left);
            if (columns.taps) DWC_TRY(add_phase(g, x, y, &rows, &columns, s));
        }
    }
    s->scratch_bytes = s->flipped_bytes + s->plan_bytes;
    const size_t phases = (size_t)(s->row_phases * s->column_phases);
    if (s->depthwise) s->scratch_bytes += aligned(phases * sizeof(dwc_dx_phase));
    if (s->depthwise && phases > 1) s->band_rows = band_rows(g, x, y, s->workers);
    s->by_image =
        phases > 1 && !s->band_rows && (s->workers == 1 || x->batch >= DWC_IMAGES_PER_WORKER * s->workers);
    return DWCONV_OK;
}

void dwc_schedule_phase(const dwc_gradient *g, int64_t channels, dwc_dx_phase *p) {
    const dwc_machine machine = dwc_this_machine();
    const dwc_depthwise_stage *stage = &p->plan->graph.nodes->depthwise;
    p->how = dwc_schedule_strip(stage, g->table, &p->frame, p->rows.count, channels,
                                DWC_STREAM_CACHES * machine.l2_bytes, &machine);
}

/* ---- filter gradients: depthwise --------------------------------------------------------------- */

/* The kernel for all taps of a row and at most so many rows, or the one for any window, which takes some of them at a
 * time. */
static const dwc_dw_gradient_kernel *choose_kernel(const dwc_gradient *g, int64_t rows) {
    const dwconv_window *w = &g->window;
    const dwc_kernel_table *table = g->table;
    const int spreads = g->group_outputs > 1;
    const int64_t stride = w->dilation_w == 1 ? w->stride_w : 0;
    const dwc_dw_gradient_kernel *any = &table->gradients[table->gradient_count - 2 + spreads];
    for (int pass = 0; pass < 2; pass++) /* of its stride, or for any */
        for (int i = 0; i < table->gradient_count - 2 && !spreads; i++) {
            const dwc_dw_gradient_kernel *k = &table->gradients[i];
            if (k->taps == w->kernel_w && k->rows <= rows && k->stride == (pass ? 0 : stride) &&
                (!k->rolls || (w->kernel_h == 3 && w->stride_h == stride && w->dilation_h == 1)))
                return k;
        }
    return any;
}

static void schedule_depthwise(const dwc_gradient *g, const dwc_view *y, dwc_filter_gradient_schedule *s) {
    const int64_t taps = g->window.kernel_h * g->window.kernel_w, rows = y->batch * y->height;
    const int64_t pixels = rows * y->width;
    s->depthwise = 1;
    s->kernel = choose_kernel(g, g->window.kernel_h);
    s->rest = choose_kernel(g, g->window.kernel_h % s->kernel->rows);
    if (s->rest->taps != s->kernel->taps || s->rest->columns != s->kernel->columns) s->rest = s->kernel;
    s->padded = round_up(g->out_channels, DWC_MOST_LANES);
    /* Sums of a block of kernel rows and taps are read and written whole, also where it reaches over the end. */
    const int64_t rest = g->window.kernel_h % s->kernel->rows;
    const int ends = rest % s->rest->rows == 0 && g->window.kernel_w % s->kernel->taps == 0;
    const int64_t spare = ends ? 0 : s->kernel->rows * g->window.kernel_w + s->kernel->taps;
    s->chunk_floats = (taps + spare) * s->padded;
    const int64_t most = s->kernel->rolls ? DWC_GRADIENT_ROWS : DWC_TILE_GROUP;
    s->row_group = divide_up(y->height, divide_up(y->height, most)); /* of an image, evenly */
    s->chunks = within(pixels / DWC_CHUNK_PIXELS, 1, DWC_MOST_CHUNKS);
    s->chunk_rows = round_up(divide_up(rows, s->chunks), s->row_group);
    s->chunks = divide_up(rows, s->chunk_rows);
    const int64_t vectors = s->padded / DWC_MOST_LANES;
    s->blocks = smaller(divide_up((int64_t)s->workers, s->chunks), vectors);
    s->block_channels = divide_up(vectors, s->blocks) * DWC_MOST_LANES;
    s->blocks = divide_up(g->out_channels, s->block_channels);
    s->worker_floats = 0;
}

/* ---- filter gradients: products of pixels ------------------------------------------------------- */

/* A 1x1 window with stride 1 does not care where rows and images end: boxes are of consecutive pixels. */
static int is_flat(const dwc_gradient *g, const dwc_view *x, const dwc_view *y) {
    const dwconv_window *w = &g->window;
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 && !w->pad_top &&
           !w->pad_left && x->height == y->height && x->width == y->width;
}

/* Boxes of output pixels: rows, or parts of them, then rows of an image, then images. */
static void cut_boxes(const dwc_view *y, dwc_filter_gradient_schedule *s) {
    if (s->flat) {
        const int64_t pixels = y->batch * y->height * y->width;
        s->images = s->rows = 1;
        s->boxes = divide_up(pixels, DWC_BOX_PIXELS);
        s->columns = divide_up(pixels, s->boxes);
        s->boxes = divide_up(pixels, s->columns);
        return;
    }
    s->columns = smaller(y->width, DWC_BOX_PIXELS);
    s->boxes_across = divide_up(y->width, s->columns);
    s->columns = divide_up(y->width, s->boxes_across);
    s->rows = within(DWC_BOX_PIXELS / s->columns, 1, y->height);
    s->boxes_down = divide_up(y->height, s->rows);
    s->rows = divide_up(y->height, s->boxes_down);
    s->images = s->boxes_down == 1 ? within(DWC_BOX_PIXELS / (s->columns * s->rows), 1, y->batch) : 1;
    s->boxes = divide_up(y->batch, s->images) * s->boxes_down * s->boxes_across;
}

/* So many parts of each chunk that all workers get as many. */
static int64_t even_blocks(int64_t chunks, int64_t workers) {
    if (chunks >= DWC_ITEMS_PER_WORKER * workers) return 1;
    int64_t blocks = 1;
    while (chunks * blocks % workers) blocks++;
    return blocks;
}

static void schedule_product(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                             dwc_filter_gradient_schedule *s) {
    const int64_t values = dwc_filter_size(g);
    s->flat = is_flat(g, x, y);
    cut_boxes(y, s);
    const int64_t pixels = s->images * s->rows * s->columns;
    /* Sums of several chunks are worth their memory where it is little. */
    s->chunks =
        values <= DWC_CHUNK_VALUES ? within(s->boxes / DWC_CHUNK_BOXES, 1, DWC_MOST_PRODUCT_CHUNKS) : 1;
    s->chunk_boxes = divide_up(s->boxes, s->chunks);
    s->chunks = divide_up(s->boxes, s->chunk_boxes);
    s->chunk_floats = s->chunks > 1 ? round_up(values, DWC_LINE_FLOATS) : 0;
    const int64_t unit = g->table->panel_unit, units = divide_up(g->group_outputs, unit);
    s->blocks = smaller(even_blocks(s->chunks, s->workers), units);
    s->block_channels = smaller(divide_up(units, s->blocks) * unit, g->group_outputs);
    s->blocks = divide_up(g->group_outputs, s->block_channels);
    s->piece_channels = smaller(s->block_channels, DWC_PANEL_COLUMNS);
    s->block_rows = smaller(g->group_inputs, DWC_PASSING_UNIT);
    s->pitch = round_up(pixels, DWC_LINE_FLOATS) + DWC_LINE_FLOATS; /* no power of two */
    s->panel_floats = (pixels + 1) * round_up(s->piece_channels, DWC_LINE_FLOATS);
    s->result_floats = round_up(s->block_rows * g->table->panel_width, DWC_LINE_FLOATS);
    s->worker_floats = s->panel_floats + s->block_rows * s->pitch + s->result_floats;
}

dwconv_status dwc_schedule_filter_gradient(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                           const dwconv_threads *threads, int with_bias,
                                           dwc_filter_gradient_schedule *s) {
    *s = (dwc_filter_gradient_schedule){0};
    const double moved = (x ? values_of(x) : 0) + values_of(y);
    s->workers = dwc_worker_count(threads, x ? nanoseconds(g, moved, y) : dwc_nanoseconds(0, moved));
    if (x && g->group_inputs > 1)
        schedule_product(g, x, y, s);
    else
        schedule_depthwise(g, y, s);
    if (!x) s->chunk_floats = 0;
    s->bias_floats = with_bias ? round_up(g->out_channels, DWC_LINE_FLOATS) : 0;
    int64_t floats = s->worker_floats * s->workers, chunks, inputs = 0;
    if (s->depthwise && x && g->group_outputs > 1) inputs = s->padded + DWC_MOST_LANES;
    if (!dwc_multiply(s->chunks, s->chunk_floats + 2 * s->bias_floats, &chunks) ||
        chunks > INT64_MAX / 64 - floats - inputs)
        return DWCONV_OVERFLOW;
    s->scratch_bytes = aligned((size_t)in_bytes(floats + chunks + inputs));
    return DWCONV_OK;
}

/* ---- both --------------------------------------------------------------------------------------- */

int64_t dwc_band_begin(const dwc_gradient *g, const dwc_extent *extent, int64_t height, int64_t oy) {
    const int64_t middle = (g->window.kernel_h - 1) * g->window.dilation_h / 2;
    if (oy == 0) return 0;
    if (oy >= extent->out_h) return height;
    return within(oy * g->window.stride_h - extent->pad_top + middle, 0, height);
}

/* Pixel i of dx sees outputs o with o * stride = i + pad - t * dilation, for taps t of the window. */
void dwc_rows_of_band(const dwc_gradient *g, const dwc_extent *extent, int64_t height, int64_t oy,
                      int64_t rows, int64_t *first, int64_t *last) {
    const dwconv_window *w = &g->window;
    const int64_t begin = dwc_band_begin(g, extent, height, oy);
    const int64_t end = dwc_band_begin(g, extent, height, oy + rows);
    *first = oy;
    *last = oy + rows;
    if (begin >= end) return;
    const int64_t low = begin + extent->pad_top - (w->kernel_h - 1) * w->dilation_h;
    const int64_t high = (end - 1 + extent->pad_top) / w->stride_h + 1;
    *first = smaller(*first, low > 0 ? divide_up(low, w->stride_h) : 0);
    *last = larger(*last, smaller(high, extent->out_h));
}

/* The most rows of such a band: the middle of the window, where bands begin, decides how many before and after. */
static int64_t most_rows(const dwc_gradient *g, int64_t band_rows) {
    const int64_t all = (g->window.kernel_h - 1) * g->window.dilation_h, middle = all / 2;
    const int64_t after = middle ? (middle - 1) / g->window.stride_h + 1 : 0;
    return band_rows + (all - middle) / g->window.stride_h + after;
}

/* Whether all is computed in one walk. */
static int is_joint(const dwc_gradient *g, dwc_gradient_wish wish, const dwc_both_gradients_schedule *s) {
    if (!wish.input) return s->filter.depthwise || g->groups == 1;
    if (s->filter.depthwise) return s->input.depthwise && g->group_outputs == 1;
    if (!s->filter.flat || s->filter.blocks > 1 || g->groups > 1 || s->input.depthwise) return 0;
    return wish.normalized && g->out_channels >= g->in_channels; /* what is not moved is most of all */
}

dwconv_status dwc_schedule_both_gradients(const dwc_gradient *g, const dwc_view *x, const dwc_view *y,
                                          const dwconv_threads *threads, dwc_gradient_wish wish,
                                          dwc_both_gradients_schedule *s) {
    *s = (dwc_both_gradients_schedule){0};
    if (wish.input) DWC_TRY(dwc_schedule_input_gradient(g, x, y, threads, &s->input));
    DWC_TRY(dwc_schedule_filter_gradient(g, x, y, threads, wish.bias, &s->filter));
    const dwc_filter_gradient_schedule *f = &s->filter;
    s->joint = is_joint(g, wish, s);
    if (!s->joint) {
        const int64_t pixels = y->batch * y->height * y->width;
        s->made_floats = wish.normalized ? round_up(pixels * y->channels, DWC_LINE_FLOATS) : 0;
        s->made_at = s->input.scratch_bytes > f->scratch_bytes ? s->input.scratch_bytes : f->scratch_bytes;
        s->scratch_bytes = s->made_at + (size_t)in_bytes(s->made_floats);
        return DWCONV_OK;
    }
    const size_t bytes = 2 * (size_t)g->window.stride_h * bytes_of_row(x) + bytes_of_row(y);
    int64_t pixels = f->images * f->rows * f->columns;
    if (f->depthwise) {
        const int64_t group = f->row_group, fit = (int64_t)(band_bytes() / bytes) / group;
        s->band_rows = smaller(larger(fit, 1) * group, f->chunk_rows);
        pixels = smaller(most_rows(g, s->band_rows), y->height) * y->width;
    }
    s->filter_at = s->input.scratch_bytes;
    s->made_floats = wish.normalized ? round_up(pixels * f->block_channels, DWC_LINE_FLOATS) : 0;
    s->made_at = s->filter_at + f->scratch_bytes;
    s->scratch_bytes = s->made_at + (size_t)in_bytes(s->made_floats * f->workers);
    return DWCONV_OK;
}
