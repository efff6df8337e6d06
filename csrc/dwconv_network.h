/*
 * dwconv_network - whole networks: values, and nodes that compute them one after another.
 *
 * ABOUT
 *
 * A network is described by two arrays, values and nodes, with every shape known. It is created once: weights are
 * packed, and every value gets its place in one workspace. Then it runs as often as you like, with no allocation; a
 * network never changes, so that any number of threads may run it, each with a workspace of its own.
 *
 * SYNOPSIS
 *
 *     describe           dwconv_value for each tensor, dwconv_node for each step, dwconv_network_desc for the whole
 *     create             dwconv_network_create, or dwconv_network_size and dwconv_network_create_in
 *     ask for memory     dwconv_network_workspace, dwconv_network_state_bytes
 *     begin a stream     dwconv_network_reset
 *     run                dwconv_network_run
 *     ask how it runs    dwconv_network_explain
 *     end                dwconv_network_destroy
 *
 * The conventions of dwconv.h hold. The elements of both arrays grow as descriptors do: value_size and node_size are
 * their sizes where the caller was compiled. What is kept of a description is the data of constants and the indices
 * of gathers, which are read in every run; everything else is copied.
 */
#ifndef DWCONV_NETWORK_H
#define DWCONV_NETWORK_H

#include "dwconv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values ------------------------------------------------------------------------------- */

enum { DWCONV_MAX_RANK = 6, DWCONV_NODE_INPUTS = 4 };

typedef enum dwconv_storage {
    DWCONV_WORKSPACE = 0, /* the network finds a place, for as long as the value is needed */
    DWCONV_CONSTANT,      /* `data`, which must outlive the network: it is not copied */
    DWCONV_INPUT,         /* the caller's, in the order of the values: inputs[0] is the first of them */
    DWCONV_OUTPUT,        /* likewise; it may be read by nodes after it was written */
    DWCONV_VIEW,          /* part of the memory of value `base`, from `offset` on, with strides of its own */
    DWCONV_STATE, /* what a stream keeps from run to run, in memory of the caller: it is there to be read from
                             the first node on, and nodes may write it. `data`: what it is after a reset; NULL: zeros,
                             of integers with a scale their zero points. It must outlive the network */
    DWCONV_STORAGE_COUNT
} dwconv_storage;

/* A tensor of 0 to DWCONV_MAX_RANK axes, outermost first. Images are [batch, height, width, channels].
 *
 * Integers of 8 bits, DWCONV_S8 and DWCONV_U8, stand for scale * (q - zero_point): see "quantized operations" in
 * dwconv.h. Nodes that only move values look at neither; all others need both. DWCONV_S32 is for tables. */
typedef struct dwconv_value {
    dwconv_storage storage;
    dwconv_dtype dtype;
    int32_t rank;
    int32_t base;                     /* VIEW: index of a value that is no view */
    int64_t shape[DWCONV_MAX_RANK];   /* at least 1 each */
    int64_t strides[DWCONV_MAX_RANK]; /* VIEW: in elements, may be 0 or negative; all others are contiguous */
    int64_t offset;   /* VIEW: elements from the first element of base to its own first element */
    const void *data; /* CONSTANT */
    float scale;      /* 0: integers stand for nothing but themselves */
    int32_t zero_point;
} dwconv_value;

/* ---- nodes -------------------------------------------------------------------------------- */

typedef enum dwconv_node_kind {
    DWCONV_CONVOLUTION =
        0,          /* y = operation(x): all that dwconv_desc describes; images with contiguous channels */
    DWCONV_COPY,    /* y = x, of the same shape, whatever the strides: transpositions, slices, parts of a
                               concatenation, broadcasts */
    DWCONV_FILL,    /* y = parameters[0] */
    DWCONV_UNARY,   /* y = activation(function(x)) */
    DWCONV_BINARY,  /* y = activation(x0 function x1); axes of size 1 are broadcast, missing ones are outer */
    DWCONV_REDUCE,  /* y = function over the axes where y has size 1 and x more; ranks are equal */
    DWCONV_POOL,    /* images; maximum or mean over `window`, whose output size is y's */
    DWCONV_RESIZE,  /* images, to the size of y */
    DWCONV_SOFTMAX, /* over the last axis, which is contiguous; function: 1 is its logarithm */
    DWCONV_LAYER_NORM, /* over the last axis: (x - mean) / sqrt(variance + parameters[0]) * x1 + x2 */
    DWCONV_MATMUL,     /* y[..., m, n] = x0[..., m, k] x1[..., k, n]; outer axes as BINARY; any strides */
    DWCONV_GATHER,     /* y = x at `indices` of `axis` */
    DWCONV_QUANTIZE,   /* y, of 8 bits, = x / scale + zero point, of float32 */
    DWCONV_DEQUANTIZE, /* y, float32, = scale * (x - zero point) */
    DWCONV_LOOKUP, /* y = x1[(uint8_t)x0], all of 8 bits; x1 is a constant of 256 entries, or as many for each
                        * position of the last axis of x0: [channels, 256] */
    DWCONV_NODE_KIND_COUNT
} dwconv_node_kind;

/* Nodes on 8-bit integers
 *
 * COPY, FILL, GATHER and LOOKUP take what has one dtype; FILL gives the integer of parameters[0]. CONVOLUTION takes a
 * quantized operation, whose input and output have the dtype, scale and zero point of its values. What follows gives
 * integers of the dtype of its inputs (QUANTIZE and DEQUANTIZE apart), clamped to `low` and `high`, as one of two
 * formulas has it, by `quant_rounding` of the network. With numbers n = q - zero_point of each input and the scales s,
 *
 *     even(sum, m)     round((float)sum * m) + zero_point, in float32, halves to even; m is float32, its products and
 *                      quotients are rounded to it in the order in which they are written
 *     twice(sum, m)    TensorFlow Lite's MultiplyByQuantizedMultiplier of m, which is that of even for BINARY, and
 *                      computed in double precision for REDUCE
 *
 *                      DWCONV_ROUND_EVEN                            DWCONV_ROUND_TFLITE
 *     QUANTIZE         halves to even                               halves away from zero; NaN is 0 in both
 *     BINARY plus, minus   as a residual: see dwconv_desc           the same; minus subtracts the second product
 *       times          even(n0 n1, s0 s1 / s)                       twice(n0 n1, s0 s1 / s)
 *       maximum, minimum   of the integers: scales and zero points are equal
 *       prelu          n0 < 0 ? even(n0 n1, s0 s1 / s) : even(n0, s0 / s); twice likewise
 *     with DWCONV_FLOAT_FORMULA, whatever the rounding: s0 n0 function s1 n1 as float32, / s, halves to even
 *     REDUCE mean      even(sum of n, s0 / s * (1 / count))         twice(sum of n, m): TensorFlow Lite's MEAN, whose
 *                                                                   m is s0 / s * 2^k / count, for a count of k + 1 bits
 *       sum            even(sum of n, s0 / s)                       twice(sum of n, s0 / s)
 *       largest, smallest   of the integers, as POOL's largest
 *     POOL mean        even(sum of n, s0 / s * (1 / taps))          sum of q / taps, halves away from zero: scales and
 *                                                                   zero points are equal
 *       largest        of the integers: scales and zero points are equal; with no tap the least integer
 *     RESIZE           scales and zero points are equal
 *       bilinear       weights of 11 bits, coordinates of float32,  weights and coordinates of 10 bits, halves away from
 *                      halves upwards: as XNNPACK                   zero; ASYMMETRIC, HALF_PIXEL or ALIGN_CORNERS, and no
 *                                                                   scales, in both
 *     SOFTMAX          x1 is a constant of 256 DWCONV_S32, by the difference between the largest q of a row and q:
 *                      e = exp(-s0 difference) * 2^23, rounded;     exp_on_negative_values of TensorFlow Lite's
 *                      even(e, (float)(1 / (sum of e * s))), the    reference kernel, which follows; -1 from where on it
 *                      factor in double precision                   has none. s is 1/256, zero_point the least integer
 */

typedef enum dwconv_function {
    /* UNARY: */
    DWCONV_SAME_VALUE = 0, /* x itself: the activation is all */
    DWCONV_ABS,
    DWCONV_NEGATE,
    DWCONV_EXP,
    DWCONV_LOG,
    DWCONV_SQRT,
    DWCONV_RECIPROCAL,
    DWCONV_SQUARE,
    DWCONV_ERF,
    DWCONV_FLOOR,
    DWCONV_CEIL,
    DWCONV_ROUND, /* ties to even */
    DWCONV_SIGN,
    DWCONV_SOFTPLUS, /* log(1 + exp(x)) */
    DWCONV_ELU,      /* x < 0 ? parameters[0] * (exp(x) - 1) : x * parameters[1] */
    DWCONV_SIN,
    DWCONV_COS,
    DWCONV_LINEAR, /* parameters[0] * x + parameters[1] */
    DWCONV_UNARY_COUNT,
    /* BINARY: */
    DWCONV_PLUS = 32,
    DWCONV_MINUS,
    DWCONV_TIMES,
    DWCONV_DIVIDE,
    DWCONV_MAXIMUM, /* NaN if either is */
    DWCONV_MINIMUM,
    DWCONV_POWER,
    DWCONV_PRELU,   /* x0 < 0 ? x0 * x1 : x0 */
    DWCONV_GREATER, /* x0 > x1 ? 1 : 0; of NaN 0, as the next two */
    DWCONV_GREATER_OR_EQUAL,
    DWCONV_EQUAL,
    DWCONV_KEEP, /* x1 == 0 ? -0.0 : x0: what is added to it stays as it is, and x0 is lost even if it is NaN */
    DWCONV_BINARY_END,
    /* REDUCE; POOL has the first and the third: */
    DWCONV_MEAN = 64,
    DWCONV_SUM,
    DWCONV_LARGEST,
    DWCONV_SMALLEST,
    DWCONV_PRODUCT,
    DWCONV_PLACE_OF_LARGEST, /* along the last axis, contiguous, of 2 to 2^24: index of the first largest, or NaN */
    DWCONV_REDUCTION_END,
    /* RESIZE: */
    DWCONV_NEAREST = 96,
    DWCONV_BILINEAR,
    DWCONV_RESIZE_END
} dwconv_function;

/* How RESIZE finds the input coordinate of output index i, for `scale` = output size / input size, or the model's
 * own. */
typedef enum dwconv_coordinates {
    DWCONV_ASYMMETRIC = 0,       /* i / scale */
    DWCONV_HALF_PIXEL,           /* (i + 0.5) / scale - 0.5 */
    DWCONV_ALIGN_CORNERS,        /* i * (input size - 1) / (output size - 1); 0 if the output size is 1 */
    DWCONV_PYTORCH_HALF_PIXEL,   /* half pixel, but 0 if the output size is 1 */
    DWCONV_HALF_PIXEL_SYMMETRIC, /* half pixel, the image centred where scale * input size is no integer */
    DWCONV_COORDINATES_COUNT
} dwconv_coordinates;

/* What NEAREST makes of a coordinate between two pixels. */
typedef enum dwconv_rounding {
    DWCONV_ROUND_FLOOR = 0,
    DWCONV_ROUND_CEIL,
    DWCONV_ROUND_PREFER_FLOOR, /* to the nearest, halves down */
    DWCONV_ROUND_PREFER_CEIL,  /* halves up */
    DWCONV_ROUNDING_COUNT
} dwconv_rounding;

typedef struct dwconv_node {
    dwconv_node_kind kind;
    dwconv_function function;           /* of UNARY, BINARY, REDUCE, POOL, RESIZE; SOFTMAX: 0 or 1 */
    int32_t inputs[DWCONV_NODE_INPUTS]; /* indices of values; what is not used is not looked at */
    int32_t output;
    const dwconv_desc *operation; /* CONVOLUTION; `isa` is the network's */
    dwconv_activation activation; /* of UNARY, BINARY, POOL */
    dwconv_window window; /* POOL: EXPLICIT, sizes as they are; rows and columns beyond the padding are cut */
    int32_t counts_padding;         /* POOL, mean: padding counts among the elements */
    dwconv_coordinates coordinates; /* RESIZE */
    dwconv_rounding rounding;       /* RESIZE, nearest */
    float parameters[4];            /* RESIZE: scale of height and width, 0: that of the shapes */
    int32_t axis, index_count;      /* GATHER */
    const int32_t *indices; /* GATHER: index_count of them, 0 <= index < size; must outlive the network */
    int32_t low, high;      /* of 8-bit integers: the clamp; both 0: all of the dtype */
    dwconv_formula formula; /* of 8-bit integers: BINARY */
} dwconv_node;

typedef struct dwconv_network_desc {
    size_t size;                  /* sizeof(dwconv_network_desc) */
    size_t value_size, node_size; /* sizeof(dwconv_value), sizeof(dwconv_node) */
    int32_t value_count, node_count;
    const dwconv_value *values;
    const dwconv_node *nodes; /* in the order of execution: a value is written before it is read */
    const char *isa;          /* NULL: dwconv_isa_best() */
    int32_t threads;          /* the most that a run may use; 0 means 1 */
    dwconv_quant_rounding quant_rounding; /* of nodes on 8-bit integers but CONVOLUTION, which has its own */
} dwconv_network_desc;

/* ---- networks ----------------------------------------------------------------------------- */

typedef struct dwconv_network dwconv_network;

/* Checks everything: indices, shapes, that views stay inside their base, that no node reads what was not written,
 * and that a node's output shares no memory with its inputs, unless UNARY or BINARY works in place: its output is
 * then the very elements of an input. On failure *network is NULL. *bad_node, unless NULL, becomes the node that a
 * status is about, -1 if it is none.
 *
 * The statuses of dwconv_plan_create, and
 * DWCONV_NULL_POINTER   an array, the data of a constant or the indices of a gather are NULL
 * DWCONV_BAD_SIZE       value_size or node_size, as for size
 * DWCONV_BAD_VALUE      an index, kind, function or storage that does not exist, a negative count; a node that writes
 *                       an input or a constant, or reads a value of which too few elements were written before; an
 *                       output of which too few are written at all
 * DWCONV_BAD_DTYPE      a dtype that does not exist, or that the node has nothing for; a view of another type than its
 *                       base
 * DWCONV_BAD_QUANTIZATION   a scale that is not finite or below 0, a zero point or clamp outside the dtype; integers
 *                       without a scale where the node needs one, or with another one than it allows
 * DWCONV_BAD_SHAPE      a rank or size that does not exist, or shapes that do not fit the node
 * DWCONV_BAD_LAYOUT     a view that leaves its base, strides by which elements of an output share memory, or that the
 *                       node cannot take
 * DWCONV_KERNEL_TOO_LARGE
 * DWCONV_OVERLAP        an output that shares elements with an input of its node, or may
 * DWCONV_MISALIGNED     the data of a constant */
DWCONV_API dwconv_status dwconv_network_create(const dwconv_network_desc *desc, dwconv_network **network,
                                               int *bad_node);
/* The same in memory of the caller, aligned to DWCONV_ALIGNMENT, of at least dwconv_network_size bytes, which must
 * outlive the network and not be moved; nothing is allocated. dwconv_network_size reads no weight, and leaves it to
 * creation to check what was written before it is read.
 *
 * The statuses of dwconv_network_create but DWCONV_NO_MEMORY, and DWCONV_NULL_POINTER, DWCONV_MISALIGNED,
 * DWCONV_TOO_SMALL of the memory. */
DWCONV_API dwconv_status dwconv_network_size(const dwconv_network_desc *desc, size_t *bytes, int *bad_node);
DWCONV_API dwconv_status dwconv_network_create_in(const dwconv_network_desc *desc, void *memory, size_t bytes,
                                                  dwconv_network **network, int *bad_node);
DWCONV_API void dwconv_network_destroy(dwconv_network *network); /* NULL is allowed */

/* Bytes of workspace of a run, aligned to DWCONV_ALIGNMENT; and bytes of the network itself, weights included. NULL
 * gives 0. */
DWCONV_API size_t dwconv_network_workspace(const dwconv_network *network);
DWCONV_API size_t dwconv_network_bytes(const dwconv_network *network);
/* Bytes of the state of one stream, aligned to DWCONV_ALIGNMENT; 0 where no value is DWCONV_STATE. */
DWCONV_API size_t dwconv_network_state_bytes(const dwconv_network *network);
/* Writes what a stream begins with. Any number of streams may share a network, each with a state of its own.
 *
 * DWCONV_NULL_POINTER   network, or needed state, is NULL
 * DWCONV_MISALIGNED
 * DWCONV_TOO_SMALL      bytes is less than dwconv_network_state_bytes */
DWCONV_API dwconv_status dwconv_network_reset(const dwconv_network *network, void *state, size_t bytes);
/* Where a value lies in the workspace, or in the state: bytes from its begin; -1 if it is elsewhere. */
DWCONV_API int64_t dwconv_network_offset(const dwconv_network *network, int32_t value);
/* The most bytes that are alive during one node: no placement needs less. */
DWCONV_API size_t dwconv_network_lower_bound(const dwconv_network *network);

/* Called after every node, from the calling thread. */
typedef void (*dwconv_node_done)(void *context, int32_t node);

/* Inputs and outputs are contiguous, in the order of the values. Outputs overlap neither inputs nor each other, and
 * nothing the workspace or the state. `done` may be NULL; so may the workspace and the state where none is needed. A
 * state is read and written; it was reset before the first run of a stream. Results are the same bits for every thread
 * count and whatever the workspace held; those on 8-bit integers on every machine.
 *
 * DWCONV_NULL_POINTER   network, an input, an output, needed workspace or state is NULL
 * DWCONV_MISALIGNED     an input or output not aligned to its elements, the workspace or state not to DWCONV_ALIGNMENT
 * DWCONV_TOO_SMALL      workspace_bytes or state_bytes is less than needed
 * DWCONV_OVERLAP
 * DWCONV_BAD_VALUE      a negative thread count, or more threads than the network was made for */
DWCONV_API dwconv_status dwconv_network_run(const dwconv_network *network, const void *const inputs[],
                                            void *const outputs[], void *state, size_t state_bytes,
                                            void *workspace, size_t workspace_bytes,
                                            const dwconv_threads *threads, dwconv_node_done done,
                                            void *context);

/* One node as dwconv_explain: what runs it, with as many threads as the network was made for. The statuses of
 * dwconv_explain, and DWCONV_BAD_VALUE for a node that does not exist. */
DWCONV_API dwconv_status dwconv_network_explain(const dwconv_network *network, int32_t node,
                                                dwconv_format format, char *buffer, size_t size,
                                                size_t *needed);

/* The same results computed by plain loops in double precision, what every node gives rounded to float: an oracle for
 * tests. Slow; it allocates every value. Inputs and outputs as for dwconv_network_run, of which none may be NULL, but
 * outputs may overlap anything: they are written at the end, and on failure not at all. Every call begins with the state
 * that dwconv_network_reset gives.
 *
 * The statuses of dwconv_network_size, DWCONV_NO_MEMORY, and
 * DWCONV_BAD_DTYPE   a value that is not float32 */
DWCONV_API dwconv_status dwconv_network_reference(const dwconv_network_desc *desc, const void *const inputs[],
                                                  void *const outputs[]);

#ifdef __cplusplus
}
#endif

#endif
