/* What a block takes, for the decisions of schedule_block.c: whether workers share it, and how. */
#include "../block.h"

/* What workers that share an image by channels wait for: each other between the passes, and what the others' depthwise
 * gave, in floats per nanosecond. Fitted to 58 blocks of 3 to 1000 us on two threads of a Zen 3, in three states of the
 * machine: the faster of bands and slices is taken but for 0.3, 1.0 and 1.8 % of time in the mean. Half the meeting and a
 * third of the rate, which the slowest state asks for, would lose up to 9 % of the large blocks in the fastest. */
#define MEETING_NANOSECONDS 4e3
#define FLOATS_FROM_OTHERS 3.0

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Shares of channels are of whole cache lines, since two workers that write to one take it from each other: on Zen 3
 * 20x20 64 -> 384 -> 64 takes 229 us on two threads, and 241 if lines are shared. With a stride outputs are few beside inputs,
 * and equal shares count more: 28x28 40 -> 240 -> 80 takes 152 us, and 162 in whole lines. */
int64_t dwc_share_unit(const dwc_block *b) {
    return b->chain.depthwise->window.stride_h > 1 ? b->table->lanes : 64 / (int64_t)sizeof(float);
}

double dwc_block_nanoseconds(const dwc_block *b) {
    const dwc_view *x = &b->x, *y = &b->y;
    const dwc_chain *chain = &b->chain;
    const double images = (double)x->batch, in_pixels = images * (double)x->height * (double)x->width,
                 out_pixels = images * (double)y->height * (double)y->width;
    double work =
        dwc_depthwise_work(chain->depthwise, out_pixels) + dwc_matmul_work(chain->project, out_pixels);
    if (chain->expand) work += dwc_matmul_work(chain->expand, in_pixels);
    if (chain->squeeze)
        work += dwc_matmul_work(chain->squeeze, images) + dwc_matmul_work(chain->excite, images);
    return dwc_nanoseconds(work, in_pixels * (double)x->channels + out_pixels * (double)y->channels);
}

/* Nanoseconds for an image that workers share in bands of rows, by the largest: they expand twice what two of them see. */
static double nanoseconds_in_bands(const dwc_block *b, int64_t workers) {
    const dwc_chain *chain = &b->chain;
    const dwconv_window *w = &chain->depthwise->window;
    const int64_t bands = b->y.height > 1 ? smaller(workers, b->y.height) : 1;
    const double rows = (double)divide_up(b->y.height, bands), pixels = rows * (double)b->y.width;
    double work = dwc_depthwise_work(chain->depthwise, pixels) + dwc_matmul_work(chain->project, pixels);
    if (chain->expand) {
        const double stride = (double)w->stride_h, taps = (double)(w->kernel_h - 1) * (double)w->dilation_h;
        const double halo =
            (taps + 1 - stride) / (bands > 2 ? 1 : 2); /* of two bands, each sees half of it */
        const double seen = rows * stride + (halo > 0 ? halo : 0), height = (double)b->x.height;
        work += dwc_matmul_work(chain->expand, (seen < height ? seen : height) * (double)b->x.width);
    }
    return dwc_nanoseconds(work, 0);
}

/* By channels: in slices up to what depthwise gives, in parts of the image from there on. */
static double nanoseconds_in_slices(const dwc_block *b, int64_t workers) {
    const dwc_chain *chain = &b->chain;
    const int64_t unit = dwc_share_unit(b), units = divide_up(chain->depthwise->channels, unit);
    const double share = (double)divide_up(units, workers) / (double)units, count = (double)workers;
    const double in_pixels = (double)b->x.height * (double)b->x.width,
                 out_pixels = (double)b->y.height * (double)b->y.width;
    double work = share * dwc_depthwise_work(chain->depthwise, out_pixels) +
                  dwc_matmul_work(chain->project, out_pixels) / count;
    if (chain->expand) work += share * dwc_matmul_work(chain->expand, in_pixels);
    const double from_others =
        out_pixels * (double)chain->depthwise->channels * (count - 1) / (count * count) / FLOATS_FROM_OTHERS;
    return dwc_nanoseconds(work, 0) + MEETING_NANOSECONDS + from_others;
}

int dwc_slices_pay(const dwc_block *b, int64_t workers) {
    return nanoseconds_in_slices(b, workers) < nanoseconds_in_bands(b, workers);
}

/* Twice what sharing spares on two threads: as much as a layer's estimate, which they share evenly. */
double dwc_worth_sharing(const dwc_block *b, int64_t workers) {
    const double all = dwc_block_nanoseconds(b), images = (double)b->x.batch, count = (double)workers;
    if (b->x.batch % workers == 0) return all;
    if (b->chain.squeeze) return all / images / 2; /* workers meet two to four times in every image */
    const double spared = dwc_slices_pay(b, workers) ? all / images - nanoseconds_in_slices(b, workers)
                                                     : all - images * nanoseconds_in_bands(b, workers);
    return spared * count / (count - 1);
}
