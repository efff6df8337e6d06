/* The nodes of a network while it runs: a row of functions for each kind. */
#ifndef DWCONV_NODES_H
#define DWCONV_NODES_H

#include "../dwconv_network.h"
#include "run.h"

/* A value in memory. Strides are in elements; those of axes of size 1 say nothing. */
typedef struct dwc_array {
    float *data;
    int rank;
    int64_t shape[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK];
} dwc_array;

/* One node of one run. All of it was checked when the network was made. */
typedef struct dwc_node_call {
    const dwconv_node *node;
    const dwconv_plan *plan; /* CONVOLUTION */
    const dwc_kernel_table *table;
    dwc_array in[DWCONV_NODE_INPUTS], out;
    const dwconv_threads *threads; /* never NULL; count >= 1 */
    void *scratch;
    size_t scratch_bytes;
} dwc_node_call;

/* `call` of check and scratch has no data. */
typedef struct dwc_node_class {
    const char *name;
    int inputs; /* how many it reads */
    int in_place; /* whether the output may be the very memory of inputs[0], or of inputs[1] of the same shape */
    dwconv_status (*check)(const dwc_node_call *call);                  /* shapes, strides, attributes */
    dwconv_status (*scratch)(const dwc_node_call *call, size_t *bytes); /* NULL: none */
    void (*run)(const dwc_node_call *call);                             /* cannot fail */
    int (*workers)(const dwc_node_call *call); /* how many threads it takes; NULL: that is not told */
} dwc_node_class;

/* By kind: run_convolution_node.c, run_elementwise.c, run_copy.c; run_reduce.c, run_pool.c, run_resize.c, run_normalise.c
 * (softmax, layer normalisation), run_products.c (matmul) */
DWC_HIDDEN extern const dwc_node_class dwc_class_convolution, dwc_class_copy, dwc_class_fill, dwc_class_unary,
    dwc_class_binary, dwc_class_gather;
DWC_HIDDEN extern const dwc_node_class dwc_class_reduce, dwc_class_pool, dwc_class_resize, dwc_class_softmax,
    dwc_class_layer_norm, dwc_class_matmul;

#endif
