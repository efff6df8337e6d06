/* Networks as they run: made by make_network.c, run by run_network.c. */
#ifndef DWCONV_RUN_NETWORK_H
#define DWCONV_RUN_NETWORK_H

#include "../graph/network.h"
#include "nodes.h"

/* A value and where it is: in the workspace or the state so many bytes from its begin, -1 if no node uses it; of inputs
 * and outputs, which of them; of views, where their base is. */
typedef struct dwc_placed {
    dwconv_value value;
    int64_t place;
    dwc_array array; /* as nodes get it, without data */
} dwc_placed;

typedef struct dwc_step {
    dwconv_node node;
    const dwc_node_class *class;
    dwconv_plan *plan; /* CONVOLUTION */
    dwc_byte_parameters parameters;
    int64_t scratch; /* bytes from the begin of the workspace */
    size_t scratch_bytes;
    const void *bound;
} dwc_step;

/* One piece of memory: this, the values, the steps, which values are the caller's, the plans. */
struct dwconv_network {
    const dwc_kernel_table *table;
    int32_t value_count, node_count, input_count, output_count;
    int threads; /* the most of a run */
    int owns_memory;
    int has_integers; /* of 8 bits */
    dwconv_quant_rounding rounding;
    size_t bytes, workspace_bytes, state_bytes, lower_bound;
    const dwc_placed *values;
    const dwc_step *steps;
    const int32_t *ports; /* values that are inputs or outputs */
};

/* An array of a value's shape and strides, without data. */
static inline dwc_array dwc_array_of(const dwconv_value *v) {
    dwc_array a = {.dtype = v->dtype, .quant = {v->scale, v->zero_point}, .rank = v->rank};
    for (int i = 0; i < DWCONV_MAX_RANK; i++) {
        a.shape[i] = v->shape[i];
        a.strides[i] = v->strides[i];
    }
    return a;
}

#endif
