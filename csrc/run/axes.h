/* Axes that several arrays are walked along together, outermost first. */
#ifndef DWCONV_AXES_H
#define DWCONV_AXES_H

#include "nodes.h"

enum { DWC_MOST_OPERANDS = 3 };

typedef struct dwc_axis {
    int64_t size, step[DWC_MOST_OPERANDS]; /* of each operand */
} dwc_axis;

typedef struct dwc_axes {
    int count, operands;
    dwc_axis axis[DWCONV_MAX_RANK];
} dwc_axes;

/* Appends an axis further in. Of size 1 it is none, and where no operand tells it from a part of the axis before, it is
 * merged with that. */
static inline void dwc_add_axis(dwc_axes *axes, int64_t size, const int64_t step[DWC_MOST_OPERANDS]) {
    dwc_axis *last = axes->count ? &axes->axis[axes->count - 1] : NULL;
    int merges = last != NULL;
    if (size == 1) return;
    for (int i = 0; i < axes->operands && merges; i++) merges = last->step[i] == size * step[i];
    if (!merges) {
        last = &axes->axis[axes->count++];
        last->size = 1;
    }
    last->size *= size;
    for (int i = 0; i < axes->operands; i++) last->step[i] = step[i];
}

/* Removes the innermost axis and gives its size; with no axis, 1, and steps of 0. */
static inline int64_t dwc_pop_axis(dwc_axes *axes, int64_t step[DWC_MOST_OPERANDS]) {
    const dwc_axis *last = axes->count ? &axes->axis[--axes->count] : NULL;
    for (int i = 0; i < axes->operands; i++) step[i] = last ? last->step[i] : 0;
    return last ? last->size : 1;
}

/* Positions on all axes. */
static inline int64_t dwc_axes_size(const dwc_axes *axes) {
    int64_t size = 1;
    for (int i = 0; i < axes->count; i++) size *= axes->axis[i].size;
    return size;
}

/* Where position `index` is, in elements from the first. */
static inline void dwc_axes_at(const dwc_axes *axes, int64_t index, int64_t at[DWC_MOST_OPERANDS]) {
    for (int i = 0; i < axes->operands; i++) at[i] = 0;
    for (int axis = axes->count - 1; axis >= 0; index /= axes->axis[axis--].size)
        for (int i = 0; i < axes->operands; i++)
            at[i] += index % axes->axis[axis].size * axes->axis[axis].step[i];
}

/* The stride of an axis, 0 where it says nothing. */
static inline int64_t dwc_step_of(const dwc_array *a, int axis) {
    return a->shape[axis] == 1 ? 0 : a->strides[axis];
}

/* The stride along axis `axis` of `rank` ones, to which an array is broadcast: missing axes are outer. */
static inline int64_t dwc_broadcast_step(const dwc_array *a, int rank, int axis) {
    const int own = axis - (rank - a->rank);
    return own < 0 ? 0 : dwc_step_of(a, own);
}

/* Whether a and b, broadcast to each other, have the shape of `out` in its first `axes` axes. */
static inline int dwc_broadcasts(const dwc_array *a, const dwc_array *b, const dwc_array *out, int axes) {
    if (out->rank != (a->rank > b->rank ? a->rank : b->rank)) return 0;
    for (int i = 0; i < axes; i++) {
        const int in_a = i - (out->rank - a->rank), in_b = i - (out->rank - b->rank);
        const int64_t of_a = in_a < 0 ? 1 : a->shape[in_a], of_b = in_b < 0 ? 1 : b->shape[in_b];
        if ((of_a != of_b && of_a != 1 && of_b != 1) || out->shape[i] != larger(of_a, of_b)) return 0;
    }
    return 1;
}

/* Whether all elements follow each other in order. */
static inline int dwc_is_dense(const dwc_array *a) {
    int64_t step = 1;
    for (int i = a->rank - 1; i >= 0; step *= a->shape[i--])
        if (a->shape[i] > 1 && a->strides[i] != step) return 0;
    return 1;
}

/* Whether elements of the last axis follow each other. */
static inline int dwc_is_contiguous_last(const dwc_array *a) {
    return a->rank == 0 || a->shape[a->rank - 1] == 1 || a->strides[a->rank - 1] == 1;
}

#endif
