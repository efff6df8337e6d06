/* What the caches are decides how a run goes, and changes no bit of its result. */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/schedule/machine.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static const dwc_machine *made_up; /* NULL: the caches are this machine's */

dwc_machine __real_dwc_this_machine(void);
dwc_machine __wrap_dwc_this_machine(void);

dwc_machine __wrap_dwc_this_machine(void) { return made_up ? *made_up : __real_dwc_this_machine(); }

#define KB *(int64_t)1024
static const dwc_machine machines[] = {
    {.l1_sets = 64,
     .l1_ways = 8,
     .l2_bytes = 1024 KB,
     .last_bytes = 8 KB}, /* all is far: stores past the caches */
    {.l1_sets = 32,
     .l1_ways = 2,
     .l2_bytes = 256 KB,
     .last_bytes = 2048 KB}, /* lines conflict: copies, narrow tiles */
    {.l1_sets = 32, .l1_ways = 2, .l2_bytes = 256 KB, .last_bytes = 8 KB},
};
enum { MACHINES = sizeof machines / sizeof machines[0] };

/* Outputs of whole cache lines, or nearly. */
#define WINDOW(k, s) \
    .window = {.kernel_h = k, .kernel_w = k, .stride_h = s, .stride_w = s, .padding = DWCONV_SAME}
#define IMAGE(op, c, m, o)                                                                    \
    .operation = op, .batch = 2, .height = 9, .width = 15, .in_channels = c, .multiplier = m, \
    .out_channels = o
static const shape lines[] = {
    {IMAGE(DEPTHWISE, 64, 1, 0), WINDOW(3, 1), .activation = {DWCONV_RELU6, 0, 0}, .has_bias = 1},
    {IMAGE(DEPTHWISE, 64, 1, 0), WINDOW(3, 2), .activation = {DWCONV_RELU, 0, 0}},
    {IMAGE(DEPTHWISE, 64, 1, 0), WINDOW(3, 1), .activation = {DWCONV_HARD_SWISH, 0, 0}},
    {IMAGE(DEPTHWISE, 72, 1, 0), WINDOW(3, 1)},
    {IMAGE(DEPTHWISE, 128, 1, 0), WINDOW(5, 1)},
    {IMAGE(DEPTHWISE, 96, 1, 0), WINDOW(7, 1)},
    {IMAGE(DEPTHWISE, 512, 1, 0), WINDOW(3, 2), .has_bias = 1},
    {IMAGE(DEPTHWISE, 520, 1, 0), WINDOW(3, 2)},
    {IMAGE(DEPTHWISE, 32, 2, 0), WINDOW(3, 1)},
    {IMAGE(DEPTHWISE, 48, 4, 0), WINDOW(3, 2), .has_bias = 1},
    {IMAGE(CONV, 64, 0, 64), WINDOW(3, 1), .groups = 32},
    {IMAGE(POINTWISE, 64, 0, 96), WINDOW(1, 1), .activation = {DWCONV_RELU6, 0, 0}},
    {IMAGE(POINTWISE, 67, 0, 81), WINDOW(1, 1), .activation = {DWCONV_SILU, 0, 0}, .has_bias = 1},
    {IMAGE(SEPARABLE, 64, 1, 80), WINDOW(3, 1)},
};
enum { LINES = sizeof lines / sizeof lines[0] };

/* How often schedules did so. */
static struct {
    int streamed, copied, narrowed, prefetched;
} seen;

static void look_at_schedule(const problem *p, const char *isa) {
    dwconv_desc desc = p->desc;
    dwconv_plan *plan = NULL;
    desc.isa = isa;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&desc, &plan));
    if (!plan) return;
    seen.streamed += explained(plan, p->input, NULL, "streams_output") > 0;
    seen.copied += explained(plan, p->input, NULL, "copied_channels") > 0;
    seen.narrowed += explained(plan, p->input, NULL, "tile_columns") > 0;
    seen.prefetched += explained(plan, p->input, NULL, "prefetches_output") > 0;
    dwconv_plan_destroy(plan);
}

static void check_machines(const shape *s, const char *isa, rng *r) {
    problem p;
    if (!problem_create(&p, s, r)) return;
    buffer x, expected;
    buffer_create(&x, p.input, DENSE);
    buffer_fill(&x, r);
    buffer_create(&expected, p.output, DENSE);
    CONTEXT("%s %s", isa, shape_text(s));
    CHECK_STATUS(DWCONV_OK, problem_run(&p, isa, &x, &expected, NULL));
    const size_t bytes = expected.floats * sizeof(float);
    float *memory = aligned_memory(bytes + DWCONV_ALIGNMENT);
    for (int m = 0; m < MACHINES; m++) {
        made_up = &machines[m];
        look_at_schedule(&p, isa);
        for (int threads = 1; threads <= 2; threads++)
            for (int offset = 0; offset < 2; offset++) {
                const dwconv_threads workers = {.count = threads};
                buffer y = expected;
                y.tensor.data = memory + offset;
                memset(memory, 0xff, bytes + DWCONV_ALIGNMENT); /* NaN */
                CONTEXT("%s machine %d, %d threads, %d floats from a line: %s", isa, m, threads, offset,
                        shape_text(s));
                CHECK_STATUS(DWCONV_OK, problem_run(&p, isa, &x, &y, &workers));
                CHECK(memcmp(y.tensor.data, expected.memory, bytes) == 0);
            }
        made_up = NULL;
    }
    free(memory);
    buffer_free(&expected);
    buffer_free(&x);
    problem_free(&p);
}

void test_machines(void) {
    rng r = {8};
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        const shape *s;
        if (!dwconv_isa_available(isa)) continue;
        for (int i = 0; i < LINES; i++) check_machines(&lines[i], isa, &r);
        for (int i = 0; (s = grid_shape(i)) != NULL; i++) check_machines(s, isa, &r);
    }
    CONTEXT("schedules that caches decide");
    CHECK(seen.prefetched > 0);
    if (!dwconv_isa_available("avx2")) return; /* others neither copy rows nor pass the caches */
    CHECK(seen.streamed > 0 && seen.copied > 0 && seen.narrowed > 0);
}
