/* Sharing work out: whether it is worth it (parallel.c), and the threads of the library (thread_pool.c). */
#ifndef DWCONV_PARALLEL_H
#define DWCONV_PARALLEL_H

/* How many workers are worth waking for work of so many nanoseconds on one: 1 means serial. */
DWC_HIDDEN int dwc_worker_count(const dwconv_threads *threads, double nanoseconds);

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

/* The estimate behind dwc_worker_count: work at a rate that all kernels reach, or the bytes if they take longer. */
DWC_HIDDEN double dwc_nanoseconds(double work, double floats_moved);
/* The work of so many output pixels, in multiply-adds: its own, and as many as values and activations take as long as. */
DWC_HIDDEN double dwc_depthwise_work(const dwc_depthwise_stage *stage, double pixels);
DWC_HIDDEN double dwc_matmul_work(const dwc_matmul_stage *stage, double pixels);

/* The most workers of a call on the library's threads, the caller one of them: they are the bits of a word. A layer for
 * which more would pay takes a second on one of them. 1 where there are no threads of POSIX. */
#if defined(__unix__) || defined(__APPLE__)
#define DWC_MOST_WORKERS 64
#else
#define DWC_MOST_WORKERS 1
#endif

/* Runs the phases on the calling thread and those of the pool that come in time; 2 <= workers <= DWC_MOST_WORKERS. 0 if
 * there are none, or too many callers at once: then nothing was done. */
DWC_HIDDEN int dwc_pool_run(int workers, const dwc_phase *phases, int count, void *context);

#endif
