/* Arrays of one shape, element by element: what elementwise nodes and copies have in common. */
#ifndef DWCONV_WALK_H
#define DWCONV_WALK_H

#include "axes.h"

/* As few axes as describe all of the arrays, at least two. Array 0 is the output, whose strides decide about the order:
 * the longest is outermost. */
typedef struct dwc_walk {
    dwc_axes axes;                   /* steps in elements ... */
    int64_t unit[DWC_MOST_OPERANDS]; /* ... of so many bytes */
    char *data[DWC_MOST_OPERANDS];
} dwc_walk;

static inline float *dwc_floats(char *data) { return (float *)(void *)data; }

/* Inputs are broadcast to the shape of the output: axes of size 1 are repeated, missing ones are outer. */
DWC_HIDDEN dwc_walk dwc_walk_of(const dwc_array *out, const dwc_array *in, int inputs);

/* The last two axes are rows and their elements. */
static inline const dwc_axis *dwc_row_of(const dwc_walk *walk) {
    return &walk->axes.axis[walk->axes.count - 2];
}

DWC_HIDDEN int64_t dwc_array_elements(const dwc_array *a);
DWC_HIDDEN int dwc_same_shape(const dwc_array *a, const dwc_array *b);

/* `each` gets up to so many rows and elements at a time, whose first ones are at data: along row[0] and row[1]. */
typedef void (*dwc_rows_function)(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                                  int64_t count);
typedef struct dwc_rows_job {
    dwc_walk walk;
    int64_t rows, count; /* at a time */
    dwc_rows_function each;
    const void *context;
} dwc_rows_job;

DWC_HIDDEN void dwc_run_rows(const dwc_rows_job *job, const dwconv_threads *threads, int workers);

/* Array 0 becomes array 1, whatever their strides: run_copy.c. */
DWC_HIDDEN void dwc_copy(const dwc_kernel_table *table, dwc_walk walk, const dwconv_threads *threads,
                         int workers);
/* How many workers it is worth to wake for moving as many elements as the output has, reading so many arrays. */
DWC_HIDDEN int dwc_copy_workers(const dwc_node_call *call, int reads);

#endif
