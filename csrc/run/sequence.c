/* Sequences: images of one row under windows of one row, or of one column under windows of one column. Which of the two a caller
 * has makes no difference here: as a column their pixels are rows, which workers share and chunks take some of, and a
 * depthwise kernel gets any stretch of them as a row, along which tiles lie. */
#include "depthwise.h"

int dwc_is_row(const dwconv_window *w, const dwc_view *x, const dwc_view *y) {
    return x->height == 1 && y->height == 1 && w->kernel_h == 1 && w->pad_top == 0;
}

int dwc_is_column(const dwconv_window *w, const dwc_view *x, const dwc_view *y) {
    return x->width == 1 && y->width == 1 && w->kernel_w == 1 && w->pad_left == 0;
}

static void swap(int64_t *a, int64_t *b) {
    const int64_t kept = *a;
    *a = *b;
    *b = kept;
}

void dwc_turn_window(dwconv_window *w) {
    swap(&w->kernel_h, &w->kernel_w);
    swap(&w->stride_h, &w->stride_w);
    swap(&w->dilation_h, &w->dilation_w);
    swap(&w->pad_top, &w->pad_left);
    swap(&w->pad_bottom, &w->pad_right);
}

void dwc_turn_view(dwc_view *v) {
    swap(&v->height, &v->width);
    swap(&v->row, &v->pixel);
}

dwc_dw_call dwc_stretch(const dwc_depthwise_stage *along, const dwc_view *x, const float *from, int64_t held,
                        int64_t pad, int64_t begin, int64_t end) {
    const int64_t first = begin * along->window.stride_w - pad, seen = first < 0 ? 0 : first,
                  skipped = seen < x->height ? seen : x->height;
    return (dwc_dw_call){.stage = along,
                         .x = (const char *)(from + (skipped - held) * x->row),
                         .x_pixel = x->row * (int64_t)sizeof(float),
                         .in_h = 1,
                         .in_w = x->height - skipped,
                         .ring_rows = 1,
                         .out_w = end - begin,
                         .pad_left = seen - first,
                         .row_end = 1};
}
