/* Unary and binary nodes: rows of elements, through kernels that want them next to each other. */
#include "walk.h"

enum {
    PIECE =
        2048, /* elements at a time: an output that is activated afterwards is still in the first-level cache */
    FEW_ROWS = 8, /* fewer are not worth a call of a kernel */
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

static void each_rows(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                      int64_t count) {
    const each *e = context;
    const int inputs = reads(e->call);
    dwc_each_call c = kernel_call(e->call);
    c.rows = rows;
    c.count = count;
    c.y = dwc_floats(data[0]);
    c.y_row = row->step[0];
    for (int k = 0; k < inputs; k++) {
        c.x[k] = dwc_floats(data[k + 1]);
        c.x_row[k] = row->step[k + 1];
        c.x_step[k] = (int)row[1].step[k + 1];
    }
    if (rows > 1 && count < SHORT && are_dense(&c, inputs))
        run_short(e, c, inputs);
    else
        e->kernel(&c);
}

/* ---- any strides -------------------------------------------------------------------------- */

/* Through buffers: rows are short pieces, count is at most PATTERN. */
static void each_strided(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                         int64_t count) {
    const each *e = context;
    float x[2][PATTERN], y[PATTERN];
    dwc_each_call c = kernel_call(e->call);
    c.rows = 1;
    c.count = count;
    c.y = y;
    for (int64_t r = 0; r < rows; r++) {
        for (int k = 0; k < reads(e->call); k++) {
            const int64_t step = row[1].step[k + 1];
            const float *from = dwc_floats(data[k + 1]) + r * row->step[k + 1];
            for (int64_t i = 0; i < count; i++) x[k][i] = from[i * step];
            c.x[k] = x[k];
            c.x_step[k] = 1;
        }
        e->kernel(&c);
        const int64_t step = row[1].step[0];
        float *to = dwc_floats(data[0]) + r * row->step[0];
        for (int64_t i = 0; i < count; i++) to[i * step] = y[i];
    }
}

static int is_strided(const dwc_axis *elements, int inputs) {
    if (elements->size > 1 && elements->step[0] != 1) return 1;
    for (int k = 1; k <= inputs; k++)
        if (elements->step[k] != 0 && elements->step[k] != 1) return 1;
    return 0;
}

/* ---- nodes -------------------------------------------------------------------------------- */

static int workers(const dwc_node_call *call) {
    const dwconv_node *n = call->node;
    const double elements = (double)dwc_array_elements(&call->out);
    return dwc_worker_count(call->threads,
                            dwc_each_nanoseconds(n->function, n->activation.kind, elements, reads(call)));
}

/* A kernel gets rows of one axis together. Where they are few, as many as a pixel is repeated, those of the axis before. */
static void lengthen_rows(dwc_walk *walk) {
    dwc_axes *axes = &walk->axes;
    if (axes->count < 3) return;
    dwc_axis *rows = &axes->axis[axes->count - 2], *before = rows - 1;
    if (rows->size >= before->size || rows->size >= FEW_ROWS) return;
    const dwc_axis shorter = *rows;
    *rows = *before;
    *before = shorter;
}

/* Few elements, all of them in the order of the output: one row, without a walk to find out. */
static int run_dense(const dwc_node_call *call, void (*kernel)(const dwc_each_call *)) {
    dwc_each_call c = kernel_call(call);
    c.rows = 1;
    c.count = c.y_row = dwc_array_elements(&call->out);
    c.y = call->out.data;
    if (c.count > PIECE || !dwc_is_dense(&call->out)) return 0;
    for (int k = 0; k < reads(call); k++) {
        if (!dwc_same_shape(&call->in[k], &call->out) || !dwc_is_dense(&call->in[k])) return 0;
        c.x[k] = call->in[k].data;
        c.x_row[k] = c.count;
        c.x_step[k] = 1;
    }
    kernel(&c);
    return 1;
}

static void run(const dwc_node_call *call) {
    const dwc_each_kernels *kernels = &call->table->each;
    if (run_dense(call, reads(call) == 1 ? kernels->unary : kernels->binary)) return;
    const each e = {call, reads(call) == 1 ? kernels->unary : kernels->binary};
    dwc_rows_job job = {.walk = dwc_walk_of(&call->out, call->in, reads(call)), .context = &e};
    lengthen_rows(&job.walk);
    const dwc_axis *elements = dwc_row_of(&job.walk) + 1;
    const int strided = is_strided(elements, reads(call));
    job.each = strided ? each_strided : each_rows;
    job.count = smaller(elements->size, strided ? PATTERN : PIECE);
    job.rows = larger(PIECE / job.count, 1);
    dwc_run_rows(&job, call->threads, workers(call));
}

static dwconv_status check_unary(const dwc_node_call *call) {
    if ((unsigned)call->node->function >= DWCONV_UNARY_COUNT) return DWCONV_BAD_VALUE;
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

static dwconv_status check_binary(const dwc_node_call *call) {
    const dwconv_function f = call->node->function;
    if (f < DWCONV_PLUS || f >= DWCONV_BINARY_END) return DWCONV_BAD_VALUE;
    return dwc_broadcasts(&call->in[0], &call->in[1], &call->out, call->out.rank) ? DWCONV_OK
                                                                                  : DWCONV_BAD_SHAPE;
}

const dwc_node_class dwc_class_unary = {
    .name = "unary", .inputs = 1, .in_place = 1, .check = check_unary, .run = run, .workers = workers};
const dwc_node_class dwc_class_binary = {
    .name = "binary", .inputs = 2, .in_place = 1, .check = check_binary, .run = run, .workers = workers};
