/* The calling thread's mode of floating-point arithmetic: rounding, flushing of denormals, traps. */
#ifndef DWCONV_FP_MODE_H
#define DWCONV_FP_MODE_H

#if defined __x86_64__
typedef unsigned int dwc_fp_mode;
enum { DWC_MODE_ROUNDING = 0x6000 };
static inline void dwc_get_mode(dwc_fp_mode *mode) {
    *mode = __builtin_ia32_stmxcsr() & ~0x3fu; /* no exceptions */
}
static inline void dwc_set_mode(const dwc_fp_mode *mode) { __builtin_ia32_ldmxcsr(*mode); }
#elif defined __aarch64__
#include <stdint.h>
typedef uint64_t dwc_fp_mode;
enum { DWC_MODE_ROUNDING = 3 << 22 };
static inline void dwc_get_mode(dwc_fp_mode *mode) { __asm__ volatile("mrs %0, fpcr" : "=r"(*mode)); }
static inline void dwc_set_mode(const dwc_fp_mode *mode) { __asm__ volatile("msr fpcr, %0" : : "r"(*mode)); }
#else
#include <fenv.h>
typedef fenv_t dwc_fp_mode;
static inline void dwc_get_mode(dwc_fp_mode *mode) { fegetenv(mode); }
static inline void dwc_set_mode(const dwc_fp_mode *mode) { fesetenv(mode); }
#endif

/* From here on this thread rounds to the nearest, as what is computed of 8-bit integers does in whatever mode it is
 * asked for. Returns whether it did not before; the mode it had is `own`. */
static inline int dwc_round_to_nearest(dwc_fp_mode *own) {
    dwc_get_mode(own);
#if defined __x86_64__ || defined __aarch64__
    if ((*own & DWC_MODE_ROUNDING) == 0) return 0;
    const dwc_fp_mode nearest = *own & ~(dwc_fp_mode)DWC_MODE_ROUNDING;
    dwc_set_mode(&nearest);
    return 1;
#else
    return fegetround() != FE_TONEAREST && fesetround(FE_TONEAREST) == 0;
#endif
}

#endif
