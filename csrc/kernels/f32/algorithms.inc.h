/* What an instruction set includes once, when the tiles of its widths are there, and that part of its table. Before: DW_SHARES
 * (whether weights of several taps fit the registers beside the sums), TAIL_SUFFIX and HALF_SUFFIX (the vectors that finish
 * a row of channels), BN_VECTORS (side by side, of batch normalization), MM_UNIT (columns of the narrowest panel), MM_CHAINS,
 * MM_DOT_SUMS (accumulators of a tile of dots.inc.h), ISA (its name). */
#include "depthwise_tiles.inc.h"
#include "depthwise_any.inc.h"
#include "depthwise_anys.inc.h"
#include "depthwise_flat.inc.h"
#include "matmul.inc.h"
#include "dots.inc.h"
#include "rows.inc.h"
#include "activation_slope.inc.h"
#include "batch_norm.inc.h"
#include "elementwise.inc.h"
#include "folds.inc.h"
#include "number_rows.inc.h"
#include "image_rows.inc.h"
#include "places.inc.h"
#include "../s8/bytes.inc.h"
#include "../s8/resize.inc.h"

/* Of the table; with `tiles`, `gradients`, `back` and mm_f32, which every instruction set has. */
#define F32_KERNELS                                                                                \
    .lanes = V(lanes), .panel_unit = MM_UNIT,                                                      \
    .dots = {ISA " matrix, few outputs, sums along channels", mm_dots}, .tiles = tiles,            \
    .tile_count = sizeof tiles / sizeof *tiles, .any = DW_ANY_WINDOW, .few = DW_FEW_CHANNELS,      \
    .factor_name = ISA " depthwise 1x1, a multiplication",                                         \
    .few_name = ISA " depthwise few channels s1, rows as vectors", .sum_pixels = sum_pixels,       \
    .scale_pixels = scale_pixels, .copy_pixels = copy_pixels STREAM_KERNELS, .each = EACH_KERNELS, \
    .rows = ROW_KERNELS, .norm = NORM_KERNELS, .bytes = BYTE_KERNELS, .gradients = gradients,      \
    .gradient_count = sizeof gradients / sizeof *gradients, .back = &back
