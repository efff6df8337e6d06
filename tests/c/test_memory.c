/* No byte outside tensors, plan memory and scratch is touched, and running allocates nothing. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "allocator.h"
#include "check.h"
#include "guarded.h"
#include "problem.h"
#include "suites.h"

/* ---- guard pages --------------------------------------------------------------------------- */

static dwconv_tensor dense_tensor(const int64_t dims[4], void *data) {
    return (dwconv_tensor){
        .data = data, .batch = dims[0], .height = dims[1], .width = dims[2], .channels = dims[3]};
}

static size_t dense_bytes(const int64_t dims[4]) {
    return (size_t)(dims[0] * dims[1] * dims[2] * dims[3]) * sizeof(float);
}

static void check_guarded(const problem *p, rng *r, const char *isa, int at_end) {
    buffer source, result;
    expectation expected;
    buffer_create(&source, p->input, DENSE);
    buffer_fill(&source, r);
    buffer_create(&result, p->output, DENSE);
    expectation_create(&expected, p, &source);
    guarded x = guarded_create(dense_bytes(p->input), at_end, sizeof(float));
    guarded y = guarded_create(dense_bytes(p->output), at_end, sizeof(float));
    memcpy(x.data, source.memory, dense_bytes(p->input));
    guarded_make_read_only(&x);

    dwconv_desc desc = p->desc;
    desc.isa = isa;
    size_t plan_bytes = 0, scratch_bytes = 0;
    dwconv_plan *plan = NULL;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_size(&desc, &plan_bytes));
    guarded memory = guarded_create(plan_bytes, at_end, DWCONV_ALIGNMENT);
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create_in(&desc, memory.data, plan_bytes, &plan));
    if (plan) {
        CHECK(dwconv_plan_bytes(plan) <= plan_bytes);
        CHECK(strcmp(dwconv_plan_isa(plan), isa) == 0);
        CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p->input, 1, &scratch_bytes));
        guarded scratch = guarded_create(scratch_bytes, at_end, DWCONV_ALIGNMENT);
        CHECK(guarded_slack_intact(&memory));
        guarded_make_read_only(&memory); /* a plan never changes after creation */
        const dwconv_tensor in = dense_tensor(p->input, x.data), out = dense_tensor(p->output, y.data);
        memset(scratch.data, 0xff, scratch_bytes); /* NaN: what scratch holds must not matter */
        CHECK_STATUS(DWCONV_OK,
                     dwconv_run(plan, &in, &out, scratch_bytes ? scratch.data : NULL, scratch_bytes, NULL));
        CHECK(guarded_slack_intact(&scratch));
        memcpy(result.memory, y.data, dense_bytes(p->output));
        char message[200] = "";
        const int met = expectation_met(&expected, &result.tensor, message, sizeof message);
        CHECK(met);
        if (!met) printf("  %s\n", message);
        dwconv_plan_destroy(plan);
        guarded_free(&scratch);
    }
    guarded_free(&memory);
    guarded_free(&x);
    guarded_free(&y);
    expectation_free(&expected);
    buffer_free(&source);
    buffer_free(&result);
}

void test_guard_pages(void) {
    rng r = {3};
    const shape *s;
    for (int i = 0; (s = grid_shape(i)) != NULL; i++) {
        problem p;
        if (!problem_create(&p, s, &r)) continue;
        for (int rung = 0; rung < dwconv_isa_count(); rung++)
            for (int at_end = 0; at_end < 2 && dwconv_isa_available(dwconv_isa_name(rung)); at_end++) {
                const char *isa = dwconv_isa_name(rung);
                CONTEXT("%s at_end %d %s", isa, at_end, shape_text(s));
                check_guarded(&p, &r, isa, at_end);
            }
        problem_free(&p);
    }
}

/* Rows of few channels are read as one vector: widths around those of vectors and strips, against a guard page. */
void test_few_channels(void) {
    static const int kernels[][2] = {{3, 3}, {5, 5}, {1, 7}, {2, 4}, {4, 1}, {7, 7}};
    rng r = {5};
    for (int channels = 1; channels <= 15; channels++) {
        for (int width = 1; width <= (channels < 5 ? 130 : 20); width += width < 36 ? 1 : 7) {
            const int number = channels + width, *kernel = kernels[number % 6];
            shape s = {.operation = DEPTHWISE,
                       .batch = 1 + number % 2,
                       .height = 1 + number % 5,
                       .width = width,
                       .in_channels = channels,
                       .multiplier = 1,
                       .window = {.kernel_h = kernel[0],
                                  .kernel_w = kernel[1],
                                  .stride_h = 1,
                                  .stride_w = 1,
                                  .dilation_h = 1 + number % 7 / 5,
                                  .dilation_w = 1 + number % 11 / 8,
                                  .padding = number % 3 ? DWCONV_SAME : DWCONV_EXPLICIT,
                                  .pad_left = number % 3 ? 0 : number % 9,
                                  .pad_right = number % 3 ? 0 : number % 4,
                                  .pad_top = number % 3 ? 0 : number % 5,
                                  .pad_bottom = number % 3 ? 0 : 3},
                       .activation = {number % 4 ? DWCONV_RELU6 : DWCONV_SILU, 0, 0},
                       .has_bias = number % 2};
            problem p;
            if (!problem_create(&p, &s, &r)) continue;
            for (int rung = 0; rung < dwconv_isa_count(); rung++) {
                const char *isa = dwconv_isa_name(rung);
                if (!dwconv_isa_available(isa)) continue;
                CONTEXT("%s %s", isa, shape_text(&s));
                check_guarded(&p, &r, isa, width % 2);
            }
            problem_free(&p);
        }
    }
}

/* ---- allocation: allocator.c counts it, and the kernel forbids what memory is made of ------- */

static void in_order(void *pool, int64_t items, dwconv_task task, void *context) {
    (void)pool;
    for (int64_t i = 0; i < items; i++) task(context, i, (int)(i % 2));
}

/* Everything that a run needs, made beforehand. */
typedef struct prepared {
    dwconv_plan *plan;
    buffer x, y;
    void *scratch;
    size_t scratch_bytes;
} prepared;

static void prepare(prepared *run, const problem *p, const char *isa, rng *r) {
    dwconv_desc desc = p->desc;
    desc.isa = isa;
    buffer_create(&run->x, p->input, DENSE);
    buffer_fill(&run->x, r);
    buffer_create(&run->y, p->output, DENSE);
    const long before = allocator_calls();
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&desc, &run->plan));
    CHECK(allocator_calls() > before); /* the counter sees the core */
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(run->plan, p->input, 2, &run->scratch_bytes));
    run->scratch = aligned_memory(run->scratch_bytes);
}

static void discard(prepared *run) {
    dwconv_plan_destroy(run->plan);
    free(run->scratch);
    buffer_free(&run->x);
    buffer_free(&run->y);
}

/* On the calling thread, then as two workers of a caller's pool. */
static dwconv_status run_twice(const prepared *run) {
    const dwconv_threads own_threads = {.count = 2, .run = in_order};
    const dwconv_status status =
        dwconv_run(run->plan, &run->x.tensor, &run->y.tensor, run->scratch, run->scratch_bytes, NULL);
    return status != DWCONV_OK ? status
                               : dwconv_run(run->plan, &run->x.tensor, &run->y.tensor, run->scratch,
                                            run->scratch_bytes, &own_threads);
}

/* In a child that may do nothing but write and exit: asking the system for memory, a lock or a thread kills it. The
 * status that it saw, or -1; -2 where there is no seccomp (emulators). */
static int run_confined(const prepared *run) {
#if defined(__linux__) && !defined(__SANITIZE_THREAD__)
    int pipe_ends[2], seen = -1;
    if (pipe(pipe_ends) != 0) return -2;
    const pid_t child = fork();
    if (child == 0) {
        int status = -2;
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) status = (int)run_twice(run);
        const ssize_t written = write(pipe_ends[1], &status, sizeof status);
        syscall(SYS_exit, written != (ssize_t)sizeof status);
    }
    close(pipe_ends[1]);
    if (child < 0 || read(pipe_ends[0], &seen, sizeof seen) != (ssize_t)sizeof seen) seen = -1;
    close(pipe_ends[0]);
    waitpid(child, NULL, 0);
    return seen;
#else
    (void)run;
    return -2;
#endif
}

void test_allocation(void) {
    rng r = {4};
    const shape *s;
    int confined = 0;
    for (int i = 0; (s = grid_shape(i)) != NULL; i++) {
        problem p;
        if (!problem_create(&p, s, &r)) continue;
        for (int rung = 0; rung < dwconv_isa_count(); rung++) {
            const char *isa = dwconv_isa_name(rung);
            if (!dwconv_isa_available(isa)) continue;
            CONTEXT("%s %s", isa, shape_text(s));
            prepared run = {0};
            prepare(&run, &p, isa, &r);
            const long before = allocator_calls();
            allocator_refuse(1);
            const dwconv_status status = run_twice(&run);
            allocator_refuse(0);
            CHECK(allocator_calls() == before);
            CHECK_STATUS(DWCONV_OK, status);
            const int seen = run_confined(&run);
            CHECK(seen == DWCONV_OK || seen == -2);
            confined += seen == DWCONV_OK;
            discard(&run);
        }
        problem_free(&p);
    }
    printf("%-12s %d runs without a single system call\n", "", confined);
}
