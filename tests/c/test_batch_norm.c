/* Batch normalization beside its plain loops, between guard pages, without a single allocation, on one to three workers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/dwconv_gradient.h"
#include "allocator.h"
#include "check.h"
#include "guarded.h"
#include "problem.h"
#include "suites.h"

/* Tensors of one shape, and what belongs to channels: gamma, beta, mean, variance, gradients of gamma and beta. */
typedef struct norm {
    dwconv_batch_norm_desc desc;
    int64_t shape[4];
    size_t count;
    guarded x, dy, y, dx, of_channels[6];
    float *expected; /* y, dx, then a row for each of the last four */
} norm;

static guarded floats(size_t count, rng *r, int at_end) {
    guarded g = guarded_create(count * sizeof(float), at_end, sizeof(float));
    for (size_t i = 0; i < count; i++) ((float *)g.data)[i] = rng_float(r);
    return g;
}

static dwconv_tensor tensor_of(const norm *n, void *data) {
    return (dwconv_tensor){.data = data,
                           .batch = n->shape[0],
                           .height = n->shape[1],
                           .width = n->shape[2],
                           .channels = n->shape[3]};
}

static void draw(norm *n, rng *r, int at_end) {
    static const int channels[] = {1, 2, 3, 5, 8, 15, 16, 17, 24, 33, 40, 64, 100, 300};
    static const dwconv_activation activations[] = {
        {DWCONV_IDENTITY, 0, 0}, {DWCONV_RELU, 0, 0}, {DWCONV_RELU6, 0, 0}, {DWCONV_CLIP, -0.3f, 0.8f}};
    const int64_t sizes[4] = {rng_range(r, 1, 3), rng_range(r, 1, 40), rng_range(r, 1, 40),
                              channels[rng_range(r, 0, 13)]};
    *n = (norm){.desc = {.size = sizeof n->desc,
                         .channels = sizes[3],
                         .epsilon = 0.01f,
                         .flags = rng_range(r, 0, 1) ? DWCONV_FIXED_MOMENTS : 0,
                         .activation = activations[rng_range(r, 0, 3)]}};
    memcpy(n->shape, sizes, sizeof sizes);
    n->count = (size_t)(sizes[0] * sizes[1] * sizes[2] * sizes[3]);
    guarded *const of_pixels[4] = {&n->x, &n->dy, &n->y, &n->dx};
    for (int i = 0; i < 4; i++) *of_pixels[i] = floats(n->count, r, at_end);
    guarded_make_read_only(&n->x);
    guarded_make_read_only(&n->dy);
    for (int i = 0; i < 6; i++) n->of_channels[i] = floats((size_t)sizes[3], r, at_end);
    float *variance = n->of_channels[3].data;
    for (int64_t c = 0; c < sizes[3]; c++) variance[c] = fabsf(variance[c]) + 0.1f;
    n->expected = malloc((2 * n->count + 4 * (size_t)sizes[3]) * sizeof(float));
}

static void destroy(norm *n) {
    guarded *const of_pixels[4] = {&n->x, &n->dy, &n->y, &n->dx};
    for (int i = 0; i < 4; i++) guarded_free(of_pixels[i]);
    for (int i = 0; i < 6; i++) guarded_free(&n->of_channels[i]);
    free(n->expected);
}

static void in_reverse(void *pool, int64_t items, dwconv_task task, void *context) {
    const int workers = *(const int *)pool;
    for (int64_t i = items; i-- > 0;) task(context, i, (int)(i % workers));
}

/* All but one in a thousand: there a value lies on the other side of the clamp. */
static int are_close(const float *a, const float *b, size_t count, double most) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) wrong += !(fabs((double)a[i] - (double)b[i]) <= most);
    return wrong <= count / 1000;
}

static void find_expected(norm *n) {
    const size_t channels = (size_t)n->shape[3], bytes = channels * sizeof(float);
    float *rows = n->expected + 2 * n->count;
    const dwconv_tensor x = tensor_of(n, n->x.data), dy = tensor_of(n, n->dy.data);
    const dwconv_tensor y = tensor_of(n, n->expected), dx = tensor_of(n, n->expected + n->count);
    memcpy(rows, n->of_channels[2].data, bytes);
    memcpy(rows + channels, n->of_channels[3].data, bytes);
    CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_reference(&n->desc, &x, n->of_channels[0].data,
                                                        n->of_channels[1].data, rows, rows + channels, &y));
    CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_gradient_reference(
                                &n->desc, &x, n->of_channels[0].data, n->of_channels[1].data, rows,
                                rows + channels, &dy, &dx, rows + 2 * channels, rows + 3 * channels));
}

static void check(norm *n, const char *isa, int at_end) {
    const size_t channels = (size_t)n->shape[3];
    const float *rows = n->expected + 2 * n->count;
    const dwconv_tensor x = tensor_of(n, n->x.data), dy = tensor_of(n, n->dy.data),
                        y = tensor_of(n, n->y.data), dx = tensor_of(n, n->dx.data);
    float *c[6];
    for (int i = 0; i < 6; i++) c[i] = n->of_channels[i].data;
    dwconv_batch_norm_desc desc = n->desc;
    desc.isa = isa;
    for (int workers = 1; workers <= 3; workers++) {
        size_t needed = 0;
        const dwconv_threads threads = {.count = workers, .run = in_reverse, .pool = &workers};
        CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_scratch(&desc, n->shape, workers, &needed));
        guarded scratch = guarded_create(needed, at_end, DWCONV_ALIGNMENT);
        memset(scratch.data, 0xff, needed); /* NaN: what scratch holds must not matter */
        const long before = allocator_calls();
        allocator_refuse(1);
        const dwconv_status forward =
            dwconv_batch_norm(&desc, &x, c[0], c[1], c[2], c[3], &y, scratch.data, needed, &threads);
        const dwconv_status backward = dwconv_batch_norm_gradient(&desc, &x, c[0], c[1], c[2], c[3], &dy, &dx,
                                                                  c[4], c[5], scratch.data, needed, &threads);
        allocator_refuse(0);
        CHECK(allocator_calls() == before);
        CHECK_STATUS(DWCONV_OK, forward);
        CHECK_STATUS(DWCONV_OK, backward);
        CHECK(guarded_slack_intact(&scratch));
        CHECK_STATUS(DWCONV_TOO_SMALL, dwconv_batch_norm(&desc, &x, c[0], c[1], c[2], c[3], &y, scratch.data,
                                                         needed - 1, &threads));
        CHECK(are_close(n->y.data, n->expected, n->count, 2e-5));
        CHECK(are_close(n->dx.data, n->expected + n->count, n->count, 1e-4));
        for (size_t row = 0; row < 4; row++)
            CHECK(are_close(c[row + 2], rows + row * channels, channels,
                            row < 2 ? 1e-5 : 1e-6 * (double)n->count / (double)channels + 1e-4));
        guarded_free(&scratch);
    }
}

static void check_statuses(void) {
    static float x[2 * 2 * 3], y[2 * 2 * 3], mean[3], variance[3];
    const int64_t sizes[4] = {1, 2, 2, 3};
    const norm n = {.shape = {1, 2, 2, 3}};
    const dwconv_tensor from = tensor_of(&n, x), to = tensor_of(&n, y);
    const dwconv_batch_norm_desc good = {.size = sizeof good, .channels = 3};
    size_t bytes = 0;
    CONTEXT("statuses");
    dwconv_batch_norm_desc d = good;
    d.size = 8;
    CHECK_STATUS(DWCONV_BAD_SIZE, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.flags = 2;
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.epsilon = -1.0f;
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.channels = 4;
    CHECK_STATUS(DWCONV_BAD_SHAPE, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.activation.kind = DWCONV_TANH;
    CHECK_STATUS(DWCONV_BAD_ACTIVATION, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.dtype = DWCONV_S8;
    CHECK_STATUS(DWCONV_BAD_DTYPE, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    d = good;
    d.isa = "none";
    CHECK_STATUS(DWCONV_NO_ISA, dwconv_batch_norm_scratch(&d, sizes, 1, &bytes));
    CHECK_STATUS(DWCONV_BAD_VALUE, dwconv_batch_norm_scratch(&good, sizes, -1, &bytes));
    CHECK_STATUS(DWCONV_OK, dwconv_batch_norm_scratch(&good, sizes, 1, &bytes));
    char *scratch = aligned_memory(bytes);
    CHECK_STATUS(DWCONV_NULL_POINTER,
                 dwconv_batch_norm(&good, &from, NULL, NULL, mean, NULL, &to, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_NULL_POINTER,
                 dwconv_batch_norm(&good, &from, NULL, NULL, mean, variance, &to, NULL, bytes, NULL));
    CHECK_STATUS(DWCONV_MISALIGNED,
                 dwconv_batch_norm(&good, &from, NULL, NULL, mean, variance, &to, scratch + 4, bytes, NULL));
    CHECK_STATUS(DWCONV_OVERLAP,
                 dwconv_batch_norm(&good, &from, NULL, NULL, mean, variance, &from, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_OVERLAP,
                 dwconv_batch_norm(&good, &from, NULL, NULL, mean, mean, &to, scratch, bytes, NULL));
    CHECK_STATUS(DWCONV_OVERLAP,
                 dwconv_batch_norm(&good, &from, y, NULL, mean, variance, &to, scratch, bytes, NULL));
    dwconv_tensor none = from, nothing = to;
    none.batch = nothing.batch = 0;
    CHECK_STATUS(DWCONV_BAD_SHAPE,
                 dwconv_batch_norm(&good, &none, NULL, NULL, mean, variance, &nothing, scratch, bytes, NULL));
    free(scratch);
}

void test_batch_norm(void) {
    for (int i = 0; i < dwconv_isa_count(); i++)
        for (uint64_t seed = 0; seed < 40; seed++) {
            const char *isa = dwconv_isa_name(i);
            const int at_end = (int)(seed % 2);
            rng r = {seed};
            norm n;
            if (!dwconv_isa_available(isa)) continue;
            draw(&n, &r, at_end);
            CONTEXT("%s seed %d", isa, (int)seed);
            find_expected(&n);
            check(&n, isa, at_end);
            destroy(&n);
        }
    check_statuses();
}
