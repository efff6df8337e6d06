/* oneDNN through its own C API: NHWC in and out and between stages, weights reordered once to the format it
 * prefers, bias, activation and residual fused as post-ops, every output reused. On request a pointwise stage
 * takes the depthwise 3x3 one after it as a post-op too. Squeeze-and-excite is a pooling primitive, two
 * convolutions and a product in place. */
#define IMAGE_TYPE(c) dnnl_f32
#define FILTER_TYPE dnnl_f32
#include "onednn.h"

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

/* The filter and the bias of a stage; `base` is 0, or DNNL_ARG_ATTR_POST_OP_DW for a fused stage. */
static const char *attach_weights(runner *r, layer *l, const bench_stage *s, const_dnnl_primitive_desc_t pd,
                                  int base) {
    dnnl_memory_desc_t bias_desc;
    const char *error = attach_filter(r, l, s, pd, base | DNNL_ARG_WEIGHTS);
    if (error) return error;
    TRY(dnnl_memory_desc_create_with_tag(&bias_desc, 1, (dnnl_dims_t){s->out_channels}, dnnl_f32, dnnl_a));
    error = attach(r, l, base | DNNL_ARG_BIAS, bias_desc, s->bias);
    dnnl_memory_desc_destroy(bias_desc);
    return error;
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

    const char *error = image_desc(c, s->in_channels, s->in_h, s->in_w, &x_desc);
    if (!error) error = image_desc(c, s->out_channels, s->out_h, s->out_w, &s_desc);
    if (!error) error = image_desc(c, end->out_channels, end->out_h, end->out_w, &y_desc);
    if (!error) error = make_attr(s, fused ? end : NULL, adds ? y_desc : NULL, &attr);
    if (!error) error = convolution(r, s, x_desc, s_desc, attr, &pd);
    if (error) return error;
    error = add_primitive(r, pd, fused ? " + dw" : "");
    if (!y) y = l->owned = image_memory(y_desc);
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
    const char *error = image_desc(c, s->out_channels, s->out_h, s->out_w, &x_desc);
    if (!error) error = image_desc(c, s->out_channels, 1, 1, &y_desc);
    if (error) return error;
    TRY(dnnl_pooling_forward_primitive_desc_create(&pd, r->engine, dnnl_forward_inference,
                                                   dnnl_pooling_avg_exclude_padding, x_desc, y_desc, strides,
                                                   window, none, none, none, NULL));
    error = add_primitive(r, pd, "");
    l->owned = image_memory(y_desc);
    if (!error) error = attach(r, l, DNNL_ARG_SRC, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_DST, y_desc, l->owned);
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
    const char *error = image_desc(c, s->out_channels, s->out_h, s->out_w, &x_desc);
    if (!error) error = image_desc(c, s->out_channels, 1, 1, &factor_desc);
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
        error = add_layer(r, c, &c->gate[k], 0, r->layers[r->count - 1].owned, NULL);
    return error ? error : add_product(r, c, s, x, r->layers[r->count - 1].owned);
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
    const char *error = NULL;
    runner *r = open_runner(c, &error);
    int any_fused = 0;
    float *x = c->x;
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
    return opened(r, error, handle);
}
