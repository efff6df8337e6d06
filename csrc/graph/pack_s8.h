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

/* ---- matrices --------------------------------------------------------------------------------- */

/* Filters of a group: [taps_y][taps_x][k] rows of `row` numbers, of which the first `outputs` are the group's. A
 * piece of k inputs may be several taps: those of a kernel row that follow each other in memory. */
typedef struct dwc_s8_matrix {
    int64_t taps_y, taps_x, k, outputs, row;
    int64_t quads;  /* of an output */
    int64_t padded; /* outputs rounded up to the panel unit */
    int64_t panel;  /* columns of a full panel */
} dwc_s8_matrix;

/* Fills in quads, padded and panel. */
DWC_HIDDEN void dwc_s8_choose_matrix(dwc_s8_matrix *m, const dwc_s8_kernels *kernels);
/* 0: it does not fit int64. */
DWC_HIDDEN int dwc_s8_matrix_bytes(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, int64_t *bytes);
DWC_HIDDEN void dwc_s8_pack_matrix(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels,
                                   const int8_t *filter, void *to);
/* start[0..padded): bias (or NULL), less the sum of the weights times the zero point that the kernels see. */
DWC_HIDDEN void dwc_s8_matrix_start(const dwc_s8_matrix *m, const int8_t *filter, const int32_t *bias,
                                    int32_t seen, int32_t *start);

/* ---- depthwise -------------------------------------------------------------------------------- */

/* A filter [kernel_h][kernel_w][channels], channel c of input c / multiplier; stride_h is that of the dense
 * image that the lines are made of.
 *
 * With stride_w 1, outputs of some pixels side by side may go as the channels of one, where the channels of a single
 * one would leave much of a group of vectors empty: kernels are then told so many times as many channels and columns
 * so many pixels apart. */
typedef struct dwc_s8_depthwise {
    int64_t kernel_h, kernel_w, stride_h, stride_w, channels, multiplier;
    int64_t pixels;                     /* that go as one, or 1 */
    int first_end, second_begin, quads; /* of a run of two output rows */
    int64_t groups, block;              /* of channels; bytes of each */
} dwc_s8_depthwise;

/* Fills in what follows from the others; 0: sizes do not fit. */
DWC_HIDDEN int dwc_s8_choose_depthwise(dwc_s8_depthwise *d, const dwc_s8_kernels *kernels);
DWC_HIDDEN int dwc_s8_depthwise_bytes(const dwc_s8_depthwise *d, int64_t *bytes);
/* Per group of channels, of all pixels that go as one, the last of which ends with the last channel and may overlap the one before: starts,
 * multipliers, input channels of a multiplier (if there is one); then of each quad of rows, tap of a kernel row
 * and output row four weights per channel. Channels are in the order of the group's two vectors
 * (csrc/kernels/vec/s8.h). */
DWC_HIDDEN void dwc_s8_pack_depthwise(const dwc_s8_depthwise *d, const dwc_s8_kernels *kernels,
                                      const int8_t *filter, const int32_t *bias, int32_t seen,
                                      const float *multipliers, void *to);

#endif
