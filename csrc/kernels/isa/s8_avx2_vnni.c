/* 8-bit integers with AVX-VNNI. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX2 /* else empty */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,avxvnni")
#endif
#define S8_VNNI 1
#include "../vec/s8_avx2.h"

#define SUFFIX _y
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define MM_RELOADS 0
#include "../s8/matmul.inc.h"
#include "../s8/interleave.inc.h"
#define DW_TILE 2
#include "../s8/depthwise.inc.h"

/* clang-format off */
#define MM_HEIGHTS_1(F, ...) \
    F(12, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_2(F, ...) \
    F(6, __VA_ARGS__) F(3, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_HEIGHTS_3(F, ...) \
    F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_HEIGHTS_1, 1, 0)
MM_WIDTH(MM_HEIGHTS_2, 2, 0)
MM_WIDTH(MM_HEIGHTS_3, 3, 0)

static void mm_s8(const dwc_s8_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0, &mm_width_3_0};
    mm_run(c, widths);
}

const dwc_s8_kernels dwc_s8_avx2_vnni = {
    .is_signed = 0,
    .lanes = lanes_y,
    .quad_bytes = quad_bytes_y,
    .panel_unit = MM_UNIT,
    .panel_width = 24,
    .matrix = mm_s8,
    .interleave = interleave,
    .depthwise = dw_s8,
    .matrix_name = "avx2-vnni int8 matrix, tiles 6x16 and 4x24",
    .depthwise_name = "avx2-vnni int8 depthwise, lines, tiles 2x2",
};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
