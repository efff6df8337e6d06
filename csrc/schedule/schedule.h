/* How a plan runs: pure functions of plan, tensors, threads and machine. The walks of run/ obey what these return
 * and decide nothing; dwconv_explain prints it; scratch is as large as it says. numbers.h has every threshold. */
#ifndef DWCONV_SCHEDULE_H
#define DWCONV_SCHEDULE_H

#include "../graph/text.h"
#include "depthwise.h"
#include "numbers.h"

/* ---- cost ----------------------------------------------------------------------------------------- */

/* Nanoseconds on one worker: of multiply-adds, or of moving floats if that takes longer. */
DWC_HIDDEN double dwc_nanoseconds(double work, double floats_moved);
/* The work of so many output pixels in multiply-adds, values and activations counted as some. */
DWC_HIDDEN double dwc_depthwise_work(const dwc_depthwise_stage *stage, double pixels);
DWC_HIDDEN double dwc_matmul_work(const dwc_matmul_stage *stage, double pixels);
/* Of a unary or binary function, which reads so many arrays, with its activation. */
DWC_HIDDEN double dwc_each_nanoseconds(dwconv_function function, dwconv_activation_kind activation,
                                       double elements, int reads);
/* How many workers are worth waking for work of so many nanoseconds on one: 1 means serial. */
DWC_HIDDEN int dwc_worker_count(const dwconv_threads *threads, double nanoseconds);

/* ---- an operation as it is walked ----------------------------------------------------------------- */

/* A sequence is an image of one row under a window of one row, or of one column under one of one column. Either
 * becomes a column: workers share its pixels as rows, and chunks take some of them; depthwise gets any stretch of
 * it as a row, along which tiles lie. */
typedef struct dwc_frame {
    dwc_view x, y;
    dwconv_window window;
    dwc_extent extent;
    int sequence;
} dwc_frame;

DWC_HIDDEN dwconv_status dwc_frame_of(const dwconv_window *window, const dwc_view *x, const dwc_view *y,
                                      dwc_frame *frame);
/* Swaps the axes. */
DWC_HIDDEN void dwc_turn_window(dwconv_window *w);

/* ---- products ------------------------------------------------------------------------------------- */

typedef struct dwc_mm_schedule {
    int64_t pixels;                   /* that pass all panels before the next ones do */
    int64_t columns;                  /* of a group, that all rows pass before the next ones are passed */
    int64_t rows_ahead, pixels_ahead; /* of input, to prefetch; 0: none */
    int far_y;                        /* outputs come from beyond the caches, and are prefetched */
} dwc_mm_schedule;

/* For calls of so many columns of a group; without prefetching. */
DWC_HIDDEN dwc_mm_schedule dwc_schedule_matmul(const dwc_matmul_stage *stage, int64_t columns);
/* Whether a product prefetches what it reads and writes: in operations from x to y. */
DWC_HIDDEN int dwc_prefetches(const dwc_matmul_stage *stage, const dwc_view *x, const dwc_view *y,
                              const dwc_machine *machine);

/* ---- layers --------------------------------------------------------------------------------------- */

/* Items are numbered image by image, strip by strip, block of channels by block of channels. */
typedef struct dwc_layer_schedule {
    dwc_frame frame;
    double nanoseconds; /* estimate for one worker */
    int workers;
    int64_t strips, strip_rows;     /* of output rows */
    int64_t blocks, block_channels; /* of output channels */
    dwc_dw_schedule depthwise;      /* of a depthwise layer */
    dwc_mm_schedule matrix;         /* of any other */
} dwc_layer_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_layer(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                            const dwconv_threads *threads, const dwc_machine *machine,
                                            dwc_layer_schedule *schedule);

/* Whether pixels are made of whole and aligned cache lines. */
DWC_HIDDEN int dwc_has_whole_lines(const dwc_view *y);
/* A strip of a depthwise layer: so many output rows and channels of it; whose output may go past the caches if it is as
 * large as that. */
DWC_HIDDEN dwc_dw_schedule dwc_schedule_strip(const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                                              const dwc_frame *frame, int64_t rows, int64_t channels,
                                              int64_t stream_bytes, const dwc_machine *machine);

/* ---- blocks --------------------------------------------------------------------------------------- */

/* Which part of the columns, and how many rows, go from stage to stage at a time; pixels are in floats. */
typedef struct dwc_chunks {
    int64_t columns, rows;         /* of output */
    int64_t ring_rows, ring_pixel; /* of the expanded input; 0: it is not expanded */
    int64_t pixel;                 /* of depthwise's output */
} dwc_chunks;

/* Slices of depthwise's channels. A share of them is a worker's; its slices are `step` apart and begin at whole
 * units, panels: they differ in size, and may be empty. */
typedef struct dwc_slices {
    int64_t count, channels; /* 1, and all channels: there are none */
    int64_t most;            /* channels of a slice */
    int64_t unit, step, share_channels, share_slices;
} dwc_slices;

/* The first channel of a slice, which is the end of the one before. */
DWC_HIDDEN int64_t dwc_slice_begin(const dwc_slices *slices, int64_t slice);

/* The projection of what the first pass gave, in parts of rows of so many pixels. */
typedef struct dwc_second_pass {
    int64_t row_pixels; /* 1: a dense image is a column of single pixels, which parts cut anywhere */
    int64_t parts, part_rows;
    int64_t step_rows;  /* of a part */
    int64_t gate_parts; /* of squeeze-and-excite's dense layers */
} dwc_second_pass;

typedef enum dwc_passes {
    DWC_ONE_PASS,
    DWC_TWO_FOR_SUMS,   /* squeeze-and-excite */
    DWC_TWO_FOR_SHARES, /* workers share the channels of a low image */
    DWC_TWO_FOR_ROOM    /* one pass has room for few pixels at a time */
} dwc_passes;

/* One pass: a worker takes a band of output rows of an image and walks down it in chunks of a few rows:
 *
 *     input rows --expand--> ring of expanded rows --depthwise--> chunk --project (+ input)--> output rows
 *
 * The ring keeps the rows that the next chunk needs again, so that no row of a band is expanded twice. Without an
 * expansion the depthwise stage reads the input itself. A band too wide for scratch is walked down several times, a
 * part of its columns each time; inputs that two parts see are expanded for both.
 *
 * Two passes: the first one computes what depthwise gives for a whole image, in bands of rows or in slices of
 * channels; the second one projects it. */
typedef struct dwc_block_schedule {
    dwc_frame frame; /* of depthwise's window, from the block's input to its output */
    int add_residual;
    double nanoseconds; /* estimate for one worker */
    int workers;        /* that share the call */
    int sharing;        /* that share an image: all of them, or 1, where each takes images of its own */
    dwc_passes passes;
    int keeps;                /* two passes: the first one's result stays, else the second one repeats it */
    int64_t bands, band_rows; /* of output rows */
    dwc_chunks chunks;
    dwc_slices slices; /* of the first of two passes */
    dwc_second_pass second;
    dwc_dw_schedule depthwise; /* for the widest columns and slices */
    dwc_mm_schedule expand, squeeze, excite, project;
    /* Scratch in floats: a ring and a chunk for every worker, then for every image at work, where there are two
     * passes, the output of depthwise (if it stays) and with squeeze-and-excite the sum of each row and two
     * vectors. */
    int64_t ring_floats, worker_floats, hidden_floats, sum_floats, image_floats;
    size_t scratch_bytes;
} dwc_block_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                            const dwconv_threads *threads, const dwc_machine *machine,
                                            dwc_block_schedule *schedule);
/* Scratch that is enough on so many threads, whether they share the work or not. */
DWC_HIDDEN dwconv_status dwc_block_scratch(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                           int threads, const dwc_machine *machine, size_t *scratch);

/* ---- quantized operations ------------------------------------------------------------------------- */

/* A stage alone, or one that all workers share: items are strips of output rows. */
typedef struct dwc_s8_stage_schedule {
    int node;
    dwc_shape in, out; /* of all images */
    dwc_extent extent;
    int workers;
    int64_t strips, strip_rows;
    int64_t scratch; /* bytes from the begin of the scratch to what it gives; -1: that is the output */
    /* Of kernels: outputs of a row at a time, and of depthwise channels; the last block has what is left, up to twice as
     * many. Bytes of a line, or of a row of pixels with its padding; and of all that a worker has. */
    int64_t columns, channels, row_bytes, staged_bytes;
    int64_t worker_bytes;
} dwc_s8_stage_schedule;

/* A block as it is walked down, in one pass like those of floats (dwc_block_schedule): a worker takes a band of
 * output rows, chunk after chunk, and keeps the expanded rows that the next chunk needs again. */
typedef struct dwc_s8_walk {
    int64_t bands, band_rows;  /* of output rows of an image */
    int64_t chunk_rows;        /* 0: there is no walk */
    int64_t kept_rows;         /* of the expanded image; 0: it is not expanded */
    int64_t kept_at, chunk_at; /* in a worker's memory */
} dwc_s8_walk;

/* Squeeze-and-excite, image by image: what depthwise gives stays in scratch, whole, and each item that makes a part of
 * it sums its channels; then the factors are made, and strips of rows are scaled where they are and projected. */
typedef struct dwc_s8_gate {
    int mean, scale; /* nodes; 0: there is no squeeze-and-excite */
    int64_t parts;   /* items of an image */
    int64_t rows;    /* that are scaled and projected at a time */
    /* In scratch: a sum of each channel by part; what the mean and squeeze give, and excite, again and again for a
     * row of pixels. */
    int64_t sums_at, mean_at, squeezed_at, factors_at;
} dwc_s8_gate;

/* A block without a walk runs stage by stage, image by image; what lies between stages stays in scratch, whole. */
typedef struct dwc_s8_schedule {
    int stages, depthwise; /* the stage, of a block */
    dwc_s8_stage_schedule stage[DWC_MOST_S8_STAGES];
    dwc_s8_gate gate;
    dwc_s8_walk walk;                 /* with a gate: as far as depthwise */
    int workers;                      /* the most of any stage */
    double nanoseconds;               /* estimate for one worker */
    int64_t workers_at, worker_bytes; /* from the begin of the scratch, and of each */
    size_t scratch_bytes;
} dwc_s8_schedule;

DWC_HIDDEN dwconv_status dwc_schedule_s8(const dwconv_plan *plan, const int64_t input[4],
                                         const dwconv_threads *threads, const dwc_machine *machine,
                                         dwc_s8_schedule *schedule);
/* Decides whether and how a block of scheduled stages is walked down on so many workers. */
DWC_HIDDEN dwconv_status dwc_schedule_s8_walk(const dwc_graph *graph, const dwc_machine *machine,
                                              dwc_s8_schedule *schedule);
/* Scratch that is enough on so many threads, whether they share the work or not. */
DWC_HIDDEN dwconv_status dwc_s8_scratch(const dwconv_plan *plan, const int64_t input[4], int threads,
                                        const dwc_machine *machine, size_t *scratch);

/* ---- what a block costs ---------------------------------------------------------------------------- */

/* A block whose schedule is being made. */
typedef struct dwc_block_problem {
    const dwc_chain *chain;
    const dwc_kernel_table *table;
    const dwc_machine *machine;
    const dwc_frame *frame;
} dwc_block_problem;

/* Nanoseconds on one worker. */
DWC_HIDDEN double dwc_block_nanoseconds(const dwc_block_problem *p);
/* What sharing must be worth: to be compared with a layer's estimate. */
DWC_HIDDEN double dwc_worth_sharing(const dwc_block_problem *p, int64_t workers);
/* Whether workers that share an image get channels of it, not rows. */
DWC_HIDDEN int dwc_slices_pay(const dwc_block_problem *p, int64_t workers);
/* Their shares are of whole units. */
DWC_HIDDEN int64_t dwc_share_unit(const dwc_block_problem *p);

/* ---- explanations ------------------------------------------------------------------------------------- */

/* csrc/explain.c: dwconv_explain, for any machine. */
DWC_HIDDEN dwconv_status dwc_explain(const dwconv_plan *plan, const int64_t input[4],
                                     const dwconv_threads *threads, const dwc_machine *machine, dwc_text *t);

#endif
