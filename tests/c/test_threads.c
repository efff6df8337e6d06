/* The same bits whoever does the work, in whatever order, for every batch size and layout. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "problem.h"
#include "suites.h"

/* ---- a hostile pool: its own threads take the items from the last to the first -------------- */

typedef struct hostile_pool {
    int workers;
    atomic_llong left;
    dwconv_task task;
    void *context;
    int calls; /* of parallel_for */
} hostile_pool;

typedef struct worker {
    hostile_pool *pool;
    int index;
} worker;

static void *work(void *argument) {
    const worker *w = argument;
    long long item;
    while ((item = atomic_fetch_sub(&w->pool->left, 1) - 1) >= 0)
        w->pool->task(w->pool->context, item, w->index);
    return NULL;
}

static void hostile_for(void *pool, int64_t items, dwconv_task task, void *context) {
    hostile_pool *p = pool;
    pthread_t threads[8];
    worker workers[8];
    p->left = items;
    p->task = task;
    p->context = context;
    p->calls++;
    CHECK(items >= 1);
    for (int i = 0; i < p->workers; i++) {
        workers[i] = (worker){p, p->workers - 1 - i};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) abort();
    }
    for (int i = 0; i < p->workers; i++) pthread_join(threads[i], NULL);
}

/* Serial, but as the last of the workers: its share of the scratch must exist. */
static void last_worker_for(void *pool, int64_t items, dwconv_task task, void *context) {
    const int *count = pool;
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, *count - 1);
}

/* ---- one shape ----------------------------------------------------------------------------- */

static int pool_calls;

static void check_same_bits(const problem *p, const char *isa, const buffer *x, const buffer *serial,
                            layout how, const dwconv_threads *threads) {
    buffer y;
    buffer_create(&y, p->output, how);
    CHECK_STATUS(DWCONV_OK, problem_run(p, isa, x, &y, threads));
    CHECK(buffer_same_bits(serial, &y));
    CHECK(buffer_gaps_intact(&y));
    buffer_free(&y);
}

static void check_thread_counts(const problem *p, const char *isa, const buffer *x, const buffer *serial) {
    for (int count = 1; count <= 3; count++) {
        const dwconv_threads own = {.count = count};
        check_same_bits(p, isa, x, serial, DENSE, &own);
        hostile_pool pool = {.workers = count};
        const dwconv_threads hostile = {.count = count, .run = hostile_for, .pool = &pool};
        check_same_bits(p, isa, x, serial, ALL_GAPS, &hostile);
        /* one parallel region per call, or two for each image */
        CHECK(pool.calls <= (p->desc.project ? 2 * p->input[0] : 1) || pool.calls == 1);
        pool_calls += pool.calls;
        const dwconv_threads last = {.count = count, .run = last_worker_for, .pool = &count};
        check_same_bits(p, isa, x, serial, DENSE, &last);
    }
}

static void check_layouts(const problem *p, const char *isa, const buffer *x, const buffer *serial) {
    for (int how = 0; how < LAYOUT_COUNT; how++) {
        buffer moved;
        buffer_create(&moved, p->input, (layout)how);
        buffer_copy(&moved, x);
        check_same_bits(p, isa, &moved, serial, (layout)((how + 3) % LAYOUT_COUNT), NULL);
        buffer_free(&moved);
    }
}

/* Image after image with the same plan parameters gives the bits of the whole batch. */
static void check_batch(const problem *p, const char *isa, const buffer *x, const buffer *serial) {
    problem one = *p;
    one.input[0] = one.output[0] = one.shape.batch = 1;
    for (int64_t n = 0; n < p->input[0]; n++) {
        buffer image = *x, expected = *serial;
        image.tensor.batch = expected.tensor.batch = 1;
        image.tensor.data = tensor_at(&x->tensor, n, 0, 0, 0);
        expected.tensor.data = tensor_at(&serial->tensor, n, 0, 0, 0);
        check_same_bits(&one, isa, &image, &expected, DENSE, NULL);
    }
}

static void counting_for(void *pool, int64_t items, dwconv_task task, void *context) {
    *(int64_t *)pool += items;
    for (int64_t i = 0; i < items; i++) task(context, i, 0);
}

/* A single item is not handed out. */
static int64_t more_than_one(int64_t items) { return items > 1 ? items : 0; }

/* What dwconv_explain tells is what a pool is handed. */
static void check_explanation(const problem *p, const char *isa, const buffer *x) {
    for (int count = 1; count <= 3; count++) {
        int64_t handed = 0;
        const dwconv_threads threads = {.count = count, .run = counting_for, .pool = &handed};
        dwconv_desc desc = p->desc;
        dwconv_plan *plan = NULL;
        buffer y;
        desc.isa = isa;
        buffer_create(&y, p->output, DENSE);
        CHECK_STATUS(DWCONV_OK, problem_run(p, isa, x, &y, &threads));
        CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&desc, &plan));
#define TOLD(key) explained(plan, p->input, &threads, key)
        const int64_t images = TOLD("images"), items = TOLD("items"), parts = TOLD("second_pass_parts");
        const int64_t whole_images = TOLD("workers_per_image") == 1;
        const int64_t expected = TOLD("passes") < 2 ? more_than_one(items)
                                 : whole_images
                                     ? more_than_one(images)
                                     : images * (more_than_one(items / images) + more_than_one(parts));
        CHECK(handed == (TOLD("workers") > 1 ? expected : 0));
        if (images > 0) {
            CHECK(items % images == 0);
            CHECK(TOLD("channel_blocks") * TOLD("block_channels") >= p->desc.conv->out_channels);
            CHECK(images * TOLD("strips") * TOLD("strip_rows") * TOLD("row_pixels") >=
                  p->output[0] * p->output[1] * p->output[2]);
            CHECK(parts < 0 || parts * TOLD("part_pixels") >= p->output[1] * p->output[2]);
        }
        dwconv_plan_destroy(plan);
        buffer_free(&y);
    }
}

/* ---- one plan, many threads at once --------------------------------------------------------- */

typedef struct caller {
    const dwconv_plan *plan;
    const problem *p;
    const buffer *x;
    buffer y;
    dwconv_status status;
} caller;

static void *call_repeatedly(void *argument) {
    caller *c = argument;
    size_t bytes = 0;
    c->status = dwconv_scratch_size(c->plan, c->p->input, 1, &bytes);
    void *scratch = aligned_memory(bytes);
    for (int i = 0; i < 5 && c->status == DWCONV_OK; i++)
        c->status = dwconv_run(c->plan, &c->x->tensor, &c->y.tensor, scratch, bytes, NULL);
    free(scratch);
    return NULL;
}

static void check_concurrent_callers(const problem *p, const char *isa, const buffer *x,
                                     const buffer *serial) {
    enum { CALLERS = 3 };
    pthread_t threads[CALLERS];
    caller callers[CALLERS];
    dwconv_plan *plan = NULL;
    dwconv_desc desc = p->desc;
    desc.isa = isa;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&desc, &plan));
    if (!plan) return;
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.plan = plan, .p = p, .x = x};
        buffer_create(&callers[i].y, p->output, DENSE);
        if (pthread_create(&threads[i], NULL, call_repeatedly, &callers[i]) != 0) abort();
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_STATUS(DWCONV_OK, callers[i].status);
        CHECK(buffer_same_bits(serial, &callers[i].y));
        buffer_free(&callers[i].y);
    }
    dwconv_plan_destroy(plan);
}

static void check_shape(const shape *s, rng *r) {
    problem p;
    if (!problem_create(&p, s, r)) return;
    buffer x, serial;
    buffer_create(&x, p.input, DENSE);
    buffer_fill(&x, r);
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        CONTEXT("%s %s", isa, shape_text(s));
        buffer_create(&serial, p.output, DENSE);
        CHECK_STATUS(DWCONV_OK, problem_run(&p, isa, &x, &serial, NULL));
        check_thread_counts(&p, isa, &x, &serial);
        check_explanation(&p, isa, &x);
        check_layouts(&p, isa, &x, &serial);
        check_batch(&p, isa, &x, &serial);
        check_concurrent_callers(&p, isa, &x, &serial);
        buffer_free(&serial);
    }
    buffer_free(&x);
    problem_free(&p);
}

/* Large enough that the cost model wakes threads; the grid is mostly below that. */
#define WINDOW(k, s, d) \
    {.kernel_h = k,     \
     .kernel_w = k,     \
     .stride_h = s,     \
     .stride_w = s,     \
     .dilation_h = d,   \
     .dilation_w = d,   \
     .padding = DWCONV_SAME}
#define SIZES(op, n, h, w, c, m, o)                                                          \
    .operation = op, .batch = n, .height = h, .width = w, .in_channels = c, .multiplier = m, \
    .out_channels = o, .has_bias = 1
static const shape large_shapes[] = {
    {SIZES(DEPTHWISE, 2, 61, 57, 130, 1, 0), .window = WINDOW(3, 1, 1), .activation = {DWCONV_RELU6, 0, 0}},
    {SIZES(DEPTHWISE, 1, 60, 40, 48, 2, 0), .window = WINDOW(5, 2, 2), .activation = {DWCONV_SILU, 0, 0}},
    {SIZES(POINTWISE, 1, 40, 41, 96, 0, 100), .window = WINDOW(1, 1, 1), .activation = {DWCONV_RELU, 0, 0}},
    {SIZES(CONV, 1, 40, 41, 24, 0, 50), .groups = 2, .window = WINDOW(3, 1, 1),
     .activation = {DWCONV_TANH, 0, 0}},
    {SIZES(SEPARABLE, 1, 50, 51, 33, 1, 65), .window = WINDOW(3, 1, 1), .activation = {DWCONV_RELU6, 0, 0}},
    /* small images: by rows, and by channels where rows are few or would be expanded twice */
    {SIZES(SEPARABLE, 1, 12, 13, 150, 1, 161), .window = WINDOW(3, 1, 1), .activation = {DWCONV_RELU, 0, 0}},
    {SIZES(SEPARABLE, 1, 3, 39, 150, 1, 161), .window = WINDOW(3, 1, 1), .activation = {DWCONV_RELU, 0, 0}},
    {SIZES(INVERTED_RESIDUAL, 2, 30, 31, 24, 1, 24), .expanded = 144, .window = WINDOW(3, 1, 1),
     .activation = {DWCONV_RELU6, 0, 0}},
    {SIZES(INVERTED_RESIDUAL, 3, 7, 9, 48, 1, 48), .expanded = 301, .window = WINDOW(5, 1, 1),
     .activation = {DWCONV_HARD_SWISH, 0, 0}},
    /* squeeze-and-excite: by channels, by rows, with a multiplier, without an expansion */
    {SIZES(INVERTED_RESIDUAL, 2, 15, 14, 40, 1, 50), .expanded = 333, .squeezed = 30,
     .window = WINDOW(5, 1, 1), .activation = {DWCONV_RELU, 0, 0}, .gate = {DWCONV_HARD_SIGMOID, 0, 0}},
    {SIZES(INVERTED_RESIDUAL, 1, 59, 60, 16, 1, 24), .expanded = 90, .squeezed = 12,
     .window = WINDOW(3, 2, 1), .activation = {DWCONV_SILU, 0, 0}, .gate = {DWCONV_SIGMOID, 0, 0}},
    {SIZES(INVERTED_RESIDUAL, 1, 31, 33, 40, 2, 80), .squeezed = 9, .window = WINDOW(3, 1, 2),
     .activation = {DWCONV_RELU6, 0, 0}, .gate = {DWCONV_SIGMOID, 0, 0}},
};

/* Sequences of few channels go as rows of vectors, which hold more than whole pixels, in strips, the last of a single pixel: what
 * a vector has beyond its strip is not stored, or else it would replace what the worker of the next strip has finished. */
static void check_strips_of_sequences(rng *r) {
    enum { WORKERS = 63 };
    const shape rows[] = {{SIZES(DEPTHWISE, 1, 1, 4501, 3, 1, 0), .activation = {DWCONV_TANH, 0, 0}},
                          {SIZES(DEPTHWISE, 1, 4501, 1, 3, 1, 0), .activation = {DWCONV_TANH, 0, 0}}};
    for (int i = 0; i < 2; i++) {
        shape s = rows[i];
        s.window = (dwconv_window)WINDOW(1, 1, 1);
        *(i ? &s.window.kernel_h : &s.window.kernel_w) = 31;
        problem p;
        if (!problem_create(&p, &s, r)) abort();
        buffer x, serial;
        buffer_create(&x, p.input, DENSE);
        buffer_fill(&x, r);
        for (int rung = 0; rung < dwconv_isa_count(); rung++) {
            const char *isa = dwconv_isa_name(rung);
            if (!dwconv_isa_available(isa)) continue;
            CONTEXT("%s strips of a sequence", isa);
            buffer_create(&serial, p.output, DENSE);
            CHECK_STATUS(DWCONV_OK, problem_run(&p, isa, &x, &serial, NULL));
            for (int workers = 2; workers <= WORKERS; workers += WORKERS - 2) {
                const dwconv_threads last = {.count = workers, .run = last_worker_for, .pool = &workers};
                check_same_bits(&p, isa, &x, &serial, DENSE, &last);
            }
            buffer_free(&serial);
        }
        buffer_free(&x);
        problem_free(&p);
    }
}

void test_threads(void) {
    rng r = {5};
    const shape *s;
    check_strips_of_sequences(&r);
    for (int i = 0; (s = grid_shape(i)) != NULL; i++) check_shape(s, &r);
    pool_calls = 0;
    for (size_t i = 0; i < sizeof large_shapes / sizeof large_shapes[0]; i++)
        check_shape(&large_shapes[i], &r);
    CONTEXT("large shapes");
    CHECK(pool_calls > 0); /* else nothing above ran in parallel */
}
