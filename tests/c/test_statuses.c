/* Every status, provoked. */
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "described.h"
#include "problem.h"
#include "suites.h"

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
    test_plan_memory();
    test_instruction_sets();
    test_runs();
    test_explanations();
    test_scratch();
    test_residuals();
    test_no_memory();
    test_quantization_statuses();
    for (int status = 0; status < DWCONV_STATUS_COUNT; status++) {
        CONTEXT("status %d: %s", status, dwconv_status_string((dwconv_status)status));
        CHECK(statuses_seen[status] > 0);
    }
}
