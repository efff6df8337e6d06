/* What both shims of oneDNN share: layers of a chain as primitives, with memory of the caller's or oneDNN's own.
 * A shim sets IMAGE_TYPE(c) and FILTER_TYPE, and includes this. */
#ifndef BENCH_ONEDNN_H
#define BENCH_ONEDNN_H
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
    void *owned; /* memory of the shim's, freed with the layer */
} layer;

typedef struct runner {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    layer layers[BENCH_STAGES];
    void *between[2]; /* outputs of layers, if another layer follows */
    void *x, *y;
    size_t residual; /* bytes to be copied from x to y before every run, or 0 */
    char kernels[512];
} runner;

#define TRY(call)                                 \
    do {                                          \
        if ((call) != dnnl_success) return #call; \
    } while (0)

/* The filter: dwconv's layout written as strides of oneDNN's (g)oihw, or any. */
static const char *filter_desc(const bench_stage *s, int format_any, dnnl_memory_desc_t *desc) {
    int64_t ic = s->in_channels, oc = s->out_channels, kh = s->kernel_h, kw = s->kernel_w, m = oc / ic;
    const int grouped = s->op == BENCH_DEPTHWISE;
    dnnl_dims_t dense = {oc, ic, kh, kw}, dense_strides = {1, oc, kw * ic * oc, ic * oc};
    dnnl_dims_t of_groups = {ic, m, 1, kh, kw}, group_strides = {m, 1, 1, kw * oc, oc};
    const int64_t *dims = grouped ? of_groups : dense, *strides = grouped ? group_strides : dense_strides;
    if (format_any)
        TRY(dnnl_memory_desc_create_with_tag(desc, 4 + grouped, dims, FILTER_TYPE, dnnl_format_tag_any));
    else
        TRY(dnnl_memory_desc_create_with_strides(desc, 4 + grouped, dims, FILTER_TYPE, strides));
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

/* The filter of a stage in the format that the primitive prefers. */
static const char *attach_filter(runner *r, layer *l, const bench_stage *s, const_dnnl_primitive_desc_t pd,
                                 int argument) {
    dnnl_memory_desc_t user_desc;
    dnnl_memory_t user;
    dnnl_primitive_desc_t reorder_desc;
    dnnl_primitive_t reorder;
    const_dnnl_memory_desc_t packed = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, argument);
    const char *error = filter_desc(s, 0, &user_desc);
    if (!error) error = attach(r, l, argument, packed, NULL);
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
    return NULL;
}

static const char *image_desc(const bench_chain *c, int64_t channels, int64_t height, int64_t width,
                              dnnl_memory_desc_t *desc) {
    dnnl_dims_t dims = {c->batch, channels, height, width};
    TRY(dnnl_memory_desc_create_with_tag(desc, 4, dims, IMAGE_TYPE(c), dnnl_nhwc));
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

/* The primitive of a description, as one more layer with no argument yet. */
static const char *add_primitive(runner *r, dnnl_primitive_desc_t pd, const char *suffix) {
    layer *l = &r->layers[r->count++];
    const char *name = "?";
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    size_t used = strlen(r->kernels);
    snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%s%s", used ? ", " : "", name, suffix);
    TRY(dnnl_primitive_create(&l->primitive, pd));
    return NULL;
}

static runner *open_runner(const bench_chain *c, const char **error) {
    runner *r = calloc(1, sizeof(*r));
    if (dnnl_engine_create(&r->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags) != dnnl_success)
        *error = "oneDNN: no CPU engine";
    r->x = c->x, r->y = c->y;
    bench_between(c, r->between);
    return r;
}

/* The runner for the caller, or nothing and the error. */
static const char *opened(runner *r, const char *error, void **handle) {
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
        free(l->owned);
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

#endif
