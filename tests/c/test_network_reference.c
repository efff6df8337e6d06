/* Networks of one node of every kind, at odd sizes, against dwconv_network_reference. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "net.h"
#include "suites.h"

enum { MOST_INPUTS = 4, SIZES = 7 };
static const int64_t channel_counts[SIZES] = {1, 3, 8, 15, 17, 24, 40};

/* ---- comparing ------------------------------------------------------------------------------ */

typedef struct run_memory {
    void *inputs[MOST_INPUTS], *outputs[1];
    int input_count, output;
    double largest; /* input */
} run_memory;

static run_memory memory_of(const net *n, rng *r) {
    run_memory m = {0};
    for (int i = 0; i < n->value_count; i++) {
        const dwconv_storage storage = n->values[i].storage;
        if (storage != DWCONV_INPUT && storage != DWCONV_OUTPUT) continue;
        float *data = malloc(net_bytes(n, i));
        for (int64_t k = 0; k < net_elements(&n->values[i]); k++) {
            data[k] = storage == DWCONV_INPUT ? rng_float(r) * 3.0f : NAN;
            if (storage == DWCONV_INPUT) m.largest = fmax(m.largest, fabs((double)data[k]));
        }
        if (storage == DWCONV_INPUT)
            m.inputs[m.input_count++] = data;
        else
            m.outputs[0] = data;
        if (storage == DWCONV_OUTPUT) m.output = i;
    }
    return m;
}

/* Not numbers and infinities agree as they are; all others within some rounding of the largest. */
static int agree(const float *found, const float *expected, int64_t count, double largest) {
    for (int64_t i = 0; i < count; i++)
        if (isfinite(expected[i])) largest = fmax(largest, fabs((double)expected[i]));
    for (int64_t i = 0; i < count; i++) {
        const int same = isnan(expected[i]) ? isnan(found[i]) : found[i] == expected[i];
        if (!same && !(fabs((double)found[i] - (double)expected[i]) <= 1e-5 * largest)) return 0;
    }
    return 1;
}

/* On every instruction set and with 1, 2 and 3 threads. The network is freed. */
static void check_net(net *n, rng *r) {
    run_memory m = memory_of(n, r);
    const int64_t count = net_elements(&n->values[m.output]);
    float *expected = malloc(net_bytes(n, m.output)), *found = m.outputs[0];
    const dwconv_network_desc any = net_desc(n, NULL, 1);
    m.outputs[0] = expected;
    CHECK_STATUS(DWCONV_OK, dwconv_network_reference(&any, (const void *const *)m.inputs, m.outputs));
    m.outputs[0] = found;
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        const dwconv_network_desc desc = net_desc(n, isa, 3);
        dwconv_network *network;
        if (!dwconv_isa_available(isa)) continue;
        CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
        if (!network) continue;
        const size_t bytes = dwconv_network_workspace(network);
        void *workspace = aligned_memory(bytes);
        for (int threads = 1; threads <= 3; threads++) {
            const dwconv_threads own = {.count = threads};
            memset(found, 0xff, net_bytes(n, m.output));
            CHECK_STATUS(DWCONV_OK, dwconv_network_run(network, (const void *const *)m.inputs, m.outputs,
                                                       NULL, 0, workspace, bytes, &own, NULL, NULL));
            CHECK(agree(found, expected, count, m.largest));
        }
        free(workspace);
        dwconv_network_destroy(network);
    }
    for (int i = 0; i < m.input_count; i++) free(m.inputs[i]);
    free(expected);
    free(found);
    net_free(n);
}

/* One node of inputs of these shapes; `own` is what it has beside operands. */
typedef struct operand {
    int rank;
    int64_t sizes[DWCONV_MAX_RANK];
} operand;

static net net_of(dwconv_node own, int inputs, const operand *in, operand out) {
    net n = {0};
    int operands[MOST_INPUTS] = {0};
    for (int i = 0; i < inputs; i++) operands[i] = net_value(&n, DWCONV_INPUT, in[i].rank, in[i].sizes);
    const int to = net_value(&n, DWCONV_OUTPUT, out.rank, out.sizes);
    dwconv_node *node = net_node(&n, own.kind, to, 0, 0);
    *node = own;
    node->output = to;
    memcpy(node->inputs, operands, sizeof node->inputs);
    return n;
}

/* ---- element by element --------------------------------------------------------------------- */

static void test_elements(rng *r) {
    for (int k = 0; k < SIZES; k++) {
        const int64_t c = channel_counts[k];
        const operand x = {4, {2, 3, 5, c}}, row = {1, {c}}, column = {4, {2, 1, 5, 1}};
        for (int f = 0; f < DWCONV_UNARY_COUNT; f++) {
            CONTEXT("unary %d, %lld channels", f, (long long)c);
            const dwconv_activation_kind kind = (dwconv_activation_kind)((f + k) % DWCONV_ACTIVATION_COUNT);
            net n = net_of((dwconv_node){.kind = DWCONV_UNARY,
                                         .function = (dwconv_function)f,
                                         .activation = {kind, kind == DWCONV_CLIP ? -0.5f : 0.1f, 0.7f},
                                         .parameters = {0.5f, -1.25f}},
                           1, &x, x);
            check_net(&n, r);
        }
        for (int f = DWCONV_PLUS; f < DWCONV_BINARY_END; f++) {
            CONTEXT("binary %d, %lld channels", f, (long long)c);
            const dwconv_node own = {.kind = DWCONV_BINARY, .function = (dwconv_function)f};
            const operand pairs[3][2] = {{x, x}, {x, row}, {column, x}};
            net n = net_of(own, 2, pairs[(f + k) % 3], x);
            check_net(&n, r);
        }
        CONTEXT("fill, gather and copy, %lld channels", (long long)c);
        net filled = net_of((dwconv_node){.kind = DWCONV_FILL, .parameters = {0.75f}}, 0, NULL, x);
        check_net(&filled, r);
        static const int32_t indices[] = {2, 0, 2, 1};
        const dwconv_node gather = {.kind = DWCONV_GATHER, .axis = 1, .index_count = 4, .indices = indices};
        net gathered = net_of(gather, 1, &x, (operand){4, {2, 4, 5, c}});
        check_net(&gathered, r);
        net copied = net_of((dwconv_node){.kind = DWCONV_COPY}, 1, &x, (operand){4, {2, c, 3, 5}});
        const int64_t turned[4] = {15 * c, 1, 5 * c, c};
        copied.nodes[0].inputs[0] = net_view(&copied, 0, 4, (const int64_t[]){2, c, 3, 5}, turned, 0);
        check_net(&copied, r);
    }
}

/* ---- images --------------------------------------------------------------------------------- */

static void test_images(rng *r) {
    for (int k = 0; k < SIZES; k++) {
        const operand x = {4, {2, 7, 9, channel_counts[k]}}, small = {4, {2, 4, 5, channel_counts[k]}};
        for (int number = 0; number < 8; number++) {
            CONTEXT("pool %d, %lld channels", number, (long long)channel_counts[k]);
            const dwconv_window w = {.kernel_h = 2 + number % 2,
                                     .kernel_w = 3,
                                     .stride_h = 2,
                                     .stride_w = 2,
                                     .dilation_h = 1 + number / 4,
                                     .padding = DWCONV_EXPLICIT,
                                     .pad_top = 1,
                                     .pad_left = number % 2,
                                     .pad_bottom = 1,
                                     .pad_right = 2};
            net n = net_of((dwconv_node){.kind = DWCONV_POOL,
                                         .function = number & 2 ? DWCONV_LARGEST : DWCONV_MEAN,
                                         .window = w,
                                         .counts_padding = number & 1,
                                         .activation = {.kind = DWCONV_HARD_SWISH}},
                           1, &x, small);
            check_net(&n, r);
        }
        for (int c = 0; c < DWCONV_COORDINATES_COUNT; c++)
            for (int how = 0; how <= DWCONV_ROUNDING_COUNT; how++) {
                CONTEXT("resize %d %d, %lld channels", c, how, (long long)channel_counts[k]);
                const int linear = how == DWCONV_ROUNDING_COUNT;
                net n = net_of((dwconv_node){.kind = DWCONV_RESIZE,
                                             .function = linear ? DWCONV_BILINEAR : DWCONV_NEAREST,
                                             .coordinates = (dwconv_coordinates)c,
                                             .rounding = (dwconv_rounding)(linear ? 0 : how),
                                             .parameters = {0, c % 2 ? 1.75f : 0}},
                               1, &x, (operand){4, {2, 3 + 8 * (how % 2), 15, channel_counts[k]}});
                check_net(&n, r);
            }
    }
}

static float *kept_floats(net *n, int64_t count, rng *r) {
    float *floats = malloc((size_t)count * sizeof *floats);
    for (int64_t i = 0; i < count; i++) floats[i] = rng_float(r);
    return n->memory[n->memory_count++] = floats;
}

/* Dense, grouped, depthwise and an inverted residual, of and to parts of larger images. */
static void test_convolutions(rng *r) {
    for (int k = 0; k < SIZES; k++)
        for (int what = 0; what < 4; what++) {
            CONTEXT("convolution %d, %lld channels", what, (long long)channel_counts[k]);
            const int64_t in = channel_counts[k], groups = what == 0 ? 1 : in, out = what == 1 ? 2 * in : in;
            net n = {0};
            const int image = net_value(&n, DWCONV_INPUT, 4, (const int64_t[]){2, 7, 9, in + 2});
            const int to = net_value(&n, DWCONV_OUTPUT, 4, (const int64_t[]){2, 7, 9, out + 1});
            const int64_t x_strides[4] = {63 * (in + 2), 9 * (in + 2), in + 2, 1};
            const int64_t y_strides[4] = {63 * (out + 1), 9 * (out + 1), out + 1, 1};
            const int x = net_view(&n, image, 4, (const int64_t[]){2, 7, 9, in}, x_strides, 1);
            const int y = net_view(&n, to, 4, (const int64_t[]){2, 7, 9, out}, y_strides, 1);
            const dwconv_conv_desc conv = {.size = sizeof conv,
                                           .in_channels = in,
                                           .out_channels = out,
                                           .groups = groups,
                                           .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                                           .filter = kept_floats(&n, 9 * in / groups * out, r),
                                           .bias = kept_floats(&n, out, r),
                                           .activation = {.kind = DWCONV_SILU}};
            const dwconv_conv_desc point = {.size = sizeof point,
                                            .in_channels = in,
                                            .out_channels = in,
                                            .filter = kept_floats(&n, in * in, r)};
            dwconv_desc *d = &n.operations[0];
            *d = (dwconv_desc){.size = sizeof *d, .conv = &n.parts[0][0]};
            n.parts[0][0] = conv;
            n.parts[0][1] = point;
            if (what == 3) d->expand = d->project = &n.parts[0][1];
            net_node(&n, DWCONV_FILL, to, 0, 0);
            net_node(&n, DWCONV_CONVOLUTION, y, x, 0)->operation = d;
            check_net(&n, r);
        }
}

/* ---- numbers -------------------------------------------------------------------------------- */

static void test_numbers(rng *r) {
    for (int k = 0; k < SIZES; k++) {
        const int64_t c = channel_counts[k];
        const operand x = {3, {5, 7, c}}, row = {1, {c}};
        for (int f = DWCONV_MEAN; f < DWCONV_REDUCTION_END; f++)
            for (int axes = 0; axes < 8; axes++) {
                if (f == DWCONV_PLACE_OF_LARGEST && (axes != 4 || c < 2)) continue; /* see dwconv_network.h */
                CONTEXT("reduce %d of %d, %lld channels", f, axes, (long long)c);
                const operand y = {3, {axes & 1 ? 1 : 5, axes & 2 ? 1 : 7, axes & 4 ? 1 : c}};
                const dwconv_node own = {.kind = DWCONV_REDUCE, .function = (dwconv_function)f};
                net n = net_of(own, 1, &x, y);
                check_net(&n, r);
            }
        CONTEXT("softmax, layer norm and products, %lld channels", (long long)c);
        for (int logarithm = 0; logarithm < 2; logarithm++) {
            const dwconv_node own = {.kind = DWCONV_SOFTMAX, .function = (dwconv_function)logarithm};
            net n = net_of(own, 1, &x, x);
            check_net(&n, r);
        }
        net norm = net_of((dwconv_node){.kind = DWCONV_LAYER_NORM, .parameters = {0.01f}}, 3,
                          (const operand[]){x, row, row}, x);
        check_net(&norm, r);
        net shared = net_of((dwconv_node){.kind = DWCONV_MATMUL}, 2,
                            (const operand[]){{3, {5, 7, c}}, {2, {c, 11}}}, (operand){3, {5, 7, 11}});
        check_net(&shared, r);
        net each =
            net_of((dwconv_node){.kind = DWCONV_MATMUL}, 2,
                   (const operand[]){{4, {2, 1, 3, 13}}, {4, {1, 3, 13, c}}}, (operand){4, {2, 3, 3, c}});
        check_net(&each, r);
    }
}

/* y = x + state, and the state becomes y: every call begins with the state of the description. */
static void test_state(void) {
    static const int64_t sizes[] = {3};
    static const float begin[3] = {1, 2, 3}, in[3] = {10, 20, 30};
    net n = {0};
    const int x = net_value(&n, DWCONV_INPUT, 1, sizes), state = net_value(&n, DWCONV_STATE, 1, sizes);
    const int y = net_value(&n, DWCONV_OUTPUT, 1, sizes);
    float out[3];
    const void *const inputs[] = {in};
    void *const outputs[] = {out};
    n.values[state].data = begin;
    net_node(&n, DWCONV_BINARY, y, x, state)->function = DWCONV_PLUS;
    net_node(&n, DWCONV_COPY, state, y, -1);
    const dwconv_network_desc desc = net_desc(&n, NULL, 1);
    for (int call = 0; call < 2; call++) {
        CONTEXT("a network with a state, call %d", call);
        CHECK_STATUS(DWCONV_OK, dwconv_network_reference(&desc, inputs, outputs));
        for (int i = 0; i < 3; i++) CHECK(out[i] == begin[i] + in[i]);
    }
    CHECK(begin[0] == 1 && begin[2] == 3);
    n.values[state].data = NULL;
    net_free(&n);
}

/* ---- what is refused ------------------------------------------------------------------------ */

static void test_refused(void) {
    const operand x = {2, {3, 5}};
    net n = net_of((dwconv_node){.kind = DWCONV_UNARY, .function = DWCONV_UNARY_COUNT}, 1, &x, x);
    const dwconv_network_desc desc = net_desc(&n, NULL, 1);
    float in[15] = {0}, out[15] = {7};
    const void *const inputs[] = {in};
    void *const outputs[] = {out};
    CONTEXT("a network that is none");
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_network_reference(&desc, inputs, outputs));
    CHECK(out[0] == 7);
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_reference(NULL, inputs, outputs));
    net_free(&n);
}

void test_network_reference(void) {
    rng r = {37};
    test_elements(&r);
    test_images(&r);
    test_convolutions(&r);
    test_numbers(&r);
    test_state();
    test_refused();
}
