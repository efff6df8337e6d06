/* Kernels of 8-bit integers beside plain loops: the same bits on every instruction set, and no byte outside. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/graph/graph.h"
#include "../../csrc/graph/pack_s8.h"
#include "check.h"
#include "guarded.h"
#include "suites.h"

static uint64_t state = 1;

static uint32_t random_bits(void) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33);
}

static int64_t between(int64_t low, int64_t high) { return low + random_bits() % (high - low + 1); }

/* ---- what a case is made of -------------------------------------------------------------------- */

/* extremes: nothing but the smallest and the largest. */
static void fill_bytes(uint8_t *p, int64_t n, int is_signed, int extremes) {
    for (int64_t i = 0; i < n; i++)
        p[i] = extremes ? (uint8_t)((is_signed ? 0x80 : 0) - (random_bits() & 1)) : (uint8_t)random_bits();
    for (int64_t i = 0; i < n && extremes && is_signed; i++) p[i] = random_bits() & 1 ? 0x80 : 0x7f;
}

static void fill_weights(int8_t *p, int64_t n, int extremes) {
    for (int64_t i = 0; i < n; i++)
        p[i] = (int8_t)(extremes ? random_bits() & 1 ? -128 : 127 : (int)(random_bits() & 255) - 128);
}

/* Zero points of `channels`, or NULL. With a filter of int8 that has few weights at its ends, few are wide; with one of
 * extremes many are. */
static int32_t *random_zeros(dwc_s8_filter *f, int64_t channels) {
    const int kind = (int)between(0, 3), least = f->is_unsigned ? 0 : -128;
    int32_t *zeros = malloc((size_t)channels * sizeof *zeros);
    for (int64_t c = 0; c < channels; c++)
        zeros[c] = (int32_t)(kind == 1 ? least + between(120, 136) : least + between(0, 255));
    f->zeros = kind ? zeros : NULL;
    f->shared_zero = kind < 3;
    return zeros;
}

static int32_t number(uint8_t byte, int is_signed) { return is_signed ? (int8_t)byte : byte; }

typedef struct output {
    int is_signed;
    dwc_s8_end end;
} output;

static output random_output(void) {
    output o = {.is_signed = (int)between(0, 1)};
    const int32_t low = o.is_signed ? -128 : 0, high = low + 255;
    const int whole = (int)between(0, 1);
    o.end.zero_point = (int32_t)(between(0, 3) ? between(low, high) : between(0, 1) ? low : high);
    o.end.low = whole ? low : (int32_t)between(low, high);
    o.end.high = whole ? high : (int32_t)between(o.end.low, high);
    o.end.sums = between(0, 7) == 0;
    o.end.fits = between(0, 3) != 0;
    return o;
}

/* Generic ones, powers of two, whose products are often ties, and those that saturate or vanish. */
static float random_multiplier(void) {
    switch (between(0, 3)) {
        case 0: return ldexpf(1.0f, (int)between(-16, -1));
        case 1: return ldexpf(1.0f + (float)(random_bits() & 0xffff) / 65536.0f, (int)between(-40, 7));
        default: return ldexpf(1.0f + (float)(random_bits() & 0xffffff) / 16777216.0f, (int)between(-14, -6));
    }
}

static int32_t random_bias(void) {
    return between(0, 3) ? (int32_t)(random_bits() % 200001) - 100000 : (int32_t)random_bits() - (1 << 30);
}

/* The formula, in the order of docs: one rounding of the product, one to an integer. */
static uint8_t expected_byte(int64_t sum, float multiplier, const dwc_s8_end *end) {
    const volatile float as_float = (float)(int32_t)sum;
    const volatile float t = as_float * multiplier;
    const double q = nearbyint((double)t) + end->zero_point;
    return (uint8_t)(int32_t)(q < end->low ? end->low : q > end->high ? end->high : q);
}

/* Whether y holds what `sum` becomes. */
static int matches(const uint8_t *y, int64_t index, int64_t sum, float multiplier, const dwc_s8_end *end) {
    if (!end->sums) return y[index] == expected_byte(sum, multiplier, end);
    int32_t found;
    memcpy(&found, y + 4 * index, sizeof found);
    return found == (int32_t)sum;
}

/* ---- matrices ------------------------------------------------------------------------------------ */

/* Pixels of `pixel` bytes, of which a window sees taps_y rows of taps_x pieces. */
static void check_matrix(const dwc_s8_kernels *kernels, int64_t pixels, int64_t k, int64_t outputs,
                         int64_t taps_y, int64_t taps_x, int extremes, int at_end) {
    const int is_signed = (int)between(0, 1);
    const int32_t zero = (int32_t)between(is_signed ? -128 : 0, is_signed ? 127 : 255);
    const output o = random_output();
    const int64_t pixel = k + between(0, 1) * between(0, 9), row = (pixels + taps_x) * pixel,
                  unit = o.end.sums ? 4 : 1;
    const int64_t y_pixel = (outputs + between(0, 1) * between(0, 5)) * unit;
    const int64_t x_bytes = (pixels - 1 + taps_x - 1) * pixel + k,
                  y_bytes = (pixels - 1) * y_pixel + outputs * unit;
    const int64_t depth = taps_y * taps_x * k;
    CONTEXT("matrix %s: %d x %d -> %d, taps %d x %d, pixels %d and %d apart, at end %d", kernels->matrix_name,
            (int)pixels, (int)k, (int)outputs, (int)taps_y, (int)taps_x, (int)pixel, (int)y_pixel, at_end);
    (void)row;

    guarded x[3], y = guarded_create((size_t)y_bytes, at_end, (size_t)unit);
    const uint8_t *rows[3];
    for (int i = 0; i < taps_y; i++) {
        x[i] = guarded_create((size_t)x_bytes, at_end, 1);
        fill_bytes(x[i].data, x_bytes, is_signed, extremes);
        rows[i] = x[i].data;
    }
    dwc_s8_matrix m = {.taps_y = taps_y, .taps_x = taps_x, .k = k, .outputs = outputs, .row = outputs + 3};
    dwc_s8_choose_matrix(&m, kernels);
    int8_t *numbers = malloc((size_t)(depth * m.row));
    fill_weights(numbers, depth * m.row, extremes);
    dwc_s8_filter filter = {.bytes = numbers, .is_unsigned = (int)between(0, 1)};
    int32_t *zeros = random_zeros(&filter, outputs);
    dwc_s8_matrix_size size = {0}, packed = {0};
    CHECK(dwc_s8_matrix_add(&m, kernels, &filter, &size));
    void *weights = aligned_alloc(64, ((size_t)size.bytes + 63) / 64 * 64);
    dwc_s8_panel *panels = malloc((size_t)m.panels * sizeof *panels);
    dwc_s8_run *runs = malloc((size_t)size.runs * sizeof *runs);
    int32_t *start = malloc((size_t)m.padded * sizeof *start), *bias = malloc((size_t)outputs * sizeof *bias);
    float *multipliers = calloc((size_t)m.padded, sizeof *multipliers);
    for (int64_t c = 0; c < outputs; c++) {
        bias[c] = random_bias();
        multipliers[c] = random_multiplier();
        if (o.end.fits) multipliers[c] = fminf(multipliers[c], 1.0f);
    }
    dwc_s8_pack_matrix(&m, kernels, &filter, &packed, panels, runs, weights);
    CHECK(packed.bytes == size.bytes && packed.runs == size.runs);
    dwc_s8_matrix_start(&m, &filter, bias, dwc_s8_seen(kernels, is_signed, zero), start);
    memset(y.data, 0xa5, (size_t)y_bytes);
    kernels->matrix(&(dwc_s8_mm_call){.rows = rows,
                                      .a_pixel = pixel,
                                      .a_tap = pixel,
                                      .pixels = pixels,
                                      .flip = dwc_s8_flip(kernels, is_signed),
                                      .panels = panels,
                                      .runs = runs,
                                      .weights = weights,
                                      .start = start,
                                      .multipliers = multipliers,
                                      .panel = m.panel,
                                      .padded = m.padded,
                                      .columns = outputs,
                                      .y = y.data,
                                      .y_pixel = y_pixel,
                                      .end = o.end});
    int wrong = 0;
    for (int64_t p = 0; p < pixels; p++) {
        for (int64_t c = 0; c < outputs; c++) {
            int64_t sum = bias[c];
            for (int64_t ty = 0, i = 0; ty < taps_y; ty++)
                for (int64_t tx = 0; tx < taps_x; tx++)
                    for (int64_t j = 0; j < k; j++, i++)
                        sum += (number(rows[ty][(p + tx) * pixel + j], is_signed) - zero) *
                               dwc_s8_weight(&filter, i * m.row + c, c);
            wrong += !matches((uint8_t *)y.data + p * y_pixel, c, sum, multipliers[c], &o.end);
        }
        for (int64_t i = outputs * unit; p + 1 < pixels && i < y_pixel; i++)
            wrong += ((uint8_t *)y.data)[p * y_pixel + i] != 0xa5;
    }
    CHECK(wrong == 0);
    CHECK(guarded_slack_intact(&y));
    for (int i = 0; i < taps_y; i++) guarded_free(&x[i]);
    guarded_free(&y);
    free(numbers);
    free(zeros);
    free(panels);
    free(runs);
    free(weights);
    free(start);
    free(bias);
    free(multipliers);
}

static void check_matrices(const dwc_s8_kernels *kernels) {
    static const int64_t outputs[] = {1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17,  24, 31,
                                      32, 33, 40, 48, 56, 57, 64, 65, 72, 96, 120, 131};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        for (int at_end = 0; at_end < 2; at_end++) {
            check_matrix(kernels, between(1, 40), between(1, 40), outputs[i], 1, 1, 0, at_end);
            check_matrix(kernels, between(1, 20), between(1, 9), outputs[i], between(1, 3), between(1, 3), 1,
                         at_end);
        }
    for (int64_t pixels = 1; pixels < 34; pixels++)
        check_matrix(kernels, pixels, between(1, 24), between(1, 70), 1, 1, (int)between(0, 1),
                     (int)between(0, 1));
    for (int64_t k = 1; k < 20; k++)
        check_matrix(kernels, between(1, 17), k, between(1, 70), 1, 1, 0, (int)(k & 1));
    check_matrix(kernels, 15, 1024, 33, 1, 1, 1, 1);
}

/* ---- depthwise ------------------------------------------------------------------------------------ */

/* An image of h x w pixels with channels / multiplier channels, padded on all sides, by lines and runs of two
 * rows. */
typedef struct dw_case {
    int64_t h, w, channels, multiplier, kernel_h, kernel_w, stride_h, stride_w, dilation, pad;
} dw_case;

static void check_depthwise(const dwc_s8_kernels *kernels, dw_case d, int extremes, int at_end) {
    const int together = (int)between(0, 1); /* whether pixels may go as one */
    const int is_signed = (int)between(0, 1);
    const int32_t zero = (int32_t)between(is_signed ? -128 : 0, is_signed ? 127 : 255);
    const output o = random_output();
    const int64_t inputs = d.channels / d.multiplier, unit = o.end.sums ? 4 : 1;
    const int64_t pixel = inputs + between(0, 1) * between(0, 9),
                  y_pixel = d.channels * unit + (together ? 0 : between(0, 1) * 3 * unit);
    const int64_t seen_w = (d.kernel_w - 1) * d.dilation + 1;
    const int64_t out_h = (d.h + 2 * d.pad - d.kernel_h) / d.stride_h + 1;
    const int64_t out_w = (d.w + 2 * d.pad - seen_w) / d.stride_w + 1;
    CONTEXT("%s: %d x %d x %d * %d, window %d x %d, stride %d %d, dilation %d, padding %d, at end %d",
            kernels->depthwise_name, (int)d.h, (int)d.w, (int)inputs, (int)d.multiplier, (int)d.kernel_h,
            (int)d.kernel_w, (int)d.stride_h, (int)d.stride_w, (int)d.dilation, (int)d.pad, at_end);
    if (d.h + 2 * d.pad < d.kernel_h || d.w + 2 * d.pad < seen_w) return;
    const int64_t x_row = d.w * pixel, y_row = out_w * y_pixel,
                  y_bytes = (out_h * out_w - 1) * y_pixel + d.channels * unit;
    guarded x = guarded_create((size_t)((d.h * d.w - 1) * pixel + inputs), at_end, 1);
    guarded y = guarded_create((size_t)y_bytes, at_end, (size_t)unit);
    fill_bytes(x.data, (int64_t)x.bytes, is_signed, extremes);
    memset(y.data, 0xa5, y.bytes);

    const int64_t taps = d.kernel_h * d.kernel_w;
    int8_t *numbers = malloc((size_t)(taps * d.channels));
    fill_weights(numbers, taps * d.channels, extremes);
    dwc_s8_filter filter = {.bytes = numbers, .is_unsigned = (int)between(0, 1)};
    int32_t *zeros = random_zeros(&filter, d.channels);
    int32_t *bias = malloc((size_t)d.channels * sizeof *bias);
    float *multipliers = malloc((size_t)d.channels * sizeof *multipliers);
    for (int64_t c = 0; c < d.channels; c++) {
        bias[c] = random_bias();
        multipliers[c] = random_multiplier();
        if (o.end.fits) multipliers[c] = fminf(multipliers[c], 1.0f);
    }
    dwc_s8_depthwise packed = {.kernel_h = d.kernel_h,
                               .kernel_w = d.kernel_w,
                               .stride_h = d.stride_h,
                               .stride_w = together ? d.stride_w : 0,
                               .channels = d.channels,
                               .multiplier = d.multiplier};
    int64_t bytes = 0, wide;
    CHECK(dwc_s8_choose_depthwise(&packed, kernels) &&
          dwc_s8_depthwise_bytes(&packed, kernels, &filter, &bytes, &wide));
    void *weights = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64);
    dwc_s8_group *index = malloc((size_t)packed.groups * sizeof *index);
    dwc_s8_pack_depthwise(&packed, kernels, &filter, bias, dwc_s8_seen(kernels, is_signed, zero), multipliers,
                          index, weights);
    const dwc_s8_group *ending = &index[packed.groups - 1];
    CHECK(ending->weights + dwc_s8_group_bytes(&packed, ending->numbers) == bytes);

    const int64_t pixels = packed.pixels, fits = out_w >= pixels;
    const int64_t columns = (out_w + pixels - 1) / pixels, back = columns * pixels - out_w;
    const int64_t pitch = 2 * inputs + (pixels > 1 ? 0 : between(0, 1) * 2 * between(0, 9));
    const int64_t beyond = dwc_s8_columns_beyond(&packed) * d.dilation;
    const int64_t line_bytes = (d.w + 2 * d.pad + beyond) * pitch + DWC_S8_SLACK;
    uint8_t *memory = malloc((size_t)(packed.lines * line_bytes));
    const uint8_t *lines[16];
    dwc_s8_pass passes[3 * 8];
    CHECK(packed.lines <= 16);
    for (int64_t oy = 0; oy < out_h; oy += packed.sets) {
        for (int g = 0; g < packed.lines; g++) {
            dwc_s8_interleave line = {.pixel = pixel,
                                      .left = d.pad,
                                      .columns = d.w,
                                      .right = d.pad + beyond,
                                      .channels = inputs,
                                      .fill = (uint8_t)zero,
                                      .flip = dwc_s8_flip(kernels, is_signed),
                                      .line = memory + g * line_bytes,
                                      .pitch = pitch};
            for (int r = 0; r < 2; r++) {
                const int64_t iy = oy * d.stride_h - d.pad + 2 * g + r;
                line.rows[r] = iy >= 0 && iy < d.h ? (uint8_t *)x.data + iy * x_row : NULL;
            }
            kernels->interleave(&line);
            lines[g] = line.line;
        }
        if (!fits) continue; /* walks put these elsewhere: tests/test_int8.py */
        /* All groups at once, or each one for itself where some have wide weights. */
        for (int64_t group = 0; group < (wide ? packed.groups : 1); group++) {
            const int64_t begin = dwc_s8_group_begin(&packed, kernels, group), all = d.channels * pixels;
            const int times = index[group].numbers;
            for (int i = 0; i < times * packed.passes; i++)
                passes[i] = dwc_s8_pass_of(&packed, i / times, lines, d.dilation * pitch);
            kernels->depthwise(
                &(dwc_s8_dw_run){.passes = passes,
                                 .count = times * packed.passes,
                                 .channel = begin,
                                 .rows = (int)smaller(packed.sets, out_h - oy),
                                 .sets = packed.sets,
                                 .kernel_w = d.kernel_w,
                                 .x_tap = d.dilation * pitch,
                                 .x_out = d.stride_w * pitch * pixels,
                                 .columns = columns,
                                 .x_back = d.stride_w * pitch * back,
                                 .y_back = y_pixel * back,
                                 .channels = wide ? smaller(all - begin, 2 * kernels->lanes) : all,
                                 .multiplier = d.multiplier,
                                 .weights = (uint8_t *)weights + index[group].weights,
                                 .block = packed.block,
                                 .y = (uint8_t *)y.data + oy * y_row + begin * unit,
                                 .y_row = y_row,
                                 .y_out = y_pixel * pixels,
                                 .end = o.end});
        }
    }
    int wrong = 0;
    for (int64_t oy = 0; oy < out_h && fits; oy++)
        for (int64_t ox = 0; ox < out_w; ox++) {
            const uint8_t *out = (uint8_t *)y.data + oy * y_row + ox * y_pixel;
            for (int64_t c = 0; c < d.channels; c++) {
                int64_t sum = bias[c];
                for (int64_t t = 0; t < taps; t++) {
                    const int64_t iy = oy * d.stride_h - d.pad + t / d.kernel_w;
                    const int64_t ix = ox * d.stride_w - d.pad + t % d.kernel_w * d.dilation;
                    if (iy < 0 || iy >= d.h || ix < 0 || ix >= d.w) continue;
                    const uint8_t byte = ((uint8_t *)x.data)[iy * x_row + ix * pixel + c / d.multiplier];
                    sum += (number(byte, is_signed) - zero) * dwc_s8_weight(&filter, t * d.channels + c, c);
                }
                wrong += !matches(out, c, sum, multipliers[c], &o.end);
            }
            for (int64_t i = d.channels * unit; i < y_pixel && (oy + 1 < out_h || ox + 1 < out_w); i++)
                wrong += out[i] != 0xa5;
        }
    CHECK(wrong == 0);
    CHECK(guarded_slack_intact(&y));
    guarded_free(&x);
    guarded_free(&y);
    free(numbers);
    free(zeros);
    free(index);
    free(bias);
    free(multipliers);
    free(weights);
    free(memory);
}

static void check_depthwises(const dwc_s8_kernels *kernels) {
    static const int64_t channels[] = {1,  2,  3,  4,  5,  8,  11, 15, 16, 17,
                                       24, 31, 32, 40, 63, 64, 65, 72, 96, 130};
    static const int64_t windows[][4] = {{3, 3, 1, 1}, {3, 3, 2, 2}, {5, 5, 1, 1},  {5, 5, 2, 2},
                                         {7, 7, 1, 1}, {7, 7, 2, 2}, {1, 1, 1, 1},  {2, 4, 3, 1},
                                         {4, 3, 5, 2}, {9, 1, 1, 1}, {1, 11, 1, 3}, {3, 3, 8, 1}};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++)
        for (size_t j = 0; j < sizeof windows / sizeof *windows; j++) {
            const int64_t *w = windows[j];
            const dw_case d = {between(1, 12), between(1, 24),        channels[i],  1, w[0], w[1], w[2],
                               w[3],           between(0, 2) ? 1 : 2, between(0, 3)};
            check_depthwise(kernels, d, between(0, 3) == 0, (int)between(0, 1));
        }
    for (int i = 0; i < 60; i++) {
        const int64_t multiplier = between(2, 9), kernel = between(1, 5), stride = between(1, 2);
        const dw_case d = {between(1, 9), between(1, 14), multiplier * between(1, 20),
                           multiplier,    kernel,         kernel,
                           stride,        stride,         1,
                           between(0, 2)};
        check_depthwise(kernels, d, between(0, 3) == 0, i & 1);
    }
    for (int64_t w = 1; w < 34; w++)
        for (int64_t stride = 1; stride < 3; stride++)
            for (int64_t kernel = 1; kernel < 5; kernel++) {
                const dw_case d = {between(2, 6), w, between(1, 90), 1, kernel, 3, stride, stride, 1, 1};
                check_depthwise(kernels, d, 0, (int)(w & 1));
            }
}

void test_s8(void) {
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        const dwc_kernel_table *table = dwc_kernel_table_of(isa);
        if (!table || !table->s8) continue;
        state = 1;
        check_matrices(table->s8);
        check_depthwises(table->s8);
    }
}
