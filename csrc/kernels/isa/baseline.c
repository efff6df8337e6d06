/* What the compiler assumes without flags: the rung under all others, on every architecture. */
#include "../../internal.h"
#include "../vec/baseline.h"

/* 16 registers at least, and no fused multiply-add: a product needs one of its own. */
enum { DW_REGISTERS = 16, DW_WIDE = 4, DW_FLAT = 4, DW_SPREADS_FEW = 0 };

#define DW_SHARES 0 /* whether weights of several taps fit the registers beside the sums */
#include "../f32/depthwise_types.h"
#define SUFFIX _x
#define TAIL_SUFFIX _x
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_tiles.inc.h"
#include "../f32/depthwise_any.inc.h"
#include "../f32/depthwise_anys.inc.h"
#include "../f32/depthwise_flat.inc.h"
#define HALF_SUFFIX _x
#define MM_UNIT 4
#define MM_CHAINS 4
#include "../f32/matmul.inc.h"
#define MM_DOT_SUMS 8 /* accumulators of a tile of dots.inc.h */
#include "../f32/dots.inc.h"
#include "../f32/rows.inc.h"
#include "../f32/activation_slope.inc.h"
#include "../f32/elementwise.inc.h"
#include "../f32/image_rows.inc.h"
#include "../f32/number_rows.inc.h"

/* Kernel rows, taps, columns of a tile, taps from column to column: sums, columns and an input in registers. */
#define DWG_ISA "baseline"
#define DWG_EACH(F) \
    F(3, 3, 4, 1, 0) F(3, 3, 4, 2, 0) F(2, 4, 4, 0, 0) F(2, 4, 4, 0, 1)
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

const dwc_kernel_table dwc_table_baseline = {
    .isa = DWCONV_ISA_BASELINE,
    .lanes = lanes_x,
    .panel_unit = MM_UNIT,
    .panel_width = 8,
    .overlaps = 1,
    .matrix = {"baseline matrix, tiles up to 4x8", mm_f32},
    .dots = {"baseline matrix, few outputs, sums along channels", mm_dots},
    .dot_outputs = 2,
    .thin_outputs = 4,
    .tiles = tiles,
    .tile_count = sizeof tiles / sizeof *tiles,
    .any = DW_ANY_WINDOW,
    .few = DW_FEW_CHANNELS,
    .gradients = gradients,
    .gradient_count = sizeof gradients / sizeof *gradients,
    .any_name = "baseline depthwise any window, tile 2x4",
    .factor_name = "baseline depthwise 1x1, a multiplication",
    .few_name = "baseline depthwise few channels s1, rows as vectors",
    .sum_pixels = sum_pixels,
    .scale_pixels = scale_pixels,
    .copy_pixels = copy_pixels,
    .each = EACH_KERNELS,
    .rows = ROW_KERNELS,
};
