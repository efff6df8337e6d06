/* Every status of a wrong descriptor; sizes that wrap around are refused before anything is touched. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "described.h"
#include "problem.h"

/* All ways of creating a plan, and the oracle, agree on what is wrong with a descriptor. */
static void refuses(dwconv_status expected, const dwconv_desc *d) {
    dwconv_plan *plan = (dwconv_plan *)weights;
    size_t bytes = 0;
    void *memory = aligned_memory(65536);
    CHECK_STATUS(expected, dwconv_plan_create(d, &plan));
    CHECK(plan == NULL);
    plan = (dwconv_plan *)weights;
    CHECK_STATUS(expected, dwconv_plan_create_in(d, memory, 65536, &plan));
    CHECK(plan == NULL);
    CHECK_STATUS(expected, dwconv_plan_size(d, &bytes));
    free(memory);
}

#define REFUSES(expected, make, change)    \
    do {                                   \
        dwconv_desc d = make();            \
        CONTEXT("%s: %s", #make, #change); \
        change;                            \
        refuses(expected, &d);             \
    } while (0)

static void test_fields(void) {
    REFUSES(DWCONV_BAD_VALUE, depthwise, d.flags = 2);
    REFUSES(DWCONV_BAD_VALUE, block, d.residual = (dwconv_residual)7);
    REFUSES(DWCONV_NO_ISA, depthwise, d.isa = "sse9");
    REFUSES(DWCONV_BAD_DTYPE, depthwise, d.dtype = DWCONV_DTYPE_COUNT);
    REFUSES(DWCONV_NULL_POINTER, depthwise, d.conv = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, d.conv = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, d.project = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, d.squeeze = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, d.excite = NULL);
    REFUSES(DWCONV_NULL_POINTER, depthwise,
            d.residual = DWCONV_RESIDUAL_AUTO); /* of a block without a project */
    REFUSES(DWCONV_NULL_POINTER, depthwise, part.conv.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, dense, part.conv.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, part.expand.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, block, part.excite.filter = NULL);

    REFUSES(DWCONV_BAD_SHAPE, depthwise, part.conv.in_channels = 0);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, part.conv.out_channels = -1);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, part.conv.out_channels = 6);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, part.conv.window.kernel_h = -1);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, part.conv.window.kernel_w = -3);
    REFUSES(DWCONV_BAD_SHAPE, dense, part.conv.out_channels = 0);
    REFUSES(DWCONV_BAD_SHAPE, dense, part.conv.groups = 3);
    REFUSES(DWCONV_BAD_SHAPE, dense, part.conv.groups = 4);
    REFUSES(DWCONV_BAD_SHAPE, dense, part.conv.groups = -1);
    REFUSES(DWCONV_BAD_SHAPE, pointwise, part.conv.in_channels = INT64_MIN);
    REFUSES(DWCONV_BAD_SHAPE, separable, part.project.in_channels = 5);
    REFUSES(DWCONV_BAD_SHAPE, separable, part.project.groups = 2);
    REFUSES(DWCONV_BAD_SHAPE, separable, part.project.window.kernel_w = 3);
    REFUSES(DWCONV_BAD_SHAPE, separable, part.conv.groups = 2);
    REFUSES(DWCONV_BAD_SHAPE, block, part.expand.out_channels = 7);
    REFUSES(DWCONV_BAD_SHAPE, block, part.squeeze.in_channels = 7);
    REFUSES(DWCONV_BAD_SHAPE, block, part.excite.in_channels = 3);
    REFUSES(DWCONV_BAD_SHAPE, block, part.excite.out_channels = 7);
    REFUSES(DWCONV_BAD_SHAPE, block, part.project.in_channels = 7);

    REFUSES(DWCONV_BAD_STRIDE, depthwise, part.conv.window.stride_h = -1);
    REFUSES(DWCONV_BAD_STRIDE, depthwise, part.conv.window.dilation_w = -2);
    REFUSES(DWCONV_BAD_STRIDE, separable, part.project.window.stride_h = 2);
    REFUSES(DWCONV_BAD_PADDING, depthwise, part.conv.window.pad_left = 1);
    REFUSES(DWCONV_BAD_PADDING, depthwise, part.conv.window.padding = (dwconv_padding)3);
    REFUSES(DWCONV_BAD_PADDING, dense,
            (part.conv.window.padding = DWCONV_EXPLICIT, part.conv.window.pad_top = -1));
    REFUSES(DWCONV_BAD_PADDING, separable,
            (part.project.window.padding = DWCONV_EXPLICIT, part.project.window.pad_top = 1));
    REFUSES(DWCONV_BAD_ACTIVATION, depthwise, part.conv.activation.kind = DWCONV_ACTIVATION_COUNT);
    REFUSES(DWCONV_BAD_ACTIVATION, dense,
            (part.conv.activation = (dwconv_activation){DWCONV_CLIP, 1.0f, 0.0f}));
    REFUSES(DWCONV_BAD_ACTIVATION, dense,
            (part.conv.activation = (dwconv_activation){DWCONV_CLIP, NAN, 0.0f}));
    REFUSES(DWCONV_BAD_ACTIVATION, dense,
            (part.conv.activation = (dwconv_activation){DWCONV_LEAKY_RELU, NAN, 0.0f}));
    REFUSES(DWCONV_BAD_RESIDUAL, block, (d.residual = DWCONV_RESIDUAL_ON, part.conv.window.stride_h = 2));
    REFUSES(DWCONV_BAD_RESIDUAL, block, (d.residual = DWCONV_RESIDUAL_ON, part.project.out_channels = 5));

    dwconv_plan *plan = NULL;
    size_t bytes = 0;
    dwconv_desc d = depthwise();
    CONTEXT("NULL");
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_create(NULL, &plan));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_create(&d, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_size(NULL, &bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_size(&d, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_create_in(&d, NULL, 65536, &plan));
    dwconv_plan_destroy(NULL);
}

/* The filters named here do not exist: a size has to be refused before a weight is read. */
static void test_absurd_sizes(void) {
    static const int64_t absurd[] = {(int64_t)1 << 31, (int64_t)1 << 32, (int64_t)1 << 33,
                                     (int64_t)1 << 61, (int64_t)1 << 62, INT64_MAX};
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        const int64_t huge = absurd[i];
        REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.in_channels = part.conv.groups = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.out_channels = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.window.kernel_h = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.window.stride_h = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.window.dilation_w = huge);
        REFUSES(DWCONV_OVERFLOW, pointwise, part.conv.out_channels = huge);
        REFUSES(DWCONV_OVERFLOW, dense, part.conv.in_channels = huge);
        REFUSES(DWCONV_OVERFLOW, dense,
                (part.conv.window.padding = DWCONV_EXPLICIT, part.conv.window.pad_bottom = huge));
    }
    REFUSES(DWCONV_OVERFLOW, depthwise, part.conv.window.kernel_h = part.conv.window.kernel_w = INT32_MAX);
    REFUSES(DWCONV_OVERFLOW, pointwise, part.conv.in_channels = part.conv.out_channels = INT32_MAX);

    dwconv_plan *plan = NULL;
    dwconv_desc d = depthwise();
    part.conv.window = (dwconv_window){.kernel_h = 3,
                                       .kernel_w = 3,
                                       .dilation_h = INT32_MAX,
                                       .dilation_w = INT32_MAX,
                                       .padding = DWCONV_SAME};
    CONTEXT("runs of absurd sizes");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    int64_t out[4];
    CHECK_STATUS(DWCONV_OVERFLOW, dwconv_output_shape(plan, (int64_t[4]){1, (int64_t)1 << 31, 1, 4}, out));
    CHECK_STATUS(DWCONV_OVERFLOW, dwconv_output_shape(plan, (int64_t[4]){(int64_t)1 << 62, 1, 1, 4}, out));
    CHECK_STATUS(DWCONV_OK, dwconv_output_shape(plan, (int64_t[4]){2, 5, 6, 4}, out));
    CHECK(memcmp(out, (int64_t[4]){2, 5, 6, 4}, sizeof out) == 0);
    const int64_t most = INT32_MAX;
    const dwconv_tensor x = {.data = data_in, .batch = most, .height = most, .width = most, .channels = 4};
    dwconv_tensor y = x;
    y.data = data_out;
    CHECK_STATUS(DWCONV_OVERFLOW, dwconv_run(plan, &x, &y, NULL, 0, NULL));
    static const int64_t strides[] = {INT64_MAX, INT64_MIN, INT64_MAX / 2, (int64_t)1 << 61,
                                      -((int64_t)1 << 61)};
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++)
        for (int axis = 0; axis < 3; axis++) {
            dwconv_tensor in = {.data = data_in, .batch = 2, .height = 2, .width = 2, .channels = 4};
            dwconv_tensor result = in;
            result.data = data_out;
            *(axis == 0 ? &in.image_stride : axis == 1 ? &in.row_stride : &in.pixel_stride) = strides[i];
            CHECK_STATUS(DWCONV_OVERFLOW, dwconv_run(plan, &in, &result, NULL, 0, NULL));
            dwconv_tensor input = result;
            input.data = data_in;
            in.data = data_out;
            CHECK_STATUS(DWCONV_OVERFLOW, dwconv_run(plan, &input, &in, NULL, 0, NULL));
        }
    dwconv_plan_destroy(plan);
}

/* ---- descriptors of callers that were compiled with another version of the header ----------- */

typedef struct newer_conv {
    dwconv_conv_desc known;
    int64_t later[2];
} newer_conv;

typedef struct newer_desc {
    dwconv_desc known;
    void *later;
} newer_desc;

static float first_output(const dwconv_desc *d) {
    dwconv_tensor x = in_8x8(), y = out_6x6();
    dwconv_plan *plan = NULL;
    data_out[0] = NAN;
    if (dwconv_plan_create(d, &plan) == DWCONV_OK) dwconv_run(plan, &x, &y, NULL, 0, NULL);
    dwconv_plan_destroy(plan);
    return data_out[0];
}

static void test_versions(void) {
    REFUSES(DWCONV_BAD_SIZE, depthwise, d.size = 0);
    REFUSES(DWCONV_BAD_SIZE, depthwise, d.size = offsetof(dwconv_desc, conv));
    REFUSES(DWCONV_BAD_SIZE, depthwise, d.size = SIZE_MAX);
    REFUSES(DWCONV_BAD_SIZE, depthwise, part.conv.size = 0);
    REFUSES(DWCONV_BAD_SIZE, depthwise, part.conv.size = offsetof(dwconv_conv_desc, filter));
    REFUSES(DWCONV_BAD_SIZE, depthwise, part.conv.size = (size_t)1 << 40);
    REFUSES(DWCONV_BAD_SIZE, block, part.excite.size = 0);
    REFUSES(DWCONV_BAD_SIZE, block, d.size = offsetof(dwconv_desc, expand) + 1); /* within a pointer */
    REFUSES(DWCONV_BAD_SIZE, block, part.conv.size = offsetof(dwconv_conv_desc, bias) + 4);
    REFUSES(DWCONV_BAD_SIZE, block, d.size = sizeof d + 1);

    CONTEXT("an older caller");
    dwconv_desc d = depthwise();
    const float bias[4] = {3, 3, 3, 3};
    weights[0] = data_in[0] = 2;
    CHECK(first_output(&d) == 4);
    part.conv.bias = bias;
    part.conv.activation = (dwconv_activation){DWCONV_CLIP, -1, 1};
    CHECK(first_output(&d) == 1);
    part.conv.size = offsetof(dwconv_conv_desc, activation); /* of which nothing beyond is read */
    CHECK(first_output(&d) == 7);
    part.conv.size = offsetof(dwconv_conv_desc, bias);
    CHECK(first_output(&d) == 4);
    d.project = (const dwconv_conv_desc *)data_in;
    d.size = offsetof(dwconv_desc, expand);
    CHECK(first_output(&d) == 4);

    CONTEXT("a newer caller");
    newer_conv conv = {.known = depthwise().conv[0]};
    newer_desc newer = {.known = {.size = sizeof newer, .conv = &conv.known}};
    conv.known.size = sizeof conv;
    CHECK(first_output(&newer.known) == 4);
    conv.later[1] = 1; /* it asks for what this library does not know */
    refuses(DWCONV_BAD_SIZE, &newer.known);
    conv.later[1] = 0;
    newer.later = &conv;
    refuses(DWCONV_BAD_SIZE, &newer.known);
    weights[0] = data_in[0] = 0;
}

void test_descriptors(void) {
    test_fields();
    test_absurd_sizes();
    test_versions();
}
