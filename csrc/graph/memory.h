/* Memory that plans, networks and their runs own. */
#ifndef DWCONV_MEMORY_H
#define DWCONV_MEMORY_H

#include "../internal.h"

/* So many bytes, aligned to DWCONV_ALIGNMENT; NULL if there are none; free() takes them.
 *
 * Linux is asked for huge pages where there is room for one: weights and workspaces are read from end to end in every run,
 * and have more pages of 4 KB than a CPU keeps entries of its page table (MobileNetV3 takes 5 % longer with them). */
DWC_HIDDEN void *dwc_allocate(size_t bytes);

#endif
