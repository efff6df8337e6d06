/* Problems (a descriptor with its random weights), tensors in any layout, and the error bound. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <stddef.h>
#include <stdint.h>

#include "../../csrc/dwconv.h"

/* ---- random numbers: splitmix64, the same on every machine -------------------------------- */

typedef struct rng {
    uint64_t state;
} rng;

uint64_t rng_next(rng *r);
int64_t rng_range(rng *r, int64_t low, int64_t high); /* low and high included */
float rng_float(rng *r);                              /* in [-1, 1) */

/* ---- problems ------------------------------------------------------------------------------ */

typedef enum operation {
    DEPTHWISE,
    POINTWISE,
    CONV,
    SEPARABLE,
    INVERTED_RESIDUAL,
    OPERATION_COUNT
} operation;

typedef struct shape {
    operation operation;
    int64_t batch, height, width;
    int64_t in_channels, multiplier, out_channels, groups;
    int64_t expanded; /* inverted residual: channels after the expansion, 0 for none */
    int64_t squeezed; /* inverted residual: channels between squeeze and excite, 0 for neither */
    dwconv_window window;
    dwconv_activation activation, gate; /* gate: of excite; squeeze has `activation` */
    int has_bias, without_residual;
} shape;

enum { MAX_STAGES = 5 };

typedef struct problem {
    shape shape;
    dwconv_desc desc; /* of parts[0] */
    dwconv_desc
        magnitude; /* of parts[1]: absolute weights, identity: its reference bounds every intermediate sum */
    double unit;   /* error <= unit * magnitude: terms of all stages times eps */
    dwconv_conv_desc parts[2][MAX_STAGES];
    int64_t input[4], output[4];
    float *memory[4 * MAX_STAGES];
    int memory_count;
} problem;

/* 1 on success, 0 if the geometry is impossible (then nothing needs to be freed). Descriptors of p point into it. */
int problem_create(problem *p, const shape *s, rng *r);
void problem_free(problem *p);
const char *shape_text(const shape *s); /* a static buffer */

/* The grid of shapes that every test shares; NULL after the last one. */
const shape *grid_shape(int index);
/* A random geometry of a random operation, not always a possible one. */
shape random_shape(rng *r);

/* ---- tensors ------------------------------------------------------------------------------- */

typedef enum layout {
    DENSE,
    PIXEL_GAP,
    ROW_GAP,
    IMAGE_GAP,
    ALL_GAPS,
    FLIPPED_ROWS,
    ROTATED,
    LAYOUT_COUNT
} layout;

typedef struct buffer {
    dwconv_tensor tensor;
    float *memory;
    size_t floats;
    unsigned char *is_element; /* per float of memory */
} buffer;

/* All floats of the memory, elements included, start as one NaN pattern. */
void buffer_create(buffer *b, const int64_t dims[4], layout how);
void buffer_free(buffer *b);
void buffer_fill(buffer *b, rng *r);
void buffer_copy(buffer *to, const buffer *from); /* the elements, whatever the layouts */
int buffer_gaps_intact(const buffer *b);
int buffer_same_bits(const buffer *a, const buffer *b);
float *tensor_at(const dwconv_tensor *t, int64_t n, int64_t y, int64_t x, int64_t c);

/* The reference of `p` on x, and the bound on the error of every element. Both are dense. */
typedef struct expectation {
    buffer value, bound;
} expectation;

void expectation_create(expectation *e, const problem *p, const buffer *x);
void expectation_free(expectation *e);
/* 1 if every element of y is within its bound; else the worst element is described in `message`. */
int expectation_met(const expectation *e, const dwconv_tensor *y, char *message, size_t message_size);

/* ---- running ------------------------------------------------------------------------------- */

/* Creates the plan of p on an instruction set, runs it with its own scratch, destroys it. */
dwconv_status problem_run(const problem *p, const char *isa, const buffer *x, buffer *y,
                          const dwconv_threads *threads);

/* The number that dwconv_explain tells of a run under this key; -1 if there is none. */
int64_t explained(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                  const char *key);

void *aligned_memory(size_t bytes); /* to DWCONV_ALIGNMENT; NULL for 0 bytes; for free() */

#endif
