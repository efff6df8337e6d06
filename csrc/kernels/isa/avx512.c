/* AVX-512 F, VL, BW, DQ. Only static code besides the table; compiled with its own flags, without LTO. */
#include "../../internal.h"

/* Empty where neither the build asks for it nor the compiler is given its flags. */
#if defined(DWCONV_HAVE_AVX512) || defined(__AVX512F__)

#ifdef DWC_EMULATED_AVX512 /* tests/c/emulated_avx512.h */
#pragma GCC target("avx2,fma,no-avx512f")
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#include "../vec/avx512.h"

/* Strips of 7 outputs divide the widths of the usual networks (7, 14, 28, 56, 112). 2 x 7 accumulators, 2 x 5 weights
 * and an input fit the 32 registers. */
enum { DW_WIDE = 7, DW_NARROW = 4, DW_FLAT = 7 };
#define DW_MASKED /* masks are free */

#define SUFFIX _y
#include "../f32/activation.inc.h"
#include "../f32/depthwise_types.h"
#include "../f32/depthwise_store.inc.h"
#include "../f32/depthwise_roll.inc.h"
#include "../f32/depthwise_tile.inc.h"
#undef SUFFIX
#define SUFFIX _z
#define STREAMS /* a vector is a cache line */
#include "../f32/activation.inc.h"
#include "../f32/depthwise_store.inc.h"
#include "../f32/depthwise_roll.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_window.inc.h"
#define TAIL_SUFFIX _y
#include "../f32/depthwise.inc.h"
#include "../f32/depthwise_flat.inc.h"
#include "../f32/depthwise_rolled.inc.h"
#include "../f32/depthwise_tiled.inc.h"
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define MM_CHAINS 4
#include "../f32/matmul.inc.h"
#include "../f32/squeeze.inc.h"

DW_ROLL(1, 7, 4)
DW_ROLL(2, 7, 4)

/* ROWS * COLUMNS accumulators, COLUMNS * STRIDE inputs, one weight. */
DW_SHAPE(5, 1, 2, 7)
DW_SHAPE(5, 2, 2, 7)
DW_SHAPE(7, 1, 2, 7)
DW_SHAPE(7, 2, 2, 7)

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

static const dwc_kernel kernels[] = {
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_FLAT, 1, 1, 7, "avx512 depthwise few channels s1, rows as vectors",
     dw_flat_f32, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 1, 1, 7, "avx512 depthwise 3x3 s1, rolling rows", dw_roll_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 2, 1, 7, "avx512 depthwise 3x3 s2, rolling rows", dw_roll_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_DILATED, 1, 1, 7, "avx512 depthwise 3x3 s1, dilated, rolling rows",
     dw_roll_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_ROLLS, 1, 1, 7, "avx512 depthwise 3x3 s1, multiplied, rolling rows",
     dw_roll_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_ROLLS, 2, 1, 7, "avx512 depthwise 3x3 s2, multiplied, rolling rows",
     dw_roll_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 1, 2, 7, "avx512 depthwise 5x5 s1, tile 2x7", dw_5_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 2, 2, 7, "avx512 depthwise 5x5 s2, tile 2x7", dw_5_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 7, 1, 2, 7, "avx512 depthwise 7x7 s1, tile 2x7", dw_7_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 7, 2, 2, 7, "avx512 depthwise 7x7 s2, tile 2x7", dw_7_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 0, 0, 2, 7, "avx512 depthwise any window, tile 2x7", dw_general_f32, NULL},
    {DWCONV_CONV, DWCONV_F32, 0, 0, 14, 64, "avx512 matrix, tiles 14x32, 9x48, 6x64", NULL, mm_f32},
};

const dwc_kernel_table dwc_table_avx512 = {
    DWCONV_ISA_AVX512, lanes_z, MM_UNIT,    64,           sizeof kernels / sizeof *kernels,
    kernels,           0,       sum_pixels, scale_pixels, NULL};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
