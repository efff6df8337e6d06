/* 8-bit integers with what the compiler assumes without flags. */
#include "../../internal.h"
#include "../vec/s8_baseline.h"

#define SUFFIX _x
#define HALF_SUFFIX _x
#define MM_UNIT 4
#define MM_RELOADS 1
#define DW_TILE 2

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(3, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_EACH_WIDTH(F) \
    F(MM_HEIGHTS_1, 1, 0) F(MM_HEIGHTS_2, 2, 0)
/* clang-format on */

#define ISA "baseline"
#define IS_SIGNED 0
#include "../s8/algorithms.inc.h"

const dwc_s8_kernels dwc_s8_baseline = S8_KERNELS("up to 3x8", "tiles 2x2");
