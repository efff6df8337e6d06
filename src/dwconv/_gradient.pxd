"""dwconv_gradient.h for Cython."""

from libc.stdint cimport int64_t, uint32_t

from dwconv cimport (
    dwconv_activation,
    dwconv_dtype,
    dwconv_format,
    dwconv_status,
    dwconv_tensor,
    dwconv_threads,
    dwconv_window,
)


cdef extern from "dwconv_gradient.h" nogil:
    ctypedef struct dwconv_gradient_desc:
        size_t size
        dwconv_dtype dtype
        uint32_t flags
        const char *isa
        int64_t in_channels, out_channels, groups
        dwconv_window window

    ctypedef enum dwconv_slope_source:
        DWCONV_FROM_INPUT
        DWCONV_FROM_OUTPUT

    dwconv_status dwconv_input_gradient_scratch(const dwconv_gradient_desc *desc, const int64_t *input,
                                                int threads, size_t *bytes)
    dwconv_status dwconv_filter_gradient_scratch(const dwconv_gradient_desc *desc, const int64_t *input,
                                                 int threads, size_t *bytes)
    dwconv_status dwconv_input_gradient(const dwconv_gradient_desc *desc, const float *filter,
                                        const dwconv_tensor *dy, const dwconv_tensor *dx, void *scratch,
                                        size_t scratch_bytes, const dwconv_threads *threads)
    dwconv_status dwconv_filter_gradient(const dwconv_gradient_desc *desc, const dwconv_tensor *x,
                                         const dwconv_tensor *dy, float *filter_gradient,
                                         float *bias_gradient, void *scratch, size_t scratch_bytes,
                                         const dwconv_threads *threads)
    dwconv_status dwconv_both_gradients_scratch(const dwconv_gradient_desc *desc, const int64_t *input,
                                                int threads, size_t *bytes)
    dwconv_status dwconv_both_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                        const dwconv_tensor *x, const dwconv_tensor *dy,
                                        const dwconv_tensor *dx, float *filter_gradient,
                                        float *bias_gradient, void *scratch, size_t scratch_bytes,
                                        const dwconv_threads *threads)
    dwconv_status dwconv_activation_gradient(const char *isa, const dwconv_activation *activation,
                                             dwconv_slope_source source, const float *values,
                                             const float *dy, float *dx, int64_t count,
                                             const dwconv_threads *threads)
    dwconv_status dwconv_gradient_explain(const dwconv_gradient_desc *desc, const int64_t *input, int threads,
                                          dwconv_format format, char *buffer, size_t size, size_t *needed)

    ctypedef struct dwconv_batch_norm_desc:
        size_t size
        dwconv_dtype dtype
        uint32_t flags
        const char *isa
        int64_t channels
        float epsilon
        dwconv_activation activation

    const uint32_t DWCONV_FIXED_MOMENTS

    dwconv_status dwconv_batch_norm_scratch(const dwconv_batch_norm_desc *desc, const int64_t *shape,
                                            int threads, size_t *bytes)
    dwconv_status dwconv_batch_norm(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x,
                                    const float *gamma, const float *beta, float *mean, float *variance,
                                    const dwconv_tensor *y, void *scratch, size_t scratch_bytes,
                                    const dwconv_threads *threads)
    dwconv_status dwconv_batch_norm_gradient(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x,
                                             const float *gamma, const float *beta, const float *mean,
                                             const float *variance, const dwconv_tensor *dy,
                                             const dwconv_tensor *dx, float *dgamma, float *dbeta,
                                             void *scratch, size_t scratch_bytes,
                                             const dwconv_threads *threads)

    ctypedef struct dwconv_normalization_desc:
        size_t size
        const dwconv_batch_norm_desc *desc
        const dwconv_tensor *x
        const float *gamma
        const float *beta
        const float *mean
        const float *variance
        float *dgamma
        float *dbeta

    dwconv_status dwconv_normalized_gradients_scratch(const dwconv_gradient_desc *desc, const int64_t *input,
                                                      int threads, size_t *bytes)
    dwconv_status dwconv_normalized_gradients(const dwconv_gradient_desc *desc, const float *filter,
                                              const dwconv_tensor *x,
                                              const dwconv_normalization_desc *normalization,
                                              const dwconv_tensor *dy, const dwconv_tensor *dx,
                                              float *filter_gradient, float *bias_gradient, void *scratch,
                                              size_t scratch_bytes, const dwconv_threads *threads)

    dwconv_status dwconv_input_gradient_reference(const dwconv_gradient_desc *desc, const float *filter,
                                                  const dwconv_tensor *dy, const dwconv_tensor *dx)
    dwconv_status dwconv_filter_gradient_reference(const dwconv_gradient_desc *desc, const dwconv_tensor *x,
                                                   const dwconv_tensor *dy, float *filter_gradient,
                                                   float *bias_gradient)
    dwconv_status dwconv_activation_gradient_reference(const dwconv_activation *activation,
                                                       dwconv_slope_source source, const float *values,
                                                       const float *dy, float *dx, int64_t count)
    dwconv_status dwconv_batch_norm_reference(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x,
                                              const float *gamma, const float *beta, float *mean,
                                              float *variance, const dwconv_tensor *y)
    dwconv_status dwconv_batch_norm_gradient_reference(const dwconv_batch_norm_desc *desc,
                                                       const dwconv_tensor *x, const float *gamma,
                                                       const float *beta, const float *mean,
                                                       const float *variance, const dwconv_tensor *dy,
                                                       const dwconv_tensor *dx, float *dgamma, float *dbeta)
