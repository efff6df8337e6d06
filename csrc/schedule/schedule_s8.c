/* How a quantized operation runs. */
#include <string.h>

#include "schedule.h"

/* Multiply-adds of plain loops, and of kernels; orders of magnitude. */
#define PLAIN_PER_NANOSECOND 4.0
#define KERNELS_PER_NANOSECOND 100.0
/* What one output takes to be rounded, clamped and stored, in multiply-adds. */
#define STORE_WORK 10.0

enum {
    LINES_BYTES = 24576,  /* of lines, which stay in the first-level cache beside weights and outputs */
    LINE_BYTES = 8192,    /* of one: rows of the image and outputs pass through that cache as well */
    PIXEL_BYTES = 24576,  /* of all lines, for several pixels at a time: their runs are short */
    STAGED_BYTES = 16384, /* sums on their way */
    PASSING_BYTES = 16384 /* inputs that pass all panels before the next ones do */
};

static double nanoseconds_of(const dwc_s8_stage *s, const int64_t out[4]) {
    const double depth = (double)(s->window.kernel_h * s->window.kernel_w) * (double)s->group_inputs;
    return (double)out[1] * (double)out[2] * (double)out[3] * (depth + STORE_WORK) /
           (s->kernels ? KERNELS_PER_NANOSECOND : PLAIN_PER_NANOSECOND);
}

/* ---- what kernels are given at a time ----------------------------------------------------------- */

/* Input columns that so many outputs of a row see. */
static int64_t span_of(const dwconv_window *w, int64_t outputs) {
    return (outputs - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
}

/* Inputs that so many outputs of a depthwise stage see. */
static int64_t line_inputs(const dwc_s8_stage *s, int64_t outputs) {
    const int64_t multiplier = s->group_outputs;
    return multiplier == 1 ? outputs : outputs / multiplier + 2;
}

/* All channels, and as much of a row as fits, in pieces of one width. */
static void schedule_pixels(const dwc_s8_stage *s, dwc_s8_stage_schedule *how) {
    const int64_t out_w = how->out[2], pixels = s->lines.pixels;
    how->channels = how->out[3];
    const int64_t fit = PIXEL_BYTES / s->lines.lines / (2 * s->groups) - span_of(&s->window, 1) + 1;
    const int64_t pieces = divide_up(out_w, larger(fit, smaller(larger(16, 2 * pixels), out_w)));
    how->columns = larger(round_up(divide_up(out_w, pieces), pixels), pixels);
}

/* All of a row and as many groups of channels as fit, or those of a line of the cache and as much of a row. */
static void schedule_groups(const dwc_s8_stage *s, dwc_s8_stage_schedule *how) {
    const dwconv_window *w = &s->window;
    const int64_t out_w = how->out[2], group = 2 * s->kernels->lanes;
    const int64_t fit = smaller(LINE_BYTES, LINES_BYTES / s->lines.lines);
    const int64_t unit = smaller(round_up(DWCONV_ALIGNMENT, group), round_up(how->out[3], group));
    const int64_t column = 2 * line_inputs(s, unit), units = fit / column / span_of(w, out_w);
    how->channels = larger(units, 1) * unit;
    how->columns = out_w;
    if (units > 0) return;
    const int64_t outputs = (fit / column - span_of(w, 1)) / w->stride_w + 1;
    how->columns = within(outputs, smaller(16, out_w), out_w);
}

static dwconv_status schedule_lines(const dwc_s8_stage *s, int staged, dwc_s8_stage_schedule *how) {
    const dwconv_window *w = &s->window;
    const int is_staged = staged || s->lines.pixels > 1; /* outputs may have gaps, or be too few */
    if (s->lines.pixels > 1)
        schedule_pixels(s, how);
    else
        schedule_groups(s, how);
    const int64_t most = smaller(how->out[3], 2 * how->channels);
    const int64_t columns = span_of(w, how->columns) + dwc_s8_columns_beyond(&s->lines) * w->dilation_w;
    if (!dwc_multiply(columns, 2 * line_inputs(s, most), &how->row_bytes) ||
        how->row_bytes > PTRDIFF_MAX / 1024)
        return DWCONV_OVERFLOW;
    how->row_bytes = round_up(how->row_bytes + DWC_S8_SLACK, DWCONV_ALIGNMENT);
    how->staged_bytes = is_staged ? round_up(2 * how->columns * most * 4, DWCONV_ALIGNMENT) : 0;
    how->worker_bytes = s->lines.lines * how->row_bytes + how->staged_bytes;
    return DWCONV_OK;
}

/* Rows of pixels are copied where a window sees padding, or pixels that are not dense: one for every kernel row, one of
 * padding alone, and which row each is. */
static dwconv_status schedule_rows(const dwc_s8_stage *s, int staged, dwc_s8_stage_schedule *how) {
    const dwconv_window *w = &s->window;
    const int64_t depth = w->kernel_h * w->kernel_w * s->group_inputs, outputs = how->out[3];
    how->channels = outputs;
    how->columns = within(PASSING_BYTES / depth, 28, 512);
    if (staged) how->columns = within(STAGED_BYTES / 4 / s->group_outputs, 1, how->columns);
    how->staged_bytes = staged ? round_up(how->columns * s->group_outputs * 4, DWCONV_ALIGNMENT) : 0;
    how->worker_bytes = how->staged_bytes;
    const int copies = w->kernel_h > 1 || w->kernel_w > 1 || w->padding == DWCONV_EXPLICIT;
    if (!copies) return DWCONV_OK;
    if (!dwc_multiply(span_of(w, how->out[2]), how->in[3], &how->row_bytes) ||
        how->row_bytes > PTRDIFF_MAX / 1024)
        return DWCONV_OVERFLOW;
    how->row_bytes =
        round_up(how->row_bytes + (s->matrix.k % DWC_S8_WORD ? DWC_S8_WORD : 0), DWCONV_ALIGNMENT);
    how->worker_bytes += (w->kernel_h + 1) * how->row_bytes;
    return DWCONV_OK;
}

/* ---- stages --------------------------------------------------------------------------------------- */

/* Of strips that workers share: with the fewest rows for the one that gets the most, and no shorter than needed. */
static int64_t strip_rows(int64_t out_h, int64_t workers, int64_t unit) {
    int64_t best = out_h, most = out_h;
    for (int64_t strips = workers; workers > 1 && strips <= workers * DWC_ITEMS_PER_WORKER;
         strips += workers) {
        const int64_t rows = smaller(round_up(divide_up(out_h, strips), unit), out_h);
        const int64_t of_one = divide_up(divide_up(out_h, rows), workers) * rows;
        if (of_one > most || (of_one == most && rows < DWC_CHUNK_ROWS && best < out_h)) continue;
        best = rows, most = of_one;
    }
    return best;
}

static dwconv_status schedule_stage(const dwc_s8_stage *s, int workers, int staged,
                                    dwc_s8_stage_schedule *how) {
    DWC_TRY(dwc_window_extent(&s->window, how->in[1], how->in[2], &how->extent));
    const int64_t out_h = how->out[1];
    how->workers = workers;
    how->strip_rows = strip_rows(out_h, how->workers, s->is_depthwise ? DWC_TILE_ROWS : 1);
    how->strips = divide_up(out_h, how->strip_rows);
    if (!s->kernels) return DWCONV_OK;
    return s->is_depthwise ? schedule_lines(s, staged, how) : schedule_rows(s, staged, how);
}

/* Shapes, and what stages are given at a time. `workers`: of all that is worth sharing; 0: as many as are worth it. */
static dwconv_status schedule_stages(const dwc_graph *g, const int64_t input[4],
                                     const dwconv_threads *threads, int workers, dwc_s8_schedule *s) {
    dwc_shape shapes[DWC_MOST_VALUES];
    memcpy(shapes[0], input, sizeof(dwc_shape));
    DWC_TRY(dwc_shapes(g, shapes));
    const int last = g->node_count - 1 - (g->nodes[g->node_count - 1].op == DWC_ADD);
    for (int i = 0; i <= last; i++) {
        const dwc_node *n = &g->nodes[i];
        if (n->op == DWC_MEAN) s->gate.mean = i;
        if (n->op == DWC_SCALE) s->gate.scale = i;
        if (n->op != DWC_DEPTHWISE && n->op != DWC_MATRIX) continue;
        if (n->op == DWC_DEPTHWISE) s->depthwise = s->stages;
        dwc_s8_stage_schedule *how = &s->stage[s->stages++];
        how->node = i;
        memcpy(how->in, shapes[n->inputs[0]], sizeof how->in);
        memcpy(how->out, shapes[n->output], sizeof how->out);
        const double image = nanoseconds_of(n->s8, how->out), all = image * (double)input[0];
        const double at_once = last == 0 ? all : image; /* that workers share */
        s->nanoseconds += all;
        const int staged =
            g->rounding == DWCONV_ROUND_TFLITE || (i == last && dwc_output_dtype(g) == DWCONV_F32);
        const int alone = s->gate.mean && !s->gate.scale; /* squeeze and excite: a pixel */
        const int shared = workers ? workers : dwc_worker_count(threads, at_once);
        DWC_TRY(schedule_stage(n->s8, alone ? 1 : shared, staged, how));
        s->worker_bytes = larger(s->worker_bytes, how->worker_bytes);
        if (how->workers > s->workers) s->workers = how->workers;
    }
    return DWCONV_OK;
}

/* Reserves rows * columns * bytes of scratch, and tells where. */
static dwconv_status reserve(dwc_s8_schedule *s, int64_t rows, int64_t columns, int64_t bytes, int64_t *at) {
    int64_t all;
    *at = (int64_t)s->scratch_bytes;
    if (!dwc_multiply(rows, columns, &all) || !dwc_multiply(all, bytes, &all) ||
        (uint64_t)all > PTRDIFF_MAX / 4 - s->scratch_bytes)
        return DWCONV_OVERFLOW;
    s->scratch_bytes += (size_t)round_up(all, DWCONV_ALIGNMENT);
    return DWCONV_OK;
}

/* Reserves what stages from `first` on give to the next, of one image. */
static dwconv_status reserve_images(dwc_s8_schedule *s, int first) {
    for (int i = first; i < s->stages; i++) {
        dwc_s8_stage_schedule *how = &s->stage[i];
        const int is_last = i == s->stages - 1;
        how->scratch = -1;
        if (!is_last) DWC_TRY(reserve(s, how->out[1], how->out[2], how->out[3], &how->scratch));
    }
    return DWCONV_OK;
}

/* Few pixels are scaled at a time, so that they are in the first-level cache when they are projected. */
static dwconv_status schedule_gate(dwc_s8_schedule *s) {
    const dwc_s8_stage_schedule *wide = &s->stage[s->depthwise], *squeeze = wide + 1, *last = wide + 3;
    dwc_s8_gate *gate = &s->gate;
    const int64_t width = wide->out[2], channels = wide->out[3];
    gate->parts = s->walk.chunk_rows ? s->walk.bands : wide->strips;
    gate->rows = divide_up(larger(last->columns, 1), width);
    DWC_TRY(reserve(s, gate->parts, channels, sizeof(int32_t), &gate->sums_at));
    DWC_TRY(reserve(s, 1, channels, 1, &gate->mean_at));
    DWC_TRY(reserve(s, 1, squeeze->out[3], 1, &gate->squeezed_at));
    return reserve(s, 1, width, channels, &gate->factors_at);
}

static dwconv_status schedule_for(const dwconv_plan *plan, const int64_t input[4],
                                  const dwconv_threads *threads, int workers, const dwc_machine *machine,
                                  dwc_s8_schedule *s) {
    *s = (dwc_s8_schedule){.workers = 1};
    DWC_TRY(schedule_stages(&plan->graph, input, threads, workers, s));
    if (s->stages > 1) {
        s->workers = workers ? workers : dwc_worker_count(threads, s->nanoseconds);
        DWC_TRY(dwc_schedule_s8_walk(&plan->graph, machine, s));
        if (!s->walk.chunk_rows || s->gate.mean)
            DWC_TRY(reserve_images(s, s->walk.chunk_rows ? s->depthwise : 0));
        if (s->gate.mean) DWC_TRY(schedule_gate(s));
    }
    s->workers_at = (int64_t)s->scratch_bytes;
    if (s->worker_bytes > (PTRDIFF_MAX / 2 - s->workers_at) / s->workers) return DWCONV_OVERFLOW;
    s->scratch_bytes += (size_t)(s->worker_bytes * s->workers);
    return DWCONV_OK;
}

dwconv_status dwc_schedule_s8(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                              const dwc_machine *machine, dwc_s8_schedule *s) {
    return schedule_for(plan, input, threads, 0, machine, s);
}

dwconv_status dwc_s8_scratch(const dwconv_plan *plan, const int64_t input[4], int threads,
                             const dwc_machine *machine, size_t *scratch) {
    *scratch = 0;
    for (int workers = threads > 1 ? threads : 1; workers > 0 && input[0];
         workers = (int)smaller(workers - 1, DWC_MOST_WORKERS)) {
        dwc_s8_schedule s;
        DWC_TRY(schedule_for(plan, input, NULL, workers, machine, &s));
        if (s.scratch_bytes > *scratch) *scratch = s.scratch_bytes;
    }
    return DWCONV_OK;
}
