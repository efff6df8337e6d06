/* The two halves of the oracle. */
#ifndef DWCONV_REFERENCE_H
#define DWCONV_REFERENCE_H

#include "graph/graph.h"

/* views are those of the values of the graph. */
DWC_HIDDEN void dwc_reference_s8(const dwc_graph *graph, const dwc_node *node, const dwc_view *views);

#endif
