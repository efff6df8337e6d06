/* Which instruction sets this CPU has, and the kernel table that follows from it. Compiled with baseline flags only.
 *
 * Detection asks the CPU itself (cpuid, and xgetbv for what the operating system saves), on Arm64 the auxiliary
 * vector of the process: it needs no file system and cannot fail. The answer is kept: in virtual machines every
 * cpuid traps, for about 20 us. */
#include <stdatomic.h>
#include <string.h>

#include "graph.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#define DWC_X86 1
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#ifndef DWC_ANY_CPU
#define DWC_ANY_CPU 0 /* 1: for tests that plan what they do not run */
#endif

extern DWC_HIDDEN const dwc_kernel_table dwc_table_baseline, dwc_table_neon, dwc_table_neon_dotprod,
    dwc_table_avx2, dwc_table_avx2_vnni, dwc_table_avx512, dwc_table_avx512_vnni;

typedef enum rung { BASELINE, NEON, NEON_DOTPROD, AVX2, AVX2_VNNI, AVX512, AVX512_VNNI, RUNGS } rung;

/* From slow to fast; those of a suffix are the one before them with dot products of 8-bit integers. */
static const char *const names[RUNGS] = {"baseline",  "neon",   "neon-dotprod", "avx2",
                                         "avx2-vnni", "avx512", "avx512-vnni"};

/* NULL where this build does not hold the kernels. */
static const dwc_kernel_table *const tables[RUNGS] = {
    [BASELINE] = &dwc_table_baseline,
#ifdef DWCONV_HAVE_NEON
    [NEON] = &dwc_table_neon,         [NEON_DOTPROD] = &dwc_table_neon_dotprod,
#endif
#ifdef DWCONV_HAVE_AVX2
    [AVX2] = &dwc_table_avx2,         [AVX2_VNNI] = &dwc_table_avx2_vnni,
#endif
#ifdef DWCONV_HAVE_AVX512
    [AVX512] = &dwc_table_avx512,     [AVX512_VNNI] = &dwc_table_avx512_vnni,
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
#ifdef DWC_EVEX_VNNI /* tests/c/run.sh */
    if (isa == AVX2_VNNI) isa = AVX512_VNNI;
#endif
    if (isa == AVX2_VNNI) {
        const int leaf = __get_cpuid_count(7, 1, &a, &b, &c, &d);
        return avx2 && leaf && has_bits(a, 1u << 4); /* AVX-VNNI */
    }
#ifdef DWC_EMULATED_AVX512 /* tests/c/emulated_avx512.h */
    return isa == AVX512 && avx2;
#endif
    const int avx512 = avx2 && has_bits(state, 0xe6) &&
                       has_bits(b7, bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ);
    if (isa == AVX512_VNNI) return avx512 && has_bits(c7, 1u << 11);
    return isa == AVX512 && avx512;
}
#elif defined __aarch64__
/* An optional part of Armv8.2, which Apple's processors all have. */
static int has_dotprod(void) {
#if defined __linux__
    return getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP */
#elif defined __APPLE__
    return 1;
#else
    return 0;
#endif
}

static int detect(rung isa) {
    if (isa == NEON_DOTPROD) return has_dotprod();
    return isa == BASELINE || isa == NEON; /* part of the architecture */
}
#else
static int detect(rung isa) { return isa == BASELINE; }
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
