/* See pack_s8.h. */
#include "pack_s8.h"

#include <string.h>

uint8_t dwc_s8_flip(const dwc_s8_kernels *kernels, int is_signed) {
    return !is_signed == !kernels->is_signed ? 0 : 0x80;
}

int32_t dwc_s8_seen(const dwc_s8_kernels *kernels, int is_signed, int32_t zero_point) {
    if (!dwc_s8_flip(kernels, is_signed)) return zero_point;
    return kernels->is_signed ? zero_point - 128 : zero_point + 128;
}

/* ---- weights ------------------------------------------------------------------------------------ */

static int takes_wide(const dwc_s8_kernels *kernels) { return kernels->quad_bytes == 8; }

static int may_be_wide(const dwc_s8_kernels *kernels, const dwc_s8_filter *f) {
    return !takes_wide(kernels) && (f->is_unsigned || f->zeros);
}

/* Numbers of int8 whose sum a weight is. */
static int numbers_in(int32_t weight) {
    if (weight > 2 * INT8_MAX) return 3;
    return 1 + (weight < INT8_MIN || weight > INT8_MAX);
}

/* What kernels multiply by for a weight: the number that comes after `again` others. */
static int32_t number_of(const dwc_s8_kernels *kernels, int32_t weight, int again) {
    if (takes_wide(kernels)) return weight;
    for (; again > 0; again--) weight -= dwc_clamp(weight, INT8_MIN, INT8_MAX);
    return dwc_clamp(weight, INT8_MIN, INT8_MAX);
}

/* Four numbers of a lane as kernels of so many bytes read them: of 8 bits, or of 16, for which the lanes of a vector
 * have their even numbers first, and then their odd ones. */
static void put_quad(int8_t *to, int lane, int lanes, int quad_bytes, const int32_t quad[4]) {
    for (int i = 0; i < 4; i++) {
        const int16_t number = (int16_t)quad[i];
        if (quad_bytes == 4)
            to[4 * lane + i] = (int8_t)number;
        else
            memcpy(to + (i % 2 * lanes + lane) * 4 + i / 2 * 2, &number, sizeof number);
    }
}

/* ---- matrices ----------------------------------------------------------------------------------- */

/* As wide as divides the outputs, or leaves a rest that is not thin: as panel_width in plan.c. */
static int64_t panel_width(const dwc_s8_kernels *kernels, int64_t padded) {
    const int64_t lanes = kernels->lanes, widest = kernels->panel_width;
    if (padded <= widest)
        return padded <= 2 * lanes || padded % lanes == 0 ? padded
                                                          : round_up(padded / 2, kernels->panel_unit);
    for (int64_t width = widest; width >= 2 * lanes; width -= lanes) {
        const int64_t rest = padded % width;
        if (rest == 0 || (rest >= 16 && rest <= widest - lanes)) return width;
    }
    return widest;
}

void dwc_s8_choose_matrix(dwc_s8_matrix *m, const dwc_s8_kernels *kernels) {
    m->padded = round_up(m->outputs, kernels->panel_unit);
    m->panel = panel_width(kernels, m->padded);
    m->panels = divide_up(m->padded, m->panel);
}

/* Columns [begin, begin + width) of a group. */
typedef struct panel {
    const dwc_s8_matrix *m;
    const dwc_s8_kernels *kernels;
    const dwc_s8_filter *filter;
    int64_t begin, width;
} panel;

static panel panel_of(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, const dwc_s8_filter *filter,
                      int64_t i) {
    const int64_t begin = i * m->panel;
    return (panel){m, kernels, filter, begin, smaller(m->panel, m->padded - begin)};
}

/* The weights of a column for the inputs from k on of a tap; 0 beyond either's end. */
static void quad_of(const panel *p, int64_t tap, int64_t k, int64_t column, int again, int32_t quad[4]) {
    const int64_t c = p->begin + column;
    for (int i = 0; i < 4; i++) {
        quad[i] = 0;
        if (c >= p->m->outputs || k + i >= p->m->k) continue;
        quad[i] = number_of(p->kernels, dwc_s8_weight(p->filter, (tap * p->m->k + k + i) * p->m->row + c, c),
                            again);
    }
}

/* The most numbers of a weight for the inputs from k on of a tap. */
static int numbers_at(const panel *p, int64_t tap, int64_t k) {
    const int64_t columns = smaller(p->width, p->m->outputs - p->begin);
    int most = 1;
    for (int64_t i = k; i < smaller(k + 4, p->m->k); i++)
        for (int64_t c = p->begin; c < p->begin + columns; c++) {
            const int numbers = numbers_in(dwc_s8_weight(p->filter, (tap * p->m->k + i) * p->m->row + c, c));
            most = numbers > most ? numbers : most;
        }
    return most;
}

/* Runs of a panel: all pieces, then those of quads whose weights have a second number, and a third one. */
typedef struct found {
    int64_t runs, repeated;
    int64_t ends[DWC_S8_NUMBERS]; /* of the runs of each number */
} found;

/* Adds those of number `again` of a tap to `to`, or only counts them where that is NULL. */
static void add_repeated(const panel *p, int64_t tap, int again, dwc_s8_run *to, found *f) {
    const dwc_s8_matrix *m = p->m;
    int64_t after = -1; /* where the last run ends */
    for (int64_t k = 0; k < m->k; k += 4) {
        if (numbers_at(p, tap, k) <= again) continue;
        const int64_t end = smaller(k + 4, m->k);
        if (after != k) {
            if (to) to[f->runs] = (dwc_s8_run){tap / m->taps_x, tap % m->taps_x, k, 0};
            f->runs++;
        }
        if (to) to[f->runs - 1].bytes = end - to[f->runs - 1].offset;
        after = end;
        f->repeated++;
    }
}

static found find_runs(const panel *p, dwc_s8_run *to) {
    const dwc_s8_matrix *m = p->m;
    const int64_t taps = m->taps_y * m->taps_x;
    found f = {.runs = taps};
    for (int64_t tap = 0; to && tap < taps; tap++)
        to[tap] = (dwc_s8_run){tap / m->taps_x, tap % m->taps_x, 0, m->k};
    for (int again = 0; again < DWC_S8_NUMBERS; again++) {
        for (int64_t tap = 0; again > 0 && may_be_wide(p->kernels, p->filter) && tap < taps; tap++)
            add_repeated(p, tap, again, to, &f);
        f.ends[again] = f.runs;
    }
    return f;
}

int dwc_s8_matrix_add(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, const dwc_s8_filter *filter,
                      dwc_s8_matrix_size *size) {
    const int64_t quads = m->taps_y * m->taps_x * divide_up(m->k, 4);
    int64_t bytes;
    if (!dwc_multiply(DWC_S8_NUMBERS * quads, m->padded, &bytes) ||
        !dwc_multiply(bytes, kernels->quad_bytes, &bytes))
        return 0;
    for (int64_t i = 0; i < m->panels; i++) {
        const panel p = panel_of(m, kernels, filter, i);
        const found f = find_runs(&p, NULL);
        size->repeated += f.repeated;
        size->quads += quads;
        if (__builtin_add_overflow(size->runs, f.runs, &size->runs)) return 0;
        bytes = (quads + f.repeated) * p.width * kernels->quad_bytes;
        if (__builtin_add_overflow(size->bytes, bytes, &size->bytes)) return 0;
    }
    return 1;
}

/* Lanes of the vectors that a panel's columns are read in: those of whole vectors, then those of a half one. */
static int lanes_at(const dwc_s8_kernels *kernels, int64_t width, int64_t column, int64_t *first) {
    const int64_t whole = width / kernels->lanes * kernels->lanes;
    const int lanes = column < whole ? kernels->lanes : kernels->panel_unit;
    *first = column < whole ? column / lanes * lanes : whole;
    return lanes;
}

static int8_t *pack_run(const panel *p, const dwc_s8_run *run, int again, int8_t *to) {
    const int bytes = p->kernels->quad_bytes;
    const int64_t tap = run->row * p->m->taps_x + run->tap;
    for (int64_t k = run->offset; k < run->offset + run->bytes; k += 4, to += p->width * bytes)
        for (int64_t column = 0; column < p->width; column++) {
            int32_t quad[4];
            int64_t first;
            const int lanes = lanes_at(p->kernels, p->width, column, &first);
            quad_of(p, tap, k, column, again, quad);
            put_quad(to + first * bytes, (int)(column - first), lanes, bytes, quad);
        }
    return to;
}

void dwc_s8_pack_matrix(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, const dwc_s8_filter *filter,
                        dwc_s8_matrix_size *size, dwc_s8_panel *panels, dwc_s8_run *runs, void *weights) {
    for (int64_t i = 0; i < m->panels; i++) {
        const panel p = panel_of(m, kernels, filter, i);
        dwc_s8_run *first = runs + size->runs;
        const found f = find_runs(&p, first);
        panels[i] = (dwc_s8_panel){size->bytes, size->runs, f.runs};
        int8_t *begin = (int8_t *)weights + size->bytes, *to = begin;
        int again = 0;
        for (int64_t r = 0; r < f.runs; r++) {
            while (r >= f.ends[again]) again++;
            to = pack_run(&p, first + r, again, to);
        }
        size->runs += f.runs;
        size->bytes += to - begin;
    }
}

/* A weight as it is added to a start, which wraps. */
static uint32_t weight_bits(int32_t weight) { return (uint32_t)weight; }

void dwc_s8_matrix_start(const dwc_s8_matrix *m, const dwc_s8_filter *filter, const int32_t *bias,
                         int32_t seen, int32_t *start) {
    for (int64_t c = 0; c < m->padded; c++) {
        uint32_t sum = 0;
        for (int64_t i = 0; c < m->outputs && i < m->taps_y * m->taps_x * m->k; i++)
            sum += weight_bits(dwc_s8_weight(filter, i * m->row + c, c));
        start[c] = (int32_t)((c < m->outputs && bias ? (uint32_t)bias[c] : 0) - sum * (uint32_t)seen);
    }
}

/* ---- depthwise ------------------------------------------------------------------------------------ */

enum {
    MOST_PIXELS = 32,
    LEAST_GAIN = 8,  /* in percent of the work of a pixel, as all here */
    WIDE_GAIN = 50,  /* of windows whose outputs share inputs, which pixels apart do not */
    PER_PIXEL = 2,   /* a row's last ones overlap those before: half of them, of some 28 */
    LEAST_HALVED = 4 /* columns: three have loops of their own */
};

/* What a pixel takes if so many go as one. */
static int64_t work_of(const dwc_s8_depthwise *d, int64_t pixels, int64_t group) {
    const int64_t channels = pixels * d->channels;
    return 100 * round_up(channels, group) / channels + PER_PIXEL * (pixels - 1);
}

static int64_t pixels_together(const dwc_s8_depthwise *d, int64_t group) {
    if (d->stride_w != 1 || d->channels % group == 0) return 1;
    int64_t best = 1;
    for (int64_t p = 2; p <= MOST_PIXELS; p++)
        if (work_of(d, p, group) < work_of(d, best, group)) best = p;
    const int64_t gain = work_of(d, 1, group) - work_of(d, best, group);
    return gain >= (d->kernel_w > 3 ? WIDE_GAIN : LEAST_GAIN) ? best : 1;
}

int dwc_s8_choose_depthwise(dwc_s8_depthwise *d, const dwc_s8_kernels *kernels) {
    if (d->kernel_h > INT32_MAX / 2 || d->stride_h > INT32_MAX / 2) return 0;
    d->sets = d->stride_h == 1 ? 2 : 1;
    const int rows = (int)d->kernel_h + d->sets - 1;
    d->passes = (int)divide_up(rows, 4);
    d->halves = rows % 4 != 0 && rows % 4 < 3 && d->kernel_w >= LEAST_HALVED;
    d->lines = 2 * d->passes - d->halves;
    d->pixels = pixels_together(d, 2 * kernels->lanes);
    d->groups = divide_up(d->pixels * d->channels, 2 * kernels->lanes);
    int64_t factors, before = (2 + (d->multiplier > 1)) * 8 * kernels->lanes;
    if (!dwc_multiply(d->passes, d->kernel_w, &factors)) return 0;
    factors -= d->kernel_w - dwc_s8_pass_taps(d, d->passes - 1);
    if (!dwc_multiply(factors, 2 * kernels->lanes * kernels->quad_bytes * d->sets, &factors) ||
        factors > INT64_MAX / 4)
        return 0;
    d->block = before + factors;
    d->again = factors;
    return 1;
}

/* The most numbers of a weight of a group. */
static int numbers_of_group(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                            const dwc_s8_filter *filter, int64_t group) {
    const int64_t first = dwc_s8_group_begin(d, kernels, group);
    const int64_t end = smaller(first + 2 * kernels->lanes, d->pixels * d->channels);
    int most = 1;
    for (int64_t channel = first; may_be_wide(kernels, filter) && channel < end; channel++)
        for (int64_t i = 0, c = channel % d->channels; i < d->kernel_h * d->kernel_w; i++) {
            const int numbers = numbers_in(dwc_s8_weight(filter, i * d->channels + c, c));
            most = numbers > most ? numbers : most;
        }
    return most;
}

int dwc_s8_depthwise_bytes(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                           const dwc_s8_filter *filter, int64_t *bytes, int64_t *wide) {
    *wide = 0;
    if (!dwc_multiply(dwc_s8_group_bytes(d, DWC_S8_NUMBERS), d->groups, bytes)) return 0;
    *bytes = 0;
    for (int64_t group = 0; group < d->groups; group++) {
        const int numbers = numbers_of_group(d, kernels, filter, group);
        *wide += numbers > 1;
        *bytes += dwc_s8_group_bytes(d, numbers);
    }
    return 1;
}

/* What kernels multiply by in a channel in a pass, in a dot product of a row, of output row `r`. */
static void pass_quad(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels, const dwc_s8_filter *filter,
                      int64_t channel, int pass, int64_t tap, int r, int again, int32_t numbers[4]) {
    const int64_t c = channel % d->channels;
    const int halves = d->halves && pass == d->passes - 1;
    for (int i = 0; i < 4; i++) {
        const int64_t ky = 4 * (int64_t)pass + (halves ? i % 2 : i) - r, kx = halves ? 2 * tap + i / 2 : tap;
        const int is_tap =
            ky >= 0 && ky < d->kernel_h && kx < d->kernel_w && channel < d->pixels * d->channels;
        const int32_t weight =
            is_tap ? dwc_s8_weight(filter, (ky * d->kernel_w + kx) * d->channels + c, c) : 0;
        numbers[i] = number_of(kernels, weight, again);
    }
}

/* The channel of lane l of both vectors of a group: see s8_channel in csrc/kernels/vec/s8.h. */
static int group_channel(int l, int lanes) { return l % lanes / 4 * 8 + l / lanes * 4 + l % 4; }

static void pack_group(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels, const dwc_s8_filter *filter,
                       const int32_t *bias, int32_t seen, const float *multipliers, int64_t first, int parts,
                       uint8_t *to) {
    const int lanes = kernels->lanes, all = 2 * lanes;
    for (int l = 0; l < all; l++) {
        const int64_t channel = first + group_channel(l, lanes), c = channel % d->channels;
        const int valid = channel < d->pixels * d->channels;
        uint32_t sum = 0;
        for (int64_t i = 0; valid && i < d->kernel_h * d->kernel_w; i++)
            sum += weight_bits(dwc_s8_weight(filter, i * d->channels + c, c));
        const uint32_t start = (valid && bias ? (uint32_t)bias[c] : 0) - sum * (uint32_t)seen;
        const float multiplier = valid ? multipliers[c] : 0.0f;
        const int32_t source = valid ? (int32_t)(channel / d->multiplier - first / d->multiplier) : 0;
        memcpy(to + 4 * l, &start, 4);
        memcpy(to + 4 * (all + l), &multiplier, 4);
        if (d->multiplier > 1) memcpy(to + 4 * (2 * all + l), &source, 4);
    }
    to += (2 + (d->multiplier > 1)) * 4 * all;
    for (int pass = 0; pass < d->passes; pass++)
        for (int again = 0; again < parts; again++)
            for (int64_t tap = 0; tap < dwc_s8_pass_taps(d, pass); tap++)
                for (int r = 0; r < d->sets; r++) {
                    for (int l = 0; l < all; l++) {
                        int32_t numbers[4];
                        pass_quad(d, kernels, filter, first + group_channel(l, lanes), pass, tap, r, again,
                                  numbers);
                        put_quad((int8_t *)to + l / lanes * lanes * kernels->quad_bytes, l % lanes, lanes,
                                 kernels->quad_bytes, numbers);
                    }
                    to += all * kernels->quad_bytes;
                }
}

void dwc_s8_pack_depthwise(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                           const dwc_s8_filter *filter, const int32_t *bias, int32_t seen,
                           const float *multipliers, dwc_s8_group *index, void *memory) {
    int64_t at = 0;
    for (int64_t g = 0; g < d->groups; g++) {
        const int numbers = numbers_of_group(d, kernels, filter, g);
        index[g] = (dwc_s8_group){at, numbers};
        pack_group(d, kernels, filter, bias, seen, multipliers, dwc_s8_group_begin(d, kernels, g), numbers,
                   (uint8_t *)memory + at);
        at += dwc_s8_group_bytes(d, numbers);
    }
}
