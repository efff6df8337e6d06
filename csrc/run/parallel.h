/* Sharing work out (parallel.c), and the threads of the library (thread_pool.c). */
#ifndef DWCONV_PARALLEL_H
#define DWCONV_PARALLEL_H

#include "../schedule/numbers.h"

/* Runs task for every item on at most that many workers. */
DWC_HIDDEN void dwc_parallel(const dwconv_threads *threads, int workers, int64_t items, dwconv_task task,
                             void *context);

/* The same for phases, each of which begins when the one before is done by all. */
enum { DWC_MOST_PHASES = 4 };
typedef struct dwc_phase {
    int64_t items;
    dwconv_task task;
} dwc_phase;
DWC_HIDDEN void dwc_parallel_phases(const dwconv_threads *threads, int workers, const dwc_phase *phases,
                                    int count, void *context);

/* Runs the phases on the calling thread and those of the pool that come in time; 2 <= workers <= DWC_MOST_WORKERS.
 * 0 if there are none, or too many callers at once: then nothing was done. */
DWC_HIDDEN int dwc_pool_run(int workers, const dwc_phase *phases, int count, void *context);

#endif
