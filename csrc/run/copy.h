/* Copying between arrays of any strides. */
#ifndef DWCONV_COPY_H
#define DWCONV_COPY_H

#include "walk.h"

/* Array 0 becomes array 1. */
DWC_HIDDEN void dwc_copy(const dwc_kernel_table *table, dwc_walk walk, const dwconv_threads *threads,
                         int workers);
/* How many workers it is worth to wake for moving as many elements as the output has, reading so many arrays. */
DWC_HIDDEN int dwc_copy_workers(const dwc_node_call *call, int reads);

#endif
