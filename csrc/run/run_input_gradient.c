/* The input gradient: phases of dx, each a convolution of dy with stride 1. */
#include <string.h>

#include "depthwise.h"
#include "gradient.h"

static size_t aligned(size_t bytes) {
    return (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
}

static dwc_phase_axis rows_of(const dwc_dx_job *j, int64_t phase) {
    const dwconv_window *w = &j->g->window;
    return dwc_phase_of(phase, j->dx->height, j->dy->height, w->kernel_h, w->stride_h, w->dilation_h,
                        j->extent.pad_top);
}

static dwc_phase_axis columns_of(const dwc_dx_job *j, int64_t phase) {
    const dwconv_window *w = &j->g->window;
    return dwc_phase_of(phase, j->dx->width, j->dy->width, w->kernel_w, w->stride_w, w->dilation_w,
                        j->extent.pad_left);
}

/* The plan of a phase at `memory`; NULL where no tap meets its pixels. */
static const dwconv_plan *pack_phase(const dwc_dx_job *j, const dwc_phase_axis *rows,
                                     const dwc_phase_axis *columns, const float *filter, float *flipped,
                                     char *memory) {
    dwc_built built;
    dwconv_plan prepared;
    if (!rows->taps || !columns->taps) return NULL;
    (void)dwc_prepare_phase(j->g, rows, columns, &built, &prepared); /* the schedule did */
    dwc_fill_phase(j->g, rows, columns, &prepared, filter, flipped, (void *)memory);
    return (const void *)memory;
}

static void set_phase(const dwc_dx_job *j, const dwc_phase_axis *rows, const dwc_phase_axis *columns,
                      const dwconv_plan *plan, int64_t channels, dwc_dx_phase *phase) {
    dwc_view dx = *j->dx, dy = *j->dy;
    dwc_phase_views(j->g, rows, columns, &dx, &dy);
    *phase = (dwc_dx_phase){.rows = *rows, .columns = *columns, .plan = plan, .frame = {.y = dx}};
    if (!plan) return;
    (void)dwc_frame_of(&plan->graph.nodes->depthwise.window, &dy, &dx, &phase->frame);
    dwc_schedule_phase(j->g, channels, phase);
}

void dwc_begin_phases(dwc_dx_job *j, const float *filter, void *scratch, int64_t channels) {
    j->filter = filter;
    if (j->how.back) return;
    char *plan = j->plans = (char *)scratch + j->how.flipped_bytes;
    j->phases = (dwc_dx_phase *)(void *)(j->plans + j->how.plan_bytes);
    for (int64_t i = 0, n = 0; i < j->how.row_phases; i++) {
        const dwc_phase_axis rows = rows_of(j, i);
        for (int64_t k = 0; k < j->how.column_phases; k++, n++) {
            const dwc_phase_axis columns = columns_of(j, k);
            const dwconv_plan *packed = pack_phase(j, &rows, &columns, filter, scratch, plan);
            if (j->how.depthwise) set_phase(j, &rows, &columns, packed, channels, &j->phases[n]);
            if (packed) plan += aligned(packed->bytes);
        }
    }
}

static void clear(const dwc_view *v, int64_t row, int64_t rows, int64_t channel, int64_t channels) {
    for (int64_t image = 0; image < v->batch; image++)
        for (int64_t r = row; r < row + rows; r++)
            for (int64_t column = 0; column < v->width; column++)
                memset(v->data + image * v->image + r * v->row + column * v->pixel + channel, 0,
                       (size_t)channels * sizeof *v->data);
}

/* ---- bands ---------------------------------------------------------------------------------- */

/* Rows [begin, end) of those of a phase. */
static void run_rows(const dwc_dx_job *j, const dwc_dx_phase *p, int64_t image, int64_t begin, int64_t end,
                     int64_t channel_begin, int64_t channel_end) {
    const dwc_frame *f = &p->frame;
    const dwc_view *dy = j->dy;
    const float *x = dy->data + image * dy->image + p->rows.begin * dy->row + p->columns.begin * dy->pixel;
    const dwc_dw_call call = {.stage = &p->plan->graph.nodes->depthwise,
                              .table = p->plan->table,
                              .how = &p->how,
                              .x = (const char *)x,
                              .x_row = in_bytes(f->x.row),
                              .x_pixel = in_bytes(f->x.pixel),
                              .in_h = f->x.height,
                              .in_w = f->x.width,
                              .ring_rows = f->x.height,
                              .y = (char *)(f->y.data + image * f->y.image + begin * f->y.row),
                              .y_row = in_bytes(f->y.row),
                              .y_pixel = in_bytes(f->y.pixel),
                              .out_w = f->y.width,
                              .pad_top = f->extent.pad_top,
                              .pad_left = f->extent.pad_left,
                              .row_begin = begin,
                              .row_end = end,
                              .channel_begin = channel_begin,
                              .channel_end = channel_end};
    dwc_run_depthwise(&call);
}

/* Rows of a phase before row `end` of dx. */
static int64_t rows_before(const dwc_dx_job *j, const dwc_phase_axis *rows, int64_t end) {
    return end <= rows->first ? 0 : smaller(divide_up(end - rows->first, j->g->window.stride_h), rows->count);
}

void dwc_run_band(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end, int64_t channel_begin,
                  int64_t channel_end) {
    if (j->how.back) {
        dwc_run_back(j, image, begin, end, channel_begin, channel_end);
        return;
    }
    for (int64_t i = 0; i < j->how.row_phases * j->how.column_phases; i++) {
        const dwc_dx_phase *p = &j->phases[i];
        const int64_t first = rows_before(j, &p->rows, begin), last = rows_before(j, &p->rows, end);
        if (first >= last) continue;
        if (p->plan) {
            run_rows(j, p, image, first, last, channel_begin, channel_end);
        } else {
            dwc_view one = p->frame.y;
            one.data += image * one.image;
            one.batch = 1;
            clear(&one, first, last - first, channel_begin, channel_end - channel_begin);
        }
    }
}

static void band_task(void *context, int64_t item, int worker) {
    const dwc_dx_job *j = context;
    const int64_t rows = j->how.band_rows, bands = divide_up(j->dx->height, rows),
                  begin = item % bands * rows;
    (void)worker;
    dwc_run_band(j, item / bands, begin, smaller(begin + rows, j->dx->height), 0, j->dx->channels);
}

/* ---- pixels --------------------------------------------------------------------------------- */

void dwc_run_flat_pixels(const dwc_dx_job *j, int64_t first, int64_t count) {
    const dwconv_plan *plan = (const void *)j->plans;
    const dwc_matmul_stage *stage = &plan->graph.nodes->matrix;
    for (const int64_t end = first + count; first < end; first += count) {
        const float *x, *y;
        count = dwc_even_pixels(j->dy, first, end - first, &x);
        count = dwc_even_pixels(j->dx, first, count, &y);
        const dwc_matmul_rows rows = {.stage = stage,
                                      .how = &j->matrix,
                                      .x = x,
                                      .x_row = j->dy->pixel,
                                      .x_pixel = j->dy->pixel,
                                      .in_h = count,
                                      .in_w = 1,
                                      .y = (float *)(uintptr_t)y, /* of dx */
                                      .y_row = j->dx->pixel,
                                      .y_pixel = j->dx->pixel,
                                      .out_w = 1,
                                      .row_end = count,
                                      .column_end = stage->group_outputs};
        dwc_run_matmul_rows(&rows);
    }
}

/* ---- phases as layers ----------------------------------------------------------------------- */

static dwc_view images_of(dwc_view v, int64_t first, int64_t count) {
    v.data += first * v.image;
    v.batch = count;
    return v;
}

/* All phases of images [first, first + count). */
static void run_phases(const dwc_dx_job *j, int64_t first, int64_t count, const dwconv_threads *threads) {
    const char *plan = j->plans;
    for (int64_t i = 0; i < j->how.row_phases; i++) {
        const dwc_phase_axis rows = rows_of(j, i);
        for (int64_t k = 0; k < j->how.column_phases; k++) {
            const dwc_phase_axis columns = columns_of(j, k);
            dwc_view dx = images_of(*j->dx, first, count), dy = images_of(*j->dy, first, count);
            dwc_phase_views(j->g, &rows, &columns, &dx, &dy);
            if (!rows.taps || !columns.taps) {
                clear(&dx, 0, dx.height, 0, dx.channels);
                continue;
            }
            const dwconv_plan *packed = (const void *)plan;
            (void)dwc_run_layer(packed, &dy, &dx, threads); /* shapes are known to fit */
            plan += aligned(packed->bytes);
        }
    }
}

static void image_task(void *context, int64_t item, int worker) {
    (void)worker;
    run_phases(context, item, 1, NULL);
}

/* ---- calls ---------------------------------------------------------------------------------- */

dwconv_status dwconv_input_gradient_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                            int threads, size_t *bytes) {
    dwc_gradient g;
    dwc_view x, y;
    dwc_input_gradient_schedule how;
    if (!bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_dense_gradient(desc, input, &g, &x, &y));
    DWC_TRY(dwc_schedule_input_gradient(&g, &x, &y, NULL, &how));
    *bytes = input[0] ? how.scratch_bytes : 0;
    return DWCONV_OK;
}

dwconv_status dwconv_input_gradient(const dwconv_gradient_desc *desc, const float *filter,
                                    const dwconv_tensor *dy, const dwconv_tensor *dx, void *scratch,
                                    size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_gradient g;
    dwc_view x, y;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_gradient(desc, &g));
    if (!filter) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_check_gradient_tensors(&g, dx, dy, &x, &x, &y));
    if (x.batch == 0) return DWCONV_OK;
    dwc_dx_job j = {.g = &g, .dx = &x, .dy = &y};
    DWC_TRY(dwc_window_extent(&g.window, x.height, x.width, &j.extent));
    DWC_TRY(dwc_schedule_input_gradient(&g, &x, &y, threads, &j.how));
    if (j.how.scratch_bytes && !scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < j.how.scratch_bytes) return DWCONV_TOO_SMALL;
    if (dwc_view_meets(&x, scratch, j.how.scratch_bytes) ||
        dwc_view_meets(&x, filter, (size_t)in_bytes(dwc_filter_size(&g))))
        return DWCONV_OVERLAP;
    dwc_begin_phases(&j, filter, scratch, g.in_channels);
    if (j.how.band_rows)
        dwc_parallel(threads, j.how.workers, x.batch * divide_up(x.height, j.how.band_rows), band_task, &j);
    else if (j.how.by_image)
        dwc_parallel(threads, j.how.workers, x.batch, image_task, &j);
    else
        run_phases(&j, 0, x.batch, threads);
    return DWCONV_OK;
}
