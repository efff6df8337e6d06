/* How a quantized operation runs. */
#include <string.h>

#include "schedule.h"

/* Multiply-adds of plain C loops; an order of magnitude. */
#define MULTIPLY_ADDS_PER_NANOSECOND 4.0
/* Of them, what one output takes to be rounded, clamped and stored. */
#define STORE_WORK 10.0

static double nanoseconds_of(const dwc_s8_stage *s, const int64_t out[4]) {
    const double depth = (double)(s->window.kernel_h * s->window.kernel_w) * (double)s->group_inputs;
    return (double)out[1] * (double)out[2] * (double)out[3] * (depth + STORE_WORK) /
           MULTIPLY_ADDS_PER_NANOSECOND;
}

static dwconv_status schedule_stage(const dwc_s8_stage *s, const dwconv_threads *threads, double nanoseconds,
                                    dwc_s8_stage_schedule *how) {
    DWC_TRY(dwc_window_extent(&s->window, how->in[1], how->in[2], &how->extent));
    const int64_t out_h = how->out[1];
    how->workers = dwc_worker_count(threads, nanoseconds);
    const int64_t strips =
        how->workers > 1 ? smaller(how->workers * (int64_t)DWC_ITEMS_PER_WORKER, out_h) : 1;
    how->strip_rows = divide_up(out_h, strips);
    how->strips = divide_up(out_h, how->strip_rows);
    return DWCONV_OK;
}

/* Reserves the output of a stage, of one image. */
static dwconv_status reserve(const int64_t shape[4], size_t *bytes) {
    int64_t image;
    if (!dwc_multiply(shape[1], shape[2], &image) || !dwc_multiply(image, shape[3], &image) ||
        (uint64_t)image > PTRDIFF_MAX / 4 - *bytes)
        return DWCONV_OVERFLOW;
    *bytes += (size_t)round_up(image, DWCONV_ALIGNMENT);
    return DWCONV_OK;
}

dwconv_status dwc_schedule_s8(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                              dwc_s8_schedule *s) {
    const dwc_graph *g = &plan->graph;
    dwc_shape shapes[DWC_MOST_VALUES];
    memcpy(shapes[0], input, sizeof(dwc_shape));
    DWC_TRY(dwc_shapes(g, shapes));
    *s = (dwc_s8_schedule){0};
    const int last = g->node_count - 1 - (g->nodes[g->node_count - 1].op == DWC_ADD);
    for (int i = 0; i <= last; i++) {
        const dwc_node *n = &g->nodes[i];
        dwc_s8_stage_schedule *how = &s->stage[s->stages++];
        memcpy(how->in, shapes[n->inputs[0]], sizeof how->in);
        memcpy(how->out, shapes[n->output], sizeof how->out);
        const double image = nanoseconds_of(&n->s8, how->out), all = image * (double)input[0];
        const double nanoseconds = last == 0 ? all : image; /* that workers share at once */
        s->nanoseconds += all;
        DWC_TRY(schedule_stage(&n->s8, threads, nanoseconds, how));
        how->scratch = i == last ? -1 : (int64_t)s->scratch_bytes;
        if (i < last) DWC_TRY(reserve(how->out, &s->scratch_bytes));
    }
    return DWCONV_OK;
}

dwconv_status dwc_s8_scratch(const dwconv_plan *plan, const int64_t input[4], size_t *scratch) {
    dwc_s8_schedule s;
    DWC_TRY(dwc_schedule_s8(plan, input, NULL, &s));
    *scratch = input[0] ? s.scratch_bytes : 0;
    return DWCONV_OK;
}
