/* 8-bit integers with AVX-512 that has no dot products of them. Only static code besides the table; compiled
 * without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX512_S8 /* else empty */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#define S8_VNNI 0
#include "../vec/s8_avx512.h"

#define SUFFIX _z
#define HALF_SUFFIX _y
#define MM_UNIT 16
#define MM_RELOADS 1
#define DW_TILE 4

/* MR * NV accumulators, an input's two halves, their masks, a product; the panel is read from memory. Panels are of
 * whole vectors: those with half ones are not worth their size for the few CPUs without VNNI. */
/* clang-format off */
#define MM_NARROW(F, ...) F(12, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDEST(F, ...) F(6, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_EACH_WIDTH(F) \
    F(MM_NARROW, 1, 0) F(MM_NARROW, 2, 0) F(MM_WIDE, 3, 0) F(MM_WIDEST, 4, 0)
/* clang-format on */

#define ISA "avx512"
#define IS_SIGNED 0
#include "../s8/algorithms.inc.h"

const dwc_s8_kernels dwc_s8_avx512 = S8_KERNELS("12x32, 8x48, 6x64", "tiles 2x4");

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
