/* See memory.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* madvise, for -std=c11 */
#endif
#include "memory.h"

#include <stdlib.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

void *dwc_allocate(size_t bytes) {
    const size_t whole = (bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
    if (whole < bytes) return NULL;
#ifdef MADV_HUGEPAGE
    const size_t huge = 2 << 20, rest = whole % huge ? huge - whole % huge : 0;
    if (whole >= huge && rest <= SIZE_MAX - whole) {
        void *memory = aligned_alloc(huge, whole + rest); /* C wants a multiple; nobody touches the rest */
        /* Not the piece that holds it: all of that would be taken. A refusal changes nothing. */
        if (memory) (void)madvise(memory, whole / huge * huge, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return aligned_alloc(DWCONV_ALIGNMENT, whole);
}
