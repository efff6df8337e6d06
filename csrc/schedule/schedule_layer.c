/* How a single operation runs: workers, strips of rows, blocks of channels; and how a product goes through its
 * weights. */
#include "schedule.h"

static double pixels_of(const dwc_view *v) { return (double)v->batch * (double)v->height * (double)v->width; }

static double values_of(const dwc_view *v) { return pixels_of(v) * (double)v->channels; }

static double moved_bytes(const dwc_view *x, const dwc_view *y) {
    return (values_of(x) + values_of(y)) * sizeof(float);
}

/* ---- strips ----------------------------------------------------------------------------------- */

/* Rows into strips of a multiple of `unit`, so that all workers have the same number of items, or nearly. */
static void cut_rows(dwc_layer_schedule *s, int64_t unit) {
    const int64_t out_h = s->frame.extent.out_h, others = s->frame.y.batch * s->blocks, workers = s->workers;
    int64_t strips = 1;
    if (workers > 1) {
        const int64_t each = within(out_h * others / DWC_SHORT_STRIP / workers, 1, DWC_ITEMS_PER_WORKER);
        strips = divide_up(each * workers, others);
        if (others < DWC_ITEMS_PER_WORKER * workers && strips * others % workers)
            strips = round_up(strips, workers);
    }
    s->strip_rows = smaller(round_up(divide_up(out_h, strips), unit), out_h);
    s->strips = divide_up(out_h, s->strip_rows);
}

/* ---- depthwise -------------------------------------------------------------------------------- */

int dwc_has_whole_lines(const dwc_view *y) {
    return (uintptr_t)y->data % 64 == 0 &&
           (y->channels | y->pixel | y->row | y->image) % DWC_LINE_FLOATS == 0;
}

dwc_dw_schedule dwc_schedule_strip(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                   const dwc_frame *f, int64_t rows, int64_t channels, int64_t stream_bytes,
                                   const dwc_machine *machine) {
    const dwc_view *x = &f->x, *y = &f->y;
    const double moved = moved_bytes(x, y);
    const int64_t ahead = moved >= (double)dwc_far_bytes(machine) ? DWC_FAR_ROWS_AHEAD : DWC_ROWS_AHEAD;
    const dwc_dw_shape shape = {.machine = machine,
                                .window = f->window,
                                .sequence = f->sequence,
                                .in_h = x->height,
                                .in_w = x->width,
                                .out_h = f->sequence ? rows : y->height,
                                .out_w = y->width,
                                .pad_top = f->extent.pad_top,
                                .pad_left = f->extent.pad_left,
                                .x_pixel = in_bytes(f->sequence ? x->row : x->pixel),
                                .y_pixel = in_bytes(f->sequence ? y->row : y->pixel),
                                .channels = channels,
                                .in_bytes = values_of(x) * sizeof(float),
                                .moved_bytes = moved,
                                .stream_bytes = (double)stream_bytes,
                                .aligned = !f->sequence && dwc_has_whole_lines(y),
                                .rows_ahead = ahead * f->window.stride_h};
    return dwc_schedule_depthwise(stage, table, &shape);
}

static void schedule_depthwise(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                               const dwconv_threads *threads, const dwc_machine *machine,
                               dwc_layer_schedule *s) {
    const dwc_view *x = &s->frame.x, *y = &s->frame.y;
    s->nanoseconds = dwc_nanoseconds(dwc_depthwise_work(stage, pixels_of(y)), values_of(x) + values_of(y));
    s->workers = dwc_worker_count(threads, s->nanoseconds);
    /* Workers that write different channels of a pixel take lines from each other, by what their prefetchers fetch
     * beyond a block. So channels are shared only where there are too few rows. */
    const int64_t vectors = divide_up(y->channels, table->lanes), rows = y->batch * y->height;
    const int64_t blocks =
        s->workers > 1 ? smaller(divide_up(DWC_FEW_ROWS * (int64_t)s->workers, rows), vectors) : 1;
    s->block_channels = smaller(divide_up(vectors, blocks) * table->lanes, y->channels);
    s->blocks = divide_up(y->channels, s->block_channels);
    cut_rows(s, s->frame.sequence ? 1 : DWC_TILE_ROWS);
    s->depthwise = dwc_schedule_strip(stage, table, &s->frame, s->strip_rows, s->block_channels,
                                      dwc_far_bytes(machine), machine);
}

/* ---- pointwise and dense ---------------------------------------------------------------------- */

/* Pixels that pass all panels before the next ones do. */
static int64_t passing_pixels(int64_t depth) {
    const int64_t fit = smaller(DWC_PASSING_FLOATS / depth, DWC_MOST_PASSING);
    const int64_t unit = fit < DWC_PASSING_UNIT ? DWC_PASSING_SMALL : DWC_PASSING_UNIT;
    return fit < unit ? DWC_LEAST_PASSING : fit / unit * unit;
}

/* A pointwise product is one rectangle: it is cut into blocks of pixels instead of columns. */
dwc_mm_schedule dwc_schedule_matmul(const dwc_matmul_stage *s, int64_t columns) {
    const int resides = s->depth == s->group_inputs || s->depth * columns <= DWC_RESIDENT_FLOATS;
    return (dwc_mm_schedule){.pixels = passing_pixels(s->depth), .columns = resides ? columns : s->panel};
}

int dwc_prefetches(const dwc_matmul_stage *s, const dwc_view *x, const dwc_view *y,
                   const dwc_machine *machine) {
    return s->depth == s->group_inputs && s->depth >= DWC_PREFETCH_DEPTH &&
           moved_bytes(x, y) >= (double)dwc_far_bytes(machine);
}

/* A 1x1 window with stride 1 does not care where rows and images end: dense ones become single pixels in a column,
 * which strips cut where they like. */
static void flatten(dwc_frame *f) {
    const dwconv_window *w = &f->window;
    dwc_view *x = &f->x, *y = &f->y;
    if (w->kernel_h != 1 || w->kernel_w != 1 || w->stride_h != 1 || w->stride_w != 1 || f->extent.pad_top ||
        f->extent.pad_left || x->height != y->height || x->width != y->width)
        return;
    if ((x->row != x->width * x->pixel && x->height > 1) || (y->row != y->width * y->pixel && y->height > 1))
        return;
    x->height = y->height = x->width * x->height;
    x->width = y->width = 1;
    x->row = x->pixel;
    y->row = y->pixel;
    if (x->image == x->height * x->row && y->image == y->height * y->row) {
        x->height = y->height = x->height * x->batch;
        x->batch = y->batch = 1;
    }
    f->extent.out_h = y->height;
    f->extent.out_w = 1;
}

/* Whether workers share panels of columns instead of pixels, which are too few, if there are enough panels. */
static int shares_panels(const dwc_matmul_stage *stage, const dwc_layer_schedule *s, int64_t panels) {
    const int64_t workers = s->workers, rows = s->frame.y.batch * s->frame.extent.out_h;
    const double pixels = pixels_of(&s->frame.y);
    const int few = pixels < (double)(DWC_FEW_PIXELS * workers) || rows < DWC_FEW_MATRIX_ROWS * workers;
    return workers > 1 && stage->groups == 1 && few &&
           (panels >= DWC_PANELS_PER_WORKER * workers || pixels < (double)workers);
}

static void schedule_matmul(const dwc_matmul_stage *stage, const dwconv_threads *threads,
                            const dwc_machine *machine, dwc_layer_schedule *s) {
    const dwc_view *y = &s->frame.y;
    const int64_t panels = divide_up(stage->group_outputs, stage->panel);
    const double weights = (double)stage->depth * (double)stage->group_outputs * (double)stage->groups;
    const int far = dwc_prefetches(stage, &s->frame.x, y, machine);
    s->nanoseconds = dwc_nanoseconds(dwc_matmul_work(stage, pixels_of(y)), values_of(y) + weights / 2);
    s->workers = dwc_worker_count(threads, s->nanoseconds);
    flatten(&s->frame);
    s->blocks = 1;
    s->block_channels = y->channels;
    if (shares_panels(stage, s, panels)) {
        const int64_t blocks = smaller(panels, DWC_ITEMS_PER_WORKER * (int64_t)s->workers);
        s->block_channels = smaller(divide_up(panels, blocks) * stage->panel, stage->group_outputs);
        s->blocks = divide_up(stage->group_outputs, s->block_channels);
    }
    cut_rows(s, 1);
    s->matrix = dwc_schedule_matmul(stage, s->blocks > 1 ? s->block_channels : stage->group_outputs);
    s->matrix.far_y = far;
    s->matrix.pixels_ahead = far ? DWC_PREFETCH_PIXELS : 0;
}

dwconv_status dwc_schedule_layer(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                 const dwconv_threads *threads, const dwc_machine *machine,
                                 dwc_layer_schedule *s) {
    const dwc_node *node = plan->graph.nodes;
    const int is_depthwise = node->op == DWC_DEPTHWISE;
    DWC_TRY(dwc_frame_of(is_depthwise ? &node->depthwise.window : &node->matrix.window, x, y, &s->frame));
    if (is_depthwise)
        schedule_depthwise(&node->depthwise, plan->table, threads, machine, s);
    else
        schedule_matmul(&node->matrix, threads, machine, s);
    return DWCONV_OK;
}
