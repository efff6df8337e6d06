/* What is computed: values, and nodes that make them. A single operation is a graph of one node, a block one of two to
 * eight. Everything else of a plan (kernels, packed weights) hangs on its nodes. */
#ifndef DWCONV_GRAPH_H
#define DWCONV_GRAPH_H

#include "../internal.h"

#define DWC_TRY(call)                                   \
    do {                                                \
        const dwconv_status try_status = (call);        \
        if (try_status != DWCONV_OK) return try_status; \
    } while (0)

/* ---- values and nodes --------------------------------------------------------------------- */

/* An NHWC tensor between nodes; batch, height and width follow from the input of a call. scale and zero_point say what
 * integers stand for: scale * (q - zero_point). */
typedef struct dwc_value {
    dwconv_dtype dtype;
    int64_t channels;
    float scale;
    int32_t zero_point;
} dwc_value;

typedef enum dwc_op {
    DWC_DEPTHWISE, /* convolution of every channel on its own */
    DWC_MATRIX,    /* pointwise or dense convolution, in groups */
    DWC_MEAN,      /* of height and width, to 1 x 1 */
    DWC_SCALE,     /* inputs[0], times a factor for every image and channel: inputs[1] */
    DWC_ADD        /* inputs[0] + inputs[1] */
} dwc_op;

typedef struct dwc_node {
    dwc_op op;
    int inputs[2], output; /* values; inputs[1] of SCALE and ADD */
    int optional;          /* ADD: where the shapes differ, the result is inputs[0]; else that is an error */
    /* DEPTHWISE and MATRIX. The caller's filter is [kernel_h, kernel_w, inputs / groups, outputs]; NULL in a plan. */
    dwconv_window window;
    int64_t groups;
    dwconv_activation activation; /* identity, relu and relu6 are clips */
    const void *filter, *bias;
    size_t weights; /* packed, bytes from the plan */
    union {
        dwc_depthwise_stage depthwise;
        dwc_matmul_stage matrix;
    };
} dwc_node;

/* Nodes in the order of execution, which is a chain: value 0 is the input, the last node gives the output. */
typedef struct dwc_graph {
    int node_count, value_count;
    dwc_node *nodes;
    dwc_value *values;
} dwc_graph;

/* The largest graph that a descriptor makes: expand, depthwise, mean, squeeze, excite, scale, project, add. */
enum { DWC_MOST_NODES = 8, DWC_MOST_VALUES = DWC_MOST_NODES + 1 };

/* A graph and its memory. */
typedef struct dwc_built {
    dwc_graph graph;
    dwc_node nodes[DWC_MOST_NODES];
    dwc_value values[DWC_MOST_VALUES];
} dwc_built;

/* describe.c: checks every field and replaces defaults: zeros become ones, SAME and VALID keep their padding at zero.
 * `known` becomes desc as this library knows it. */
DWC_HIDDEN dwconv_status dwc_describe(const dwconv_desc *desc, dwconv_desc *known, dwc_built *built);

/* A chain of stages that is run as one: row after row, its tensors stay in the caches. */
typedef struct dwc_chain {
    const dwc_matmul_stage *expand; /* or NULL */
    const dwc_depthwise_stage *depthwise;
    const dwc_matmul_stage *squeeze, *excite; /* or NULL, both */
    const dwc_matmul_stage *project;
    const dwc_node *add; /* of the input, or NULL */
} dwc_chain;

/* Whether the whole graph is such a chain. */
DWC_HIDDEN int dwc_find_chain(const dwc_graph *graph, dwc_chain *chain);

/* ---- plans -------------------------------------------------------------------------------- */

struct dwconv_plan {
    dwc_graph graph;
    dwc_chain chain; /* all NULL: a graph of one node, run as a layer */
    const dwc_kernel_table *table;
    size_t bytes;
    int owns_memory, flush;
};

static inline int dwc_is_block(const dwconv_plan *plan) { return plan->chain.project != NULL; }

/* pack.c: bytes, then the packing itself. flush: denormal weights become zero. */
DWC_HIDDEN int dwc_depthwise_bytes(const dwc_depthwise_stage *stage, int lanes, int64_t *bytes);
DWC_HIDDEN void dwc_pack_depthwise(dwc_depthwise_stage *stage, const float *filter, const float *bias,
                                   int lanes, int flush, float *memory);
DWC_HIDDEN int dwc_matmul_bytes(const dwc_matmul_stage *stage, int64_t *bytes);
DWC_HIDDEN void dwc_pack_matmul(dwc_matmul_stage *stage, const float *filter, const float *bias, int flush,
                                float *memory);

/* ---- geometry.c --------------------------------------------------------------------------- */

/* No size, stride of a window, dilation or padding exceeds this, so that a product of two fits int64. */
#define DWC_MAX_SIZE ((int64_t)INT32_MAX)

/* A size from 1 to DWC_MAX_SIZE. */
DWC_HIDDEN dwconv_status dwc_check_size(int64_t size);

DWC_HIDDEN dwconv_status dwc_window_extent(const dwconv_window *window, int64_t in_h, int64_t in_w,
                                           dwc_extent *extent);

/* {batch, height, width, channels} of every value, shapes[0] being the input's: it is checked. */
typedef int64_t dwc_shape[4];
DWC_HIDDEN dwconv_status dwc_shapes(const dwc_graph *graph, dwc_shape *shapes);

/* The shape of the output, and whether the last node, if it is an ADD, adds anything. */
DWC_HIDDEN dwconv_status dwc_output_shape(const dwc_graph *graph, const int64_t input[4], int64_t output[4]);

/* Whether an ADD node adds inputs of these shapes. */
DWC_HIDDEN int dwc_adds(const int64_t a[4], const int64_t b[4]);

/* Checks both tensors against a graph and resolves their strides. */
DWC_HIDDEN dwconv_status dwc_check_tensors(const dwc_graph *graph, const dwconv_tensor *input,
                                           const dwconv_tensor *output, dwc_view *x, dwc_view *y);

/* The view of a contiguous, aligned tensor, of which there is no memory. */
DWC_HIDDEN dwconv_status dwc_dense_view(const int64_t shape[4], dwc_view *v);

/* 1 if [a, a + bytes) and the elements of v share memory. */
DWC_HIDDEN int dwc_view_meets(const dwc_view *v, const void *a, size_t bytes);

#endif
