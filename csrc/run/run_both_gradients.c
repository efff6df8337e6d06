/* Input, filter and bias gradient of a convolution, and of a normalization behind it: in one walk where that is
 * possible, else one after the other. */
#include <string.h>

#include "gradient.h"

/* ---- scratch -------------------------------------------------------------------------------- */

static dwconv_status find_scratch(const dwconv_gradient_desc *desc, const int64_t input[4], int threads,
                                  int normalized, size_t *bytes) {
    dwc_gradient g;
    dwc_view x, y;
    dwc_both_gradients_schedule s;
    dwc_batch_norm_schedule norm;
    const dwconv_threads workers = {.count = threads};
    if (!bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_dense_gradient(desc, input, &g, &x, &y));
    *bytes = 0;
    if (input[0] == 0) return DWCONV_OK;
    for (int i = 0; i < 4; i++) { /* any may be more, by a little */
        const dwc_gradient_wish wish = {1, i < 2 || !normalized, normalized};
        DWC_TRY(dwc_schedule_both_gradients(&g, &x, &y, i % 2 ? &workers : NULL, wish, &s));
        if (s.scratch_bytes > *bytes) *bytes = s.scratch_bytes;
    }
    if (!normalized) return DWCONV_OK;
    DWC_TRY(dwc_schedule_batch_norm(&y, DWC_NORM_GRADIENT_TENSORS, &workers, &norm));
    *bytes += norm.scratch_bytes;
    return DWCONV_OK;
}

dwconv_status dwconv_both_gradients_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                            int threads, size_t *bytes) {
    return find_scratch(desc, input, threads, 0, bytes);
}

dwconv_status dwconv_normalized_gradients_scratch(const dwconv_gradient_desc *desc, const int64_t input[4],
                                                  int threads, size_t *bytes) {
    return find_scratch(desc, input, threads, 1, bytes);
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct call {
    dwc_gradient g;
    dwc_batch_norm n;
    dwc_norm_job *norm; /* NULL: there is none */
    dwc_view x, y, dx;  /* y: the gradient of what is given; dx.data NULL: it is not wanted */
    const float *filter;
    float *filter_gradient, *bias_gradient;
    dwc_both_gradients_schedule s;
    void *scratch;
    size_t scratch_bytes; /* what is needed of it */
    const dwconv_threads *threads;
} call;

typedef struct memory {
    const void *data;
    size_t bytes;
} memory;

static int meet(const memory *a, const memory *b) {
    const uintptr_t p = (uintptr_t)a->data, q = (uintptr_t)b->data;
    return a->data && b->data && p < q + b->bytes && q < p + a->bytes;
}

/* What is written meets neither what is read nor each other. */
static dwconv_status check_apart(const call *c) {
    const dwc_norm_job none = {0}, *norm = c->norm ? c->norm : &none;
    const size_t filter = (size_t)in_bytes(dwc_filter_size(&c->g)), row = (size_t)in_bytes(c->g.out_channels);
    const memory written[] = {{c->filter_gradient, filter},
                              {c->bias_gradient, row},
                              {norm->dgamma, row},
                              {norm->dbeta, row},
                              {c->scratch, c->scratch_bytes}};
    const memory read[] = {
        {c->filter, filter}, {norm->gamma, row}, {norm->beta, row}, {norm->mean, row}, {norm->variance, row}};
    const dwc_view *const views[] = {&c->x, &c->y, norm->x, c->dx.data ? &c->dx : NULL};
    enum { WRITTEN = sizeof written / sizeof *written, READ = sizeof read / sizeof *read, VIEWS = 4 };
    for (int i = 0; i < WRITTEN; i++) {
        if ((uintptr_t)written[i].data % sizeof(float)) return DWCONV_MISALIGNED;
        for (int k = 0; k < READ; k++)
            if (meet(&written[i], &read[k])) return DWCONV_OVERLAP;
        for (int k = 0; k < i; k++)
            if (meet(&written[i], &written[k])) return DWCONV_OVERLAP;
        for (int k = 0; k < VIEWS && written[i].data; k++)
            if (views[k] && dwc_view_meets(views[k], written[i].data, written[i].bytes))
                return DWCONV_OVERLAP;
    }
    if (!c->dx.data) return DWCONV_OK;
    for (int k = 0; k < READ; k++)
        if (read[k].data && dwc_view_meets(&c->dx, read[k].data, read[k].bytes)) return DWCONV_OVERLAP;
    for (int k = 0; k < VIEWS - 1; k++)
        if (views[k] && dwc_views_meet(views[k], &c->dx)) return DWCONV_OVERLAP;
    return DWCONV_OK;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static dwconv_tensor tensor_of(const dwc_view *v) {
    return (dwconv_tensor){.data = v->data,
                           .batch = v->batch,
                           .height = v->height,
                           .width = v->width,
                           .channels = v->channels,
                           .pixel_stride = v->pixel,
                           .row_stride = v->row,
                           .image_stride = v->image};
}

static dwconv_status run_apart(call *c, const dwconv_gradient_desc *desc) {
    dwc_view y = c->y;
    if (c->norm) {
        const int64_t shape[4] = {y.batch, y.height, y.width, y.channels};
        DWC_TRY(dwc_dense_view(shape, DWCONV_F32, &y));
        y.data = (float *)(void *)((char *)c->scratch + c->s.made_at);
        c->norm->y = &y;
        dwc_run_norm_gradient(c->norm, c->threads);
    }
    const dwconv_tensor x = tensor_of(&c->x), dy = tensor_of(&y), dx = tensor_of(&c->dx);
    DWC_TRY(dwconv_filter_gradient(desc, &x, &dy, c->filter_gradient, c->bias_gradient, c->scratch,
                                   c->s.made_at, c->threads));
    if (!dx.data) return DWCONV_OK;
    return dwconv_input_gradient(desc, c->filter, &dy, &dx, c->scratch, c->s.made_at, c->threads);
}

static dwconv_status run_joint(call *c) {
    const dwc_both_gradients_schedule *s = &c->s;
    const dwc_machine machine = dwc_this_machine();
    dwc_view y = c->y;
    char *scratch = c->scratch;
    dwc_gradient_job j = {.g = &c->g,
                          .x = &c->x,
                          .y = &y,
                          .norm = c->norm,
                          .how = s->filter,
                          .band_rows = s->band_rows,
                          .filter = c->filter_gradient,
                          .bias = c->bias_gradient,
                          .made = (float *)(void *)(scratch + s->made_at),
                          .made_floats = s->made_floats};
    dwc_dx_job input = {.g = &c->g, .dx = &c->dx, .dy = &y, .how = s->input};
    DWC_TRY(dwc_window_extent(&c->g.window, c->x.height, c->x.width, &j.extent));
    input.extent = j.extent;
    if (c->norm) {
        dwc_run_norm_gradient(c->norm, c->threads);
        dwc_lay_out_made(&j, &y);
    }
    if (c->dx.data) {
        j.input = &input;
        dwc_begin_phases(&input, c->filter, scratch, s->filter.block_channels);
        if (!s->filter.depthwise) {
            dwc_layer_schedule layer;
            DWC_TRY(dwc_schedule_layer((const void *)input.plans, &y, &c->dx, NULL, &machine, &layer));
            input.matrix = layer.matrix;
        }
    }
    dwc_run_filter_gradient(&j, scratch + s->filter_at, c->threads);
    return DWCONV_OK;
}

static dwconv_status run(call *c, const dwconv_gradient_desc *desc, size_t scratch_bytes) {
    const dwc_gradient_wish wish = {c->bias_gradient != NULL, c->dx.data != NULL, c->norm != NULL};
    dwc_batch_norm_schedule norm = {0};
    DWC_TRY(dwc_schedule_both_gradients(&c->g, c->dx.data ? &c->dx : &c->x, &c->y, c->threads, wish, &c->s));
    if (c->norm) DWC_TRY(dwc_schedule_batch_norm(&c->y, DWC_NORM_GRADIENT_TENSORS, c->threads, &norm));
    c->scratch_bytes = c->s.scratch_bytes + norm.scratch_bytes;
    if (c->scratch_bytes && !c->scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)c->scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < c->scratch_bytes) return DWCONV_TOO_SMALL;
    DWC_TRY(check_apart(c));
    if (c->norm)
        DWC_TRY(dwc_begin_norm_gradient(c->norm, (char *)c->scratch + c->s.scratch_bytes, norm.scratch_bytes,
                                        c->threads));
    return c->s.joint ? run_joint(c) : run_apart(c, desc);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Tensors of the convolution; dx may be NULL. */
static dwconv_status describe(call *c, const dwconv_gradient_desc *desc, const dwconv_tensor *x,
                              const dwconv_tensor *dy, const dwconv_tensor *dx) {
    DWC_TRY(dwc_describe_gradient(desc, &c->g));
    if (!c->filter_gradient || (dx && !c->filter)) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_check_gradient_tensors(&c->g, x, dy, NULL, &c->x, &c->y));
    if (!dx) return DWCONV_OK;
    DWC_TRY(dwc_check_gradient_tensors(&c->g, dx, dy, &c->dx, &c->dx, &c->y));
    const int same = c->x.batch == c->dx.batch && c->x.height == c->dx.height && c->x.width == c->dx.width;
    return same ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

dwconv_status dwconv_both_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                    const dwconv_tensor *x, const dwconv_tensor *dy, const dwconv_tensor *dx,
                                    float *filter_gradient, float *bias_gradient, void *scratch,
                                    size_t scratch_bytes, const dwconv_threads *threads) {
    call c = {.filter = filter,
              .filter_gradient = filter_gradient,
              .bias_gradient = bias_gradient,
              .scratch = scratch,
              .threads = threads};
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    if (!dx) return DWCONV_NULL_POINTER;
    DWC_TRY(describe(&c, desc, x, dy, dx));
    if (c.y.batch == 0)
        return dwconv_filter_gradient(desc, x, dy, filter_gradient, bias_gradient, NULL, 0, NULL);
    return run(&c, desc, scratch_bytes);
}

dwconv_status dwconv_normalized_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                          const dwconv_tensor *x,
                                          const dwconv_normalization_desc *normalization,
                                          const dwconv_tensor *dy, const dwconv_tensor *dx,
                                          float *filter_gradient, float *bias_gradient, void *scratch,
                                          size_t scratch_bytes, const dwconv_threads *threads) {
    call c = {.filter = filter,
              .filter_gradient = filter_gradient,
              .bias_gradient = bias_gradient,
              .scratch = scratch,
              .threads = threads};
    dwconv_normalization_desc given;
    dwc_norm_job norm;
    dwc_view between, y;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    if (!normalization) return DWCONV_NULL_POINTER;
    DWC_TRY(dwc_take(normalization, normalization->size, sizeof given, &given, sizeof given));
    DWC_TRY(describe(&c, desc, x, dy, dx));
    DWC_TRY(dwc_describe_batch_norm(given.desc, &c.n));
    DWC_TRY(dwc_check_batch_norm_tensors(&c.n, given.x, dy, NULL, &between, &y));
    if (!given.mean || !given.variance) return DWCONV_NULL_POINTER;
    if (c.y.batch == 0) {
        const size_t bytes = (size_t)in_bytes(c.g.out_channels);
        if (given.dgamma) memset(given.dgamma, 0, bytes);
        if (given.dbeta) memset(given.dbeta, 0, bytes);
        return dwconv_filter_gradient(desc, x, dy, filter_gradient, bias_gradient, NULL, 0, NULL);
    }
    norm = (dwc_norm_job){.n = &c.n,
                          .x = &between,
                          .dy = &y,
                          .gamma = given.gamma,
                          .beta = given.beta,
                          .mean = (float *)(uintptr_t)given.mean,
                          .variance = (float *)(uintptr_t)given.variance, /* only read */
                          .dgamma = given.dgamma,
                          .dbeta = given.dbeta};
    c.norm = &norm;
    return run(&c, desc, scratch_bytes);
}
