/* Scales and zero points: their checks, and the factors, clamps and tables that follow from them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static int is_scale(float scale) { return isfinite(scale) && scale > 0.0f; }

dwconv_status dwc_check_quant(dwconv_quant q, dwconv_dtype dtype) {
    const int fits = q.zero_point >= dwc_lowest(dtype) && q.zero_point <= dwc_highest(dtype);
    return fits && is_scale(q.scale) ? DWCONV_OK : DWCONV_BAD_QUANTIZATION;
}

static int64_t outputs_of(const dwc_graph *g, const dwc_node *n) { return g->values[n->output].channels; }

/* ---- factors ---------------------------------------------------------------------------------- */

static float filter_scale(const dwc_node *n, int64_t c) {
    return n->quant.filter_scale[n->quant.shared_scale ? 0 : c];
}

float dwc_multiplier(const dwc_graph *g, const dwc_node *n, int64_t c) {
    const float product = g->values[n->inputs[0]].scale * filter_scale(n, c);
    return product / n->quant.before.scale;
}

/* TensorFlow Lite's QuantizeMultiplier. */
dwc_fixed dwc_fixed_of(double factor) {
    dwc_fixed f = {0, 0};
    if (factor == 0.0) return f;
    const double fraction = frexp(factor, &f.shift);
    int64_t mantissa = (int64_t)round(fraction * 2147483648.0);
    if (mantissa == INT64_C(1) << 31) {
        mantissa /= 2;
        f.shift++;
    }
    f.mantissa = (int32_t)mantissa;
    return f.shift < -31 ? (dwc_fixed){0, 0} : f;
}

dwc_fixed dwc_fixed_multiplier(const dwc_graph *g, const dwc_node *n, int64_t c) {
    const double product = (double)g->values[n->inputs[0]].scale * (double)filter_scale(n, c);
    return dwc_fixed_of(product / (double)n->quant.before.scale);
}

/* As XNNPACK, factors from 256 on are refused; one of 0 makes nothing of every sum. */
static dwconv_status check_factors(const dwc_graph *g, const dwc_node *n) {
    const int64_t scales = n->quant.shared_scale ? 1 : outputs_of(g, n);
    for (int64_t c = 0; c < scales; c++) {
        if (!is_scale(filter_scale(n, c))) return DWCONV_BAD_QUANTIZATION;
        const float m = dwc_multiplier(g, n, c);
        if (!(m > 0.0f && m < 256.0f)) return DWCONV_BAD_QUANTIZATION;
    }
    return DWCONV_OK;
}

/* ---- clamps and tables ------------------------------------------------------------------------ */

/* The integer for a bound of an activation: as XNNPACK rounds it, to even after the zero point was added, or as
 * TensorFlow Lite, away from zero before. */
static int32_t bound(float value, dwconv_quant q, dwconv_dtype dtype, dwconv_quant_rounding rounding) {
    const float low = (float)dwc_lowest(dtype), high = (float)dwc_highest(dtype), z = (float)q.zero_point;
    float scaled = value / q.scale;
    scaled = rounding == DWCONV_ROUND_TFLITE ? roundf(scaled) + z : scaled + z;
    return (int32_t)lrintf(scaled < low ? low : scaled > high ? high : scaled);
}

static dwconv_status set_clamp(const dwc_graph *g, dwc_node *n, int32_t low, int32_t high) {
    dwc_node_quant *q = &n->quant;
    if (low || high) {
        if (low < dwc_lowest(g->dtype) || high > dwc_highest(g->dtype) || low > high)
            return DWCONV_BAD_QUANTIZATION;
        q->low = low;
        q->high = high;
    } else if (q->has_table) {
        q->low = dwc_lowest(g->dtype);
        q->high = dwc_highest(g->dtype);
    } else {
        q->low = bound(n->activation.a, q->before, g->dtype, g->rounding);
        q->high = bound(n->activation.b, q->before, g->dtype, g->rounding);
    }
    return DWCONV_OK;
}

/* As XNNPACK computes tables, but for the activation itself, which is rounded to float32 once. */
void dwc_fill_table(const dwc_graph *g, const dwc_node *n, uint8_t table[256]) {
    const dwc_node_quant *q = &n->quant;
    const dwc_value *y = &g->values[n->output];
    const float low = (float)dwc_lowest(g->dtype), high = (float)dwc_highest(g->dtype),
                inverse = 1.0f / y->scale;
    if (q->table) {
        memcpy(table, q->table, 256);
        return;
    }
    for (int byte = 0; byte < 256; byte++) {
        const int32_t number = dwc_number((uint8_t)byte, dwc_flip(g->dtype));
        const float x = (float)(number - q->before.zero_point) * q->before.scale;
        float t = (float)dwc_activate((double)x, &n->activation) * inverse + (float)y->zero_point;
        t = t < low ? low : t > high ? high : t;
        table[byte] = (uint8_t)lrintf(isnan(t) ? (float)y->zero_point : t);
    }
}

/* Zero points are values of the dtype of filters. */
static dwconv_status set_filter(const dwconv_conv_desc *d, dwc_s8_filter *f) {
    const dwconv_dtype dtype = d->filter_dtype == DWCONV_F32 ? DWCONV_S8 : d->filter_dtype;
    const int64_t count = d->filter_zero_points == 1 ? 1 : d->out_channels;
    if (dtype != DWCONV_S8 && dtype != DWCONV_U8) return DWCONV_BAD_DTYPE;
    if (d->filter_zero_points != 0 && d->filter_zero_points != count) return DWCONV_BAD_QUANTIZATION;
    *f = (dwc_s8_filter){d->filter, dtype == DWCONV_U8, d->filter_zero_point, count == 1};
    for (int64_t c = 0; f->zeros && c < count; c++)
        if (f->zeros[c] < dwc_lowest(dtype) || f->zeros[c] > dwc_highest(dtype))
            return DWCONV_BAD_QUANTIZATION;
    return DWCONV_OK;
}

dwconv_status dwc_quantize_node(const dwc_graph *g, dwc_node *n, const dwconv_conv_desc *d) {
    dwc_node_quant *q = &n->quant;
    dwc_value *y = &g->values[n->output];
    if (!d->filter_scale) return DWCONV_NULL_POINTER;
    if (d->filter_scales != 0 && d->filter_scales != 1 && d->filter_scales != d->out_channels)
        return DWCONV_BAD_QUANTIZATION;
    DWC_TRY(dwc_check_quant(d->output, g->dtype));
    *y = (dwc_value){g->dtype, d->out_channels, d->output.scale, d->output.zero_point};
    *q = (dwc_node_quant){.filter_scale = d->filter_scale,
                          .shared_scale = d->filter_scales == 1,
                          .has_table = d->table || n->activation.kind != DWCONV_CLIP,
                          .table = d->table};
    q->before = q->has_table ? d->activation_input : d->output;
    DWC_TRY(set_filter(d, &q->filter));
    DWC_TRY(dwc_check_quant(q->before, g->dtype));
    DWC_TRY(set_clamp(g, n, d->low, d->high));
    return check_factors(g, n);
}

/* ---- sums ------------------------------------------------------------------------------------- */

/* Of unsigned inputs up to 255: then kernels may sum in any order, whatever the zero point. */
static int fits(const dwc_node *n, int64_t depth, int64_t outputs, int64_t c) {
    const int64_t bias = n->bias ? ((const int32_t *)n->bias)[c] : 0;
    int64_t sum = 0;
    for (int64_t k = 0; k < depth; k++) sum += abs(dwc_s8_weight(&n->quant.filter, k * outputs + c, c));
    return sum <= (INT32_MAX - llabs(bias)) / 255; /* llabs(INT32_MIN) leaves nothing */
}

dwconv_status dwc_check_sums(const dwc_graph *g) {
    if (!dwc_is_quantized(g)) return DWCONV_OK;
    for (const dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        if (n->op != DWC_DEPTHWISE && n->op != DWC_MATRIX) continue;
        const int64_t outputs = outputs_of(g, n), inputs = g->values[n->inputs[0]].channels / n->groups;
        const int64_t depth = n->window.kernel_h * n->window.kernel_w * inputs;
        for (int64_t c = 0; c < outputs; c++)
            if (!fits(n, depth, outputs, c)) return DWCONV_BAD_QUANTIZATION;
    }
    return DWCONV_OK;
}

/* ---- residuals -------------------------------------------------------------------------------- */

/* XNNPACK's qs8-vadd: factors of 20 bits and one shift. 0 if they cannot be. */
static int add_once(const dwc_sum_of *of, dwc_s8_add *s) {
    const float factor_a = of->a.scale / of->y.scale, factor_b = of->b.scale / of->y.scale;
    const float most = factor_a > factor_b ? factor_a : factor_b;
    int exponent;
    if (!(most >= 0x1p-10f && most < 0x1p8f)) return 0;
    (void)frexpf(most, &exponent); /* most = [1/2, 1) * 2^exponent */
    s->shift = 20 - (exponent - 1);
    s->a = (int32_t)lrintf(ldexpf(factor_a, s->shift));
    s->b = (int32_t)lrintf(ldexpf(factor_b, s->shift));
    if (of->minus) s->b = -s->b;
    s->start = (1 << (s->shift - 1)) - s->a * of->a.zero_point - s->b * of->b.zero_point;
    return 1;
}

/* TensorFlow Lite's ADD and SUB. */
static void add_twice(const dwc_sum_of *of, dwc_s8_add *s) {
    const double a = (double)of->a.scale, b = (double)of->b.scale, twice = 2.0 * (a > b ? a : b);
    s->twice = 1;
    s->fixed_a = dwc_fixed_of(a / twice);
    s->fixed_b = dwc_fixed_of(b / twice);
    s->fixed_y = dwc_fixed_of(twice / (1048576.0 * (double)of->y.scale));
}

dwconv_status dwc_make_add(const dwc_sum_of *of, dwc_s8_add *add) {
    DWC_TRY(dwc_check_quant(of->y, of->dtype));
    *add = (dwc_s8_add){.minus = of->minus,
                        .zero_a = of->a.zero_point,
                        .zero_b = of->b.zero_point,
                        .zero_point = of->y.zero_point,
                        .low = dwc_lowest(of->dtype),
                        .high = dwc_highest(of->dtype),
                        .flip = dwc_flip(of->dtype)};
    if (!add_once(of, add)) return DWCONV_BAD_QUANTIZATION;
    if (of->rounding == DWCONV_ROUND_TFLITE) add_twice(of, add);
    return DWCONV_OK;
}

static dwconv_quant quant_of(const dwc_value *v) { return (dwconv_quant){v->scale, v->zero_point}; }

dwconv_status dwc_quantize_add(const dwc_graph *g, dwc_node *n) {
    const dwc_sum_of of = {.a = quant_of(&g->values[n->inputs[0]]),
                           .b = quant_of(&g->values[n->inputs[1]]),
                           .y = quant_of(&g->values[n->output]),
                           .dtype = g->dtype,
                           .rounding = g->rounding};
    return dwc_make_add(&of, &n->add);
}
