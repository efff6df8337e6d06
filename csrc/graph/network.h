/* The descriptors of a network, one by one: copied, checked, defaults filled in. */
#ifndef DWCONV_GRAPH_NETWORK_H
#define DWCONV_GRAPH_NETWORK_H

#include "../dwconv_network.h"
#include "graph.h"

/* network.c. `known` becomes desc as this library knows it; its values and nodes are the caller's arrays. */
DWC_HIDDEN dwconv_status dwc_take_network(const dwconv_network_desc *desc, dwconv_network_desc *known);

/* Value i. `base` becomes the value whose memory it has, itself if it is no view. Axes beyond the rank are of size 1,
 * and strides of axes of size 1 are 0. Every element of a view is one of its base. */
DWC_HIDDEN dwconv_status dwc_take_value(const dwconv_network_desc *known, int32_t i, dwconv_value *v);

/* Node i: the kind exists, and where it has an activation or a window, these are valid. */
DWC_HIDDEN dwconv_status dwc_take_node(const dwconv_network_desc *known, int32_t i, dwconv_node *n);

DWC_HIDDEN int64_t dwc_elements(const dwconv_value *v);

/* Bytes of an element. */
static inline int64_t dwc_unit(dwconv_dtype dtype) {
    return dtype == DWCONV_S8 || dtype == DWCONV_U8 ? 1 : 4;
}

static inline int64_t dwc_value_bytes(const dwconv_value *v) { return dwc_elements(v) * dwc_unit(v->dtype); }
/* Elements of its base that a value has, at most. */
DWC_HIDDEN int64_t dwc_elements_of_base(const dwconv_value *v, int64_t base_elements);

/* ---- 8-bit integers: quantize_node.c ---- */

typedef struct dwc_typed {
    dwconv_dtype dtype;
    dwconv_quant quant;
} dwc_typed;

/* What a node on them is told, by its kind; what it cannot be is refused. */
DWC_HIDDEN dwconv_status dwc_quantize_network_node(const dwconv_node *n, dwconv_quant_rounding rounding,
                                                   const dwc_typed in[2], dwc_typed out,
                                                   dwc_byte_parameters *p);
/* The same for the mean of so many values: POOL and REDUCE. */
DWC_HIDDEN dwc_byte_end dwc_mean_end(const dwc_byte_parameters *p, int64_t count);

/* Whether both are the same elements in the same order. */
DWC_HIDDEN int dwc_is_same_memory(const dwconv_value *a, const dwconv_value *b);
/* Whether a node may write `out`, given what it reads: `in_place` allows inputs that are the very memory of the
 * output. */
DWC_HIDDEN dwconv_status dwc_check_memory(const dwconv_value *out, const dwconv_value *in, int inputs,
                                          int in_place);

#endif
