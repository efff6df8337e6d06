/* 8-bit integers with AVX2. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX2 /* else empty */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define S8_VNNI 0
#include "../vec/s8_avx2.h"

#define SUFFIX _y
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define MM_RELOADS 1
#define DW_TILE 2
#define DW_ROLLS 2

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(6, __VA_ARGS__) F(3, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_3(F, ...) \
    F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_EACH_WIDTH(F) \
    F(MM_HEIGHTS_1, 1, 0) F(MM_HEIGHTS_2, 2, 0) F(MM_HEIGHTS_3, 3, 0)
/* clang-format on */

#define ISA "avx2"
#define IS_SIGNED 0
#include "../s8/algorithms.inc.h"

const dwc_s8_kernels dwc_s8_avx2 = S8_KERNELS("6x16 and 4x24", "tiles 2x2");

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
