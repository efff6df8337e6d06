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
#include "../s8/matmul.inc.h"
#include "../s8/interleave.inc.h"
#define DW_TILE 4
#include "../s8/depthwise.inc.h"

/* MR * NV accumulators, an input's two halves, their masks, a product; the panel is read from memory. Panels are of
 * whole vectors: those with half ones are not worth their size for the few CPUs without VNNI. */
/* clang-format off */
#define MM_NARROW(F, ...) F(12, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDEST(F, ...) F(6, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_NARROW, 1, 0)
MM_WIDTH(MM_NARROW, 2, 0)
MM_WIDTH(MM_WIDE, 3, 0)
MM_WIDTH(MM_WIDEST, 4, 0)

static void mm_s8(const dwc_s8_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0, &mm_width_3_0,
                                             &mm_width_4_0};
    mm_run(c, widths);
}

const dwc_s8_kernels dwc_s8_avx512 = {
    .is_signed = 0,
    .lanes = lanes_z,
    .quad_bytes = quad_bytes_z,
    .panel_unit = MM_UNIT,
    .panel_width = 64,
    .matrix = mm_s8,
    .interleave = interleave,
    .depthwise = dw_s8,
    .matrix_name = "avx512 int8 matrix, tiles 12x32, 8x48, 6x64",
    .depthwise_name = "avx512 int8 depthwise, lines, tiles 2x4",
};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
