/*
 * dwconv - depthwise, pointwise, dense, separable and inverted-residual convolution on CPUs.
 *
 * ABOUT
 *
 * A filter is packed once into an immutable plan; a plan turns one NHWC tensor into another with no
 * allocation, no copy and no lock, on the best instructions that the machine has.
 *
 * SYNOPSIS
 *
 *     describe an operation       dwconv_conv_desc for each convolution, dwconv_desc for the operation
 *     pack it, once               dwconv_plan_create, or dwconv_plan_size and dwconv_plan_create_in
 *     ask for sizes               dwconv_output_shape, dwconv_scratch_size
 *     run it, often               dwconv_run
 *     ask how it runs             dwconv_explain
 *     end                         dwconv_plan_destroy
 *
 * A COMPLETE EXAMPLE
 *
 *     #include <stdio.h>
 *     #include "dwconv.h"
 *
 *     enum { HEIGHT = 112, WIDTH = 112, CHANNELS = 32 };
 *     static float filter[3 * 3 * CHANNELS];          // [kernel_h, kernel_w, channels, 1]
 *     static float in[HEIGHT * WIDTH * CHANNELS], out[HEIGHT * WIDTH * CHANNELS];
 *
 *     int main(void) {
 *         const dwconv_conv_desc depthwise = {
 *             .size = sizeof depthwise,
 *             .in_channels = CHANNELS, .out_channels = CHANNELS, .groups = CHANNELS,
 *             .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
 *             .filter = filter,
 *             .activation = {.kind = DWCONV_RELU6},
 *         };
 *         const dwconv_desc desc = {.size = sizeof desc, .conv = &depthwise};
 *
 *         dwconv_plan *plan;
 *         dwconv_status status = dwconv_plan_create(&desc, &plan);
 *         if (status == DWCONV_OK) {
 *             dwconv_tensor x = {.data = in, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
 *             dwconv_tensor y = {.data = out, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
 *             status = dwconv_run(plan, &x, &y, NULL, 0, NULL);    // serial; one convolution needs no scratch
 *         }
 *         dwconv_plan_destroy(plan);
 *         puts(dwconv_status_string(status));
 *         return status != DWCONV_OK;
 *     }
 *
 *     cc -O3 -ffp-contract=off -fno-math-errno -I csrc example.c $(find csrc -name '*.c') -lm -pthread
 *
 * CONVENTIONS
 *
 * Units      Sizes and strides are counted in elements, memory in bytes. Tensors are NHWC, float32, or 8-bit integers
 *            where a plan is quantized: see dwconv_quantized.h.
 * Defaults   A zero-initialised field is the default: a kernel, stride or dilation of 1, 1 group, padding "valid", no
 *            bias, no activation, the best instruction set.
 * Growth     Descriptors begin with `size`, their sizeof where the caller was compiled; 0 is an error. A library that
 *            knows more fields takes the missing ones for 0; one that knows fewer refuses those that are not 0. New
 *            fields begin after all bytes of the struct, padding included. The other structs never grow. A new
 *            enumerator is appended, before the _COUNT. What breaks a caller changes the soname.
 * Ownership  Descriptors are read while a plan is created; filters and biases are copied into it. Tensors and scratch
 *            are the caller's, and used during dwconv_run only. Nothing else is kept.
 * Threads    Every function may be called from any number of threads at the same time. A plan never changes: many
 *            threads may run one, each with its own scratch and output. Only dwconv_plan_destroy comes after all runs.
 * Errors     Every function that can fail returns a dwconv_status; nothing is printed, nothing aborts, and
 *            no output is written unless it is DWCONV_OK. Statuses named at a function are those it can return.
 * Results    On one machine and instruction set a result is bitwise the same for every thread count, batch
 *            size and stride. Sums run over kernel rows, then kernel columns, then channels, in that order.
 *            Quantized results are the same bits on every machine and instruction set.
 * Memory     No byte outside the elements of a tensor is read or written. dwconv_run allocates nothing, but for
 *            the library's threads when it first needs them.
 */
#ifndef DWCONV_H
#define DWCONV_H

#include <stddef.h>
#include <stdint.h>

#include "dwconv_quantized.h"

#define DWCONV_VERSION "0.2.0"

#if defined(DWCONV_SHARED) && (defined(__GNUC__) || defined(__clang__))
#define DWCONV_API __attribute__((visibility("default")))
#else
#define DWCONV_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ------------------------------------------------------------------------------- */

typedef enum dwconv_status {
    DWCONV_OK = 0,
    DWCONV_NULL_POINTER, /* a required pointer is NULL */
    DWCONV_BAD_SIZE,     /* a descriptor's size is 0 or too small, or it has fields that this library lacks */
    DWCONV_BAD_VALUE,    /* an enumerator, flag or thread count that does not exist */
    DWCONV_BAD_DTYPE,    /* a dtype that the operation has no kernel for */
    DWCONV_BAD_SHAPE,    /* a size below 1, or sizes that do not fit together */
    DWCONV_BAD_STRIDE,   /* a negative stride or dilation of the window */
    DWCONV_BAD_PADDING,  /* negative padding, or padding sizes without DWCONV_EXPLICIT */
    DWCONV_BAD_ACTIVATION, /* an unknown activation, or clip bounds that are NaN or swapped */
    DWCONV_BAD_RESIDUAL, /* DWCONV_RESIDUAL_ON where strides are not 1, or input and output differ in shape */
    DWCONV_BAD_LAYOUT,   /* tensor strides that make output elements share memory */
    DWCONV_KERNEL_TOO_LARGE, /* the dilated kernel is larger than the padded input */
    DWCONV_OVERFLOW,         /* a size that does not fit the address space */
    DWCONV_OVERLAP,          /* output and input (or scratch) share memory */
    DWCONV_MISALIGNED,       /* memory that is not aligned as documented */
    DWCONV_TOO_SMALL,        /* plan memory, scratch or a text buffer below what is needed */
    DWCONV_NO_MEMORY,        /* the allocation of a plan failed */
    DWCONV_NO_ISA, /* an instruction set that does not exist, or that this build or this CPU lacks */
    DWCONV_BAD_QUANTIZATION, /* a scale, zero point or clamp that cannot be, or sums that may leave 32 bits */
    DWCONV_STATUS_COUNT
} dwconv_status;

/* A constant English sentence for a status, never NULL. */
DWCONV_API const char *dwconv_status_string(dwconv_status status);

/* ---- the library -------------------------------------------------------------------------- */

DWCONV_API const char *dwconv_version(void); /* DWCONV_VERSION of the built library */
DWCONV_API int dwconv_has_threads(void);     /* 1 if it has threads of its own: see dwconv_threads */

/* Instruction sets go by name:
 *
 *     "baseline"   what the compiler assumes without flags: SSE2 on x86-64, NEON on Arm64
 *     "neon"       Arm64
 *     "avx2"       AVX2 + FMA: x86 since 2013
 *     "avx512"     AVX-512 F, VL, BW, DQ: server x86 since 2017, Zen 4
 *
 * and with dot products of 8-bit integers, the same to floats, "neon-dotprod", "avx2-vnni" and "avx512-vnni".
 * The library knows dwconv_isa_count of them, slower ones first; an index beyond has no name: NULL. Of a name that it
 * does not know, or NULL, none is compiled or available. */
DWCONV_API int dwconv_isa_count(void);
DWCONV_API const char *dwconv_isa_name(int index);
DWCONV_API int dwconv_isa_compiled(const char *name);  /* 1 if this build holds its kernels */
DWCONV_API int dwconv_isa_available(const char *name); /* 1 if compiled and the CPU has it */
DWCONV_API const char *dwconv_isa_best(void);          /* the default of plans */

/* ---- descriptors -------------------------------------------------------------------------- */

typedef enum dwconv_dtype {
    DWCONV_F32 = 0,
    DWCONV_S8,
    DWCONV_U8,
    DWCONV_S32, /* of values of networks alone: dwconv_network.h */
    DWCONV_DTYPE_COUNT
} dwconv_dtype;

typedef enum dwconv_activation_kind {
    DWCONV_IDENTITY = 0,
    DWCONV_RELU,         /* max(x, 0) */
    DWCONV_RELU6,        /* min(max(x, 0), 6) */
    DWCONV_CLIP,         /* min(max(x, a), b); a <= b, infinities allowed */
    DWCONV_LEAKY_RELU,   /* x < 0 ? a * x : x; a is taken as it is, there is no default slope */
    DWCONV_HARD_SIGMOID, /* relu6(x + 3) / 6 */
    DWCONV_HARD_SWISH,   /* x * relu6(x + 3) / 6 */
    DWCONV_SIGMOID,      /* 1 / (1 + exp(-x)) */
    DWCONV_SILU,         /* x * sigmoid(x) */
    DWCONV_TANH,
    DWCONV_GELU_ERF,  /* x * (1 + erf(x / sqrt(2))) / 2 */
    DWCONV_GELU_TANH, /* x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2 */
    DWCONV_ACTIVATION_COUNT
} dwconv_activation_kind;

/* Applied to every output after the bias. NaN in gives NaN out; of -infinity SiLU and GELU are 0, the limit, hard-swish
 * is NaN. Errors against the exact value: exact for the piecewise linear ones up to rounding, at most 8 ULP for SIGMOID
 * and SILU, 4 for TANH, and 2 eps |x| for both forms of GELU (float32's eps = 2^-23), 1e-8 where x < -6. */
typedef struct dwconv_activation {
    dwconv_activation_kind kind;
    float a, b;
} dwconv_activation;

typedef enum dwconv_padding { DWCONV_VALID = 0, DWCONV_SAME, DWCONV_EXPLICIT } dwconv_padding;

/* A sliding window. Effective kernel: ek = (kernel - 1) * dilation + 1.
 * VALID, EXPLICIT: out = (in + pad_before + pad_after - ek) / stride + 1.
 * SAME (TensorFlow's rule): out = ceil(in / stride), the odd row or column of padding comes last.
 * Padding contributes exactly zero, also where the filter is infinite or NaN. */
typedef struct dwconv_window {
    int64_t kernel_h, kernel_w;     /* 0 means 1 */
    int64_t stride_h, stride_w;     /* 0 means 1 */
    int64_t dilation_h, dilation_w; /* 0 means 1 */
    dwconv_padding padding;
    int64_t pad_top, pad_bottom, pad_left, pad_right; /* DWCONV_EXPLICIT only, else 0 */
} dwconv_window;

/* ---- operations ------------------------------------------------------------------------------- */

/* A convolution. Output channels of group g see the input channels of group g only; groups divides both counts.
 *
 *     dense       groups 0 or 1
 *     pointwise   no window: a weighted sum over the channels of every stride-th pixel
 *     depthwise   groups = in_channels: output channel c * multiplier + q is input channel c filtered by
 *                 filter[:, :, c, q] of [kernel_h, kernel_w, in_channels, multiplier], which is the same memory */
typedef struct dwconv_conv_desc {
    size_t size; /* sizeof(dwconv_conv_desc) */
    int64_t in_channels, out_channels;
    int64_t groups; /* 0 means 1 */
    dwconv_window window;
    /* float [kernel_h, kernel_w, in_channels / groups, out_channels]; quantized: bytes of filter_dtype */
    const void *filter;
    const void *bias; /* float [out_channels], or NULL; quantized: int32_t */
    dwconv_activation activation;
    /* Of quantized operations alone: */
    const float *filter_scale; /* [out_channels], or one for all if filter_scales is 1 */
    int64_t filter_scales;     /* 0: one per output channel */
    dwconv_quant output;
    dwconv_quant activation_input; /* needed where a table follows, given or made of the activation */
    const uint8_t *table;          /* 256 entries by (uint8_t)q, or NULL */
    int32_t low, high; /* the clamp, as integers; both 0: that of the activation, or all of the dtype */
    /* Filters with a zero point: see dwconv_quantized.h. */
    const int32_t *filter_zero_point; /* [out_channels], or one for all if filter_zero_points is 1; NULL: 0 */
    int64_t filter_zero_points;       /* 0: one per output channel */
    dwconv_dtype filter_dtype;        /* DWCONV_S8, as 0 is, or DWCONV_U8: of `filter` and its zero points */
} dwconv_conv_desc;

/* Whether a block adds its input to its result, after the activation of project. */
typedef enum dwconv_residual {
    DWCONV_RESIDUAL_OFF = 0,
    DWCONV_RESIDUAL_AUTO, /* where strides are 1 and input and output agree in shape */
    DWCONV_RESIDUAL_ON    /* an error where they do not */
} dwconv_residual;

/* Treat weights whose magnitude is below FLT_MIN as zero: they slow most CPUs down 40 to 100 times. */
#define DWCONV_FLUSH_DENORMAL_WEIGHTS 1u
/* Of quantized operations: the output is float32, output.scale * (q - output.zero_point). */
#define DWCONV_FLOAT_OUTPUT 2u

/* One operation: a single convolution, or a block around a depthwise one.
 *
 *     conv                                     any convolution
 *     conv, project                            separable: depthwise, then pointwise
 *     expand, conv, project, residual          MobileNetV2's block; without an expansion expand is NULL
 *     ..., squeeze, excite                     MobileNetV3's and EfficientNet's
 *
 * In a block conv is depthwise, all others are pointwise with stride 1, each with as many inputs as the one before
 * gives. Squeeze-and-excite multiplies what conv gives, d, by a factor for every image and channel before it is
 * projected: excite(squeeze(mean of d over height and width)). The mean is the sum of each row from left to right, of
 * these from top to bottom, divided by the number of pixels, all in float32. */
typedef struct dwconv_desc {
    size_t size; /* sizeof(dwconv_desc) */
    dwconv_dtype dtype;
    uint32_t flags;
    const char *isa; /* NULL: dwconv_isa_best() */
    const dwconv_conv_desc *conv;
    const dwconv_conv_desc *expand, *project; /* or NULL */
    const dwconv_conv_desc *squeeze, *excite; /* both or neither */
    dwconv_residual residual;
    /* Of quantized operations alone, whose blocks dwconv_quantized.h describes: */
    dwconv_quant input;
    dwconv_quant sum; /* after a residual */
    dwconv_quant_rounding rounding;
    /* Of quantized squeeze-and-excite alone; a scale of 0: what conv gives. */
    dwconv_quant mean, scaled;
    dwconv_formula product;
} dwconv_desc;

/* ---- plans -------------------------------------------------------------------------------- */

typedef struct dwconv_plan dwconv_plan;

/* Alignment, in bytes, of plan memory and of scratch. */
#define DWCONV_ALIGNMENT 64

/* Checks desc, packs its weights into memory of malloc's kind. On failure *plan is NULL.
 *
 * DWCONV_NULL_POINTER   desc, plan, conv or a filter is NULL; or a block's project, or one of squeeze and excite
 * DWCONV_BAD_SIZE       a descriptor's size is not that of a version of it, or fields that this library lacks are not 0
 * DWCONV_BAD_VALUE      a flag, residual, rounding or formula that does not exist, or DWCONV_FLOAT_OUTPUT of float32
 * DWCONV_BAD_SHAPE      a size below 1, channels that groups do not divide, parts of a block that do not fit together
 * DWCONV_BAD_STRIDE     a negative stride or dilation; in a block, another stride than 1 outside conv
 * DWCONV_BAD_RESIDUAL   DWCONV_RESIDUAL_ON where a stride is not 1, or input and output differ in channels
 * DWCONV_BAD_DTYPE      a dtype that does not exist
 * DWCONV_BAD_PADDING, DWCONV_BAD_ACTIVATION
 * DWCONV_BAD_QUANTIZATION   a scale that is not finite or not above 0, a zero point or clamp outside the dtype, a
 *                       ratio of scales of 256 or more, or of 0; 255 * sum |w| + |bias| of 2^31 or more
 * DWCONV_OVERFLOW       a size above 2^31 - 1, or weights that do not fit the address space
 * DWCONV_NO_ISA         desc->isa is not available
 * DWCONV_NO_MEMORY */
DWCONV_API dwconv_status dwconv_plan_create(const dwconv_desc *desc, dwconv_plan **plan);

/* The same in memory of the caller, aligned to DWCONV_ALIGNMENT, of at least dwconv_plan_size bytes; it must outlive
 * the plan, and must not be moved. dwconv_plan_destroy then frees nothing. dwconv_plan_size reads no weight, no bias.
 *
 * The statuses of dwconv_plan_create but DWCONV_NO_MEMORY, and
 * DWCONV_MISALIGNED, DWCONV_TOO_SMALL, DWCONV_NULL_POINTER if memory or bytes is NULL, too */
DWCONV_API dwconv_status dwconv_plan_size(const dwconv_desc *desc, size_t *bytes);
DWCONV_API dwconv_status dwconv_plan_create_in(const dwconv_desc *desc, void *memory, size_t bytes,
                                               dwconv_plan **plan);
DWCONV_API void dwconv_plan_destroy(dwconv_plan *plan); /* NULL is allowed */

/* NULL gives 0 and NULL. */
DWCONV_API size_t dwconv_plan_bytes(const dwconv_plan *plan); /* memory it occupies, weights included */
DWCONV_API const char *dwconv_plan_isa(const dwconv_plan *plan);

/* Shapes are {batch, height, width, channels}. A batch of 0 is allowed and gives an empty result.
 *
 * DWCONV_NULL_POINTER
 * DWCONV_BAD_SHAPE          a size below 1, or channels other than the filter's
 * DWCONV_KERNEL_TOO_LARGE   the dilated kernel is larger than the padded input
 * DWCONV_BAD_RESIDUAL       DWCONV_RESIDUAL_ON, or quantized, and input and output differ in shape
 * DWCONV_OVERFLOW           a size above 2^31 - 1, or with quantized squeeze-and-excite a mean of more than 2^23 pixels */
DWCONV_API dwconv_status dwconv_output_shape(const dwconv_plan *plan, const int64_t input[4],
                                             int64_t output[4]);

/* Scratch that dwconv_run needs for an input of this shape with this many threads, however many of them it then
 * uses. 0 for single convolutions of float32. docs/embedding.md has the formula; it grows with the height of the image
 * only where stages are quantized, or two passes keep what depthwise gives, up to 16 MB.
 *
 * The statuses of dwconv_output_shape, and
 * DWCONV_BAD_VALUE   a negative number of threads */
DWCONV_API dwconv_status dwconv_scratch_size(const dwconv_plan *plan, const int64_t input[4], int threads,
                                             size_t *bytes);

/* ---- running ------------------------------------------------------------------------------ */

/* An NHWC tensor. Channels are contiguous; a stride of 0 means contiguous. Strides may be larger
 * (a crop, a slice of the channels) or negative; `data` is the address of element [0, 0, 0, 0] and
 * aligned to the element. */
typedef struct dwconv_tensor {
    void *data;
    dwconv_dtype dtype;
    int64_t batch, height, width, channels;
    int64_t image_stride, row_stride, pixel_stride; /* in elements */
} dwconv_tensor;

/* Work is cut into items; task(context, item, worker) must be called once for every item in
 * [0, items), in any order, from any thread. Calls that run at the same time must pass different
 * workers in [0, count). The call returns after the last task has returned. */
typedef void (*dwconv_task)(void *context, int64_t item, int worker);
typedef void (*dwconv_parallel_for)(void *pool, int64_t items, dwconv_task task, void *context);

/* Who does the work. NULL, or count <= 1: the calling thread alone. At most `count` workers are used; small work runs
 * on the calling thread whatever the count.
 *
 * `run` NULL: the calling thread, and those threads of the library that are free: one pool in a process, of at most 63,
 * made by the first call that needs it, new in the child of a fork. They compute in the caller's mode of floating-point
 * arithmetic (rounding, flushing of denormals; 8-bit integers are rounded to the nearest in every mode), sleep after 50
 * idle microseconds, block all signals, and never end. Where the system gives no thread, or other callers have them all,
 * the calling thread does the work. */
typedef struct dwconv_threads {
    int count;
    dwconv_parallel_for run;
    void *pool;
} dwconv_threads;

/* Computes output = operation(input). `output` has the shape that dwconv_output_shape gives and must not
 * overlap input or scratch. `scratch` is aligned to DWCONV_ALIGNMENT, of at least
 * dwconv_scratch_size(plan, input shape, threads->count) bytes, or NULL where that is 0.
 *
 * The statuses of dwconv_output_shape, and
 * DWCONV_NULL_POINTER   plan, a tensor, its data or needed scratch is NULL; data may be where the batch is 0
 * DWCONV_BAD_VALUE      a negative thread count
 * DWCONV_BAD_DTYPE      a tensor that is not of the plan's dtype
 * DWCONV_BAD_SHAPE      output has not the shape that dwconv_output_shape gives
 * DWCONV_BAD_LAYOUT     strides of output by which elements share memory; those of input may
 * DWCONV_OVERLAP        output shares an element with input, or may; or with scratch. Slices of the channels of one
 *                       buffer do not overlap
 * DWCONV_MISALIGNED     data not aligned to its elements, or scratch not to DWCONV_ALIGNMENT
 * DWCONV_TOO_SMALL      scratch_bytes is less than needed
 * DWCONV_OVERFLOW       strides that reach beyond the address space */
DWCONV_API dwconv_status dwconv_run(const dwconv_plan *plan, const dwconv_tensor *input,
                                    const dwconv_tensor *output, void *scratch, size_t scratch_bytes,
                                    const dwconv_threads *threads);

/* How dwconv_run would run on contiguous tensors, input of this shape: the kernels of the plan's nodes, passes, items,
 * workers, scratch. Made of the very decisions that run. Without an input (NULL): what does not depend on it.
 *
 * DWCONV_TEXT is lines of "label: value" for people. DWCONV_JSON is one object for tools, with integers, strings,
 * arrays and objects; keys may be added and dropped with every version.
 *
 * Writes at most `size` bytes to buffer, a closing 0 included, and the bytes that all of it takes to *needed, unless
 * that is NULL. To ask for these alone: buffer NULL, size 0.
 *
 * The statuses of dwconv_output_shape, and
 * DWCONV_NULL_POINTER   plan is NULL, or buffer where size is not 0
 * DWCONV_BAD_VALUE      a negative thread count, or a format that does not exist
 * DWCONV_TOO_SMALL      size is below *needed and not 0: buffer holds the beginning */
typedef enum dwconv_format { DWCONV_TEXT = 0, DWCONV_JSON } dwconv_format;
DWCONV_API dwconv_status dwconv_explain(const dwconv_plan *plan, const int64_t input[4],
                                        const dwconv_threads *threads, dwconv_format format, char *buffer,
                                        size_t size, size_t *needed);

/* ---- the oracle ----------------------------------------------------------------------------- */

/* The same operation as plain loops, summed in double precision or in 64-bit integers: what kernels are tested against.
 * Slow; allocates where the operation is a block. The statuses of dwconv_plan_create but DWCONV_NO_ISA, and those of
 * dwconv_run. */
DWCONV_API dwconv_status dwconv_reference(const dwconv_desc *desc, const dwconv_tensor *input,
                                          const dwconv_tensor *output);

#ifdef __cplusplus
}
#endif

#endif
