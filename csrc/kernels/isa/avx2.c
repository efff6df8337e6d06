/* AVX2 + FMA. Only static code besides the table; compiled with its own flags, without LTO. */
#include "../../internal.h"

/* Empty where neither the build asks for it nor the compiler is given its flags. */
#if defined(DWCONV_HAVE_AVX2) || defined(__AVX2__)

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "../vec/avx2.h"

/* 2 x 4 accumulators, 2 weights and an input. Strips of 4 outputs divide the widths of the usual networks; of 6 they are
 * 4 to 10 % slower. */
enum { DW_WIDE = 4, DW_FLAT = 4 };
#define DW_STAGED 8192 /* floats of copied rows, as many as the first-level cache holds */
#define DW_FAR         /* tiles ask for rows ahead of time, and store past the caches */

#define SUFFIX _y
#include "../f32/activation.inc.h"
#include "../f32/depthwise_types.h"
#include "../f32/depthwise_store.inc.h"
#include "../f32/depthwise_tile.inc.h"
#include "../f32/depthwise_pair.inc.h"
#define TAIL_SUFFIX _y
#include "../f32/depthwise_pairs.inc.h"
#include "../f32/depthwise_flat.inc.h"
#include "../f32/depthwise_tiled.inc.h"
#include "../f32/depthwise_straight.inc.h"
#define HALF_SUFFIX _y
#define MM_UNIT 8
#define MM_CHAINS 8
#include "../f32/matmul.inc.h"
#include "../f32/squeeze.inc.h"

/* 16 registers: ROWS * COLUMNS accumulators, COLUMNS * STRIDE inputs, one weight. 7x7 with stride 2 goes through
 * the kernel of any window, which takes 0.9 to 1.1 of the time of such tiles; 5x5 would take 1.1 to 1.4. */
#define DW_INNER(K, S) \
    NOINLINE void dw_inner_##K##_##S(const dw_tile *c) { dw_tile_run(c, K, S, 2, 4, 0); }
#define DW_EDGE(K, S) \
    NOINLINE void dw_edge_##K##_##S(const dw_tile *c) { dw_tile_run(c, K, S, 2, 4, 1); }
#define DW_WHOLE(K, S) DW_STRAIGHT_TILES(dw_whole, K, S, 4, 1, 0) DW_STRAIGHT_TILES(dw_whole, K, S, 5, 1, 0)

DW_INNER(3, 1)
DW_EDGE(3, 1)
DW_WHOLE(3, 1)
DW_STRAIGHT(3, 1, dw_inner_3_1, dw_edge_3_1, dw_whole)
static void dw_3_1(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_3_1); }

DW_INNER(3, 2)
DW_EDGE(3, 2)
DW_STRAIGHT(3, 2, dw_inner_3_2, dw_edge_3_2, dw_straight)
/* Where the lines of a tile throw each other out of the first-level cache and rows are too long to be copied, fewer columns
 * lose less: 28x28x512 takes 79 us instead of 114. */
DW_TILES(thin, 3, 2, 2, 1)

static void dw_3_2(const dwc_dw_call *c) {
    const dw_shape *shape = &dw_shape_3_2;
    const dw_group group = dw_group_of(c, shape);
    dw_tiled(c, dw_conflicts(c, &group, 1) && !dw_staged_share(c, &group).channels ? &dw_shape_thin : shape);
}

DW_EDGE(5, 1)
DW_STRAIGHT(5, 1, dw_edge_5_1, dw_edge_5_1, dw_straight)
static void dw_5_1(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_5_1); }
DW_SHAPE(5, 2, 2, 4)
DW_STRAIGHT(7, 1, NULL, NULL, dw_straight)
static void dw_7_1(const dwc_dw_call *c) { dw_tiled(c, &dw_shape_7_1); }
DW_DILATED(3)

DW_SPREADING(3, 1)
DW_SPREADING(3, 2)
DW_SPREADING(5, 1)
DW_SPREADING(7, 1)

/* Multipliers of small windows: tiles that spread what they load, four inputs of a pixel. 56x56x16 3x3 with stride 2 and
 * multiplier 4 takes 20 us instead of 29 by the kernel of any window, 14x14x32 with 8 16 instead of 22; 5x5 with stride 2 would
 * take 1.0 to 1.1 times as long (Zen 3). NULL: that kernel. */
static const dw_shape *dw_spread_shape(const dwc_dw_call *c) {
    static const dw_shape *const shapes[2][3] = {{&dw_spread_3_1, &dw_spread_5_1, &dw_spread_7_1},
                                                 {&dw_spread_3_2}};
    const dwc_depthwise_stage *s = c->stage;
    const dwconv_window *w = &s->window;
    const int64_t kernel = w->kernel_h, stride = w->stride_h, channels = c->channel_end - c->channel_begin;
    const int square = kernel == w->kernel_w && stride == w->stride_w,
              dense = w->dilation_h == 1 && w->dilation_w == 1;
    const int small = (kernel == 3 || kernel == 5 || kernel == 7) && stride <= 2;
    if (s->multiplier == 1 || !square || !dense || !small) return NULL;
    if (s->in_channels < 4 || (channels % lanes_y && !dw_last(c, lanes_y))) return NULL;
    return shapes[stride - 1][kernel / 2 - 1];
}

static void dw_any_f32(const dwc_dw_call *c) {
    const dw_shape *shape = dw_spread_shape(c);
    if (shape)
        dw_tiled_into(c, shape, NULL);
    else
        dw_any_window(c);
}

static const char *dw_how(const dwc_dw_call *c) {
    static const struct {
        void (*kernel)(const dwc_dw_call *);
        const dw_shape *shape;
    } tiled[] = {{dw_3_1, &dw_shape_3_1},
                 {dw_3_2, &dw_shape_3_2},
                 {dw_5_1, &dw_shape_5_1},
                 {dw_5_2, &dw_shape_5_2},
                 {dw_7_1, &dw_shape_7_1}};
    void (*const kernel)(const dwc_dw_call *) = c->stage->kernel->depthwise;
    if (kernel == dw_any_f32 && dw_spread_shape(c))
        return "tile 2x4, which spreads inputs to the outputs of each";
    static const char copied[] =
        "on copied rows: lines of these pixels share too few sets of the first-level cache";
    if (kernel == dw_any_f32 && dw_is_line(c) && !dw_copies_window(c)) return dw_line_how(c);
    if (kernel == dw_any_f32 || (kernel == dw_dilated_3 && !dw_is_dense_tiles(c, &dw_shape_3_1)))
        return dw_copies_window(c) ? copied : dw_general_how(c);
    for (size_t i = 0; i < sizeof tiled / sizeof *tiled; i++) {
        if (kernel != tiled[i].kernel) continue;
        const dw_group group = dw_group_of(c, tiled[i].shape);
        const int staged = dw_staged_share(c, &group).channels > 0;
        if (!c->stream && staged) return copied;
        if (kernel == dw_3_2 && dw_conflicts(c, &group, 1) && !staged)
            return "tile 2x1: lines of these pixels share too few sets of the first-level cache";
        if (c->prefetch_rows)
            return "the next row of tiles is asked for meanwhile: input and output exceed the caches";
    }
    return "";
}

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

static const dwc_kernel kernels[] = {
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_FLAT, 1, 1, 4, "avx2 depthwise few channels s1, rows as vectors",
     dw_flat_f32, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 1, 2, 4, "avx2 depthwise 3x3 s1, tiles 2x4 and 2x5", dw_3_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, DWC_DILATED, 1, 2, 4, "avx2 depthwise 3x3 s1, dilated, tiles 2x4 and 2x5",
     dw_dilated_3, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 3, 2, 2, 4, "avx2 depthwise 3x3 s2, tiles 2x4 and 2x5", dw_3_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 1, 2, 4, "avx2 depthwise 5x5 s1, tiles 2x4 and 2x5", dw_5_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 5, 2, 2, 4, "avx2 depthwise 5x5 s2, tile 2x4", dw_5_2, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 7, 1, 2, 4, "avx2 depthwise 7x7 s1, tiles 2x4 and 2x5", dw_7_1, NULL},
    {DWCONV_DEPTHWISE, DWCONV_F32, 0, 0, 2, 4, "avx2 depthwise any window, tile 2x4", dw_any_f32, NULL},
    {DWCONV_CONV, DWCONV_F32, 0, 0, 6, 24, "avx2 matrix, tiles up to 6x16 and 4x24", NULL, mm_f32},
};

const dwc_kernel_table dwc_table_avx2 = {
    DWCONV_ISA_AVX2, lanes_y, MM_UNIT,    24,           sizeof kernels / sizeof *kernels,
    kernels,         1,       sum_pixels, scale_pixels, dw_how};

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
