/* The depthwise walk. The kernels know rows of pointers and runs of tiles; what these stand for is decided by the schedule
 * and made here:
 *
 *     a dilation      every d-th row and column is a dense image of its own
 *     a ring          pointers to its slots
 *     copied rows     pointers to a copy with a pitch that suits the first-level cache
 *     a sequence      two stretches of its only row, as if they were two
 *     padding         no pointer */
#include <math.h>
#include <string.h>

#include "depthwise.h"

static const char *row_of(const dwc_dw_image *m, int64_t i) {
    if (i < 0 || i >= m->in_h) return NULL;
    const int64_t row = m->row_first + i * m->row_step;
    return m->x + (row < m->ring_rows ? row : row % m->ring_rows) * m->x_row;
}

/* ---- rows of an image ------------------------------------------------------------------------ */

/* Pointers to the input rows that outputs see from row `oy` on, kernel rows [ky, ky + kernel_h); whether none that is seen is
 * padding. */
static int point(const dwc_dw_image *m, int64_t oy, int rows, int64_t ky, int64_t kernel_h, const char **in) {
    const int64_t first = oy * m->stride_h - m->pad_top + ky, count = (rows - 1) * m->stride_h + kernel_h;
    int whole = 1;
    for (int64_t i = count; i < DWC_MOST_TILE_ROWS; i++) in[i] = NULL; /* that no output sees */
    for (int64_t i = 0; i < count; i++) {
        in[i] = row_of(m, first + i);
        whole &= in[i] != NULL || i % m->stride_h >= kernel_h;
    }
    return whole;
}

/* A run tile by tile, which takes outputs past the caches from a buffer that the next tile reuses. */
static void run_streamed(const dwc_dw_image *m, const dwc_dw_columns *c, dwc_dw_function kernel) {
    _Alignas(64) float buffer[2 * DWC_MOST_COLUMNS * DWC_STREAM_CHANNELS];
    const int64_t bytes = m->channels * (int64_t)sizeof(float);
    dwc_dw_run run = c->run;
    run.tiles = 1;
    run.y = (char *)buffer;
    run.y_row = c->tile * bytes;
    run.y_out = bytes;
    for (int64_t tile = 0; tile < c->run.tiles; tile++, run.x += run.x_tile) {
        kernel(&run);
        for (int r = 0; r < run.rows; r++)
            m->call->table->stream_pixels(run.y + r * run.y_row, bytes, c->tile, bytes,
                                          c->run.y + tile * c->run.y_tile + r * c->run.y_row, c->run.y_out);
    }
}

/* One or two output rows of `count` runs, or more of kernels that roll; kernel rows [ky, ky + kernel_h). */
static void run_pair(const dwc_dw_image *m, dwc_dw_columns *runs, int count, int64_t oy, int rows, int64_t ky,
                     int64_t kernel_h) {
    const char *in[DWC_MOST_ROWS], *stretches[2];
    const dwc_dw_schedule *how = m->call->how;
    const int partial = ky + kernel_h < m->call->stage->window.kernel_h,
              whole = point(m, oy, rows, ky, kernel_h, in);
    for (int i = 0; i < count; i++) {
        dwc_dw_columns *c = &runs[i];
        dwc_dw_run *run = &c->run;
        char *const y = run->y;
        run->in = in;
        run->y += oy * m->y_row;
        run->rows = rows;
        run->kernel_h = (int)kernel_h;
        run->kernel_row = ky;
        run->resumes = ky > 0;
        run->low = partial ? -INFINITY : m->call->stage->low;
        run->high = partial ? INFINITY : m->call->stage->high;
        run->activation =
            partial || m->call->stage->activation.kind == DWCONV_CLIP ? NULL : &m->call->stage->activation;
        if (c->doubled) {
            stretches[0] = in[0];
            stretches[1] = in[0] ? in[0] + run->columns * run->x_out : NULL;
            run->in = stretches;
            run->rows = 2;
        }
        const int all = whole && run->rows == 2;
        if (c->tile && how->streams && !run->streams)
            run_streamed(m, c, all ? c->whole : c->some);
        else if (c->some)
            (all ? c->whole : c->some)(run);
        if (c->lanes) c->lanes(run);
        run->y = y;
    }
}

/* Whether pointers to the input rows of an output are more than there is room for: its sums wait in its place between passes, so
 * that no output may belong to two runs or vectors at a time. */
static int is_tall(const dwc_dw_image *m) {
    return m->call->stage->window.kernel_h + m->stride_h > DWC_MOST_ROWS;
}

/* Output rows [begin, end), two at a time; tall windows in several passes, run by run, since runs may overlap. */
static void run_pairs(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t begin, int64_t end) {
    const int64_t kernel_h = m->call->stage->window.kernel_h;
    if (!is_tall(m)) {
        for (int64_t oy = begin; oy < end; oy += 2)
            run_pair(m, cut->runs, cut->count, oy, (int)smaller(2, end - oy), 0, kernel_h);
        return;
    }
    for (int64_t oy = begin; oy < end; oy++)
        for (int i = 0; i < cut->count; i++)
            for (int64_t ky = 0; ky < kernel_h; ky += DWC_MOST_ROWS)
                run_pair(m, &cut->runs[i], 1, oy, 1, ky, smaller(kernel_h - ky, DWC_MOST_ROWS));
}

static int rolls(const dwc_dw_image *m) {
    return m->call->how->way == DWC_BY_TILES && m->call->stage->kernel->rolls;
}

/* The same where tiles go down the image: run by run, as many rows as there is room for pointers. */
static void run_rolling(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t begin, int64_t end) {
    const int64_t kernel_h = m->call->stage->window.kernel_h;
    const int64_t most = (DWC_MOST_ROWS - kernel_h) / m->stride_h + 1;
    for (int64_t oy = begin, rows; oy < end; oy += rows) {
        rows = smaller(end - oy, most);
        for (int i = 0; i < cut->count; i++) {
            const int64_t at_once = cut->runs[i].tile ? rows : 2;
            for (int64_t row = 0; row < rows; row += at_once)
                run_pair(m, &cut->runs[i], 1, oy + row, (int)smaller(at_once, rows - row), 0, kernel_h);
        }
    }
}

/* Some rows of a tile of vectors: three kernel rows at a time, then single ones. What a vector has beyond its pixels is stored
 * over the first ones of the next tile, so that a tile is finished before the next begins. */
static void run_passes(const dwc_dw_image *m, dwc_dw_run run, int64_t oy) {
    const dwc_depthwise_stage *stage = m->call->stage;
    const dwc_dw_few *few = &m->call->table->few;
    const int64_t kernel_h = stage->window.kernel_h;
    const char *in[DWC_MOST_ROWS];
    run.in = in;
    for (int64_t ky = 0, rows; ky < kernel_h; ky += rows) {
        rows = kernel_h - ky < 3 ? 1 : 3;
        const int finish = ky + rows == kernel_h;
        for (int64_t i = 0; i < run.rows + rows - 1; i++) in[i] = row_of(m, oy - m->pad_top + ky + i);
        run.kernel_row = ky;
        run.resumes = ky > 0;
        run.low = finish ? stage->low : -INFINITY;
        run.high = finish ? stage->high : INFINITY;
        (rows == 3 ? few->three : few->one)(&run);
    }
}

static void run_vectors(const dwc_dw_image *m, const dwc_dw_cut *cut, int64_t begin, int64_t end) {
    const dwc_depthwise_stage *stage = m->call->stage;
    const int64_t size = sizeof(float), columns = cut->vectors_end - cut->vectors_begin;
    const int64_t at_once =
        stage->window.kernel_h == 1 || stage->window.kernel_h == 3 ? INT64_MAX : 1; /* tiles */
    for (int64_t oy = begin, count; oy < end; oy += count) {
        count = smaller(end - oy, DWC_MOST_ROWS - 2);
        for (int i = 0; i < cut->count; i++) {
            dwc_dw_run run = cut->runs[i].run;
            if (!cut->runs[i].vectors) continue;
            run.y += oy * m->y_row;
            run.rows = (int)count;
            for (int64_t left = run.tiles; left > 0; left -= run.tiles) {
                run.tiles = smaller(left, at_once);
                run_passes(m, run, oy);
                run.x += run.x_tile;
                run.y += run.y_tile;
            }
        }
        if (stage->activation.kind != DWCONV_CLIP)
            m->call->table->few.activate(
                (float *)(void *)(m->y + oy * m->y_row + cut->vectors_begin * m->y_pixel),
                columns * m->channels, count, m->y_row / size, &stage->activation);
    }
}

/* Output rows [begin, end) of all columns. They are cut once, unless there is no room for all runs of them. */
static void run_rows(const dwc_dw_image *m, dwc_dw_cut *cut, int64_t begin, int64_t end) {
    const int cut_before = cut->count > 0 && cut->begin == 0 && cut->next == m->out_w;
    if (!cut_before) cut->next = 0;
    do {
        if (!cut_before) dwc_cut_columns(m, cut);
        if (cut->vectors) run_vectors(m, cut, begin, end);
        (rolls(m) ? run_rolling : run_pairs)(m, cut, begin, end);
    } while (cut->next < m->out_w);
}

/* ---- copied rows ----------------------------------------------------------------------------- */

/* Output columns [begin, end) of `part`, some channels of an image, on copies of what they see; each row is copied once. */
static void run_copied_columns(const dwc_dw_image *m, dwc_dw_image *part, int64_t begin, int64_t end,
                               char *copies) {
    const int64_t kernel_h = m->call->stage->window.kernel_h, kernel_w = m->call->stage->window.kernel_w;
    const int64_t ix = begin * m->stride_w - m->pad_left, left = smaller(ix < 0 ? 0 : ix, m->in_w);
    const int64_t right = smaller((end - 1) * m->stride_w - m->pad_left + kernel_w, m->in_w);
    const int64_t offset = (part->channel - m->channel) * (int64_t)sizeof(float);
    part->in_w = right > left ? right - left : 0;
    part->out_w = end - begin;
    part->pad_left = left - ix;
    part->x_row = part->in_w * part->x_pixel;
    part->y = m->y + offset + begin * m->y_pixel;
    dwc_dw_cut cut; /* most of it stays unused */
    cut.count = 0;
    int64_t next = 0; /* input row to be copied */
    for (int64_t oy = 0; oy < m->out_h; oy += 2) {
        const int64_t stop = smaller(oy + 2, m->out_h), first = oy * m->stride_h - m->pad_top;
        const int64_t seen = smaller((stop - 1) * m->stride_h - m->pad_top + kernel_h, m->in_h);
        if (next < first) next = first;
        for (; next < seen; next++)
            m->call->table->copy_pixels(row_of(m, next) + offset + left * m->x_pixel, m->x_pixel, part->in_w,
                                        part->channels * (int64_t)sizeof(float),
                                        copies + next % part->ring_rows * part->x_row, part->x_pixel);
        run_rows(part, &cut, oy, stop);
    }
}

static void run_copied(const dwc_dw_image *m) {
    _Alignas(64) char copies[DWC_COPY_BYTES];
    const dwc_dw_schedule *how = m->call->how;
    const dwc_depthwise_stage *stage = m->call->stage;
    const int64_t lines = how->copied_channels / DWC_LINE_FLOATS;
    dwc_dw_image part = *m;
    part.x = copies;
    part.x_pixel = (lines | 1) * DWC_LINE_FLOATS * (int64_t)sizeof(float);
    part.ring_rows = m->stride_h + stage->window.kernel_h;
    part.row_first = 0;
    part.row_step = 1;
    for (int64_t done = 0; done < m->channels; done += part.channels) {
        part.channel = m->channel + done;
        part.channels = smaller(how->copied_channels, m->channels - done);
        part.weights = m->weights + done / m->call->table->lanes * stage->block;
        part.last =
            done + part.channels == m->channels && part.channels > m->call->table->lanes ? m->last : NULL;
        for (int64_t begin = 0; begin < m->out_w; begin += how->copied_columns)
            run_copied_columns(m, &part, begin, smaller(begin + how->copied_columns, m->out_w), copies);
    }
}

/* ---- dense images of a call ------------------------------------------------------------------ */

/* Outputs first, first + step and so on of an axis, and the inputs that they see: every dilation-th, from `origin` on, as an
 * axis without a dilation. */
typedef struct axis {
    int64_t outputs, step, origin, inputs, pad, stride;
} axis;

static axis dense_axis(int64_t first, int64_t end, int64_t in, int64_t pad, int64_t stride,
                       int64_t dilation) {
    const int64_t divisor = common_divisor(stride, dilation), place = first * stride - pad;
    axis a = {.step = dilation / divisor, .stride = stride / divisor};
    a.origin = (place % dilation + dilation) % dilation;
    a.outputs = divide_up(end - first, a.step);
    a.inputs = a.origin < in ? divide_up(in - a.origin, dilation) : 0;
    a.pad = (a.origin - place) / dilation;
    return a;
}

static void run_image(const dwc_dw_call *c, const axis *rows, const axis *columns, int64_t row,
                      int64_t column, int64_t dilation_w) {
    const dwc_depthwise_stage *stage = c->stage;
    const dwconv_window *w = &stage->window;
    const int64_t size = sizeof(float), input = stage->multiplier > 1 ? 0 : c->channel_begin;
    const int64_t channels = c->channel_end - c->channel_begin, lanes = c->table->lanes;
    const int64_t phase = dilation_w > 1 ? 1 : w->dilation_w; /* columns of the call from column to column */
    dwc_dw_image m = {.call = c,
                      .x = c->x + columns->origin * c->x_pixel + input * size,
                      .x_row = c->x_row,
                      .ring_rows = c->ring_rows,
                      .row_first = rows->origin,
                      .row_step = w->dilation_h,
                      .in_h = rows->inputs,
                      .x_pixel = phase * c->x_pixel,
                      .in_w = columns->inputs,
                      .y = c->y + row * c->y_row + column * c->y_pixel + c->channel_begin * size,
                      .y_row = rows->step * c->y_row,
                      .y_pixel = columns->step * c->y_pixel,
                      .out_h = rows->outputs,
                      .out_w = columns->outputs,
                      .pad_top = rows->pad,
                      .pad_left = columns->pad,
                      .stride_h = rows->stride,
                      .stride_w = columns->stride,
                      .dilation_w = dilation_w,
                      .channel = c->channel_begin,
                      .channels = channels,
                      .weights = stage->weights + c->channel_begin / lanes * stage->block,
                      .last = channels > lanes && channels % lanes ? stage->last : NULL};
    if (is_tall(&m)) m.last = NULL;
    if (c->how->copied_channels) {
        run_copied(&m);
        return;
    }
    dwc_dw_cut cut; /* most of it stays unused */
    cut.count = 0;
    run_rows(&m, &cut, 0, m.out_h);
}

void dwc_run_depthwise(const dwc_dw_call *c) {
    const dwconv_window *w = &c->stage->window;
    const int together = w->dilation_w == 1 || c->how->neighbours || c->how->way == DWC_BY_VECTORS;
    const axis all = {c->out_w, 1, 0, c->in_w, c->pad_left, w->stride_w};
    axis rows = {.step = 1};
    for (int64_t row = c->row_begin; row < c->row_begin + rows.step && row < c->row_end; row++) {
        rows = dense_axis(row, c->row_end, c->in_h, c->pad_top, w->stride_h, w->dilation_h);
        axis columns = all;
        for (int64_t column = 0; column < columns.step && column < c->out_w; column++) {
            if (!together)
                columns = dense_axis(column, c->out_w, c->in_w, c->pad_left, w->stride_w, w->dilation_w);
            run_image(c, &rows, &columns, row - c->row_begin, column, together ? w->dilation_w : 1);
        }
    }
    if (c->how->streams) c->table->end_stream();
}

dwc_dw_call dwc_stretch(const dwc_depthwise_stage *along, const dwc_view *x, const float *from, int64_t held,
                        int64_t pad, int64_t begin, int64_t end) {
    const int64_t first = begin * along->window.stride_w - pad, seen = larger(first, 0);
    const int64_t skipped = smaller(seen, x->height);
    return (dwc_dw_call){.stage = along,
                         .x = (const char *)(from + (skipped - held) * x->row),
                         .x_pixel = in_bytes(x->row),
                         .in_h = 1,
                         .in_w = x->height - skipped,
                         .ring_rows = 1,
                         .out_w = end - begin,
                         .pad_left = seen - first,
                         .row_end = 1};
}
