/* The nodes of a network while it runs: a row of functions for each kind. */
#ifndef DWCONV_NODES_H
#define DWCONV_NODES_H

#include "../graph/network.h"
#include "run.h"

/* A value in memory. Strides are in elements; those of axes of size 1 say nothing. */
typedef struct dwc_array {
    union {
        float *data;    /* DWCONV_F32 */
        uint8_t *bytes; /* DWCONV_S8, DWCONV_U8 */
        int32_t *words; /* DWCONV_S32 */
    };
    dwconv_dtype dtype;
    dwconv_quant quant;
    int rank;
    int64_t shape[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK];
} dwc_array;

/* One node of one run. All of it was checked when the network was made. */
typedef struct dwc_node_call {
    const dwconv_node *node;
    const dwconv_plan *plan; /* CONVOLUTION */
    const dwc_kernel_table *table;
    dwconv_quant_rounding rounding;        /* of bytes */
    const dwc_byte_parameters *parameters; /* of classes that have `prepare` */
    dwc_array in[DWCONV_NODE_INPUTS], out;
    const dwconv_threads *threads; /* never NULL; count >= 1 */
    void *scratch;
    size_t scratch_bytes;
    const void *bound; /* what `bind` has written, or NULL */
} dwc_node_call;

/* The dtypes that a class takes. */
typedef enum dwc_types {
    DWC_TYPES_FLOATS = 0, /* all are float32 */
    DWC_TYPES_ONE,        /* whatever it is, all have the same */
    DWC_TYPES_BYTES,      /* all have the same, of 8 bits */
    DWC_TYPES_OWN         /* check looks at them */
} dwc_types;

/* `call` of check, prepare and scratch has no data, but for constants. */
typedef struct dwc_node_class {
    const char *name;
    int inputs; /* how many it reads */
    int in_place; /* whether the output may be the very memory of inputs[0], or of inputs[1] of the same shape */
    dwc_types types;
    dwconv_status (*check)(const dwc_node_call *call); /* shapes, strides, attributes */
    /* Scales, zero points, clamps; and what follows from them; NULL: there are none. */
    dwconv_status (*prepare)(const dwc_node_call *call, dwc_byte_parameters *parameters);
    dwconv_status (*scratch)(const dwc_node_call *call, size_t *bytes); /* NULL: none */
    size_t (*bound_bytes)(const dwc_node_call *call); /* of what is the same in all runs; NULL: 0 */
    void (*bind)(const dwc_node_call *call, void *memory);
    void (*run)(const dwc_node_call *call);    /* cannot fail */
    int (*workers)(const dwc_node_call *call); /* how many threads it takes; NULL: that is not told */
} dwc_node_class;

/* The class of a kind, for bytes or for all else, or NULL if there is none. */
DWC_HIDDEN const dwc_node_class *dwc_node_class_of(dwconv_node_kind kind, int bytes);

/* By kind: run_convolution_node.c, run_elementwise.c, run_copy.c; run_reduce.c, run_pool.c, run_resize.c, run_normalise.c
 * (softmax, layer normalisation), run_products.c (matmul) */
DWC_HIDDEN extern const dwc_node_class dwc_class_convolution, dwc_class_copy, dwc_class_fill, dwc_class_unary,
    dwc_class_binary, dwc_class_gather;
DWC_HIDDEN extern const dwc_node_class dwc_class_reduce, dwc_class_pool, dwc_class_resize, dwc_class_softmax,
    dwc_class_layer_norm, dwc_class_matmul;

/* `prepare` of classes on bytes: run_byte_elements.c. */
DWC_HIDDEN dwconv_status dwc_prepare_bytes(const dwc_node_call *call, dwc_byte_parameters *parameters);
/* A check that floats and bytes share: of POOL. */
DWC_HIDDEN dwconv_status dwc_check_pool(const dwc_node_call *call);

/* On bytes: run_byte_elements.c, run_byte_images.c, run_byte_reduce.c, run_byte_softmax.c */
DWC_HIDDEN extern const dwc_node_class dwc_class_quantize, dwc_class_dequantize, dwc_class_lookup,
    dwc_class_byte_binary, dwc_class_byte_pool, dwc_class_byte_resize, dwc_class_byte_reduce,
    dwc_class_byte_softmax;

#endif
