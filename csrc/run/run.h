/* The walks: plan, tensors and schedule -> work items -> kernels. */
#ifndef DWCONV_RUN_H
#define DWCONV_RUN_H

#include "../schedule/schedule.h"
#include "parallel.h"

/* x and y have at least one image. */
DWC_HIDDEN dwconv_status dwc_run_layer(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                       const dwconv_threads *threads);
DWC_HIDDEN dwconv_status dwc_run_block(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                       void *scratch, size_t scratch_bytes, const dwconv_threads *threads);

/* Of a quantized plan. */
DWC_HIDDEN dwconv_status dwc_run_s8(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                                    void *scratch, size_t scratch_bytes, const dwconv_threads *threads);

/* By a schedule for tensors like these, and as much scratch as it asks for. */
DWC_HIDDEN void dwc_run_scheduled_layer(const dwconv_plan *plan, const dwc_layer_schedule *how,
                                        const float *x, float *y, const dwconv_threads *threads);
DWC_HIDDEN void dwc_run_scheduled_s8(const dwconv_plan *plan, const dwc_s8_schedule *how, const dwc_view *x,
                                     const dwc_view *y, void *scratch, const dwconv_threads *threads);

/* Calls the matrix kernel for output rows [row_begin, row_end) of one image, and the columns [column_begin,
 * column_end) of every group. Both views are of that image; the residual may be NULL. */
typedef struct dwc_matmul_rows {
    const dwc_matmul_stage *stage;
    const dwc_mm_schedule *how;
    const float *x;
    int64_t x_row, x_pixel, in_h, in_w;
    float *y; /* row row_begin */
    int64_t y_row, y_pixel, out_w;
    const float *residual; /* row row_begin */
    int64_t residual_row, residual_pixel;
    int64_t pad_top, pad_left;
    int64_t row_begin, row_end, column_begin, column_end;
} dwc_matmul_rows;

DWC_HIDDEN void dwc_run_matmul_rows(const dwc_matmul_rows *rows);

#endif
