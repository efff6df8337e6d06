/* Plain loops in double precision, with which tests compare what runs. */
#ifndef DWCONV_REFERENCE_H
#define DWCONV_REFERENCE_H

#include "run/nodes.h"

/* reference.c: relu and relu6 are clips, as dwc_check_activation makes them. */
DWC_HIDDEN double dwc_reference_activation(double x, const dwconv_activation *activation);

/* reference_network.c: one node of a checked network; plan, table, threads and scratch are not looked at. A convolution
 * has its descriptor. DWCONV_NO_MEMORY, for a convolution. */
DWC_HIDDEN dwconv_status dwc_reference_node(const dwc_node_call *call);

#endif
