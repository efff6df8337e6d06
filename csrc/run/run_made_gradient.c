/* The gradient of what a normalization read, made for the walk of the convolution before it: of a band of rows or a box
 * of pixels, in memory of the worker, whose second-level cache it stays in until it was read. */
#include "gradient.h"

/* Strides of made rows; pixels lie side by side, with the channels that a worker takes. */
static void lay_out(const dwc_gradient_job *j, int64_t rows, int64_t columns, dwc_view *y) {
    y->pixel = j->how.block_channels;
    y->row = columns * y->pixel;
    y->image = rows * y->row;
}

void dwc_lay_out_made(const dwc_gradient_job *j, dwc_view *y) {
    y->data = NULL;
    lay_out(j, y->height, y->width, y);
}

const dwc_gradient_job *dwc_own_job(const dwc_gradient_job *j, dwc_own_gradient *o) {
    if (!j->norm) return j;
    o->j = *j;
    o->y = *j->y;
    o->j.y = &o->y;
    if (!j->input) return &o->j;
    o->input = *j->input;
    o->input.dy = &o->y;
    o->j.input = &o->input;
    return &o->j;
}

void dwc_make_pixels(dwc_own_gradient *o, int worker, const dwc_made *m, int64_t begin, int64_t end) {
    const dwc_gradient_job *j = &o->j;
    dwc_view *y = &o->y;
    float *to = j->made + worker * j->made_floats;
    const int flat = !j->how.depthwise && j->how.flat; /* columns are pixels of all rows and images */
    if (!flat) lay_out(j, m->rows, m->columns, y);
    /* Where pixel 0 would be, so that others are found by their numbers. */
    const int64_t before = m->image * y->image + m->row * y->row + m->column * y->pixel + begin;
    y->data = (float *)((uintptr_t)to - (uintptr_t)in_bytes(before));
    const int whole = m->columns == y->width;
    const int64_t rows = whole ? 1 : m->rows, pixels = whole ? m->rows * m->columns : m->columns;
    for (int64_t i = 0; i < m->images; i++)
        for (int64_t row = 0; row < rows; row++, to += pixels * y->pixel)
            dwc_make_norm_gradient(j->norm,
                                   ((m->image + i) * y->height + m->row + row) * y->width + m->column, pixels,
                                   begin, end, to, y->pixel);
}
