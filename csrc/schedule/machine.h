/* What schedules depend on of a machine. Tests make machines up. */
#ifndef DWCONV_MACHINE_H
#define DWCONV_MACHINE_H

#include "../internal.h"

/* Data caches. Lines of the first level are of DWC_LINE_FLOATS. */
typedef struct dwc_machine {
    int64_t l1_sets, l1_ways;
    int64_t l2_bytes;   /* of a core, between 256 KB and 2 MB; 1 MB where the CPU does not tell */
    int64_t last_bytes; /* of the last level, which others use too */
} dwc_machine;

DWC_HIDDEN dwc_machine dwc_this_machine(void);

/* What is used once per operation and has so many bytes is far: read from memory, not from a cache. From three
 * eighths of the last level on, prefetching and storing past the caches gain. */
static inline int64_t dwc_far_bytes(const dwc_machine *machine) { return machine->last_bytes / 8 * 3; }

#endif
