/* 8-bit integers with NEON and its dot products. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_NEON /* else empty */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
/* As in neon.c: GCC moves loads up, and accumulators to the stack. */
#pragma GCC optimize("no-schedule-insns")
#pragma GCC target("arch=armv8.2-a+dotprod,tune=neoverse-n1")
#endif
#define S8_DOTPROD 1
#include "../vec/s8_neon.h"

#define SUFFIX _q
#define HALF_SUFFIX _q
#define MM_UNIT 4
#define MM_RELOADS 0
#define DW_TILE 4
#define DW_CONSTANT
#define DW_ROLLS 1

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(14, __VA_ARGS__) F(10, __VA_ARGS__) F(7, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(12, __VA_ARGS__) F(8, __VA_ARGS__) F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_3(F, ...) \
    F(8, __VA_ARGS__) F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_4(F, ...) \
    F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_EACH_WIDTH(F) \
    F(MM_HEIGHTS_1, 1, 0) F(MM_HEIGHTS_2, 2, 0) F(MM_HEIGHTS_3, 3, 0) F(MM_HEIGHTS_4, 4, 0)
/* clang-format on */

#define ISA "neon-dotprod"
#define IS_SIGNED 1
#include "../s8/algorithms.inc.h"

const dwc_s8_kernels dwc_s8_neon_dotprod = S8_KERNELS("12x8, 8x12, 6x16", "rolling 3x3, tiles 2x4");

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
