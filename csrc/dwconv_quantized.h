/*
 * dwconv_quantized - operations of 8-bit integers: what the numbers stand for, and the arithmetic to the bit. A part of
 * dwconv.h, which includes it.
 *
 * What an 8-bit integer q stands for: scale * (q - zero_point). The scale is finite and above 0, the zero point a value
 * of the dtype.
 *
 * With desc.dtype DWCONV_S8 or DWCONV_U8 input, output and what lies between stages are of this dtype, filters are
 * int8_t or uint8_t, biases int32_t in units of input.scale * filter_scale[c]. A convolution is the exact integer
 *
 *     sum[c] = bias[c] + sum over taps and channels of w * (x - input.zero_point)        padding adds 0
 *     w      = filter - filter_zero_point[c]                                             0 where there is none
 *
 * divided by the ratio of the scales, rounded, clamped, and replaced by a table where there is one:
 *
 *     q = table[clamp(round(sum[c] * input.scale * filter_scale[c] / output.scale) + output.zero_point)]
 *
 * Activations that are no clamps are a table. `table`: 256 entries by (uint8_t)q, with which the activation is not
 * looked at. NULL: made of the activation, table[q] = f(x) / output.scale + output.zero_point to the nearest, halves
 * to even, for the x that q stands for. `activation_input` says what q stands for, and so takes the place of `output`
 * in the formula above.
 *
 * In a block the output of a stage is the input of the next. What project gives, rounded to 8 bits, and the block's
 * input are added to `sum` in integers: to 20 bits and rounded once, as XNNPACK does, or with DWCONV_ROUND_TFLITE as
 * TensorFlow Lite does. DWCONV_RESIDUAL_AUTO looks at strides and channels alone: an input whose shape the output has
 * not is an error. The mean and the product of squeeze-and-excite are what REDUCE and BINARY of dwconv_network.h give
 * for these integers: the mean is rounded to `mean`, which squeeze takes, the product to `scaled`, which project
 * takes.
 *
 * Zero points are values of the dtype that they belong to, of filters too; 255 * sum of |w| + |bias[c]| must be below
 * 2^31. Most kernels multiply by int8: weights beyond it, which are rare where a filter uses the range of its bytes,
 * are multiplied in two steps. docs/int8.md says what that takes.
 *
 * DWCONV_ROUND_EVEN     m[c] = (input.scale * filter_scale[c]) / output.scale; (float)sum * m[c], all in float32, then
 *                       to the nearest integer, halves to even: the bits of ONNX Runtime and of XNNPACK
 * DWCONV_ROUND_TFLITE   m[c] in double, as a 31-bit integer and a shift; two roundings, halves away from zero: the bits
 *                       of TensorFlow Lite's reference kernels, of TFLite Micro and of CMSIS-NN
 *
 * The two differ by at most 1.
 */
#ifndef DWCONV_QUANTIZED_H
#define DWCONV_QUANTIZED_H

#include <stdint.h>

typedef struct dwconv_quant {
    float scale;
    int32_t zero_point;
} dwconv_quant;

typedef enum dwconv_quant_rounding {
    DWCONV_ROUND_EVEN = 0,
    DWCONV_ROUND_TFLITE,
    DWCONV_QUANT_ROUNDING_COUNT
} dwconv_quant_rounding;

/* How two 8-bit integers are multiplied, say: BINARY in dwconv_network.h. */
typedef enum dwconv_formula {
    DWCONV_INTEGER_FORMULA = 0,
    DWCONV_FLOAT_FORMULA,
    DWCONV_FORMULA_COUNT
} dwconv_formula;

#endif
