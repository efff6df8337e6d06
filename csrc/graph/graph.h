/* What is computed: values, and nodes that make them. A single operation is a graph of one node, a block one of
 * two to eight. Everything else of a plan (kernels, packed weights) hangs on its nodes. */
#ifndef DWCONV_GRAPH_H
#define DWCONV_GRAPH_H

#include "../internal.h"
#include "integers.h"
#include "memory.h"
#include "pack_s8.h"

#define DWC_TRY(call)                                   \
    do {                                                \
        const dwconv_status try_status = (call);        \
        if (try_status != DWCONV_OK) return try_status; \
    } while (0)

/* ---- instruction sets ----------------------------------------------------------------------- */

DWC_HIDDEN const dwc_kernel_table *dwc_kernel_table_of(const char *isa); /* NULL if not available */
DWC_HIDDEN const char *dwc_table_name(const dwc_kernel_table *table);

/* ---- tensors -------------------------------------------------------------------------------- */

typedef struct dwc_extent {
    int64_t out_h, out_w, pad_top, pad_left;
} dwc_extent;

/* A tensor with its strides filled in. */
typedef struct dwc_view {
    union {
        float *data;    /* DWCONV_F32 */
        uint8_t *bytes; /* DWCONV_S8, DWCONV_U8 */
    };
    int64_t batch, height, width, channels;
    int64_t image, row, pixel; /* strides in elements */
    dwconv_dtype dtype;
} dwc_view;

/* ---- stages: operations with packed weights ------------------------------------------------- */

typedef struct dwc_depthwise_stage {
    dwconv_window window;
    /* Groups of one input, or of a few: channels = in_channels / group_inputs * multiplier, the outputs of a group. */
    int64_t in_channels, group_inputs, multiplier, channels;
    int repeated; /* few channels: the weights of a vector are those of several pixels side by side */
    int overlaps; /* there is a `last` */
    dwconv_activation activation;
    float low, high;             /* the clamp that kernels store with; infinities if the activation is none */
    const dwc_dw_kernel *kernel; /* tiles for its window, or NULL: those of any window */
    /* Per vector of channels: bias, [group_inputs][kernel_h][kernel_w] vectors, and if multiplier > 1 for each lane the index
     * of the first input of its group. */
    const float *weights;
    int64_t block, input_block; /* floats per vector of channels, and of its weights, per input of a group */
    /* The same of the last `lanes` channels, some of which the vector before has too; where masks are slow, or
     * NULL. */
    const float *last;
} dwc_depthwise_stage;

typedef struct dwc_matmul_stage {
    dwconv_window window;
    int64_t groups, group_inputs, group_outputs;
    int64_t depth;  /* kernel_h * kernel_w * group_inputs */
    int64_t panel;  /* columns of a full panel */
    int64_t padded; /* group_outputs rounded up to the panel unit */
    int joins; /* whether inputs of neighbouring taps are one run: else sums would depend on the strides of x */
    dwconv_activation activation;
    const dwc_matrix_kernel *kernel;
    int64_t first;        /* of the packed output channels: not 0 for a slice, of a stage of one group */
    const float *weights; /* per group: panels of [depth][columns of the panel] */
    const float *bias;    /* per group: `padded` floats */
} dwc_matmul_stage;

/* A quantized convolution, depthwise or not. */
typedef struct dwc_s8_stage {
    dwconv_window window;
    int64_t groups, group_inputs, group_outputs;
    int is_depthwise;
    int32_t x_zero; /* zero point of the input, as an unsigned number */
    dwc_requant requant;
    const dwc_s8_kernels *kernels; /* NULL: plain loops, which read weights in the order of the caller */
    const int16_t *filter;
    /* Of kernels: */
    uint8_t flip, fill; /* the zero point as it is in memory */
    dwc_s8_end end;
    const void *packed;
    int64_t vectors, wide;  /* groups of channels, or quads of panels, and those of them with wide weights */
    dwc_s8_depthwise lines; /* of depthwise, and where its groups of channels begin, else: */
    const dwc_s8_group *index;
    dwc_s8_matrix matrix; /* of each group */
    const dwc_s8_panel *panels;
    const dwc_s8_run *runs;
    int joins_taps; /* taps of a row are one piece of memory: pixels must be dense */
    const int32_t *starts;
    const float *multipliers;
} dwc_s8_stage;

/* What tiles or vectors a depthwise stage is computed with where its shape allows it. */
static inline const char *dwc_depthwise_name(const dwc_depthwise_stage *stage,
                                             const dwc_kernel_table *table) {
    const int factor = stage->window.kernel_h == 1 && stage->window.kernel_w == 1 && stage->multiplier == 1;
    if (factor) return table->factor_name;
    return stage->repeated ? table->few_name : stage->kernel ? stage->kernel->name : table->any_name;
}

/* ---- values and nodes --------------------------------------------------------------------- */

/* An NHWC tensor between nodes; batch, height and width follow from the input of a call. scale and zero_point say
 * what integers stand for: scale * (q - zero_point). */
typedef struct dwc_value {
    dwconv_dtype dtype;
    int64_t channels;
    float scale;
    int32_t zero_point;
} dwc_value;

typedef enum dwc_op {
    DWC_DEPTHWISE, /* convolution of every channel on its own; in a plan also of groups of few channels */
    DWC_MATRIX,    /* pointwise or dense convolution, in groups */
    DWC_MEAN,      /* of height and width, to 1 x 1 */
    DWC_SCALE,     /* inputs[0], times a factor for every image and channel: inputs[1] */
    DWC_ADD        /* inputs[0] + inputs[1] */
} dwc_op;

/* What a convolution of integers has beyond one of floats. */
typedef struct dwc_node_quant {
    dwc_s8_filter filter; /* the caller's, as are filter_scale and table; zeros in a plan */
    const float *filter_scale;
    int shared_scale; /* one for all channels */
    int has_table;    /* given, or made of the activation */
    const uint8_t *table;
    dwconv_quant before; /* what the table takes, or what is given */
    int32_t low, high;   /* the clamp, before the table */
} dwc_node_quant;

typedef struct dwc_node {
    dwc_op op;
    int inputs[2], output; /* values; inputs[1] of SCALE and ADD */
    int optional;          /* ADD: where the shapes differ, the result is inputs[0]; else that is an error */
    /* DEPTHWISE and MATRIX. The caller's filter is [kernel_h, kernel_w, inputs / groups, outputs]; NULL in a plan. */
    dwconv_window window;
    int64_t groups;
    dwconv_activation activation; /* identity, relu and relu6 are clips */
    const void *filter, *bias;
    dwc_node_quant quant;
    size_t weights; /* packed, bytes from the plan */
    union {
        dwc_depthwise_stage depthwise;
        dwc_matmul_stage matrix;
        const dwc_s8_stage *s8; /* of a quantized graph, with its weights, as is the next */
        dwc_s8_add add;
        dwc_byte_parameters bytes; /* of a quantized MEAN or SCALE */
    };
} dwc_node;

/* Nodes in the order of execution, which is a chain: value 0 is the input, the last node gives the output. */
typedef struct dwc_graph {
    dwconv_dtype dtype; /* of all values, but perhaps the output */
    dwconv_quant_rounding rounding;
    int node_count, value_count;
    dwc_node *nodes;
    dwc_value *values;
} dwc_graph;

/* The largest graph that a descriptor makes: expand, depthwise, mean, squeeze, excite, scale, project, add. */
enum { DWC_MOST_NODES = 8, DWC_MOST_VALUES = DWC_MOST_NODES + 1, DWC_MOST_S8_STAGES = 5 };

/* A graph and its memory. */
typedef struct dwc_built {
    dwc_graph graph;
    dwc_node nodes[DWC_MOST_NODES];
    dwc_value values[DWC_MOST_VALUES];
    dwc_s8_stage stages[DWC_MOST_S8_STAGES]; /* of a quantized graph, until its weights are packed */
} dwc_built;

/* describe.c: checks every field and replaces defaults: zeros become ones, SAME and VALID keep their padding at zero.
 * `known` becomes desc as this library knows it. */
DWC_HIDDEN dwconv_status dwc_describe(const dwconv_desc *desc, dwconv_desc *known, dwc_built *built);
/* A caller's `size` bytes, at least `least`, as the `known` bytes of this library's: see Growth in dwconv.h. */
DWC_HIDDEN dwconv_status dwc_take(const void *desc, size_t size, size_t least, void *to, size_t known);
/* Fields of a descriptor, with defaults filled in; identity, relu and relu6 become clips. */
DWC_HIDDEN dwconv_status dwc_check_window(dwconv_window *window);
DWC_HIDDEN dwconv_status dwc_check_activation(dwconv_activation *activation);

static inline int dwc_is_quantized(const dwc_graph *graph) { return graph->dtype != DWCONV_F32; }

static inline dwconv_dtype dwc_input_dtype(const dwc_graph *graph) { return graph->values[0].dtype; }

static inline dwconv_dtype dwc_output_dtype(const dwc_graph *graph) {
    return graph->values[graph->value_count - 1].dtype;
}

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

/* plan.c: all of a plan but its weights; its graph and chain are those of `built`. `table` NULL: that of desc->isa.
 * Then the plan in memory of prepared->bytes: without its weights, and with them. */
DWC_HIDDEN dwconv_status dwc_prepare_plan(const dwconv_desc *desc, const dwc_kernel_table *table,
                                          dwc_built *built, dwconv_plan *prepared);
DWC_HIDDEN void dwc_place_plan(const dwconv_plan *prepared, dwconv_plan *plan);
DWC_HIDDEN void dwc_fill_plan(const dwconv_plan *prepared, dwconv_plan *plan);

static inline int dwc_is_block(const dwconv_plan *plan) { return plan->chain.project != NULL; }

/* plan.c: the width of panels for so many columns, whole units. A panel for more of them may leave a rest that no tile has. */
DWC_HIDDEN int64_t dwc_panel_width(const dwc_kernel_table *table, int64_t padded);
/* Kernel and panels of a stage whose window, inputs and outputs are known. */
DWC_HIDDEN void dwc_choose_matmul(dwc_matmul_stage *stage, const dwc_kernel_table *table);

/* activate.c: the formulas of dwconv.h in double precision. */
DWC_HIDDEN double dwc_activate(double x, const dwconv_activation *activation);

/* quantize.c */
DWC_HIDDEN dwconv_status dwc_check_quant(dwconv_quant quant, dwconv_dtype dtype);
/* Of a convolution whose inputs and output are known: checks what its descriptor says of quantization, but for sums. */
DWC_HIDDEN dwconv_status dwc_quantize_node(const dwc_graph *graph, dwc_node *node,
                                           const dwconv_conv_desc *desc);
/* a + b, or a - b, as y. */
typedef struct dwc_sum_of {
    dwconv_quant a, b, y;
    dwconv_dtype dtype;
    dwconv_quant_rounding rounding;
    int minus;
} dwc_sum_of;
DWC_HIDDEN dwconv_status dwc_make_add(const dwc_sum_of *of, dwc_s8_add *add);
DWC_HIDDEN dwconv_status dwc_quantize_add(const dwc_graph *graph, dwc_node *node);
/* TensorFlow Lite's form of a factor from 0 on. */
DWC_HIDDEN dwc_fixed dwc_fixed_of(double factor);
/* Whether the sums of every node fit 32 bits: reads weights and biases. */
DWC_HIDDEN dwconv_status dwc_check_sums(const dwc_graph *graph);
/* The factor from sums of output channel c to what follows, in float32 and in double precision. */
DWC_HIDDEN float dwc_multiplier(const dwc_graph *graph, const dwc_node *node, int64_t c);
DWC_HIDDEN dwc_fixed dwc_fixed_multiplier(const dwc_graph *graph, const dwc_node *node, int64_t c);
DWC_HIDDEN void dwc_fill_table(const dwc_graph *graph, const dwc_node *node, uint8_t table[256]);
static inline uint8_t dwc_flip(dwconv_dtype dtype) { return dtype == DWCONV_S8 ? 0x80 : 0; }
static inline int32_t dwc_lowest(dwconv_dtype dtype) { return dtype == DWCONV_S8 ? INT8_MIN : 0; }
static inline int32_t dwc_highest(dwconv_dtype dtype) { return dtype == DWCONV_S8 ? INT8_MAX : UINT8_MAX; }

/* quantize_node.c: tells the last node, MEAN or SCALE, whose inputs are known, what it is to give. */
DWC_HIDDEN dwconv_status dwc_quantize_gate(const dwc_graph *graph, dwc_node *node, dwconv_quant quant,
                                           dwconv_formula formula);

/* pack_quantized.c, for the kernels of an instruction set or NULL: stages without weights, all that a schedule looks at;
 * bytes, then the packing itself. */
DWC_HIDDEN void dwc_make_s8_stages(const dwc_graph *graph, const dwc_s8_kernels *kernels,
                                   dwc_s8_stage *stages);
DWC_HIDDEN int dwc_s8_bytes(const dwc_graph *graph, const dwc_node *node, const dwc_s8_kernels *kernels,
                            int64_t *bytes);
DWC_HIDDEN void dwc_pack_s8(const dwc_graph *graph, dwc_node *node, const dwc_s8_kernels *kernels,
                            void *memory);

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

/* 8-bit integers whose sum fits 32 bits. */
enum { DWC_MOST_BYTES_SUMMED = 1 << 23 };

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

/* The same, where either may be the one that is written, or none: x, y or NULL. */
DWC_HIDDEN dwconv_status dwc_check_views(const dwc_graph *graph, const dwconv_tensor *input,
                                         const dwconv_tensor *output, const dwc_view *written, dwc_view *x,
                                         dwc_view *y);

/* The view of a contiguous, aligned tensor, of which there is no memory. */
DWC_HIDDEN dwconv_status dwc_dense_view(const int64_t shape[4], dwconv_dtype dtype, dwc_view *v);

/* 1 if [a, a + bytes) and the elements of v share memory. */
/* Whether two tensors may share elements: slices of channels of one tensor do not. */
DWC_HIDDEN int dwc_views_meet(const dwc_view *a, const dwc_view *b);
DWC_HIDDEN int dwc_view_meets(const dwc_view *v, const void *a, size_t bytes);

#endif
