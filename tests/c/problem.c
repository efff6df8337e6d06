/* Problems and the error bound: see problem.h. */
#include "problem.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t rng_next(rng *r) {
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int64_t rng_range(rng *r, int64_t low, int64_t high) {
    return low + (int64_t)(rng_next(r) % (uint64_t)(high - low + 1));
}

float rng_float(rng *r) { return (float)(rng_next(r) >> 40) * 0x1p-23f - 1.0f; }

void *aligned_memory(size_t bytes) {
    if (bytes == 0) return NULL;
    return aligned_alloc(DWCONV_ALIGNMENT,
                         (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT);
}

/* ---- stages -------------------------------------------------------------------------------- */

/* Largest slope of an activation, and its magnitude at 0: |act(x)| <= slope * |x| + offset. */
static float activation_slope(const dwconv_activation *a) {
    if (a->kind == DWCONV_LEAKY_RELU) return fmaxf(1.0f, fabsf(a->a));
    return a->kind == DWCONV_HARD_SWISH ? 1.5f : a->kind < DWCONV_HARD_SIGMOID ? 1.0f : 1.2f;
}

static float activation_offset(const dwconv_activation *a) {
    if (a->kind == DWCONV_SIGMOID || a->kind == DWCONV_HARD_SIGMOID) return 0.5f;
    if (a->kind == DWCONV_CLIP) return a->a > 0 ? a->a : a->b < 0 ? -a->b : 0.0f;
    return 0.0f;
}

typedef struct stage {
    const float *filter, *bias;                     /* of the problem */
    const float *filter_magnitude, *bias_magnitude; /* times the slope, plus the offset */
} stage;

static float *keep(problem *p, int64_t floats) {
    float *memory = malloc((size_t)floats * sizeof(float));
    return p->memory[p->memory_count++] = memory;
}

/* `terms` products go into one output, `outputs` channels come out. */
static stage make_stage_with(problem *p, rng *r, const dwconv_activation *activation, int64_t terms,
                             int64_t outputs, int64_t filter_floats) {
    const float slope = activation_slope(activation), offset = activation_offset(activation);
    float *filter = keep(p, filter_floats), *filter_magnitude = keep(p, filter_floats);
    float *bias = keep(p, outputs), *bias_magnitude = keep(p, outputs);
    for (int64_t i = 0; i < filter_floats; i++) {
        filter[i] = rng_float(r);
        filter_magnitude[i] = fabsf(filter[i]) * slope;
    }
    for (int64_t i = 0; i < outputs; i++) {
        bias[i] = rng_float(r);
        bias_magnitude[i] = (p->shape.has_bias ? fabsf(bias[i]) * slope : 0.0f) + offset;
    }
    p->unit += (double)(terms + 8 + 8) * FLT_EPSILON; /* 8 for the sum, 8 for activation and rounding */
    return (stage){filter, p->shape.has_bias ? bias : NULL, filter_magnitude, bias_magnitude};
}

static stage make_stage(problem *p, rng *r, int64_t terms, int64_t outputs, int64_t filter_floats) {
    return make_stage_with(p, r, &p->shape.activation, terms, outputs, filter_floats);
}

static dwconv_conv_desc part(int64_t in, int64_t out, const stage *s, int magnitude,
                             dwconv_activation activation) {
    return (dwconv_conv_desc){.size = sizeof(dwconv_conv_desc),
                              .in_channels = in,
                              .out_channels = out,
                              .filter = magnitude ? s->filter_magnitude : s->filter,
                              .bias = magnitude ? s->bias_magnitude : s->bias,
                              .activation = magnitude ? (dwconv_activation){0} : activation};
}

static dwconv_desc describe(const shape *s, const stage *stages, int magnitude, dwconv_conv_desc *parts) {
    dwconv_desc d = {.size = sizeof d, .conv = &parts[0]};
    const int64_t hidden = s->expanded ? s->expanded : s->in_channels, wide = hidden * s->multiplier;
    const int single = s->operation == POINTWISE || s->operation == CONV;
    parts[0] = single ? part(s->in_channels, s->out_channels, &stages[0], magnitude, s->activation)
                      : part(hidden, wide, &stages[0], magnitude, s->activation);
    parts[0].window = s->window;
    parts[0].groups = single ? s->groups : hidden;
    if (s->operation < SEPARABLE) return d;
    const int linear = s->operation == INVERTED_RESIDUAL;
    parts[1] =
        part(wide, s->out_channels, &stages[1], magnitude, linear ? (dwconv_activation){0} : s->activation);
    d.project = &parts[1];
    if (linear) d.residual = s->without_residual ? DWCONV_RESIDUAL_OFF : DWCONV_RESIDUAL_AUTO;
    if (s->expanded) {
        parts[2] = part(s->in_channels, s->expanded, &stages[2], magnitude, s->activation);
        d.expand = &parts[2];
    }
    if (s->squeezed) {
        parts[3] = part(wide, s->squeezed, &stages[3], magnitude, s->activation);
        parts[4] = part(s->squeezed, wide, &stages[4], magnitude, s->gate);
        d.squeeze = &parts[3];
        d.excite = &parts[4];
    }
    return d;
}

static int64_t extent(dwconv_padding padding, int64_t in, int64_t k, int64_t s, int64_t d, int64_t pad) {
    const int64_t effective = (k - 1) * d + 1;
    if (padding == DWCONV_SAME) return (in + s - 1) / s;
    return effective > in + pad ? 0 : (in + pad - effective) / s + 1;
}

int problem_create(problem *p, const shape *s, rng *r) {
    const dwconv_window *w = &s->window;
    const int64_t taps = w->kernel_h * w->kernel_w;
    const int64_t hidden = s->expanded ? s->expanded : s->in_channels;
    const int64_t out_h =
        extent(w->padding, s->height, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top + w->pad_bottom);
    const int64_t out_w =
        extent(w->padding, s->width, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left + w->pad_right);
    if (out_h < 1 || out_w < 1) return 0;
    *p = (problem){.shape = *s};
    stage stages[MAX_STAGES] = {0};
    int64_t out_channels = s->out_channels;
    switch (s->operation) {
        case DEPTHWISE:
            out_channels = s->in_channels * s->multiplier;
            stages[0] = make_stage(p, r, taps, out_channels, taps * out_channels);
            break;
        case POINTWISE:
            stages[0] = make_stage(p, r, s->in_channels, out_channels, s->in_channels * out_channels);
            break;
        case CONV:
            stages[0] = make_stage(p, r, taps * s->in_channels / s->groups, out_channels,
                                   taps * s->in_channels / s->groups * out_channels);
            break;
        default:
            stages[0] = make_stage(p, r, taps, hidden * s->multiplier, taps * hidden * s->multiplier);
            stages[1] =
                make_stage(p, r, hidden * s->multiplier, out_channels, hidden * s->multiplier * out_channels);
            if (s->expanded)
                stages[2] = make_stage(p, r, s->in_channels, s->expanded, s->in_channels * s->expanded);
            if (s->squeezed) {
                const int64_t wide = hidden * s->multiplier;
                p->unit +=
                    (double)(out_h + out_w) * FLT_EPSILON; /* the mean: sums of rows, then of columns */
                stages[3] = make_stage(p, r, wide, s->squeezed, wide * s->squeezed);
                stages[4] = make_stage_with(p, r, &s->gate, s->squeezed, wide, s->squeezed * wide);
            }
    }
    p->desc = describe(s, stages, 0, p->parts[0]);
    p->magnitude = describe(s, stages, 1, p->parts[1]);
    memcpy(p->input, (int64_t[4]){s->batch, s->height, s->width, s->in_channels}, sizeof p->input);
    memcpy(p->output, (int64_t[4]){s->batch, out_h, out_w, out_channels}, sizeof p->output);
    return 1;
}

void problem_free(problem *p) {
    while (p->memory_count > 0) free(p->memory[--p->memory_count]);
}

/* ---- expectations -------------------------------------------------------------------------- */

void expectation_create(expectation *e, const problem *p, const buffer *x) {
    buffer magnitude;
    buffer_create(&e->value, p->output, DENSE);
    buffer_create(&e->bound, p->output, DENSE);
    buffer_create(&magnitude, p->input, DENSE);
    buffer_copy(&magnitude, x);
    for (size_t i = 0; i < magnitude.floats; i++) magnitude.memory[i] = fabsf(magnitude.memory[i]);
    dwconv_status status = dwconv_reference(&p->desc, &x->tensor, &e->value.tensor);
    if (status == DWCONV_OK) status = dwconv_reference(&p->magnitude, &magnitude.tensor, &e->bound.tensor);
    if (status != DWCONV_OK) {
        fprintf(stderr, "the oracle refuses %s: %s\n", shape_text(&p->shape), dwconv_status_string(status));
        exit(2);
    }
    for (size_t i = 0; i < e->bound.floats; i++) e->bound.memory[i] = (float)(e->bound.memory[i] * p->unit);
    buffer_free(&magnitude);
}

void expectation_free(expectation *e) {
    buffer_free(&e->value);
    buffer_free(&e->bound);
}

int expectation_met(const expectation *e, const dwconv_tensor *y, char *message, size_t message_size) {
    double worst = 0.0;
    for (int64_t n = 0; n < y->batch; n++)
        for (int64_t oy = 0; oy < y->height; oy++)
            for (int64_t ox = 0; ox < y->width; ox++)
                for (int64_t c = 0; c < y->channels; c++) {
                    const double found = *tensor_at(y, n, oy, ox, c);
                    const double expected = *tensor_at(&e->value.tensor, n, oy, ox, c);
                    const double bound = *tensor_at(&e->bound.tensor, n, oy, ox, c) + 0x1p-140;
                    const double ratio = fabs(found - expected) / bound;
                    if (ratio <= 1.0 || ratio <= worst) continue;
                    worst = isnan(ratio) ? INFINITY : ratio;
                    snprintf(message, message_size,
                             "[%d,%d,%d,%d]: expected %.9g found %.9g, %.3g times the bound", (int)n, (int)oy,
                             (int)ox, (int)c, expected, found, worst);
                }
    return worst == 0.0;
}

dwconv_status problem_run(const problem *p, const char *isa, const buffer *x, buffer *y,
                          const dwconv_threads *threads) {
    dwconv_desc desc = p->desc;
    desc.isa = isa;
    dwconv_plan *plan;
    size_t scratch_bytes = 0;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    if (status != DWCONV_OK) return status;
    status = dwconv_scratch_size(plan, p->input, threads ? threads->count : 1, &scratch_bytes);
    void *scratch = aligned_memory(scratch_bytes);
    if (status == DWCONV_OK)
        status = dwconv_run(plan, &x->tensor, &y->tensor, scratch, scratch_bytes, threads);
    free(scratch);
    dwconv_plan_destroy(plan);
    return status;
}

int64_t explained(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                  const char *key) {
    char text[4096], quoted[64];
    if (dwconv_explain(plan, input, threads, DWCONV_JSON, text, sizeof text, NULL) != DWCONV_OK) return -1;
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *found = strstr(text, quoted);
    return found ? strtoll(found + strlen(quoted), NULL, 10) : -1;
}
