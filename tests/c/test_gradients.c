/* Gradients beside their plain loops, between guard pages, without a single allocation, on one to three workers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/dwconv_gradient.h"
#include "allocator.h"
#include "check.h"
#include "gradient_case.h"
#include "suites.h"

/* Terms of a sum, each at most 1, times eps: pixels of a filter's, taps and outputs of an input's. */
static int are_close(const float *a, const float *b, size_t count, double terms) {
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= (terms + 8) * 1.2e-7 * (1.0 + terms / 4))) return 0;
    return 1;
}

static void check_input(const gradients *g, const char *isa, int at_end) {
    dwconv_gradient_desc desc = g->desc;
    const size_t count = gradients_count(g->input), bytes = count * sizeof(float);
    const double terms =
        (double)(desc.window.kernel_h * desc.window.kernel_w * desc.out_channels / desc.groups);
    guarded dx = guarded_create(bytes, at_end, sizeof(float));
    float *expected = malloc(bytes), *first = malloc(bytes);
    const dwconv_tensor dy = gradients_tensor(g->output, g->dy.data),
                        to = gradients_tensor(g->input, dx.data),
                        reference = gradients_tensor(g->input, expected);
    CHECK_STATUS(DWCONV_OK, dwconv_input_gradient_reference(&desc, g->filter.data, &dy, &reference));
    desc.isa = isa;
    for (int workers = 1; workers <= 3; workers++) {
        size_t needed = 0;
        const dwconv_threads threads = {.count = workers, .run = gradients_in_reverse, .pool = &workers};
        CHECK_STATUS(DWCONV_OK, dwconv_input_gradient_scratch(&desc, g->input, workers, &needed));
        guarded scratch = guarded_create(needed, at_end, DWCONV_ALIGNMENT);
        memset(scratch.data, 0xff, needed); /* NaN: what scratch holds must not matter */
        memset(dx.data, 0xff, bytes);
        const long before = allocator_calls();
        allocator_refuse(1);
        const dwconv_status status =
            dwconv_input_gradient(&desc, g->filter.data, &dy, &to, scratch.data, needed, &threads);
        allocator_refuse(0);
        CHECK(allocator_calls() == before);
        CHECK_STATUS(DWCONV_OK, status);
        CHECK(guarded_slack_intact(&scratch));
        if (needed)
            CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_input_gradient(&desc, g->filter.data, &dy, &to,
                                                                 scratch.data, needed - 1, &threads));
        if (workers == 1) memcpy(first, dx.data, bytes);
        CHECK(are_close(dx.data, expected, count, terms));
        CHECK(memcmp(first, dx.data, bytes) == 0);
        guarded_free(&scratch);
    }
    free(expected);
    free(first);
    guarded_free(&dx);
}

static void check_filter(const gradients *g, const char *isa, int at_end) {
    dwconv_gradient_desc desc = g->desc;
    const size_t count = g->filter_floats, outputs = (size_t)desc.out_channels;
    const double pixels = (double)(g->output[0] * g->output[1] * g->output[2]);
    guarded dw = guarded_create(count * sizeof(float), at_end, sizeof(float));
    guarded db = guarded_create(outputs * sizeof(float), at_end, sizeof(float));
    float *expected = malloc((count + outputs) * sizeof(float)),
          *first = malloc((count + outputs) * sizeof(float));
    const dwconv_tensor x = gradients_tensor(g->input, g->x.data),
                        dy = gradients_tensor(g->output, g->dy.data);
    CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient_reference(&desc, &x, &dy, expected, expected + count));
    desc.isa = isa;
    for (int workers = 1; workers <= 3; workers++) {
        size_t needed = 0;
        const dwconv_threads threads = {.count = workers, .run = gradients_in_reverse, .pool = &workers};
        CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient_scratch(&desc, g->input, workers, &needed));
        guarded scratch = guarded_create(needed, at_end, DWCONV_ALIGNMENT);
        memset(scratch.data, 0xff, needed);
        const long before = allocator_calls();
        allocator_refuse(1);
        const dwconv_status status =
            dwconv_filter_gradient(&desc, &x, &dy, dw.data, db.data, scratch.data, needed, &threads);
        allocator_refuse(0);
        CHECK(allocator_calls() == before);
        CHECK_STATUS(DWCONV_OK, status);
        CHECK(guarded_slack_intact(&scratch));
        if (workers == 1) {
            memcpy(first, dw.data, count * sizeof(float));
            memcpy(first + count, db.data, outputs * sizeof(float));
        }
        CHECK(are_close(dw.data, expected, count, pixels));
        CHECK(are_close(db.data, expected + count, outputs, pixels));
        CHECK(memcmp(first, dw.data, count * sizeof(float)) == 0);
        CHECK(memcmp(first + count, db.data, outputs * sizeof(float)) == 0);
        guarded_free(&scratch);
    }
    free(expected);
    free(first);
    guarded_free(&dw);
    guarded_free(&db);
}

/* Of one call, which has the bits of the two above. */
static void check_both(const gradients *g, const char *isa, int at_end) {
    dwconv_gradient_desc desc = g->desc;
    const size_t count = g->filter_floats, outputs = (size_t)desc.out_channels;
    const size_t bytes = gradients_count(g->input) * sizeof(float), sums = (count + outputs) * sizeof(float);
    guarded dx = guarded_create(bytes, at_end, sizeof(float)),
            dw = guarded_create(sums, at_end, sizeof(float));
    float *apart = malloc(bytes + sums), *db = (float *)dw.data + count;
    const dwconv_tensor x = gradients_tensor(g->input, g->x.data),
                        dy = gradients_tensor(g->output, g->dy.data),
                        to = gradients_tensor(g->input, dx.data), first = gradients_tensor(g->input, apart);
    desc.isa = isa;
    for (int workers = 1; workers <= 3; workers++) {
        size_t needed = 0, others = 0, of_input = 0;
        const dwconv_threads threads = {.count = workers, .run = gradients_in_reverse, .pool = &workers};
        CHECK_STATUS(DWCONV_OK, dwconv_both_gradients_scratch(&desc, g->input, workers, &needed));
        guarded scratch = guarded_create(needed, at_end, DWCONV_ALIGNMENT);
        memset(scratch.data, 0xff, needed);
        memset(dx.data, 0xff, bytes);
        const long before = allocator_calls();
        allocator_refuse(1);
        const dwconv_status status = dwconv_both_gradients(&desc, g->filter.data, &x, &dy, &to, dw.data, db,
                                                           scratch.data, needed, &threads);
        allocator_refuse(0);
        CHECK(allocator_calls() == before);
        CHECK_STATUS(DWCONV_OK, status);
        CHECK(guarded_slack_intact(&scratch));
        guarded_free(&scratch);
        if (workers == 1) {
            float *gradient = apart + gradients_count(g->input);
            CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient_scratch(&desc, g->input, 1, &others));
            CHECK_STATUS(DWCONV_OK, dwconv_input_gradient_scratch(&desc, g->input, 1, &of_input));
            if (of_input > others) others = of_input;
            void *memory = aligned_memory(others);
            CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient(&desc, &x, &dy, gradient, gradient + count, memory,
                                                           others, NULL));
            CHECK_STATUS(DWCONV_OK,
                         dwconv_input_gradient(&desc, g->filter.data, &dy, &first, memory, others, NULL));
            free(memory);
        }
        CHECK(memcmp(dx.data, apart, bytes) == 0);
        CHECK(memcmp(dw.data, apart + gradients_count(g->input), sums) == 0);
    }
    free(apart);
    guarded_free(&dx);
    guarded_free(&dw);
}

/* ---- activations ---------------------------------------------------------------------------- */

static void check_activations(const char *isa, rng *r) {
    for (int kind = 0; kind < DWCONV_ACTIVATION_COUNT; kind++)
        for (int source = 0; source < 2; source++) {
            const dwconv_activation act = {(dwconv_activation_kind)kind, kind == DWCONV_CLIP ? -0.5f : 0.1f,
                                           0.7f};
            const size_t count = 77, bytes = count * sizeof(float);
            guarded values = gradients_floats(count, r, 1), dy = gradients_floats(count, r, 0);
            guarded dx = guarded_create(bytes, 1, sizeof(float));
            float expected[77];
            CONTEXT("%s activation %d source %d", isa, kind, source);
            const dwconv_status known = dwconv_activation_gradient_reference(
                &act, (dwconv_slope_source)source, values.data, dy.data, expected, (int64_t)count);
            CHECK_STATUS(known,
                         dwconv_activation_gradient(isa, &act, (dwconv_slope_source)source, values.data,
                                                    dy.data, dx.data, (int64_t)count, NULL));
            if (known == DWCONV_OK)
                for (size_t i = 0; i < count; i++) CHECK(fabsf(((float *)dx.data)[i] - expected[i]) < 2e-6f);
            guarded_free(&values);
            guarded_free(&dy);
            guarded_free(&dx);
        }
}

/* ---- statuses ------------------------------------------------------------------------------- */

static void check_statuses(void) {
    static float x[4 * 4 * 2], dy[4 * 4 * 2], dw[9 * 2];
    const int64_t dims[4] = {1, 4, 4, 2};
    const dwconv_tensor from = gradients_tensor(dims, x), of = gradients_tensor(dims, dy);
    const dwconv_gradient_desc good = {.size = sizeof good,
                                       .in_channels = 2,
                                       .out_channels = 2,
                                       .groups = 2,
                                       .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME}};
    size_t bytes = 0;
    CONTEXT("statuses");
    dwconv_gradient_desc d = good;
    d.size = 8;
    CHECK_STATUS(DWCONV_BAD_SIZE, dwconv_filter_gradient_scratch(&d, dims, 1, &bytes));
    d = good;
    d.flags = 1;
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_filter_gradient_scratch(&d, dims, 1, &bytes));
    d = good;
    d.groups = 3;
    CHECK_STATUS(DWCONV_BAD_SHAPE, dwconv_input_gradient_scratch(&d, dims, 1, &bytes));
    d = good;
    d.isa = "none";
    CHECK_STATUS(DWCONV_NO_ISA, dwconv_input_gradient_scratch(&d, dims, 1, &bytes));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_input_gradient_scratch(&good, dims, -1, &bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_input_gradient_scratch(NULL, dims, 1, &bytes));
    d = good;
    d.window.padding = DWCONV_VALID;
    CHECK_STATUS(DWCONV_BAD_SHAPE, dwconv_filter_gradient(&d, &from, &of, dw, NULL, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient(&good, &from, &of, NULL, NULL, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_filter_gradient(&good, &from, &of, dw, NULL, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_input_gradient(&good, NULL, &of, &from, NULL, 0, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient_scratch(&good, dims, 1, &bytes));
    void *scratch = aligned_memory(bytes);
    CHECK_STATUS(DWCONV_OVERLAP, dwconv_filter_gradient(&good, &from, &of, x, NULL, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_OVERLAP, dwconv_filter_gradient(&good, &from, &of, dw, dw, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_MISALIGNED,
                 dwconv_filter_gradient(&good, &from, &of, dw, NULL, (char *)scratch + 4, bytes, NULL));
    CHECK_STATUS(DWCONV_TOO_SMALL,
                 dwconv_filter_gradient(&good, &from, &of, dw, NULL, scratch, bytes / 2, NULL));
    CHECK_STATUS(DWCONV_OVERLAP, dwconv_input_gradient(&good, dw, &of, &of, scratch, bytes, NULL));
    free(scratch);
    static float dx[4 * 4 * 2], filter[9 * 2];
    const dwconv_tensor to = gradients_tensor(dims, dx);
    CHECK_STATUS(DWCONV_OK, dwconv_both_gradients_scratch(&good, dims, 2, &bytes));
    scratch = aligned_memory(bytes);
#define BOTH(x, dx, to_filter, size) \
    dwconv_both_gradients(&good, filter, x, &of, dx, to_filter, NULL, scratch, size, NULL)
    CHECK_STATUS(DWCONV_OK, BOTH(&from, &to, dw, bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, BOTH(&from, &to, NULL, bytes));
    CHECK_STATUS(DWCONV_TOO_SMALL, BOTH(&from, &to, dw, bytes / 2));
    CHECK_STATUS(DWCONV_OVERLAP, BOTH(&from, &from, dw, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, BOTH(&from, &of, dw, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, BOTH(&from, &to, filter, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, BOTH(&from, &to, dx, bytes));
#undef BOTH
    free(scratch);
}

static void check_gradients(gradients *g, int number) {
    const dwconv_window *w = &g->desc.window;
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        CONTEXT(
            "%s number %d: %dx%dx%dx%d to %d channels, %d groups, kernel %dx%d stride %d %d dilation %d %d",
            isa, number, (int)g->input[0], (int)g->input[1], (int)g->input[2], (int)g->input[3],
            (int)g->output[3], (int)g->desc.groups, (int)w->kernel_h, (int)w->kernel_w, (int)w->stride_h,
            (int)w->stride_w, (int)w->dilation_h, (int)w->dilation_w);
        check_input(g, isa, number % 2);
        check_filter(g, isa, number % 2);
        check_both(g, isa, number % 2);
    }
    gradients_free(g);
}

void test_gradients(void) {
    rng r = {11};
    gradients g;
    check_statuses();
#ifdef UNDER_EMULATION
    enum { COUNT = 40 };
#else
    enum { COUNT = 400 };
#endif
    for (int i = 0; i < COUNT; i++)
        if (gradients_draw(&g, &r, i % 2)) check_gradients(&g, i);
    for (int i = 0; gradients_draw_shared(&g, i, &r, i % 2); i++) check_gradients(&g, COUNT + i);
    for (int rung = 0; rung < dwconv_isa_count(); rung++)
        if (dwconv_isa_available(dwconv_isa_name(rung))) check_activations(dwconv_isa_name(rung), &r);
}
