/* The parts of the oracle: plain loops, with which tests compare what runs. */
#ifndef DWCONV_REFERENCE_H
#define DWCONV_REFERENCE_H

#include "run/nodes.h"

/* reference_s8.c: views are those of the values of the graph. */
DWC_HIDDEN void dwc_reference_s8(const dwc_graph *graph, const dwc_node *node, const dwc_view *views);

/* reference_network.c: one node of a checked network; plan, table, threads and scratch are not looked at. A convolution
 * has its descriptor. DWCONV_NO_MEMORY, for a convolution. */
DWC_HIDDEN dwconv_status dwc_reference_node(const dwc_node_call *call);

#endif
