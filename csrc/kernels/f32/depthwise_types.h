/* What the depthwise kernels of all vector widths share. Before: DW_REGISTERS, how many vector registers there are. */
#ifndef DWCONV_DEPTHWISE_TYPES_H
#define DWCONV_DEPTHWISE_TYPES_H

#include "../abi.h"
#include "../vec/vec.h"

/* Bounds of the arrays of vectors, which are never sized by an argument: gcc keeps those in memory. */
enum { DW_TILE_ROWS = 2, DW_TILE_KERNEL = 7, DW_TILE_INPUTS = 20 };

/* Taps of any window whose weights stay in registers, where there are many. */
enum { DW_SHARED_TAPS = 4 };

/* Distances between columns of a tile, for windows up to 7x7 with stride 2. */
enum { DW_TILE_TIMES = 10 };

/* What a tile knows of padding in its columns. */
enum { DW_INSIDE, DW_LEFT, DW_RIGHT, DW_TESTED };

/* Whether the weights of two kernel rows fit the registers beside the sums. With stride 1, where inputs feed more outputs, one
 * register more is wanted. */
#define DW_WEIGHTS_STAY(KERNEL, STRIDE, COLUMNS) \
    (DW_TILE_ROWS * ((COLUMNS) + (KERNEL)) + 2 + ((STRIDE) == 1) <= DW_REGISTERS)

/* What a run of tiles needs to know once. */
typedef struct dw_tile_steps {
    int64_t step, ahead, x_times[DW_TILE_TIMES], y_times[DW_TILE_TIMES];
    int streams;
    unsigned live;
    float low, high;
    int rows, seen[DWC_MOST_TILE_ROWS]; /* rows to store; input rows that are on the image */
    int64_t group_inputs;
} dw_tile_steps;

/* Instead of the taps that are left over of four: for rows that share no input; tap by tap; by dwc_dw_taps. */
enum { DW_BY_EDGE = 0, DW_TWINS = -1, DW_EACH = -2 };

/* How a vector of outputs gets the inputs of its groups: see dw_input. */
enum { DW_SOME = 1, DW_FEW, DW_ONE };

#endif
