/* What this CPU can do, and the kernel table that follows from it. Compiled with baseline flags only.
 *
 * Detection asks the CPU itself (cpuid, and xgetbv for what the operating system saves; Arm64 always has NEON): it
 * needs no file system and cannot fail. The answer is kept: in virtual machines every cpuid traps, for about 20 us. */
#include <stdatomic.h>

#include "../internal.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#define DWC_X86 1
#endif

extern DWC_HIDDEN const dwc_kernel_table dwc_table_baseline;
#ifdef DWCONV_HAVE_NEON
extern DWC_HIDDEN const dwc_kernel_table dwc_table_neon;
#endif
#ifdef DWCONV_HAVE_AVX2
extern DWC_HIDDEN const dwc_kernel_table dwc_table_avx2;
#endif
#ifdef DWCONV_HAVE_AVX512
extern DWC_HIDDEN const dwc_kernel_table dwc_table_avx512;
#endif

static const dwc_kernel_table *compiled_table(dwconv_isa isa) {
    switch (isa) {
        case DWCONV_ISA_BASELINE: return &dwc_table_baseline;
#ifdef DWCONV_HAVE_NEON
        case DWCONV_ISA_NEON: return &dwc_table_neon;
#endif
#ifdef DWCONV_HAVE_AVX2
        case DWCONV_ISA_AVX2: return &dwc_table_avx2;
#endif
#ifdef DWCONV_HAVE_AVX512
        case DWCONV_ISA_AVX512: return &dwc_table_avx512;
#endif
        default: return NULL;
    }
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

static int detect(dwconv_isa isa) {
    unsigned a, b, c, d, b7, c7, d7;
    if (isa == DWCONV_ISA_BASELINE) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return 0;
    const unsigned state = saved_state();
    const int avx2 = has_bits(c, bit_FMA | bit_AVX) && has_bits(b7, bit_AVX2) && has_bits(state, 0x06);
    if (isa == DWCONV_ISA_AVX2) return avx2;
#ifdef DWC_EMULATED_AVX512 /* tests/c/emulated_avx512.h */
    return avx2;
#endif
    return isa == DWCONV_ISA_AVX512 && avx2 && has_bits(state, 0xe6) &&
           has_bits(b7, bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ);
}
#else
static int detect(dwconv_isa isa) {
#ifdef __aarch64__
    if (isa == DWCONV_ISA_NEON) return 1; /* part of the architecture */
#endif
    return isa == DWCONV_ISA_BASELINE;
}
#endif

/* Threads that come here first at the same time find the same answer and store the same bits. */
static int cpu_has(dwconv_isa isa) {
    static atomic_uint known; /* bit i: instruction set i; bit 0: the others are valid */
    unsigned bits = atomic_load_explicit(&known, memory_order_relaxed);
    if (!bits) {
        bits = 1;
        for (int i = DWCONV_ISA_BASELINE; i < DWCONV_ISA_COUNT; i++)
            if (detect((dwconv_isa)i)) bits |= 1u << i;
        atomic_store_explicit(&known, bits, memory_order_relaxed);
    }
    return bits >> isa & 1;
}

/* ---- caches ------------------------------------------------------------------------------- */

/* The data cache of a level, 0 if it is not told: Intel's leaf 4, or AMD's of the same form. */
static int64_t told_bytes(unsigned level) {
#ifdef DWC_X86
    static const unsigned leaves[] = {4, 0x8000001d};
    for (int i = 0; i < 2; i++)
        for (unsigned index = 0, a, b, c, d; index < 8; index++) {
            if (!__get_cpuid_count(leaves[i], index, &a, &b, &c, &d) || (a & 31) == 0) break;
            const int instructions = (a & 31) == 2;
            if (instructions || (a >> 5 & 7) != level) continue;
            return ((int64_t)(b >> 22) + 1) * ((b >> 12 & 1023) + 1) * ((b & 4095) + 1) * ((int64_t)c + 1);
        }
#else
    (void)level;
#endif
    return 0;
}

/* Told once, kept in `known`. */
static int64_t cache_bytes(atomic_llong *known, unsigned level, int64_t usual, int64_t least, int64_t most) {
    int64_t bytes = atomic_load_explicit(known, memory_order_relaxed);
    if (!bytes) {
        bytes = told_bytes(level);
        bytes = bytes == 0 ? usual : bytes < least ? least : bytes > most ? most : bytes;
        atomic_store_explicit(known, bytes, memory_order_relaxed);
    }
    return bytes;
}

#define KB ((int64_t)1024)
#define MB (1024 * KB)

int64_t dwc_cache_bytes(void) {
    static atomic_llong known;
    return cache_bytes(&known, 2, MB, 256 * KB, 2 * MB);
}

/* Three eighths of the last-level cache, which others use too. Of 32 MB, pointwise layers whose input and output have 9.6 MB
 * gain nothing by being fetched ahead, with 13 MB 5 % (80x80 256 -> 256), with 30 MB 30 % (200x200 128 -> 64). And what
 * is stored past the caches is read sooner by the next operation from 16 MB on, and later with 8 MB. */
int64_t dwc_far_bytes(void) {
    static atomic_llong known;
    return cache_bytes(&known, 3, 32 * MB, 2 * MB, 1024 * MB) / 8 * 3;
}

/* ---- tables and names --------------------------------------------------------------------- */

const dwc_kernel_table *dwc_kernel_table_of(dwconv_isa isa) {
    if (isa == DWCONV_ISA_AUTO) isa = dwconv_isa_best();
    const dwc_kernel_table *table = compiled_table(isa);
    return table && cpu_has(isa) ? table : NULL;
}

const char *dwconv_isa_name(dwconv_isa isa) {
    switch (isa) {
        case DWCONV_ISA_AUTO: return "auto";
        case DWCONV_ISA_BASELINE: return "baseline";
        case DWCONV_ISA_NEON: return "neon";
        case DWCONV_ISA_AVX2: return "avx2";
        case DWCONV_ISA_AVX512: return "avx512";
        default: return NULL;
    }
}

int dwconv_isa_compiled(dwconv_isa isa) { return compiled_table(isa) != NULL; }

int dwconv_isa_available(dwconv_isa isa) { return compiled_table(isa) != NULL && cpu_has(isa); }

dwconv_isa dwconv_isa_best(void) {
    for (int isa = DWCONV_ISA_COUNT - 1; isa > DWCONV_ISA_BASELINE; isa--)
        if (dwconv_isa_available((dwconv_isa)isa)) return (dwconv_isa)isa;
    return DWCONV_ISA_BASELINE;
}

const char *dwconv_version(void) { return DWCONV_VERSION; }

int dwconv_has_openmp(void) {
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}
