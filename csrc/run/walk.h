/* Arrays of one shape, element by element: what elementwise nodes and copies have in common. */
#ifndef DWCONV_WALK_H
#define DWCONV_WALK_H

#include "nodes.h"

enum { DWC_WALK_ARRAYS = 3 };

/* As few axes as describe all of the arrays, at least two: those of size 1 are dropped, neighbours that are one axis
 * in every array are merged. Array 0 is the output, whose strides decide about the order: the longest is outermost.
 * */
typedef struct dwc_walk {
    int rank, arrays;
    int64_t shape[DWCONV_MAX_RANK], strides[DWC_WALK_ARRAYS][DWCONV_MAX_RANK]; /* in elements ... */
    int64_t unit[DWC_WALK_ARRAYS];                                             /* ... of so many bytes */
    char *data[DWC_WALK_ARRAYS];
} dwc_walk;

static inline float *dwc_floats(char *data) { return (float *)(void *)data; }

/* Inputs are broadcast to the shape of the output: axes of size 1 are repeated, missing ones are outer. */
DWC_HIDDEN dwc_walk dwc_walk_of(const dwc_array *out, const dwc_array *in, int inputs);
DWC_HIDDEN void dwc_swap_axes(dwc_walk *walk, int a, int b);

DWC_HIDDEN int64_t dwc_array_elements(const dwc_array *a);
DWC_HIDDEN int dwc_same_shape(const dwc_array *a, const dwc_array *b);

/* The last two axes are rows and their elements. `each` gets up to so many rows and elements at a time, whose first
 * ones are at data. */
typedef void (*dwc_rows_function)(const void *context, const dwc_walk *walk, char *const data[], int64_t rows,
                                  int64_t count);
typedef struct dwc_rows_job {
    dwc_walk walk;
    int64_t rows, count; /* at a time */
    dwc_rows_function each;
    const void *context;
} dwc_rows_job;

DWC_HIDDEN void dwc_run_rows(const dwc_rows_job *job, const dwconv_threads *threads, int workers);

#endif
