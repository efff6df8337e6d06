/* Convolutions whose gradients are tested. */
#ifndef GRADIENT_CASE_H
#define GRADIENT_CASE_H

#include "../../csrc/dwconv_gradient.h"
#include "guarded.h"
#include "problem.h"

/* One forward convolution: shapes, and random tensors of it between guard pages. */
typedef struct gradients {
    dwconv_gradient_desc desc;
    int64_t input[4], output[4];
    size_t filter_floats;
    guarded x, dy, filter;
} gradients;

size_t gradients_count(const int64_t dims[4]);
dwconv_tensor gradients_tensor(const int64_t dims[4], void *data);
guarded gradients_floats(size_t count, rng *r, int at_end); /* random ones, to be read only */

/* 0: its window fits nowhere, and there is nothing to free. */
int gradients_draw(gradients *g, rng *r, int at_end);
/* A pointwise layer that workers share by outputs: what is left of these for the last worker is no width of a tile. */
int gradients_draw_shared(gradients *g, int number, rng *r, int at_end);
void gradients_free(gradients *g);

/* For dwconv_threads: the last item first, each by another worker; `pool` tells how many. */
void gradients_in_reverse(void *pool, int64_t items, dwconv_task task, void *context);

#endif
