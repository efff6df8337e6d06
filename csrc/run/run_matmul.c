/* Convolution rows as calls of the matrix kernel: rectangles of outputs that see the same taps. */
#include "run.h"
#include "taps.h"

static void call_in_blocks(const dwc_matmul_stage *stage, int64_t block, dwc_mm_call *call) {
    for (int64_t left = call->pixels; left > 0; left -= call->pixels) {
        call->pixels = left < block + block / 2 ? left : block;
        stage->kernel->run(call);
        call->a += call->pixels * call->a_pixel;
        call->y += call->pixels * call->y_pixel;
        if (call->residual) call->residual += call->pixels * call->residual_pixel;
    }
}

/* Output rows [oy, oy + rows) x columns [ox, ox + columns), all of which see the same taps. */
static void run_rectangle(const dwc_matmul_rows *r, int64_t group, int64_t oy, int64_t rows, int64_t ox,
                          int64_t columns) {
    const dwc_matmul_stage *s = r->stage;
    const dwconv_window *w = &s->window;
    const int64_t iy = oy * w->stride_h - r->pad_top, ix = ox * w->stride_w - r->pad_left;
    const tap_range ky = valid_taps(iy, w->kernel_h, w->dilation_h, r->in_h);
    const tap_range kx = valid_taps(ix, w->kernel_w, w->dilation_w, r->in_w);
    const int64_t first_output = group * s->group_outputs + r->column_begin;
    const float *a = r->x + (iy + ky.begin * w->dilation_h) * r->x_row +
                     (ix + kx.begin * w->dilation_w) * r->x_pixel + group * s->group_inputs;
    float *y = r->y + (oy - r->row_begin) * r->y_row + ox * r->y_pixel + first_output;
    const float *residual = r->residual;
    if (residual) residual += (oy - r->row_begin) * r->residual_row + ox * r->residual_pixel + first_output;
    dwc_mm_call call = {.taps_y = ky.end - ky.begin,
                        .taps_x = kx.end - kx.begin,
                        .a_tap_y = w->dilation_h * r->x_row,
                        .a_tap_x = w->dilation_w * r->x_pixel,
                        .k = s->group_inputs,
                        .w_first = (ky.begin * w->kernel_w + kx.begin) * s->group_inputs,
                        .w_tap_y = w->kernel_w * s->group_inputs,
                        .w_tap_x = s->group_inputs,
                        .weights = s->weights + group * s->depth * s->padded,
                        .bias = s->bias + group * s->padded,
                        .depth = s->depth,
                        .panel = s->panel,
                        .padded = s->padded,
                        .first = s->first + r->column_begin,
                        .columns = r->column_end - r->column_begin,
                        .residual = residual,
                        .prefetch = r->how->rows_ahead * r->x_row,
                        .activation = s->activation};
    if (call.taps_y == 0 || call.taps_x == 0) { /* nothing but the bias: an empty tap, which reads nothing */
        call.taps_y = call.taps_x = 1;
        call.k = 0;
    } else if (s->joins &&
               call.a_tap_x == s->group_inputs) { /* neighbouring taps are one longer run of inputs */
        call.k *= call.taps_x;
        call.taps_x = 1;
    }
    if (s->joins && call.taps_x == 1 && call.a_tap_y == call.k &&
        call.w_tap_y == call.k) { /* so are kernel rows: of a column of pixels */
        call.k *= call.taps_y;
        call.taps_y = 1;
    }
    if (columns == 1) { /* an edge: the pixels of the call go down the column */
        call.a_pixel = w->stride_h * r->x_row;
        call.y_pixel = r->y_row;
        call.residual_pixel = r->residual_row;
        columns = rows;
        rows = 1;
    } else {
        call.a_pixel = w->stride_w * r->x_pixel;
        call.y_pixel = r->y_pixel;
        call.residual_pixel = r->residual_pixel;
    }
    const int64_t a_row = w->stride_h * r->x_row;
    const int whole = a_row == columns * call.a_pixel && r->y_row == columns * call.y_pixel &&
                      (!residual || r->residual_row == columns * call.residual_pixel);
    if (whole) { /* rows that follow each other in memory are one long row */
        columns *= rows;
        rows = 1;
    }
    call.far_y = r->how->far_y && columns > 1; /* one pixel may have any step */
    if (r->how->pixels_ahead) call.prefetch = r->how->pixels_ahead * call.a_pixel;
    if (columns == 1) call.prefetch = 0;
    for (int64_t row = 0; row < rows; row++) {
        call.a = a + row * a_row;
        call.y = y + row * r->y_row;
        call.residual = residual ? residual + row * r->residual_row : NULL;
        call.pixels = columns;
        call_in_blocks(s, r->how->pixels, &call);
    }
}

/* Columns [begin, end) of a group. */
static void run_columns(dwc_matmul_rows r, int64_t group, int64_t begin, int64_t end) {
    const dwconv_window *w = &r.stage->window;
    r.column_begin = begin;
    r.column_end = end;
    for (int64_t oy = r.row_begin; oy < r.row_end;) {
        const int64_t rows =
            run_length(oy, r.row_end, r.pad_top, w->kernel_h, w->stride_h, w->dilation_h, r.in_h);
        for (int64_t ox = 0; ox < r.out_w;) {
            const int64_t columns =
                run_length(ox, r.out_w, r.pad_left, w->kernel_w, w->stride_w, w->dilation_w, r.in_w);
            run_rectangle(&r, group, oy, rows, ox, columns);
            ox += columns;
        }
        oy += rows;
    }
}

void dwc_run_matmul_rows(const dwc_matmul_rows *r) {
    const int64_t step = r->how->columns;
    for (int64_t group = 0; group < r->stage->groups; group++)
        for (int64_t begin = r->column_begin; begin < r->column_end; begin += step)
            run_columns(*r, group, begin, smaller(begin + step, r->column_end));
}
