/* Nodes on 8-bit integers that cannot be: each is refused, by a status of its own and the number of the node. */
#include <math.h>

#include "check.h"
#include "net.h"
#include "suites.h"

static uint8_t table[256];
static int32_t exponentials[256];

enum { A, B, SUM, T, E, Y, F };

static net bad;
static dwconv_network_desc bad_desc;

/* a + b -> sum; looked up, a softmax of it -> y; f, of floats, beside. */
static void build_bad(void) {
    static const int64_t sizes[] = {1, 2, 3, 4}, of_table[] = {256};
    bad = (net){0};
    net_value(&bad, DWCONV_INPUT, 4, sizes);
    net_value(&bad, DWCONV_INPUT, 4, sizes);
    net_value(&bad, DWCONV_WORKSPACE, 4, sizes);
    net_value(&bad, DWCONV_CONSTANT, 1, of_table);
    net_value(&bad, DWCONV_CONSTANT, 1, of_table);
    net_value(&bad, DWCONV_OUTPUT, 4, sizes);
    net_value(&bad, DWCONV_WORKSPACE, 4, sizes);
    for (int i = A; i <= Y; i++) {
        bad.values[i].dtype = DWCONV_U8;
        bad.values[i].scale = 0.1f;
    }
    bad.values[T].data = table;
    bad.values[E].data = exponentials;
    bad.values[E].dtype = DWCONV_S32;
    bad.values[E].scale = 0;
    bad.values[Y].scale = 1.0f / 256;
    net_node(&bad, DWCONV_BINARY, SUM, A, B)->function = DWCONV_PLUS;
    net_node(&bad, DWCONV_LOOKUP, SUM, SUM, T);
    net_node(&bad, DWCONV_SOFTMAX, Y, SUM, E);
    net_node(&bad, DWCONV_DEQUANTIZE, F, SUM, -1);
    bad_desc = net_desc(&bad, NULL, 1);
}

#define REFUSES(expected, node, change)                                          \
    do {                                                                         \
        dwconv_network *refused = NULL;                                          \
        int at = -7;                                                             \
        build_bad();                                                             \
        CONTEXT("%s", #change);                                                  \
        change;                                                                  \
        CHECK_STATUS(expected, dwconv_network_create(&bad_desc, &refused, &at)); \
        CHECK(!refused && at == (node));                                         \
        dwconv_network_destroy(refused);                                         \
    } while (0)

void test_bytes_refused(void) {
    static const int32_t without[256] = {0};
    for (int i = 0; i < 256; i++) exponentials[i] = (int32_t)lrint(exp(-0.05 * i) * (1 << 23));
    dwconv_network *network;
    build_bad();
    CONTEXT("nothing is wrong");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&bad_desc, &network, NULL));
    dwconv_network_destroy(network);
    REFUSES(DWCONV_BAD_VALUE, -1, bad_desc.quant_rounding = DWCONV_QUANT_ROUNDING_COUNT);
    REFUSES(DWCONV_BAD_QUANTIZATION, -1, bad.values[A].scale = NAN);
    REFUSES(DWCONV_BAD_QUANTIZATION, -1, bad.values[A].scale = -1);
    REFUSES(DWCONV_BAD_QUANTIZATION, -1, bad.values[A].scale = INFINITY);
    REFUSES(DWCONV_BAD_QUANTIZATION, -1, bad.values[A].zero_point = -1);
    REFUSES(DWCONV_BAD_QUANTIZATION, -1, bad.values[A].zero_point = 256);
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, bad.values[A].scale = 0);
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, bad.values[A].scale = 100);
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, bad.values[SUM].scale = 1e6f);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.values[A].dtype = DWCONV_S8);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.values[A].dtype = DWCONV_S32);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.values[B].dtype = DWCONV_F32);
    REFUSES(DWCONV_BAD_VALUE, 0, bad.nodes[0].function = DWCONV_DIVIDE);
    REFUSES(DWCONV_BAD_VALUE, 0, bad.nodes[0].function = DWCONV_BINARY_END);
    REFUSES(DWCONV_BAD_VALUE, 0, bad.nodes[0].formula = DWCONV_FORMULA_COUNT);
    REFUSES(DWCONV_BAD_VALUE, 0,
            (bad.nodes[0].formula = DWCONV_FLOAT_FORMULA, bad.nodes[0].function = DWCONV_POWER));
    REFUSES(DWCONV_BAD_QUANTIZATION, 0,
            (bad.nodes[0].function = DWCONV_MAXIMUM, bad.values[A].zero_point = 3));
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, (bad.nodes[0].function = DWCONV_TIMES, bad.values[A].scale = 1e30f));
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, bad.nodes[0].low = -1);
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, bad.nodes[0].high = 256);
    REFUSES(DWCONV_BAD_QUANTIZATION, 0, (bad.nodes[0].low = 9, bad.nodes[0].high = 8));
    REFUSES(DWCONV_BAD_ACTIVATION, 0, bad.nodes[0].activation.kind = DWCONV_RELU);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.nodes[0].kind = DWCONV_UNARY);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.nodes[0].kind = DWCONV_MATMUL);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.nodes[0].kind = DWCONV_QUANTIZE);
    REFUSES(DWCONV_BAD_DTYPE, 0, bad.nodes[0].kind = DWCONV_DEQUANTIZE);
    REFUSES(DWCONV_BAD_VALUE, 0, (bad.nodes[0].kind = DWCONV_FILL, bad.nodes[0].parameters[0] = 256));
    REFUSES(DWCONV_BAD_VALUE, 0, (bad.nodes[0].kind = DWCONV_FILL, bad.nodes[0].parameters[0] = 0.5f));
    REFUSES(DWCONV_BAD_VALUE, 0, (bad.nodes[0].kind = DWCONV_FILL, bad.nodes[0].parameters[0] = NAN));
    REFUSES(DWCONV_BAD_VALUE, 0, (bad.nodes[0].kind = DWCONV_REDUCE, bad.nodes[0].function = DWCONV_PRODUCT));
    REFUSES(
        DWCONV_BAD_QUANTIZATION, 0,
        (bad.nodes[0].kind = DWCONV_REDUCE, bad.nodes[0].function = DWCONV_LARGEST, bad.nodes[0].high = 9));
    REFUSES(DWCONV_BAD_DTYPE, 1, bad.values[T].dtype = DWCONV_S8);
    REFUSES(DWCONV_BAD_SHAPE, 1, bad.values[T].shape[0] = 255);
    REFUSES(DWCONV_BAD_SHAPE, 1, (bad.values[T].rank = 2, bad.values[T].shape[1] = 1));
    REFUSES(DWCONV_NULL_POINTER, -1, bad.values[T].data = NULL);
    REFUSES(DWCONV_MISALIGNED, -1, bad.values[E].data = (const char *)(const void *)exponentials + 1);
    REFUSES(DWCONV_BAD_DTYPE, 2, bad.values[E].dtype = DWCONV_U8);
    REFUSES(DWCONV_BAD_SHAPE, 2, bad.values[E].shape[0] = 128);
    REFUSES(DWCONV_BAD_VALUE, 2, bad.values[E].data = without);
    REFUSES(DWCONV_BAD_VALUE, 2, bad.nodes[2].inputs[1] = A);
    REFUSES(DWCONV_BAD_VALUE, 2, bad.nodes[2].function = (dwconv_function)1);
    REFUSES(DWCONV_BAD_QUANTIZATION, 2,
            (bad.values[Y].scale = 0.1f, bad_desc.quant_rounding = DWCONV_ROUND_TFLITE));
    REFUSES(DWCONV_BAD_DTYPE, 3, bad.values[F].dtype = DWCONV_S32);
    REFUSES(DWCONV_BAD_VALUE, 3,
            (bad.nodes[3].kind = DWCONV_RESIZE, bad.nodes[3].function = DWCONV_BILINEAR,
             bad.nodes[3].output = SUM, bad.nodes[3].inputs[0] = A,
             bad.nodes[3].coordinates = DWCONV_PYTORCH_HALF_PIXEL));
}
