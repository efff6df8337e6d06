/* What the compiler assumes without flags: the rung under all others, on every architecture. */
#include "../../internal.h"
#include "../vec/baseline.h"

/* 2 x 4 accumulators, 2 weights, an input and a product. */
enum { DW_WIDE = 4, DW_FLAT = 4 };

#define SUFFIX _x
#include "../f32/activation.inc.h"
#include "../f32/depthwise_types.h"
#include "../f32/depthwise_store.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_pair.inc.h"
#define TAIL_SUFFIX _x
#include "../f32/depthwise_pairs.inc.h"
#include "../f32/depthwise_flat.inc.h"
#include "../f32/depthwise_tiled.inc.h"
#define HALF_SUFFIX _x
#define MM_UNIT 4
#define MM_CHAINS 4
#include "../f32/matmul.inc.h"
#include "../f32/squeeze.inc.h"

/* 16 registers, and no fused multiply-add: a product needs one of its own. */
DW_SHAPE(3, 1, 2, 4)
DW_SHAPE(3, 2, 1, 4)
DW_DILATED(3)

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

static const char *dw_how(const dwc_dw_call *c) {
    void (*const kernel)(const dwc_dw_call *) = c->stage->kernel->depthwise;
    const int general =
        kernel == dw_general_f32 || (kernel == dw_dilated_3 && !dw_is_dense_tiles(c, &dw_shape_3_1));
    return general ? dw_general_how(c) : "";
}

static const dwc_kernel kernels[] = {
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_FLAT, 1, 1, 4, "baseline depthwise few channels s1, rows as vectors",
     dw_flat_f32, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 1, 2, 4, "baseline depthwise 3x3 s1, tile 2x4", dw_3_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_DILATED, 1, 2, 4, "baseline depthwise 3x3 s1, dilated, tile 2x4",
     dw_dilated_3, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 2, 1, 4, "baseline depthwise 3x3 s2, tile 1x4", dw_3_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 0, 0, 2, 4, "baseline depthwise any window, tile 2x4", dw_general_f32,
     NULL},
    {DWCONV_CONV, DWCONV_F32, 0, 0, 4, 8, "baseline matrix, tiles up to 4x8", NULL, mm_f32},
};

const dwc_kernel_table dwc_table_baseline = {
    DWCONV_ISA_BASELINE, lanes_x,      MM_UNIT, 8, sizeof kernels / sizeof *kernels, kernels, 1,
    sum_pixels,          scale_pixels, dw_how};
