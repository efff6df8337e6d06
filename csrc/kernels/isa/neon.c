/* NEON of Arm64. Only static code besides the table; compiled without LTO. */
#if defined __aarch64__ && !defined __clang__
/* GCC for Arm reorders instructions before it allocates registers: loads move up, and accumulators to the stack. What
 * it does afterwards suits cores in order too if it thinks of this one. */
#pragma GCC optimize("no-schedule-insns")
#pragma GCC target("tune=neoverse-n1")
#endif
#include "../../internal.h"

#ifdef DWCONV_HAVE_NEON /* else empty */
#include "../vec/neon.h"

/* Tiles of 7 outputs divide the widths of the usual networks (7, 14, 28, 56, 112); those of 4 take what is left. */
enum { DW_REGISTERS = 32, DW_WIDE = 7, DW_FLAT = 7, DW_SPREADS_FEW = 0 };

#define DW_SHARES 1
#include "../f32/depthwise_types.h"
#define SUFFIX _q
#define TAIL_SUFFIX _q
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_back.inc.h"
#define HALF_SUFFIX _q
#define MM_UNIT 4
#define BN_VECTORS 4
#define MM_CHAINS 8
#define MM_DOT_SUMS 16
#define ISA "neon"
#include "../f32/algorithms.inc.h"

/* Kernel rows, taps, columns of a tile, taps from column to column: sums, columns and an input in registers. */
#define DWG_EACH(F)  \
    F(3, 3, 7, 1, 0) \
    F(3, 3, 7, 2, 0) \
    F(3, 3, 7, 0, 0) F(5, 5, 4, 1, 0) F(5, 5, 4, 2, 0) F(3, 7, 7, 1, 0) F(2, 4, 4, 0, 0) F(2, 4, 4, 0, 1)
#include "../f32/depthwise_gradients.inc.h"

#define DW_EACH_TILE(F) F(3, 1) F(3, 2) F(5, 1) F(5, 2) F(7, 1)
#define DW_DEFINE(K, S) DW_TESTED_TILES(K, S, 7) DW_EDGE_TILES(K, S, 4)
#define DW_LIST(K, S)                                           \
    {K,                                                         \
     S,                                                         \
     0,                                                         \
     {DW_TESTED_TILES_OF(K, S, 7), DW_EDGE_TILES_OF(K, S, 4)},  \
     "neon depthwise " #K "x" #K " s" #S ", tiles 2x7 and 2x4", \
     0},
DW_EACH_TILE(DW_DEFINE)

static const dwc_dw_kernel tiles[] = {DW_EACH_TILE(DW_LIST)};

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

/* float32 is the same with and without dot products of 8-bit integers. */
#define TABLE                                                                                       \
    .isa = DWCONV_ISA_NEON, .panel_width = 16, .overlaps = 1,                                       \
    .matrix = {"neon matrix, tiles 12x8, 8x12, 6x16", mm_f32}, .dot_outputs = 2, .thin_outputs = 2, \
    .any_name = "neon depthwise any window, tile 2x7", F32_KERNELS

extern DWC_HIDDEN const dwc_s8_kernels dwc_s8_neon, dwc_s8_neon_dotprod;
const dwc_kernel_table dwc_table_neon = {TABLE, .s8 = &dwc_s8_neon};
const dwc_kernel_table dwc_table_neon_dotprod = {TABLE, .s8 = &dwc_s8_neon_dotprod};
#endif
