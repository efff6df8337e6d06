/* Who does the work that is shared: the library's threads, the caller's, or the calling thread. */
#include "parallel.h"

int dwconv_has_threads(void) { return DWC_MOST_WORKERS > 1; }

void dwc_parallel(const dwconv_threads *threads, int workers, int64_t items, dwconv_task task,
                  void *context) {
    const dwc_phase phase = {items, task};
    dwc_parallel_phases(threads, workers, &phase, 1, context);
}

void dwc_parallel_phases(const dwconv_threads *threads, int workers, const dwc_phase *phases, int count,
                         void *context) {
    int64_t most = 0;
    for (int p = 0; p < count; p++)
        if (phases[p].items > most) most = phases[p].items;
    const int shared = workers > 1 && most > 1;
    if (shared && !threads->run && dwc_pool_run(workers, phases, count, context)) return;
    for (int p = 0; p < count; p++)
        if (shared && threads->run && phases[p].items > 1)
            threads->run(threads->pool, phases[p].items, phases[p].task, context);
        else
            for (int64_t i = 0; i < phases[p].items; i++) phases[p].task(context, i, 0);
}
