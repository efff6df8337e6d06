/* Nodes on 8-bit integers, element by element: rows through kernels that want elements next to each other. */
#include <string.h>

#include "../schedule/schedule_nodes.h"
#include "walk.h"

enum {
    BYTE_PIECE = 8192, /* elements at a time */
    BUFFER = 256,      /* elements of rows with other steps, through buffers */
    PACKED = 4096,     /* bytes of short rows, put next to each other */
    SHORT_ROW = 256,   /* rows from here on lose little at their ends */
    WHOLE = 64         /* bytes that kernels take at once: what is left over they take one by one */
};

/* What a node gives for elements of one row, next to each other; x_step of each input is 0 or 1. */
typedef struct piece {
    const dwc_node_call *call;
    const char *x[2];
    int x_step[2];
    char *y;
    int64_t count;
} piece;

typedef struct each {
    const dwc_node_call *call;
    int inputs;
    int64_t unit[DWC_MOST_OPERANDS]; /* bytes of an element */
    void (*run)(const piece *);
} each;

dwconv_status dwc_prepare_bytes(const dwc_node_call *call, dwc_byte_parameters *p) {
    const dwc_typed in[2] = {{call->in[0].dtype, call->in[0].quant}, {call->in[1].dtype, call->in[1].quant}};
    const dwc_typed out = {call->out.dtype, call->out.quant};
    return dwc_quantize_network_node(call->node, call->rounding, in, out, p);
}

/* ---- kinds ------------------------------------------------------------------------------------ */

static uint8_t *as_bytes(char *p) { return (uint8_t *)p; }
static const uint8_t *from_bytes(const char *p) { return (const uint8_t *)p; }

static void lookup_piece(const piece *p) {
    p->call->table->bytes.lookup(from_bytes(p->x[0]), p->count, p->call->in[1].bytes, as_bytes(p->y));
}

static void quantize_piece(const piece *p) {
    const float *x = (const float *)(const void *)p->x[0];
    p->call->table->bytes.quantize(x, p->count, p->call->parameters, as_bytes(p->y));
}

static void dequantize_piece(const piece *p) {
    p->call->table->bytes.dequantize(from_bytes(p->x[0]), p->count, p->call->parameters, dwc_floats(p->y));
}

/* Differences are taken modulo 2^32, as those of TensorFlow Lite. */
static void dequantize_words(const piece *p) {
    const dwc_byte_parameters *q = p->call->parameters;
    const int32_t *x = (const int32_t *)(const void *)p->x[0];
    float *y = dwc_floats(p->y);
    for (int64_t i = 0; i < p->count; i++)
        y[i] = q->scale[0] * (float)(int32_t)((uint32_t)x[i] - (uint32_t)q->zero[0]);
}

static void binary_piece(const piece *p) {
    const dwc_byte_binary rows = {.parameters = p->call->parameters,
                                  .rows = 1,
                                  .count = p->count,
                                  .x = {from_bytes(p->x[0]), from_bytes(p->x[1])},
                                  .x_step = {p->x_step[0], p->x_step[1]},
                                  .y = as_bytes(p->y)};
    p->call->table->bytes.binary(&rows);
}

/* ---- rows --------------------------------------------------------------------------------------- */

static void gather(const char *from, int64_t step, int64_t unit, int64_t count, char *to) {
    if (unit == 1)
        for (int64_t i = 0; i < count; i++) to[i] = from[i * step];
    else
        for (int64_t i = 0; i < count; i++) memcpy(to + 4 * i, from + 4 * i * step, 4);
}

static void scatter(const char *from, int64_t step, int64_t unit, int64_t count, char *to) {
    if (unit == 1)
        for (int64_t i = 0; i < count; i++) to[i * step] = from[i];
    else
        for (int64_t i = 0; i < count; i++) memcpy(to + 4 * i * step, from + 4 * i, 4);
}

/* Part of a row whose steps are others, BUFFER elements at most; `elements`: along it. */
static void run_strided(const each *e, const dwc_axis *elements, piece p) {
    _Alignas(64) char x[2][4 * BUFFER], y[4 * BUFFER];
    char *const to = p.y;
    for (int k = 0; k < e->inputs; k++) {
        if (p.x_step[k] == 1 || (e->inputs == 2 && elements->step[k + 1] == 0)) continue;
        gather(p.x[k], elements->step[k + 1], e->unit[k + 1], p.count, x[k]);
        p.x[k] = x[k];
        p.x_step[k] = 1;
    }
    const int direct = elements->step[0] == 1;
    if (!direct) p.y = y;
    e->run(&p);
    if (!direct) scatter(y, elements->step[0], e->unit[0], p.count, to);
}

static int is_direct(const each *e, const dwc_axis *elements, int64_t count) {
    if (count == 1) return 1;
    if (elements->step[0] != 1) return 0;
    for (int k = 1; k <= e->inputs; k++)
        if (elements->step[k] != 1 && (elements->step[k] != 0 || e->inputs == 1)) return 0;
    return 1;
}

/* ---- short rows --------------------------------------------------------------------------------- */

/* Whether rows of bytes are better packed: those of few channels, which one vector of all channels multiplies or that are
 * part of a concatenation. */
static int is_packed(const each *e, const dwc_axis *elements, int64_t rows, int64_t count) {
    if (rows < 2 || count >= SHORT_ROW || count % WHOLE == 0 || elements->step[0] != 1) return 0;
    for (int k = 0; k <= e->inputs; k++)
        if (e->unit[k] != 1 || (elements->step[k] != 1 && elements->step[k] != 0)) return 0;
    return 1;
}

static void pack(const char *from, int64_t row_step, int64_t step, int64_t rows, int64_t count, char *to) {
    for (int64_t r = 0; r < rows; r++, from += row_step, to += count) {
        if (step == 1)
            memcpy(to, from, (size_t)count);
        else
            memset(to, *from, (size_t)count);
    }
}

static void run_packed(const each *e, const dwc_axis *row, char *const data[], int64_t rows, int64_t count) {
    _Alignas(64) char x[2][PACKED], y[PACKED];
    const int64_t together = PACKED / count;
    for (int64_t r = 0; r < rows; r += together) {
        const int64_t n = smaller(together, rows - r);
        char *to = data[0] + r * row->step[0];
        const int direct = row->step[0] == count;
        piece p = {.call = e->call, .x_step = {1, 1}, .y = direct ? to : y, .count = n * count};
        for (int k = 0; k < e->inputs; k++) {
            const int64_t row_step = row->step[k + 1], step = row[1].step[k + 1];
            const char *from = data[k + 1] + r * row_step;
            p.x[k] = step == 1 && row_step == count ? from : x[k];
            if (p.x[k] == x[k] && (row_step != 0 || r == 0)) pack(from, row_step, step, n, count, x[k]);
        }
        e->run(&p);
        for (int64_t i = 0; i < n && !direct; i++)
            memcpy(to + i * row->step[0], y + i * count, (size_t)count);
    }
}

static void each_bytes(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                       int64_t count) {
    const each *e = context;
    const dwc_axis *elements = row + 1;
    if (is_packed(e, elements, rows, count)) {
        run_packed(e, row, data, rows, count);
        return;
    }
    const int64_t size = is_direct(e, elements, count) ? count : BUFFER;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t at = 0; at < count; at += size) {
            piece p = {.call = e->call, .count = smaller(size, count - at)};
            p.y = data[0] + (r * row->step[0] + at * elements->step[0]) * e->unit[0];
            for (int k = 0; k < e->inputs; k++) {
                p.x[k] = data[k + 1] + (r * row->step[k + 1] + at * elements->step[k + 1]) * e->unit[k + 1];
                p.x_step[k] = elements->step[k + 1] == 1;
            }
            if (size == count)
                e->run(&p);
            else
                run_strided(e, elements, p);
        }
}

/* Rows that a kernel of two inputs can take at once. */
static void binary_rows(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                        int64_t count) {
    const each *e = context;
    const dwc_axis *elements = row + 1;
    if (!is_direct(e, elements, 2) || is_packed(e, elements, rows, count)) {
        each_bytes(context, row, data, rows, count);
        return;
    }
    const dwc_byte_binary call = {.parameters = e->call->parameters,
                                  .rows = rows,
                                  .count = count,
                                  .x = {from_bytes(data[1]), from_bytes(data[2])},
                                  .x_row = {row->step[1], row->step[2]},
                                  .x_step = {(int)elements->step[1], (int)elements->step[2]},
                                  .y = as_bytes(data[0]),
                                  .y_row = row->step[0]};
    e->call->table->bytes.binary(&call);
}

/* ---- nodes ---------------------------------------------------------------------------------------- */

static int element_inputs(const dwc_node_call *call) { return call->node->kind == DWCONV_BINARY ? 2 : 1; }

static int workers(const dwc_node_call *call) {
    const double elements = (double)dwc_array_elements(&call->out);
    return dwc_worker_count(call->threads, dwc_byte_nanoseconds(call->node, call->rounding, elements));
}

static void run(const dwc_node_call *call) {
    each e = {.call = call, .inputs = element_inputs(call)};
    switch (call->node->kind) {
        case DWCONV_LOOKUP: e.run = lookup_piece; break;
        case DWCONV_QUANTIZE: e.run = quantize_piece; break;
        case DWCONV_DEQUANTIZE:
            e.run = call->in[0].dtype == DWCONV_S32 ? dequantize_words : dequantize_piece;
            break;
        default: e.run = binary_piece; break;
    }
    dwc_rows_job job = {.walk = dwc_walk_of(&call->out, call->in, e.inputs), .context = &e};
    memcpy(e.unit, job.walk.unit, sizeof e.unit);
    job.each = e.inputs == 2 ? binary_rows : each_bytes;
    job.count = smaller(dwc_row_of(&job.walk)[1].size, BYTE_PIECE);
    job.rows = larger(BYTE_PIECE / job.count, 1);
    dwc_run_rows(&job, call->threads, workers(call));
}

/* Of every channel its own table: another operand, whose elements are tables. */
static void each_of_channels(const void *context, const dwc_axis *row, char *const data[], int64_t rows,
                             int64_t count) {
    const int64_t to = row[1].step[0], from = row[1].step[1], of_table = row[1].step[2];
    (void)context;
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *y = as_bytes(data[0]) + r * row->step[0];
        const uint8_t *x = from_bytes(data[1]) + r * row->step[1];
        const uint8_t *table = from_bytes(data[2]) + r * row->step[2];
        if (to == 1 && from == 1)
            for (int64_t i = 0; i < count; i++, table += of_table) y[i] = table[x[i]];
        else
            for (int64_t i = 0; i < count; i++, table += of_table) y[i * to] = table[x[i * from]];
    }
}

static void run_lookup(const dwc_node_call *call) {
    const dwc_array *table = &call->in[1];
    if (table->rank == 1) {
        run(call);
        return;
    }
    dwc_array in[2] = {call->in[0], *table};
    in[1].rank = 1; /* of a channel the begin of its table */
    dwc_rows_job job = {.walk = dwc_walk_of(&call->out, in, 2), .each = each_of_channels};
    job.count = smaller(dwc_row_of(&job.walk)[1].size, BYTE_PIECE);
    job.rows = larger(BYTE_PIECE / job.count, 1);
    dwc_run_rows(&job, call->threads, workers(call));
}

static dwconv_status check_lookup(const dwc_node_call *call) {
    const dwc_array *table = &call->in[1];
    if (dwc_unit(call->in[0].dtype) != 1 || dwc_unit(call->out.dtype) != 1 || table->dtype != call->out.dtype)
        return DWCONV_BAD_DTYPE;
    if (!dwc_same_shape(&call->in[0], &call->out)) return DWCONV_BAD_SHAPE;
    const int rank = table->rank, channels_at = call->out.rank - 1;
    if (rank < 1 || rank > 2 || table->shape[rank - 1] != 256) return DWCONV_BAD_SHAPE;
    if (rank == 2 && (channels_at < 0 || table->shape[0] != call->out.shape[channels_at]))
        return DWCONV_BAD_SHAPE;
    return table->strides[rank - 1] == 1 ? DWCONV_OK : DWCONV_BAD_LAYOUT;
}

static dwconv_status check_quantize(const dwc_node_call *call) {
    const dwconv_dtype from = call->in[0].dtype, to = call->out.dtype;
    if (from != DWCONV_F32 || dwc_unit(to) != 1) return DWCONV_BAD_DTYPE;
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

static dwconv_status check_dequantize(const dwc_node_call *call) {
    if (call->in[0].dtype == DWCONV_F32 || call->out.dtype != DWCONV_F32) return DWCONV_BAD_DTYPE;
    return dwc_same_shape(&call->in[0], &call->out) ? DWCONV_OK : DWCONV_BAD_SHAPE;
}

static dwconv_status check_binary(const dwc_node_call *call) {
    return dwc_broadcasts(&call->in[0], &call->in[1], &call->out, call->out.rank) ? DWCONV_OK
                                                                                  : DWCONV_BAD_SHAPE;
}

const dwc_node_class dwc_class_lookup = {.name = "lookup",
                                         .inputs = 2,
                                         .in_place = 1,
                                         .types = DWC_TYPES_OWN,
                                         .check = check_lookup,
                                         .run = run_lookup,
                                         .workers = workers};
const dwc_node_class dwc_class_quantize = {.name = "quantize",
                                           .inputs = 1,
                                           .types = DWC_TYPES_OWN,
                                           .check = check_quantize,
                                           .prepare = dwc_prepare_bytes,
                                           .run = run,
                                           .workers = workers};
const dwc_node_class dwc_class_dequantize = {.name = "dequantize",
                                             .inputs = 1,
                                             .types = DWC_TYPES_OWN,
                                             .check = check_dequantize,
                                             .prepare = dwc_prepare_bytes,
                                             .run = run,
                                             .workers = workers};
const dwc_node_class dwc_class_byte_binary = {.name = "binary",
                                              .inputs = 2,
                                              .in_place = 1,
                                              .types = DWC_TYPES_BYTES,
                                              .check = check_binary,
                                              .prepare = dwc_prepare_bytes,
                                              .run = run,
                                              .workers = workers};
