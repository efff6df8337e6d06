/* Nodes on 8-bit integers: the same bits on every instruction set, with every number of threads and wherever values lie;
 * no byte beside them is touched; what cannot be is refused. Their arithmetic is tested against NumPy, in Python. */
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "guarded.h"
#include "net.h"
#include "suites.h"

enum { MOST_BYTES = 1 << 16, FILLED = 3 };

static float numbers[MOST_BYTES];
static uint8_t table[256];
static int32_t exponentials[256], indices[64];
static int8_t weights[4096];
static float weight_scales[64];

static void fill_tables(rng *r) {
    for (int i = 0; i < 256; i++) {
        table[i] = (uint8_t)rng_range(r, 0, 255);
        exponentials[i] = (int32_t)lrint(exp(-0.05 * i) * (1 << 23));
    }
    for (size_t i = 0; i < sizeof weights; i++) weights[i] = (int8_t)rng_range(r, -128, 127);
    for (int i = 0; i < 64; i++) weight_scales[i] = 0.001f + 0.0001f * (float)i;
    for (int i = 0; i < MOST_BYTES; i++) numbers[i] = rng_float(r) * 10.0f;
}

/* ---- one node ------------------------------------------------------------------------------ */

/* Values: input, second input or table, output, the part of it that the node writes. */
enum { IN, SECOND, OUT, PART, VALUES };

typedef struct byte_case {
    net n;
    dwconv_network_desc desc;
    dwconv_dtype dtype;
} byte_case;

static void set_type(byte_case *c, int value, dwconv_dtype dtype, float scale, int32_t zero_point) {
    dwconv_value *v = &c->n.values[value];
    v->dtype = dtype;
    v->scale = scale;
    v->zero_point = zero_point;
}

static int32_t a_number(const byte_case *c, rng *r) {
    return (int32_t)(c->dtype == DWCONV_S8 ? rng_range(r, -128, 127) : rng_range(r, 0, 255));
}

/* Where axes lie in memory: as they are, turned, pixels in planes. */
static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 2, 3, 1}};

static int any_order(rng *r) { return (int)rng_range(r, 0, 2); }

/* A value as part of a larger one: gaps on all sides, axes in any order, or flipped. */
static int part_of(net *n, dwconv_storage storage, const int64_t sizes[4], int order, int flipped) {
    const int *place = orders[order];
    int64_t outer[4], strides[4], own[DWCONV_MAX_RANK], offset = 0;
    for (int a = 0; a < 4; a++) outer[place[a]] = sizes[a] + place[a] % 3;
    const int base = net_value(n, storage, 4, outer);
    net_strides(n, base, own);
    for (int a = 0; a < 4; a++) strides[a] = own[place[a]];
    if (flipped) {
        offset += (sizes[1] - 1) * strides[1];
        strides[1] = -strides[1];
    }
    return net_view(n, base, 4, sizes, strides, offset);
}

typedef struct shape4 {
    int64_t in[4], second[4], out[4];
    int images; /* channels must be contiguous */
} shape4;

/* Fills in the node, and the shapes that go with it. */
static void choose(dwconv_node *node, shape4 *s, rng *r) {
    static const dwconv_node_kind kinds[] = {
        DWCONV_COPY, DWCONV_GATHER, DWCONV_QUANTIZE, DWCONV_DEQUANTIZE, DWCONV_LOOKUP,     DWCONV_BINARY,
        DWCONV_POOL, DWCONV_REDUCE, DWCONV_RESIZE,   DWCONV_SOFTMAX,    DWCONV_CONVOLUTION};
    static const dwconv_function functions[] = {DWCONV_PLUS,    DWCONV_MINUS,   DWCONV_TIMES,
                                                DWCONV_MAXIMUM, DWCONV_MINIMUM, DWCONV_PRELU};
    node->kind = kinds[rng_range(r, 0, (int64_t)(sizeof kinds / sizeof *kinds) - 1)];
    memcpy(s->out, s->in, sizeof s->in);
    memcpy(s->second, s->in, sizeof s->in);
    switch (node->kind) {
        case DWCONV_GATHER:
            node->axis = (int32_t)rng_range(r, 0, 3);
            node->index_count = (int32_t)rng_range(r, 1, 9);
            node->indices = indices;
            for (int i = 0; i < 64; i++) indices[i] = (int32_t)rng_range(r, 0, s->in[node->axis] - 1);
            s->out[node->axis] = node->index_count;
            break;
        case DWCONV_BINARY:
            node->function = functions[rng_range(r, 0, 5)];
            node->formula = node->function < DWCONV_POWER && rng_range(r, 0, 2) == 0 ? DWCONV_FLOAT_FORMULA
                                                                                     : DWCONV_INTEGER_FORMULA;
            for (int a = 0; a < 4; a++)
                if (rng_range(r, 0, 2) == 0) s->second[a] = 1;
            break;
        case DWCONV_POOL:
            s->images = 1;
            node->function = rng_range(r, 0, 1) ? DWCONV_MEAN : DWCONV_LARGEST;
            node->window = (dwconv_window){.kernel_h = 2,
                                           .kernel_w = 3,
                                           .stride_h = rng_range(r, 1, 2),
                                           .padding = DWCONV_EXPLICIT,
                                           .pad_top = 1,
                                           .pad_left = 1,
                                           .pad_right = 2};
            s->out[1] = (s->in[1] + 1 - 2) / node->window.stride_h + 1;
            s->out[2] = s->in[2] + 1;
            break;
        case DWCONV_REDUCE:
            node->function = (dwconv_function)rng_range(r, DWCONV_MEAN, DWCONV_SMALLEST);
            for (int a = 0; a < 4; a++)
                if (rng_range(r, 0, 1)) s->out[a] = 1;
            break;
        case DWCONV_RESIZE:
            s->images = 1;
            node->function = rng_range(r, 0, 1) ? DWCONV_NEAREST : DWCONV_BILINEAR;
            node->coordinates = (dwconv_coordinates)rng_range(r, 0, DWCONV_ALIGN_CORNERS);
            s->out[1] = rng_range(r, 1, 2 * s->in[1]);
            s->out[2] = rng_range(r, 1, 2 * s->in[2]);
            break;
        case DWCONV_SOFTMAX: s->images = 1; break;
        case DWCONV_CONVOLUTION: s->images = 1; break;
        default: break;
    }
}

/* Whether it keeps scale and zero point. */
static int keeps_scale(const dwconv_node *n, dwconv_quant_rounding rounding) {
    const int compares = n->function == DWCONV_MAXIMUM || n->function == DWCONV_MINIMUM;
    if (n->kind == DWCONV_BINARY) return compares && n->formula == DWCONV_INTEGER_FORMULA;
    return n->kind == DWCONV_RESIZE || n->kind == DWCONV_REDUCE ||
           (n->kind == DWCONV_POOL && (n->function == DWCONV_LARGEST || rounding == DWCONV_ROUND_TFLITE));
}

static void set_convolution(byte_case *c, dwconv_node *node, const shape4 *s) {
    const dwconv_value *x = &c->n.values[node->inputs[0]], *y = &c->n.values[node->output];
    dwconv_conv_desc *conv = &c->n.parts[0][0];
    *conv = (dwconv_conv_desc){.size = sizeof *conv,
                               .in_channels = s->in[3],
                               .out_channels = s->in[3],
                               .groups = s->in[3],
                               .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                               .filter = weights,
                               .filter_scale = weight_scales,
                               .filter_scales = 1,
                               .output = {y->scale, y->zero_point},
                               .table = table,
                               .activation_input = {0.1f, 1}};
    c->n.operations[0] = (dwconv_desc){.size = sizeof(dwconv_desc),
                                       .dtype = c->dtype,
                                       .conv = conv,
                                       .input = {x->scale, x->zero_point},
                                       .rounding = c->desc.quant_rounding};
    node->operation = &c->n.operations[0];
}

static void make_case(byte_case *c, rng *r) {
    dwconv_node node = {0};
    const int large = rng_range(r, 0, 9) == 0, picture = rng_range(r, 0, 4) == 0;
    shape4 s = {.in = {rng_range(r, 1, 2), rng_range(r, 1, large ? 40 : 7), rng_range(r, 1, 9),
                       picture ? 3 : rng_range(r, 1, large ? 60 : 40)}};
    *c = (byte_case){.dtype = rng_range(r, 0, 1) ? DWCONV_S8 : DWCONV_U8};
    c->desc.quant_rounding = rng_range(r, 0, 1) ? DWCONV_ROUND_TFLITE : DWCONV_ROUND_EVEN;
    choose(&node, &s, r);
    const int in = part_of(&c->n, DWCONV_INPUT, s.in, s.images ? 0 : any_order(r), rng_range(r, 0, 1) != 0);
    const int out =
        part_of(&c->n, DWCONV_OUTPUT, s.out, s.images ? 0 : any_order(r), rng_range(r, 0, 1) != 0);
    const float scale = 0.05f;
    const int32_t zero = a_number(c, r), low = c->dtype == DWCONV_S8 ? -128 : 0;
    const int keeps = keeps_scale(&node, c->desc.quant_rounding);
    const float result = node.kind == DWCONV_SOFTMAX ? 1.0f / 256 : keeps ? scale : 0.0625f;
    const int32_t result_zero = node.kind == DWCONV_SOFTMAX ? low : keeps ? zero : a_number(c, r);
    int second = -1;
    if (node.kind == DWCONV_BINARY) {
        second = part_of(&c->n, DWCONV_INPUT, s.second, any_order(r), 0);
        set_type(c, second, c->dtype, scale, keeps ? zero : a_number(c, r));
        set_type(c, second - 1, c->dtype, scale, 0);
        c->n.values[second - 1].zero_point = c->n.values[second].zero_point;
    }
    if (node.kind == DWCONV_LOOKUP || node.kind == DWCONV_SOFTMAX) {
        const int64_t sizes[] = {256};
        second = net_value(&c->n, DWCONV_CONSTANT, 1, sizes);
        c->n.values[second].data = node.kind == DWCONV_LOOKUP ? (const void *)table : exponentials;
        c->n.values[second].dtype = node.kind == DWCONV_LOOKUP ? c->dtype : DWCONV_S32;
    }
    const dwconv_dtype from = node.kind == DWCONV_QUANTIZE ? DWCONV_F32 : c->dtype;
    const dwconv_dtype to = node.kind == DWCONV_DEQUANTIZE ? DWCONV_F32 : c->dtype;
    for (int i = 0; i < 2; i++) {
        set_type(c, in - i, from, from == DWCONV_F32 ? 0 : scale, zero);
        set_type(c, out - i, to, to == DWCONV_F32 ? 0 : result, result_zero);
    }
    net_node(&c->n, DWCONV_FILL, out - 1, -1, -1)->parameters[0] = FILLED;
    dwconv_node *made = net_node(&c->n, node.kind, out, in, second);
    node.output = out;
    memcpy(node.inputs, made->inputs, sizeof node.inputs);
    *made = node;
    if (node.kind == DWCONV_CONVOLUTION) set_convolution(c, made, &s);
    const dwconv_quant_rounding rounding = c->desc.quant_rounding;
    c->desc = net_desc(&c->n, NULL, 3);
    c->desc.quant_rounding = rounding;
}

/* ---- running ------------------------------------------------------------------------------- */

static size_t value_bytes(const dwconv_value *v) {
    const int wide = v->dtype == DWCONV_F32 || v->dtype == DWCONV_S32;
    return (size_t)net_elements(v) * (wide ? 4 : 1);
}

/* The bytes of the output of a run between guard pages, in `y`. */
static void run_case(const byte_case *c, const dwconv_network *network, const dwconv_threads *threads,
                     const uint8_t *x, uint8_t *y, int at_end) {
    guarded memory[NET_VALUES];
    const void *inputs[NET_VALUES];
    void *outputs[NET_VALUES];
    int input_count = 0, output = -1;
    for (int i = 0; i < c->n.value_count; i++) {
        const dwconv_value *v = &c->n.values[i];
        if (v->storage != DWCONV_INPUT && v->storage != DWCONV_OUTPUT) continue;
        const size_t bytes = value_bytes(v);
        memory[i] = guarded_create(bytes, at_end, v->dtype == DWCONV_F32 ? sizeof(float) : 1);
        if (v->storage == DWCONV_INPUT) {
            memcpy(memory[i].data, v->dtype == DWCONV_F32 ? (const void *)numbers : x, bytes);
            guarded_make_read_only(&memory[i]);
            inputs[input_count++] = memory[i].data;
        } else {
            outputs[0] = memory[output = i].data;
        }
    }
    guarded workspace = guarded_create(dwconv_network_workspace(network), at_end, DWCONV_ALIGNMENT);
    memset(workspace.data, 0xa5, workspace.bytes);
    const int mode = threads->run ? FE_DOWNWARD : FE_TONEAREST; /* of the caller: it makes no difference */
    fesetround(mode);
    const dwconv_status status = dwconv_network_run(network, inputs, outputs, NULL, 0, workspace.data,
                                                    workspace.bytes, threads, NULL, NULL);
    CHECK(fegetround() == mode);
    fesetround(FE_TONEAREST);
    CHECK_STATUS(DWCONV_OK, status);
    CHECK(guarded_slack_intact(&workspace));
    guarded_free(&workspace);
    memcpy(y, outputs[0], value_bytes(&c->n.values[output]));
    for (int i = 0; i < c->n.value_count; i++)
        if (c->n.values[i].storage == DWCONV_INPUT || c->n.values[i].storage == DWCONV_OUTPUT)
            guarded_free(&memory[i]);
}

static void backwards(void *pool, int64_t items, dwconv_task task, void *context) {
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, (int)(i % *(int *)pool));
}

static void check_case(byte_case *c, const uint8_t *x) {
    static uint8_t expected[4 * MOST_BYTES], found[4 * MOST_BYTES];
    char context[sizeof check_context];
    const dwconv_value *y = NULL;
    int first = 1;
    for (int i = 0; i < c->n.value_count; i++)
        if (c->n.values[i].storage == DWCONV_OUTPUT) y = &c->n.values[i];
    if (!y || value_bytes(y) > sizeof expected) return;
    memcpy(context, check_context, sizeof context);
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        dwconv_network *network;
        int bad = -1;
        if (!dwconv_isa_available(dwconv_isa_name(rung))) continue;
        snprintf(check_context, sizeof check_context, "%s %.400s", dwconv_isa_name(rung), context);
        c->desc.isa = dwconv_isa_name(rung);
        CHECK_STATUS(DWCONV_OK, dwconv_network_create(&c->desc, &network, &bad));
        if (!network) return;
        for (int count = 1; count <= 3; count++) {
            const dwconv_threads own = {.count = count}, pool = {count, backwards, &count};
            run_case(c, network, &own, x, found, count % 2);
            if (first) memcpy(expected, found, value_bytes(y));
            first = 0;
            CHECK(memcmp(expected, found, value_bytes(y)) == 0);
            run_case(c, network, &pool, x, found, 1);
            CHECK(memcmp(expected, found, value_bytes(y)) == 0);
        }
        dwconv_network_destroy(network);
    }
}

static void test_random_nodes(rng *r) {
    static uint8_t x[4 * MOST_BYTES];
    for (int round = 0; round < 600; round++) {
        static byte_case c;
        make_case(&c, r);
        for (size_t i = 0; i < sizeof x; i++) x[i] = (uint8_t)rng_next(r);
        CONTEXT("round %d, kind %d, function %d, dtype %d, rounding %d", round, (int)c.n.nodes[1].kind,
                (int)c.n.nodes[1].function, (int)c.dtype, (int)c.desc.quant_rounding);
        check_case(&c, x);
        net_free(&c.n);
    }
}

/* ---- state --------------------------------------------------------------------------------- */

/* y = x + state, and the state becomes y. */
static void test_state(void) {
    static const int64_t sizes[] = {4};
    static const int8_t begin[4] = {1, 2, 3, 4}, one[4] = {1, 1, 1, -1};
    static _Alignas(DWCONV_ALIGNMENT) int8_t states[2][2 * DWCONV_ALIGNMENT];
    int8_t y[4];
    net n = {0};
    const int x = net_value(&n, DWCONV_INPUT, 1, sizes), s = net_value(&n, DWCONV_STATE, 1, sizes);
    const int out = net_value(&n, DWCONV_OUTPUT, 1, sizes), other = net_value(&n, DWCONV_STATE, 1, sizes);
    for (int i = 0; i < n.value_count; i++) {
        n.values[i].dtype = DWCONV_S8;
        n.values[i].scale = 0.5f;
        n.values[i].zero_point = i == other ? -7 : 0;
    }
    n.values[s].data = begin;
    net_node(&n, DWCONV_BINARY, out, x, s)->function = DWCONV_PLUS;
    net_node(&n, DWCONV_COPY, s, out, -1);
    const dwconv_network_desc desc = net_desc(&n, NULL, 1);
    const void *inputs[] = {one};
    void *outputs[] = {y};
    dwconv_network *network;
    CONTEXT("state");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    if (!network) return;
    const size_t bytes = dwconv_network_state_bytes(network);
    CHECK(bytes == 2 * DWCONV_ALIGNMENT && dwconv_network_state_bytes(NULL) == 0);
    CHECK(dwconv_network_offset(network, s) == 0 &&
          dwconv_network_offset(network, other) == DWCONV_ALIGNMENT);
    for (int i = 0; i < 2; i++) CHECK_STATUS(DWCONV_OK, dwconv_network_reset(network, states[i], bytes));
    CHECK(states[0][DWCONV_ALIGNMENT] == -7);
#define RUN(state, bytes) \
    dwconv_network_run(network, inputs, outputs, state, bytes, NULL, 0, NULL, NULL, NULL)
    for (int run = 1; run <= 3; run++) {
        CHECK_STATUS(DWCONV_OK, RUN(states[0], bytes));
        for (int i = 0; i < 4; i++) CHECK(y[i] == begin[i] + run * one[i]);
    }
    CHECK_STATUS(DWCONV_OK, RUN(states[1], bytes)); /* another stream */
    for (int i = 0; i < 4; i++) CHECK(y[i] == begin[i] + one[i]);
    CHECK_STATUS(DWCONV_OK, dwconv_network_reset(network, states[0], bytes));
    CHECK(memcmp(states[0], begin, sizeof begin) == 0);
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(NULL, bytes));
    CHECK_STATUS(DWCONV_MISALIGNED, RUN(states[0] + 1, bytes));
    CHECK_STATUS(DWCONV_TOO_SMALL, RUN(states[0], bytes - 1));
    inputs[0] = states[0] + 2;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(states[0], bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_reset(network, NULL, bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_reset(NULL, states[0], bytes));
    CHECK_STATUS(DWCONV_MISALIGNED, dwconv_network_reset(network, states[0] + 1, bytes));
    CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_network_reset(network, states[0], bytes - 1));
    dwconv_network_destroy(network);
}

void test_bytes(void) {
    rng r = {77};
    fill_tables(&r);
    test_random_nodes(&r);
    test_state();
}
