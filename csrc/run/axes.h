/* Axes that several arrays are walked along together, outermost first. */
#ifndef DWCONV_AXES_H
#define DWCONV_AXES_H

#include "nodes.h"

enum { DWC_MOST_OPERANDS = 3 };

typedef struct dwc_axes {
    int count, operands;
    int64_t size[DWCONV_MAX_RANK];
    int64_t step[DWCONV_MAX_RANK][DWC_MOST_OPERANDS]; /* of each operand */
} dwc_axes;

/* Appends an axis further in. Of size 1 it is none, and where no operand tells it from a part of the axis before, it is
 * merged with that. */
static inline void dwc_add_axis(dwc_axes *axes, int64_t size, const int64_t step[DWC_MOST_OPERANDS]) {
    int last = axes->count - 1, merges = last >= 0;
    if (size == 1) return;
    for (int i = 0; i < axes->operands && merges; i++) merges = axes->step[last][i] == size * step[i];
    if (!merges) axes->size[last = axes->count++] = 1;
    axes->size[last] *= size;
    for (int i = 0; i < axes->operands; i++) axes->step[last][i] = step[i];
}

/* Removes the innermost axis and gives its size; with no axis, 1, and steps of 0. */
static inline int64_t dwc_pop_axis(dwc_axes *axes, int64_t step[DWC_MOST_OPERANDS]) {
    for (int i = 0; i < axes->operands; i++) step[i] = axes->count ? axes->step[axes->count - 1][i] : 0;
    return axes->count ? axes->size[--axes->count] : 1;
}

/* Positions on all axes. */
static inline int64_t dwc_axes_size(const dwc_axes *axes) {
    int64_t size = 1;
    for (int i = 0; i < axes->count; i++) size *= axes->size[i];
    return size;
}

/* Where position `index` is, in elements from the first. */
static inline void dwc_axes_at(const dwc_axes *axes, int64_t index, int64_t at[DWC_MOST_OPERANDS]) {
    for (int i = 0; i < axes->operands; i++) at[i] = 0;
    for (int axis = axes->count - 1; axis >= 0; index /= axes->size[axis--])
        for (int i = 0; i < axes->operands; i++) at[i] += index % axes->size[axis] * axes->step[axis][i];
}

/* The stride of an axis, 0 where it says nothing. */
static inline int64_t dwc_step_of(const dwc_array *a, int axis) {
    return a->shape[axis] == 1 ? 0 : a->strides[axis];
}

/* Whether elements of the last axis follow each other. */
static inline int dwc_is_contiguous_last(const dwc_array *a) {
    return a->rank == 0 || a->shape[a->rank - 1] == 1 || a->strides[a->rank - 1] == 1;
}

#endif
