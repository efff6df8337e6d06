/* What an instruction set includes once for 8-bit integers, and that part of its table. Before: what depthwise.inc.h and
 * matmul.inc.h expect; MM_EACH_WIDTH(F), a row for each width of a panel: F(HEIGHTS, whole vectors, half ones), where
 * HEIGHTS lists the tiles, as MM_WIDTH has it; ISA (its name), IS_SIGNED. */
#include "matmul.inc.h"
#include "interleave.inc.h"
#include "depthwise.inc.h"

/* Widths in between have no tiles: 56 columns are 32 and 24. */
#define MM_WIDTH_AT(HEIGHTS, NV, HALF) \
    [((NV) * V(lanes) + (HALF) * H(lanes)) / MM_UNIT] = &mm_width_##NV##_##HALF,

MM_EACH_WIDTH(MM_WIDTH)
static const mm_width *const mm_widths[] = {MM_EACH_WIDTH(MM_WIDTH_AT)};

static void mm_s8(const dwc_s8_mm_call *c) { mm_run(c, mm_widths); }

/* MATRIX, DEPTHWISE: their tiles, in words. */
#define S8_KERNELS(MATRIX, DEPTHWISE)                                     \
    {.is_signed = IS_SIGNED,                                              \
     .lanes = V(lanes),                                                   \
     .quad_bytes = V(quad_bytes),                                         \
     .panel_unit = MM_UNIT,                                               \
     .panel_width = (sizeof mm_widths / sizeof *mm_widths - 1) * MM_UNIT, \
     .matrix = mm_s8,                                                     \
     .interleave = interleave,                                            \
     .depthwise = dw_s8,                                                  \
     .matrix_name = ISA " int8 matrix, tiles " MATRIX,                    \
     .depthwise_name = ISA " int8 depthwise, lines, " DEPTHWISE}
