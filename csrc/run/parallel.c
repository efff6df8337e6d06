/* Whether sharing work out is worth it, and who then does it: the library's threads, the caller's, or the calling thread. */
#include "../internal.h"

/* Work of fewer estimated nanoseconds than this stays on the calling thread. `python -m bench calibrate` measures 71 layers and
 * blocks of 0.3 to 100 us on one thread and, with this limit at 0, on two. OpenMP's threads wait for the next call by spinning,
 * some milliseconds long, and an empty region then takes 0.6 to 0.7 us on two cores of an AMD EPYC (Zen 3); sharing costs 1.3
 * to 1.8 us in all, so that two threads win from 2 to 3 us on. That changes with what else the machine does, from minute to
 * minute: one run of eight met 2.6 us. In the other seven 2 us lose 0.1 % or less in the mean, 6 % once and else no more
 * than 5, in that one 0.9 and 20 %; 2.5 us lose 0.1 to 0.5 %, two or three of 53 layers over 5 % and up to 11 in most runs;
 * 3.3 us, which the slow one asks for, 2 to 4 and up to 37 %. */
#ifndef DWC_SERIAL_NANOSECONDS /* bench/calibrate.py compiles it as 0 */
#define DWC_SERIAL_NANOSECONDS 2e3
#endif
/* Of a caller's pool nothing is known; waking a thread that sleeps takes some 10 us. */
#define DWC_SERIAL_NANOSECONDS_IN_POOL 15e3

/* How many multiply-adds take as long as storing a value does, and its activation, if that is not a clamp. An order of
 * magnitude for all instruction sets; with AVX2 on Zen 3 SiLU takes 17, GELU 19, hard-swish 6 to 9. */
static double value_work(dwconv_activation_kind kind) {
    const double store = 3;
    switch (kind) {
        case DWCONV_LEAKY_RELU:
        case DWCONV_HARD_SIGMOID:
        case DWCONV_HARD_SWISH: return store + 8;
        case DWCONV_SIGMOID:
        case DWCONV_SILU: return store + 16;
        case DWCONV_TANH: return store + 24;
        case DWCONV_GELU_ERF:
        case DWCONV_GELU_TANH: return store + 20;
        default: return store;
    }
}

double dwc_depthwise_work(const dwc_depthwise_stage *s, double pixels) {
    const double taps = (double)(s->window.kernel_h * s->window.kernel_w);
    return pixels * (double)s->channels * (taps + value_work(s->activation.kind));
}

double dwc_matmul_work(const dwc_matmul_stage *s, double pixels) {
    const double outputs = (double)s->group_outputs * (double)s->groups;
    return pixels * outputs * ((double)s->depth + value_work(s->activation.kind));
}

/* 50 multiply-adds and 10 floats (40 bytes) per nanosecond: a core of 3.7 GHz with two 256-bit multiply-adds per cycle
 * that reads and writes its second-level cache. Slower machines are asked for parallel work a little late, which costs
 * little. */
double dwc_nanoseconds(double work, double floats_moved) {
    const double compute = work / 50.0, move = floats_moved / 10.0;
    return compute > move ? compute : move;
}

int dwc_worker_count(const dwconv_threads *threads, double nanoseconds) {
    if (!threads || threads->count <= 1 || nanoseconds < DWC_SERIAL_NANOSECONDS) return 1;
    if (threads->run) return nanoseconds < DWC_SERIAL_NANOSECONDS_IN_POOL ? 1 : threads->count;
    return threads->count < DWC_MOST_WORKERS ? threads->count : DWC_MOST_WORKERS;
}

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
