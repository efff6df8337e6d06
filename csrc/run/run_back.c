/* Input gradients of 3x3 windows with stride 2, in blocks of 2x2 pixels: rows of pointers, runs of block columns. Block row m has
 * rows 2m + 1 and 2m + 2 of a padded dx, and sees output rows m and m + 1; columns alike. */
#include "depthwise.h"
#include "gradient.h"

/* The block of a row or column of dx. */
static int64_t block_of(int64_t i, int64_t pad) { return (i + pad + 1) / 2 - 1; }

/* Block columns [begin, end) of the rows of a run. */
static void run_columns(const dwc_dx_job *j, dwc_dw_back_run *run, int64_t begin, int64_t end,
                        void (*kernel)(const dwc_dw_back_run *)) {
    if (begin >= end) return;
    run->columns = end - begin;
    run->dy = begin * run->dy_pixel;
    run->dx = (2 * begin + 1 - j->extent.pad_left) * run->dx_pixel;
    kernel(run);
}

static unsigned both_in(int64_t first, int64_t size) {
    return (unsigned)(first >= 0 && first < size) | (unsigned)(first + 1 >= 0 && first + 1 < size) << 1;
}

/* Blocks [begin, end) that padding or the end of a row cuts, one by one. */
static void run_edges(const dwc_dx_job *j, dwc_dw_back_run *run, int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) {
        run->seen = both_in(n, j->dy->width);
        run->stored = both_in(2 * n + 1 - j->extent.pad_left, j->dx->width);
        run_columns(j, run, n, n + 1, j->how.back->edge);
    }
}

static void run_rows(const dwc_dx_job *j, dwc_dw_back_run *run) {
    const int64_t width = j->dx->width, pad = j->extent.pad_left;
    const int64_t begin = block_of(0, pad), end = block_of(width - 1, pad) + 1;
    const int64_t first = within(pad / 2, begin, end); /* that sees no padding, and is stored whole */
    const int64_t last = within(smaller(j->dy->width - 1, block_of(width - 2, pad) + 1), first, end);
    run_edges(j, run, begin, first);
    run_columns(j, run, first, last, j->how.back->inner);
    run_edges(j, run, last, end);
}

void dwc_run_back(const dwc_dx_job *j, int64_t image, int64_t begin, int64_t end, int64_t channel_begin,
                  int64_t channel_end) {
    const dwc_view *dx = j->dx, *dy = j->dy;
    const int64_t pad = j->extent.pad_top;
    const char *in[DWC_BACK_ROWS + 1];
    char *out[2 * DWC_BACK_ROWS];
    dwc_dw_back_run run = {.in = in,
                           .out = out,
                           .dy_pixel = in_bytes(dy->pixel),
                           .dx_pixel = in_bytes(dx->pixel),
                           .ahead = in_bytes(DWC_BACK_ROWS * dy->row),
                           .streams = j->how.streams,
                           .weights = j->filter,
                           .tap = j->g->in_channels,
                           .channel = channel_begin,
                           .channels = channel_end - channel_begin};
    if (begin >= end) return;
    const int64_t last = block_of(end - 1, pad);
    for (int64_t m = block_of(begin, pad); m <= last; m += run.rows) {
        run.rows = (int)smaller(DWC_BACK_ROWS, last - m + 1);
        for (int64_t i = 0; i <= run.rows; i++) {
            const int there = m + i >= 0 && m + i < dy->height;
            in[i] = there ? (const char *)(dy->data + image * dy->image + (m + i) * dy->row) : NULL;
        }
        for (int64_t i = 0; i < 2 * run.rows; i++) {
            const int64_t row = 2 * m + 1 - pad + i;
            const int there = row >= begin && row < end;
            out[i] = there ? (char *)(dx->data + image * dx->image + row * dx->row) : NULL;
        }
        run_rows(j, &run);
    }
    if (run.streams) j->g->table->end_stream();
}
