/* Values that are images. */
#ifndef DWCONV_IMAGES_H
#define DWCONV_IMAGES_H

#include "axes.h"

/* [batch, height, width, channels] as a view. Strides that say nothing, of axes with one element, are those of dense
 * pixels: kernels multiply them by padding. */
static inline dwc_view dwc_image_of(const dwc_array *a) {
    dwc_view v = {.data = a->data,
                  .batch = a->shape[0],
                  .height = a->shape[1],
                  .width = a->shape[2],
                  .channels = a->shape[3],
                  .image = a->strides[0],
                  .row = a->strides[1],
                  .pixel = a->strides[2]};
    if (v.width == 1) v.pixel = v.channels;
    if (v.height == 1) v.row = v.width * v.pixel;
    if (v.batch == 1) v.image = v.height * v.row;
    return v;
}

/* Whether a node can go from image to image, of equal batch and channels. */
static inline dwconv_status dwc_check_images(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    if (x->rank != 4 || y->rank != 4 || x->shape[0] != y->shape[0] || x->shape[3] != y->shape[3])
        return DWCONV_BAD_SHAPE;
    for (int i = 0; i < 4; i++) {
        DWC_TRY(dwc_check_size(x->shape[i]));
        DWC_TRY(dwc_check_size(y->shape[i]));
    }
    return dwc_is_contiguous_last(x) && dwc_is_contiguous_last(y) ? DWCONV_OK : DWCONV_BAD_LAYOUT;
}

/* Bytes of scratch: `shared` floats for all workers, then so many for each, all of them whole cache lines. */
static inline int64_t dwc_scratch_lines(int64_t floats) { return round_up(floats, DWC_LINE_FLOATS); }

static inline dwconv_status dwc_worker_scratch(int64_t shared, int64_t floats, int workers, size_t *bytes) {
    int64_t all;
    if (!dwc_multiply(dwc_scratch_lines(floats), workers, &all) ||
        all > INT64_MAX / 8 - dwc_scratch_lines(shared))
        return DWCONV_OVERFLOW;
    all += dwc_scratch_lines(shared);
    if ((uint64_t)all > SIZE_MAX / sizeof(float)) return DWCONV_OVERFLOW;
    *bytes = (size_t)all * sizeof(float);
    return DWCONV_OK;
}

#endif
