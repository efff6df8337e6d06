/* Nodes of networks and gates of blocks on 8-bit integers: scales and zero points -> factors. The formulas stand in dwconv_network.h. */
#include <math.h>

#include "network.h"

/* Of scales: beyond it every integer but 0 saturates, and shifts leave 64 bits. */
#define MOST_RATIO 0x1p20f

static int is_same(dwc_typed a, dwc_typed b) {
    return a.quant.scale == b.quant.scale && a.quant.zero_point == b.quant.zero_point;
}

static dwconv_status set_clamp(const dwconv_node *n, dwc_typed out, dwc_byte_end *end) {
    end->zero_point = out.quant.zero_point;
    end->low = dwc_lowest(out.dtype);
    end->high = dwc_highest(out.dtype);
    if (!n->low && !n->high) return DWCONV_OK;
    if (n->low < end->low || n->high > end->high || n->low > n->high) return DWCONV_BAD_QUANTIZATION;
    end->low = n->low;
    end->high = n->high;
    return DWCONV_OK;
}

/* `ratio` in float32, and what TensorFlow Lite has for it: of products that too, in double precision else. */
static dwconv_status set_factor(dwc_byte_end *end, float ratio, double fixed) {
    if (!(ratio >= 0.0f && ratio < MOST_RATIO)) return DWCONV_BAD_QUANTIZATION;
    end->multiplier = ratio;
    end->fixed = dwc_fixed_of(fixed);
    return DWCONV_OK;
}

/* ---- two inputs ----------------------------------------------------------------------------- */

static dwconv_status set_product(dwc_byte_end *end, const dwc_byte_parameters *p) {
    const float ratio = p->scale[0] * p->scale[1] / p->y_scale;
    return set_factor(end, ratio, (double)ratio);
}

static dwconv_status set_sum(const dwconv_node *n, dwconv_quant_rounding rounding, const dwc_typed in[2],
                             dwc_typed out, dwc_byte_parameters *p) {
    const dwc_sum_of of = {.a = in[0].quant,
                           .b = in[1].quant,
                           .y = out.quant,
                           .dtype = out.dtype,
                           .rounding = rounding,
                           .minus = n->function == DWCONV_MINUS};
    DWC_TRY(dwc_make_add(&of, &p->add));
    p->add.low = p->end.low;
    p->add.high = p->end.high;
    return DWCONV_OK;
}

static dwconv_status set_binary(const dwconv_node *n, dwconv_quant_rounding rounding, const dwc_typed in[2],
                                dwc_typed out, dwc_byte_parameters *p) {
    const int same = is_same(in[0], out) && is_same(in[1], out);
    if (n->formula == DWCONV_FLOAT_FORMULA) {
        p->form = DWC_BYTES_FLOATS;
        p->end.twice = 0;
        return n->function >= DWCONV_PLUS && n->function <= DWCONV_MINIMUM ? DWCONV_OK : DWCONV_BAD_VALUE;
    }
    switch (n->function) {
        case DWCONV_PLUS:
        case DWCONV_MINUS: p->form = DWC_BYTES_ADD; return set_sum(n, rounding, in, out, p);
        case DWCONV_TIMES: p->form = DWC_BYTES_TIMES; return set_product(&p->end, p);
        case DWCONV_MAXIMUM: p->form = DWC_BYTES_MAXIMUM; return same ? DWCONV_OK : DWCONV_BAD_QUANTIZATION;
        case DWCONV_MINIMUM: p->form = DWC_BYTES_MINIMUM; return same ? DWCONV_OK : DWCONV_BAD_QUANTIZATION;
        case DWCONV_PRELU:
            p->form = DWC_BYTES_PRELU;
            p->positive = p->end;
            DWC_TRY(set_factor(&p->positive, p->ratio, (double)p->ratio));
            return set_product(&p->end, p);
        default: return DWCONV_BAD_VALUE;
    }
}

/* ---- means ---------------------------------------------------------------------------------- */

/* TensorFlow Lite's MEAN: what divides is part of the factor, whose bits are spared by a shift. */
static dwc_fixed divided(dwc_fixed f, int64_t count) {
    int bits = 0;
    if (count == 1) return f;
    while (bits < 62 && count >> (bits + 1)) bits++;
    int shift = bits < 32 ? bits : 32;
    if (shift > 31 + f.shift) shift = 31 + f.shift;
    f.mantissa = (int32_t)(((int64_t)f.mantissa * (INT64_C(1) << shift)) / count);
    f.shift -= shift;
    return f;
}

dwc_byte_end dwc_mean_end(const dwc_byte_parameters *p, int64_t count) {
    dwc_byte_end end = p->end;
    end.multiplier = p->ratio * (1.0f / (float)count);
    end.fixed = divided(end.fixed, count);
    return end;
}

/* ---- all kinds ------------------------------------------------------------------------------ */

/* Bytes stay as they are: of values that stand for nothing, too. */
static int moves_bytes(const dwconv_node *n, dwconv_quant_rounding rounding) {
    if (n->kind == DWCONV_REDUCE || n->kind == DWCONV_POOL)
        return n->function == DWCONV_LARGEST || n->function == DWCONV_SMALLEST ||
               (n->kind == DWCONV_POOL && rounding == DWCONV_ROUND_TFLITE);
    return n->kind == DWCONV_RESIZE;
}

/* Clamps are integers here. */
static int has_activation(const dwconv_node *n) {
    const dwconv_activation *a = &n->activation;
    if (n->kind != DWCONV_BINARY && n->kind != DWCONV_POOL) return 0;
    return a->kind != DWCONV_CLIP || a->a != -INFINITY || a->b != INFINITY;
}

dwconv_status dwc_quantize_network_node(const dwconv_node *n, dwconv_quant_rounding rounding,
                                        const dwc_typed in[2], dwc_typed out, dwc_byte_parameters *p) {
    const int twice = rounding == DWCONV_ROUND_TFLITE, inputs = n->kind == DWCONV_BINARY ? 2 : 1;
    const int from_bytes = n->kind != DWCONV_QUANTIZE, to_bytes = n->kind != DWCONV_DEQUANTIZE;
    *p = (dwc_byte_parameters){.function = n->function, .twice = twice, .y_scale = out.quant.scale};
    p->flip = dwc_flip(to_bytes ? out.dtype : in[0].dtype);
    if (has_activation(n)) return DWCONV_BAD_ACTIVATION;
    if (to_bytes) DWC_TRY(set_clamp(n, out, &p->end));
    p->end.twice = twice;
    if (moves_bytes(n, rounding)) {
        const int clamps = n->kind == DWCONV_POOL || (!n->low && !n->high);
        return clamps && is_same(in[0], out) ? DWCONV_OK : DWCONV_BAD_QUANTIZATION;
    }
    if (to_bytes) DWC_TRY(dwc_check_quant(out.quant, out.dtype));
    for (int i = 0; i < inputs && from_bytes; i++) {
        if (in[i].dtype != DWCONV_S32) DWC_TRY(dwc_check_quant(in[i].quant, in[i].dtype));
        if (!(isfinite(in[i].quant.scale) && in[i].quant.scale > 0.0f)) return DWCONV_BAD_QUANTIZATION;
        p->scale[i] = in[i].quant.scale;
        p->zero[i] = in[i].quant.zero_point;
    }
    if (!from_bytes || !to_bytes) return DWCONV_OK;
    p->ratio = p->scale[0] / p->y_scale;
    if (n->kind == DWCONV_BINARY) return set_binary(n, rounding, in, out, p);
    if (n->kind == DWCONV_SOFTMAX) {
        const int fits =
            fabsf(p->y_scale * 256 - 1) <= 1e-3f && out.quant.zero_point == dwc_lowest(out.dtype);
        return twice && !fits ? DWCONV_BAD_QUANTIZATION : DWCONV_OK;
    }
    return set_factor(&p->end, p->ratio, (double)p->scale[0] / (double)p->y_scale);
}

/* ---- squeeze-and-excite --------------------------------------------------------------------- */

static dwc_typed typed_value(const dwc_graph *g, int value) {
    const dwc_value *v = &g->values[value];
    return (dwc_typed){g->dtype, {v->scale, v->zero_point}};
}

dwconv_status dwc_quantize_gate(const dwc_graph *g, dwc_node *n, dwconv_quant quant, dwconv_formula formula) {
    const int is_mean = n->op == DWC_MEAN;
    const dwconv_node node = {.kind = is_mean ? DWCONV_REDUCE : DWCONV_BINARY,
                              .function = is_mean ? DWCONV_MEAN : DWCONV_TIMES,
                              .activation = {DWCONV_CLIP, -INFINITY, INFINITY},
                              .formula = formula};
    const dwc_typed in[2] = {typed_value(g, n->inputs[0]), typed_value(g, n->inputs[1])};
    return dwc_quantize_network_node(&node, g->rounding, in, (dwc_typed){g->dtype, quant}, &n->bytes);
}
