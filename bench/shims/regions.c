/* What sharing work out costs: parallel regions in which nothing is done, and such calls of dwc_parallel. */
#include "chain.h"
#include "run/parallel.h"

BENCH_API void regions_openmp(int threads, int loops) {
    (void)threads; /* where there is no OpenMP */
    for (int i = 0; i < loops; i++) {
#pragma omp parallel num_threads(threads)
        __asm__ volatile("" ::: "memory");
    }
}

static void nothing(void *context, int64_t item, int worker) {
    (void)context, (void)item, (void)worker;
    __asm__ volatile("" ::: "memory");
}

BENCH_API void regions_dwconv(int threads, int loops) {
    const dwconv_threads workers = {.count = threads};
    for (int i = 0; i < loops; i++) dwc_parallel(&workers, threads, 4 * (int64_t)threads, nothing, NULL);
}
