/* Which instruction sets this CPU has, and the kernel table that follows from it. Compiled with baseline flags only.
 *
 * Detection asks the CPU itself (cpuid, and xgetbv for what the operating system saves; Arm64 always has NEON): it
 * needs no file system and cannot fail. The answer is kept: in virtual machines every cpuid traps, for about 20 us. */
#include <stdatomic.h>
#include <string.h>

#include "graph.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#define DWC_X86 1
#endif

#ifndef DWC_ANY_CPU
#define DWC_ANY_CPU 0 /* 1: for tests that plan what they do not run */
#endif

extern DWC_HIDDEN const dwc_kernel_table dwc_table_baseline, dwc_table_neon, dwc_table_avx2, dwc_table_avx512;

typedef enum rung { BASELINE, NEON, AVX2, AVX512, RUNGS } rung;

/* From slow to fast. */
static const char *const names[RUNGS] = {"baseline", "neon", "avx2", "avx512"};

/* NULL where this build does not hold the kernels. */
static const dwc_kernel_table *const tables[RUNGS] = {
    [BASELINE] = &dwc_table_baseline,
#ifdef DWCONV_HAVE_NEON
    [NEON] = &dwc_table_neon,
#endif
#ifdef DWCONV_HAVE_AVX2
    [AVX2] = &dwc_table_avx2,
#endif
#ifdef DWCONV_HAVE_AVX512
    [AVX512] = &dwc_table_avx512,
#endif
};

/* RUNGS: there is none of this name. */
static rung rung_named(const char *name) {
    int i = 0;
    while (i < RUNGS && !(name && strcmp(name, names[i]) == 0)) i++;
    return (rung)i;
}

#ifdef DWC_X86
static int has_bits(unsigned value, unsigned bits) { return (value & bits) == bits; }

/* Register state that the operating system saves: bits 1, 2 for SSE and AVX, 5 to 7 for AVX-512. */
static unsigned saved_state(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, bit_OSXSAVE)) return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int detect(rung isa) {
    unsigned a, b, c, d, b7, c7, d7;
    if (isa == BASELINE) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return 0;
    const unsigned state = saved_state();
    const int avx2 = has_bits(c, bit_FMA | bit_AVX) && has_bits(b7, bit_AVX2) && has_bits(state, 0x06);
    if (isa == AVX2) return avx2;
#ifdef DWC_EMULATED_AVX512 /* tests/c/emulated_avx512.h */
    return avx2;
#endif
    return isa == AVX512 && avx2 && has_bits(state, 0xe6) &&
           has_bits(b7, bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ);
}
#else
static int detect(rung isa) {
#ifdef __aarch64__
    if (isa == NEON) return 1; /* part of the architecture */
#endif
    return isa == BASELINE;
}
#endif

/* Threads that come here first at the same time find the same answer and store the same bits. */
static int cpu_has(rung isa) {
    static atomic_uint known; /* bit i: rung i; bit RUNGS: the others are valid */
    unsigned bits = atomic_load_explicit(&known, memory_order_relaxed);
    if (!bits) {
        bits = 1u << RUNGS;
        for (int i = 0; i < RUNGS; i++)
            if (detect((rung)i)) bits |= 1u << i;
        atomic_store_explicit(&known, bits, memory_order_relaxed);
    }
    return bits >> isa & 1;
}

static int is_available(rung isa) { return isa < RUNGS && tables[isa] && (DWC_ANY_CPU || cpu_has(isa)); }

/* ---- tables and names --------------------------------------------------------------------- */

static rung best(void) {
    int isa = RUNGS - 1;
    while (isa > BASELINE && !is_available((rung)isa)) isa--;
    return (rung)isa;
}

const dwc_kernel_table *dwc_kernel_table_of(const char *name) {
    const rung isa = name ? rung_named(name) : best();
    return is_available(isa) ? tables[isa] : NULL;
}

const char *dwc_table_name(const dwc_kernel_table *table) {
    int isa = 0;
    while (tables[isa] != table) isa++;
    return names[isa];
}

int dwconv_isa_count(void) { return RUNGS; }

const char *dwconv_isa_name(int index) { return index >= 0 && index < RUNGS ? names[index] : NULL; }

int dwconv_isa_compiled(const char *name) {
    const rung isa = rung_named(name);
    return isa < RUNGS && tables[isa];
}

int dwconv_isa_available(const char *name) { return is_available(rung_named(name)); }

const char *dwconv_isa_best(void) { return names[best()]; }

const char *dwconv_version(void) { return DWCONV_VERSION; }
