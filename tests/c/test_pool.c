/* The library's threads: who takes part, in which mode of floating-point arithmetic, what happens where there are none. */
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../csrc/run/parallel.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

/* ---- a system that refuses threads ---------------------------------------------------------- */

static atomic_int threads_given = -1; /* so many more; -1: all */

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument) {
    if (threads_given == 0) return 11; /* EAGAIN */
    if (threads_given > 0) threads_given--;
    return __real_pthread_create(id, attributes, start, argument);
}

/* ---- phases of items that check what they are promised --------------------------------------- */

enum { ITEMS = 37, PHASES = 4 };

typedef struct phases {
    atomic_int done[PHASES][ITEMS], early, twice_a_worker;
    atomic_int busy[DWC_MOST_WORKERS];
    int items[PHASES], workers, nested;
    atomic_int left; /* of the first phase: who waits for another worker waits for this */
    int waits;       /* until all workers have come; gives up after so many looks */
    atomic_int came;
    atomic_uint who; /* bits of workers */
} phases;

static void count_item(void *context, int64_t item, int worker) {
    (void)worker;
    atomic_fetch_add(&((atomic_int *)context)[item], 1);
}

static void do_phase(phases *f, int phase, int64_t item, int worker) {
    if (worker < 0 || worker >= f->workers || atomic_exchange(&f->busy[worker], 1)) f->twice_a_worker++;
    for (int p = 0; p < phase; p++)
        for (int i = 0; i < f->items[p]; i++) f->early += f->done[p][i] != 1;
    if (phase == 0) {
        if (!(atomic_fetch_or(&f->who, 1u << worker) >> worker & 1)) f->came++;
        for (int i = 0; i < f->waits && f->came < f->workers; i++) sched_yield();
    }
    if (f->nested) {
        const dwconv_threads threads = {.count = f->workers};
        atomic_int counts[5] = {0};
        dwc_parallel(&threads, f->workers, 5, count_item, counts);
        for (int i = 0; i < 5; i++) f->early += counts[i] != 1;
    }
    f->done[phase][item]++;
    atomic_store(&f->busy[worker], 0);
}

static void phase_0(void *context, int64_t item, int worker) { do_phase(context, 0, item, worker); }
static void phase_1(void *context, int64_t item, int worker) { do_phase(context, 1, item, worker); }
static void phase_2(void *context, int64_t item, int worker) { do_phase(context, 2, item, worker); }
static void phase_3(void *context, int64_t item, int worker) { do_phase(context, 3, item, worker); }

/* Returns how many workers took part; waits: for all of them to come. */
static int run_phases(int workers, int nested, int waits, unsigned seed) {
    phases f = {.workers = workers, .nested = nested, .waits = waits ? 1000000 : 0};
    const dwconv_threads threads = {.count = workers};
    const int sizes[] = {0, 1, ITEMS, 2};
    for (int p = 0; p < PHASES; p++) f.items[p] = p == 0 ? ITEMS : sizes[(seed + (unsigned)p) % 4];
    const dwc_phase all[PHASES] = {
        {f.items[0], phase_0}, {f.items[1], phase_1}, {f.items[2], phase_2}, {f.items[3], phase_3}};
    dwc_parallel_phases(&threads, workers, all, PHASES, &f);
    CHECK(f.early == 0);
    CHECK(f.twice_a_worker == 0);
    for (int p = 0; p < PHASES; p++)
        for (int i = 0; i < f.items[p]; i++) CHECK(f.done[p][i] == 1);
    return f.came;
}

static void test_phases(void) {
    for (unsigned seed = 0; seed < 400; seed++) {
        const int workers = 2 + (int)(seed % 3);
        CONTEXT("phases of %d workers, seed %u", workers, seed);
        run_phases(workers, seed % 2, 0, seed);
        if (seed % 100 == 99) usleep(2000); /* the threads sleep */
    }
}

/* Whether they are awake, asleep or yet to be made, all workers come if there is enough to do. */
static void test_all_workers_come(void) {
    for (int i = 0; i < 20; i++) {
        const int workers = i < 15 ? 2 + i % 3 : 20;
        CONTEXT("all of %d workers come", workers);
        CHECK(run_phases(workers, 0, 1, 0) == workers);
        usleep(i % 2 ? 3000 : 0);
    }
}

static void *run_many(void *seed) {
    for (unsigned i = 0; i < 200; i++) run_phases(2 + (int)(i % 3), i % 8 == 0, 0, i + *(unsigned *)seed);
    return NULL;
}

/* More than the pool has offers for; checks_passed is counted by all, which does not matter. */
static void *run_quietly(void *argument) {
    atomic_int *wrong = argument;
    const dwconv_threads threads = {.count = 3};
    for (int i = 0; i < 300; i++) {
        atomic_int counts[ITEMS] = {0};
        dwc_parallel(&threads, 3, ITEMS, count_item, counts);
        for (int k = 0; k < ITEMS; k++) *wrong += counts[k] != 1;
    }
    return NULL;
}

static void test_many_callers(void) {
    enum { CALLERS = 24 };
    pthread_t callers[CALLERS];
    atomic_int wrong = 0;
    CONTEXT("many callers");
    for (int i = 0; i < CALLERS; i++)
        if (pthread_create(&callers[i], NULL, run_quietly, &wrong) != 0) abort();
    unsigned seed = 7;
    run_many(&seed);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    CHECK(wrong == 0);
}

/* ---- modes ---------------------------------------------------------------------------------- */

static void flush_to_zero(void) {
#if defined __x86_64__
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined __aarch64__
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    mode |= 1 << 24;
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#endif
}

static void round_up(void) { fesetround(FE_UPWARD); }
static void round_as_usual(void) {}

/* What every worker computes: a rounded quotient and a denormal number. */
typedef struct observed {
    float quotient[ITEMS], denormal[ITEMS];
    atomic_int came;
    int workers;
} observed;

static void observe(void *context, int64_t item, int worker) {
    observed *o = context;
    volatile float third = -3.0f, small = 0x1p-126f;
    third = 1.0f / third;
    small = small * 0.5f;
    (void)worker;
    o->quotient[item] = third;
    o->denormal[item] = small;
    o->came++;
    for (int i = 0; i < 1000000 && o->came < o->workers; i++) sched_yield(); /* every worker has an item */
}

static void test_modes_of_workers(void) {
    void (*const modes[])(void) = {round_as_usual, round_up, flush_to_zero, round_as_usual};
    fenv_t before;
    fegetenv(&before);
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
        for (int workers = 1; workers <= 3; workers++) {
            CONTEXT("mode %d, %d workers", (int)m, workers);
            const dwconv_threads threads = {.count = workers};
            observed o = {.workers = workers};
            modes[m]();
            dwc_parallel(&threads, workers, workers, observe, &o);
            volatile float third = -3.0f;
            volatile const float own = 1.0f / third;
            fesetenv(&before);
            for (int i = 0; i < workers; i++) {
                CHECK(o.quotient[i] == own);
                CHECK((o.denormal[i] == 0.0f) == (modes[m] == flush_to_zero));
            }
            CHECK((own != 1.0f / third) == (modes[m] == round_up));
        }
}

#define SAME_3X3      \
    {.kernel_h = 3,   \
     .kernel_w = 3,   \
     .stride_h = 1,   \
     .stride_w = 1,   \
     .dilation_h = 1, \
     .dilation_w = 1, \
     .padding = DWCONV_SAME}

/* Layers large enough to be shared, with denormal inputs: the same bits on every number of threads, other ones than in
 * the usual mode. */
static void test_modes_of_layers(void) {
    const shape shapes[] = {
        {.operation = DEPTHWISE,
         .batch = 1,
         .height = 40,
         .width = 41,
         .in_channels = 64,
         .multiplier = 1,
         .window = SAME_3X3},
        {.operation = INVERTED_RESIDUAL,
         .batch = 1,
         .height = 20,
         .width = 21,
         .in_channels = 16,
         .multiplier = 1,
         .out_channels = 16,
         .expanded = 96,
         .window = SAME_3X3,
         .activation = {DWCONV_SILU, 0, 0}},
    };
    void (*const modes[])(void) = {round_up, flush_to_zero};
    rng r = {11};
    fenv_t before;
    fegetenv(&before);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        problem p;
        buffer x, usual;
        if (!problem_create(&p, &shapes[s], &r)) abort();
        buffer_create(&x, p.input, DENSE);
        buffer_fill(&x, &r);
        for (int64_t row = 0; row < p.input[1]; row++)
            for (int64_t i = 0; i < p.input[2] * p.input[3]; i++)
                ((float *)tensor_at(&x.tensor, 0, row, 0, 0))[i] *= 0x1p-127f;
        buffer_create(&usual, p.output, DENSE);
        CHECK_STATUS(DWCONV_OK, problem_run(&p, NULL, &x, &usual, NULL));
        for (size_t m = 0; m < 2; m++) {
            buffer serial;
            buffer_create(&serial, p.output, DENSE);
            for (int count = 1; count <= 3; count++) {
                CONTEXT("layer %d in mode %d, %d threads", (int)s, (int)m, count);
                for (int i = 0; i < 10; i++) {
                    const dwconv_threads threads = {.count = count};
                    buffer y;
                    buffer_create(&y, p.output, DENSE);
                    modes[m]();
                    const dwconv_status status =
                        problem_run(&p, NULL, &x, count == 1 ? &serial : &y, &threads);
                    fesetenv(&before);
                    CHECK_STATUS(DWCONV_OK, status);
                    CHECK(count == 1 || buffer_same_bits(&serial, &y));
                    buffer_free(&y);
                }
            }
            CHECK(!buffer_same_bits(&serial, &usual));
            buffer_free(&serial);
        }
        buffer_free(&usual);
        buffer_free(&x);
        problem_free(&p);
    }
}

/* ---- fork, and too few threads --------------------------------------------------------------- */

#if defined __SANITIZE_THREAD__ || \
    defined UNDER_EMULATION /* no threads in the child of a process that had some */
static void test_children(void) {}
#else
/* In a child, whose pool is new: how many of `wanted` workers came, given so many threads. */
static int workers_in_child(int wanted, int given, int nested) {
    int ends[2], came = -1;
    if (pipe(ends) != 0) return -1;
    const pid_t child = fork();
    if (child == 0) {
        alarm(120);
        checks_failed = 0;
        threads_given = given;
        came = run_phases(wanted, nested, given != 0, 2);
        if (nested) came = workers_in_child(wanted, given, 0); /* a child of a child */
        if (checks_failed || write(ends[1], &came, sizeof came) != (ssize_t)sizeof came) _exit(1);
        _exit(0);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &came, sizeof came) != (ssize_t)sizeof came) came = -1;
    close(ends[0]);
    waitpid(child, NULL, 0);
    return came;
}

static void test_children(void) {
    CONTEXT("children");
    CHECK(workers_in_child(3, -1, 0) == 3);
    CHECK(workers_in_child(3, -1, 1) == 3);
    CONTEXT("a system that gives no threads, one, two");
    CHECK(workers_in_child(4, 0, 0) == 1);
    CHECK(workers_in_child(2, 1, 0) == 2);
    CHECK(workers_in_child(3, 2, 0) == 3);
}
#endif

void test_pool(void) {
    if (DWC_MOST_WORKERS == 1) return;
    test_phases();
    test_all_workers_come();
    test_many_callers();
    test_modes_of_workers();
    test_modes_of_layers();
    test_children();
    CONTEXT("after all that");
    CHECK(run_phases(3, 0, 1, 0) == 3);
}
