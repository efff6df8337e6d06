/* 8-bit integers with what the compiler assumes without flags. */
#include "../../internal.h"
#include "../vec/s8_baseline.h"

#define SUFFIX _x
#define HALF_SUFFIX _x
#define MM_UNIT 4
#define MM_RELOADS 1
#include "../s8/matmul.inc.h"
#include "../s8/interleave.inc.h"
#define DW_TILE 2
#include "../s8/depthwise.inc.h"

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(3, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_HEIGHTS_1, 1, 0)
MM_WIDTH(MM_HEIGHTS_2, 2, 0)

static void mm_s8(const dwc_s8_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0};
    mm_run(c, widths);
}

const dwc_s8_kernels dwc_s8_baseline = {
    .is_signed = 0,
    .lanes = lanes_x,
    .quad_bytes = quad_bytes_x,
    .panel_unit = MM_UNIT,
    .panel_width = 8,
    .matrix = mm_s8,
    .interleave = interleave,
    .depthwise = dw_s8,
    .matrix_name = "baseline int8 matrix, tiles up to 3x8",
    .depthwise_name = "baseline int8 depthwise, lines, tiles 2x2",
};
