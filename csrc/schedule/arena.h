/* Places in one workspace for tensors that live at different times. */
#ifndef DWCONV_ARENA_H
#define DWCONV_ARENA_H

#include "../internal.h"

/* A tensor that is alive from node `first` to node `last`, both included. */
typedef struct dwc_tenant {
    int64_t bytes;
    int32_t first, last;
    int64_t offset; /* bytes from the begin of the workspace: what is asked for */
} dwc_tenant;

typedef struct dwc_arena {
    int64_t bytes;
    int64_t lower_bound; /* the most bytes that are alive at a time */
} dwc_arena;

/* Bytes of memory that dwc_place_tenants works in. */
DWC_HIDDEN int64_t dwc_arena_scratch(int32_t tenants);

/* Places every tenant at a multiple of DWCONV_ALIGNMENT: the smaller of greedy best fit by size and by execution
 * order.
 * DWCONV_OVERFLOW if all of them together do not fit the address space. */
DWC_HIDDEN dwconv_status dwc_place_tenants(dwc_tenant *tenants, int32_t count, void *scratch,
                                           dwc_arena *arena);

#endif
