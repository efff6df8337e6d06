"""dwconv_network.h for `_network.pxi`."""

from libc.stdint cimport int32_t, int64_t

from dwconv cimport (
    dwconv_activation,
    dwconv_desc,
    dwconv_dtype,
    dwconv_format,
    dwconv_formula,
    dwconv_quant_rounding,
    dwconv_status,
    dwconv_threads,
    dwconv_window,
)


cdef extern from "dwconv_network.h" nogil:
    enum:
        DWCONV_MAX_RANK
        DWCONV_NODE_INPUTS

    ctypedef enum dwconv_storage:
        DWCONV_WORKSPACE
        DWCONV_CONSTANT
        DWCONV_INPUT
        DWCONV_OUTPUT
        DWCONV_VIEW
        DWCONV_STATE
        DWCONV_STORAGE_COUNT

    ctypedef enum dwconv_node_kind:
        DWCONV_CONVOLUTION
        DWCONV_COPY
        DWCONV_FILL
        DWCONV_UNARY
        DWCONV_BINARY
        DWCONV_REDUCE
        DWCONV_POOL
        DWCONV_RESIZE
        DWCONV_SOFTMAX
        DWCONV_LAYER_NORM
        DWCONV_MATMUL
        DWCONV_GATHER
        DWCONV_QUANTIZE
        DWCONV_DEQUANTIZE
        DWCONV_LOOKUP
        DWCONV_NODE_KIND_COUNT

    ctypedef enum dwconv_function:
        DWCONV_SAME_VALUE
        DWCONV_ABS
        DWCONV_NEGATE
        DWCONV_EXP
        DWCONV_LOG
        DWCONV_SQRT
        DWCONV_RECIPROCAL
        DWCONV_SQUARE
        DWCONV_ERF
        DWCONV_FLOOR
        DWCONV_CEIL
        DWCONV_ROUND
        DWCONV_SIGN
        DWCONV_SOFTPLUS
        DWCONV_ELU
        DWCONV_SIN
        DWCONV_COS
        DWCONV_LINEAR
        DWCONV_UNARY_COUNT
        DWCONV_PLUS
        DWCONV_MINUS
        DWCONV_TIMES
        DWCONV_DIVIDE
        DWCONV_MAXIMUM
        DWCONV_MINIMUM
        DWCONV_POWER
        DWCONV_PRELU
        DWCONV_GREATER
        DWCONV_GREATER_OR_EQUAL
        DWCONV_EQUAL
        DWCONV_KEEP
        DWCONV_BINARY_END
        DWCONV_MEAN
        DWCONV_SUM
        DWCONV_LARGEST
        DWCONV_SMALLEST
        DWCONV_PRODUCT
        DWCONV_PLACE_OF_LARGEST
        DWCONV_REDUCTION_END
        DWCONV_NEAREST
        DWCONV_BILINEAR
        DWCONV_RESIZE_END

    ctypedef enum dwconv_coordinates:
        DWCONV_ASYMMETRIC
        DWCONV_HALF_PIXEL
        DWCONV_ALIGN_CORNERS
        DWCONV_PYTORCH_HALF_PIXEL
        DWCONV_HALF_PIXEL_SYMMETRIC
        DWCONV_COORDINATES_COUNT

    ctypedef enum dwconv_rounding:
        DWCONV_ROUND_FLOOR
        DWCONV_ROUND_CEIL
        DWCONV_ROUND_PREFER_FLOOR
        DWCONV_ROUND_PREFER_CEIL
        DWCONV_ROUNDING_COUNT

    ctypedef struct dwconv_value:
        dwconv_storage storage
        dwconv_dtype dtype
        int32_t rank
        int32_t base
        int64_t shape[DWCONV_MAX_RANK]
        int64_t strides[DWCONV_MAX_RANK]
        int64_t offset
        const void *data
        float scale
        int32_t zero_point

    ctypedef struct dwconv_node:
        dwconv_node_kind kind
        dwconv_function function
        int32_t inputs[DWCONV_NODE_INPUTS]
        int32_t output
        const dwconv_desc *operation
        dwconv_activation activation
        dwconv_window window
        int32_t counts_padding
        dwconv_coordinates coordinates
        dwconv_rounding rounding
        float parameters[4]
        int32_t axis, index_count
        const int32_t *indices
        int32_t low, high
        dwconv_formula formula

    ctypedef struct dwconv_network_desc:
        size_t size
        size_t value_size, node_size
        int32_t value_count, node_count
        const dwconv_value *values
        const dwconv_node *nodes
        const char *isa
        int32_t threads
        dwconv_quant_rounding quant_rounding

    ctypedef struct dwconv_network:
        pass

    ctypedef void (*dwconv_node_done)(void *context, int32_t node) noexcept nogil

    dwconv_status dwconv_network_create(const dwconv_network_desc *, dwconv_network **, int *)
    dwconv_status dwconv_network_size(const dwconv_network_desc *, size_t *, int *)
    dwconv_status dwconv_network_create_in(
        const dwconv_network_desc *, void *, size_t, dwconv_network **, int *
    )
    void dwconv_network_destroy(dwconv_network *)
    size_t dwconv_network_workspace(const dwconv_network *)
    size_t dwconv_network_bytes(const dwconv_network *)
    size_t dwconv_network_state_bytes(const dwconv_network *)
    dwconv_status dwconv_network_reset(const dwconv_network *, void *, size_t)
    int64_t dwconv_network_offset(const dwconv_network *, int32_t)
    size_t dwconv_network_lower_bound(const dwconv_network *)
    dwconv_status dwconv_network_run(
        const dwconv_network *,
        const void *const *,
        void *const *,
        void *,
        size_t,
        void *,
        size_t,
        const dwconv_threads *,
        dwconv_node_done,
        void *,
    )
    dwconv_status dwconv_network_explain(
        const dwconv_network *, int32_t, dwconv_format, char *, size_t, size_t *
    )
    dwconv_status dwconv_network_reference(const dwconv_network_desc *, const void *const *, void *const *)
