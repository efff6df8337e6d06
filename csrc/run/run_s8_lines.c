/* Depthwise stages of bytes: two rows are interleaved to a line, and kernels make outputs of some lines. */
#include "s8.h"

enum { MOST_LINES = 64, MOST_PASSES = MOST_LINES / 2 + 1 }; /* as in graph/pack_quantized.c */

/* Channels [first, first + count), made of inputs [in_first, in_first + inputs), and columns [column, column +
 * pixels). */
typedef struct tile {
    const dwc_s8_job *job;
    int64_t image, first, count, in_first, inputs, column, pixels;
    int64_t group; /* of the first channel */
    dwc_s8_columns columns;
    char *lines, *staged;
    int64_t held[MOST_LINES]; /* the number of the line at each place; -1: none */
} tile;

/* Line `line` of output row `row`: two rows of the image, `dilation_h` apart. */
static void fill_line(const tile *t, int64_t row, int line, char *to) {
    const dwc_s8_job *j = t->job;
    const dwc_s8_stage *s = j->stage;
    const dwconv_window *w = &s->window;
    dwc_s8_interleave call = {.pixel = j->x.pixel,
                              .left = t->columns.left,
                              .columns = t->columns.count,
                              .right = t->columns.right + dwc_s8_columns_beyond(&s->lines) * w->dilation_w,
                              .channels = t->inputs,
                              .fill = s->fill,
                              .flip = s->flip,
                              .line = (uint8_t *)to,
                              .pitch = 2 * t->inputs};
    for (int r = 0; r < 2; r++) {
        const int64_t y =
            row * w->stride_h - j->how->extent.pad_top + (2 * (int64_t)line + r) * w->dilation_h;
        if (y < 0 || y >= j->x.height || t->columns.count == 0) continue;
        const dwc_s8_part at = {t->image, y, t->columns.begin, 1, t->in_first, 1};
        call.rows[r] = j->x.bytes + dwc_s8_at(&j->x, &at);
    }
    s->kernels->interleave(&call);
}

/* Lines of run `number` of a tile, which begins with output row `row`. Lines that the next run sees as well are kept:
 * they go round, and that of number n lies at n modulo their count. */
static void find_lines(tile *t, int64_t row, int64_t number, const uint8_t *lines[]) {
    const dwc_s8_depthwise *d = &t->job->stage->lines;
    const int64_t rows = d->sets * d->stride_h; /* from run to run */
    const int64_t first = number * (rows % 2 ? d->lines : rows / 2);
    for (int line = 0; line < d->lines; line++) {
        const int place = (int)((first + line) % d->lines);
        char *at = t->lines + place * t->job->how->row_bytes;
        lines[line] = (const uint8_t *)at;
        if (t->held[place] == first + line) continue;
        fill_line(t, row, line, at);
        t->held[place] = first + line;
    }
}

/* The passes of a run on these lines, each `times` times. */
static int find_passes(const tile *t, const uint8_t *const *lines, int64_t x_tap, int times,
                       dwc_s8_pass *passes) {
    const dwc_s8_depthwise *d = &t->job->stage->lines;
    int count = 0;
    for (int i = 0; i < d->passes; i++)
        for (int again = 0; again < times; again++) passes[count++] = dwc_s8_pass_of(d, i, lines, x_tap);
    return count;
}

/* Groups of channels run together as long as their weights are of as many numbers. `run`: of all of the tile's, whose
 * outputs are `unit` bytes. */
static void run_groups(const tile *t, const uint8_t *const *lines, dwc_s8_dw_run *run, int64_t unit) {
    const dwc_s8_stage *s = t->job->stage;
    const dwc_s8_depthwise *d = &s->lines;
    const int64_t first = t->first * d->pixels, end = first + run->channels, size = 2 * s->kernels->lanes;
    const int64_t channel = run->channel;
    dwc_s8_pass passes[DWC_S8_NUMBERS * MOST_PASSES];
    uint8_t *y = run->y;
    int times = 0;
    run->passes = passes;
    for (int64_t group = t->group, next; group * size < end; group = next) {
        const int numbers = s->index[group].numbers;
        for (next = group + 1; next * size < end && s->index[next].numbers == numbers;) next++;
        const int64_t begin = dwc_s8_group_begin(d, s->kernels, group) - first;
        run->weights = (const uint8_t *)s->packed + s->index[group].weights;
        run->block = dwc_s8_group_bytes(d, numbers);
        run->channel = channel + begin;
        run->channels = smaller(next * size, end) - first - begin;
        run->y = y + begin * unit;
        if (numbers != times) run->count = find_passes(t, lines, run->x_tap, times = numbers, passes);
        s->kernels->depthwise(run);
    }
}

/* Run `number` of a tile: output row `row`, and the one `step` further if `rows` is 2. */
static void run_rows(tile *t, int64_t row, int rows, int64_t step, int64_t number) {
    const dwc_s8_job *j = t->job;
    const dwc_s8_stage *s = j->stage;
    const dwc_s8_depthwise *d = &s->lines;
    const uint8_t *lines[MOST_LINES];
    find_lines(t, row, number, lines);
    const int64_t together = larger(t->pixels, d->pixels), columns = divide_up(together, d->pixels);
    const int staged =
        dwc_s8_is_staged(j) || together > t->pixels || (d->pixels > 1 && j->y.pixel > t->count);
    const int64_t unit = dwc_s8_unit(j), pitch = 2 * t->inputs, dense = t->count * unit;
    const int64_t y_pixel = staged ? dense : j->y.pixel, back = columns * d->pixels - together;
    const dwc_s8_part part = {t->image, row, t->column, t->pixels, t->first, t->count};
    uint8_t *y = staged ? (uint8_t *)t->staged : j->y.bytes + dwc_s8_at(&j->y, &part);
    dwc_s8_dw_run run = {.rows = rows,
                         .sets = d->sets,
                         .kernel_w = s->window.kernel_w,
                         .x_tap = s->window.dilation_w * pitch,
                         .x_out = s->window.stride_w * pitch * d->pixels,
                         .columns = columns,
                         .x_back = s->window.stride_w * pitch * back,
                         .y_back = y_pixel * back,
                         .channel = t->first - t->in_first * d->multiplier,
                         .channels = t->count * d->pixels,
                         .multiplier = d->multiplier,
                         .y = y,
                         .y_row = staged ? together * dense : step * j->y.row,
                         .y_out = y_pixel * d->pixels,
                         .end = s->end};
    run_groups(t, lines, &run, unit);
    for (int r = 0; r < rows; r++) {
        dwc_s8_part done = part;
        done.row += r * step;
        const char *from = t->staged + r * together * dense;
        dwc_s8_finish(j, &done, staged && unit > 1 ? (const int32_t *)(const void *)from : NULL,
                      staged && unit == 1 ? (const uint8_t *)from : NULL);
    }
}

/* With a dilation, rows that see the same lines are `step` apart. */
static void run_tile(tile *t, int64_t begin, int64_t end) {
    const dwconv_window *w = &t->job->stage->window;
    const dwc_s8_depthwise *d = &t->job->stage->lines;
    const int64_t step = w->dilation_h / common_divisor(w->stride_h, w->dilation_h);
    for (int64_t first = begin; first < smaller(begin + step, end); first++) {
        int64_t number = 0;
        for (int i = 0; i < d->lines; i++) t->held[i] = -1;
        for (int64_t row = first; row < end; row += d->sets * step)
            run_rows(t, row, (int)smaller(d->sets, divide_up(end - row, step)), step, number++);
    }
}

void dwc_s8_run_lines(const dwc_s8_job *j, int64_t image, int64_t begin, int64_t end, char *memory) {
    const dwc_s8_stage_schedule *how = j->how;
    const int64_t all = j->y.channels, multiplier = j->stage->group_outputs;
    const int64_t blocks = larger(all / how->channels, 1);
    tile t = {.job = j, .image = image, .staged = memory, .lines = memory + how->staged_bytes};
    for (int64_t b = 0; b < blocks; b++) {
        t.first = b * how->channels;
        t.count = b == blocks - 1 ? all - t.first : how->channels;
        t.group = t.first / (2 * j->stage->kernels->lanes);
        t.in_first = t.first / multiplier;
        t.inputs = (t.first + t.count - 1) / multiplier + 1 - t.in_first;
        for (t.column = 0; t.column < j->y.width; t.column += how->columns) {
            t.pixels = smaller(how->columns, j->y.width - t.column);
            if (t.pixels < j->stage->lines.pixels) { /* all that make one, if there are */
                t.column = larger(j->y.width - j->stage->lines.pixels, 0);
                t.pixels = j->y.width - t.column;
            }
            t.columns = dwc_s8_columns_of(j, t.column, t.pixels);
            run_tile(&t, begin, end);
        }
    }
}
