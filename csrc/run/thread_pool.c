/* The library's own threads: one pool in a process, made by the first call that shares work.
 *
 * A call offers its job and works through it at once. Threads of the pool that are awake take a seat in it, those that
 * sleep are woken, and whoever comes in time takes items; the caller waits for those only that took a seat. So a pool that
 * sleeps, is busy with other callers, or could not be made costs a call nothing but the time of waking it.
 *
 * An idle thread watches for the next call as long as two layers of a network are apart, then sleeps until it is woken:
 * a layer called now and then burns no time between calls. Threads are never ended: at exit they sleep. The library
 * must not be unloaded then; build files link it as not to be. The child of a fork begins with an empty pool. */
#if !defined _GNU_SOURCE && !defined __APPLE__
#define _GNU_SOURCE /* sigset_t, for -std=c11; processors */
#endif
#include "fp_mode.h"
#include "parallel.h"

#if DWC_MOST_WORKERS > 1
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sched.h>
#include <sys/prctl.h>
#endif

enum {
    MOST_THREADS = DWC_MOST_WORKERS - 1,
    MOST_OFFERS = 16, /* calls at the same time; with more, all processors have their own to do */
    WOKEN = 2,        /* by each, since a call to the system takes microseconds: the woken wake others */
    CACHE_LINE = 64,
    STACK_BYTES = 1 << 20, /* kernels take up to 64 KB, several times that when instrumented by a sanitizer */
};

/* Waiting threads watch memory so long before they sleep. Being woken takes 5 to 50 us, and the layers of a network
 * follow each other within tens of microseconds; one call every 50 ms costs 0.1 % of a processor. */
#ifndef DWC_SPIN_NANOSECONDS
#define DWC_SPIN_NANOSECONDS 50000
#endif
/* How long not to ask again for threads that the system refused. */
#define RETRY_NANOSECONDS 1000000000

/* ---- waiting -------------------------------------------------------------------------------- */

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void relax(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

/* Watches until the word is the value (equal: 1) or no longer is (0), and returns 1; 0 if that takes too long. */
static int spin(const atomic_llong *word, long long value, int equal) {
    enum { LOOKS = 32 }; /* about a microsecond, between two of the clock */
    for (int64_t end = 0;;) {
        for (int i = 0; i < LOOKS; i++) {
            if ((atomic_load_explicit(word, memory_order_acquire) == value) == equal) return 1;
            relax();
        }
        const int64_t time = now();
        if (end == 0) end = time + DWC_SPIN_NANOSECONDS;
        if (time >= end) return 0;
    }
}

/* Linux may wake a thread where it last ran although that processor is the waker's and others are idle, call after call: no
 * call then lasts long enough for the balance of load to be looked at. So a thread that finds itself there moves away. */
#ifdef __linux__
static int processor(void) { return sched_getcpu(); }

static void leave(int processor) {
    cpu_set_t all, others;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    others = all;
    CPU_CLR((size_t)processor, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof all, &all);
}
#else
static int processor(void) { return -1; }
static void leave(int processor) { (void)processor; }
#endif

/* ---- what is shared ------------------------------------------------------------------------- */

/* Items are shared out in runs, one for every worker and the same in every call of a shape, so that a worker finds in its
 * caches what it wrote in the call before; whoever is done takes from the others. */
typedef struct run {
    _Alignas(CACHE_LINE) atomic_llong next;
    int64_t end;
} run;

/* Lies on the stack of the caller, who leaves when all others have. */
typedef struct job {
    const dwc_phase *phases;
    void *context;
    int count, workers;
    dwc_fp_mode mode; /* the caller's holds for all workers, so that bits do not depend on their number */
    run runs[DWC_MOST_PHASES][DWC_MOST_WORKERS];
    struct {
        _Alignas(CACHE_LINE) atomic_llong items;
    } done[DWC_MOST_PHASES];
} job;

/* A job that is looking for workers. It is never freed, so that who has no seat in the job can look at it. */
typedef struct offer {
    _Alignas(CACHE_LINE) atomic_int used;
    job *job;
    atomic_ullong seats; /* bit w: worker w is still wanted */
    atomic_llong left;   /* workers who have nothing more to do with the job */
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} offer;

typedef enum thread_state { BUSY, AWAKE, SLEEPING } thread_state;

typedef struct thread {
    _Alignas(CACHE_LINE) atomic_int state; /* a thread_state */
    int waker;                             /* the processor of who woke it, or -1 */
    pthread_mutex_t mutex;
    pthread_cond_t woken;
} thread;

static struct {
    pthread_mutex_t growing;
    int64_t refused; /* when the system last did, or 0 */
    atomic_int size;
    _Alignas(CACHE_LINE) atomic_llong offered; /* so often */
    offer offers[MOST_OFFERS];
    thread threads[MOST_THREADS];
} pool;

/* ---- workers -------------------------------------------------------------------------------- */

/* The last to come wakes the others: see await. */
static void announce(offer *o) {
    if (atomic_load(&o->sleepers) == 0) return;
    pthread_mutex_lock(&o->mutex);
    pthread_mutex_unlock(&o->mutex);
    pthread_cond_broadcast(&o->changed);
}

static void await(offer *o, const atomic_llong *word, long long value) {
    if (spin(word, value, 1)) return;
#ifdef PTHREAD_CANCEL_DISABLE
    int cancels; /* others use the stack of this thread */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancels);
#endif
    pthread_mutex_lock(&o->mutex);
    atomic_fetch_add(&o->sleepers, 1);
    while (atomic_load(word) != value) pthread_cond_wait(&o->changed, &o->mutex);
    atomic_fetch_sub(&o->sleepers, 1);
    pthread_mutex_unlock(&o->mutex);
#ifdef PTHREAD_CANCEL_DISABLE
    pthread_setcancelstate(cancels, NULL);
#endif
}

/* Returns how many items it did. */
static int64_t take_items(run *runs, int workers, int worker, dwconv_task task, void *context) {
    int64_t done = 0;
    for (int i = 0; i < workers; i++) {
        run *r = &runs[(worker + i) % workers];
        while (atomic_load_explicit(&r->next, memory_order_relaxed) < r->end) {
            const int64_t item = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
            if (item >= r->end) break;
            task(context, item, worker);
            done++;
        }
    }
    return done;
}

static void work(offer *o, job *j, int worker) {
    for (int p = 0, before = -1; p < j->count; p++) {
        const dwc_phase *phase = &j->phases[p];
        if (phase->items == 0) continue;
        if (before >= 0) await(o, &j->done[before].items, j->phases[before].items);
        const int64_t items = take_items(j->runs[p], j->workers, worker, phase->task, j->context);
        if (items && p + 1 < j->count && atomic_fetch_add(&j->done[p].items, items) + items == phase->items)
            announce(o);
        before = p;
    }
}

/* Sees to it that so many threads look for seats. */
static void wake(int wanted) {
    const int size = atomic_load_explicit(&pool.size, memory_order_acquire);
    for (int i = 0; i < size && wanted > 0; i++) {
        thread *t = &pool.threads[i];
        int state = atomic_load(&t->state);
        if (state == BUSY) continue;
        wanted--;
        if (state == SLEEPING && atomic_compare_exchange_strong(&t->state, &state, AWAKE)) {
            pthread_mutex_lock(&t->mutex); /* it sleeps, or has yet to look at its state */
            t->waker = processor();
            pthread_mutex_unlock(&t->mutex);
            pthread_cond_signal(&t->woken);
        }
    }
}

static int at_most(int count, int most) { return count < most ? count : most; }

/* The seats of an offer are taken by whom they are meant for, the same in every call, if that thread comes first. */
static int take_seat(offer *o, int meant) {
    unsigned long long seats = atomic_load_explicit(&o->seats, memory_order_relaxed);
    while (seats) {
        const int seat = seats >> meant & 1 ? meant : __builtin_ctzll(seats);
        if (atomic_compare_exchange_weak(&o->seats, &seats, seats & ~(1ull << seat))) return seat;
    }
    return 0;
}

static int help(int index) {
    for (offer *o = pool.offers; o < pool.offers + MOST_OFFERS; o++) {
        const int worker = take_seat(o, index + 1);
        if (worker == 0) continue;
        atomic_store(&pool.threads[index].state, BUSY);
        wake(at_most(__builtin_popcountll(atomic_load_explicit(&o->seats, memory_order_relaxed)), WOKEN));
        dwc_fp_mode own;
        dwc_get_mode(&own);
        dwc_set_mode(&o->job->mode);
        work(o, o->job, worker);
        dwc_set_mode(&own);
        atomic_store(&pool.threads[index].state, AWAKE);
        atomic_fetch_add(&o->left, 1); /* the job may be gone from here on */
        announce(o);
        return 1;
    }
    return 0;
}

/* Either this thread sees what was offered after `seen`, or who offered it sees this thread asleep. */
static void sleep_until_woken(thread *self, long long seen) {
    pthread_mutex_lock(&self->mutex);
    self->waker = -1;
    atomic_store(&self->state, SLEEPING);
    if (atomic_load(&pool.offered) != seen) atomic_store(&self->state, AWAKE);
    while (atomic_load(&self->state) == SLEEPING) pthread_cond_wait(&self->woken, &self->mutex);
    const int waker = self->waker;
    pthread_mutex_unlock(&self->mutex);
    if (waker >= 0 && waker == processor()) leave(waker);
}

static void *serve(void *argument) {
    thread *self = argument;
#if defined __linux__
    prctl(PR_SET_NAME, "dwconv");
#elif defined __APPLE__
    pthread_setname_np("dwconv");
#endif
    for (;;) {
        const long long seen = atomic_load(&pool.offered);
        if (help((int)(self - pool.threads)) || spin(&pool.offered, seen, 0)) continue;
        sleep_until_woken(self, seen);
    }
    return NULL;
}

/* ---- making the pool ------------------------------------------------------------------------ */

static void make_empty(void) {
    memset(&pool, 0, sizeof pool);
    pthread_mutex_init(&pool.growing, NULL);
    for (int i = 0; i < MOST_OFFERS; i++) {
        pthread_mutex_init(&pool.offers[i].mutex, NULL);
        pthread_cond_init(&pool.offers[i].changed, NULL);
    }
    for (int i = 0; i < MOST_THREADS; i++) {
        pthread_mutex_init(&pool.threads[i].mutex, NULL);
        pthread_cond_init(&pool.threads[i].woken, NULL);
    }
}

/* The threads of a pool do not survive fork, and its locks may be held by them. */
static void make_first(void) {
    make_empty();
    pthread_atfork(NULL, NULL, make_empty);
}

/* The process's signals go to its own threads, but for those that a thread brings upon itself. */
static int create_thread(thread *t) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    pthread_attr_t attributes;
    pthread_t id;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&blocked, own[i]);
    atomic_store(&t->state, AWAKE);
    if (pthread_attr_init(&attributes) != 0) return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const int created = pthread_create(&id, &attributes, serve, t) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return created;
}

/* As many threads as that, if the system gives them; another caller who makes them is not waited for. Returns how
 * many there are. */
static int grow(int wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int size = atomic_load_explicit(&pool.size, memory_order_acquire);
    if (size >= wanted) return size;
    pthread_once(&once, make_first);
    if (pthread_mutex_trylock(&pool.growing) != 0) return size;
    size = atomic_load(&pool.size);
    if (pool.refused == 0 || now() - pool.refused > RETRY_NANOSECONDS) {
        pool.refused = 0;
        while (size < wanted && create_thread(&pool.threads[size]))
            atomic_store_explicit(&pool.size, ++size, memory_order_release);
        if (size < wanted) pool.refused = now();
    }
    pthread_mutex_unlock(&pool.growing);
    return size;
}

/* ---- a call --------------------------------------------------------------------------------- */

static offer *free_offer(void) {
    for (offer *o = pool.offers; o < pool.offers + MOST_OFFERS; o++)
        if (atomic_load_explicit(&o->used, memory_order_relaxed) == 0 && atomic_exchange(&o->used, 1) == 0)
            return o;
    return NULL;
}

static void prepare(job *j, int workers, const dwc_phase *phases, int count, void *context) {
    j->phases = phases;
    j->context = context;
    j->count = count;
    j->workers = workers;
    dwc_get_mode(&j->mode);
    for (int p = 0; p < count; p++) {
        atomic_init(&j->done[p].items, 0);
        for (int i = 0; i < workers; i++) {
            atomic_init(&j->runs[p][i].next, phases[p].items * i / workers);
            j->runs[p][i].end = phases[p].items * (i + 1) / workers;
        }
    }
}

int dwc_pool_run(int workers, const dwc_phase *phases, int count, void *context) {
    offer *o;
    if (grow(workers - 1) == 0 || (o = free_offer()) == NULL) return 0;
    job j;
    prepare(&j, workers, phases, count, context);
    o->job = &j;
    atomic_store_explicit(&o->left, 0, memory_order_relaxed);
    const unsigned long long seats = (~0ull >> (DWC_MOST_WORKERS - workers)) & ~1ull;
    atomic_store(&o->seats, seats);
    atomic_fetch_add(&pool.offered, 1);
    wake(at_most(workers - 1, WOKEN));
    work(o, &j, 0);
    const unsigned long long vacant = atomic_exchange(&o->seats, 0);
    await(o, &o->left, __builtin_popcountll(seats & ~vacant));
    atomic_store_explicit(&o->used, 0, memory_order_release);
    return 1;
}
#else
int dwc_pool_run(int workers, const dwc_phase *phases, int count, void *context) {
    (void)workers, (void)phases, (void)count, (void)context;
    return 0;
}
#endif
