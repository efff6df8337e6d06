"""dwconv.h for Cython: `cimport dwconv`, with `dwconv.get_include()` among the include directories.

The extension in this package keeps its functions to itself: a module that calls them links libdwconv, or
compiles csrc/.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t


cdef extern from "dwconv.h" nogil:
    ctypedef enum dwconv_status:
        DWCONV_OK
        DWCONV_NULL_POINTER
        DWCONV_BAD_SIZE
        DWCONV_BAD_VALUE
        DWCONV_BAD_DTYPE
        DWCONV_BAD_SHAPE
        DWCONV_BAD_STRIDE
        DWCONV_BAD_PADDING
        DWCONV_BAD_ACTIVATION
        DWCONV_BAD_RESIDUAL
        DWCONV_BAD_LAYOUT
        DWCONV_KERNEL_TOO_LARGE
        DWCONV_OVERFLOW
        DWCONV_OVERLAP
        DWCONV_MISALIGNED
        DWCONV_TOO_SMALL
        DWCONV_NO_MEMORY
        DWCONV_NO_ISA
        DWCONV_BAD_QUANTIZATION
        DWCONV_STATUS_COUNT

    ctypedef enum dwconv_dtype:
        DWCONV_F32
        DWCONV_S8
        DWCONV_U8
        DWCONV_S32
        DWCONV_DTYPE_COUNT

    ctypedef enum dwconv_activation_kind:
        DWCONV_IDENTITY
        DWCONV_RELU
        DWCONV_RELU6
        DWCONV_CLIP
        DWCONV_LEAKY_RELU
        DWCONV_HARD_SIGMOID
        DWCONV_HARD_SWISH
        DWCONV_SIGMOID
        DWCONV_SILU
        DWCONV_TANH
        DWCONV_GELU_ERF
        DWCONV_GELU_TANH
        DWCONV_ACTIVATION_COUNT

    ctypedef enum dwconv_padding:
        DWCONV_VALID
        DWCONV_SAME
        DWCONV_EXPLICIT

    ctypedef enum dwconv_residual:
        DWCONV_RESIDUAL_OFF
        DWCONV_RESIDUAL_AUTO
        DWCONV_RESIDUAL_ON

    ctypedef enum dwconv_quant_rounding:
        DWCONV_ROUND_EVEN
        DWCONV_ROUND_TFLITE
        DWCONV_QUANT_ROUNDING_COUNT

    ctypedef enum dwconv_formula:
        DWCONV_INTEGER_FORMULA
        DWCONV_FLOAT_FORMULA
        DWCONV_FORMULA_COUNT

    ctypedef enum dwconv_format:
        DWCONV_TEXT
        DWCONV_JSON

    ctypedef struct dwconv_activation:
        dwconv_activation_kind kind
        float a, b

    ctypedef struct dwconv_window:
        int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w
        dwconv_padding padding
        int64_t pad_top, pad_bottom, pad_left, pad_right

    ctypedef struct dwconv_quant:
        float scale
        int32_t zero_point

    ctypedef struct dwconv_conv_desc:
        size_t size
        int64_t in_channels, out_channels, groups
        dwconv_window window
        const void *filter
        const void *bias
        dwconv_activation activation
        const float *filter_scale
        int64_t filter_scales
        dwconv_quant output
        dwconv_quant activation_input
        const uint8_t *table
        int32_t low, high
        const int32_t *filter_zero_point
        int64_t filter_zero_points
        dwconv_dtype filter_dtype

    ctypedef struct dwconv_desc:
        size_t size
        dwconv_dtype dtype
        uint32_t flags
        const char *isa
        const dwconv_conv_desc *conv
        const dwconv_conv_desc *expand
        const dwconv_conv_desc *project
        const dwconv_conv_desc *squeeze
        const dwconv_conv_desc *excite
        dwconv_residual residual
        dwconv_quant input
        dwconv_quant sum
        dwconv_quant_rounding rounding
        dwconv_quant mean
        dwconv_quant scaled
        dwconv_formula product

    ctypedef struct dwconv_plan:
        pass

    ctypedef struct dwconv_tensor:
        void *data
        dwconv_dtype dtype
        int64_t batch, height, width, channels, image_stride, row_stride, pixel_stride

    ctypedef void (*dwconv_task)(void *context, int64_t item, int worker) noexcept nogil
    ctypedef void (*dwconv_parallel_for)(
        void *pool, int64_t items, dwconv_task task, void *context
    ) noexcept nogil

    ctypedef struct dwconv_threads:
        int count
        dwconv_parallel_for run
        void *pool

    const uint32_t DWCONV_FLUSH_DENORMAL_WEIGHTS
    const uint32_t DWCONV_FLOAT_OUTPUT
    const size_t DWCONV_ALIGNMENT
    const char *DWCONV_VERSION

    const char *dwconv_status_string(dwconv_status)
    int dwconv_isa_count()
    const char *dwconv_isa_name(int)
    bint dwconv_isa_compiled(const char *)
    bint dwconv_isa_available(const char *)
    const char *dwconv_isa_best()
    const char *dwconv_version()
    bint dwconv_has_threads()
    dwconv_status dwconv_plan_create(const dwconv_desc *, dwconv_plan **)
    dwconv_status dwconv_plan_size(const dwconv_desc *, size_t *)
    dwconv_status dwconv_plan_create_in(const dwconv_desc *, void *, size_t, dwconv_plan **)
    void dwconv_plan_destroy(dwconv_plan *)
    size_t dwconv_plan_bytes(const dwconv_plan *)
    const char *dwconv_plan_isa(const dwconv_plan *)
    dwconv_status dwconv_output_shape(const dwconv_plan *, const int64_t *, int64_t *)
    dwconv_status dwconv_scratch_size(const dwconv_plan *, const int64_t *, int, size_t *)
    dwconv_status dwconv_run(
        const dwconv_plan *,
        const dwconv_tensor *,
        const dwconv_tensor *,
        void *,
        size_t,
        const dwconv_threads *,
    )
    dwconv_status dwconv_explain(
        const dwconv_plan *, const int64_t *, const dwconv_threads *, dwconv_format, char *, size_t, size_t *
    )
    dwconv_status dwconv_reference(const dwconv_desc *, const dwconv_tensor *, const dwconv_tensor *)
