/* Weights of 8-bit integers in the order in which kernels read them, and what their sums start from. */
#ifndef DWCONV_PACK_S8_H
#define DWCONV_PACK_S8_H

#include "../internal.h"
#include "integers.h"

/* ---- bytes as a kernel sees them -------------------------------------------------------------- */

/* What flips bytes of int8 (is_signed) or uint8 for these kernels: 0 or 0x80. */
DWC_HIDDEN uint8_t dwc_s8_flip(const dwc_s8_kernels *kernels, int is_signed);
/* A zero point as the kernels see it. */
DWC_HIDDEN int32_t dwc_s8_seen(const dwc_s8_kernels *kernels, int is_signed, int32_t zero_point);

/* ---- weights ---------------------------------------------------------------------------------- */

/* A caller's filter: bytes less a zero point, for all output channels or for each. So a weight has up to nine bits,
 * and is wide if it does not fit int8. Kernels that multiply 16-bit numbers take it as it is. For others it is a sum
 * of numbers of int8, each the nearest to what is left; 255 is the only one of three. The numbers after the first see
 * the same inputs again. */
enum { DWC_S8_NUMBERS = 3 };

typedef struct dwc_s8_filter {
    const void *bytes;
    int is_unsigned;
    const int32_t *zeros; /* or NULL: 0 */
    int shared_zero;
} dwc_s8_filter;

/* Element `at`, of output channel `c`. */
static inline int32_t dwc_s8_weight(const dwc_s8_filter *f, int64_t at, int64_t c) {
    const int32_t byte = f->is_unsigned ? ((const uint8_t *)f->bytes)[at] : ((const int8_t *)f->bytes)[at];
    return f->zeros ? byte - f->zeros[f->shared_zero ? 0 : c] : byte;
}

/* The filter from output channel `c` on. */
static inline dwc_s8_filter dwc_s8_filter_from(const dwc_s8_filter *f, int64_t c) {
    dwc_s8_filter rest = *f;
    rest.bytes = (const uint8_t *)f->bytes + c;
    if (f->zeros && !f->shared_zero) rest.zeros += c;
    return rest;
}

/* ---- matrices --------------------------------------------------------------------------------- */

/* Filters of a group: [taps_y][taps_x][k] rows of `row` numbers, of which the first `outputs` are the group's. A
 * piece of k inputs may be several taps: those of a kernel row that follow each other in memory. */
typedef struct dwc_s8_matrix {
    int64_t taps_y, taps_x, k, outputs, row;
    int64_t padded; /* outputs rounded up to the panel unit */
    int64_t panel;  /* columns of a full panel */
    int64_t panels;
} dwc_s8_matrix;

/* What the weights of some groups take. */
typedef struct dwc_s8_matrix_size {
    int64_t bytes, runs;
    int64_t quads, repeated; /* of all panels: four inputs each; those that are seen again */
} dwc_s8_matrix_size;

/* Fills in padded, panel and panels. */
DWC_HIDDEN void dwc_s8_choose_matrix(dwc_s8_matrix *m, const dwc_s8_kernels *kernels);
/* Adds a group to a size that begins with zeros; 0: it does not fit int64. */
DWC_HIDDEN int dwc_s8_matrix_add(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels,
                                 const dwc_s8_filter *filter, dwc_s8_matrix_size *size);
/* The same, and packs the group where the size ends: its panels, [panels]; runs and weights are of all groups. Runs
 * are all pieces, then those of quads with wide weights, again; weights of a panel are in that order. */
DWC_HIDDEN void dwc_s8_pack_matrix(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels,
                                   const dwc_s8_filter *filter, dwc_s8_matrix_size *size,
                                   dwc_s8_panel *panels, dwc_s8_run *runs, void *weights);
/* start[0..padded): bias (or NULL), less the sum of the weights times the zero point that the kernels see. */
DWC_HIDDEN void dwc_s8_matrix_start(const dwc_s8_matrix *m, const dwc_s8_filter *filter, const int32_t *bias,
                                    int32_t seen, int32_t *start);

/* ---- depthwise -------------------------------------------------------------------------------- */

/* A filter [kernel_h][kernel_w][channels], channel c of input c / multiplier; stride_h is that of the dense
 * image that the lines are made of. With stride_h 1 two output rows see the same lines, each with a set of weights.
 *
 * A pass takes four rows a column at a time. Where no more than two rows are left, a wide window takes them two columns
 * at a time, the last of which may lie beyond it.
 *
 * With stride_w 1, outputs of some pixels side by side may go as the channels of one, where the channels of a single
 * one would leave much of a group of vectors empty: kernels are then told so many times as many channels and columns
 * so many pixels apart. */
typedef struct dwc_s8_depthwise {
    int64_t kernel_h, kernel_w, stride_h, stride_w, channels, multiplier;
    int64_t pixels;               /* that go as one, or 1 */
    int sets, passes, lines;      /* of a run */
    int halves;                   /* whether the last pass takes two columns at a time */
    int64_t groups, block, again; /* of channels; bytes of each, and of a further number of its weights */
} dwc_s8_depthwise;

/* A group of channels: where its weights begin, in bytes, and of how many numbers they are. */
typedef struct dwc_s8_group {
    int64_t weights;
    int numbers;
} dwc_s8_group;

/* Fills in what follows from the others; 0: sizes do not fit. */
DWC_HIDDEN int dwc_s8_choose_depthwise(dwc_s8_depthwise *d, const dwc_s8_kernels *kernels);
/* And how many groups have wide weights. */
DWC_HIDDEN int dwc_s8_depthwise_bytes(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                                      const dwc_s8_filter *filter, int64_t *bytes, int64_t *wide);
/* Which numbers a group has, and where they begin, in bytes, to index[groups]; then per group of channels, of all pixels that go as one, the
 * last of which ends with the last channel and may overlap the one before: starts, multipliers, input channels of a
 * multiplier (if there is one); then of each pass, each number of the weights of the group, each dot product
 * along a row and each set four per channel. Channels are in the order of the group's two vectors
 * (csrc/kernels/vec/s8.h). */
DWC_HIDDEN void dwc_s8_pack_depthwise(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                                      const dwc_s8_filter *filter, const int32_t *bias, int32_t seen,
                                      const float *multipliers, dwc_s8_group *index, void *to);

/* Dot products along a row. */
static inline int64_t dwc_s8_pass_taps(const dwc_s8_depthwise *d, int pass) {
    return d->halves && pass == d->passes - 1 ? divide_up(d->kernel_w, 2) : d->kernel_w;
}

/* Columns beyond the window that kernels see. */
static inline int64_t dwc_s8_columns_beyond(const dwc_s8_depthwise *d) {
    return d->halves ? d->kernel_w % 2 : 0;
}

/* Pass i of a run on these lines. */
static inline dwc_s8_pass dwc_s8_pass_of(const dwc_s8_depthwise *d, int i, const uint8_t *const *lines,
                                         int64_t x_tap) {
    const int halves = d->halves && i == d->passes - 1;
    return (dwc_s8_pass){.lines = {lines[2 * i], halves ? lines[2 * i] + x_tap : lines[2 * i + 1]},
                         .taps = dwc_s8_pass_taps(d, i),
                         .x_tap = halves ? 2 * x_tap : x_tap};
}

static inline int64_t dwc_s8_group_bytes(const dwc_s8_depthwise *d, int numbers) {
    return d->block + (numbers - 1) * d->again;
}

/* The first channel of a group, all pixels counted. */
static inline int64_t dwc_s8_group_begin(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                                         int64_t group) {
    const int64_t unit = 2 * kernels->lanes;
    return smaller(group * unit, larger(d->pixels * d->channels - unit, 0));
}

#endif
