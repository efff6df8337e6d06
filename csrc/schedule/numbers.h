/* Every number that a schedule is decided by, with its reason. Those that differ between instruction sets are the
 * grid at the end. */
#ifndef DWCONV_NUMBERS_H
#define DWCONV_NUMBERS_H

#include "../internal.h"

#define DWC_FLOATS(bytes) ((int64_t)(bytes) / (int64_t)sizeof(float))

/* ---- cost: what work takes on one worker, and sharing it ---------------------------------------- */

/* A core of 3.7 GHz with two 256-bit multiply-adds per cycle. Slower machines get parallel work a little late,
 * which costs little. */
#define DWC_MULTIPLY_ADDS_PER_NANOSECOND 50.0
/* What it reads and writes of its second-level cache: 40 bytes. */
#define DWC_FLOATS_PER_NANOSECOND 10.0
/* Multiply-adds that take as long as storing a value. */
#define DWC_STORE_WORK 3.0
/* Below this, work stays on the calling thread: sharing costs 2 us. bench/calibrate.py compiles it as 0. */
#ifndef DWC_SERIAL_NANOSECONDS
#define DWC_SERIAL_NANOSECONDS 2e3
#endif
/* The same for a caller's pool, of which nothing is known: waking a thread that sleeps takes 10 us. */
#define DWC_SERIAL_NANOSECONDS_IN_POOL 15e3
/* Workers that share an image by channels wait for each other between the passes ... */
#define DWC_MEETING_NANOSECONDS 4e3
/* ... and for what the others' depthwise gave, which comes from their caches. */
#define DWC_FLOATS_FROM_OTHERS 3.0

/* Multiply-adds that take as long, for each value: */
enum {
    DWC_MAXIMUM_WORK = 3,  /* a maximum that keeps NaN */
    DWC_BLEND_WORK = 12,   /* four pixels to one */
    DWC_SOFTMAX_WORK = 32, /* a maximum, an exponential, two more passes */
    DWC_NORM_WORK = 10,    /* three passes */
    DWC_PACK_WORK = 8      /* moving a value into a panel */
};

/* The most workers of a call on the library's threads, the caller one of them: they are the bits of a word. A
 * layer for which more would pay takes a second on one of them. 1 where there are no threads of POSIX. */
#if defined(__unix__) || defined(__APPLE__)
#define DWC_MOST_WORKERS 64
#else
#define DWC_MOST_WORKERS 1
#endif

/* ---- items: pieces of work that workers share --------------------------------------------------- */

enum {
    DWC_ITEMS_PER_WORKER = 4, /* more of them even out what else the machine does */
    DWC_SHORT_STRIP = 28,     /* rows: each strip starts anew and reads rows of its neighbours */
    DWC_TILE_ROWS = 2,        /* of depthwise: strips are whole tiles */
    DWC_FEW_ROWS = 2,    /* per worker; with more they share no channels, whose lines they would fight for */
    DWC_FEW_PIXELS = 12, /* per worker; more hide the reading of the weights, which all workers do */
    DWC_FEW_MATRIX_ROWS = 8,   /* per worker; more can be shared out evenly */
    DWC_PANELS_PER_WORKER = 2, /* from which workers share the panels of few pixels */
    DWC_LOW_ROWS = 28          /* lower blocks are shared by channels: bands expand many rows twice */
};

/* ---- products ----------------------------------------------------------------------------------- */

/* Inputs that pass all panels before the next ones do stay in the second-level cache beside a panel. */
#define DWC_PASSING_FLOATS DWC_FLOATS(256 * 1024)
/* Weights that rows may pass again and again from that cache; larger ones are passed panel by panel. */
#define DWC_RESIDENT_FLOATS DWC_FLOATS(512 * 1024)

enum {
    DWC_MOST_PASSING = 252,  /* pixels: enough of them share each load of the weights */
    DWC_PASSING_UNIT = 126,  /* a multiple of the heights of most tiles: 14, 9, 7, 6, 3 */
    DWC_PASSING_SMALL = 42,  /* of 14, 7, 6, 3, for deep windows */
    DWC_LEAST_PASSING = 28,  /* of 14 and 7, for deeper ones */
    DWC_PREFETCH_DEPTH = 64, /* inputs of an output: fewer take no longer than prefetching it does */
    DWC_PREFETCH_PIXELS = 24 /* ahead of use, of far inputs: two to four tiles */
};

/* Bytes that nodes of networks make of others; where 64-bit integers are needed. */
#define DWC_BYTES_PER_NANOSECOND 8.0
#define DWC_WIDE_BYTES_PER_NANOSECOND 0.5

enum {
    DWC_MOST_BYTE_AXIS = 1 << 20 /* coordinates of ten more bits do */
};

/* ---- nodes of networks -------------------------------------------------------------------------- */

enum {
    DWC_DIRECT_TAPS = 9,       /* larger windows join columns first, once for all outputs that see them */
    DWC_REDUCE_CHANNELS = 128, /* of an item: fewer are short pieces of memory */
    DWC_PRODUCT_ROWS = 28,     /* of an item: fewer share no load of the second factor */
    DWC_COPIED_ROWS = 56       /* of a product, where they are no rows in memory */
};

/* ---- blocks: chunks, rings, slices -------------------------------------------------------------- */

/* A larger second-level cache does not change ring and chunk: scratch is promised to be less than 1 MB ... */
#define DWC_MOST_CACHE (1024 * 1024)
/* ... so that this is what they take where weights would otherwise be read for too few pixels. */
#define DWC_MOST_FLOATS DWC_FLOATS(640 * 1024)
/* Chunks have more rows up to this: a call of a stage leaves its last tiles unfilled. */
#define DWC_CHUNK_FLOATS DWC_FLOATS(64 * 1024)
/* Larger outputs of depthwise are not kept for the second pass: computing them again takes no longer. */
#define DWC_KEPT_FLOATS DWC_FLOATS(16 * 1024 * 1024)

enum {
    DWC_CHUNK_ROWS = 8,       /* more share no more: weights are read once per 8 rows of pixels */
    DWC_LEAST_PIXELS = 42,    /* of a chunk, whatever the cache holds: weights would be read more often */
    DWC_CRAMPED_PIXELS = 24,  /* chunks of fewer are slower than slices, which read each weight once ... */
    DWC_CRAMPED_READINGS = 6, /* ... and so is a large ring, each of whose rows is read this many times */
    DWC_SLICED_PIXELS = 128,  /* of a sequence, sliced: pixels that are still needed move */
    DWC_NARROW_COLUMNS = 28,  /* fewer at a time expand too many columns twice */
    DWC_LEAST_COLUMNS = 24,   /* two rows of these may take more room: one row is half of every tile */
    DWC_DENSE_CHANNELS = 64   /* fewer stay dense in scratch: kernels treat neighbouring pixels as one */
};

/* ---- depthwise ---------------------------------------------------------------------------------- */

enum {
    DWC_STREAM_CHANNELS = 256,  /* at most go past the caches: through a buffer on the stack */
    DWC_COPY_BYTES = 32 * 1024, /* of copied rows, on the stack: a first-level cache */
    DWC_ROWS_AHEAD = 4,     /* input rows between prefetch and use, where kernels prefetch whole lines ... */
    DWC_FAR_ROWS_AHEAD = 8, /* ... from memory */
    DWC_BAND_COLUMNS = 8,   /* narrower bands of copied columns are too short pieces of memory ... */
    DWC_COPY_LINES = 3,     /* ... and so are fewer lines of a pixel, for tiles */
    DWC_STRIDED_LINES = 5,  /* the same with stride 2, where an input is read less often */
    DWC_CROWDED = 2,        /* sets hold less than half of a tile: copying pays where it else does not */
    DWC_MOST_CROWDED = 5,   /* a fifth: with stride 1, it pays in any image */
    DWC_BAND_MEGABYTES = 4, /* bands of larger images come from far again and again ... */
    DWC_CROWDED_MEGABYTES = 7,   /* ... which pays up to here where sets are crowded */
    DWC_NEIGHBOUR_TAPS = 9,      /* larger windows of neighbours have more lines than the CPU foresees ... */
    DWC_NEIGHBOUR_LINES = 16384, /* ... from this on, times channels */
    DWC_DENSE_LINES = 4096       /* fewer: a dense image per phase of a dilation costs more than it gains */
};

/* ---- gradients ---------------------------------------------------------------------------------- */

/* Values of a filter up to which chunks of pixels have sums of their own: larger ones are added to in place, and workers
 * share their columns. */
#define DWC_CHUNK_VALUES DWC_FLOATS(512 * 1024)

enum {
    DWC_STREAM_CACHES = 2,     /* second-level caches: larger results of training go past them */
    DWC_BAND_SHARE = 2,        /* of the second-level cache is for bands of rows: half of it */
    DWC_MOST_BAND_STRIDE = 4,  /* phases of larger strides are too many to go through for a band */
    DWC_IMAGES_PER_WORKER = 2, /* fewer: workers share each phase instead of taking images of their own */
    DWC_CHUNK_PIXELS =
        256, /* of depthwise: fewer are not worth the sums of a chunk, which are as many floats as taps */
    DWC_TILE_GROUP = 4,      /* output rows of a tile, whose inputs should stay in the first-level cache */
    DWC_MOST_CHUNKS = 64,    /* more workers share channels */
    DWC_BOX_PIXELS = 256,    /* of a product: panels of so many stay in the second-level cache */
    DWC_PANEL_COLUMNS = 512, /* packed at a time */
    DWC_CHUNK_BOXES = 4,     /* of a product: fewer are not worth the sums of a chunk */
    DWC_MOST_PRODUCT_CHUNKS = 8
};

/* ---- batch normalization ------------------------------------------------------------------------ */

/* A block of pixels is read twice: it stays in the second-level cache ... */
#define DWC_NORM_BLOCK_FLOATS DWC_FLOATS(128 * 1024)
/* ... and chunks are worth their sums, and a worker's time. */
#define DWC_NORM_CHUNK_FLOATS DWC_FLOATS(512 * 1024)

enum {
    DWC_NORM_LEAST_PIXELS = 16, /* of a block: fewer are not worth joining its moments to the others */
    DWC_NORM_MOST_PIXELS = 512, /* sums of more lose digits */
    DWC_NORM_ROWS = 4,          /* floats of a channel in the scratch of a chunk ... */
    DWC_NORM_SHARED_ROWS = 4    /* ... and in what all share */
};

/* ---- the grid ----------------------------------------------------------------------------------- */

/* What differs between instruction sets. */
typedef struct dwc_numbers {
    int copies;      /* rows whose lines share too few sets of the first-level cache: pays for half lines */
    int prefetches;  /* tiles touch a part of every pixel, which the hardware does not foresee */
    int whole_lines; /* kernels prefetch; half lines gain from memory only, and with stride 1 ... */
    int64_t prefetch_channels; /* ... in 3x3 windows, from so many channels on */
    int64_t stream_channels;   /* from which outputs may go past the caches; 0: there are no such stores */
} dwc_numbers;

/* Baseline and NEON were never measured on hardware of their own: they do nothing special. */
static inline const dwc_numbers *dwc_numbers_of(const dwc_kernel_table *table) {
    static const dwc_numbers grid[] = {
        [DWCONV_ISA_BASELINE] = {.copies = 0},
        [DWCONV_ISA_NEON] = {.copies = 0},
        [DWCONV_ISA_AVX2] = {.copies = 1, .prefetches = 1, .prefetch_channels = 96, .stream_channels = 64},
        [DWCONV_ISA_AVX512] = {.prefetches = 1, .whole_lines = 1, .stream_channels = 16},
    };
    return &grid[table->isa];
}

#endif
