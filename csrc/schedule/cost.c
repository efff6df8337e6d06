/* The cost model: what work takes on one worker, and whether others should be woken for it. */
#include "schedule.h"

/* ---- work ------------------------------------------------------------------------------------- */

/* Multiply-adds that take as long as storing a value, and its activation if that is not a clamp. An order of
 * magnitude for all instruction sets. */
static double value_work(dwconv_activation_kind kind) {
    switch (kind) {
        case DWCONV_LEAKY_RELU:
        case DWCONV_HARD_SIGMOID:
        case DWCONV_HARD_SWISH: return DWC_STORE_WORK + 8;
        case DWCONV_SIGMOID:
        case DWCONV_SILU: return DWC_STORE_WORK + 16;
        case DWCONV_TANH: return DWC_STORE_WORK + 24;
        case DWCONV_GELU_ERF:
        case DWCONV_GELU_TANH: return DWC_STORE_WORK + 20;
        default: return DWC_STORE_WORK;
    }
}

double dwc_depthwise_work(const dwc_depthwise_stage *s, double pixels) {
    const double taps = (double)(s->window.kernel_h * s->window.kernel_w * s->group_inputs);
    return pixels * (double)s->channels * (taps + value_work(s->activation.kind));
}

double dwc_matmul_work(const dwc_matmul_stage *s, double pixels) {
    const double outputs = (double)s->group_outputs * (double)s->groups;
    return pixels * outputs * ((double)s->depth + value_work(s->activation.kind));
}

double dwc_nanoseconds(double work, double floats_moved) {
    const double compute = work / DWC_MULTIPLY_ADDS_PER_NANOSECOND,
                 move = floats_moved / DWC_FLOATS_PER_NANOSECOND;
    return compute > move ? compute : move;
}

/* Of the C library's functions, which take a value at a time. */
enum { LIBRARY_WORK = 500, EXP_WORK = 24, DIVISION_WORK = 8 };

static double function_work(dwconv_function function) {
    switch (function) {
        case DWCONV_LOG:
        case DWCONV_ERF:
        case DWCONV_SOFTPLUS:
        case DWCONV_SIN:
        case DWCONV_COS:
        case DWCONV_POWER: return LIBRARY_WORK;
        case DWCONV_EXP:
        case DWCONV_ELU: return EXP_WORK;
        case DWCONV_SQRT:
        case DWCONV_RECIPROCAL:
        case DWCONV_DIVIDE: return DIVISION_WORK;
        default: return 1;
    }
}

double dwc_each_nanoseconds(dwconv_function function, dwconv_activation_kind activation, double elements,
                            int reads) {
    return dwc_nanoseconds(elements * (function_work(function) + value_work(activation)),
                           elements * (1 + reads));
}

int dwc_worker_count(const dwconv_threads *threads, double nanoseconds) {
    if (!threads || threads->count <= 1 || nanoseconds < DWC_SERIAL_NANOSECONDS) return 1;
    if (threads->run) return nanoseconds < DWC_SERIAL_NANOSECONDS_IN_POOL ? 1 : threads->count;
    return threads->count < DWC_MOST_WORKERS ? threads->count : DWC_MOST_WORKERS;
}

/* ---- blocks ----------------------------------------------------------------------------------- */

/* Whole cache lines, since two workers that write to one take it from each other. With a stride outputs are few
 * beside inputs, and equal shares count more. */
int64_t dwc_share_unit(const dwc_block_problem *p) {
    return p->frame->window.stride_h > 1 ? p->table->lanes : DWC_LINE_FLOATS;
}

static double pixels_of(const dwc_view *v) { return (double)v->height * (double)v->width; }

double dwc_block_nanoseconds(const dwc_block_problem *p) {
    const dwc_view *x = &p->frame->x, *y = &p->frame->y;
    const dwc_chain *chain = p->chain;
    const double images = (double)x->batch, in_pixels = images * (double)x->height * (double)x->width,
                 out_pixels = images * (double)y->height * (double)y->width;
    double work =
        dwc_depthwise_work(chain->depthwise, out_pixels) + dwc_matmul_work(chain->project, out_pixels);
    if (chain->expand) work += dwc_matmul_work(chain->expand, in_pixels);
    if (chain->squeeze)
        work += dwc_matmul_work(chain->squeeze, images) + dwc_matmul_work(chain->excite, images);
    return dwc_nanoseconds(work, in_pixels * (double)x->channels + out_pixels * (double)y->channels);
}

/* Nanoseconds for an image that workers share in bands of rows, by the largest: they expand twice what two of them
 * see. */
static double nanoseconds_in_bands(const dwc_block_problem *p, int64_t workers) {
    const dwc_chain *chain = p->chain;
    const dwconv_window *w = &p->frame->window;
    const dwc_view *x = &p->frame->x, *y = &p->frame->y;
    const int64_t bands = y->height > 1 ? smaller(workers, y->height) : 1;
    const double rows = (double)divide_up(y->height, bands), pixels = rows * (double)y->width;
    double work = dwc_depthwise_work(chain->depthwise, pixels) + dwc_matmul_work(chain->project, pixels);
    if (chain->expand) {
        const double stride = (double)w->stride_h, taps = (double)(w->kernel_h - 1) * (double)w->dilation_h;
        const double halo =
            (taps + 1 - stride) / (bands > 2 ? 1 : 2); /* of two bands, each sees half of it */
        const double seen = rows * stride + (halo > 0 ? halo : 0), height = (double)x->height;
        work += dwc_matmul_work(chain->expand, (seen < height ? seen : height) * (double)x->width);
    }
    return dwc_nanoseconds(work, 0);
}

/* By channels: in slices up to what depthwise gives, in parts of the image from there on. */
static double nanoseconds_in_slices(const dwc_block_problem *p, int64_t workers) {
    const dwc_chain *chain = p->chain;
    const int64_t units = divide_up(chain->depthwise->channels, dwc_share_unit(p));
    const double share = (double)divide_up(units, workers) / (double)units, count = (double)workers;
    const double out_pixels = pixels_of(&p->frame->y);
    double work = share * dwc_depthwise_work(chain->depthwise, out_pixels) +
                  dwc_matmul_work(chain->project, out_pixels) / count;
    if (chain->expand) work += share * dwc_matmul_work(chain->expand, pixels_of(&p->frame->x));
    const double from_others = out_pixels * (double)chain->depthwise->channels * (count - 1) /
                               (count * count) / DWC_FLOATS_FROM_OTHERS;
    return dwc_nanoseconds(work, 0) + DWC_MEETING_NANOSECONDS + from_others;
}

int dwc_slices_pay(const dwc_block_problem *p, int64_t workers) {
    return nanoseconds_in_slices(p, workers) < nanoseconds_in_bands(p, workers);
}

/* Twice what sharing spares on two threads: as much as a layer's estimate, which they share evenly. */
double dwc_worth_sharing(const dwc_block_problem *p, int64_t workers) {
    const int64_t batch = p->frame->x.batch;
    const double all = dwc_block_nanoseconds(p), images = (double)batch, count = (double)workers;
    if (batch % workers == 0) return all;
    if (p->chain->squeeze) return all / images / 2; /* workers meet two to four times in every image */
    const double spared = dwc_slices_pay(p, workers) ? all / images - nanoseconds_in_slices(p, workers)
                                                     : all - images * nanoseconds_in_bands(p, workers);
    return spared * count / (count - 1);
}
