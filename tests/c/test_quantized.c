/* Quantized operations: dwconv_run gives the bytes of dwconv_reference, on every instruction set and with any threads,
 * within guard pages and without an allocation. */
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "guarded.h"
#include "machines.h"
#include "problem.h"
#include "suites.h"

/* More of them: QUANTIZED_CASES in the environment, from QUANTIZED_SEED on. */
enum { HASHED = 60, SEED = 24 };
#ifdef UNDER_EMULATION
enum { CASES = 150 };
#else
enum { CASES = 400 };
#endif
/* Of the results of the first ones: the same on every instruction set and machine. */
static const uint64_t golden_hash = UINT64_C(0x5b26bee75a6d3aa7);
enum { STAGES = 5, MOST_WEIGHTS = 40000, MOST_CHANNELS = 320 };

/* ---- problems ------------------------------------------------------------------------------- */

typedef struct stage {
    dwconv_conv_desc desc;
    int8_t filter[MOST_WEIGHTS];
    int32_t bias[MOST_CHANNELS];
    float scale[MOST_CHANNELS];
    int32_t zeros[MOST_CHANNELS];
    uint8_t table[256];
} stage;

static struct {
    dwconv_desc desc;
    stage stages[STAGES];
    int64_t input[4], output[4];
    int pixel_gap, extremes;
    int gates; /* blocks may have squeeze-and-excite: not those that are hashed */
} p;

static int is_signed(void) { return p.desc.dtype == DWCONV_S8; }

/* A zero point, at either end in half of the cases. */
static int32_t zero_point(rng *r) {
    const int64_t low = is_signed() ? -128 : 0;
    switch (rng_range(r, 0, 3)) {
        case 0: return (int32_t)low;
        case 1: return (int32_t)low + 255;
        default: return (int32_t)rng_range(r, low, low + 255);
    }
}

static dwconv_quant quant(rng *r, float scale) { return (dwconv_quant){scale, zero_point(r)}; }

static void add_activation(rng *r, stage *s) {
    static const dwconv_activation_kind kinds[] = {DWCONV_IDENTITY, DWCONV_RELU, DWCONV_RELU6,
                                                   DWCONV_CLIP,     DWCONV_SILU, DWCONV_LEAKY_RELU};
    dwconv_conv_desc *d = &s->desc;
    d->activation = (dwconv_activation){kinds[rng_range(r, 0, 5)], -0.25f, 1.5f};
    d->activation_input = quant(r, d->output.scale * 1.25f);
    if (rng_range(r, 0, 5) == 0) {
        for (int i = 0; i < 256; i++) s->table[i] = (uint8_t)rng_next(r);
        d->table = s->table;
    }
    if (rng_range(r, 0, 5) == 0) {
        d->low = is_signed() ? -100 : 20;
        d->high = d->low + 150;
    }
}

/* In units of its input's scale, outputs are about as large as inputs; or scales are powers of two, which gives ties. */
static void fill_stage(rng *r, stage *s, int64_t inputs, int64_t outputs, int64_t groups,
                       dwconv_window window, float scale) {
    const int64_t depth = window.kernel_h * window.kernel_w * inputs / groups;
    const int ties = rng_range(r, 0, 3) == 0, shared = rng_range(r, 0, 3) == 0;
    const int far = rng_range(r, 0, 7) == 0; /* factors from 2^-40 to 255 */
    const float y_scale = scale * (ties ? 2.0f : sqrtf((float)depth) * 1.3f);
    dwconv_conv_desc *d = &s->desc;
    for (int64_t i = 0; i < depth * outputs; i++)
        s->filter[i] = (int8_t)(p.extremes ? (rng_next(r) % 2 ? -128 : 127) : rng_range(r, -128, 127));
    for (int64_t c = 0; c < outputs; c++) {
        s->bias[c] = (int32_t)rng_range(r, -200000, 200000);
        s->scale[c] = ties ? 0x1p-6f : 0.001f + 0.02f * fabsf(rng_float(r));
        if (!far) continue;
        const int exponent = (int)rng_range(r, -40, 7);
        s->scale[c] = ldexpf(1.0f + 0.98f * fabsf(rng_float(r)), exponent) * y_scale / scale;
    }
    *d = (dwconv_conv_desc){.size = sizeof *d,
                            .in_channels = inputs,
                            .out_channels = outputs,
                            .groups = groups,
                            .window = window,
                            .filter = s->filter,
                            .bias = rng_range(r, 0, 3) ? s->bias : NULL,
                            .filter_scale = s->scale,
                            .filter_scales = shared};
    d->output = quant(r, y_scale);
    add_activation(r, s);
}

static dwconv_window random_window(rng *r) {
    const int64_t same = rng_range(r, 0, 2);
    static const int64_t most[6] = {5, 5, 3, 3, 2, 2};
    int64_t drawn[6]; /* one after another: initializers have no order */
    for (int i = 0; i < 6; i++) drawn[i] = rng_range(r, 1, most[i]);
    dwconv_window w = {.kernel_h = drawn[0],
                       .kernel_w = drawn[1],
                       .stride_h = drawn[2],
                       .stride_w = drawn[3],
                       .dilation_h = drawn[4],
                       .dilation_w = drawn[5],
                       .padding = same ? DWCONV_SAME : DWCONV_EXPLICIT};
    if (!same) {
        w.pad_top = rng_range(r, 0, 6);
        w.pad_bottom = rng_range(r, 0, 6);
        w.pad_left = rng_range(r, 0, 6);
        w.pad_right = rng_range(r, 0, 6);
    }
    return w;
}

static const dwconv_window one_tap = {.kernel_h = 1, .kernel_w = 1};

/* Of what depthwise gives. */
static void random_gate(rng *r, int64_t channels) {
    const int64_t few = rng_range(r, 1, 20);
    const float scale = p.stages[1].desc.output.scale;
    fill_stage(r, &p.stages[3], channels, few, 1, one_tap, scale);
    fill_stage(r, &p.stages[4], few, channels, 1, one_tap, p.stages[3].desc.output.scale);
    if (rng_range(r, 0, 1)) p.desc.mean = quant(r, scale * 0.3f);
    if (rng_range(r, 0, 1)) p.desc.scaled = quant(r, scale * p.stages[4].desc.output.scale * 50.0f);
    p.desc.product = rng_range(r, 0, 1) ? DWCONV_FLOAT_FORMULA : DWCONV_INTEGER_FORMULA;
    p.desc.squeeze = &p.stages[3].desc;
    p.desc.excite = &p.stages[4].desc;
}

static void random_block(rng *r, int64_t channels) {
    dwconv_window window = random_window(r);
    const int residual = rng_range(r, 0, 1) && p.desc.dtype != DWCONV_F32;
    const int expands = residual || rng_range(r, 0, 1);
    const int64_t inner = expands ? rng_range(r, 1, 70) : channels * rng_range(r, 1, 2);
    if (residual) {
        window = (dwconv_window){.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME};
        p.desc.residual = rng_range(r, 0, 1) ? DWCONV_RESIDUAL_ON : DWCONV_RESIDUAL_AUTO;
        p.desc.sum = quant(r, 0.11f);
    }
    if (expands) {
        fill_stage(r, &p.stages[0], channels, inner, 1, one_tap, p.desc.input.scale);
        p.desc.expand = &p.stages[0].desc;
    }
    const int64_t depthwise = expands ? inner : channels;
    fill_stage(r, &p.stages[1], depthwise, inner, depthwise, window, 0.05f);
    if (p.gates && rng_range(r, 0, 1)) random_gate(r, inner);
    fill_stage(r, &p.stages[2], inner, residual ? channels : rng_range(r, 1, 70), 1, one_tap, 0.05f);
    p.desc.conv = &p.stages[1].desc;
    p.desc.project = &p.stages[2].desc;
}

static void random_problem(rng *r) {
    memset(&p.desc, 0, sizeof p.desc);
    p.desc.size = sizeof p.desc;
    p.desc.dtype = rng_range(r, 0, 1) ? DWCONV_S8 : DWCONV_U8;
    p.desc.rounding = rng_range(r, 0, 2) == 0 ? DWCONV_ROUND_TFLITE : DWCONV_ROUND_EVEN;
    p.desc.flags = rng_range(r, 0, 5) == 0 ? DWCONV_FLOAT_OUTPUT : 0;
    p.desc.input = quant(r, 0.05f);
    p.extremes = rng_range(r, 0, 3) == 0;
    p.pixel_gap = (int)rng_range(r, 0, 2);
    const int64_t channels = rng_range(r, 1, 40);
    const int64_t batch = rng_range(r, 1, 2), height = rng_range(r, 5, 17), width = rng_range(r, 5, 17);
    const int64_t input[4] = {batch, height, width, channels};
    const dwconv_window window = random_window(r);
    const int64_t some = rng_range(r, 1, 40);
    memcpy(p.input, input, sizeof input);
    switch (rng_range(r, 0, 3)) {
        case 0:
            fill_stage(r, &p.stages[1], channels, channels * (1 + some % 4), channels, window, 0.05f);
            break;
        case 1: fill_stage(r, &p.stages[1], channels, some, 1, window, 0.05f); break;
        case 2: {
            const int64_t groups = channels % 3 ? 1 : 3;
            fill_stage(r, &p.stages[1], channels, groups * some, groups, one_tap, 0.05f);
            break;
        }
        default: random_block(r, channels); return;
    }
    p.desc.conv = &p.stages[1].desc;
}

/* Filters of bytes less a zero point, in two of three stages: few weights beyond int8, or many. */
static void move_filters(rng *r) {
    for (stage *s = p.stages; s < p.stages + STAGES; s++) {
        const int kind = (int)rng_range(r, 0, 2), is_unsigned = (int)rng_range(r, 0, 1);
        const int64_t low = is_unsigned ? 0 : -128, near = rng_range(r, 0, 1);
        s->desc.filter_dtype = kind == 0 ? DWCONV_F32 : is_unsigned ? DWCONV_U8 : DWCONV_S8;
        s->desc.filter_zero_point = kind == 0 ? NULL : s->zeros;
        s->desc.filter_zero_points = kind == 1;
        for (int c = 0; c < MOST_CHANNELS; c++)
            s->zeros[c] = (int32_t)(low + (near ? rng_range(r, 125, 131) : rng_range(r, 0, 255)));
    }
}

/* ---- runs ----------------------------------------------------------------------------------- */

static size_t size_of(dwconv_dtype dtype) { return dtype == DWCONV_F32 ? sizeof(float) : 1; }

static dwconv_dtype output_dtype(void) {
    return p.desc.flags & DWCONV_FLOAT_OUTPUT ? DWCONV_F32 : p.desc.dtype;
}

static dwconv_tensor tensor_of(const int64_t dims[4], dwconv_dtype dtype, void *data) {
    return (dwconv_tensor){.data = data,
                           .dtype = dtype,
                           .batch = dims[0],
                           .height = dims[1],
                           .width = dims[2],
                           .channels = dims[3],
                           .pixel_stride = dims[3] + p.pixel_gap};
}

static int chunks, bands, by_stages; /* blocks that were walked down in them, or stage by stage on threads */
static int gates[2];                 /* with squeeze-and-excite: walked down as far as depthwise, or not */

static void count_walk(const dwconv_plan *plan, const dwconv_threads *threads) {
    if (!p.desc.project) return;
    const int64_t rows = explained(plan, p.input, threads, "chunk_rows");
    if (p.desc.squeeze) {
        gates[rows <= 0]++;
        return;
    }
    if (explained(plan, p.input, threads, "passes") == 1) {
        chunks += rows > 0 && rows < p.output[1];
        bands += explained(plan, p.input, threads, "strips") > 1;
    } else {
        by_stages++;
    }
}

/* Up to the last channel of the last pixel. */
static size_t bytes_of(const int64_t dims[4], dwconv_dtype dtype) {
    const int64_t elements = dims[0] * dims[1] * dims[2] * (dims[3] + p.pixel_gap) - p.pixel_gap;
    return (size_t)elements * size_of(dtype);
}

static uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

static void add_to_hash(const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
}

static void check_run(const char *isa, const guarded *x, const void *expected, int threads, int at_end) {
    size_t plan_bytes = 0, scratch_bytes = 0;
    dwconv_plan *plan = NULL;
    dwconv_desc desc = p.desc;
    desc.isa = isa;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_size(&desc, &plan_bytes));
    guarded memory = guarded_create(plan_bytes, at_end, DWCONV_ALIGNMENT);
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create_in(&desc, memory.data, plan_bytes, &plan));
    if (!plan) {
        guarded_free(&memory);
        return;
    }
    CHECK(dwconv_plan_bytes(plan) <= plan_bytes);
    guarded_make_read_only(&memory);
    const size_t bytes = bytes_of(p.output, output_dtype());
    guarded y = guarded_create(bytes, at_end, size_of(output_dtype()));
    memset(y.data, 0x5a, bytes);
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p.input, threads, &scratch_bytes));
    guarded scratch = guarded_create(scratch_bytes, at_end, DWCONV_ALIGNMENT);
    memset(scratch.data, 0xff, scratch_bytes);
    const dwconv_tensor in = tensor_of(p.input, p.desc.dtype, x->data);
    const dwconv_tensor out = tensor_of(p.output, output_dtype(), y.data);
    const dwconv_threads workers = {.count = threads};
    count_walk(plan, &workers);
    const long calls = allocator_calls();
    const int mode = threads > 1 ? FE_UPWARD : FE_TONEAREST; /* of the caller: it makes no difference */
    fesetround(mode);
    const dwconv_status status = dwconv_run(plan, &in, &out, scratch_bytes ? scratch.data : NULL,
                                            scratch_bytes, threads > 1 ? &workers : NULL);
    CHECK(fegetround() == mode);
    fesetround(FE_TONEAREST);
    CHECK_STATUS(DWCONV_OK, status);
    if (threads == 1) CHECK(allocator_calls() == calls);
    CHECK(memcmp(y.data, expected, bytes) == 0);
    dwconv_plan_destroy(plan);
    guarded_free(&scratch);
    guarded_free(&y);
    guarded_free(&memory);
}

/* With so small a cache blocks are walked down a few rows at a time. */
static const dwc_machine tiny = {.l1_sets = 64, .l1_ways = 8, .l2_bytes = 2048, .last_bytes = 1 << 20};

static void check_problem(rng *r, int number) {
    dwconv_plan *plan = NULL;
    p.gates = number >= HASHED;
    random_problem(r);
    if (number >= HASHED) move_filters(r);
    CONTEXT("quantized case %d", number);
    if (dwconv_plan_create(&p.desc, &plan) != DWCONV_OK ||
        dwconv_output_shape(plan, p.input, p.output) != DWCONV_OK) { /* a kernel larger than its input */
        dwconv_plan_destroy(plan);
        return;
    }
    dwconv_plan_destroy(plan);
    const int at_end = number % 2;
    const size_t x_bytes = bytes_of(p.input, p.desc.dtype), y_bytes = bytes_of(p.output, output_dtype());
    guarded x = guarded_create(x_bytes, at_end, 1);
    for (size_t i = 0; i < x_bytes; i++)
        ((uint8_t *)x.data)[i] = (uint8_t)(p.extremes ? (rng_next(r) % 2 ? 0x80 : 0x7f) : rng_next(r));
    guarded_make_read_only(&x);
    void *expected = malloc(y_bytes);
    memset(expected, 0x5a, y_bytes);
    const dwconv_tensor in = tensor_of(p.input, p.desc.dtype, x.data);
    const dwconv_tensor out = tensor_of(p.output, output_dtype(), expected);
    CHECK_STATUS(DWCONV_OK, dwconv_reference(&p.desc, &in, &out));
    if (number < HASHED) add_to_hash(expected, y_bytes);
    made_up = number % 4 < 2 ? &tiny : NULL;
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        CONTEXT("quantized case %d on %s", number, isa);
        check_run(isa, &x, expected, 1 + number % 3, at_end);
    }
    made_up = NULL;
    free(expected);
    guarded_free(&x);
}

void test_quantized(void) {
    const char *cases = getenv("QUANTIZED_CASES"), *seed = getenv("QUANTIZED_SEED");
    rng r = {seed ? strtoull(seed, NULL, 10) : SEED};
    const int count = cases ? atoi(cases) : CASES;
    for (int i = 0; i < count; i++) check_problem(&r, i);
    if (!seed && hash != golden_hash) printf("hash %llx\n", (unsigned long long)hash);
    CHECK(seed || hash == golden_hash);
    CHECK(chunks > 0 && bands > 0 && by_stages > 0 && gates[0] > 0 && gates[1] > 0);
}
