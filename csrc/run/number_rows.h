/* Rows of numbers along the last axis, shared out: softmax and layer normalisation. */
#ifndef DWCONV_NUMBER_ROWS_H
#define DWCONV_NUMBER_ROWS_H

#include "../schedule/schedule_nodes.h"
#include "axes.h"

/* Rows that are a constant step apart; all in elements from the begin of input and output. */
typedef struct dwc_number_rows {
    int64_t x, x_row, y, y_row, rows, count;
} dwc_number_rows;
typedef void (*dwc_number_rows_function)(const dwc_node_call *call, const dwc_number_rows *rows);

DWC_HIDDEN int64_t dwc_count_number_rows(const dwc_node_call *call);
DWC_HIDDEN void dwc_run_number_rows(const dwc_node_call *call, dwc_items items,
                                    dwc_number_rows_function function);
/* Shapes and strides of input and output. */
DWC_HIDDEN dwconv_status dwc_check_number_rows(const dwc_node_call *call);

#endif
