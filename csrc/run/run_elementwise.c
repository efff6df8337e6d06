/* Unary and binary nodes: rows of elements, through kernels that want them next to each other. */
#include "walk.h"

enum {
    PIECE =
        2048, /* elements at a time: an output that is activated afterwards is still in the first-level cache */
    SHORT = 64,   /* shorter rows that share an operand are computed several at a time */
    PATTERN = 256 /* elements of such an operand, repeated */
};

typedef struct each {
    const dwc_node_call *call;
    void (*kernel)(const dwc_each_call *);
} each;

static int reads(const dwc_node_call *call) { return call->node->kind == DWCONV_UNARY ? 1 : 2; }

static dwc_each_call kernel_call(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    return (dwc_each_call){.function = n->function,
                           .activation = n->activation,
                           .parameters = {n->parameters[0], n->parameters[1]}};
}

/* ---- rows that are contiguous ------------------------------------------------------------- */

/* The short row at `row`, repeated. */
static void repeat(const float *row, int64_t count, int64_t times, float *pattern) {
    for (int64_t t = 0; t < times; t++)
        for (int64_t i = 0; i < count; i++) *pattern++ = row[i];
}

/* Whether the elements of all rows follow each other, but for operands that all rows share. */
static int are_dense(const dwc_each_call *c, int inputs) {
    if (c->y_row != c->count) return 0;
    for (int k = 0; k < inputs; k++)
        if (c->x_step[k] != 1 || (c->x_row[k] != c->count && c->x_row[k] != 0)) return 0;
    return 1;
}

/* Short rows as longer ones, with a repeated operand: the remainders of vectors become few. */
static void run_short(const each *e, dwc_each_call c, int inputs) {
    float patterns[2][PATTERN];
    const int64_t count = c.count, times = smaller(PATTERN / count, c.rows), rest = c.rows % times;
    for (int k = 0; k < inputs; k++) {
        if (c.x_row[k]) {
            c.x_row[k] = times * count;
            continue;
        }
        repeat(c.x[k], count, times, patterns[k]);
        c.x[k] = patterns[k];
    }
    c.rows /= times;
    c.count = c.y_row = times * count;
    e->kernel(&c);
    if (!rest) return;
    c.y += c.rows * c.y_row;
    for (int k = 0; k < inputs; k++) c.x[k] += c.rows * c.x_row[k];
    c.rows = 1;
    c.count = rest * count;
    e->kernel(&c);
}

static void each_rows(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                      int64_t count) {
    const each *e = context;
    const int inputs = w->arrays - 1, last = w->rank - 1;
    dwc_each_call c = kernel_call(e->call);
    c.rows = rows;
    c.count = count;
    c.y = dwc_floats(data[0]);
    c.y_row = w->strides[0][last - 1];
    for (int k = 0; k < inputs; k++) {
        c.x[k] = dwc_floats(data[k + 1]);
        c.x_row[k] = w->strides[k + 1][last - 1];
        c.x_step[k] = (int)w->strides[k + 1][last];
    }
    if (rows > 1 && count < SHORT && are_dense(&c, inputs))
        run_short(e, c, inputs);
    else
        e->kernel(&c);
}

/* ---- any strides -------------------------------------------------------------------------- */

/* Through buffers: rows are short pieces, count is at most PATTERN. */
static void each_strided(const void *context, const dwc_walk *w, char *const data[], int64_t rows,
                         int64_t count) {
    const each *e = context;
    const int inputs = w->arrays - 1, last = w->rank - 1;
    float x[2][PATTERN], y[PATTERN];
    dwc_each_call c = kernel_call(e->call);
    c.rows = 1;
    c.count = count;
    c.y = y;
    for (int64_t row = 0; row < rows; row++) {
        for (int k = 0; k < inputs; k++) {
            const int64_t step = w->strides[k + 1][last];
            const float *from = dwc_floats(data[k + 1]) + row * w->strides[k + 1][last - 1];
            for (int64_t i = 0; i < count; i++) x[k][i] = from[i * step];
            c.x[k] = x[k];
            c.x_step[k] = 1;
        }
        e->kernel(&c);
        const int64_t step = w->strides[0][last];
        float *to = dwc_floats(data[0]) + row * w->strides[0][last - 1];
        for (int64_t i = 0; i < count; i++) to[i * step] = y[i];
    }
}

static int is_strided(const dwc_walk *w) {
    const int last = w->rank - 1;
    if (w->shape[last] > 1 && w->strides[0][last] != 1) return 1;
    for (int k = 1; k < w->arrays; k++)
        if (w->strides[k][last] != 0 && w->strides[k][last] != 1) return 1;
    return 0;
}

/* ---- nodes -------------------------------------------------------------------------------- */

static int workers(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    const double elements = (double)dwc_array_elements(&call->out);
    return dwc_worker_count(call->threads,
                            dwc_each_nanoseconds(n->function, n->activation.kind, elements, reads(call)));
}

static void run(const dwc_node_call *call) {
    const dwc_each_kernels *kernels = &call->table->each;
    const each e = {call, reads(call) == 1 ? kernels->unary : kernels->binary};
    dwc_rows_job job = {.walk = dwc_walk_of(&call->out, call->in, reads(call)), .context = &e};
    const int strided = is_strided(&job.walk);
    job.each = strided ? each_strided : each_rows;
    job.count = smaller(job.walk.shape[job.walk.rank - 1], strided ? PATTERN : PIECE);
    job.rows = larger(PIECE / job.count, 1);
    dwc_run_rows(&job, call->threads, workers(call));
}

static dwconv_status check_unary(const dwc_node_call *call) {
    if ((unsigned)call->node->function >= DWCONV_UNARY_COUNT) return DWCONV_BAD_VALUE;
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

/* An axis counted from the innermost one; missing ones are of size 1. */
static int64_t size_of(const dwc_array *a, int axis) {
    return axis < a->rank ? a->shape[a->rank - 1 - axis] : 1;
}

dwconv_status dwc_check_binary_shapes(const dwc_node_call *call) {
    const dwc_array *a = &call->in[0], *b = &call->in[1], *out = &call->out;
    if (out->rank != (a->rank > b->rank ? a->rank : b->rank)) return DWCONV_BAD_SHAPE;
    for (int i = 0; i < out->rank; i++) {
        const int64_t of_a = size_of(a, i), of_b = size_of(b, i);
        const int fits = of_a == of_b || of_a == 1 || of_b == 1;
        if (!fits || size_of(out, i) != larger(of_a, of_b)) return DWCONV_BAD_SHAPE;
    }
    return DWCONV_OK;
}

static dwconv_status check_binary(const dwc_node_call *call) {
    const dwconv_function f = call->node->function;
    if (f < DWCONV_PLUS || f >= DWCONV_BINARY_END) return DWCONV_BAD_VALUE;
    return dwc_check_binary_shapes(call);
}

const dwc_node_class dwc_class_unary = {
    .name = "unary", .inputs = 1, .in_place = 1, .check = check_unary, .run = run, .workers = workers};
const dwc_node_class dwc_class_binary = {
    .name = "binary", .inputs = 2, .in_place = 1, .check = check_binary, .run = run, .workers = workers};
