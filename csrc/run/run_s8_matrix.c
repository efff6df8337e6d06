/* Pointwise and dense stages of bytes: rows of pixels, read in place or copied with their padding, times panels. */
#include <string.h>

#include "s8.h"

enum { MOST_ROWS = 64 }; /* as in graph/pack_quantized.c */

/* Rows of pixels for the kernel rows of an output row. Copies are dense; `held` says of which input rows they are. */
typedef struct source {
    const dwc_s8_job *job;
    int64_t image;
    dwc_s8_columns columns;
    int64_t held[MOST_ROWS];
    uint8_t *copies, *padding;
    const uint8_t *rows[MOST_ROWS];
    int64_t pixel; /* bytes from pixel to pixel */
    int copied;    /* all rows are copies, or the one of padding: some bytes after them may be read */
} source;

static int is_padding(const dwc_s8_job *j, int64_t row) { return row < 0 || row >= j->x.height; }

static int64_t input_row(const dwc_s8_job *j, int64_t row, int64_t ky) {
    const dwconv_window *w = &j->stage->window;
    return row * w->stride_h - j->how->extent.pad_top + ky * w->dilation_h;
}

static const uint8_t *address(const source *s, int64_t row) {
    const dwc_s8_part at = {s->image, row, s->columns.begin, 1, 0, 1};
    return s->job->x.bytes + dwc_s8_at(&s->job->x, &at);
}

static void copy_row(const source *s, int64_t row, uint8_t *to) {
    const dwc_view *x = &s->job->x;
    const dwc_s8_columns *c = &s->columns;
    const uint8_t *from = address(s, row);
    const size_t bytes = (size_t)x->channels;
    memset(to, s->job->stage->fill, (size_t)c->left * bytes);
    to += c->left * x->channels;
    if (x->pixel == x->channels)
        memcpy(to, from, (size_t)c->count * bytes);
    else
        for (int64_t i = 0; i < c->count; i++) memcpy(to + i * x->channels, from + i * x->pixel, bytes);
    to += c->count * x->channels;
    memset(to, s->job->stage->fill, (size_t)c->right * bytes);
    if (s->job->stage->matrix.k % DWC_S8_WORD)
        memset(to + c->right * x->channels, s->job->stage->fill, DWC_S8_WORD);
}

/* The copy of an input row: made now, in the place of a row that output row `row` does not see. */
static const uint8_t *copy_of(source *s, int64_t row, int64_t wanted) {
    const int64_t taps = s->job->stage->window.kernel_h;
    int64_t place = -1;
    for (int64_t i = 0; i < taps; i++) {
        if (s->held[i] == wanted) return s->copies + i * s->job->how->row_bytes;
        int seen = 0;
        for (int64_t ky = 0; ky < taps; ky++) seen |= s->held[i] == input_row(s->job, row, ky);
        if (!seen) place = i;
    }
    s->held[place] = wanted;
    uint8_t *to = s->copies + place * s->job->how->row_bytes;
    copy_row(s, wanted, to);
    return to;
}

/* In place where no column is padding, and pixels are dense where that is needed: where taps are joined, and beside the
 * row of padding. Not of windows whose runs are no whole words: copies have bytes after them that can be read. */
static void find_rows(source *s, int64_t row) {
    const dwc_s8_job *j = s->job;
    const dwconv_window *w = &j->stage->window;
    const int dense = j->x.pixel == j->x.channels;
    int padded = s->columns.left > 0 || s->columns.right > 0;
    padded |= j->stage->matrix.k % DWC_S8_WORD && w->kernel_h * w->kernel_w > 1;
    for (int64_t ky = 0; ky < w->kernel_h && !dense; ky++) padded |= is_padding(j, input_row(j, row, ky));
    const int copies = padded || (!dense && j->stage->joins_taps && w->kernel_w > 1);
    s->copied = copies;
    s->pixel = copies ? j->x.channels : j->x.pixel;
    for (int64_t ky = 0; ky < w->kernel_h; ky++) {
        const int64_t y = input_row(j, row, ky);
        s->rows[ky] = is_padding(j, y) ? s->padding : copies ? copy_of(s, row, y) : address(s, y);
    }
}

/* Outputs [0, pixels) of row `row`, and of those after it where all is dense; `rows` are those of the first. */
static void run_pixels(const dwc_s8_job *j, const source *s, int64_t row, int64_t pixels, char *staged) {
    const dwc_s8_stage *stage = j->stage;
    const dwc_s8_matrix *m = &stage->matrix;
    const int is_staged = dwc_s8_is_staged(j);
    const int64_t unit = dwc_s8_unit(j), step = stage->window.stride_w * s->pixel;
    for (int64_t column = 0; column < pixels; column += j->how->columns)
        for (int64_t group = 0; group < stage->groups; group++) {
            const dwc_s8_part part = {.image = s->image,
                                      .row = row,
                                      .column = column,
                                      .pixels = smaller(j->how->columns, pixels - column),
                                      .first = group * m->outputs,
                                      .channels = m->outputs};
            const uint8_t *rows[MOST_ROWS];
            for (int64_t ky = 0; ky < m->taps_y; ky++)
                rows[ky] = s->rows[ky] + column * step + group * stage->group_inputs;
            stage->kernels->matrix(&(dwc_s8_mm_call){
                .rows = rows,
                .a_pixel = step,
                .a_tap = stage->window.dilation_w * s->pixel,
                .pixels = part.pixels,
                .flip = stage->flip,
                .reads_on = s->copied,
                .panels = stage->panels + group * m->panels,
                .runs = stage->runs,
                .weights = stage->packed,
                .start = stage->starts + group * m->padded,
                .multipliers = stage->multipliers + group * m->padded,
                .panel = m->panel,
                .padded = m->padded,
                .columns = m->outputs,
                .y = is_staged ? (void *)staged : (void *)(j->y.bytes + dwc_s8_at(&j->y, &part)),
                .y_pixel = is_staged ? m->outputs * unit : j->y.pixel,
                .end = stage->end});
            dwc_s8_finish(j, &part, is_staged && unit > 1 ? (const int32_t *)(const void *)staged : NULL,
                          is_staged && unit == 1 ? (const uint8_t *)staged : NULL);
        }
}

static int is_flat(const dwc_view *v) { return v->row == v->width * v->pixel; }

/* A pointwise stage without padding, of rows that follow each other. */
static int is_one_row(const dwc_s8_job *j) {
    const dwconv_window *w = &j->stage->window;
    const int pointwise = w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
                          w->padding != DWCONV_EXPLICIT;
    return pointwise && is_flat(&j->x) && is_flat(&j->y) && (!j->add || is_flat(&j->residual));
}

void dwc_s8_run_matrix(const dwc_s8_job *j, int64_t image, int64_t begin, int64_t end, char *memory) {
    const int64_t taps = j->stage->window.kernel_h;
    source s = {.job = j, .image = image, .columns = dwc_s8_columns_of(j, 0, j->y.width)};
    s.copies = (uint8_t *)memory + j->how->staged_bytes;
    s.padding = s.copies + taps * j->how->row_bytes;
    if (is_one_row(j)) {
        s.pixel = j->x.pixel;
        s.rows[0] = address(&s, begin);
        run_pixels(j, &s, begin, (end - begin) * j->y.width, memory);
        return;
    }
    for (int64_t i = 0; i < taps; i++) s.held[i] = INT64_MIN;
    if (j->how->row_bytes) memset(s.padding, j->stage->fill, (size_t)j->how->row_bytes);
    for (int64_t row = begin; row < end; row++) {
        find_rows(&s, row);
        run_pixels(j, &s, row, j->y.width, memory);
    }
}
