/* NEON of Arm64. Only static code besides the table; compiled without LTO. */
#if defined __aarch64__ && !defined __clang__
/* GCC for Arm reorders instructions before it allocates registers: loads move up, and accumulators to the stack. What
 * it does afterwards suits cores in order too if it thinks of this one. */
#pragma GCC optimize("no-schedule-insns")
#pragma GCC target("tune=neoverse-n1")
#endif
#include "../../internal.h"

#ifdef __aarch64__ /* else empty */
#include "../vec/neon.h"

/* Strips of 7 outputs divide the widths of the usual networks (7, 14, 28, 56, 112). 2 x 7 accumulators, 2 x 5 weights
 * and an input fit the 32 registers. */
enum { DW_WIDE = 7, DW_NARROW = 4, DW_FLAT = 7 };

#define SUFFIX _q
#include "../f32/activation.inc.h"
#include "../f32/depthwise_types.h"
#include "../f32/depthwise_store.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_window.inc.h"
#define TAIL_SUFFIX _q
#include "../f32/depthwise.inc.h"
#include "../f32/depthwise_flat.inc.h"
#include "../f32/depthwise_tiled.inc.h"
#define HALF_SUFFIX _q
#define MM_UNIT 4
#define MM_CHAINS 8
#include "../f32/matmul.inc.h"
#include "../f32/squeeze.inc.h"

/* ROWS * COLUMNS accumulators, COLUMNS * STRIDE inputs, one weight. No rolling rows for 3x3: they copy accumulators,
 * and a copy takes the port of a multiply-add. */
DW_SHAPE(3, 1, 2, 7)
DW_SHAPE(3, 2, 2, 7)
DW_SHAPE(5, 1, 2, 7)
DW_SHAPE(5, 2, 2, 7)
DW_SHAPE(7, 1, 2, 7)
DW_SHAPE(7, 2, 2, 7)
DW_DILATED(3)

/* MR * NV accumulators, NV vectors of the panel, and the inputs on their way. */
/* clang-format off */
#define MM_NARROW(F, ...) \
    F(14, __VA_ARGS__) F(10, __VA_ARGS__) F(7, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_MIDDLE(F, ...) \
    F(12, __VA_ARGS__) F(8, __VA_ARGS__) F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) \
    F(8, __VA_ARGS__) F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDEST(F, ...) \
    F(6, __VA_ARGS__) F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_NARROW, 1, 0)
MM_WIDTH(MM_MIDDLE, 2, 0)
MM_WIDTH(MM_WIDE, 3, 0)
MM_WIDTH(MM_WIDEST, 4, 0)

static void mm_f32(const dwc_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0, &mm_width_3_0,
                                             &mm_width_4_0};
    mm_run(c, widths, NULL, 0);
}

static const dwc_kernel kernels[] = {
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_FLAT, 1, 1, 7, "neon depthwise few channels s1, rows as vectors",
     dw_flat_f32, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 1, 2, 7, "neon depthwise 3x3 s1, tile 2x7", dw_3_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_DILATED, 1, 2, 7, "neon depthwise 3x3 s1, dilated, tile 2x7",
     dw_dilated_3, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 2, 2, 7, "neon depthwise 3x3 s2, tile 2x7", dw_3_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 1, 2, 7, "neon depthwise 5x5 s1, tile 2x7", dw_5_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 2, 2, 7, "neon depthwise 5x5 s2, tile 2x7", dw_5_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 7, 1, 2, 7, "neon depthwise 7x7 s1, tile 2x7", dw_7_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 7, 2, 2, 7, "neon depthwise 7x7 s2, tile 2x7", dw_7_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 0, 0, 2, 7, "neon depthwise any window, tile 2x7", dw_general_f32, NULL},
    {DWCONV_CONV, DWCONV_F32, 0, 0, 14, 16, "neon matrix, tiles 12x8, 8x12, 6x16", NULL, mm_f32},
};

const dwc_kernel_table dwc_table_neon = {
    DWCONV_ISA_NEON, lanes_q, MM_UNIT,    16,           sizeof kernels / sizeof *kernels,
    kernels,         0,       sum_pixels, scale_pixels, NULL};
#endif
