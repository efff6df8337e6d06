# Threads for a call, the library's or those of an OpenMP that another library uses: part of _core.pyx.
#
# OpenMP's threads watch for work some milliseconds after each region, on a processor each, of which the
# library's get half meanwhile. So, between operations of PyTorch, dwconv computes on PyTorch's own threads.

cdef extern from *:
    """
    #include <fenv.h>
    #include <stdint.h>
    #include "dwconv.h"

    /* GCC's interface to its OpenMP, which those of LLVM and Intel have, too. */
    typedef void (*dwconv_region_function)(void (*)(void *), void *, unsigned threads, unsigned flags);
    typedef int (*dwconv_number_function)(void);
    static dwconv_region_function dwconv_region_of_openmp;
    static dwconv_number_function dwconv_number_in_openmp;

    enum { DWCONV_MOST_IN_TEAM = 64 };

    /* A run for each worker, the same in every call of a shape; whoever is done takes from others. */
    typedef struct dwconv_shared_items {
        _Alignas(64) int64_t next;
        int64_t end;
    } dwconv_shared_items;

    typedef struct dwconv_region {
        dwconv_shared_items runs[DWCONV_MOST_IN_TEAM];
        dwconv_task task;
        void *context;
        int workers;
        fenv_t mode; /* of floating-point arithmetic: the caller's */
    } dwconv_region;

    static void dwconv_region_body(void *data) {
        dwconv_region *r = (dwconv_region *)data;
        const int worker = dwconv_number_in_openmp();
        fenv_t own;
        fegetenv(&own);
        fesetenv(&r->mode);
        for (int i = 0; i < r->workers; i++) {
            dwconv_shared_items *run = &r->runs[(worker + i) % r->workers];
            while (__atomic_load_n(&run->next, __ATOMIC_RELAXED) < run->end) {
                const int64_t item = __atomic_fetch_add(&run->next, 1, __ATOMIC_RELAXED);
                if (item < run->end) r->task(r->context, item, worker);
            }
        }
        fesetenv(&own);
    }

    static void dwconv_run_in_openmp(void *pool, int64_t items, dwconv_task task, void *context) {
        dwconv_region r;
        r.task = task;
        r.context = context;
        r.workers = (int)(intptr_t)pool;
        fegetenv(&r.mode);
        for (int i = 0; i < r.workers; i++) {
            r.runs[i].next = items * i / r.workers;
            r.runs[i].end = items * (i + 1) / r.workers;
        }
        dwconv_region_of_openmp(dwconv_region_body, &r, (unsigned)r.workers, 0);
    }

    static void dwconv_use_openmp(uintptr_t region, uintptr_t number) {
        dwconv_region_of_openmp = (dwconv_region_function)region;
        dwconv_number_in_openmp = (dwconv_number_function)number;
    }

    static dwconv_threads dwconv_team(int count, int openmp) {
        dwconv_threads threads = {count, NULL, NULL};
        if (openmp && count > 1 && count <= DWCONV_MOST_IN_TEAM && dwconv_region_of_openmp) {
            threads.run = dwconv_run_in_openmp;
            threads.pool = (void *)(intptr_t)count;
        }
        return threads;
    }
    """
    void dwconv_use_openmp(uintptr_t region, uintptr_t number)
    dwconv_threads dwconv_team(int count, bint openmp)


class Team(int):
    """As many threads of the OpenMP that `use_openmp` was told of; else those of the library."""


def use_openmp(uintptr_t region, uintptr_t number):
    """The addresses of GOMP_parallel and omp_get_thread_num; 0: none, as in the child of a fork."""
    dwconv_use_openmp(region, number)


cdef inline dwconv_threads team_of(threads):
    return dwconv_team(threads, type(threads) is Team)
