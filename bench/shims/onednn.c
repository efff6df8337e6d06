/* oneDNN through its own C API: NHWC in and out and between stages, weights reordered once to the format it
 * prefers, bias, activation and residual fused as post-ops, every output reused. On request a pointwise stage
 * takes the depthwise 3x3 one after it as a post-op too. Squeeze-and-excite is a pooling primitive, two
 * convolutions and a product in place. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

typedef struct layer {
    dnnl_primitive_t primitive;
    dnnl_memory_t memories[6];
    dnnl_exec_arg_t args[6];
    int arg_count;
    void *factors; /* this layer's output, if it is part of a gate */
} layer;

typedef struct runner {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    layer layers[BENCH_STAGES];
    void *between[2]; /* outputs of layers outside gates, if another layer follows */
    char kernels[512];
} runner;

#define TRY(call)                                 \
    do {                                          \
        if ((call) != dnnl_success) return #call; \
    } while (0)

static const char *append_activation(const bench_stage *s, dnnl_post_ops_t ops) {
    switch (s->activation) {
        case BENCH_RELU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0)); break;
        case BENCH_RELU6: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_clip, 0, 6)); break;
        case BENCH_HARD_SWISH:
            TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_hardswish, 1.f / 6, 0.5f));
            break;
        case BENCH_SILU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_swish, 1, 0)); break;
        case BENCH_GELU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_gelu_erf, 0, 0)); break;
        case BENCH_HARD_SIGMOID:
            TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_hardsigmoid, 1.f / 6, 0.5f));
            break;
        case BENCH_SIGMOID: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_logistic, 0, 0)); break;
        default: break;
    }
    return NULL;
}

static const char *make_attr(const bench_stage *s, const bench_stage *fused,
                             const_dnnl_memory_desc_t residual, dnnl_primitive_attr_t *attr) {
    dnnl_post_ops_t ops;
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_post_ops_create(&ops));
    const char *error = append_activation(s, ops);
    if (fused && !error) {
        TRY(dnnl_post_ops_append_dw(ops, dnnl_f32, dnnl_f32, dnnl_f32, fused->kernel_h, fused->stride,
                                    fused->pad_top));
        error = append_activation(fused, ops);
    }
    if (error) return error;
    if (residual) TRY(dnnl_post_ops_append_binary(ops, dnnl_binary_add, residual));
    TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    TRY(dnnl_post_ops_destroy(ops));
    return NULL;
}

/* The filter as the caller holds it: dwconv's layout written as strides of oneDNN's (g)oihw. */
static const char *user_filter(const bench_stage *s, int format_any, dnnl_memory_desc_t *desc) {
    int64_t ic = s->in_channels, oc = s->out_channels, kh = s->kernel_h, kw = s->kernel_w;
    if (s->op == BENCH_DEPTHWISE) {
        int64_t m = oc / ic;
        dnnl_dims_t dims = {ic, m, 1, kh, kw}, strides = {m, 1, 1, kw * oc, oc};
        if (format_any) TRY(dnnl_memory_desc_create_with_tag(desc, 5, dims, dnnl_f32, dnnl_format_tag_any));
        if (!format_any) TRY(dnnl_memory_desc_create_with_strides(desc, 5, dims, dnnl_f32, strides));
    } else {
        dnnl_dims_t dims = {oc, ic, kh, kw}, strides = {1, oc, kw * ic * oc, ic * oc};
        if (format_any) TRY(dnnl_memory_desc_create_with_tag(desc, 4, dims, dnnl_f32, dnnl_format_tag_any));
        if (!format_any) TRY(dnnl_memory_desc_create_with_strides(desc, 4, dims, dnnl_f32, strides));
    }
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

/* The filter and the bias of a stage; `base` is 0, or DNNL_ARG_ATTR_POST_OP_DW for a fused stage. */
static const char *attach_weights(runner *r, layer *l, const bench_stage *s, const_dnnl_primitive_desc_t pd,
                                  int base) {
    dnnl_memory_desc_t user_desc, bias_desc;
    dnnl_memory_t user;
    dnnl_primitive_desc_t reorder_desc;
    dnnl_primitive_t reorder;
    const_dnnl_memory_desc_t packed =
        dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, base | DNNL_ARG_WEIGHTS);
    const char *error = user_filter(s, 0, &user_desc);
    if (!error) error = attach(r, l, base | DNNL_ARG_WEIGHTS, packed, NULL);
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
    TRY(dnnl_memory_desc_create_with_tag(&bias_desc, 1, (dnnl_dims_t){s->out_channels}, dnnl_f32, dnnl_a));
    error = attach(r, l, base | DNNL_ARG_BIAS, bias_desc, s->bias);
    dnnl_memory_desc_destroy(bias_desc);
    return error;
}

static const char *image_desc(int64_t batch, int64_t channels, int64_t height, int64_t width,
                              dnnl_memory_desc_t *desc) {
    dnnl_dims_t dims = {batch, channels, height, width};
    TRY(dnnl_memory_desc_create_with_tag(desc, 4, dims, dnnl_f32, dnnl_nhwc));
    return NULL;
}

static const char *convolution(runner *r, const bench_stage *s, dnnl_memory_desc_t x, dnnl_memory_desc_t y,
                               dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd) {
    dnnl_dims_t strides = {s->stride, s->stride}, dilates = {s->dilation - 1, s->dilation - 1};
    dnnl_dims_t before = {s->pad_top, s->pad_left}, after = {s->pad_bottom, s->pad_right};
    dnnl_memory_desc_t weights, bias;
    const char *error = user_filter(s, 1, &weights);
    if (error) return error;
    TRY(dnnl_memory_desc_create_with_tag(&bias, 1, (dnnl_dims_t){s->out_channels}, dnnl_f32, dnnl_a));
    TRY(dnnl_convolution_forward_primitive_desc_create(pd, r->engine, dnnl_forward_inference,
                                                       dnnl_convolution_direct, x, weights, bias, y, strides,
                                                       dilates, before, after, attr));
    dnnl_memory_desc_destroy(weights);
    dnnl_memory_desc_destroy(bias);
    return NULL;
}

/* The primitive of a description, which it consumes, as one more layer with no argument yet. */
static const char *add_primitive(runner *r, dnnl_primitive_desc_t pd, const char *suffix) {
    layer *l = &r->layers[r->count++];
    const char *name = "?";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    size_t used = strlen(r->kernels);
    snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%s%s", used ? ", " : "", name, suffix);
    TRY(dnnl_primitive_create(&l->primitive, pd));
    return NULL;
}

static void *image_memory(const_dnnl_memory_desc_t desc) {
    return aligned_alloc(64, (dnnl_memory_desc_get_size(desc) + 63) / 64 * 64);
}

/* Stage `s`, and with it the next one where `fused`; reads x, writes y, or memory of its own for NULL. */
static const char *add_layer(runner *r, const bench_chain *c, const bench_stage *s, int fused, float *x,
                             float *y) {
    const bench_stage *end = s + fused;
    layer *l = &r->layers[r->count];
    int adds = y == c->y && c->residual;
    dnnl_memory_desc_t x_desc, s_desc, y_desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;

    const char *error = image_desc(c->batch, s->in_channels, s->in_h, s->in_w, &x_desc);
    if (!error) error = image_desc(c->batch, s->out_channels, s->out_h, s->out_w, &s_desc);
    if (!error) error = image_desc(c->batch, end->out_channels, end->out_h, end->out_w, &y_desc);
    if (!error) error = make_attr(s, fused ? end : NULL, adds ? y_desc : NULL, &attr);
    if (!error) error = convolution(r, s, x_desc, s_desc, attr, &pd);
    if (error) return error;
    error = add_primitive(r, pd, fused ? " + dw" : "");
    if (!y) y = l->factors = image_memory(y_desc);
    if (!error) error = attach_weights(r, l, s, pd, 0);
    if (!error && fused) error = attach_weights(r, l, end, pd, DNNL_ARG_ATTR_POST_OP_DW);
    if (!error) error = attach(r, l, DNNL_ARG_SRC, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_DST, y_desc, y);
    if (!error && adds) {
        int post_op = s->activation != BENCH_IDENTITY;
        error = attach(r, l, DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_op) | DNNL_ARG_SRC_1, y_desc, c->x);
    }
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(s_desc);
    dnnl_memory_desc_destroy(y_desc);
    return error;
}

/* The mean of every image and channel of what `s` gives. */
static const char *add_mean(runner *r, const bench_chain *c, const bench_stage *s, float *x) {
    layer *l = &r->layers[r->count];
    dnnl_dims_t window = {s->out_h, s->out_w}, strides = {1, 1}, none = {0, 0};
    dnnl_memory_desc_t x_desc, y_desc;
    dnnl_primitive_desc_t pd;
    const char *error = image_desc(c->batch, s->out_channels, s->out_h, s->out_w, &x_desc);
    if (!error) error = image_desc(c->batch, s->out_channels, 1, 1, &y_desc);
    if (error) return error;
    TRY(dnnl_pooling_forward_primitive_desc_create(&pd, r->engine, dnnl_forward_inference,
                                                   dnnl_pooling_avg_exclude_padding, x_desc, y_desc, strides,
                                                   window, none, none, none, NULL));
    error = add_primitive(r, pd, "");
    l->factors = image_memory(y_desc);
    if (!error) error = attach(r, l, DNNL_ARG_SRC, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_DST, y_desc, l->factors);
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(y_desc);
    return error;
}

/* x, which is what `s` gives, times its factors, in place. */
static const char *add_product(runner *r, const bench_chain *c, const bench_stage *s, float *x,
                               const float *factors) {
    layer *l = &r->layers[r->count];
    dnnl_memory_desc_t x_desc, factor_desc;
    dnnl_primitive_desc_t pd;
    const char *error = image_desc(c->batch, s->out_channels, s->out_h, s->out_w, &x_desc);
    if (!error) error = image_desc(c->batch, s->out_channels, 1, 1, &factor_desc);
    if (error) return error;
    TRY(dnnl_binary_primitive_desc_create(&pd, r->engine, dnnl_binary_mul, x_desc, factor_desc, x_desc,
                                          NULL));
    error = add_primitive(r, pd, "");
    if (!error) error = attach(r, l, DNNL_ARG_SRC_0, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_SRC_1, factor_desc, factors);
    if (!error) error = attach(r, l, DNNL_ARG_DST, x_desc, x);
    dnnl_primitive_desc_destroy(pd);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(factor_desc);
    return error;
}

/* Scales x, which is what `s` gives. */
static const char *add_gate(runner *r, const bench_chain *c, const bench_stage *s, float *x) {
    const char *error = add_mean(r, c, s, x);
    for (int k = 0; k < 2 && !error; k++)
        error = add_layer(r, c, &c->gate[k], 0, r->layers[r->count - 1].factors, NULL);
    return error ? error : add_product(r, c, s, x, r->layers[r->count - 1].factors);
}

/* oneDNN's depthwise post-op: 3x3, stride 1 or 2, after a 1x1 convolution; the block goes on behind it. */
static int can_fuse(const bench_chain *c, int64_t index) {
    const bench_stage *s = &c->stages[index];
    return c->fuse && index + 2 < c->count && s[0].op == BENCH_POINTWISE && s[0].stride == 1 &&
           s[1].op == BENCH_DEPTHWISE && s[1].in_channels == s[1].out_channels && s[1].kernel_h == 3 &&
           s[1].kernel_w == 3 && s[1].stride <= 2 && s[1].dilation == 1 && s[1].pad_top == s[1].pad_left;
}

/* Process-wide and before the first primitive: a worker measures one ISA only. */
static int limit_isa(const char *isa) {
    if (!isa) return 1;
    dnnl_cpu_isa_t limit = strcmp(isa, "avx2") == 0     ? dnnl_cpu_isa_avx2
                           : strcmp(isa, "avx512") == 0 ? dnnl_cpu_isa_avx512_core
                                                        : dnnl_cpu_isa_sse41;
    return dnnl_set_max_cpu_isa(limit) == dnnl_success || dnnl_get_effective_cpu_isa() == limit;
}

const char *bench_prepare(const bench_chain *c, void **handle) {
    if (!limit_isa(c->isa)) return "oneDNN: cannot limit the instruction set";
    runner *r = calloc(1, sizeof(*r));
    const char *error = NULL;
    if (dnnl_engine_create(&r->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags) != dnnl_success)
        error = "oneDNN: no CPU engine";
    int any_fused = 0;
    float *x = c->x;
    bench_between(c, r->between);
    for (int64_t i = 0; i < c->count && !error;) {
        int fused = can_fuse(c, i);
        float *y = r->between[x == r->between[0]];
        any_fused |= fused;
        i += 1 + fused;
        if (i == c->count) y = c->y;
        error = add_layer(r, c, &c->stages[i - 1 - fused], fused, x, y);
        x = y;
        if (c->gate && i + 1 == c->count && !error) error = add_gate(r, c, &c->stages[i - 1], x);
    }
    if (!error && c->fuse && !any_fused) error = "nothing to fuse";
    if (error)
        bench_release(r);
    else
        *handle = r;
    return error;
}

const char *bench_run(void *handle, int64_t loops) {
    runner *r = handle;
    for (int64_t n = 0; n < loops; n++)
        for (int i = 0; i < r->count; i++)
            TRY(dnnl_primitive_execute(r->layers[i].primitive, r->stream, r->layers[i].arg_count,
                                       r->layers[i].args));
    TRY(dnnl_stream_wait(r->stream));
    return NULL;
}

void bench_release(void *handle) {
    runner *r = handle;
    for (int i = 0; i < r->count; i++) {
        layer *l = &r->layers[i];
        if (l->primitive) dnnl_primitive_destroy(l->primitive);
        for (int k = 0; k < l->arg_count; k++) dnnl_memory_destroy(l->memories[k]);
        free(l->factors);
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
