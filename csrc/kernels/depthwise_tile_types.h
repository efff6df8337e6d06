/* The arguments of a depthwise tile: the same for every vector width. */
#ifndef DWCONV_DEPTHWISE_TILE_TYPES_H
#define DWCONV_DEPTHWISE_TILE_TYPES_H

#include "../internal.h"

/* Of the largest tile. Arrays of vectors are never sized by an argument: gcc keeps those in memory. */
enum { DW_TILE_ROWS = 2, DW_TILE_COLUMNS = 8 };

typedef struct dw_tile {
    const float *const
        *rows; /* (ROWS - 1) * STRIDE + KERNEL input rows at the tile's first column; NULL: padding */
    int64_t x_pixel;
    float *y;
    int64_t y_row, y_pixel;
    int row_count; /* rows to store, at most ROWS */
    int64_t tiles; /* how many tiles, COLUMNS apart */
    const float *weights;
    int64_t block, channels;
    const dwconv_activation *activation;
} dw_tile;

#endif
