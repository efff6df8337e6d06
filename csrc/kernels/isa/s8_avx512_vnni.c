/* 8-bit integers with AVX-512 VNNI. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX512_S8 /* else empty */

#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma,prefer-vector-width=512")
#endif
#define S8_VNNI 1
#include "../vec/s8_avx512.h"

#define SUFFIX _z
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define MM_RELOADS 0
#define DW_TILE 4
#define DW_CONSTANT
#define DW_ROLLS 1

/* MR * (NV + HALF) accumulators, NV + HALF vectors of the panel, an input, what flips it. */
/* clang-format off */
#define MM_NARROW(F, ...) \
    F(14, __VA_ARGS__) F(7, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) \
    F(9, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDEST(F, ...) \
    F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_EACH_WIDTH(F) \
    F(MM_NARROW, 0, 1) F(MM_NARROW, 1, 0) F(MM_NARROW, 1, 1) F(MM_NARROW, 2, 0) \
    F(MM_WIDEST, 2, 1) F(MM_WIDE, 3, 0) F(MM_WIDEST, 4, 0)
/* clang-format on */

#define ISA "avx512-vnni"
#define IS_SIGNED 0
#include "../s8/algorithms.inc.h"

const dwc_s8_kernels dwc_s8_avx512_vnni = S8_KERNELS("14x32, 9x48, 6x64", "rolling 3x3, tiles 2x4");

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
