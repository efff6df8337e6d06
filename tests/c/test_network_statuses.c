/* Every field of a network's descriptors broken in turn: a status, never a crash. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "net.h"
#include "suites.h"

/* Input [1, 4, 4, 2] -> depthwise -> view of its first channel; unary in place; binary with a constant -> output;
 * gather and a fill beside. */
enum { IN, DEEP, PART, VECTOR, SUM, OUT, FEW, FILLED };
enum { DEEPEN, IN_PLACE, ADD, COPY, GATHER, FILL };

static net n;
static dwconv_network_desc desc;
static float weights[64];
static const int32_t indices[] = {3, 0};

static void build(void) {
    static const int64_t image[] = {1, 4, 4, 2}, channel[] = {1, 4, 4, 1}, vector[] = {2},
                         few[] = {1, 2, 4, 2};
    static const int64_t strides[] = {32, 8, 2, 1};
    net_free(&n);
    n = (net){0};
    net_value(&n, DWCONV_INPUT, 4, image);
    net_value(&n, DWCONV_WORKSPACE, 4, image);
    net_view(&n, DEEP, 4, channel, strides, 1);
    n.values[net_value(&n, DWCONV_CONSTANT, 1, vector)].data = weights;
    net_value(&n, DWCONV_WORKSPACE, 4, image);
    net_value(&n, DWCONV_OUTPUT, 4, image);
    net_value(&n, DWCONV_OUTPUT, 4, few);
    net_value(&n, DWCONV_WORKSPACE, 4, few);
    n.parts[0][0] = (dwconv_conv_desc){.size = sizeof(dwconv_conv_desc),
                                       .in_channels = 2,
                                       .out_channels = 2,
                                       .groups = 2,
                                       .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                                       .filter = weights};
    n.operations[0] = (dwconv_desc){.size = sizeof(dwconv_desc), .conv = &n.parts[0][0]};
    net_node(&n, DWCONV_CONVOLUTION, DEEP, IN, -1)->operation = &n.operations[0];
    net_node(&n, DWCONV_UNARY, PART, PART, -1)->function = DWCONV_ABS;
    net_node(&n, DWCONV_BINARY, SUM, DEEP, VECTOR)->function = DWCONV_PLUS;
    net_node(&n, DWCONV_COPY, OUT, SUM, -1);
    dwconv_node *gather = net_node(&n, DWCONV_GATHER, FEW, IN, -1);
    gather->axis = 1;
    gather->index_count = 2;
    gather->indices = indices;
    net_node(&n, DWCONV_FILL, FILLED, -1, -1);
    desc = net_desc(&n, NULL, 1);
}

/* What needs no memory is found by dwconv_network_size too, which leaves the order of writes to creation. */
static void refuses(dwconv_status expected, int node, int by_size) {
    dwconv_network *network = (dwconv_network *)weights;
    size_t bytes = 0;
    int bad = -7;
    void *memory = aligned_memory(65536);
    const long outstanding = allocator_outstanding();
    CHECK_STATUS(expected, dwconv_network_create(&desc, &network, &bad));
    CHECK(network == NULL && bad == node);
    network = (dwconv_network *)weights;
    CHECK_STATUS(expected, dwconv_network_create_in(&desc, memory, 65536, &network, &bad));
    CHECK(network == NULL && bad == node);
    if (by_size) CHECK_STATUS(expected, dwconv_network_size(&desc, &bytes, NULL));
    CHECK(allocator_outstanding() == outstanding);
    free(memory);
}

#define REFUSES(expected, node, change) \
    do {                                \
        build();                        \
        CONTEXT("%s", #change);         \
        change;                         \
        refuses(expected, node, 1);     \
    } while (0)

#define REFUSES_ORDER(node, change)         \
    do {                                    \
        build();                            \
        CONTEXT("%s", #change);             \
        change;                             \
        refuses(DWCONV_BAD_VALUE, node, 0); \
    } while (0)

static void test_network_fields(void) {
    REFUSES(DWCONV_BAD_SIZE, -1, desc.size = 0);
    REFUSES(DWCONV_BAD_SIZE, -1, desc.size = sizeof desc - 8);
    REFUSES(DWCONV_BAD_SIZE, -1, desc.value_size = 0);
    REFUSES(DWCONV_BAD_SIZE, -1, desc.value_size = sizeof(dwconv_value) - 8);
    REFUSES(DWCONV_BAD_SIZE, -1, desc.value_size = SIZE_MAX / 8 * 8);
    REFUSES(DWCONV_BAD_SIZE, 0, desc.node_size = 16);
    REFUSES(DWCONV_BAD_SIZE, 0, desc.node_size = SIZE_MAX / 8 * 8);
    REFUSES(DWCONV_BAD_VALUE, -1, desc.value_count = -1);
    REFUSES(DWCONV_BAD_VALUE, -1, desc.node_count = INT32_MIN);
    REFUSES(DWCONV_OVERFLOW, -1, desc.value_count = INT32_MAX);
    REFUSES(DWCONV_OVERFLOW, -1, desc.node_count = INT32_MAX);
    REFUSES(DWCONV_BAD_VALUE, 0, desc.value_count = 1);
    REFUSES(DWCONV_NULL_POINTER, -1, desc.values = NULL);
    REFUSES(DWCONV_NULL_POINTER, -1, desc.nodes = NULL);
    REFUSES(DWCONV_NO_ISA, -1, desc.isa = "sse9");
    REFUSES(DWCONV_BAD_VALUE, -1, desc.threads = -1);
}

static void test_values(void) {
    REFUSES(DWCONV_BAD_VALUE, -1, n.values[SUM].storage = DWCONV_STORAGE_COUNT);
    REFUSES(DWCONV_BAD_VALUE, -1, n.values[SUM].storage = (dwconv_storage)-1);
    REFUSES(DWCONV_BAD_DTYPE, -1, n.values[SUM].dtype = DWCONV_DTYPE_COUNT);
    REFUSES(DWCONV_BAD_SHAPE, -1, n.values[SUM].rank = -1);
    REFUSES(DWCONV_BAD_SHAPE, -1, n.values[SUM].rank = DWCONV_MAX_RANK + 1);
    REFUSES(DWCONV_BAD_SHAPE, -1, n.values[SUM].shape[0] = 0);
    REFUSES(DWCONV_BAD_SHAPE, -1, n.values[SUM].shape[3] = INT64_MIN);
    REFUSES(DWCONV_OVERFLOW, -1, n.values[SUM].shape[3] = INT64_MAX);
    REFUSES(DWCONV_OVERFLOW, -1,
            n.values[SUM].shape[0] = n.values[SUM].shape[1] = n.values[SUM].shape[2] = INT32_MAX);
    REFUSES(DWCONV_NULL_POINTER, -1, n.values[VECTOR].data = NULL);
    REFUSES(DWCONV_MISALIGNED, -1, n.values[VECTOR].data = (const char *)weights + 2);
    REFUSES(DWCONV_BAD_VALUE, -1, n.values[PART].base = PART);
    REFUSES(DWCONV_BAD_VALUE, -1, n.values[PART].base = -1);
    REFUSES(DWCONV_BAD_VALUE, -1, n.values[PART].base = 99);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].offset = 2);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].offset = -1);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].offset = INT64_MAX);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].offset = INT64_MIN);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].strides[1] = 9);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].strides[1] = -8);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].strides[2] = INT64_MIN);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].strides[2] = INT64_MAX);
    REFUSES(DWCONV_BAD_LAYOUT, -1, n.values[PART].shape[1] = 5);
}

static void test_node_fields(void) {
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].kind = DWCONV_NODE_KIND_COUNT);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].kind = (dwconv_node_kind)-1);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].inputs[0] = -1);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].inputs[1] = 99);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].output = 99);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].output = INT32_MIN);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].output = VECTOR);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].output = IN);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].function = DWCONV_ABS);
    REFUSES(DWCONV_BAD_VALUE, ADD, n.nodes[ADD].function = DWCONV_BINARY_END);
    REFUSES(DWCONV_BAD_VALUE, IN_PLACE, n.nodes[IN_PLACE].function = DWCONV_UNARY_COUNT);
    REFUSES(DWCONV_BAD_VALUE, IN_PLACE, n.nodes[IN_PLACE].function = (dwconv_function)-1);
    REFUSES(DWCONV_BAD_ACTIVATION, ADD, n.nodes[ADD].activation.kind = DWCONV_ACTIVATION_COUNT);
    REFUSES(DWCONV_BAD_ACTIVATION, ADD, n.nodes[ADD].activation = ((dwconv_activation){DWCONV_CLIP, NAN, 1}));
    REFUSES(DWCONV_BAD_SHAPE, ADD, n.values[VECTOR].shape[0] = 3);
    REFUSES(DWCONV_BAD_SHAPE, ADD, n.nodes[ADD].output = FILLED);
    REFUSES(DWCONV_BAD_SHAPE, COPY, n.nodes[COPY].inputs[0] = VECTOR);
    REFUSES(DWCONV_BAD_SHAPE, COPY, n.nodes[COPY].output = FEW);
    REFUSES(DWCONV_BAD_SHAPE, IN_PLACE, n.nodes[IN_PLACE].inputs[0] = IN);

    REFUSES(DWCONV_NULL_POINTER, DEEPEN, n.nodes[DEEPEN].operation = NULL);
    REFUSES(DWCONV_BAD_SIZE, DEEPEN, n.operations[0].size = 0);
    REFUSES(DWCONV_NULL_POINTER, DEEPEN, n.parts[0][0].filter = NULL);
    REFUSES(DWCONV_BAD_SHAPE, DEEPEN, n.parts[0][0].in_channels = 0);
    REFUSES(DWCONV_BAD_SHAPE, DEEPEN, (n.parts[0][0].in_channels = n.parts[0][0].groups = 1));
    REFUSES(DWCONV_BAD_SHAPE, DEEPEN, n.nodes[DEEPEN].inputs[0] = VECTOR);
    REFUSES(DWCONV_BAD_SHAPE, DEEPEN, n.nodes[DEEPEN].output = FILLED);
    REFUSES(DWCONV_KERNEL_TOO_LARGE, DEEPEN, n.parts[0][0].window.padding = DWCONV_VALID;
            n.parts[0][0].window.kernel_h = 7);

    REFUSES(DWCONV_BAD_VALUE, GATHER, n.nodes[GATHER].axis = 4);
    REFUSES(DWCONV_BAD_VALUE, GATHER, n.nodes[GATHER].axis = -1);
    REFUSES(DWCONV_BAD_VALUE, GATHER, n.nodes[GATHER].index_count = -1);
    REFUSES(DWCONV_BAD_SHAPE, GATHER, n.nodes[GATHER].index_count = 3);
    REFUSES(DWCONV_BAD_SHAPE, GATHER, n.nodes[GATHER].axis = 2);
    REFUSES(DWCONV_NULL_POINTER, GATHER, n.nodes[GATHER].indices = NULL);
    static const int32_t beyond[] = {0, 4}, below[] = {-1, 0};
    REFUSES(DWCONV_BAD_VALUE, GATHER, n.nodes[GATHER].indices = beyond);
    REFUSES(DWCONV_BAD_VALUE, GATHER, n.nodes[GATHER].indices = below);
}

/* Views of DEEP as inputs and outputs of one node. */
static void test_shared_memory(void) {
    static const int64_t channel[] = {1, 4, 4, 1}, strides[] = {32, 8, 2, 1}, flat[] = {0, 0, 0, 1};
    static const int64_t rows[] = {1, 2, 4, 2}, of_rows[] = {0, 8, 2, 1}, down[] = {0, -8, 2, 1};
    int other;
    REFUSES(DWCONV_OVERLAP, COPY, n.nodes[COPY].output = SUM);
    REFUSES(DWCONV_OVERLAP, DEEPEN, n.nodes[DEEPEN].inputs[0] = DEEP);
    REFUSES(DWCONV_OVERLAP, IN_PLACE,
            (other = net_view(&n, DEEP, 4, channel, strides, 0), desc.value_count++,
             n.values[other].shape[1] = 3, n.values[other].shape[2] = 3, n.values[PART] = n.values[other],
             n.values[other].offset = 8, n.nodes[IN_PLACE].inputs[0] = other));
    REFUSES(DWCONV_BAD_LAYOUT, IN_PLACE,
            (other = net_view(&n, DEEP, 4, channel, flat, 0), desc.value_count++,
             n.nodes[IN_PLACE].output = other));
    REFUSES(DWCONV_OVERLAP, IN_PLACE,
            (n.values[PART] = n.values[net_view(&n, DEEP, 4, rows, of_rows, 0)],
             other = net_view(&n, DEEP, 4, rows, down, 8), n.nodes[IN_PLACE].output = other,
             desc.value_count += 2));

    build();
    CONTEXT("channels, rows and columns that do not meet");
    static const int64_t half[] = {1, 4, 2, 2}, top[] = {1, 2, 4, 2}, every[] = {1, 2, 4, 2},
                         step[] = {32, 16, 2, 1};
    const struct {
        const int64_t *shape, *strides;
        int64_t from, to;
    } pairs[] = {{channel, strides, 0, 1}, {half, of_rows, 0, 4}, {top, of_rows, 16, 0}, {every, step, 0, 8}};
    for (int i = 0; i < 4; i++) {
        dwconv_network *network;
        build();
        net_node(&n, DWCONV_COPY, net_view(&n, DEEP, 4, pairs[i].shape, pairs[i].strides, pairs[i].to),
                 net_view(&n, DEEP, 4, pairs[i].shape, pairs[i].strides, pairs[i].from), -1);
        desc = net_desc(&n, NULL, 1);
        CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
        dwconv_network_destroy(network);
    }
}

static void test_order(void) {
    REFUSES_ORDER(ADD, n.nodes[ADD].inputs[0] = FILLED; n.values[FILLED] = n.values[DEEP]);
    REFUSES_ORDER(DEEPEN, n.nodes[DEEPEN].inputs[0] = SUM);
    REFUSES_ORDER(-1, n.values[FILLED].storage = DWCONV_OUTPUT; desc.node_count--);
    REFUSES_ORDER(ADD, n.nodes[DEEPEN].kind = DWCONV_FILL;
                  n.nodes[DEEPEN].output = PART); /* and in place again */
}

/* ---- creation and runs --------------------------------------------------------------------- */

static void test_creation(void) {
    dwconv_network *network;
    size_t bytes;
    build();
    CONTEXT("creation");
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_create(NULL, &network, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_create(&desc, NULL, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_size(&desc, NULL, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_network_size(&desc, &bytes, NULL));
    char *memory = aligned_memory(bytes + DWCONV_ALIGNMENT);
    const long calls = allocator_calls();
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_create_in(&desc, NULL, bytes, &network, NULL));
    CHECK_STATUS(DWCONV_MISALIGNED, dwconv_network_create_in(&desc, memory + 4, bytes, &network, NULL));
    CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_network_create_in(&desc, memory, bytes - 1, &network, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_network_create_in(&desc, memory, bytes, &network, NULL));
    CHECK(dwconv_network_bytes(network) == bytes);
    dwconv_network_destroy(network);
    CHECK(allocator_calls() == calls); /* nothing was allocated, nothing freed */
    allocator_refuse(1);
    CHECK_STATUS(DWCONV_NO_MEMORY, dwconv_network_create(&desc, &network, NULL));
    allocator_refuse(0);
    CHECK(network == NULL);
    dwconv_network_destroy(NULL);
    free(memory);
}

/* A caller whose structs have fields that this library lacks. */
static void test_growth(void) {
    enum { MORE = 16 };
    static char values[(sizeof(dwconv_value) + MORE) * NET_VALUES],
        nodes[(sizeof(dwconv_node) + MORE) * NET_NODES];
    dwconv_network *network;
    build();
    for (int i = 0; i < n.value_count; i++)
        memcpy(values + (sizeof(dwconv_value) + MORE) * (size_t)i, &n.values[i], sizeof(dwconv_value));
    for (int i = 0; i < n.node_count; i++)
        memcpy(nodes + (sizeof(dwconv_node) + MORE) * (size_t)i, &n.nodes[i], sizeof(dwconv_node));
    desc.values = (const void *)values;
    desc.nodes = (const void *)nodes;
    desc.value_size += MORE;
    desc.node_size += MORE;
    CONTEXT("growth");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    dwconv_network_destroy(network);
    values[sizeof(dwconv_value)] = 1;
    CHECK_STATUS(DWCONV_BAD_SIZE, dwconv_network_create(&desc, &network, NULL));
    values[sizeof(dwconv_value)] = 0;
}

static void test_runs(void) {
    dwconv_network *network;
    rng r = {3};
    net_run run;
    build();
    CONTEXT("runs");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    if (!network) return;
    net_run_create(&run, &n, network, &r);
    const size_t bytes = dwconv_network_workspace(network);
    const dwconv_threads two = {.count = 2}, negative = {.count = -1};
    const void *const *in = (const void *const *)run.inputs;
    char *w = run.workspace;
#define RUN(in, out, workspace, bytes, threads) \
    dwconv_network_run(network, in, out, NULL, 0, workspace, bytes, threads, NULL, NULL)
    CHECK_STATUS(DWCONV_OK, RUN(in, run.outputs, w, bytes, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER,
                 dwconv_network_run(NULL, in, run.outputs, NULL, 0, w, bytes, NULL, NULL, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(NULL, run.outputs, w, bytes, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(in, NULL, w, bytes, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(in, run.outputs, NULL, bytes, NULL));
    CHECK_STATUS(DWCONV_MISALIGNED, RUN(in, run.outputs, w + 4, bytes, NULL));
    CHECK_STATUS(DWCONV_TOO_SMALL, RUN(in, run.outputs, w, bytes - 1, NULL));
    CHECK_STATUS(DWCONV_BAD_VALUE, RUN(in, run.outputs, w, bytes, &two));
    CHECK_STATUS(DWCONV_BAD_VALUE, RUN(in, run.outputs, w, bytes, &negative));
    const void *inputs[] = {NULL};
    void *outputs[] = {run.outputs[0], run.outputs[1]};
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(inputs, run.outputs, w, bytes, NULL));
    inputs[0] = (char *)run.inputs[0] + 1;
    CHECK_STATUS(DWCONV_MISALIGNED, RUN(inputs, run.outputs, w, bytes, NULL));
    inputs[0] = w;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(inputs, run.outputs, w, bytes, NULL));
    outputs[1] = NULL;
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(in, outputs, w, bytes, NULL));
    outputs[1] = (float *)run.outputs[0] + 31;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(in, outputs, w, bytes, NULL));
    outputs[1] = (float *)run.inputs[0] + 31;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(in, outputs, w, bytes, NULL));
    outputs[1] = w;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(in, outputs, w, bytes, NULL));
    CHECK(dwconv_network_offset(network, IN) == -1 && dwconv_network_offset(network, 99) == -1);
    CHECK(dwconv_network_offset(network, PART) == dwconv_network_offset(network, DEEP) + 4);
    CHECK(dwconv_network_offset(NULL, 0) == -1 && dwconv_network_workspace(NULL) == 0);
    net_run_free(&run);
}

static void test_explanations(void) {
    char text[2000], first[8];
    size_t needed = 0;
    dwconv_network *network;
    build();
    CONTEXT("explanations");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    if (!network) return;
    for (int i = 0; i < n.node_count; i++) {
        CHECK_STATUS(DWCONV_OK, dwconv_network_explain(network, i, DWCONV_JSON, text, sizeof text, &needed));
        CHECK(needed == strlen(text) + 1 && text[0] == '{' && strstr(text, "\"instruction_set\""));
        CHECK_STATUS(DWCONV_OK, dwconv_network_explain(network, i, DWCONV_TEXT, text, sizeof text, NULL));
    }
    CHECK(strstr(text, "op: fill") && strstr(text, "output: 1x2x4x2"));
    CHECK_STATUS(DWCONV_TOO_SMALL,
                 dwconv_network_explain(network, 0, DWCONV_TEXT, first, sizeof first, &needed));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_explain(NULL, 0, DWCONV_TEXT, text, 8, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_network_explain(network, 0, DWCONV_TEXT, NULL, 8, NULL));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_network_explain(network, 99, DWCONV_TEXT, text, 8, NULL));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_network_explain(network, -1, DWCONV_TEXT, text, 8, NULL));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_network_explain(network, 0, (dwconv_format)9, text, 8, NULL));
    dwconv_network_destroy(network);
}

void test_network_statuses(void) {
    test_network_fields();
    test_values();
    test_node_fields();
    test_shared_memory();
    test_order();
    test_creation();
    test_growth();
    test_runs();
    test_explanations();
    net_free(&n);
}
