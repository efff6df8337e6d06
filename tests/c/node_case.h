/* Nodes of networks, called one by one: arrays in any layout between guard pages, and an oracle for each element. */
#ifndef NODE_CASE_H
#define NODE_CASE_H

#include "../../csrc/run/nodes.h"
#include "guarded.h"
#include "problem.h"

typedef enum strides {
    PACKED,
    GAPS,    /* after every row of the last axis and beyond */
    FLIPPED, /* the same with the outermost axis downwards */
    STEPS,   /* the last axis with a step of two */
    TURNED,  /* the first axis innermost */
    STRIDES_COUNT
} strides;

typedef struct array {
    dwc_array as;
    guarded memory;
    int64_t floats;
} array;

/* Elements are random in [-4, 4), all other floats a NaN pattern. */
array array_create(int rank, const int64_t *sizes, strides how, int at_end, rng *r);
void array_free(array *a);
float *array_at(const dwc_array *a, const int64_t *index);
int64_t array_elements(const dwc_array *a);
void array_index(const dwc_array *a, int64_t element, int64_t *index); /* of the n-th, outermost axis first */

typedef struct expected {
    double value, magnitude; /* error <= tolerance * magnitude */
} expected;

typedef struct node_case {
    dwconv_node node;
    int inputs;
    array in[DWCONV_NODE_INPUTS], out;
    expected (*oracle)(const struct node_case *c, const int64_t *index);
    double tolerance;
} node_case;

const dwc_node_class *class_of(dwconv_node_kind kind);
dwc_node_call node_call(const node_case *c, const dwc_kernel_table *table, const dwconv_threads *threads);
/* On every instruction set: results within their bounds, the same bits with 1, 2 and 3 threads, no other memory
 * touched. */
void check_node(node_case *c);
void node_case_free(node_case *c);

#endif
