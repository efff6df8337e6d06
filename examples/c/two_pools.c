/* Two pools of threads run one plan at the same time, and the bits are those of a single thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dwconv.h"
#include "pool.h"

enum { SIZE = 56, IN = 24, EXPANDED = 144, CALLS = 20, POOLS = 2, WORKERS = 3 };
enum { ELEMENTS = SIZE * SIZE * IN };

static float expand[IN * EXPANDED], depthwise[3 * 3 * EXPANDED], project[EXPANDED * IN];
static float in[ELEMENTS], serial[ELEMENTS];

static void fill(float *floats, int count, float scale) {
    static unsigned state = 1;
    for (int i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        floats[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
}

static dwconv_tensor image(float *data) {
    return (dwconv_tensor){.data = data, .batch = 1, .height = SIZE, .width = SIZE, .channels = IN};
}

/* Runs the plan CALLS times on a pool of its own; counts the results that differ. */
typedef struct caller {
    const dwconv_plan *plan;
    int differing;
} caller;

static dwconv_status run_on(const dwconv_plan *plan, const dwconv_threads *threads, float *out) {
    const dwconv_tensor x = image(in), y = image(out);
    const int64_t shape[4] = {1, SIZE, SIZE, IN};
    size_t bytes;
    dwconv_status status = dwconv_scratch_size(plan, shape, threads ? threads->count : 1, &bytes);
    if (status != DWCONV_OK) return status;
    void *scratch =
        aligned_alloc(DWCONV_ALIGNMENT, (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT);
    status = scratch ? dwconv_run(plan, &x, &y, scratch, bytes, threads) : DWCONV_NO_MEMORY;
    free(scratch);
    return status;
}

static void *call_repeatedly(void *argument) {
    caller *c = argument;
    pool p;
    float *out = malloc(sizeof serial);
    if (!out || pool_start(&p, WORKERS)) {
        c->differing = CALLS;
        free(out);
        return NULL;
    }
    const dwconv_threads threads = pool_threads(&p);
    for (int i = 0; i < CALLS; i++) {
        memset(out, 0xff, sizeof serial);
        c->differing +=
            run_on(c->plan, &threads, out) != DWCONV_OK || memcmp(out, serial, sizeof serial) != 0;
    }
    pool_stop(&p);
    free(out);
    return NULL;
}

int main(void) {
    fill(expand, IN * EXPANDED, 0.2f);
    fill(depthwise, 3 * 3 * EXPANDED, 0.3f);
    fill(project, EXPANDED * IN, 0.1f);
    fill(in, ELEMENTS, 1.0f);

    const dwconv_conv_desc wide = {.size = sizeof wide,
                                   .in_channels = IN,
                                   .out_channels = EXPANDED,
                                   .filter = expand,
                                   .activation = {.kind = DWCONV_RELU6}};
    const dwconv_conv_desc conv = {.size = sizeof conv,
                                   .in_channels = EXPANDED,
                                   .out_channels = EXPANDED,
                                   .groups = EXPANDED,
                                   .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                                   .filter = depthwise,
                                   .activation = {.kind = DWCONV_RELU6}};
    const dwconv_conv_desc narrow = {
        .size = sizeof narrow, .in_channels = EXPANDED, .out_channels = IN, .filter = project};
    const dwconv_desc desc = {.size = sizeof desc,
                              .expand = &wide,
                              .conv = &conv,
                              .project = &narrow,
                              .residual = DWCONV_RESIDUAL_ON};
    dwconv_plan *plan;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    if (status == DWCONV_OK) status = run_on(plan, NULL, serial);
    if (status != DWCONV_OK) {
        fprintf(stderr, "dwconv: %s\n", dwconv_status_string(status));
        return 1;
    }
    pthread_t threads[POOLS];
    caller callers[POOLS];
    int differing = 0;
    for (int i = 0; i < POOLS; i++) {
        callers[i] = (caller){.plan = plan};
        if (pthread_create(&threads[i], NULL, call_repeatedly, &callers[i])) return 1;
    }
    for (int i = 0; i < POOLS; i++) {
        pthread_join(threads[i], NULL);
        differing += callers[i].differing;
    }
    dwconv_plan_destroy(plan);
    printf("%d pools of %d threads, %d calls each: %d results differ from a single thread's\n", POOLS,
           WORKERS, CALLS, differing);
    return differing != 0;
}
