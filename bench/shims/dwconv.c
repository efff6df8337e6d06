/* dwconv through its own C API: one plan per operation; a chain that is no block becomes several plans. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "dwconv.h"

typedef struct runner {
    int count;
    dwconv_plan *plans[BENCH_STAGES];
    dwconv_tensor tensors[BENCH_STAGES + 1];
    void *between[2];
    void *scratch;
    size_t scratch_bytes;
    dwconv_threads threads;
    char kernels[512];
} runner;

static dwconv_activation activation_of(const bench_stage *s) {
    static const dwconv_activation_kind kinds[] = {DWCONV_IDENTITY,     DWCONV_RELU,   DWCONV_RELU6,
                                                   DWCONV_HARD_SWISH,   DWCONV_SILU,   DWCONV_GELU_ERF,
                                                   DWCONV_HARD_SIGMOID, DWCONV_SIGMOID};
    return (dwconv_activation){.kind = kinds[s->activation]};
}

static dwconv_window window_of(const bench_stage *s) {
    return (dwconv_window){.kernel_h = s->kernel_h,
                           .kernel_w = s->kernel_w,
                           .stride_h = s->stride,
                           .stride_w = s->stride,
                           .dilation_h = s->dilation,
                           .dilation_w = s->dilation,
                           .padding = DWCONV_EXPLICIT,
                           .pad_top = s->pad_top,
                           .pad_bottom = s->pad_bottom,
                           .pad_left = s->pad_left,
                           .pad_right = s->pad_right};
}

static dwconv_depthwise_desc depthwise_of(const bench_stage *s) {
    return (dwconv_depthwise_desc){.channels = s->in_channels,
                                   .multiplier = s->out_channels / s->in_channels,
                                   .window = window_of(s),
                                   .filter = s->filter,
                                   .bias = s->bias,
                                   .activation = activation_of(s)};
}

static dwconv_pointwise_desc pointwise_of(const bench_stage *s) {
    return (dwconv_pointwise_desc){.in_channels = s->in_channels,
                                   .out_channels = s->out_channels,
                                   .stride_h = s->stride,
                                   .stride_w = s->stride,
                                   .filter = s->filter,
                                   .bias = s->bias,
                                   .activation = activation_of(s)};
}

static dwconv_desc layer_of(const bench_stage *s) {
    dwconv_desc desc = {0};
    if (s->op == BENCH_DEPTHWISE) {
        desc.operation = DWCONV_DEPTHWISE;
        desc.depthwise = depthwise_of(s);
    } else if (s->op == BENCH_POINTWISE) {
        desc.operation = DWCONV_POINTWISE;
        desc.pointwise = pointwise_of(s);
    } else {
        desc.operation = DWCONV_CONV;
        desc.conv = (dwconv_conv_desc){.in_channels = s->in_channels,
                                       .out_channels = s->out_channels,
                                       .window = window_of(s),
                                       .filter = s->filter,
                                       .bias = s->bias,
                                       .activation = activation_of(s)};
    }
    return desc;
}

/* The whole chain as one operation, if it is one. */
static int block_of(const bench_chain *c, dwconv_desc *desc) {
    const bench_stage *s = c->stages;
    memset(desc, 0, sizeof(*desc));
    if (c->count == 2 && !c->residual && !c->gate && s[0].op == BENCH_DEPTHWISE &&
        s[1].op == BENCH_POINTWISE) {
        desc->operation = DWCONV_SEPARABLE;
        desc->separable.depthwise = depthwise_of(&s[0]);
        desc->separable.pointwise = pointwise_of(&s[1]);
        return 1;
    }
    int first = c->count == 3 && s[0].op == BENCH_POINTWISE;
    if (c->count - first == 2 && s[first].op == BENCH_DEPTHWISE && s[first + 1].op == BENCH_POINTWISE) {
        desc->operation = DWCONV_INVERTED_RESIDUAL;
        if (first) desc->inverted_residual.expand = pointwise_of(&s[0]);
        desc->inverted_residual.depthwise = depthwise_of(&s[first]);
        desc->inverted_residual.project = pointwise_of(&s[first + 1]);
        if (c->gate) {
            desc->inverted_residual.squeeze = pointwise_of(&c->gate[0]);
            desc->inverted_residual.excite = pointwise_of(&c->gate[1]);
        }
        desc->inverted_residual.residual = c->residual ? DWCONV_RESIDUAL_ON : DWCONV_RESIDUAL_OFF;
        return 1;
    }
    return 0;
}

static dwconv_isa isa_of(const char *name) {
    for (int isa = 0; name && isa < DWCONV_ISA_COUNT; isa++)
        if (strcmp(dwconv_isa_name((dwconv_isa)isa), name) == 0) return (dwconv_isa)isa;
    return name ? DWCONV_ISA_COUNT : DWCONV_ISA_AUTO;
}

static dwconv_status add_plan(runner *r, const bench_chain *c, dwconv_desc *desc) {
    desc->isa = isa_of(c->isa);
    dwconv_plan *plan = NULL;
    dwconv_status status = dwconv_plan_create(desc, &plan);
    if (status != DWCONV_OK) return status;
    r->plans[r->count++] = plan;
    for (int i = 0; dwconv_plan_kernel(plan, i); i++) {
        size_t used = strlen(r->kernels);
        snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%s", used ? ", " : "",
                 dwconv_plan_kernel(plan, i));
    }
    return DWCONV_OK;
}

/* Tensors between the plans, and scratch for the hungriest of them. */
static dwconv_status add_memory(runner *r, const bench_chain *c) {
    const bench_stage *s = c->stages;
    r->tensors[0] = (dwconv_tensor){
        .data = c->x, .batch = c->batch, .height = s->in_h, .width = s->in_w, .channels = s->in_channels};
    if (r->count > 1) bench_between(c, r->between);
    for (int i = 0; i < r->count; i++) {
        const dwconv_tensor *x = &r->tensors[i];
        int64_t in[4] = {x->batch, x->height, x->width, x->channels}, out[4];
        dwconv_status status = dwconv_output_shape(r->plans[i], in, out);
        if (status != DWCONV_OK) return status;
        size_t bytes;
        r->tensors[i + 1] = (dwconv_tensor){.data = i + 1 < r->count ? r->between[i % 2] : c->y,
                                            .batch = out[0],
                                            .height = out[1],
                                            .width = out[2],
                                            .channels = out[3]};
        status = dwconv_scratch_size(r->plans[i], in, r->threads.count, &bytes);
        if (status != DWCONV_OK) return status;
        if (bytes > r->scratch_bytes) r->scratch_bytes = bytes;
    }
    r->scratch_bytes = (r->scratch_bytes + 63) / 64 * 64;
    if (r->scratch_bytes) r->scratch = aligned_alloc(64, r->scratch_bytes);
    return DWCONV_OK;
}

const char *bench_prepare(const bench_chain *c, void **handle) {
    runner *r = calloc(1, sizeof(*r));
    r->threads.count = (int)c->threads;
    dwconv_desc desc;
    dwconv_status status = DWCONV_OK;
    if (c->count > 1 && block_of(c, &desc)) {
        status = add_plan(r, c, &desc);
    } else {
        for (int i = 0; i < c->count && status == DWCONV_OK; i++) {
            desc = layer_of(&c->stages[i]);
            status = add_plan(r, c, &desc);
        }
    }
    if (status == DWCONV_OK) status = add_memory(r, c);
    if (status != DWCONV_OK) {
        bench_release(r);
        return dwconv_status_string(status);
    }
    *handle = r;
    return NULL;
}

const char *bench_run(void *handle, int64_t loops) {
    runner *r = handle;
    for (int64_t n = 0; n < loops; n++) {
        for (int i = 0; i < r->count; i++) {
            dwconv_status status = dwconv_run(r->plans[i], &r->tensors[i], &r->tensors[i + 1], r->scratch,
                                              r->scratch_bytes, &r->threads);
            if (status != DWCONV_OK) return dwconv_status_string(status);
        }
    }
    return NULL;
}

void bench_release(void *handle) {
    runner *r = handle;
    for (int i = 0; i < r->count; i++) dwconv_plan_destroy(r->plans[i]);
    for (int i = 0; i < 2; i++) free(r->between[i]);
    free(r->scratch);
    free(r);
}

const char *bench_kernels(void *handle) { return ((runner *)handle)->kernels; }

int64_t bench_scratch(void *handle) { return (int64_t)((runner *)handle)->scratch_bytes; }
