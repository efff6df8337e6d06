/* Every status, provoked; and sizes that wrap around refused before anything is touched. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static float weights[4096], data_in[4096], data_out[4096];

/* The parts of the descriptor that was made last. */
static struct {
    dwconv_conv_desc expand, conv, squeeze, excite, project;
} part;

static dwconv_conv_desc part_of(int64_t inputs, int64_t outputs, int64_t groups, int64_t kernel) {
    return (dwconv_conv_desc){.size = sizeof(dwconv_conv_desc),
                              .in_channels = inputs,
                              .out_channels = outputs,
                              .groups = groups,
                              .window = {.kernel_h = kernel, .kernel_w = kernel},
                              .filter = weights};
}

static dwconv_desc conv_of(int64_t inputs, int64_t outputs, int64_t groups, int64_t kernel) {
    part.conv = part_of(inputs, outputs, groups, kernel);
    return (dwconv_desc){.size = sizeof(dwconv_desc), .conv = &part.conv};
}

static dwconv_desc depthwise(void) { return conv_of(4, 4, 4, 3); }

static dwconv_desc dense(void) { return conv_of(4, 6, 0, 3); }

static dwconv_desc pointwise(void) { return conv_of(4, 6, 0, 0); }

static dwconv_desc separable(void) {
    dwconv_desc d = depthwise();
    part.project = part_of(4, 6, 1, 1);
    d.project = &part.project;
    return d;
}

/* With everything that a block may have. */
static dwconv_desc block(void) {
    dwconv_desc d = conv_of(8, 8, 8, 3);
    part.conv.window.padding = DWCONV_SAME;
    part.expand = part_of(4, 8, 0, 0);
    part.project = part_of(8, 4, 0, 1);
    part.squeeze = part_of(8, 2, 0, 0);
    part.excite = part_of(2, 8, 0, 0);
    d.expand = &part.expand;
    d.project = &part.project;
    d.squeeze = &part.squeeze;
    d.excite = &part.excite;
    d.residual = DWCONV_RESIDUAL_AUTO;
    return d;
}

/* ---- creation ------------------------------------------------------------------------------ */

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

static void test_descriptors(void) {
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

static void test_plan_memory(void) {
    dwconv_desc d = depthwise();
    dwconv_plan *plan = NULL;
    size_t bytes = 0;
    CONTEXT("plan memory");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_size(&d, &bytes));
    unsigned char *memory = aligned_memory(bytes + DWCONV_ALIGNMENT);
    CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_plan_create_in(&d, memory, bytes - 1, &plan));
    CHECK(plan == NULL);
    CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_plan_create_in(&d, memory, 0, &plan));
    CHECK_STATUS(DWCONV_MISALIGNED, dwconv_plan_create_in(&d, memory + 32, bytes, &plan));
    CHECK(plan == NULL);
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create_in(&d, memory, bytes, &plan));
    CHECK(plan != NULL);
    dwconv_plan_destroy(plan);
    free(memory);
}

static void test_instruction_sets(void) {
    CONTEXT("instruction sets");
    int available = 0;
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        dwconv_desc d = depthwise();
        dwconv_plan *plan = NULL;
        d.isa = isa;
        const int usable = dwconv_isa_available(isa);
        available += usable;
        CHECK(!usable || dwconv_isa_compiled(isa));
        CHECK_STATUS(usable ? DWCONV_OK : DWCONV_NO_ISA, dwconv_plan_create(&d, &plan));
        CHECK((plan != NULL) == usable);
        if (plan) CHECK(strcmp(dwconv_plan_isa(plan), isa) == 0);
        dwconv_plan_destroy(plan);
    }
    CHECK(available >= 1);
    CHECK(available < dwconv_isa_count()); /* no machine has both NEON and AVX: NO_ISA was seen */
    CHECK(dwconv_isa_available("baseline"));
    CHECK(dwconv_isa_available(dwconv_isa_best()));
    CHECK(dwconv_isa_name(dwconv_isa_count()) == NULL);
    CHECK(dwconv_isa_name(-1) == NULL);
    CHECK(!dwconv_isa_available("sse9") && !dwconv_isa_compiled("sse9"));
    CHECK(!dwconv_isa_available("") && !dwconv_isa_available(NULL) && !dwconv_isa_compiled(NULL));
    CHECK(dwconv_plan_isa(NULL) == NULL && dwconv_plan_bytes(NULL) == 0);
    CHECK(strcmp(dwconv_version(), DWCONV_VERSION) == 0);
    for (int status = -1; status <= DWCONV_STATUS_COUNT; status++)
        CHECK(dwconv_status_string((dwconv_status)status) != NULL);
    for (int a = 0; a < DWCONV_STATUS_COUNT; a++)
        for (int b = a + 1; b < DWCONV_STATUS_COUNT; b++)
            CHECK(strcmp(dwconv_status_string((dwconv_status)a), dwconv_status_string((dwconv_status)b)) !=
                  0);
}

/* ---- running ------------------------------------------------------------------------------- */

static dwconv_tensor in_8x8(void) {
    return (dwconv_tensor){.data = data_in, .batch = 1, .height = 8, .width = 8, .channels = 4};
}

static dwconv_tensor out_6x6(void) {
    return (dwconv_tensor){.data = data_out, .batch = 1, .height = 6, .width = 6, .channels = 4};
}

/* The kernel path and the oracle refuse the same tensors, and write nothing. */
#define RUN_REFUSES(expected, change)                                                            \
    do {                                                                                         \
        dwconv_tensor x = in_8x8(), y = out_6x6();                                               \
        CONTEXT("run: %s", #change);                                                             \
        change;                                                                                  \
        memset(data_out, 0x5a, sizeof data_out);                                                 \
        CHECK_STATUS(expected, dwconv_run(plan, &x, &y, NULL, 0, NULL));                         \
        CHECK_STATUS(expected, dwconv_reference(&d, &x, &y));                                    \
        int untouched = 1;                                                                       \
        for (size_t i = 0; i < sizeof data_out; i++) untouched &= ((char *)data_out)[i] == 0x5a; \
        CHECK(untouched);                                                                        \
    } while (0)

static void test_runs(void) {
    dwconv_desc d = depthwise();
    dwconv_plan *plan = NULL;
    CONTEXT("run");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    RUN_REFUSES(DWCONV_BAD_SHAPE, x.channels = 5);
    RUN_REFUSES(DWCONV_BAD_SHAPE, x.height = 0);
    RUN_REFUSES(DWCONV_BAD_SHAPE, x.width = -1);
    RUN_REFUSES(DWCONV_BAD_SHAPE, x.batch = y.batch = -1);
    RUN_REFUSES(DWCONV_BAD_SHAPE, y.height = 7);
    RUN_REFUSES(DWCONV_BAD_SHAPE, y.width = 5);
    RUN_REFUSES(DWCONV_BAD_SHAPE, y.channels = 3);
    RUN_REFUSES(DWCONV_BAD_SHAPE, y.batch = 2);
    RUN_REFUSES(DWCONV_KERNEL_TOO_LARGE, x.height = 2);
    RUN_REFUSES(DWCONV_BAD_DTYPE, x.dtype = DWCONV_DTYPE_COUNT);
    RUN_REFUSES(DWCONV_BAD_DTYPE, y.dtype = DWCONV_DTYPE_COUNT);
    RUN_REFUSES(DWCONV_NULL_POINTER, x.data = NULL);
    RUN_REFUSES(DWCONV_NULL_POINTER, y.data = NULL);
    RUN_REFUSES(DWCONV_MISALIGNED, x.data = (char *)data_in + 2);
    RUN_REFUSES(DWCONV_MISALIGNED, y.data = (char *)data_out + 1);
    RUN_REFUSES(DWCONV_OVERLAP, y.data = data_in);
    RUN_REFUSES(DWCONV_OVERLAP, y.data = data_in + 8 * 8 * 4 - 1);
    RUN_REFUSES(DWCONV_BAD_LAYOUT, y.pixel_stride = 3);
    RUN_REFUSES(DWCONV_BAD_LAYOUT, y.row_stride = 4 * 5);
    RUN_REFUSES(DWCONV_BAD_LAYOUT, (x.batch = y.batch = 2, y.image_stride = 4 * 6 * 5));

    dwconv_tensor x = in_8x8(), y = out_6x6();
    CONTEXT("run: NULL and threads");
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_run(NULL, &x, &y, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_run(plan, NULL, &y, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_run(plan, &x, NULL, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_run(plan, &x, &y, NULL, 0, &(dwconv_threads){.count = 0}));
    y.data = data_in + 8 * 8 * 4; /* touching is not overlapping */
    CHECK_STATUS(DWCONV_OK, dwconv_run(plan, &x, &y, NULL, 0, NULL));
    x.batch = y.batch = 0;
    x.data = y.data = NULL;
    CHECK_STATUS(DWCONV_OK, dwconv_run(plan, &x, &y, NULL, 0, NULL));
    dwconv_plan_destroy(plan);
}

static void test_explanations(void) {
    dwconv_desc d = pointwise();
    dwconv_plan *plan = NULL;
    const dwconv_threads negative = {.count = -1};
    char text[2048], all[2048];
    size_t needed = 0, again = 0;
    CONTEXT("explain");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    const int64_t dims[4] = {1, 8, 8, 4}, empty[4] = {0, 8, 8, 4}, wrong[4] = {1, 8, 8, 5};
    const int64_t vast[4] = {INT32_MAX, INT32_MAX, INT32_MAX, 4};
    const int64_t just_too_many[4] = {INT32_MAX, 1 << 30, 1, 4}; /* elements, which still fit int64 */
    CHECK(explained(plan, dims, NULL, "workers") == 1);
    CHECK(explained(plan, dims, NULL, "items") == 1);
    CHECK(explained(plan, dims, NULL, "panel") > 0);
    CHECK(explained(plan, dims, NULL, "scratch_bytes") == 0);
    CHECK(explained(plan, dims, NULL, "plan_bytes") == (int64_t)dwconv_plan_bytes(plan));
    CHECK(explained(plan, NULL, NULL, "panel") > 0 && explained(plan, NULL, NULL, "workers") == -1);
    CHECK(explained(plan, empty, NULL, "scratch_bytes") == 0);
#define EXPLAIN(format, size) dwconv_explain(plan, dims, NULL, format, text, size, &needed)
    for (int format = DWCONV_TEXT; format <= DWCONV_JSON; format++) {
        CHECK_STATUS(DWCONV_OK, dwconv_explain(plan, dims, NULL, (dwconv_format)format, NULL, 0, &again));
        CHECK_STATUS(DWCONV_OK, EXPLAIN((dwconv_format)format, sizeof text));
        CHECK(needed == again && strlen(text) + 1 == needed);
        CHECK((text[0] == '{') == (format == DWCONV_JSON));
        memcpy(all, text, needed);
        for (size_t size = 1; size < needed; size++) {
            memset(text, 'x', sizeof text);
            CHECK_STATUS(DWCONV_TOO_SMALL, EXPLAIN((dwconv_format)format, size));
            CHECK(needed == again && strlen(text) == size - 1 && strncmp(text, all, size - 1) == 0);
            CHECK(text[size] == 'x');
        }
        CHECK_STATUS(DWCONV_OK, EXPLAIN((dwconv_format)format, needed));
    }
#define EXPLAINS(plan, shape, threads) \
    dwconv_explain(plan, shape, threads, DWCONV_TEXT, text, sizeof text, NULL)
    CHECK_STATUS(DWCONV_OK, EXPLAINS(plan, empty, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, EXPLAINS(NULL, dims, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_explain(plan, dims, NULL, DWCONV_TEXT, NULL, 1, &needed));
    CHECK_STATUS(DWCONV_BAD_VALUE, EXPLAINS(plan, dims, &negative));
    CHECK_STATUS(DWCONV_BAD_VALUE, EXPLAIN((dwconv_format)2, sizeof text));
    CHECK_STATUS(DWCONV_BAD_SHAPE, EXPLAINS(plan, wrong, NULL));
    CHECK_STATUS(DWCONV_OVERFLOW, EXPLAINS(plan, vast, NULL));
    CHECK_STATUS(DWCONV_OVERFLOW, EXPLAINS(plan, just_too_many, NULL));
    dwconv_plan_destroy(plan);
}

static void test_scratch(void) {
    dwconv_desc d = separable();
    dwconv_plan *plan = NULL;
    dwconv_tensor x = in_8x8(), y = out_6x6();
    size_t bytes = 0, taller = 0;
    y.channels = 6;
    CONTEXT("scratch");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, (int64_t[4]){1, 8, 8, 4}, 1, &bytes));
    CHECK(bytes > 0);
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, (int64_t[4]){3, 800000, 8, 4}, 1, &taller));
    CHECK(taller > bytes && taller <= 64 * 1024 + 128); /* a strip of rows, not a feature map */
    unsigned char *scratch = aligned_memory(bytes + DWCONV_ALIGNMENT);
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, (int64_t[4]){1, 8, 8, 4}, 1, &bytes));
    CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_run(plan, &x, &y, scratch, bytes - 1, NULL));
    CHECK_STATUS(DWCONV_MISALIGNED, dwconv_run(plan, &x, &y, scratch + 16, bytes, NULL));
    CHECK(dwconv_run(plan, &x, &y, NULL, 0, NULL) != DWCONV_OK);
    CHECK_STATUS(DWCONV_OK, dwconv_run(plan, &x, &y, scratch, bytes, NULL));
    y.data = scratch;
    CHECK_STATUS(DWCONV_OVERLAP, dwconv_run(plan, &x, &y, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_scratch_size(NULL, (int64_t[4]){1, 8, 8, 4}, 1, &bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_scratch_size(plan, (int64_t[4]){1, 8, 8, 4}, 1, NULL));
    CHECK_STATUS(DWCONV_BAD_SHAPE, dwconv_scratch_size(plan, (int64_t[4]){1, 8, 8, 5}, 1, &bytes));
    free(scratch);
    dwconv_plan_destroy(plan);
}

static void test_residuals(void) {
    dwconv_desc d = block();
    dwconv_plan *plan = NULL;
    int64_t out[4];
    CONTEXT("residual");
    d.residual = DWCONV_RESIDUAL_ON;
    part.conv.window.padding = DWCONV_VALID;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    CHECK_STATUS(DWCONV_BAD_RESIDUAL, dwconv_output_shape(plan, (int64_t[4]){1, 8, 8, 4}, out));
    dwconv_plan_destroy(plan);
    part.conv.window.padding = DWCONV_SAME;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    CHECK_STATUS(DWCONV_OK, dwconv_output_shape(plan, (int64_t[4]){1, 8, 8, 4}, out));
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

static void test_sizes(void) {
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

/* Nothing is created, nothing written, nothing left behind where memory runs out. */
static void test_no_memory(void) {
    const dwconv_desc squeezed = block();
    dwconv_plan *plan = (dwconv_plan *)data_in;
    const dwconv_tensor x = in_8x8();
    dwconv_tensor y = {.data = data_out, .batch = 1, .height = 8, .width = 8, .channels = 4};
    CONTEXT("no memory");
    memset(data_out, 0x5a, sizeof data_out);
    const long outstanding = allocator_outstanding();
    allocator_refuse(1);
    const dwconv_status created = dwconv_plan_create(&squeezed, &plan);
    const dwconv_status computed = dwconv_reference(&squeezed, &x, &y);
    allocator_refuse(0);
    CHECK_STATUS(DWCONV_NO_MEMORY, created);
    CHECK(plan == NULL);
    CHECK_STATUS(DWCONV_NO_MEMORY, computed);
    CHECK(((unsigned char *)data_out)[0] == 0x5a);
    CHECK(allocator_outstanding() == outstanding);
}

void test_statuses(void) {
    test_descriptors();
    test_absurd_sizes();
    test_plan_memory();
    test_instruction_sets();
    test_runs();
    test_explanations();
    test_scratch();
    test_residuals();
    test_sizes();
    test_no_memory();
    for (int status = 0; status < DWCONV_STATUS_COUNT; status++) {
        CONTEXT("status %d: %s", status, dwconv_status_string((dwconv_status)status));
        CHECK(statuses_seen[status] > 0);
    }
}
