/* oneDNN through its own C API: NHWC in and out and between stages, weights reordered once to the format it
 * prefers, bias, activation and residual fused as post-ops, every output reused. */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

typedef struct layer {
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, bias, dst, residual;
    dnnl_exec_arg_t args[5];
    int arg_count;
    void *between; /* this layer's output, if another layer follows */
} layer;

typedef struct runner {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    layer layers[BENCH_STAGES];
    char kernels[512];
} runner;

#define TRY(call)                                 \
    do {                                          \
        if ((call) != dnnl_success) return #call; \
    } while (0)

static const char *make_attr(const bench_stage *s, const_dnnl_memory_desc_t residual,
                             dnnl_primitive_attr_t *attr) {
    dnnl_post_ops_t ops;
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_post_ops_create(&ops));
    switch (s->activation) {
        case BENCH_RELU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0)); break;
        case BENCH_RELU6: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_clip, 0, 6)); break;
        case BENCH_HARD_SWISH:
            TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_hardswish, 1.f / 6, 0.5f));
            break;
        case BENCH_SILU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_swish, 1, 0)); break;
        case BENCH_GELU: TRY(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_gelu_erf, 0, 0)); break;
        default: break;
    }
    if (residual) TRY(dnnl_post_ops_append_binary(ops, dnnl_binary_add, residual));
    TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    TRY(dnnl_post_ops_destroy(ops));
    return NULL;
}

/* The filter as the caller holds it: spec.md's layout written as strides of oneDNN's (g)oihw. */
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

static const char *pack_filter(runner *r, layer *l, const bench_stage *s, const_dnnl_primitive_desc_t pd) {
    dnnl_memory_desc_t user_desc;
    dnnl_memory_t user;
    dnnl_primitive_desc_t reorder_desc;
    dnnl_primitive_t reorder;
    const_dnnl_memory_desc_t packed = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    const char *error = user_filter(s, 0, &user_desc);
    if (error) return error;
    TRY(dnnl_memory_create(&user, user_desc, r->engine, (void *)s->filter));
    TRY(dnnl_memory_create(&l->weights, packed, r->engine, DNNL_MEMORY_ALLOCATE));
    TRY(dnnl_reorder_primitive_desc_create(&reorder_desc, user_desc, r->engine, packed, r->engine, NULL));
    TRY(dnnl_primitive_create(&reorder, reorder_desc));
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, user}, {DNNL_ARG_TO, l->weights}};
    TRY(dnnl_primitive_execute(reorder, r->stream, 2, args));
    TRY(dnnl_stream_wait(r->stream));
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(reorder_desc);
    dnnl_memory_destroy(user);
    dnnl_memory_desc_destroy(user_desc);
    return NULL;
}

static const char *add_layer(runner *r, const bench_chain *c, int index, float *x) {
    const bench_stage *s = &c->stages[index];
    layer *l = &r->layers[index];
    int last = index + 1 == c->count;
    dnnl_dims_t x_dims = {c->batch, s->in_channels, s->in_h, s->in_w}, bias_dims = {s->out_channels};
    dnnl_dims_t y_dims = {c->batch, s->out_channels, s->out_h, s->out_w};
    dnnl_dims_t strides = {s->stride, s->stride}, dilates = {s->dilation - 1, s->dilation - 1};
    dnnl_dims_t before = {s->pad_top, s->pad_left}, after = {s->pad_bottom, s->pad_right};
    dnnl_memory_desc_t x_desc, y_desc, w_desc, bias_desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;

    TRY(dnnl_memory_desc_create_with_tag(&x_desc, 4, x_dims, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&y_desc, 4, y_dims, dnnl_f32, dnnl_nhwc));
    TRY(dnnl_memory_desc_create_with_tag(&bias_desc, 1, bias_dims, dnnl_f32, dnnl_a));
    const char *error = user_filter(s, 1, &w_desc);
    if (!error) error = make_attr(s, last && c->residual ? y_desc : NULL, &attr);
    if (error) return error;
    TRY(dnnl_convolution_forward_primitive_desc_create(&pd, r->engine, dnnl_forward_inference,
                                                       dnnl_convolution_direct, x_desc, w_desc, bias_desc,
                                                       y_desc, strides, dilates, before, after, attr));
    TRY(dnnl_primitive_create(&l->primitive, pd));
    const char *name = "?";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    size_t used = strlen(r->kernels);
    snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%s", used ? ", " : "", name);
    if ((error = pack_filter(r, l, s, pd)) != NULL) return error;

    size_t bytes = dnnl_memory_desc_get_size(y_desc);
    if (!last) l->between = aligned_alloc(64, (bytes + 63) / 64 * 64);
    TRY(dnnl_memory_create(&l->src, x_desc, r->engine, x));
    TRY(dnnl_memory_create(&l->dst, y_desc, r->engine, last ? c->y : l->between));
    TRY(dnnl_memory_create(&l->bias, bias_desc, r->engine, (void *)s->bias));
    l->args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, l->src};
    l->args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, l->weights};
    l->args[2] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, l->bias};
    l->args[3] = (dnnl_exec_arg_t){DNNL_ARG_DST, l->dst};
    l->arg_count = 4;
    if (last && c->residual) {
        TRY(dnnl_memory_create(&l->residual, y_desc, r->engine, c->x));
        int post_op = s->activation != BENCH_IDENTITY;
        l->args[l->arg_count++] =
            (dnnl_exec_arg_t){DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_op) | DNNL_ARG_SRC_1, l->residual};
    }
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(y_desc);
    dnnl_memory_desc_destroy(w_desc);
    dnnl_memory_desc_destroy(bias_desc);
    return NULL;
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
    for (int i = 0; i < c->count && !error; i++) {
        error = add_layer(r, c, i, i ? r->layers[i - 1].between : c->x);
        r->count = i + 1;
    }
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
        dnnl_primitive_destroy(l->primitive);
        dnnl_memory_t memories[] = {l->src, l->weights, l->bias, l->dst, l->residual};
        for (int k = 0; k < 5; k++)
            if (memories[k]) dnnl_memory_destroy(memories[k]);
        free(l->between);
    }
    if (r->stream) dnnl_stream_destroy(r->stream);
    if (r->engine) dnnl_engine_destroy(r->engine);
    free(r);
}

const char *bench_kernels(void *handle) { return ((runner *)handle)->kernels; }
