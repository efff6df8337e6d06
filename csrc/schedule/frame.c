/* Operations as they are walked: see dwc_frame. */
#include "schedule.h"

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

static void turn_view(dwc_view *v) {
    swap(&v->height, &v->width);
    swap(&v->row, &v->pixel);
}

dwconv_status dwc_frame_of(const dwconv_window *w, const dwc_view *x, const dwc_view *y, dwc_frame *f) {
    const int row = x->height == 1 && y->height == 1 && w->kernel_h == 1 && w->pad_top == 0;
    const int column = x->width == 1 && y->width == 1 && w->kernel_w == 1 && w->pad_left == 0;
    *f = (dwc_frame){.x = *x, .y = *y, .window = *w, .sequence = row || column};
    if (row) {
        turn_view(&f->x);
        turn_view(&f->y);
        dwc_turn_window(&f->window);
    }
    return dwc_window_extent(&f->window, f->x.height, f->x.width, &f->extent);
}
