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
 *     describe an operation       dwconv_desc, zero where the default is wanted
 *     pack it, once               dwconv_plan_create, or dwconv_plan_size and dwconv_plan_create_in
 *     ask for sizes               dwconv_output_shape, dwconv_scratch_size
 *     run it, often               dwconv_run
 *     end                         dwconv_plan_destroy
 *
 * A COMPLETE EXAMPLE
 *
 *     #include <stdio.h>
 *     #include "dwconv.h"
 *
 *     enum { HEIGHT = 112, WIDTH = 112, CHANNELS = 32 };
 *     static float filter[3 * 3 * CHANNELS];          // [kernel_h, kernel_w, channels, multiplier]
 *     static float in[HEIGHT * WIDTH * CHANNELS], out[HEIGHT * WIDTH * CHANNELS];
 *
 *     int main(void) {
 *         dwconv_desc desc = {.operation = DWCONV_DEPTHWISE};
 *         desc.depthwise.channels = CHANNELS;
 *         desc.depthwise.filter = filter;
 *         desc.depthwise.window = (dwconv_window){.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME};
 *         desc.depthwise.activation.kind = DWCONV_RELU6;
 *
 *         dwconv_plan *plan;
 *         dwconv_status status = dwconv_plan_create(&desc, &plan);
 *         if (status == DWCONV_OK) {
 *             dwconv_tensor x = {.data = in, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
 *             dwconv_tensor y = {.data = out, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
 *             status = dwconv_run(plan, &x, &y, NULL, 0, NULL);    // serial; depthwise needs no scratch
 *         }
 *         dwconv_plan_destroy(plan);
 *         puts(dwconv_status_string(status));
 *         return status != DWCONV_OK;
 *     }
 *
 *     cc -O3 -ffp-contract=off -fno-math-errno -DDWCONV_HAVE_AVX2 -DDWCONV_HAVE_AVX512 -DDWCONV_HAVE_NEON \
 *         -I csrc example.c $(find csrc -name '*.c') -lm -pthread
 *
 * docs/embedding.md tells of CMake, of memory and threads of your own, and of what is promised.
 *
 * CONVENTIONS
 *
 * Units      Sizes and strides are counted in elements, memory in bytes. Tensors are NHWC, float32.
 * Defaults   A zero-initialised field is the default: stride 1, dilation 1, multiplier 1, groups 1, padding
 *            "valid", no bias, no activation, the best instruction set.
 * Ownership  Filters and biases are copied into the plan: they may be freed once it is created. Tensors and
 *            scratch are the caller's, and used during dwconv_run only. Nothing else is kept.
 * Threads    Every function may be called from any number of threads at the same time. A plan never changes
 *            after creation: many threads may run one plan, each with its own scratch and output. Only
 *            dwconv_plan_destroy must come after all runs of its plan.
 * Errors     Every function that can fail returns a dwconv_status; nothing is printed, nothing aborts, and
 *            no output is written unless it is DWCONV_OK. Statuses named at a function are those it can return.
 * Results    On one machine and instruction set a result is bitwise the same for every thread count, batch
 *            size and stride. Sums run over kernel rows, then kernel columns, then channels, in that order.
 * Memory     No byte outside the elements of a tensor is read or written. dwconv_run allocates nothing.
 */
#ifndef DWCONV_H
#define DWCONV_H

#include <stddef.h>
#include <stdint.h>

#define DWCONV_VERSION "0.1.0"

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
    DWCONV_NULL_POINTER,     /* a required pointer is NULL */
    DWCONV_BAD_VALUE,        /* an enumerator, flag or thread count that does not exist */
    DWCONV_BAD_DTYPE,        /* a dtype that the operation has no kernel for */
    DWCONV_BAD_SHAPE,        /* a size below 1, or sizes that do not fit together */
    DWCONV_BAD_STRIDE,       /* a negative stride or dilation of the window */
    DWCONV_BAD_PADDING,      /* negative padding, or padding sizes without DWCONV_EXPLICIT */
    DWCONV_BAD_ACTIVATION,   /* an unknown activation, or clip bounds that are NaN or swapped */
    DWCONV_BAD_RESIDUAL,     /* residual demanded where input and output differ in shape */
    DWCONV_BAD_LAYOUT,       /* tensor strides that make output elements share memory */
    DWCONV_KERNEL_TOO_LARGE, /* the dilated kernel is larger than the padded input */
    DWCONV_OVERFLOW,         /* a size that does not fit the address space */
    DWCONV_OVERLAP,          /* output and input (or scratch) share memory */
    DWCONV_MISALIGNED,       /* memory that is not aligned as documented */
    DWCONV_TOO_SMALL,        /* plan memory or scratch below what was asked for */
    DWCONV_NO_MEMORY,        /* the allocation of a plan failed */
    DWCONV_NO_ISA,           /* an instruction set that this build or this CPU lacks */
    DWCONV_STATUS_COUNT
} dwconv_status;

/* A constant English sentence for a status, never NULL. */
DWCONV_API const char *dwconv_status_string(dwconv_status status);

/* ---- instruction sets --------------------------------------------------------------------- */

typedef enum dwconv_isa {
    DWCONV_ISA_AUTO = 0, /* the best one available */
    DWCONV_ISA_BASELINE, /* what the compiler assumes without flags: SSE2 on x86-64, NEON on Arm64 */
    DWCONV_ISA_NEON,
    DWCONV_ISA_AVX2,   /* AVX2 + FMA: x86 since 2013 */
    DWCONV_ISA_AVX512, /* AVX-512 F, VL, BW, DQ: server x86 since 2017, Zen 4 */
    DWCONV_ISA_COUNT
} dwconv_isa;

DWCONV_API const char *dwconv_isa_name(dwconv_isa isa); /* "avx2"; NULL for an unknown value */
DWCONV_API int dwconv_isa_compiled(dwconv_isa isa);     /* 1 if this build holds its kernels */
DWCONV_API int dwconv_isa_available(dwconv_isa isa);    /* 1 if compiled and the CPU has it */
DWCONV_API dwconv_isa dwconv_isa_best(void);            /* what DWCONV_ISA_AUTO stands for */
DWCONV_API const char *dwconv_version(void);            /* DWCONV_VERSION of the built library */
DWCONV_API int dwconv_has_openmp(void);                 /* 1 if built with OpenMP */

/* ---- descriptors -------------------------------------------------------------------------- */

typedef enum dwconv_dtype { DWCONV_F32 = 0, DWCONV_DTYPE_COUNT } dwconv_dtype;

typedef enum dwconv_operation {
    DWCONV_DEPTHWISE = 0,
    DWCONV_POINTWISE,
    DWCONV_CONV,
    DWCONV_SEPARABLE,
    DWCONV_INVERTED_RESIDUAL,
    DWCONV_OPERATION_COUNT
} dwconv_operation;

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

/* Applied to every output after the bias. NaN in gives NaN out; of -infinity SiLU and GELU are 0, the limit, hard-swish is NaN.
 * Errors against the exact value: exact for the piecewise linear ones up to rounding, at most 8 ULP for SIGMOID and SILU, 4
 * for TANH, and 2 eps |x| for both forms of GELU (float32's eps = 2^-23), 1e-8 where x < -6. */
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
    int64_t kernel_h, kernel_w;
    int64_t stride_h, stride_w;     /* 0 means 1 */
    int64_t dilation_h, dilation_w; /* 0 means 1 */
    dwconv_padding padding;
    int64_t pad_top, pad_bottom, pad_left, pad_right; /* DWCONV_EXPLICIT only, else 0 */
} dwconv_window;

/* Output channel c * multiplier + q is input channel c filtered by filter[:, :, c, q]. */
typedef struct dwconv_depthwise_desc {
    int64_t channels;
    int64_t multiplier; /* 0 means 1 */
    dwconv_window window;
    const float *filter; /* [kernel_h, kernel_w, channels, multiplier] */
    const float *bias;   /* [channels * multiplier] or NULL */
    dwconv_activation activation;
} dwconv_depthwise_desc;

/* A weighted sum over the channels of every stride-th pixel. */
typedef struct dwconv_pointwise_desc {
    int64_t in_channels, out_channels;
    int64_t stride_h, stride_w; /* 0 means 1; must be 1 inside a block */
    const float *filter;        /* [in_channels, out_channels] */
    const float *bias;          /* [out_channels] or NULL */
    dwconv_activation activation;
} dwconv_pointwise_desc;

/* Dense convolution. Output channels of group g see the input channels of group g only. */
typedef struct dwconv_conv_desc {
    int64_t in_channels, out_channels;
    int64_t groups; /* 0 means 1; divides both channel counts */
    dwconv_window window;
    const float *filter; /* [kernel_h, kernel_w, in_channels / groups, out_channels] */
    const float *bias;   /* [out_channels] or NULL */
    dwconv_activation activation;
} dwconv_conv_desc;

/* Depthwise, then pointwise: pointwise.in_channels == depthwise.channels * depthwise.multiplier. */
typedef struct dwconv_separable_desc {
    dwconv_depthwise_desc depthwise;
    dwconv_pointwise_desc pointwise;
} dwconv_separable_desc;

typedef enum dwconv_residual {
    DWCONV_RESIDUAL_AUTO = 0, /* added when stride is 1 and input and output shapes agree */
    DWCONV_RESIDUAL_OFF,
    DWCONV_RESIDUAL_ON /* an error where the shapes do not agree */
} dwconv_residual;

/* MobileNetV2's block: pointwise expand, depthwise, pointwise project, plus the input of the block.
 * expand.filter == NULL leaves the expansion out (the other fields of expand are then ignored).
 * The residual is added after the activation of project.
 *
 * Squeeze-and-excite (MobileNetV3, EfficientNet) multiplies what depthwise gives, d, by a factor for every image
 * and channel before it is projected: excite(squeeze(mean of d over height and width)). squeeze goes from the
 * channels of d to a few, excite back. squeeze.filter == NULL leaves it out (the other fields of squeeze, and
 * excite, are then ignored). The mean is the sum of each row from left to right, of these from top to bottom,
 * divided by the number of pixels, all in float32. */
typedef struct dwconv_inverted_residual_desc {
    dwconv_pointwise_desc expand;
    dwconv_depthwise_desc depthwise;
    dwconv_pointwise_desc project;
    dwconv_residual residual;
    dwconv_pointwise_desc squeeze, excite;
} dwconv_inverted_residual_desc;

/* Treat weights whose magnitude is below FLT_MIN as zero: they slow most CPUs down 40 to 100 times. */
#define DWCONV_FLUSH_DENORMAL_WEIGHTS 1u

/* One operation. The member of the union that `operation` names is read, no other. */
typedef struct dwconv_desc {
    dwconv_operation operation;
    dwconv_dtype dtype;
    dwconv_isa isa;
    uint32_t flags;
    union {
        dwconv_depthwise_desc depthwise;
        dwconv_pointwise_desc pointwise;
        dwconv_conv_desc conv;
        dwconv_separable_desc separable;
        dwconv_inverted_residual_desc inverted_residual;
    };
} dwconv_desc;

/* ---- plans -------------------------------------------------------------------------------- */

typedef struct dwconv_plan dwconv_plan;

/* Alignment, in bytes, of plan memory and of scratch. */
#define DWCONV_ALIGNMENT 64

/* Checks desc, packs its weights into memory of malloc's kind. On failure *plan is NULL.
 *
 * DWCONV_NULL_POINTER   desc, plan or a filter is NULL
 * DWCONV_BAD_VALUE      an operation, instruction set, flag or residual that does not exist
 * DWCONV_BAD_DTYPE, DWCONV_BAD_SHAPE, DWCONV_BAD_STRIDE, DWCONV_BAD_PADDING, DWCONV_BAD_ACTIVATION
 * DWCONV_OVERFLOW       a size above 2^31 - 1, or weights that do not fit the address space
 * DWCONV_NO_ISA         desc->isa is not available
 * DWCONV_NO_MEMORY */
DWCONV_API dwconv_status dwconv_plan_create(const dwconv_desc *desc, dwconv_plan **plan);

/* The same in memory of the caller, aligned to DWCONV_ALIGNMENT, of at least dwconv_plan_size bytes; it must outlive
 * the plan, and must not be moved. dwconv_plan_destroy then frees nothing. dwconv_plan_size reads no weight.
 *
 * The statuses of dwconv_plan_create but DWCONV_NO_MEMORY, and
 * DWCONV_NULL_POINTER   memory or bytes is NULL
 * DWCONV_MISALIGNED, DWCONV_TOO_SMALL */
DWCONV_API dwconv_status dwconv_plan_size(const dwconv_desc *desc, size_t *bytes);
DWCONV_API dwconv_status dwconv_plan_create_in(const dwconv_desc *desc, void *memory, size_t bytes,
                                               dwconv_plan **plan);
DWCONV_API void dwconv_plan_destroy(dwconv_plan *plan); /* NULL is allowed */

/* What was chosen. Strings live as long as the library. */
DWCONV_API size_t dwconv_plan_bytes(const dwconv_plan *plan); /* memory it occupies, weights included */
DWCONV_API dwconv_isa dwconv_plan_isa(const dwconv_plan *plan);
/* The kernels of its stages, one after the other; NULL for index >= number of stages. */
DWCONV_API const char *dwconv_plan_kernel(const dwconv_plan *plan, int index);
/* The columns of a full panel of weights of that stage, which decide its tile; 0: it is depthwise. */
DWCONV_API int64_t dwconv_plan_panel(const dwconv_plan *plan, int index);

/* Shapes are {batch, height, width, channels}. A batch of 0 is allowed and gives an empty result.
 *
 * DWCONV_NULL_POINTER
 * DWCONV_BAD_SHAPE          a size below 1, or channels other than the filter's
 * DWCONV_KERNEL_TOO_LARGE   the dilated kernel is larger than the padded input
 * DWCONV_BAD_RESIDUAL       DWCONV_RESIDUAL_ON, and input and output differ in shape
 * DWCONV_OVERFLOW           a size above 2^31 - 1 */
DWCONV_API dwconv_status dwconv_output_shape(const dwconv_plan *plan, const int64_t input[4],
                                             int64_t output[4]);

/* Scratch that dwconv_run needs for an input of this shape with this many threads, however many of them it then
 * uses. 0 for depthwise, pointwise and dense convolution. docs/design.md has the formula; it grows with the
 * height of the image only where two passes keep what depthwise gives, up to 16 MB. */
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

/* Who does the work. NULL, or count <= 1: the calling thread alone. `run` NULL: OpenMP, if it is
 * built in and the process was not forked, else the calling thread. At most `count` workers are
 * used; small work runs on the calling thread whatever the count. */
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
 * DWCONV_BAD_DTYPE      a tensor that is not float32
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

/* How dwconv_run shares the work out. One pass: images * strips * blocks items. A 1x1 convolution with stride 1
 * sees a contiguous batch as one image of single-pixel rows, a depthwise one a row under a window of one row too.
 *
 * Two passes, of blocks: the first computes what depthwise gives for an image, in strips * blocks items, blocks
 * being of its channels; the second projects it in `parts` items. Workers go through both passes together, image
 * after image, if together is 1; else each takes whole images, which are the items. Large layers of squeeze-and-excite
 * are shared between the two, in an item for every worker. */
typedef struct dwconv_cut {
    double nanoseconds; /* the cost model's estimate for one worker */
    int workers;        /* that share the items; 1: the calling thread alone */
    int passes, together;
    int64_t images;
    int64_t strips, strip_rows; /* of output rows; the last strip may have fewer */
    int64_t row_pixels;
    int64_t blocks, block_channels;    /* of output channels; some blocks may have fewer */
    int64_t parts, part_pixels;        /* of an image in the second pass, else 0 */
    int64_t chunk_rows, chunk_columns; /* separable, inverted residual: outputs per step; else 0 */
    int64_t ring_rows, ring_channels;  /* expanded rows that are kept; 0 without an expansion */
    int64_t cache_bytes;               /* of the second level, that blocks are cut for; else 0 */
    int64_t kept_bytes; /* of the output of depthwise between two passes; 0: it is computed twice */
    int past_caches; /* stores of an output too large for them go to memory at once, if it is aligned to 64 bytes */
    int fetched_ahead; /* a matrix product asks for output and, if that is not in scratch, input before it needs them */
    /* What a depthwise kernel does besides what its name says; why a block takes two passes, if neither
     * squeeze-and-excite nor workers ask for them; or "". */
    const char *how;
} dwconv_cut;

/* For contiguous tensors, input of this shape. All zero, workers 1, how "", where the batch is 0. */
DWCONV_API dwconv_status dwconv_plan_cut(const dwconv_plan *plan, const int64_t input[4],
                                         const dwconv_threads *threads, dwconv_cut *cut);

/* ---- the oracle ----------------------------------------------------------------------------- */

/* The same operation as plain loops, summed in double precision: what kernels are tested against.
 * Slow; allocates when the operation is a block. */
DWCONV_API dwconv_status dwconv_reference(const dwconv_desc *desc, const dwconv_tensor *input,
                                          const dwconv_tensor *output);

#ifdef __cplusplus
}
#endif

#endif
