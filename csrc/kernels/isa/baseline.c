/* What the compiler assumes without flags: the rung under all others, on every architecture. */
#include "../../internal.h"
#include "../vec/baseline.h"

/* 16 registers at least, and no fused multiply-add: a product needs one of its own. */
enum { DW_REGISTERS = 16, DW_WIDE = 4, DW_FLAT = 4, DW_SPREADS_FEW = 0 };

#define DW_SHARES 0
#include "../f32/depthwise_types.h"
#define SUFFIX _x
#define TAIL_SUFFIX _x
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_back.inc.h"
#define HALF_SUFFIX _x
#define MM_UNIT 4
#define BN_VECTORS 2
#define MM_CHAINS 4
#define MM_DOT_SUMS 8
#define ISA "baseline"
#include "../f32/algorithms.inc.h"

/* Kernel rows, taps, columns of a tile, taps from column to column: sums, columns and an input in registers. */
#define DWG_EACH(F) F(3, 3, 4, 1, 0) F(3, 3, 4, 2, 0) F(2, 4, 4, 0, 0) F(2, 4, 4, 0, 1)
#include "../f32/depthwise_gradients.inc.h"

DW_TILES(3, 1, 4)
DW_TILES(3, 2, 4)

static const dwc_dw_kernel tiles[] = {
    {3, 1, 0, {DW_TILES_OF(3, 1, 4)}, "baseline depthwise 3x3 s1, tile 2x4", 0},
    {3, 2, 0, {DW_TILES_OF(3, 2, 4)}, "baseline depthwise 3x3 s2, tile 2x4", 0},
};

/* clang-format off */
#define MM_NARROW(F, ...) \
    F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) \
    F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_NARROW, 1, 0)
MM_WIDTH(MM_WIDE, 2, 0)

static void mm_f32(const dwc_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0};
    mm_run(c, widths, NULL, 0);
}

extern DWC_HIDDEN const dwc_s8_kernels dwc_s8_baseline;
const dwc_kernel_table dwc_table_baseline = {
    .isa = DWCONV_ISA_BASELINE,
    .panel_width = 8,
    .overlaps = 1,
    .matrix = {"baseline matrix, tiles up to 4x8", mm_f32},
    .dot_outputs = 2,
    .thin_outputs = 4,
    .any_name = "baseline depthwise any window, tile 2x4",
    F32_KERNELS,
    .s8 = &dwc_s8_baseline,
};
