/* 8-bit integers with NEON. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_NEON /* else empty */

#if !defined __clang__
/* As in neon.c: GCC moves loads up, and accumulators to the stack. */
#pragma GCC optimize("no-schedule-insns")
#pragma GCC target("tune=neoverse-n1")
#endif
#define S8_DOTPROD 0
#include "../vec/s8_neon.h"

#define SUFFIX _q
#define HALF_SUFFIX _q
#define MM_UNIT 4
#define MM_RELOADS 0
#include "../s8/matmul.inc.h"
#include "../s8/interleave.inc.h"
#define DW_TILE 4
#include "../s8/depthwise.inc.h"

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(12, __VA_ARGS__) F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(8, __VA_ARGS__) F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_3(F, ...) \
    F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_4(F, ...) \
    F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_HEIGHTS_1, 1, 0)
MM_WIDTH(MM_HEIGHTS_2, 2, 0)
MM_WIDTH(MM_HEIGHTS_3, 3, 0)
MM_WIDTH(MM_HEIGHTS_4, 4, 0)

static void mm_s8(const dwc_s8_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0, &mm_width_3_0,
                                             &mm_width_4_0};
    mm_run(c, widths);
}

const dwc_s8_kernels dwc_s8_neon = {
    .is_signed = 1,
    .lanes = lanes_q,
    .quad_bytes = quad_bytes_q,
    .panel_unit = MM_UNIT,
    .panel_width = 16,
    .matrix = mm_s8,
    .interleave = interleave,
    .depthwise = dw_s8,
    .matrix_name = "neon int8 matrix, tiles 8x8 and 4x16",
    .depthwise_name = "neon int8 depthwise, lines, tiles 2x4",
};
#endif
