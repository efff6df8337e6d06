/* Where the pixels of a resized image come from, along one axis: of floats and of bytes. */
#ifndef DWCONV_RESIZE_H
#define DWCONV_RESIZE_H

#include "nodes.h"

/* `in` pixels become `out`. */
typedef struct dwc_resize_axis {
    dwconv_coordinates coordinates;
    double scale;
    int64_t in, out;
} dwc_resize_axis;

DWC_HIDDEN dwc_resize_axis dwc_resize_axis_of(const dwconv_node *node, float scale, int64_t in, int64_t out);
DWC_HIDDEN int64_t dwc_resize_nearest(const dwc_resize_axis *axis, dwconv_rounding rounding, int64_t index);

/* In pixels; 1024ths if `tflite`. */
DWC_HIDDEN dwc_byte_column dwc_resize_byte_column(const dwc_resize_axis *axis, int tflite, int64_t index);

/* Of a RESIZE node: shapes, function, coordinates, scales. */
DWC_HIDDEN dwconv_status dwc_check_resize(const dwc_node_call *call);

#endif
