/* Depthwise stages of bytes: two rows are interleaved to a line, and kernels make two rows of outputs of some lines. */
#include "s8.h"

enum { MOST_LINES = 64 }; /* as in graph/pack_quantized.c */

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
                              .right = t->columns.right,
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

/* Lines of the pair of output rows that begins with `row`, the `pair`th of its tile. The first line of the next pair is
 * line `stride_h` of this one, so that lines go round: that of number n lies at n modulo their count. */
static void find_lines(tile *t, int64_t row, int rows, int64_t pair, const uint8_t *lines[]) {
    const dwc_s8_depthwise *d = &t->job->stage->lines;
    const int count = 2 * d->quads;
    for (int line = 0; line < count; line++) {
        const int64_t number = pair * d->stride_h + line;
        const int quad = line / 2, place = (int)(number % count);
        char *at = t->lines + place * t->job->how->row_bytes;
        lines[line] = (const uint8_t *)at;
        if (quad >= d->first_end && (rows == 1 || quad < d->second_begin))
            continue; /* no output row sees it */
        if (t->held[place] == number) continue;
        fill_line(t, row, line, at);
        t->held[place] = number;
    }
}

/* Every quad of `lines` comes `times` times. */
static void repeat(dwc_s8_dw_run *run, const dwc_s8_depthwise *d, const uint8_t *const *lines, int times,
                   const uint8_t *again[]) {
    for (int line = 0; line < 2 * d->quads && times > 1; line++)
        for (int i = 0; i < times; i++) again[(line / 2 * times + i) * 2 + line % 2] = lines[line];
    run->lines = times > 1 ? again : lines;
    run->repeats = times;
    run->first_end = times * d->first_end;
    run->second_begin = times * d->second_begin;
    run->quads = times * d->quads;
}

/* Groups of channels run together as long as their weights are of as many numbers. `run`: of all of the tile's, whose
 * outputs are `unit` bytes. */
static void run_groups(const tile *t, dwc_s8_dw_run *run, int64_t unit) {
    const dwc_s8_stage *s = t->job->stage;
    const dwc_s8_depthwise *d = &s->lines;
    const int64_t first = t->first * d->pixels, end = first + run->channels, size = 2 * s->kernels->lanes;
    const int64_t channel = run->channel;
    const uint8_t *const *lines = run->lines, *again[DWC_S8_NUMBERS * MOST_LINES];
    uint8_t *y = run->y;
    for (int64_t group = t->group, next; group * size < end; group = next) {
        const int numbers = s->index[group].numbers;
        for (next = group + 1; next * size < end && s->index[next].numbers == numbers;) next++;
        const int64_t begin = dwc_s8_group_begin(d, s->kernels, group) - first;
        run->weights = (const uint8_t *)s->packed + s->index[group].weights;
        run->block = dwc_s8_group_bytes(d, numbers);
        run->channel = channel + begin;
        run->channels = smaller(next * size, end) - first - begin;
        run->y = y + begin * unit;
        if (numbers != run->repeats) repeat(run, d, lines, numbers, again);
        s->kernels->depthwise(run);
    }
}

/* Output row `row`, and the one `step` further if `rows` is 2. */
static void run_pair(tile *t, int64_t row, int rows, int64_t step, int64_t pair) {
    const dwc_s8_job *j = t->job;
    const dwc_s8_stage *s = j->stage;
    const dwc_s8_depthwise *d = &s->lines;
    const uint8_t *lines[MOST_LINES];
    find_lines(t, row, rows, pair, lines);
    const int64_t together = larger(t->pixels, d->pixels), columns = divide_up(together, d->pixels);
    const int staged =
        dwc_s8_is_staged(j) || together > t->pixels || (d->pixels > 1 && j->y.pixel > t->count);
    const int64_t unit = dwc_s8_unit(j), pitch = 2 * t->inputs, dense = t->count * unit;
    const int64_t y_pixel = staged ? dense : j->y.pixel, back = columns * d->pixels - together;
    const dwc_s8_part part = {t->image, row, t->column, t->pixels, t->first, t->count};
    uint8_t *y = staged ? (uint8_t *)t->staged : j->y.bytes + dwc_s8_at(&j->y, &part);
    dwc_s8_dw_run run = {.lines = lines,
                         .first_end = d->first_end,
                         .second_begin = d->second_begin,
                         .quads = d->quads,
                         .repeats = 1,
                         .rows = rows,
                         .stride_h = d->stride_h,
                         .kernel_h = d->kernel_h,
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
    run_groups(t, &run, unit);
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
    const int64_t step = w->dilation_h / common_divisor(w->stride_h, w->dilation_h);
    for (int64_t first = begin; first < smaller(begin + step, end); first++) {
        int64_t pair = 0;
        for (int i = 0; i < 2 * t->job->stage->lines.quads; i++) t->held[i] = -1;
        for (int64_t row = first; row < end; row += 2 * step)
            run_pair(t, row, row + step < end ? 2 : 1, step, pair++);
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
