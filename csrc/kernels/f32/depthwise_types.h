/* What the depthwise kernels of all vector widths share. */
#ifndef DWCONV_DEPTHWISE_TYPES_H
#define DWCONV_DEPTHWISE_TYPES_H

#include "../../internal.h"
#include "../vec/vec.h"

/* Bounds of the arrays of vectors, which are never sized by an argument: gcc keeps those in memory. */
enum { DW_TILE_ROWS = 2, DW_TILE_COLUMNS = 8, DW_COLUMNS = 7, DW_SEGMENT = 5, DW_GROUP = 4 };

/* Of tiles in straight lines: input rows and columns, and distances between columns, for windows up to 7x7. */
enum { DW_STRAIGHT_ROWS = 8, DW_STRAIGHT_COLUMNS = 13, DW_STRAIGHT_TIMES = 6 };

/* Instead of a number of taps: for a pair of output rows that is two times the same, see dw_rows; and tap by tap. */
enum { DW_TWINS = -1, DW_EACH = -2 };

/* How a vector of outputs of a multiplier gets its inputs: see dw_input. */
enum { DW_SOME = 1, DW_FEW, DW_ONE };

/* The arguments of a tile of a small square window. */
typedef struct dw_tile {
    const float *const *rows; /* (ROWS - 1) * STRIDE + KERNEL input rows; NULL: padding */
    int64_t
        x; /* floats from there to the first column of the first tile, on the image or not; to the first channel of it,
                * or with a multiplier of the pixel */
    int64_t x_pixel;
    float *y;
    int64_t y_row, y_pixel;
    unsigned live; /* bit j: column j is on the image; only the (KERNEL - 1) / 2 outermost may be off */
    int64_t first
        [2]; /* floats to the first column on the image, and to the first of the other parity if STRIDE is 2 */
    int row_count;    /* rows to store, at most ROWS */
    int64_t tiles;    /* how many tiles, COLUMNS apart */
    const float *ask; /* input rows to ask for meanwhile, from the tile's first new column on */
    int64_t ask_row;
    int ask_rows;  /* how many, perhaps none */
    float *stream; /* NULL, or where outputs go past the caches; `y` is a buffer of a tile then */
    int64_t stream_row, stream_pixel;
    const dwc_depthwise_stage *stage;
    const float *weights;
    const float *last;         /* weights of the last vector, if it overlaps the one before */
    int64_t channel, channels; /* the first output channel, and how many */
} dw_tile;

/* A strip: up to T outputs of a row, walking down rows of a call, all its channels.
 *
 * The outputs form a dense problem with the inputs that they see: with stride s, dilation d and g their greatest
 * common divisor, outputs d / g apart see inputs d apart, at a stride of s / g inputs. Columns and rows of a strip
 * count in that problem. Output t sees columns t * stride to t * stride + taps - 1. */
typedef struct dw_strip {
    const dwc_dw_call *call;
    int64_t x, x_step; /* from an input row to column 0 (no place if that is padding), and between columns */
    int64_t live_begin, live_end; /* columns on the image that the outputs see */
    int inner;                    /* all columns of T outputs are on the image */
    int64_t stride;               /* columns from output to output */
    int64_t group_step;           /* floats from the first column of an output to that of the next */
    int64_t taps, long_taps;      /* of a kernel row, and in its segments of full length */
    int64_t row_begin, row_end;   /* output rows */
    int64_t row_step, row_stride; /* output rows row_step apart are row_stride inputs apart */
    int64_t y, y_step;            /* from an output row to output 0, and from output to output */
    int count;                    /* outputs to store */
    /* For pairs of rows: */
    int64_t apart;                    /* output columns from output to output */
    int64_t first_tap, seen_taps;     /* the first one that sees the image, and how many do */
    int left, right;                  /* whether there is padding on this side alone, and then: */
    int64_t from[DW_COLUMNS];         /* [t]: taps that outputs t and on see on the image */
    int64_t to[DW_COLUMNS];           /* [t]: taps that outputs before t see on it */
    int64_t tested_begin, tested_end; /* taps with padding on both sides */
    int64_t whole;                    /* taps without padding */
    int64_t x_rest, w_rest;           /* floats from the last seen tap to the first one of the next row */
    int64_t tiles, x_tile, y_tile;    /* strips of a run, and how far apart they are */
} dw_strip;

/* A pair of output rows, or one alone, and the input rows that it sees. Distances are in floats. */
typedef struct dw_rows {
    int pair;
    int twins;                        /* see the same kernel rows and no input row in common: DW_TWINS */
    int64_t first, gap, both, second; /* input rows that the first sees, none, both and the second */
    int64_t x, x_down, x_second;      /* to the first input row, from row to row, to the second's first one */
    int64_t w, w_row, w_second;       /* to the first kernel row, from row to row, to the second's one then */
    int64_t left, wrap, dilation;     /* rows to the end of the ring, way back from there, rows in a step */
    int64_t y, y_down;                /* to the first output row, and from there to the second */
} dw_rows;

/* What a run of strips needs for every vector of a pair of rows. Distances are in bytes, of which addresses are made: found
 * for each vector again, they cost as many instructions as some ten taps. */
typedef struct dw_steps {
    int64_t tap, output, output3; /* of inputs: from tap to tap, from output to output, and three of these */
    int64_t second;               /* to the second row's weights, or with DW_TWINS its inputs */
    int64_t rest;                 /* from the last input of a row to the next row */
    int64_t weights;              /* from a vector's bias to its first weights */
    int64_t rows;                 /* of the ring, from input row to input row */
    int64_t y, y3;                /* from output to output, and three of these */
} dw_steps;

typedef void (*dw_strip_function)(const dw_strip *);

/* The kernel for strips of `wide` outputs, and one for up to `narrow`. */
typedef struct dw_strips {
    int wide, narrow;
    int segment; /* taps of a segment of the wide kernel, where the narrow one has 3 */
    dw_strip_function run_wide, run_narrow;
} dw_strips;

/* Weights of the last vector of a call's channels, if it overlaps the one before; NULL: all are whole, or it has a mask. */
INLINE const float *dw_last(const dwc_dw_call *c, int lanes) {
    const int64_t channels = c->channel_end - c->channel_begin;
    return channels > lanes && channels % lanes ? c->stage->last : NULL;
}

/* The input row `iy` of a call, NULL where it is padding. */
INLINE const float *dw_row(const dwc_dw_call *c, int64_t iy) {
    if (iy < 0 || iy >= c->in_h) return NULL;
    int64_t slot = iy - c->ring_first;
    if (slot >= c->ring_rows) slot -= c->ring_rows;
    return c->x + slot * c->x_row;
}

INLINE int64_t dw_clamp(int64_t n, int64_t low, int64_t high) { return n < low ? low : n > high ? high : n; }

/* Quotient of positive numbers, rounded up; a division takes longer than the taps of a small filter. */
INLINE int64_t dw_divide_up(int64_t a, int64_t b) { return b == 1 ? a : (a + b - 1) / b; }

INLINE int64_t dw_common_divisor(int64_t a, int64_t b) {
    if (a == 1 || b == 1) return 1; /* nearly always; a division takes long */
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Lines, one of each of many pixels this far apart, that the sets of a first-level cache (64 of 8 lines) have room for. */
INLINE int64_t dw_room(int64_t pixel) {
    enum { sets = 64, ways = 8, line = 64 / sizeof(float) };
    return sets * ways / (pixel % line == 0 ? dw_common_divisor(pixel / line, sets) : 1);
}

/* Bit j is set where column first + j is live, for j < count. */
INLINE unsigned dw_live(const dw_strip *s, int64_t first, int count) {
    const int begin = (int)dw_clamp(s->live_begin - first, 0, count);
    const int end = (int)dw_clamp(s->live_end - first, begin, count);
    return (1u << end) - (1u << begin);
}

/* The same for columns first + t * stride. */
INLINE unsigned dw_live_apart(const dw_strip *s, int64_t first, int count) {
    unsigned live = 0;
    for (int t = 0; t < count; t++, first += s->stride)
        live |= (unsigned)(first >= s->live_begin && first < s->live_end) << t;
    return live;
}

#endif
