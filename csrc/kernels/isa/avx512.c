/* AVX-512 F, VL, BW, DQ. Only static code besides the table; compiled without LTO. */
#include "../../internal.h"

#ifdef DWCONV_HAVE_AVX512 /* else empty */

#ifdef DWC_EMULATED_AVX512 /* tests/c/emulated_avx512.h */
#pragma GCC target("avx2,fma,no-avx512f")
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#include "../vec/avx512.h"

/* Tiles of 7 outputs divide the widths of the usual networks (7, 14, 28, 56, 112); those of 4 take what is left. */
enum { DW_REGISTERS = 32, DW_WIDE = 7, DW_FLAT = 7, DW_SPREADS_FEW = 0 };
#define DW_MASKED /* masks are free */
#define STREAMS   /* stores past the caches */

#define DW_ROLLS
#define DW_SHARES 1
#include "../f32/depthwise_types.h"
#define SUFFIX _y
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_roll.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_back.inc.h"
#include "../f32/depthwise_gradient_roll.inc.h"
#undef SUFFIX
#define SUFFIX _z
#include "../f32/activation.inc.h"
#include "../f32/depthwise_end.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_roll.inc.h"
#include "../f32/depthwise_gradient.inc.h"
#include "../f32/depthwise_back.inc.h"
#include "../f32/depthwise_gradient_roll.inc.h"
#define TAIL_SUFFIX _y
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define BN_VECTORS 4
#define MM_CHAINS 4
#define MM_DOT_SUMS 16
#define ISA "avx512"
#include "../f32/algorithms.inc.h"

/* Kernel rows, taps, columns of a tile, taps from column to column: sums, columns and an input in registers. */
#define DWG_EACH(F)  \
    F(3, 3, 7, 0, 0) \
    F(5, 5, 4, 1, 0) F(5, 5, 4, 2, 0) F(3, 7, 7, 1, 0) F(1, 7, 7, 1, 0) F(2, 4, 4, 0, 0) F(2, 4, 4, 0, 1)
#include "../f32/depthwise_gradients.inc.h"

#define DW_EACH_TILE(F) F(5, 1) F(5, 2) F(7, 1)
#define DW_DEFINE(K, S) DW_TESTED_TILES(K, S, 7) DW_EDGE_TILES(K, S, 4)
#define DW_LIST(K, S)                                             \
    {K,                                                           \
     S,                                                           \
     0,                                                           \
     {DW_TESTED_TILES_OF(K, S, 7), DW_EDGE_TILES_OF(K, S, 4)},    \
     "avx512 depthwise " #K "x" #K " s" #S ", tiles 2x7 and 2x4", \
     0},
#define DW_EACH_SPREADING(F) F(3, 1) F(3, 2)
#define DW_DEFINE_SPREADING(K, S) DW_SPREADING_TESTED(K, S, 7)
#define DW_LIST_SPREADING(K, S)                                  \
    {K,                                                          \
     S,                                                          \
     DWC_SPREADS_ONE | DWC_SPREADS_SOME,                         \
     {DW_SPREADING_TESTED_OF(K, S, 7)},                          \
     "avx512 depthwise " #K "x" #K " s" #S ", groups, tile 2x7", \
     0},
#define DW_LIST_ROLLING(S) \
    {3, S, 0, {DW_ROLLING_OF(S, 7), DW_ROLLING_OF(S, 4)}, "avx512 depthwise 3x3 s" #S ", rolling rows", 1},
DW_EACH_TILE(DW_DEFINE)
DW_ROLLING(1, 7)
DW_ROLLING(1, 4)
DW_ROLLING(2, 7)
DW_ROLLING(2, 4)
DW_EACH_SPREADING(DW_DEFINE_SPREADING)

static const dwc_dw_kernel tiles[] = {DW_LIST_ROLLING(1) DW_LIST_ROLLING(2) DW_EACH_TILE(DW_LIST)
                                          DW_EACH_SPREADING(DW_LIST_SPREADING)};

/* MR * (NV + HALF) accumulators, NV + HALF vectors of the panel, one broadcast. Heights: the largest that fits, and what
 * makes every number of pixels a sum of few tiles that are not thin. */
/* clang-format off */
#define MM_NARROW(F, ...) \
    F(14, __VA_ARGS__) F(10, __VA_ARGS__) F(7, __VA_ARGS__) F(6, __VA_ARGS__) \
    F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_MIDDLE(F, ...) \
    F(14, __VA_ARGS__) F(10, __VA_ARGS__) F(7, __VA_ARGS__) F(4, __VA_ARGS__) \
    F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDE(F, ...) \
    F(9, __VA_ARGS__) F(6, __VA_ARGS__) F(4, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
#define MM_WIDEST(F, ...) \
    F(6, __VA_ARGS__) F(5, __VA_ARGS__) F(4, __VA_ARGS__) F(3, __VA_ARGS__) F(2, __VA_ARGS__) F(1, __VA_ARGS__)
/* clang-format on */

MM_WIDTH(MM_NARROW, 0, 1)
MM_WIDTH(MM_NARROW, 1, 0)
MM_WIDTH(MM_MIDDLE, 1, 1)
MM_WIDTH(MM_MIDDLE, 2, 0)
MM_WIDTH(MM_WIDEST, 2, 1) /* never but the last panel of many */
MM_WIDTH(MM_WIDE, 3, 0)
MM_WIDTH(MM_WIDEST, 4, 0)

static void mm_f32(const dwc_mm_call *c) {
    static const mm_width *const widths[] = {NULL,          &mm_width_0_1, &mm_width_1_0,
                                             &mm_width_1_1, &mm_width_2_0, &mm_width_2_1,
                                             &mm_width_3_0, NULL, /* 56 columns are 32 and 24 */
                                             &mm_width_4_0};
    mm_run(c, widths, NULL, 0);
}

/* float32 is the same with and without dot products of 8-bit integers. */
#define TABLE                                                                                           \
    .isa = DWCONV_ISA_AVX512, .panel_width = 64,                                                        \
    .matrix = {"avx512 matrix, tiles 14x32, 9x48, 6x64", mm_f32}, .dot_outputs = 4, .thin_outputs = 16, \
    .any_name = "avx512 depthwise any window, tile 2x7", F32_KERNELS

#ifdef DWCONV_HAVE_AVX512_S8
extern DWC_HIDDEN const dwc_s8_kernels dwc_s8_avx512, dwc_s8_avx512_vnni;
#define S8(kernels) &kernels
#else
#define S8(kernels) NULL
#endif
const dwc_kernel_table dwc_table_avx512 = {TABLE, .s8 = S8(dwc_s8_avx512)};
const dwc_kernel_table dwc_table_avx512_vnni = {TABLE, .s8 = S8(dwc_s8_avx512_vnni)};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
