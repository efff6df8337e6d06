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

/* Four weights of a lane as kernels of so many bytes read them: 8-bit numbers, or 16-bit ones, for which the
 * lanes of a vector have their even weights first, and then their odd ones. */
static void put_quad(int8_t *to, int lane, int lanes, int quad_bytes, const int8_t quad[4]) {
    if (quad_bytes == 4) {
        memcpy(to + 4 * lane, quad, 4);
        return;
    }
    for (int i = 0; i < 4; i++) {
        const int16_t number = quad[i];
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
    m->quads = m->taps_y * m->taps_x * divide_up(m->k, 4);
    m->padded = round_up(m->outputs, kernels->panel_unit);
    m->panel = panel_width(kernels, m->padded);
}

int dwc_s8_matrix_bytes(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, int64_t *bytes) {
    int64_t columns;
    return dwc_multiply(m->quads, m->padded, &columns) && dwc_multiply(columns, kernels->quad_bytes, bytes);
}

/* Lanes of the vectors that a panel's columns are read in: those of whole vectors, then those of a half one. */
static int lanes_at(const dwc_s8_kernels *kernels, int64_t width, int64_t column, int64_t *first) {
    const int64_t whole = width / kernels->lanes * kernels->lanes;
    const int lanes = column < whole ? kernels->lanes : kernels->panel_unit;
    *first = column < whole ? column / lanes * lanes : whole;
    return lanes;
}

void dwc_s8_pack_matrix(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, const int8_t *filter,
                        void *memory) {
    int8_t *to = memory;
    const int bytes = kernels->quad_bytes;
    for (int64_t begin = 0; begin < m->padded; begin += m->panel) {
        const int64_t width = smaller(m->panel, m->padded - begin);
        for (int64_t tap = 0; tap < m->taps_y * m->taps_x; tap++)
            for (int64_t k = 0; k < m->k; k += 4, to += width * bytes)
                for (int64_t column = 0; column < width; column++) {
                    int8_t quad[4] = {0};
                    for (int64_t i = 0; i < 4 && begin + column < m->outputs && k + i < m->k; i++)
                        quad[i] = filter[(tap * m->k + k + i) * m->row + begin + column];
                    int64_t first;
                    const int lanes = lanes_at(kernels, width, column, &first);
                    put_quad(to + first * bytes, (int)(column - first), lanes, bytes, quad);
                }
    }
}

/* A weight as it is added to a start, which wraps. */
static uint32_t weight_bits(int32_t weight) { return (uint32_t)weight; }

void dwc_s8_matrix_start(const dwc_s8_matrix *m, const int8_t *filter, const int32_t *bias, int32_t seen,
                         int32_t *start) {
    for (int64_t c = 0; c < m->padded; c++) {
        uint32_t sum = 0;
        for (int64_t i = 0; c < m->outputs && i < m->taps_y * m->taps_x * m->k; i++)
            sum += weight_bits(filter[i * m->row + c]);
        start[c] = (int32_t)((c < m->outputs && bias ? (uint32_t)bias[c] : 0) - sum * (uint32_t)seen);
    }
}

/* ---- depthwise ------------------------------------------------------------------------------------ */

enum {
    MOST_PIXELS = 32,
    LEAST_GAIN = 8, /* in percent of the work of a pixel, as all here */
    WIDE_GAIN = 50, /* of windows whose outputs share inputs, which pixels apart do not */
    PER_PIXEL = 2   /* a row's last ones overlap those before: half of them, of some 28 */
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
    d->first_end = (int)divide_up(d->kernel_h, 4);
    d->second_begin = (int)(d->stride_h / 4);
    d->quads = (int)divide_up(d->stride_h + d->kernel_h, 4);
    d->pixels = pixels_together(d, 2 * kernels->lanes);
    d->groups = divide_up(d->pixels * d->channels, 2 * kernels->lanes);
    const int64_t sets = d->first_end + d->quads - d->second_begin; /* of weights for a tap of a kernel row */
    int64_t factors;
    if (!dwc_multiply(sets, d->kernel_w, &factors) ||
        !dwc_multiply(factors, 2 * kernels->lanes * kernels->quad_bytes, &d->block))
        return 0;
    return !__builtin_add_overflow(d->block, (2 + (d->multiplier > 1)) * 8 * kernels->lanes, &d->block);
}

int dwc_s8_depthwise_bytes(const dwc_s8_depthwise *d, int64_t *bytes) {
    return dwc_multiply(d->block, d->groups, bytes);
}

/* The weights of a channel for a quad of rows, at a tap of a row, of output row `r`. */
static void row_quad(const dwc_s8_depthwise *d, const int8_t *filter, int64_t channel, int quad, int64_t tap,
                     int r, int8_t weights[4]) {
    for (int i = 0; i < 4; i++) {
        const int64_t ky = 4 * (int64_t)quad + i - r * d->stride_h;
        const int is_tap = ky >= 0 && ky < d->kernel_h && channel < d->pixels * d->channels;
        weights[i] = is_tap ? filter[(ky * d->kernel_w + tap) * d->channels + channel % d->channels] : 0;
    }
}

/* The channel of lane l of both vectors of a group: see s8_channel in csrc/kernels/vec/s8.h. */
static int group_channel(int l, int lanes) { return l % lanes / 4 * 8 + l / lanes * 4 + l % 4; }

static void pack_group(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels, const int8_t *filter,
                       const int32_t *bias, int32_t seen, const float *multipliers, int64_t first,
                       uint8_t *to) {
    const int lanes = kernels->lanes, all = 2 * lanes;
    for (int l = 0; l < all; l++) {
        const int64_t channel = first + group_channel(l, lanes), c = channel % d->channels;
        const int valid = channel < d->pixels * d->channels;
        uint32_t sum = 0;
        for (int64_t i = 0; valid && i < d->kernel_h * d->kernel_w; i++)
            sum += weight_bits(filter[i * d->channels + c]);
        const uint32_t start = (valid && bias ? (uint32_t)bias[c] : 0) - sum * (uint32_t)seen;
        const float multiplier = valid ? multipliers[c] : 0.0f;
        const int32_t source = valid ? (int32_t)(channel / d->multiplier - first / d->multiplier) : 0;
        memcpy(to + 4 * l, &start, 4);
        memcpy(to + 4 * (all + l), &multiplier, 4);
        if (d->multiplier > 1) memcpy(to + 4 * (2 * all + l), &source, 4);
    }
    to += (2 + (d->multiplier > 1)) * 4 * all;
    for (int quad = 0; quad < d->quads; quad++)
        for (int64_t tap = 0; tap < d->kernel_w; tap++)
            for (int r = 0; r < 2; r++) {
                if (r == 0 ? quad >= d->first_end : quad < d->second_begin) continue;
                for (int l = 0; l < all; l++) {
                    int8_t weights[4];
                    row_quad(d, filter, first + group_channel(l, lanes), quad, tap, r, weights);
                    put_quad((int8_t *)to + l / lanes * lanes * kernels->quad_bytes, l % lanes, lanes,
                             kernels->quad_bytes, weights);
                }
                to += all * kernels->quad_bytes;
            }
}

void dwc_s8_pack_depthwise(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels, const int8_t *filter,
                           const int32_t *bias, int32_t seen, const float *multipliers, void *memory) {
    const int64_t group = 2 * kernels->lanes, last = larger(d->pixels * d->channels - group, 0);
    for (int64_t g = 0; g < d->groups; g++)
        pack_group(d, kernels, filter, bias, seen, multipliers, smaller(g * group, last),
                   (uint8_t *)memory + g * d->block);
}
