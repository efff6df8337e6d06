/* Plans come and go, a million times and while others run. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static float weights[4096], image[1024];

static void test_million_cycles(void) {
    enum { CYCLES = 1000000 };
    const dwconv_conv_desc conv = {
        .size = sizeof conv, .in_channels = 1, .out_channels = 1, .filter = weights};
    const dwconv_desc d = {.size = sizeof d, .conv = &conv};
    float in = 3.0f, out = 0.0f;
    const dwconv_tensor x = {.data = &in, .batch = 1, .height = 1, .width = 1, .channels = 1};
    const dwconv_tensor y = {.data = &out, .batch = 1, .height = 1, .width = 1, .channels = 1};
    const long outstanding = allocator_outstanding(), calls = allocator_calls();
    int right = 0;
    CONTEXT("a million cycles");
    weights[0] = 2.0f;
    for (int i = 0; i < CYCLES; i++) {
        dwconv_plan *plan;
        out = 0.0f;
        if (dwconv_plan_create(&d, &plan) != DWCONV_OK) continue;
        right += dwconv_run(plan, &x, &y, NULL, 0, NULL) == DWCONV_OK && out == 6.0f;
        dwconv_plan_destroy(plan);
    }
    CHECK(right == CYCLES);
    CHECK(allocator_calls() == calls + 2 * CYCLES); /* one block of memory per plan */
    CHECK(allocator_outstanding() == outstanding);
}

/* ---- creating and destroying beside a running plan ------------------------------------------ */

typedef struct runner {
    const dwconv_plan *plan;
    atomic_int *stop;
    int wrong;
} runner;

static void *run_until_stopped(void *argument) {
    enum { SIZE = 8, CHANNELS = 4 };
    runner *r = argument;
    float out[SIZE * SIZE * CHANNELS], first[SIZE * SIZE * CHANNELS];
    const dwconv_tensor x = {.data = image, .batch = 1, .height = SIZE, .width = SIZE, .channels = CHANNELS};
    const dwconv_tensor y = {.data = out, .batch = 1, .height = SIZE, .width = SIZE, .channels = CHANNELS};
    for (int i = 0; i < 100 || !atomic_load(r->stop); i++) {
        memset(out, 0xff, sizeof out);
        r->wrong += dwconv_run(r->plan, &x, &y, NULL, 0, NULL) != DWCONV_OK;
        if (i == 0) memcpy(first, out, sizeof first);
        r->wrong += memcmp(first, out, sizeof first) != 0;
    }
    return NULL;
}

static void test_creation_beside_runs(void) {
    enum { RUNNERS = 2, PLANS = 2000 };
    dwconv_conv_desc conv = {.size = sizeof conv,
                             .in_channels = 4,
                             .out_channels = 4,
                             .groups = 4,
                             .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                             .filter = weights};
    const dwconv_desc d = {.size = sizeof d, .conv = &conv};
    rng r = {6};
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) weights[i] = rng_float(&r);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) image[i] = rng_float(&r);
    CONTEXT("plans created beside running ones");
    dwconv_plan *plan;
    atomic_int stop = 0;
    pthread_t threads[RUNNERS];
    runner runners[RUNNERS];
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&d, &plan));
    if (!plan) return;
    for (int i = 0; i < RUNNERS; i++) {
        runners[i] = (runner){.plan = plan, .stop = &stop};
        if (pthread_create(&threads[i], NULL, run_until_stopped, &runners[i]) != 0) abort();
    }
    int created = 0;
    for (int i = 0; i < PLANS; i++) {
        dwconv_plan *other;
        conv.in_channels = conv.out_channels = conv.groups = 1 + i % 40;
        created += dwconv_plan_create(&d, &other) == DWCONV_OK;
        dwconv_plan_destroy(other);
    }
    atomic_store(&stop, 1);
    CHECK(created == PLANS);
    for (int i = 0; i < RUNNERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(runners[i].wrong == 0);
    }
    dwconv_plan_destroy(plan);
}

void test_lifecycle(void) {
    test_million_cycles();
    test_creation_beside_runs();
}
