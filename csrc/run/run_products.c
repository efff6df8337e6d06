/* Products of activations by the matrix kernel: the second factor of each is packed into panels, as filters are. */
#include <math.h>
#include <string.h>

#include "../schedule/schedule_nodes.h"
#include "images.h"

enum { A, B, Y };

/* Elements [rows, columns] with a step for each. */
typedef struct matrix {
    int64_t row, column;
} matrix;

typedef struct job {
    const dwc_node_call *call;
    dwc_axes axes;    /* of products, outermost first */
    dwc_axes factors; /* those of them along which b has more than one */
    matrix a, b, y;   /* [m, k], [k, n], [m, n] */
    const float *data_a, *data_b;
    float *data_y;
    dwc_matmul_stage stage;
    dwc_mm_schedule how;
    dwc_products_problem problem;
    dwc_products_schedule schedule;
    int copies_a, copies_y; /* the kernel takes and gives rows of contiguous elements */
    float *panels, *bias, *blocks;
    int64_t block_floats; /* of a worker */
} job;

/* ---- packing ------------------------------------------------------------------------------------ */

/* Elements [rows, columns] to where rows are of contiguous elements, and `to_row` apart. */
static void copy_matrix(const job *j, const float *x, matrix step, int64_t rows, int64_t columns, float *to,
                        int64_t to_row) {
    if (step.row == 1) {
        j->call->table->each.transpose(x, step.column, rows, columns, to, to_row);
        return;
    }
    for (int64_t row = 0; row < rows; row++, x += step.row, to += to_row)
        if (step.column == 1)
            memcpy(to, x, (size_t)columns * sizeof(float));
        else
            for (int64_t i = 0; i < columns; i++) to[i] = x[i * step.column];
}

/* A panel of a factor: [k][columns of the panel], those beyond the last 0. */
static void pack_panel(const job *j, const float *b, float *to, int64_t first) {
    const dwc_matmul_stage *s = &j->stage;
    const int64_t k = j->problem.k, width = smaller(s->panel, s->padded - first);
    const int64_t used = smaller(width, j->problem.n - first);
    to += first * k;
    copy_matrix(j, b + first * j->b.column, j->b, k, used, to, width);
    for (int64_t i = 0; used < width && i < k; i++)
        memset(to + i * width + used, 0, (size_t)(width - used) * sizeof(float));
}

static int64_t panel_count(const job *j) { return divide_up(j->stage.padded, j->stage.panel); }

/* Where the factor of a product begins, and which of the different ones it is. */
static int64_t factor_of(const job *j, int64_t product, int64_t at[DWC_MOST_OPERANDS]) {
    int64_t factor = 0, unit = 1;
    dwc_axes_at(&j->axes, product, at);
    for (int i = j->axes.count - 1; i >= 0; product /= j->axes.axis[i--].size)
        if (j->axes.axis[i].step[B]) {
            factor += product % j->axes.axis[i].size * unit;
            unit *= j->axes.axis[i].size;
        }
    return factor;
}

/* ---- multiplying -------------------------------------------------------------------------------- */

/* The block of rows [begin, end) of a product, copied where its elements do not follow each other. */
static const float *rows_of_a(const job *j, const float *a, int64_t begin, int64_t end, float *copy) {
    a += begin * j->a.row;
    if (!j->copies_a) return a;
    copy_matrix(j, a, j->a, end - begin, j->problem.k, copy, j->problem.k);
    return copy;
}

static void multiply(const job *j, const float *panels, const float *a, float *y, int64_t begin, int64_t end,
                     int worker) {
    const dwc_products_problem *p = &j->problem;
    const int64_t block = j->copies_a || j->copies_y ? j->schedule.block_rows : end - begin;
    float *copy_a = j->blocks + worker * j->block_floats;
    float *copy_y = copy_a + (j->copies_a ? j->schedule.block_rows * p->k : 0);
    dwc_matmul_stage stage = j->stage;
    stage.weights = panels;
    stage.bias = j->bias;
    for (int64_t stop; begin < end; begin = stop) {
        stop = smaller(begin + block, end);
        const dwc_matmul_rows rows = {.stage = &stage,
                                      .how = &j->how,
                                      .x = rows_of_a(j, a, begin, stop, copy_a),
                                      .x_row = j->copies_a ? p->k : j->a.row,
                                      .x_pixel = p->k,
                                      .in_h = stop - begin,
                                      .in_w = 1,
                                      .y = j->copies_y ? copy_y : y + begin * j->y.row,
                                      .y_row = j->copies_y ? p->n : j->y.row,
                                      .y_pixel = p->n,
                                      .out_w = 1,
                                      .row_end = stop - begin,
                                      .column_end = p->n};
        dwc_run_matmul_rows(&rows);
        for (int64_t m = begin; j->copies_y && m < stop; m++)
            for (int64_t n = 0; n < p->n; n++)
                y[m * j->y.row + n * j->y.column] = copy_y[(m - begin) * p->n + n];
    }
}

/* ---- items -------------------------------------------------------------------------------------- */

/* Panels for all. */
static void pack_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t factor = item / panel_count(j), panel = item % panel_count(j);
    int64_t at[DWC_MOST_OPERANDS];
    (void)worker;
    dwc_axes_at(&j->factors, factor, at);
    pack_panel(j, j->data_b + at[B], j->panels + factor * j->schedule.panels, panel * j->stage.panel);
}

static void multiply_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_items *rows = &j->schedule.rows;
    const int64_t begin = item % rows->count * rows->size;
    int64_t at[DWC_MOST_OPERANDS];
    const int64_t factor = factor_of(j, item / rows->count, at);
    multiply(j, j->panels + factor * j->schedule.panels, j->data_a + at[A], j->data_y + at[Y], begin,
             smaller(begin + rows->size, rows->units), worker);
}

/* Panels of each worker's own: an item is a run of products, which may share a factor. */
static void own_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const int64_t products = j->problem.products, items = smaller(products, j->schedule.runs);
    float *panels = j->panels + worker * j->schedule.panels;
    int64_t packed = -1, at[DWC_MOST_OPERANDS];
    for (int64_t i = products * item / items; i < products * (item + 1) / items; i++) {
        const int64_t factor = factor_of(j, i, at);
        for (int64_t p = 0; factor != packed && p < panel_count(j); p++)
            pack_panel(j, j->data_b + at[B], panels, p * j->stage.panel);
        packed = factor;
        multiply(j, panels, j->data_a + at[A], j->data_y + at[Y], 0, j->problem.m, worker);
    }
}

/* ---- the node ----------------------------------------------------------------------------------- */

/* Of the last two axes, or of these exchanged. */
static matrix matrix_of(const dwc_array *a, int turned) {
    const int64_t row = dwc_step_of(a, a->rank - 2), column = dwc_step_of(a, a->rank - 1);
    return turned ? (matrix){column, row} : (matrix){row, column};
}

/* Whether y's transpose, b's transpose times a's, takes less copying. */
static int pays_to_turn(const dwc_array *a, const dwc_array *b, const dwc_array *y) {
    const int last = y->rank - 1;
    const int64_t m = y->shape[last - 1], n = y->shape[last];
    if (n > 1 && y->strides[last] != 1) return m > 1 && y->strides[last - 1] == 1;
    /* One row times the transpose of a matrix: that has rows of contiguous elements. */
    return m == 1 && n > 1 && y->strides[last] == 1 && b->shape[b->rank - 2] > 1 &&
           b->strides[b->rank - 2] == 1 && (a->shape[a->rank - 1] == 1 || a->strides[a->rank - 1] == 1);
}

/* A product whose second factor is for all of an axis is one more row of the first. */
static void merge_rows(job *j) {
    int64_t step[DWC_MOST_OPERANDS];
    if (!j->axes.count) return;
    const int64_t m = j->problem.m, *last = j->axes.axis[j->axes.count - 1].step;
    if (last[B] != 0 || (m > 1 && (last[A] != m * j->a.row || last[Y] != m * j->y.row))) return;
    j->problem.m = m * dwc_pop_axis(&j->axes, step);
    if (m > 1) return;
    j->a.row = step[A];
    j->y.row = step[Y];
}

static job products_job(const dwc_node_call *call) {
    const dwc_array *y = &call->out;
    const int rank = y->rank, turned = pays_to_turn(&call->in[0], &call->in[1], y);
    const dwc_array *a = &call->in[turned], *b = &call->in[!turned];
    job j = {.call = call,
             .axes = {.operands = 3},
             .factors = {.operands = 3},
             .a = matrix_of(a, turned),
             .b = matrix_of(b, turned),
             .y = matrix_of(y, turned),
             .data_a = a->data,
             .data_b = b->data,
             .data_y = y->data};
    dwc_products_problem *p = &j.problem;
    for (int i = 0; i + 2 < rank; i++) {
        const int64_t step[DWC_MOST_OPERANDS] = {dwc_broadcast_step(a, rank, i),
                                                 dwc_broadcast_step(b, rank, i), dwc_step_of(y, i)};
        dwc_add_axis(&j.axes, y->shape[i], step);
    }
    p->m = y->shape[rank - 1 - !turned];
    p->n = y->shape[rank - 1 - turned];
    p->k = call->in[0].shape[call->in[0].rank - 1];
    merge_rows(&j);
    for (int i = 0; i < j.axes.count; i++)
        if (j.axes.axis[i].step[B]) dwc_add_axis(&j.factors, j.axes.axis[i].size, j.axes.axis[i].step);
    p->products = dwc_axes_size(&j.axes);
    p->factors = dwc_axes_size(&j.factors);
    j.copies_a = p->k > 1 && j.a.column != 1;
    j.copies_y = p->n > 1 && j.y.column != 1;
    j.stage = (dwc_matmul_stage){
        .window =
            {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1},
        .groups = 1,
        .group_inputs = p->k,
        .group_outputs = p->n,
        .activation = {DWCONV_CLIP, -INFINITY, INFINITY}};
    dwc_choose_matmul(&j.stage, call->table);
    p->padded = j.stage.padded;
    j.how = dwc_schedule_matmul(&j.stage, p->n);
    j.schedule = dwc_schedule_products(p, call->threads);
    j.block_floats = dwc_scratch_lines((j.copies_a ? j.schedule.block_rows * p->k : 0) +
                                       (j.copies_y ? j.schedule.block_rows * p->n : 0));
    j.bias = call->scratch;
    if (j.bias) {
        j.panels = j.bias + dwc_scratch_lines(p->padded);
        j.blocks = j.panels + j.schedule.copies * j.schedule.panels;
    }
    return j;
}

static dwconv_status products_check(const dwc_node_call *call) {
    const dwc_array *a = &call->in[0], *b = &call->in[1], *y = &call->out;
    if (a->rank < 2 || b->rank < 2 || !dwc_broadcasts(a, b, y, y->rank - 2)) return DWCONV_BAD_SHAPE;
    if (a->shape[a->rank - 1] != b->shape[b->rank - 2] || y->shape[y->rank - 2] != a->shape[a->rank - 2] ||
        y->shape[y->rank - 1] != b->shape[b->rank - 1])
        return DWCONV_BAD_SHAPE;
    DWC_TRY(dwc_check_size(a->shape[a->rank - 1]));
    DWC_TRY(dwc_check_size(y->shape[y->rank - 2]));
    return dwc_check_size(y->shape[y->rank - 1]);
}

static dwconv_status products_scratch(const dwc_node_call *call, size_t *bytes) {
    int64_t rows, panel_floats, panels;
    const job j = products_job(call);
    /* Room for any sum of these below. */
    if (!dwc_multiply(j.problem.k, j.stage.padded + DWC_LINE_FLOATS, &panel_floats) ||
        !dwc_multiply(panel_floats, j.schedule.copies, &panels) || panels > INT64_MAX / 16)
        return DWCONV_OVERFLOW;
    if (!dwc_multiply(j.schedule.block_rows, j.problem.k + j.problem.n, &rows)) return DWCONV_OVERFLOW;
    return dwc_worker_scratch(dwc_scratch_lines(j.stage.padded) + j.schedule.copies * j.schedule.panels,
                              j.block_floats, j.schedule.rows.seats, bytes);
}

static int products_workers(const dwc_node_call *call) { return products_job(call).schedule.rows.workers; }

static void products_node(const dwc_node_call *call) {
    job j = products_job(call);
    const dwc_products_schedule *s = &j.schedule;
    memset(j.bias, 0, (size_t)j.problem.padded * sizeof(float));
    if (s->shared) {
        const dwc_phase phases[] = {{j.problem.factors * panel_count(&j), pack_task},
                                    {j.problem.products * s->rows.count, multiply_task}};
        dwc_parallel_phases(call->threads, s->rows.workers, phases, 2, &j);
    } else {
        dwc_parallel(call->threads, s->rows.workers, smaller(j.problem.products, s->runs), own_task, &j);
    }
}

const dwc_node_class dwc_class_matmul = {.name = "matmul",
                                         .inputs = 2,
                                         .check = products_check,
                                         .scratch = products_scratch,
                                         .run = products_node,
                                         .workers = products_workers};
