/* The caches of this machine. Detection asks the CPU itself: it needs no file system and cannot fail. */
#include <stdatomic.h>

#include "schedule.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#define DWC_X86 1
#endif

#define KB ((int64_t)1024)
#define MB (1024 * KB)

typedef struct cache {
    int64_t sets, ways, line;
} cache;

/* The data cache of a level; no sets if it is not told: Intel's leaf 4, or AMD's of the same form. */
static cache told(unsigned level) {
#ifdef DWC_X86
    static const unsigned leaves[] = {4, 0x8000001d};
    for (int i = 0; i < 2; i++)
        for (unsigned index = 0, a, b, c, d; index < 8; index++) {
            if (!__get_cpuid_count(leaves[i], index, &a, &b, &c, &d) || (a & 31) == 0) break;
            const int instructions = (a & 31) == 2;
            if (instructions || (a >> 5 & 7) != level) continue;
            return (cache){(int64_t)c + 1, ((int64_t)(b >> 22) + 1) * ((b >> 12 & 1023) + 1), (b & 4095) + 1};
        }
#else
    (void)level;
#endif
    return (cache){0};
}

static int64_t told_bytes(unsigned level, int64_t usual, int64_t least, int64_t most) {
    const cache c = told(level);
    return c.sets ? within(c.sets * c.ways * c.line, least, most) : usual;
}

/* What a hypervisor or a simulator makes up is kept within bounds. */
static dwc_machine detect(void) {
    const cache l1 = told(1);
    const int plausible = l1.line == 64 && l1.sets >= 16 && l1.sets <= 1024 && l1.ways >= 2 && l1.ways <= 32;
    return (dwc_machine){.l1_sets = plausible ? l1.sets : 64,
                         .l1_ways = plausible ? l1.ways : 8,
                         .l2_bytes = told_bytes(2, MB, 256 * KB, 2 * MB),
                         .last_bytes = told_bytes(3, 32 * MB, 2 * MB, 1024 * MB)};
}

/* Asked once: in virtual machines every cpuid traps, for about 20 us. Threads that come here first at the same
 * time find the same answer; the last number says that all are there. */
dwc_machine dwc_this_machine(void) {
    static atomic_llong sets, ways, l2, last;
    if (!atomic_load_explicit(&last, memory_order_acquire)) {
        const dwc_machine m = detect();
        atomic_store_explicit(&sets, m.l1_sets, memory_order_relaxed);
        atomic_store_explicit(&ways, m.l1_ways, memory_order_relaxed);
        atomic_store_explicit(&l2, m.l2_bytes, memory_order_relaxed);
        atomic_store_explicit(&last, m.last_bytes, memory_order_release);
    }
    return (dwc_machine){.l1_sets = atomic_load_explicit(&sets, memory_order_relaxed),
                         .l1_ways = atomic_load_explicit(&ways, memory_order_relaxed),
                         .l2_bytes = atomic_load_explicit(&l2, memory_order_relaxed),
                         .last_bytes = atomic_load_explicit(&last, memory_order_relaxed)};
}
