/* The input gradient: phases of dx, each a convolution of dy with stride 1. */
#include <string.h>

#include "../schedule/schedule_gradient.h"
#include "run.h"

typedef struct job {
    const dwc_gradient *g;
    const dwc_view *dx, *dy;
    dwc_extent extent;
    dwc_input_gradient_schedule how;
    char *plans;
} job;

static size_t aligned(size_t bytes) {
    return (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
}

static dwc_phase_axis rows_of(const job *j, int64_t phase) {
    const dwconv_window *w = &j->g->window;
    return dwc_phase_of(phase, j->dx->height, j->dy->height, w->kernel_h, w->stride_h, w->dilation_h,
                        j->extent.pad_top);
}

static dwc_phase_axis columns_of(const job *j, int64_t phase) {
    const dwconv_window *w = &j->g->window;
    return dwc_phase_of(phase, j->dx->width, j->dy->width, w->kernel_w, w->stride_w, w->dilation_w,
                        j->extent.pad_left);
}

/* The plans of all phases, one after another. */
static void pack_phases(const job *j, const float *filter, float *flipped) {
    char *plan = j->plans;
    for (int64_t i = 0; i < j->how.row_phases; i++) {
        const dwc_phase_axis rows = rows_of(j, i);
        for (int64_t k = 0; k < j->how.column_phases && rows.taps; k++) {
            const dwc_phase_axis columns = columns_of(j, k);
            dwc_built built;
            dwconv_plan prepared;
            if (!columns.taps) continue;
            (void)dwc_prepare_phase(j->g, &rows, &columns, &built, &prepared); /* the schedule did */
            dwc_fill_phase(j->g, &rows, &columns, &prepared, filter, flipped, (void *)plan);
            plan += aligned(prepared.bytes);
        }
    }
}

/* Every stride-th row and column of dx, from `rows` and `columns` on. */
static dwc_view pixels_of(const job *j, const dwc_phase_axis *rows, const dwc_phase_axis *columns) {
    const dwconv_window *w = &j->g->window;
    dwc_view v = *j->dx;
    v.data += rows->first * v.row + columns->first * v.pixel;
    v.height = rows->count;
    v.width = columns->count;
    v.row *= w->stride_h;
    v.pixel *= w->stride_w;
    return v;
}

static dwc_view images_of(dwc_view v, int64_t first, int64_t count) {
    v.data += first * v.image;
    v.batch = count;
    return v;
}

static void clear(const dwc_view *v) {
    for (int64_t image = 0; image < v->batch; image++)
        for (int64_t row = 0; row < v->height; row++)
            for (int64_t column = 0; column < v->width; column++)
                memset(v->data + image * v->image + row * v->row + column * v->pixel, 0,
                       (size_t)v->channels * sizeof *v->data);
}

/* All phases of images [first, first + count). */
static void run_phases(const job *j, int64_t first, int64_t count, const dwconv_threads *threads) {
    const char *plan = j->plans;
    for (int64_t i = 0; i < j->how.row_phases; i++) {
        const dwc_phase_axis rows = rows_of(j, i);
        for (int64_t k = 0; k < j->how.column_phases; k++) {
            const dwc_phase_axis columns = columns_of(j, k);
            const dwc_view dx = images_of(pixels_of(j, &rows, &columns), first, count);
            if (!rows.taps || !columns.taps) {
                clear(&dx);
                continue;
            }
            dwc_view dy = images_of(*j->dy, first, count);
            dy.data += rows.begin * dy.row + columns.begin * dy.pixel;
            dy.height = rows.size;
            dy.width = columns.size;
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

dwconv_status dwconv_input_gradient_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                            int threads, size_t *bytes) {
    dwc_gradient g;
    dwc_view x, y;
    int64_t output[4];
    dwc_input_gradient_schedule how;
    if (!input || !bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_gradient(desc, &g));
    DWC_TRY(dwc_gradient_output(&g, input, output));
    DWC_TRY(dwc_dense_view(input, DWCONV_F32, &x));
    DWC_TRY(dwc_dense_view(output, DWCONV_F32, &y));
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
    job j = {.g = &g, .dx = &x, .dy = &y};
    DWC_TRY(dwc_window_extent(&g.window, x.height, x.width, &j.extent));
    DWC_TRY(dwc_schedule_input_gradient(&g, &x, &y, threads, &j.how));
    if (j.how.scratch_bytes && !scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < j.how.scratch_bytes) return DWCONV_TOO_SMALL;
    if (dwc_view_meets(&x, scratch, j.how.scratch_bytes) ||
        dwc_view_meets(&x, filter, (size_t)in_bytes(dwc_filter_size(&g))))
        return DWCONV_OVERLAP;
    j.plans = (char *)scratch + j.how.flipped_bytes;
    pack_phases(&j, filter, scratch);
    if (j.how.by_image)
        dwc_parallel(threads, j.how.workers, x.batch, image_task, &j);
    else
        run_phases(&j, 0, x.batch, threads);
    return DWCONV_OK;
}
