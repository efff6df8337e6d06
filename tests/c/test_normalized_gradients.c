/* Gradients of a convolution and the normalization behind it have the bits of those of both, one after the other:
 * between guard pages, without a single allocation, on one to three workers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "gradient_case.h"
#include "machines.h"
#include "suites.h"

enum { GAMMA, BETA, MEAN, VARIANCE, CHANNEL_ROWS };

/* A drawn convolution, whose g.dy is the gradient of what the normalization gives. */
typedef struct normalized {
    gradients g;
    dwconv_batch_norm_desc norm;
    guarded between, of_channels[CHANNEL_ROWS];
} normalized;

/* dx, the gradients of filter, bias, gamma and beta, one after the other. */
typedef struct results {
    size_t dx, filter, channels, all; /* floats */
    guarded memory;
    float *at[5];
} results;

static results make_results(const normalized *n, int at_end) {
    results r = {.dx = gradients_count(n->g.input),
                 .filter = n->g.filter_floats,
                 .channels = (size_t)n->g.desc.out_channels};
    r.all = r.dx + r.filter + 3 * r.channels;
    r.memory = guarded_create(r.all * sizeof(float), at_end, sizeof(float));
    memset(r.memory.data, 0, r.all * sizeof(float));
    r.at[0] = r.memory.data;
    r.at[1] = r.at[0] + r.dx;
    for (int i = 2; i < 5; i++) r.at[i] = r.at[1] + r.filter + (size_t)(i - 2) * r.channels;
    return r;
}

static void draw_norm(normalized *n, rng *r, int at_end) {
    static const dwconv_activation activations[] = {
        {DWCONV_IDENTITY, 0, 0}, {DWCONV_RELU, 0, 0}, {DWCONV_RELU6, 0, 0}, {DWCONV_CLIP, -0.3f, 0.8f}};
    const size_t channels = (size_t)n->g.desc.out_channels;
    n->norm = (dwconv_batch_norm_desc){.size = sizeof n->norm,
                                       .channels = n->g.desc.out_channels,
                                       .epsilon = 0.01f,
                                       .flags = rng_range(r, 0, 2) ? 0 : DWCONV_FIXED_MOMENTS,
                                       .activation = activations[rng_range(r, 0, 3)]};
    n->between = gradients_floats(gradients_count(n->g.output), r, at_end);
    for (int i = 0; i < CHANNEL_ROWS; i++) {
        n->of_channels[i] = guarded_create(channels * sizeof(float), at_end, sizeof(float));
        float *row = n->of_channels[i].data;
        for (size_t c = 0; c < channels; c++)
            row[c] = i == VARIANCE ? fabsf(rng_float(r)) + 0.1f : rng_float(r);
        guarded_make_read_only(&n->of_channels[i]);
    }
}

static void destroy(normalized *n) {
    gradients_free(&n->g);
    guarded_free(&n->between);
    for (int i = 0; i < CHANNEL_ROWS; i++) guarded_free(&n->of_channels[i]);
}

/* By one function after the other, on one worker. */
static void run_apart(const normalized *n, const char *isa, int with_dx, int with_bias, results *r) {
    dwconv_gradient_desc desc = n->g.desc;
    dwconv_batch_norm_desc norm = n->norm;
    size_t sizes[3], needed = 0;
    desc.isa = norm.isa = isa;
    CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_scratch(&norm, n->g.output, 1, &sizes[0]));
    CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient_scratch(&desc, n->g.input, 1, &sizes[1]));
    CHECK_STATUS(DWCONV_OK, dwconv_input_gradient_scratch(&desc, n->g.input, 1, &sizes[2]));
    for (int i = 0; i < 3; i++) needed = sizes[i] > needed ? sizes[i] : needed;
    void *scratch = aligned_memory(needed);
    float *made = malloc(gradients_count(n->g.output) * sizeof *made);
    const dwconv_tensor x = gradients_tensor(n->g.input, n->g.x.data),
                        dy = gradients_tensor(n->g.output, n->g.dy.data),
                        between = gradients_tensor(n->g.output, n->between.data),
                        slope = gradients_tensor(n->g.output, made),
                        dx = gradients_tensor(n->g.input, r->at[0]);
    CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_gradient(&norm, &between, n->of_channels[GAMMA].data,
                                                       n->of_channels[BETA].data, n->of_channels[MEAN].data,
                                                       n->of_channels[VARIANCE].data, &dy, &slope, r->at[3],
                                                       r->at[4], scratch, needed, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_filter_gradient(&desc, &x, &slope, r->at[1], with_bias ? r->at[2] : NULL,
                                                   scratch, needed, NULL));
    if (with_dx)
        CHECK_STATUS(DWCONV_OK,
                     dwconv_input_gradient(&desc, n->g.filter.data, &slope, &dx, scratch, needed, NULL));
    free(made);
    free(scratch);
}

/* The same floats in pixels that are `gap` floats apart. */
static dwconv_tensor spread(const int64_t dims[4], const float *from, int64_t gap, float *to) {
    dwconv_tensor t = gradients_tensor(dims, to);
    t.pixel_stride = dims[3] + gap;
    t.row_stride = dims[2] * t.pixel_stride + gap;
    t.image_stride = dims[1] * t.row_stride + gap;
    for (int64_t image = 0; image < dims[0]; image++)
        for (int64_t row = 0; row < dims[1]; row++)
            for (int64_t column = 0; column < dims[2]; column++, from += dims[3])
                memcpy(to + image * t.image_stride + row * t.row_stride + column * t.pixel_stride, from,
                       (size_t)dims[3] * sizeof *to);
    return t;
}

static float *room_for(const int64_t dims[4], int64_t gap) {
    const int64_t pixel = dims[3] + gap, row = dims[2] * pixel + gap, image = dims[1] * row + gap;
    return malloc((size_t)(dims[0] * image) * sizeof(float));
}

static void check(const normalized *n, const char *isa, int at_end, int with_dx, int with_bias, int64_t gap) {
    dwconv_gradient_desc desc = n->g.desc;
    dwconv_batch_norm_desc norm = n->norm;
    results expected = make_results(n, at_end), found = make_results(n, at_end);
    float *rooms[2] = {room_for(n->g.output, gap), room_for(n->g.output, gap)};
    const dwconv_tensor x = gradients_tensor(n->g.input, n->g.x.data),
                        dx = gradients_tensor(n->g.input, found.at[0]);
    dwconv_tensor dy = gradients_tensor(n->g.output, n->g.dy.data),
                  between = gradients_tensor(n->g.output, n->between.data);
    if (gap) {
        dy = spread(n->g.output, n->g.dy.data, gap, rooms[0]);
        between = spread(n->g.output, n->between.data, gap, rooms[1]);
    }
    run_apart(n, isa, with_dx, with_bias, &expected);
    desc.isa = norm.isa = isa;
    const dwconv_normalization_desc given = {.size = sizeof given,
                                             .desc = &norm,
                                             .x = &between,
                                             .gamma = n->of_channels[GAMMA].data,
                                             .beta = n->of_channels[BETA].data,
                                             .mean = n->of_channels[MEAN].data,
                                             .variance = n->of_channels[VARIANCE].data,
                                             .dgamma = found.at[3],
                                             .dbeta = found.at[4]};
    for (int workers = 1; workers <= 3; workers++) {
        size_t needed = 0;
        const dwconv_threads threads = {.count = workers, .run = gradients_in_reverse, .pool = &workers};
        CHECK_STATUS(DWCONV_OK, dwconv_normalized_gradients_scratch(&desc, n->g.input, workers, &needed));
        guarded scratch = guarded_create(needed, at_end, DWCONV_ALIGNMENT);
        memset(scratch.data, 0xff, needed); /* NaN: what scratch holds must not matter */
        const long before = allocator_calls();
        allocator_refuse(1);
        const dwconv_status status = dwconv_normalized_gradients(
            &desc, n->g.filter.data, &x, &given, &dy, with_dx ? &dx : NULL, found.at[1],
            with_bias ? found.at[2] : NULL, scratch.data, needed, &threads);
        allocator_refuse(0);
        CHECK(allocator_calls() == before);
        CHECK_STATUS(DWCONV_OK, status);
        CHECK(guarded_slack_intact(&scratch));
        CHECK(memcmp(found.memory.data, expected.memory.data, found.all * sizeof(float)) == 0);
        memset(found.memory.data, 0, found.all * sizeof(float));
        guarded_free(&scratch);
    }
    free(rooms[0]);
    free(rooms[1]);
    guarded_free(&expected.memory);
    guarded_free(&found.memory);
}

static void check_all(normalized *n, int number, rng *r) {
    static const dwc_machine tiny = {.l1_sets = 64, .l1_ways = 8, .l2_bytes = 8192, .last_bytes = 65536};
    const dwconv_window *w = &n->g.desc.window;
    made_up = number % 3 ? &tiny : NULL; /* with caches that bands of many rows do not fit into */
    draw_norm(n, r, number % 2);
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        const int with_dx = number / 2 % 3 > 0, with_bias = number / 6 % 2, gap = number % 5 == 4 ? 3 : 0;
        CONTEXT(
            "%s number %d: %dx%dx%dx%d to %d channels, %d groups, kernel %dx%d stride %d %d dilation %d "
            "%d pad %d %d, dx %d bias %d gap %d",
            isa, number, (int)n->g.input[0], (int)n->g.input[1], (int)n->g.input[2], (int)n->g.input[3],
            (int)n->g.output[3], (int)n->g.desc.groups, (int)w->kernel_h, (int)w->kernel_w, (int)w->stride_h,
            (int)w->stride_w, (int)w->dilation_h, (int)w->dilation_w, (int)w->pad_top, (int)w->pad_left,
            with_dx, with_bias, gap);
        check(n, isa, number % 2, with_dx, with_bias, gap);
    }
    made_up = NULL;
    destroy(n);
}

/* ---- statuses ------------------------------------------------------------------------------- */

static void check_statuses(void) {
    static float x[4 * 4 * 2], dy[4 * 4 * 2], dx[4 * 4 * 2], y[4 * 4 * 2], filter[2], dw[2], rows[6][2];
    const int64_t dims[4] = {1, 4, 4, 2};
    const dwconv_tensor from = gradients_tensor(dims, x), of = gradients_tensor(dims, dy),
                        to = gradients_tensor(dims, dx), read = gradients_tensor(dims, y);
    const dwconv_gradient_desc conv = {.size = sizeof conv,
                                       .in_channels = 2,
                                       .out_channels = 2,
                                       .groups = 2,
                                       .window = {.kernel_h = 1, .kernel_w = 1}};
    const dwconv_batch_norm_desc desc = {.size = sizeof desc, .channels = 2},
                                 wide = {sizeof wide, .channels = 3};
    const dwconv_normalization_desc good = {.size = sizeof good,
                                            .desc = &desc,
                                            .x = &read,
                                            .gamma = rows[0],
                                            .beta = rows[1],
                                            .mean = rows[2],
                                            .variance = rows[3],
                                            .dgamma = rows[4],
                                            .dbeta = rows[5]};
    size_t bytes = 0;
    CONTEXT("statuses");
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_normalized_gradients_scratch(&conv, dims, -1, &bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, dwconv_normalized_gradients_scratch(&conv, dims, 1, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_normalized_gradients_scratch(&conv, dims, 1, &bytes));
    void *scratch = aligned_memory(bytes);
#define RUN(normalization, to_dx, to_filter, size)                                                         \
    dwconv_normalized_gradients(&conv, filter, &from, normalization, &of, to_dx, to_filter, NULL, scratch, \
                                size, NULL)
    CHECK_STATUS(DWCONV_OK, RUN(&good, &to, dw, bytes));
    CHECK_STATUS(DWCONV_OK, RUN(&good, NULL, dw, bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(NULL, &to, dw, bytes));
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(&good, &to, NULL, bytes));
    CHECK_STATUS(DWCONV_TOO_SMALL, RUN(&good, &to, dw, bytes / 2));
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&good, &read, dw, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&good, &of, dw, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&good, &to, y, bytes));
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&good, &to, rows[4], bytes));
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&good, &to, rows[2], bytes));
    dwconv_normalization_desc n = good;
    n.size = 8;
    CHECK_STATUS(DWCONV_BAD_SIZE, RUN(&n, &to, dw, bytes));
    n = good;
    n.desc = NULL;
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(&n, &to, dw, bytes));
    n = good;
    n.x = NULL;
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(&n, &to, dw, bytes));
    n = good;
    n.desc = &wide;
    CHECK_STATUS(DWCONV_BAD_SHAPE, RUN(&n, &to, dw, bytes));
    n = good;
    n.mean = NULL;
    CHECK_STATUS(DWCONV_NULL_POINTER, RUN(&n, &to, dw, bytes));
    n = good;
    n.dgamma = dx;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&n, &to, dw, bytes));
    n = good;
    n.mean = dx;
    CHECK_STATUS(DWCONV_OVERLAP, RUN(&n, &to, dw, bytes));
#undef RUN
    free(scratch);
}

void test_normalized_gradients(void) {
    rng r = {12};
    normalized n;
    check_statuses();
#ifdef UNDER_EMULATION
    enum { COUNT = 40 };
#else
    enum { COUNT = 400 };
#endif
    for (int i = 0; i < COUNT; i++)
        if (gradients_draw(&n.g, &r, i % 2)) check_all(&n, i, &r);
    for (int i = 0; gradients_draw_shared(&n.g, i, &r, i % 2); i++) check_all(&n, COUNT + i, &r);
}
