/* Nodes on 8-bit integers. */
#ifndef DWCONV_RUN_BYTES_H
#define DWCONV_RUN_BYTES_H

#include "../schedule/schedule_nodes.h"
#include "walk.h"

/* `prepare` of all of them. */
DWC_HIDDEN dwconv_status dwc_prepare_bytes(const dwc_node_call *call, dwc_byte_parameters *parameters);

#endif
