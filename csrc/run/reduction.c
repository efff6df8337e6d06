/* See reduction.h. */
#include "reduction.h"

#include "../schedule/schedule_nodes.h"

/* One run of numbers, whose places floats can tell. */
static dwconv_status check_place(const dwc_array *x, const dwc_array *y) {
    const int last = x->rank - 1;
    if (last < 0 || x->shape[last] < 2 || x->shape[last] > 1 << 24) return DWCONV_BAD_SHAPE;
    for (int i = 0; i <= last; i++)
        if (y->shape[i] != (i == last ? 1 : x->shape[i])) return DWCONV_BAD_SHAPE;
    return x->strides[last] == 1 ? DWCONV_OK : DWCONV_BAD_LAYOUT;
}

dwconv_status dwc_check_reduction(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0], *y = &call->out;
    const dwconv_function f = call->node->function;
    if (f < DWCONV_MEAN || f >= DWCONV_REDUCTION_END) return DWCONV_BAD_VALUE;
    if (x->rank != y->rank) return DWCONV_BAD_SHAPE;
    for (int i = 0; i < x->rank; i++)
        if (y->shape[i] != 1 && y->shape[i] != x->shape[i]) return DWCONV_BAD_SHAPE;
    return f == DWCONV_PLACE_OF_LARGEST ? check_place(x, y) : DWCONV_OK;
}

/* The axis to go innermost: the last one that is contiguous, or -1. */
static int contiguous_axis(const dwc_array *x) {
    for (int i = x->rank - 1; i >= 0; i--)
        if (x->shape[i] > 1 && x->strides[i] == 1) return i;
    return -1;
}

/* All axes, kept and reduced ones apart. Reduced ones are not merged where channels are kept: the order of a sum over an
 * image does not depend on how its rows lie in memory. */
static void divide_axes(dwc_reduction *r, const dwc_array *x, const dwc_array *y) {
    const int last = contiguous_axis(x), apart = last < 0 || y->shape[last] > 1;
    for (int n = 0; n <= x->rank; n++) {
        const int i = n < x->rank ? n : last;
        if (i < 0 || (n < x->rank && i == last)) continue;
        const int64_t step[DWC_MOST_OPERANDS] = {dwc_step_of(x, i), dwc_step_of(y, i)};
        dwc_axes *axes = y->shape[i] == x->shape[i] ? &r->kept : &r->reduced;
        if (axes == &r->reduced && apart && x->shape[i] > 1)
            axes->axis[axes->count++] = (dwc_axis){x->shape[i], {step[DWC_REDUCE_X], 0}};
        else
            dwc_add_axis(axes, x->shape[i], step);
    }
    int64_t step[DWC_MOST_OPERANDS] = {0};
    if (!apart) {
        r->run = dwc_pop_axis(&r->reduced, step);
        r->channels = r->blocks = 1;
        return;
    }
    r->channels = last < 0 ? 1 : dwc_pop_axis(&r->kept, step);
    r->y_channel = step[DWC_REDUCE_Y];
    r->blocks = divide_up(r->channels, DWC_REDUCE_CHANNELS);
    r->columns = dwc_pop_axis(&r->reduced, step);
    r->x_column = step[DWC_REDUCE_X];
    r->rows = dwc_pop_axis(&r->reduced, step);
    r->x_row = step[DWC_REDUCE_X];
}

dwc_reduction dwc_reduction_of(const dwc_array *x, const dwc_array *y) {
    dwc_reduction r = {.kept = {.operands = 2}, .reduced = {.operands = 2}, .taken = 1};
    for (int i = 0; i < x->rank; i++)
        if (y->shape[i] != x->shape[i]) r.taken *= x->shape[i];
    divide_axes(&r, x, y);
    return r;
}

dwc_reduced_part dwc_next_reduced(const dwc_reduction *r, int64_t *i, int64_t end) {
    dwc_reduced_part part = {.rows = 1, .along = {.size = 1}};
    int64_t at[DWC_MOST_OPERANDS];
    dwc_axes_at(&r->kept, r->run ? *i : *i / r->blocks, at);
    part.x = at[DWC_REDUCE_X];
    part.y = at[DWC_REDUCE_Y];
    if (r->run) {
        if (r->kept.count) part.along = r->kept.axis[r->kept.count - 1];
        part.rows = smaller(end - *i, part.along.size - *i % part.along.size);
    } else {
        const int64_t first = *i % r->blocks * DWC_REDUCE_CHANNELS;
        part.channels = smaller(r->channels - first, DWC_REDUCE_CHANNELS);
        part.x += first;
        part.y += first * r->y_channel;
    }
    *i += part.rows;
    return part;
}
