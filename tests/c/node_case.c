/* Nodes of networks, called one by one: see node_case.h. */
#include "node_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static const uint32_t gap_bits = 0x7fc5a5a5u;

/* ---- arrays --------------------------------------------------------------------------------- */

float *array_at(const dwc_array *a, const int64_t *index) {
    float *at = a->data;
    for (int i = 0; i < a->rank; i++) at += index[i] * a->strides[i];
    return at;
}

int64_t array_elements(const dwc_array *a) {
    int64_t count = 1;
    for (int i = 0; i < a->rank; i++) count *= a->shape[i];
    return count;
}

void array_index(const dwc_array *a, int64_t element, int64_t *index) {
    for (int i = a->rank - 1; i >= 0; element /= a->shape[i--]) index[i] = element % a->shape[i];
}

array array_create(int rank, const int64_t *sizes, strides how, int at_end, rng *r) {
    array a = {.as = {.rank = rank}};
    int64_t step = how == STEPS ? 2 : 1, last = 0;
    for (int n = 0; n < rank; n++) {
        const int i = how == TURNED ? n : rank - 1 - n;
        a.as.shape[i] = sizes[i];
        a.as.strides[i] = step;
        last += (sizes[i] - 1) * step;
        step = step * sizes[i] + (how == GAPS || how == FLIPPED ? 1 + n % 3 : 0);
    }
    a.floats = last + 1;
    a.memory = guarded_create((size_t)a.floats * sizeof(float), at_end, sizeof(float));
    a.as.data = a.memory.data;
    for (int64_t i = 0; i < a.floats; i++) memcpy(&a.as.data[i], &gap_bits, sizeof gap_bits);
    if (how == FLIPPED && rank > 1) {
        a.as.data += (sizes[0] - 1) * a.as.strides[0];
        a.as.strides[0] = -a.as.strides[0];
    }
    for (int64_t i = 0; i < array_elements(&a.as); i++) {
        int64_t index[DWCONV_MAX_RANK];
        array_index(&a.as, i, index);
        *array_at(&a.as, index) = rng_float(r) * 4.0f;
    }
    return a;
}

void array_free(array *a) { guarded_free(&a->memory); }

void node_case_free(node_case *c) {
    for (int i = 0; i < c->inputs; i++) array_free(&c->in[i]);
    array_free(&c->out);
}

/* ---- running -------------------------------------------------------------------------------- */

const dwc_node_class *class_of(dwconv_node_kind kind) {
    switch (kind) {
        case DWCONV_REDUCE: return &dwc_class_reduce;
        case DWCONV_POOL: return &dwc_class_pool;
        case DWCONV_RESIZE: return &dwc_class_resize;
        case DWCONV_SOFTMAX: return &dwc_class_softmax;
        case DWCONV_LAYER_NORM: return &dwc_class_layer_norm;
        case DWCONV_MATMUL: return &dwc_class_matmul;
        default: return NULL;
    }
}

dwc_node_call node_call(const node_case *c, const dwc_kernel_table *table, const dwconv_threads *threads) {
    dwc_node_call call = {.node = &c->node, .table = table, .out = c->out.as, .threads = threads};
    for (int i = 0; i < c->inputs; i++) call.in[i] = c->in[i].as;
    return call;
}

/* Serial, but as the last of the workers: its share of the scratch must exist. */
static void last_worker_for(void *pool, int64_t items, dwconv_task task, void *context) {
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, *(const int *)pool - 1);
}

/* Results of a run, in order. */
static void run_node(node_case *c, const dwc_kernel_table *table, const dwconv_threads *threads,
                     float *results) {
    const dwc_node_class *class = class_of(c->node.kind);
    dwc_node_call call = node_call(c, table, threads), bare = call;
    size_t bytes = 0;
    bare.out.data = NULL;
    for (int i = 0; i < c->inputs; i++) bare.in[i].data = NULL;
    CHECK_STATUS(DWCONV_OK, class->check(&bare));
    if (class->scratch) CHECK_STATUS(DWCONV_OK, class->scratch(&bare, &bytes));
    guarded scratch = guarded_create(bytes, 1, DWCONV_ALIGNMENT);
    memset(scratch.data, 0xff, bytes);
    call.scratch = bytes ? scratch.data : NULL;
    call.scratch_bytes = bytes;
    for (int64_t i = 0; i < c->out.floats; i++)
        memcpy((float *)c->out.memory.data + i, &gap_bits, sizeof gap_bits);
    class->run(&call);
    CHECK(guarded_slack_intact(&scratch));
    guarded_free(&scratch);
    for (int64_t i = 0; i < array_elements(&c->out.as); i++) {
        int64_t index[DWCONV_MAX_RANK];
        array_index(&c->out.as, i, index);
        results[i] = *array_at(&c->out.as, index);
        memcpy(array_at(&c->out.as, index), &gap_bits, sizeof gap_bits);
    }
    int intact = 1;
    for (int64_t i = 0; i < c->out.floats; i++)
        intact &= memcmp((float *)c->out.memory.data + i, &gap_bits, sizeof gap_bits) == 0;
    CHECK(intact);
}

static int is_met(float found, expected e, double tolerance) {
    if (isnan(e.value)) return isnan(found);
    if (isinf(e.value)) return (double)found == e.value;
    return fabs((double)found - e.value) <= tolerance * e.magnitude + 1e-30;
}

static void check_values(const node_case *c, const float *results) {
    const int64_t count = array_elements(&c->out.as);
    expected e = {0, 0};
    int64_t i = 0;
    for (int met = 1; i < count && met; i += met) {
        int64_t index[DWCONV_MAX_RANK];
        array_index(&c->out.as, i, index);
        e = c->oracle(c, index);
        met = is_met(results[i], e, c->tolerance);
    }
    CHECK(i == count);
    if (i < count)
        printf("  element %lld is %.9g, expected %.9g\n", (long long)i, (double)results[i], e.value);
}

void check_node(node_case *c) {
    const size_t bytes = (size_t)array_elements(&c->out.as) * sizeof(float);
    float *serial = malloc(bytes), *results = malloc(bytes);
    char context[sizeof check_context];
    memcpy(context, check_context, sizeof context);
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        const dwc_kernel_table *table = dwc_kernel_table_of(isa);
        snprintf(check_context, sizeof check_context, "%s %.400s", isa, context);
        const dwconv_threads alone = {.count = 1};
        run_node(c, table, &alone, serial);
        check_values(c, serial);
        for (int count = 2; count <= 3; count++) {
            int workers = count;
            const dwconv_threads own = {.count = count};
            const dwconv_threads last = {.count = count, .run = last_worker_for, .pool = &workers};
            run_node(c, table, &own, results);
            CHECK(memcmp(serial, results, bytes) == 0);
            run_node(c, table, &last, results);
            CHECK(memcmp(serial, results, bytes) == 0);
        }
    }
    free(serial);
    free(results);
}
