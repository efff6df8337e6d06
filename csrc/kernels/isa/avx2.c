/* AVX2 + FMA. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX2 /* else empty */

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "../vec/avx2.h"

/* Tiles of 4 outputs divide the widths of the usual networks; those of 5, which leave no register to spare, are for rows that 4
 * would cover twice in part: 14 outputs are 5 + 5 + 4. */
enum { DW_REGISTERS = 16, DW_WIDE = 4, DW_FLAT = 4, DW_SPREADS_FEW = 1 };
#define STREAMS /* stores past the caches */

#define DW_SHARES 0
#include "../f32/depthwise_types.h"
#define SUFFIX _y
#define TAIL_SUFFIX _y
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_back.inc.h"
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define BN_VECTORS 2
#define MM_CHAINS 8
#define MM_DOT_SUMS 8
#define ISA "avx2"
#include "../f32/algorithms.inc.h"

/* Kernel rows, taps, columns of a tile, taps from column to column: sums, columns and an input in registers. */
#define DWG_EACH(F)  \
    F(3, 3, 4, 1, 0) \
    F(3, 3, 4, 2, 0) \
    F(3, 3, 4, 0, 0) F(2, 5, 4, 1, 0) F(2, 5, 4, 2, 0) F(1, 7, 7, 1, 0) F(2, 4, 4, 0, 0) F(2, 4, 4, 0, 1)
#include "../f32/depthwise_gradients.inc.h"

#define DW_EACH_TILE(F) F(3, 1) F(5, 1) F(7, 1)
#define DW_DEFINE(K, S) DW_TILES(K, S, 4) DW_TILES(K, S, 5)
#define DW_LIST(K, S)                                           \
    {K,                                                         \
     S,                                                         \
     0,                                                         \
     {DW_TILES_OF(K, S, 4), DW_TILES_OF(K, S, 5)},              \
     "avx2 depthwise " #K "x" #K " s" #S ", tiles 2x4 and 2x5", \
     0},
#define DW_EACH_SPREADING(F) F(3, 1) F(3, 2) F(5, 1) F(7, 1)
#define DW_DEFINE_SPREADING(K, S) DW_SPREADING_TILES(dw_spread_few, K, S, 4, DW_FEW)
#define DW_LIST_SPREADING(K, S)                                    \
    {K,                                                            \
     S,                                                            \
     DWC_SPREADS_ONE,                                              \
     {DW_SPREADING_TILES_OF(dw_spread_few, K, S, 4)},              \
     "avx2 depthwise " #K "x" #K " s" #S ", multiplied, tile 2x4", \
     0},
#define DW_EACH_GROUPED(F) F(3, 1) F(3, 2)
#define DW_DEFINE_GROUPED(K, S) DW_SPREADING_TILES(dw_spread, K, S, 4, DW_SOME)
#define DW_LIST_GROUPED(K, S)                                  \
    {K,                                                        \
     S,                                                        \
     DWC_SPREADS_SOME,                                         \
     {DW_SPREADING_TILES_OF(dw_spread, K, S, 4)},              \
     "avx2 depthwise " #K "x" #K " s" #S ", groups, tile 2x4", \
     0},
DW_TILES(3, 2, 2)
DW_DEFINE(3, 2)
DW_TESTED_TILES(5, 2, 4)
DW_EACH_TILE(DW_DEFINE)
DW_EACH_SPREADING(DW_DEFINE_SPREADING)
DW_EACH_GROUPED(DW_DEFINE_GROUPED)

static const dwc_dw_kernel tiles[] = {
    {3,
     2,
     0,
     {DW_TILES_OF(3, 2, 4), DW_TILES_OF(3, 2, 5), DW_TILES_OF(3, 2, 2)},
     "avx2 depthwise 3x3 s2, tiles 2x4 and 2x5",
     0},
    {5, 2, 0, {DW_TESTED_TILES_OF(5, 2, 4)}, "avx2 depthwise 5x5 s2, tile 2x4", 0},
    DW_EACH_TILE(DW_LIST) DW_EACH_SPREADING(DW_LIST_SPREADING) DW_EACH_GROUPED(DW_LIST_GROUPED)};

/* MR * NV accumulators, NV vectors of the panel, one broadcast. */
/* clang-format off */
#define MM_NARROW(F, ...) \
    F(12, __VA_ARGS__) F(8, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_MIDDLE(F, ...) \
    F(6, __VA_ARGS__) F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) \
    F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_FEW(F, ...) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_NARROW, 1, 0)
MM_WIDTH(MM_MIDDLE, 2, 0)
MM_WIDTH(MM_WIDE, 3, 0)

/* Few pixels are bound by reading weights. One pixel and a panel of 16 are two multiply-adds under way, which take in
 * 16 bytes per cycle; two panels take in 32, as many as the second-level cache gives (Zen 3: 512 -> 512 14 us instead
 * of 21, one pixel or two; three would have too many registers). */
MM_FEW(MM_TILE_PAIR, 4, 0)
static const mm_width mm_pair = {0, {MM_FEW(MM_HEIGHT_PAIR, 4, 0)}};

static void mm_f32(const dwc_mm_call *c) {
    static const mm_width *const widths[] = {NULL, &mm_width_1_0, &mm_width_2_0, &mm_width_3_0};
    mm_run(c, widths, &mm_pair, 16);
}

/* float32 is the same with and without dot products of 8-bit integers. */
#define TABLE                                                                                          \
    .isa = DWCONV_ISA_AVX2, .panel_width = 24, .overlaps = 1,                                          \
    .matrix = {"avx2 matrix, tiles up to 6x16 and 4x24", mm_f32}, .dot_outputs = 4, .thin_outputs = 8, \
    .any_name = "avx2 depthwise any window, tile 2x4", F32_KERNELS

extern DWC_HIDDEN const dwc_s8_kernels dwc_s8_avx2, dwc_s8_avx2_vnni;
const dwc_kernel_table dwc_table_avx2 = {TABLE, .s8 = &dwc_s8_avx2};
const dwc_kernel_table dwc_table_avx2_vnni = {TABLE, .s8 = &dwc_s8_avx2_vnni};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
