/* dwconv through its own C API: one plan per operation. A chain becomes several plans where it is no block, or where
 * blocks are to be computed layer by layer; what no plan computes then (the mean and the product of a
 * squeeze-and-excite, the sum with the input) are plain loops, as a program around the library would have them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "dwconv.h"

typedef struct runner {
    int count;
    dwconv_plan *plans[BENCH_STAGES];
    dwconv_tensor tensors[BENCH_STAGES + 1];
    dwconv_plan
        *gate[2]; /* of a squeeze-and-excite that is no part of a plan, for what plan count - 2 gives */
    dwconv_tensor gate_tensors[3];
    int add_input; /* after the last plan */
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

static dwconv_quant quant_of(bench_quant q) { return (dwconv_quant){q.scale, q.zero_point}; }

static const dwconv_dtype dtypes[] = {DWCONV_F32, DWCONV_S8, DWCONV_U8};

static dwconv_conv_desc conv_of(const bench_stage *s) {
    return (dwconv_conv_desc){.size = sizeof(dwconv_conv_desc),
                              .in_channels = s->in_channels,
                              .out_channels = s->out_channels,
                              .groups = s->op == BENCH_DEPTHWISE ? s->in_channels : 1,
                              .window = window_of(s),
                              .filter = s->filter,
                              .bias = s->bias,
                              .activation = activation_of(s),
                              .filter_scale = s->filter_scale,
                              .output = quant_of(s->output)};
}

/* Adds to r->kernels. */
static dwconv_status make_plan(runner *r, const dwconv_desc *desc, dwconv_plan **plan) {
    char text[4096], *rest = text;
    dwconv_status status = dwconv_plan_create(desc, plan);
    if (status == DWCONV_OK) status = dwconv_explain(*plan, NULL, NULL, DWCONV_JSON, text, sizeof text, NULL);
    while (status == DWCONV_OK && (rest = strstr(rest, "\"kernel\": \"")) != NULL) {
        const size_t used = strlen(r->kernels);
        rest += strlen("\"kernel\": \"");
        snprintf(r->kernels + used, sizeof(r->kernels) - used, "%s%.*s", used ? ", " : "",
                 (int)strcspn(rest, "\""), rest);
    }
    return status;
}

static dwconv_desc desc_of(const bench_chain *c, bench_quant input) {
    return (dwconv_desc){.size = sizeof(dwconv_desc),
                         .dtype = dtypes[c->dtype],
                         .isa = c->isa,
                         .input = quant_of(input),
                         .sum = quant_of(c->sum)};
}

static dwconv_status make_layer(runner *r, const bench_chain *c, const bench_stage *s, dwconv_plan **plan) {
    const dwconv_conv_desc conv = conv_of(s);
    dwconv_desc desc = desc_of(c, s == c->stages ? c->input : s[-1].output);
    desc.conv = &conv;
    return make_plan(r, &desc, plan);
}

/* The whole chain as one operation; -1 if it is none. */
static int make_block(runner *r, const bench_chain *c, dwconv_plan **plan) {
    const bench_stage *s = c->stages;
    const int first = c->count == 3 && s[0].op == BENCH_POINTWISE;
    if (c->count - first != 2 || s[first].op != BENCH_DEPTHWISE || s[first + 1].op != BENCH_POINTWISE)
        return -1;
    const dwconv_conv_desc expand = conv_of(s), conv = conv_of(s + first), project = conv_of(s + first + 1);
    dwconv_conv_desc gate[2];
    dwconv_desc desc = desc_of(c, c->input);
    desc.expand = first ? &expand : NULL;
    desc.conv = &conv;
    desc.project = &project;
    desc.residual = c->residual ? DWCONV_RESIDUAL_ON : DWCONV_RESIDUAL_OFF;
    for (int i = 0; i < 2 && c->gate; i++) gate[i] = conv_of(&c->gate[i]);
    if (c->gate) desc.squeeze = &gate[0], desc.excite = &gate[1];
    return (int)make_plan(r, &desc, plan);
}

static dwconv_status add_layers(runner *r, const bench_chain *c) {
    dwconv_status status = DWCONV_OK;
    for (int i = 0; i < c->count && status == DWCONV_OK; i++) {
        status = make_layer(r, c, &c->stages[i], &r->plans[i]);
        r->count += status == DWCONV_OK;
    }
    for (int i = 0; i < 2 && c->gate && status == DWCONV_OK; i++)
        status = make_layer(r, c, &c->gate[i], &r->gate[i]);
    r->add_input = (int)c->residual;
    return status;
}

static dwconv_tensor pooled(const bench_chain *c, int64_t channels) {
    const size_t bytes = ((size_t)(c->batch * channels) * sizeof(float) + 63) / 64 * 64;
    return (dwconv_tensor){
        .data = aligned_alloc(64, bytes), .batch = c->batch, .height = 1, .width = 1, .channels = channels};
}

/* Tensors between the plans, and scratch for the hungriest of them. */
static dwconv_status add_memory(runner *r, const bench_chain *c) {
    const bench_stage *s = c->stages;
    r->tensors[0] = (dwconv_tensor){.data = c->x,
                                    .dtype = dtypes[c->dtype],
                                    .batch = c->batch,
                                    .height = s->in_h,
                                    .width = s->in_w,
                                    .channels = s->in_channels};
    if (r->count > 1) bench_between(c, r->between);
    for (int i = 0; i < r->count; i++) {
        const dwconv_tensor *x = &r->tensors[i];
        int64_t in[4] = {x->batch, x->height, x->width, x->channels}, out[4];
        dwconv_status status = dwconv_output_shape(r->plans[i], in, out);
        if (status != DWCONV_OK) return status;
        size_t bytes;
        r->tensors[i + 1] = (dwconv_tensor){.data = i + 1 < r->count ? r->between[i % 2] : c->y,
                                            .dtype = dtypes[c->dtype],
                                            .batch = out[0],
                                            .height = out[1],
                                            .width = out[2],
                                            .channels = out[3]};
        status = dwconv_scratch_size(r->plans[i], in, r->threads.count, &bytes);
        if (status != DWCONV_OK) return status;
        if (bytes > r->scratch_bytes) r->scratch_bytes = bytes;
    }
    if (r->gate[0]) {
        r->gate_tensors[0] = pooled(c, c->gate[0].in_channels);
        r->gate_tensors[1] = pooled(c, c->gate[0].out_channels);
        r->gate_tensors[2] = pooled(c, c->gate[1].out_channels);
    }
    r->scratch_bytes = (r->scratch_bytes + 63) / 64 * 64;
    if (r->scratch_bytes) r->scratch = aligned_alloc(64, r->scratch_bytes);
    return DWCONV_OK;
}

const char *bench_prepare(const bench_chain *c, void **handle) {
    runner *r = calloc(1, sizeof(*r));
    r->threads.count = (int)c->threads;
    const int block = c->fuse ? make_block(r, c, &r->plans[0]) : -1;
    dwconv_status status = block < 0 ? add_layers(r, c) : (dwconv_status)block;
    if (block == DWCONV_OK) r->count = 1;
    if (status == DWCONV_OK) status = add_memory(r, c);
    if (status != DWCONV_OK) {
        bench_release(r);
        return dwconv_status_string(status);
    }
    *handle = r;
    return NULL;
}

/* ---- what no plan computes ---------------------------------------------------------------- */

/* Of channels [begin, begin + width); a constant width keeps the sums in registers. */
static inline void mean_of(const float *restrict x, int64_t pixels, int64_t channels, int64_t begin,
                           int64_t width, float *restrict mean) {
    float sums[64] = {0};
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t i = 0; i < width; i++) sums[i] += x[p * channels + begin + i];
    for (int64_t i = 0; i < width; i++) mean[begin + i] = sums[i] / (float)pixels;
}

static void mean_channels(const float *x, int64_t pixels, int64_t channels, int threads, float *mean) {
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t begin = 0; begin < channels; begin += 64) {
        int64_t c = begin, end = begin + 64 < channels ? begin + 64 : channels;
        for (; c + 64 <= end; c += 64) mean_of(x, pixels, channels, c, 64, mean);
        for (; c + 16 <= end; c += 16) mean_of(x, pixels, channels, c, 16, mean);
        for (; c + 8 <= end; c += 8) mean_of(x, pixels, channels, c, 8, mean);
        if (c < end) mean_of(x, pixels, channels, c, end - c, mean);
    }
}

static void scale_channels(float *restrict x, int64_t pixels, int64_t channels, int threads,
                           const float *restrict factors) {
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t p = 0; p < pixels; p++)
        for (int64_t c = 0; c < channels; c++) x[p * channels + c] *= factors[c];
}

static void add(float *restrict y, const float *restrict x, int64_t count, int threads) {
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static dwconv_status squeeze_excite(runner *r, dwconv_tensor *t) {
    const int64_t pixels = t->height * t->width, image = pixels * t->channels;
    float *mean = r->gate_tensors[0].data, *factors = r->gate_tensors[2].data;
    for (int64_t n = 0; n < t->batch; n++)
        mean_channels((float *)t->data + n * image, pixels, t->channels, r->threads.count,
                      mean + n * t->channels);
    for (int i = 0; i < 2; i++) {
        dwconv_status status =
            dwconv_run(r->gate[i], &r->gate_tensors[i], &r->gate_tensors[i + 1], NULL, 0, &r->threads);
        if (status != DWCONV_OK) return status;
    }
    for (int64_t n = 0; n < t->batch; n++)
        scale_channels((float *)t->data + n * image, pixels, t->channels, r->threads.count,
                       factors + n * t->channels);
    return DWCONV_OK;
}

/* ---- running ------------------------------------------------------------------------------ */

static dwconv_status run_once(runner *r) {
    for (int i = 0; i < r->count; i++) {
        dwconv_status status = dwconv_run(r->plans[i], &r->tensors[i], &r->tensors[i + 1], r->scratch,
                                          r->scratch_bytes, &r->threads);
        if (status == DWCONV_OK && r->gate[0] && i + 2 == r->count)
            status = squeeze_excite(r, &r->tensors[i + 1]);
        if (status != DWCONV_OK) return status;
    }
    const dwconv_tensor *y = &r->tensors[r->count];
    if (r->add_input)
        add(y->data, r->tensors[0].data, y->batch * y->height * y->width * y->channels, r->threads.count);
    return DWCONV_OK;
}

const char *bench_run(void *handle, int64_t loops) {
    for (int64_t n = 0; n < loops; n++) {
        dwconv_status status = run_once(handle);
        if (status != DWCONV_OK) return dwconv_status_string(status);
    }
    return NULL;
}

void bench_release(void *handle) {
    runner *r = handle;
    for (int i = 0; i < r->count; i++) dwconv_plan_destroy(r->plans[i]);
    for (int i = 0; i < 2; i++) dwconv_plan_destroy(r->gate[i]);
    for (int i = 0; i < 3; i++) free(r->gate_tensors[i].data);
    for (int i = 0; i < 2; i++) free(r->between[i]);
    free(r->scratch);
    free(r);
}

const char *bench_kernels(void *handle) { return ((runner *)handle)->kernels; }

int64_t bench_scratch(void *handle) { return (int64_t)((runner *)handle)->scratch_bytes; }

/* What dwconv_explain tells of a plan's run under this key. */
static double told(const runner *r, int plan, const char *key) {
    const dwconv_tensor *x = &r->tensors[plan];
    const int64_t shape[4] = {x->batch, x->height, x->width, x->channels};
    char text[4096];
    if (dwconv_explain(r->plans[plan], shape, &r->threads, DWCONV_JSON, text, sizeof text, NULL) != DWCONV_OK)
        return 0;
    const char *found = strstr(text, key);
    return found ? atof(found + strlen(key)) : 0;
}

/* Of the cost model, for one worker, in nanoseconds. */
BENCH_API double bench_estimate(void *handle) {
    const runner *r = handle;
    double nanoseconds = 0;
    for (int i = 0; i < r->count; i++) nanoseconds += told(r, i, "\"nanoseconds\": ");
    return nanoseconds;
}

/* The most that a plan is shared by. */
BENCH_API int bench_workers(void *handle) {
    const runner *r = handle;
    int most = 1;
    for (int i = 0; i < r->count; i++) {
        const int workers = (int)told(r, i, "\"workers\": ");
        if (workers > most) most = workers;
    }
    return most;
}
