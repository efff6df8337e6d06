/* Every status, provoked; and sizes that wrap around refused before anything is touched. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static float weights[4096], data_in[4096], data_out[4096];

static dwconv_desc depthwise(void) {
    dwconv_desc d = {.operation = DWCONV_DEPTHWISE};
    d.depthwise.channels = 4;
    d.depthwise.filter = weights;
    d.depthwise.window = (dwconv_window){.kernel_h = 3, .kernel_w = 3};
    return d;
}

static dwconv_desc conv(void) {
    dwconv_desc d = {.operation = DWCONV_CONV};
    d.conv = (dwconv_conv_desc){.in_channels = 4, .out_channels = 6, .filter = weights};
    d.conv.window = (dwconv_window){.kernel_h = 3, .kernel_w = 3};
    return d;
}

static dwconv_desc pointwise(void) {
    dwconv_desc d = {.operation = DWCONV_POINTWISE};
    d.pointwise = (dwconv_pointwise_desc){.in_channels = 4, .out_channels = 6, .filter = weights};
    return d;
}

static dwconv_desc separable(void) {
    dwconv_desc d = {.operation = DWCONV_SEPARABLE};
    d.separable.depthwise = depthwise().depthwise;
    d.separable.pointwise = pointwise().pointwise;
    return d;
}

static dwconv_desc inverted_residual(void) {
    dwconv_desc d = {.operation = DWCONV_INVERTED_RESIDUAL};
    d.inverted_residual.expand =
        (dwconv_pointwise_desc){.in_channels = 4, .out_channels = 8, .filter = weights};
    d.inverted_residual.depthwise = depthwise().depthwise;
    d.inverted_residual.depthwise.channels = 8;
    d.inverted_residual.depthwise.window.padding = DWCONV_SAME;
    d.inverted_residual.project =
        (dwconv_pointwise_desc){.in_channels = 8, .out_channels = 4, .filter = weights};
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
    REFUSES(DWCONV_BAD_VALUE, depthwise, d.operation = DWCONV_OPERATION_COUNT);
    REFUSES(DWCONV_BAD_VALUE, depthwise, d.operation = (dwconv_operation)-1);
    REFUSES(DWCONV_BAD_VALUE, depthwise, d.flags = 2);
    REFUSES(DWCONV_BAD_VALUE, depthwise, d.isa = DWCONV_ISA_COUNT);
    REFUSES(DWCONV_BAD_VALUE, inverted_residual, d.inverted_residual.residual = (dwconv_residual)7);
    REFUSES(DWCONV_BAD_DTYPE, depthwise, d.dtype = DWCONV_DTYPE_COUNT);
    REFUSES(DWCONV_NULL_POINTER, depthwise, d.depthwise.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, conv, d.conv.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, pointwise, d.pointwise.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, separable, d.separable.pointwise.filter = NULL);
    REFUSES(DWCONV_NULL_POINTER, inverted_residual, d.inverted_residual.project.filter = NULL);

    REFUSES(DWCONV_BAD_SHAPE, depthwise, d.depthwise.channels = 0);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, d.depthwise.channels = -1);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, d.depthwise.multiplier = -1);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, d.depthwise.window.kernel_h = 0);
    REFUSES(DWCONV_BAD_SHAPE, depthwise, d.depthwise.window.kernel_w = -3);
    REFUSES(DWCONV_BAD_SHAPE, conv, d.conv.out_channels = 0);
    REFUSES(DWCONV_BAD_SHAPE, conv, d.conv.groups = 3);
    REFUSES(DWCONV_BAD_SHAPE, conv, d.conv.groups = 4);
    REFUSES(DWCONV_BAD_SHAPE, conv, d.conv.groups = -1);
    REFUSES(DWCONV_BAD_SHAPE, pointwise, d.pointwise.in_channels = INT64_MIN);
    REFUSES(DWCONV_BAD_SHAPE, separable, d.separable.pointwise.in_channels = 5);
    REFUSES(DWCONV_BAD_SHAPE, inverted_residual, d.inverted_residual.expand.out_channels = 7);
    REFUSES(DWCONV_BAD_SHAPE, inverted_residual, d.inverted_residual.project.in_channels = 7);

    REFUSES(DWCONV_BAD_STRIDE, depthwise, d.depthwise.window.stride_h = -1);
    REFUSES(DWCONV_BAD_STRIDE, depthwise, d.depthwise.window.dilation_w = -2);
    REFUSES(DWCONV_BAD_STRIDE, pointwise, d.pointwise.stride_w = -1);
    REFUSES(DWCONV_BAD_STRIDE, separable, d.separable.pointwise.stride_h = 2);
    REFUSES(DWCONV_BAD_PADDING, depthwise, d.depthwise.window.pad_left = 1);
    REFUSES(DWCONV_BAD_PADDING, depthwise, d.depthwise.window.padding = (dwconv_padding)3);
    REFUSES(DWCONV_BAD_PADDING, conv, (d.conv.window.padding = DWCONV_EXPLICIT, d.conv.window.pad_top = -1));
    REFUSES(DWCONV_BAD_ACTIVATION, depthwise, d.depthwise.activation.kind = DWCONV_ACTIVATION_COUNT);
    REFUSES(DWCONV_BAD_ACTIVATION, conv, (d.conv.activation = (dwconv_activation){DWCONV_CLIP, 1.0f, 0.0f}));
    REFUSES(DWCONV_BAD_ACTIVATION, conv, (d.conv.activation = (dwconv_activation){DWCONV_CLIP, NAN, 0.0f}));
    REFUSES(DWCONV_BAD_ACTIVATION, conv,
            (d.conv.activation = (dwconv_activation){DWCONV_LEAKY_RELU, NAN, 0.0f}));

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
        REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.channels = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.multiplier = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.window.kernel_h = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.window.stride_h = huge);
        REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.window.dilation_w = huge);
        REFUSES(DWCONV_OVERFLOW, pointwise, d.pointwise.out_channels = huge);
        REFUSES(DWCONV_OVERFLOW, conv, d.conv.in_channels = huge);
        REFUSES(DWCONV_OVERFLOW, conv,
                (d.conv.window.padding = DWCONV_EXPLICIT, d.conv.window.pad_bottom = huge));
    }
    REFUSES(DWCONV_OVERFLOW, depthwise,
            d.depthwise.window.kernel_h = d.depthwise.window.kernel_w = INT32_MAX);
    REFUSES(DWCONV_OVERFLOW, depthwise, d.depthwise.channels = d.depthwise.multiplier = 1 << 20);
    REFUSES(DWCONV_OVERFLOW, pointwise, d.pointwise.in_channels = d.pointwise.out_channels = INT32_MAX);

    dwconv_plan *plan = NULL;
    dwconv_desc d = depthwise();
    d.depthwise.window = (dwconv_window){.kernel_h = 3,
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
    for (int isa = DWCONV_ISA_BASELINE; isa < DWCONV_ISA_COUNT; isa++) {
        dwconv_desc d = depthwise();
        dwconv_plan *plan = NULL;
        d.isa = (dwconv_isa)isa;
        const int usable = dwconv_isa_available(d.isa);
        available += usable;
        CHECK(dwconv_isa_name(d.isa) != NULL);
        CHECK(!usable || dwconv_isa_compiled(d.isa));
        CHECK_STATUS(usable ? DWCONV_OK : DWCONV_NO_ISA, dwconv_plan_create(&d, &plan));
        CHECK((plan != NULL) == usable);
        if (plan) CHECK(dwconv_plan_isa(plan) == d.isa);
        dwconv_plan_destroy(plan);
    }
    CHECK(available >= 1);
    CHECK(available < DWCONV_ISA_COUNT - 1); /* no machine has both NEON and AVX: NO_ISA was seen */
    CHECK(dwconv_isa_available(DWCONV_ISA_BASELINE));
    CHECK(dwconv_isa_available(dwconv_isa_best()));
    CHECK(dwconv_isa_name(DWCONV_ISA_COUNT) == NULL);
    CHECK(dwconv_isa_name((dwconv_isa)-1) == NULL);
    CHECK(!dwconv_isa_available(DWCONV_ISA_COUNT));
    CHECK(!dwconv_isa_available((dwconv_isa)-1));
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
    CHECK(dwconv_plan_kernel(plan, 0) != NULL);
    CHECK(dwconv_plan_kernel(plan, 1) == NULL);
    CHECK(dwconv_plan_kernel(plan, -1) == NULL);
    dwconv_plan_destroy(plan);
}

static void test_cut(void) {
    dwconv_desc d = pointwise();
    dwconv_plan *plan = NULL;
    dwconv_cut cut;
    const dwconv_threads negative = {.count = -1};
    CONTEXT("cut");
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    const int64_t dims[4] = {1, 8, 8, 4}, empty[4] = {0, 8, 8, 4}, wrong[4] = {1, 8, 8, 5};
    const int64_t vast[4] = {INT32_MAX, INT32_MAX, INT32_MAX, 4};
    const int64_t just_too_many[4] = {INT32_MAX, 1 << 30, 1, 4}; /* elements, which still fit int64 */
    CHECK_STATUS(DWCONV_OK, dwconv_plan_cut(plan, dims, NULL, &cut));
    CHECK(cut.workers == 1 && cut.images == 1 && cut.strips == 1 && cut.blocks == 1);
    CHECK_STATUS(DWCONV_OK, dwconv_plan_cut(plan, empty, NULL, &cut));
    CHECK(cut.how && !*cut.how);
    CHECK(cut.workers == 1 && cut.images == 0);
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_cut(NULL, dims, NULL, &cut));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_cut(plan, NULL, NULL, &cut));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_plan_cut(plan, dims, NULL, NULL));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_plan_cut(plan, dims, &negative, &cut));
    CHECK_STATUS(DWCONV_BAD_SHAPE, dwconv_plan_cut(plan, wrong, NULL, &cut));
    CHECK_STATUS(DWCONV_OVERFLOW, dwconv_plan_cut(plan, vast, NULL, &cut));
    CHECK_STATUS(DWCONV_OVERFLOW, dwconv_plan_cut(plan, just_too_many, NULL, &cut));
    CHECK(dwconv_plan_panel(plan, 0) > 0);
    CHECK(dwconv_plan_panel(plan, 1) == 0 && dwconv_plan_panel(plan, -1) == 0);
    CHECK(dwconv_plan_panel(NULL, 0) == 0);
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
    CHECK(dwconv_plan_kernel(plan, 1) != NULL);
    CHECK(dwconv_plan_kernel(plan, 2) == NULL);
    free(scratch);
    dwconv_plan_destroy(plan);
}

static void test_residuals(void) {
    dwconv_desc d = inverted_residual();
    dwconv_plan *plan = NULL;
    int64_t out[4];
    CONTEXT("residual");
    d.inverted_residual.residual = DWCONV_RESIDUAL_ON;
    d.inverted_residual.depthwise.window.stride_h = 2;
    dwconv_status status = dwconv_plan_create(&d, &plan);
    if (status == DWCONV_OK) status = dwconv_output_shape(plan, (int64_t[4]){1, 8, 8, 4}, out);
    CHECK_STATUS(DWCONV_BAD_RESIDUAL, status);
    dwconv_plan_destroy(plan);
    d.inverted_residual.depthwise.window.stride_h = 1;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    CHECK_STATUS(DWCONV_OK, dwconv_output_shape(plan, (int64_t[4]){1, 8, 8, 4}, out));
    dwconv_plan_destroy(plan);
}

/* Nothing is created, nothing written, nothing left behind where memory runs out. */
static void test_no_memory(void) {
    const dwconv_desc d = depthwise(), block = inverted_residual();
    dwconv_plan *plan = (dwconv_plan *)data_in;
    const dwconv_tensor x = in_8x8();
    dwconv_tensor y = {.data = data_out, .batch = 1, .height = 8, .width = 8, .channels = 4};
    CONTEXT("no memory");
    memset(data_out, 0x5a, sizeof data_out);
    const long outstanding = allocator_outstanding();
    allocator_refuse(1);
    const dwconv_status created = dwconv_plan_create(&d, &plan);
    const dwconv_status computed = dwconv_reference(&block, &x, &y);
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
    test_cut();
    test_scratch();
    test_residuals();
    test_no_memory();
    for (int status = 0; status < DWCONV_STATUS_COUNT; status++) {
        CONTEXT("status %d: %s", status, dwconv_status_string((dwconv_status)status));
        CHECK(statuses_seen[status] > 0);
    }
}
