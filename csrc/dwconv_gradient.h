/*
 * dwconv_gradient - gradients of convolutions and activations: what training runs backward.
 *
 * ABOUT
 *
 * Filters change with every step of training, so that there is nothing to pack ahead: the descriptor is the plan. With
 * y = convolution(x, filter) + bias and `dy` the gradient of a loss with respect to y, these functions give its
 * gradients with respect to x (`dx`), the filter and the bias.
 *
 * SYNOPSIS
 *
 *     describe the forward convolution   dwconv_gradient_desc
 *     ask for memory                     dwconv_input_gradient_scratch and so on
 *     run                                dwconv_input_gradient, dwconv_filter_gradient, dwconv_both_gradients
 *     ask how it runs                    dwconv_gradient_explain
 *     an activation                      dwconv_activation_gradient, on its own
 *     batch normalization and a clamp    dwconv_batch_norm, dwconv_batch_norm_gradient: as one, on their own
 *     a convolution before them, too     dwconv_normalized_gradients: backward
 *
 * The conventions of dwconv.h hold. Nothing is allocated.
 *
 * RESULTS
 *
 * On one machine and instruction set they are bitwise the same for every thread count and stride of a tensor. An input
 * gradient sums as the forward pass does. A filter or bias gradient sums over pixels in chunks: which pixels make a
 * chunk depends on shapes alone; the pixels of a chunk are added in order, then the sums of chunks, in order.
 */
#ifndef DWCONV_GRADIENT_H
#define DWCONV_GRADIENT_H

#include "dwconv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The forward convolution. Its filter is [kernel_h, kernel_w, in_channels / groups, out_channels]; one group per input
 * channel is a depthwise convolution. */
typedef struct dwconv_gradient_desc {
    size_t size; /* sizeof(dwconv_gradient_desc) */
    dwconv_dtype dtype;
    uint32_t flags;  /* 0 */
    const char *isa; /* NULL: dwconv_isa_best() */
    int64_t in_channels, out_channels, groups;
    dwconv_window window;
} dwconv_gradient_desc;

/* Scratch for an input {batch, height, width, channels} of the forward pass and so many threads. */
DWCONV_API dwconv_status dwconv_input_gradient_scratch(const dwconv_gradient_desc *desc,
                                                       const int64_t input[4], int threads, size_t *bytes);
DWCONV_API dwconv_status dwconv_filter_gradient_scratch(const dwconv_gradient_desc *desc,
                                                        const int64_t input[4], int threads, size_t *bytes);

/* dx, of the shape of the forward input, from dy, of the shape of its output, and the filter.
 *
 * DWCONV_NULL_POINTER   a descriptor, tensor, filter or needed scratch is NULL
 * DWCONV_BAD_SIZE       a descriptor's size, or fields that this library lacks are not 0
 * DWCONV_BAD_VALUE      a flag that does not exist, or a negative thread count
 * DWCONV_BAD_SHAPE      a size below 1, channels that groups do not divide, or tensors that do not fit the convolution
 * DWCONV_BAD_STRIDE, DWCONV_BAD_PADDING, DWCONV_BAD_DTYPE, DWCONV_KERNEL_TOO_LARGE, DWCONV_NO_ISA
 * DWCONV_BAD_LAYOUT, DWCONV_OVERLAP, DWCONV_MISALIGNED, DWCONV_TOO_SMALL, DWCONV_OVERFLOW: as in dwconv_run */
DWCONV_API dwconv_status dwconv_input_gradient(const dwconv_gradient_desc *desc, const float *filter,
                                               const dwconv_tensor *dy, const dwconv_tensor *dx,
                                               void *scratch, size_t scratch_bytes,
                                               const dwconv_threads *threads);

/* The gradient of the filter, in the layout of the filter, and of the bias, out_channels values, from x and dy. Either
 * may be NULL: it is then not computed. An empty batch gives zeros. The statuses of dwconv_input_gradient. */
DWCONV_API dwconv_status dwconv_filter_gradient(const dwconv_gradient_desc *desc, const dwconv_tensor *x,
                                                const dwconv_tensor *dy, float *filter_gradient,
                                                float *bias_gradient, void *scratch, size_t scratch_bytes,
                                                const dwconv_threads *threads);

/* Both, and that of the bias unless it is NULL, with the bits of the functions above. Of a depthwise layer x and dy are
 * read from memory once. dx overlaps nothing else; filter_gradient may not be `filter`. The statuses of both. */
DWCONV_API dwconv_status dwconv_both_gradients_scratch(const dwconv_gradient_desc *desc,
                                                       const int64_t input[4], int threads, size_t *bytes);
DWCONV_API dwconv_status dwconv_both_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                               const dwconv_tensor *x, const dwconv_tensor *dy,
                                               const dwconv_tensor *dx, float *filter_gradient,
                                               float *bias_gradient, void *scratch, size_t scratch_bytes,
                                               const dwconv_threads *threads);

/* How both would run, on contiguous tensors: see dwconv_explain. */
DWCONV_API dwconv_status dwconv_gradient_explain(const dwconv_gradient_desc *desc, const int64_t input[4],
                                                 int threads, dwconv_format format, char *buffer, size_t size,
                                                 size_t *needed);

/* What the slope of an activation is read from: what the activation was given, or what it gave. */
typedef enum dwconv_slope_source { DWCONV_FROM_INPUT = 0, DWCONV_FROM_OUTPUT } dwconv_slope_source;

/* dx[i] = dy[i] * slope at values[i], for `count` floats; dx may be dy or values. Where the slope is 0, so is dx,
 * whatever dy is. IDENTITY, RELU, RELU6, CLIP and HARD_SIGMOID have a slope of 0 on their corners, LEAKY_RELU that of its
 * negative side at 0, HARD_SWISH 0 at -3 and 1 at 3. Outputs tell the slope of IDENTITY, RELU, RELU6, CLIP,
 * HARD_SIGMOID, SIGMOID, TANH, and of LEAKY_RELU where a > 0. Slopes of smooth activations are within 2e-6.
 *
 * DWCONV_NULL_POINTER
 * DWCONV_BAD_VALUE        a source that does not exist, or a negative count or thread count
 * DWCONV_BAD_ACTIVATION   no such activation, or its output does not tell its slope
 * DWCONV_MISALIGNED       data not aligned to its elements
 * DWCONV_NO_ISA */
DWCONV_API dwconv_status dwconv_activation_gradient(const char *isa, const dwconv_activation *activation,
                                                    dwconv_slope_source source, const float *values,
                                                    const float *dy, float *dx, int64_t count,
                                                    const dwconv_threads *threads);

/* ---- batch normalization -------------------------------------------------------------------- */

/* y = activation((x - mean) / sqrt(variance + epsilon) * gamma + beta), for every channel of tensors of one shape. Mean and
 * variance are those of x, the variance divided by the number of pixels; or where they are fixed, the caller's. */
typedef struct dwconv_batch_norm_desc {
    size_t size; /* sizeof(dwconv_batch_norm_desc) */
    dwconv_dtype dtype;
    uint32_t flags;  /* 0 or DWCONV_FIXED_MOMENTS */
    const char *isa; /* NULL: dwconv_isa_best() */
    int64_t channels;
    float epsilon;                /* from 0 on */
    dwconv_activation activation; /* IDENTITY, RELU, RELU6 or CLIP */
} dwconv_batch_norm_desc;

/* Mean and variance are read; gradients take them for constants. */
#define DWCONV_FIXED_MOMENTS 1u

/* Scratch of either function for a tensor {batch, height, width, channels} and so many threads. */
DWCONV_API dwconv_status dwconv_batch_norm_scratch(const dwconv_batch_norm_desc *desc, const int64_t shape[4],
                                                   int threads, size_t *bytes);

/* Forward. gamma, beta, mean and variance are a float for each channel; gamma NULL: 1; beta NULL: 0.
 *
 * DWCONV_NULL_POINTER     a descriptor, tensor, mean, variance or scratch is NULL
 * DWCONV_BAD_VALUE        a flag that does not exist, an epsilon below 0, or a negative thread count
 * DWCONV_BAD_SHAPE        a size below 1, tensors of other shapes, or no pixels to take moments of
 * DWCONV_BAD_ACTIVATION   none of the four
 * DWCONV_BAD_SIZE, DWCONV_BAD_DTYPE, DWCONV_NO_ISA, DWCONV_BAD_LAYOUT, DWCONV_OVERLAP, DWCONV_MISALIGNED,
 * DWCONV_TOO_SMALL, DWCONV_OVERFLOW: as above */
DWCONV_API dwconv_status dwconv_batch_norm(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x,
                                           const float *gamma, const float *beta, float *mean,
                                           float *variance, const dwconv_tensor *y, void *scratch,
                                           size_t scratch_bytes, const dwconv_threads *threads);

/* Backward, from what forward was given, the mean and the variance that it found, and dy. dx, dgamma and dbeta may be NULL:
 * they are then not computed. On the corners of the clamp the gradient is 0. The statuses of dwconv_batch_norm. */
DWCONV_API dwconv_status dwconv_batch_norm_gradient(
    const dwconv_batch_norm_desc *desc, const dwconv_tensor *x, const float *gamma, const float *beta,
    const float *mean, const float *variance, const dwconv_tensor *dy, const dwconv_tensor *dx, float *dgamma,
    float *dbeta, void *scratch, size_t scratch_bytes, const dwconv_threads *threads);

/* A normalization behind a convolution, as gradients of both need it. */
typedef struct dwconv_normalization_desc {
    size_t size; /* sizeof(dwconv_normalization_desc) */
    const dwconv_batch_norm_desc *desc;
    const dwconv_tensor *x; /* what it read: the output of the convolution */
    const float *gamma, *beta, *mean, *variance;
    float *dgamma, *dbeta; /* results, or NULL: as in dwconv_batch_norm_gradient */
} dwconv_normalization_desc;

/* Gradients of a convolution and a normalization behind it, with the bits of dwconv_batch_norm_gradient and, from the dx
 * of that, of the functions above; dy is the gradient of what the normalization gave. What is between is made where it
 * is read, and does not go through memory: of depthwise layers, of pointwise ones with no fewer outputs than inputs, and
 * where dx is NULL, which is then not computed. The statuses of all. */
DWCONV_API dwconv_status dwconv_normalized_gradients_scratch(const dwconv_gradient_desc *desc,
                                                             const int64_t input[4], int threads,
                                                             size_t *bytes);
DWCONV_API dwconv_status dwconv_normalized_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                                     const dwconv_tensor *x,
                                                     const dwconv_normalization_desc *normalization,
                                                     const dwconv_tensor *dy, const dwconv_tensor *dx,
                                                     float *filter_gradient, float *bias_gradient,
                                                     void *scratch, size_t scratch_bytes,
                                                     const dwconv_threads *threads);

/* ---- references ----------------------------------------------------------------------------- */

/* The same as plain loops that sum in double precision: the oracle. Scratch is not needed. */
DWCONV_API dwconv_status dwconv_input_gradient_reference(const dwconv_gradient_desc *desc,
                                                         const float *filter, const dwconv_tensor *dy,
                                                         const dwconv_tensor *dx);
DWCONV_API dwconv_status dwconv_filter_gradient_reference(const dwconv_gradient_desc *desc,
                                                          const dwconv_tensor *x, const dwconv_tensor *dy,
                                                          float *filter_gradient, float *bias_gradient);
DWCONV_API dwconv_status dwconv_activation_gradient_reference(const dwconv_activation *activation,
                                                              dwconv_slope_source source, const float *values,
                                                              const float *dy, float *dx, int64_t count);
DWCONV_API dwconv_status dwconv_batch_norm_reference(const dwconv_batch_norm_desc *desc,
                                                     const dwconv_tensor *x, const float *gamma,
                                                     const float *beta, float *mean, float *variance,
                                                     const dwconv_tensor *y);
DWCONV_API dwconv_status dwconv_batch_norm_gradient_reference(const dwconv_batch_norm_desc *desc,
                                                              const dwconv_tensor *x, const float *gamma,
                                                              const float *beta, const float *mean,
                                                              const float *variance, const dwconv_tensor *dy,
                                                              const dwconv_tensor *dx, float *dgamma,
                                                              float *dbeta);

#ifdef __cplusplus
}
#endif

#endif
