/* oneDNN on 8-bit integers through its own C API: NHWC images of int8 or uint8, int8 weights in the format it prefers
 * with a scale for every output channel, float32 bias, every output reused. Saturation is the clamp of an activation.
 * A residual is a post-op that adds to what lies in the output: its input is copied there first. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

enum { ARGUMENTS = 10 };

typedef struct layer {
    dnnl_primitive_t primitive;
    dnnl_memory_t memories[ARGUMENTS];
    dnnl_exec_arg_t args[ARGUMENTS];
    int arg_count;
    float *bias;
} layer;

typedef struct runner {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    layer layers[BENCH_STAGES];
    void *between[2];
    void *x, *y;
    size_t residual; /* bytes to be copied from x to y, or 0 */
    char kernels[512];
} runner;

#define TRY(call)                                 \
    do {                                          \
        if ((call) != dnnl_success) return #call; \
    } while (0)

static dnnl_data_type_t image_type(const bench_chain *c) { return c->dtype == BENCH_U8 ? dnnl_u8 : dnnl_s8; }

/* The filter: dwconv's layout written as strides of oneDNN's (g)oihw, or any. */
static const char *filter_desc(const bench_stage *s, int format_any, dnnl_memory_desc_t *desc) {
    int64_t ic = s->in_channels, oc = s->out_channels, kh = s->kernel_h, kw = s->kernel_w, m = oc / ic;
    const int grouped = s->op == BENCH_DEPTHWISE;
    dnnl_dims_t dense = {oc, ic, kh, kw}, dense_strides = {1, oc, kw * ic * oc, ic * oc};
    dnnl_dims_t of_groups = {ic, m, 1, kh, kw}, group_strides = {m, 1, 1, kw * oc, oc};
    const int64_t *dims = grouped ? of_groups : dense, *strides = grouped ? group_strides : dense_strides;
    if (format_any)
        TRY(dnnl_memory_desc_create_with_tag(desc, 4 + grouped, dims, dnnl_s8, dnnl_format_tag_any));
    else
        TRY(dnnl_memory_desc_create_with_strides(desc, 4 + grouped, dims, dnnl_s8, strides));
    return NULL;
}

/* One more argument of the layer: memory of the caller's, or oneDNN's own where data is NULL. */
static const char *attach(runner *r, layer *l, int argument, const_dnnl_memory_desc_t desc,
                          const void *data) {
    dnnl_memory_t *memory = &l->memories[l->arg_count];
    TRY(dnnl_memory_create(memory, desc, r->engine, data ? (void *)data : DNNL_MEMORY_ALLOCATE));
    l->args[l->arg_count++] = (dnnl_exec_arg_t){argument, *memory};
    return NULL;
}

/* So many numbers, copied. */
static const char *attach_numbers(runner *r, layer *l, int argument, dnnl_data_type_t type, int64_t count,
                                  const void *data) {
    dnnl_memory_desc_t desc;
    void *to;
    TRY(dnnl_memory_desc_create_with_tag(&desc, 1, (dnnl_dims_t){count}, type, dnnl_a));
    const char *error = attach(r, l, argument, desc, NULL);
    dnnl_memory_desc_destroy(desc);
    if (error) return error;
    TRY(dnnl_memory_get_data_handle(l->memories[l->arg_count - 1], &to));
    memcpy(to, data, (size_t)count * 4);
    return NULL;
}

static const char *attach_quant(runner *r, layer *l, int argument, const bench_quant *q) {
    const char *error = attach_numbers(r, l, DNNL_ARG_ATTR_SCALES | argument, dnnl_f32, 1, &q->scale);
    if (error || !q->zero_point) return error;
    return attach_numbers(r, l, DNNL_ARG_ATTR_ZERO_POINTS | argument, dnnl_s32, 1, &q->zero_point);
}

static const char *attach_weights(runner *r, layer *l, const bench_stage *s, bench_quant input,
                                  const_dnnl_primitive_desc_t pd) {
    dnnl_memory_desc_t user_desc;
    dnnl_memory_t user;
    dnnl_primitive_desc_t reorder_desc;
    dnnl_primitive_t reorder;
    const_dnnl_memory_desc_t packed =
        dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, DNNL_ARG_WEIGHTS);
    const char *error = filter_desc(s, 0, &user_desc);
    if (!error) error = attach(r, l, DNNL_ARG_WEIGHTS, packed, NULL);
    if (error) return error;
    TRY(dnnl_memory_create(&user, user_desc, r->engine, (void *)s->filter));
    TRY(dnnl_reorder_primitive_desc_create(&reorder_desc, user_desc, r->engine, packed, r->engine, NULL));
    TRY(dnnl_primitive_create(&reorder, reorder_desc));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, user}, {DNNL_ARG_TO, l->memories[l->arg_count - 1]}};
    TRY(dnnl_primitive_execute(reorder, r->stream, 2, args));
    TRY(dnnl_stream_wait(r->stream));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(reorder_desc);
    dnnl_memory_destroy(user);
    dnnl_memory_desc_destroy(user_desc);
    l->bias = malloc((size_t)s->out_channels * sizeof(float));
    for (int64_t i = 0; i < s->out_channels; i++)
        l->bias[i] = (float)((const int32_t *)s->bias)[i] * (input.scale * s->filter_scale[i]);
    error = attach_numbers(r, l, DNNL_ARG_BIAS, dnnl_f32, s->out_channels, l->bias);
    if (error) return error;
    return attach_numbers(r, l, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, dnnl_f32, s->out_channels,
                          s->filter_scale);
}

static const char *make_attr(const bench_stage *s, bench_quant input, bench_quant output,
                             const bench_quant *residual, dnnl_data_type_t type,
                             dnnl_primitive_attr_t *attr) {
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_SRC, 0));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_WEIGHTS, s->op == BENCH_DEPTHWISE ? 3 : 1));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_DST, 0));
    if (input.zero_point) TRY(dnnl_primitive_attr_set_zero_points_mask(*attr, DNNL_ARG_SRC, 0));
    if (output.zero_point) TRY(dnnl_primitive_attr_set_zero_points_mask(*attr, DNNL_ARG_DST, 0));
    if (!residual) return NULL;
    dnnl_post_ops_t ops;
    TRY(dnnl_post_ops_create(&ops));
    TRY(dnnl_post_ops_append_sum(ops, residual->scale, residual->zero_point, type));
    TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    TRY(dnnl_post_ops_destroy(ops));
    return NULL;
}

static const char *image_desc(const bench_chain *c, int64_t channels, int64_t height, int64_t width,
                              dnnl_memory_desc_t *desc) {
    dnnl_dims_t dims = {c->batch, channels, height, width};
    TRY(dnnl_memory_desc_create_with_tag(desc, 4, dims, image_type(c), dnnl_nhwc));
    return NULL;
}

static const char *convolution(runner *r, const bench_stage *s, dnnl_memory_desc_t x, dnnl_memory_desc_t y,
                               dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd) {
    dnnl_dims_t strides = {s->stride, s->stride}, dilates = {s->dilation - 1, s->dilation - 1};
    dnnl_dims_t before = {s->pad_top, s->pad_left}, after = {s->pad_bottom, s->pad_right};
    dnnl_memory_desc_t weights, bias;
    const char *error = filter_desc(s, 1, &weights);
    if (error) return error;
    TRY(dnnl_memory_desc_create_with_tag(&bias, 1, (dnnl_dims_t){s->out_channels}, dnnl_f32, dnnl_a));
    TRY(dnnl_convolution_forward_primitive_desc_create(pd, r->engine, dnnl_forward_inference,
                                                       dnnl_convolution_direct, x, weights, bias, y, strides,
                                                       dilates, before, after, attr));
    dnnl_memory_desc_destroy(weights);
    dnnl_memory_desc_destroy(bias);
    return NULL;
}

static const char *add_layer(runner *r, const bench_chain *c, const bench_stage *s, const void *x, void *y) {
    layer *l = &r->layers[r->count++];
    const int last = s + 1 == c->stages + c->count;
    const bench_quant input = s == c->stages ? c->input : s[-1].output;
    const bench_quant output = last && c->residual ? c->sum : s->output;
    dnnl_memory_desc_t x_desc, y_desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    const char *name = "?";
    const char *error = image_desc(c, s->in_channels, s->in_h, s->in_w, &x_desc);
    if (!error) error = image_desc(c, s->out_channels, s->out_h, s->out_w, &y_desc);
    if (!error)
        error = make_attr(s, input, output, last && c->residual ? &c->input : NULL, image_type(c), &attr);
    if (!error) error = convolution(r, s, x_desc, y_desc, attr, &pd);
    if (error) return error;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    const size_t used = strlen(r->kernels);
    snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%s", used ? ", " : "", name);
    TRY(dnnl_primitive_create(&l->primitive, pd));
    error = attach_weights(r, l, s, input, pd);
    if (!error) error = attach(r, l, DNNL_ARG_SRC, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_DST, y_desc, y);
    if (!error) error = attach_quant(r, l, DNNL_ARG_SRC, &input);
    if (!error) error = attach_quant(r, l, DNNL_ARG_DST, &output);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(y_desc);
    return error;
}

const char *bench_prepare(const bench_chain *c, void **handle) {
    runner *r = calloc(1, sizeof(*r));
    const char *error = NULL;
    if (dnnl_engine_create(&r->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags) != dnnl_success)
        error = "oneDNN: no CPU engine";
    r->x = c->x, r->y = c->y;
    if (c->residual)
        r->residual = (size_t)(c->batch * c->stages->in_h * c->stages->in_w * c->stages->in_channels);
    bench_between(c, r->between);
    const void *x = c->x;
    for (int64_t i = 0; i < c->count && !error; i++) {
        void *y = i + 1 == c->count ? c->y : r->between[i % 2];
        error = add_layer(r, c, &c->stages[i], x, y);
        x = y;
    }
    if (error)
        bench_release(r);
    else
        *handle = r;
    return error;
}

const char *bench_run(void *handle, int64_t loops) {
    runner *r = handle;
    for (int64_t n = 0; n < loops; n++) {
        if (r->residual) memcpy(r->y, r->x, r->residual);
        for (int i = 0; i < r->count; i++)
            TRY(dnnl_primitive_execute(r->layers[i].primitive, r->stream, r->layers[i].arg_count,
                                       r->layers[i].args));
    }
    TRY(dnnl_stream_wait(r->stream));
    return NULL;
}

void bench_release(void *handle) {
    runner *r = handle;
    for (int i = 0; i < r->count; i++) {
        layer *l = &r->layers[i];
        if (l->primitive) dnnl_primitive_destroy(l->primitive);
        for (int k = 0; k < l->arg_count; k++) dnnl_memory_destroy(l->memories[k]);
        free(l->bias);
    }
    for (int i = 0; i < 2; i++) free(r->between[i]);
    if (r->stream) dnnl_stream_destroy(r->stream);
    if (r->engine) dnnl_engine_destroy(r->engine);
    free(r);
}

const char *bench_kernels(void *handle) { return ((runner *)handle)->kernels; }

int64_t bench_scratch(void *handle) {
    (void)handle; /* primitives allocate theirs themselves */
    return -1;
}
