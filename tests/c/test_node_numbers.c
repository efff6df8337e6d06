/* Nodes of networks over arrays of any rank: reductions, softmax, layer normalisation, products; against plain
 * loops. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "node_case.h"
#include "suites.h"

/* ---- reductions ----------------------------------------------------------------------------- */

static expected reduce_oracle(const node_case *c, const int64_t *index) {
    const dwc_array *x = &c->in[0].as;
    const dwconv_function f = c->node.function;
    double result = f == DWCONV_PRODUCT    ? 1
                    : f == DWCONV_LARGEST  ? -INFINITY
                    : f == DWCONV_SMALLEST ? INFINITY
                                           : 0;
    double magnitude = 0, count = 0, largest = -INFINITY, place = 0;
    dwc_array window = *x; /* what is reduced to the element */
    for (int i = 0; i < x->rank; i++) {
        window.data += index[i] * x->strides[i];
        if (c->out.as.shape[i] == x->shape[i]) window.shape[i] = 1;
    }
    for (; count < (double)array_elements(&window); count++) {
        int64_t at[DWCONV_MAX_RANK];
        array_index(&window, (int64_t)count, at);
        const double value = (double)*array_at(&window, at);
        magnitude += fabs(value);
        if (value > largest || (isnan(value) && !isnan(largest))) largest = value, place = count;
        switch (f) {
            case DWCONV_PRODUCT: result *= value; break;
            case DWCONV_LARGEST: result = isnan(value) || isnan(result) ? NAN : fmax(result, value); break;
            case DWCONV_SMALLEST: result = isnan(value) || isnan(result) ? NAN : fmin(result, value); break;
            default: result += value;
        }
    }
    if (f == DWCONV_PLACE_OF_LARGEST) return (expected){place, 0};
    if (f == DWCONV_MEAN) return (expected){result / count, magnitude / count};
    if (f == DWCONV_PRODUCT) return (expected){result, fabs(result)};
    return (expected){result, f == DWCONV_SUM ? magnitude : 0};
}

/* Axes in `axes`, a set of bits, are reduced. */
static void reduce_case(int rank, const int64_t *sizes, unsigned axes, dwconv_function f, int number,
                        rng *r) {
    int64_t out[DWCONV_MAX_RANK];
    for (int i = 0; i < rank; i++) out[i] = axes >> i & 1 ? 1 : sizes[i];
    node_case c = {.node = {.kind = DWCONV_REDUCE, .function = f},
                   .inputs = 1,
                   .oracle = reduce_oracle,
                   .tolerance = f == DWCONV_PRODUCT ? 1e-4 : 1e-5};
    c.in[0] = array_create(rank, sizes, (strides)(number % STRIDES_COUNT), number % 2, r);
    c.out = array_create(rank, out, (strides)(number / 2 % STRIDES_COUNT), number / 2 % 2, r);
    for (int64_t i = 0; i < array_elements(&c.in[0].as); i++) {
        int64_t at[DWCONV_MAX_RANK];
        array_index(&c.in[0].as, i, at);
        float *value = array_at(&c.in[0].as, at);
        if (f == DWCONV_PRODUCT) *value = 1 + *value / 16; /* else it overflows */
        if (number % 7 == 0 && i == array_elements(&c.in[0].as) / 2) *value = NAN;
    }
    CONTEXT("reduce %d, rank %d, axes %x, last %lld, number %d", (int)f, rank, axes,
            (long long)(rank ? sizes[rank - 1] : 0), number);
    check_node(&c);
    node_case_free(&c);
}

static void test_reductions(rng *r) {
    static const int64_t channels[] = {1, 3, 8, 15, 17, 24, 40, 70};
    int number = 0;
    for (int k = 0; k < 8; k++)
        for (unsigned axes = 0; axes < 16; axes++, number++)
            reduce_case(4, (int64_t[]){2, 3, number % 3 ? 5 : 37, channels[k]}, axes,
                        (dwconv_function)(DWCONV_MEAN + number % 5), number, r);
    for (unsigned axes = 0; axes < 64; axes += 7, number++)
        reduce_case(6, (int64_t[]){2, 3, 2, 1, 3, 4}, axes, (dwconv_function)(DWCONV_MEAN + number % 5),
                    number, r);
    reduce_case(0, NULL, 0, DWCONV_MEAN, 1, r);
    for (int64_t n = 1; n < 150; n += 4, number++)
        reduce_case(2, (int64_t[]){3, n}, 2, (dwconv_function)(DWCONV_MEAN + number % 5), number, r);
    for (int n = 2; n < 150; n += 3) /* all elements side by side; some with NaN */
        reduce_case(2, (int64_t[]){5, n}, 2, DWCONV_PLACE_OF_LARGEST, 2 * STRIDES_COUNT * n, r);
    for (int f = 0; f < 4; f++) { /* large enough to be shared */
        const dwconv_function function = (dwconv_function)(DWCONV_MEAN + f);
        reduce_case(4, (int64_t[]){1, 14, 14, 515}, 6, function, 5 * f + 10, r);
        reduce_case(4, (int64_t[]){1, 7, 7, 1280}, 6, function, 10, r);
        reduce_case(3, (int64_t[]){4, 30, 301}, 4, function, 5 * f + 10, r);
    }
}

/* ---- softmax and layer normalisation -------------------------------------------------------- */

static expected softmax_oracle(const node_case *c, const int64_t *index) {
    const dwc_array *x = &c->in[0].as;
    const int last = x->rank - 1;
    int64_t at[DWCONV_MAX_RANK];
    double most = -INFINITY, total = 0;
    memcpy(at, index, sizeof at);
    for (at[last] = 0; at[last] < x->shape[last]; at[last]++) {
        const double v = (double)*array_at(x, at);
        most = isnan(v) || isnan(most) ? NAN : fmax(most, v);
    }
    for (at[last] = 0; at[last] < x->shape[last]; at[last]++) total += exp((double)*array_at(x, at) - most);
    const double shifted = (double)*array_at(x, index) - most;
    if (c->node.function == 1) return (expected){shifted - log(total), fabs(shifted) + log(total) + 1};
    return (expected){exp(shifted) / total, exp(shifted) / total + 1e-30};
}

static expected norm_oracle(const node_case *c, const int64_t *index) {
    const dwc_array *x = &c->in[0].as;
    const int last = x->rank - 1;
    const double count = (double)x->shape[last];
    int64_t at[DWCONV_MAX_RANK];
    double mean = 0, variance = 0;
    memcpy(at, index, sizeof at);
    for (at[last] = 0; at[last] < x->shape[last]; at[last]++) mean += (double)*array_at(x, at) / count;
    for (at[last] = 0; at[last] < x->shape[last]; at[last]++)
        variance += pow((double)*array_at(x, at) - mean, 2) / count;
    const double unit = 1 / sqrt(variance + (double)c->node.parameters[0]);
    const double scale = (double)*array_at(&c->in[1].as, &index[last]),
                 bias = (double)*array_at(&c->in[2].as, &index[last]);
    return (expected){((double)*array_at(x, index) - mean) * unit * scale + bias,
                      fabs(scale) * 4 + fabs(bias)};
}

static void rows_case(dwconv_node_kind kind, int log, int rank, const int64_t *sizes, double offset,
                      int number, rng *r) {
    static const strides layouts[] = {PACKED, GAPS, FLIPPED};
    node_case c = {.node = {.kind = kind, .function = (dwconv_function)log, .parameters = {1e-5f}},
                   .inputs = kind == DWCONV_SOFTMAX ? 1 : 3,
                   .oracle = kind == DWCONV_SOFTMAX ? softmax_oracle : norm_oracle,
                   .tolerance = 4e-6};
    c.in[0] = array_create(rank, sizes, layouts[number % 3], number % 2, r);
    for (int i = 1; i < c.inputs; i++) c.in[i] = array_create(1, &sizes[rank - 1], PACKED, number % 2, r);
    c.out = array_create(rank, sizes, layouts[number / 3 % 3], number / 2 % 2, r);
    for (int64_t i = 0; i < array_elements(&c.in[0].as); i++) {
        int64_t at[DWCONV_MAX_RANK];
        array_index(&c.in[0].as, i, at);
        float *value = array_at(&c.in[0].as, at);
        *value += (float)offset;
        if (kind == DWCONV_SOFTMAX && number % 3 == 1) *value *= 30.0f;
        if (kind == DWCONV_SOFTMAX && number % 5 == 1 && i % 11 == 3) *value = -INFINITY;
        if (kind == DWCONV_SOFTMAX && number % 6 == 1 && i == 40) *value = NAN;
    }
    CONTEXT("rows, kind %d, log %d, rank %d, %lld numbers, number %d", (int)kind, log, rank,
            (long long)sizes[rank - 1], number);
    check_node(&c);
    node_case_free(&c);
}

static void test_rows(rng *r) {
    int number = 0;
    for (int64_t n = 1; n < 140; n += n < 36 ? 1 : 13)
        for (int log = 0; log < 2; log++, number++)
            rows_case(DWCONV_SOFTMAX, log, 1 + number % 4, (int64_t[]){3, 5, 2, n} + 3 - number % 4, 0,
                      number, r);
    for (int64_t n = 1; n < 200; n += n < 36 ? 1 : 13, number++)
        rows_case(DWCONV_LAYER_NORM, 0, 2, (int64_t[]){7, n}, number % 2 ? 0 : 60, number, r);
    rows_case(DWCONV_LAYER_NORM, 0, 4, (int64_t[]){2, 7, 9, 96}, 0, 1, r);
    for (int log = 0; log < 2; log++) { /* large enough to be shared */
        rows_case(DWCONV_SOFTMAX, log, 3, (int64_t[]){2, 100, 161}, 0, 0, r);
        rows_case(DWCONV_SOFTMAX, log, 4, (int64_t[]){2, 50, 61, 2}, 0, 2, r);
    }
    rows_case(DWCONV_LAYER_NORM, 0, 3, (int64_t[]){2, 100, 161}, 0, 2, r);
}

/* ---- products ------------------------------------------------------------------------------- */

/* The element of an input of a product whose last two indices are these. */
static double factor_at(const dwc_array *a, const node_case *c, const int64_t *index, int64_t row,
                        int64_t column) {
    int64_t at[DWCONV_MAX_RANK];
    for (int i = 0; i + 2 < a->rank; i++) at[i] = a->shape[i] == 1 ? 0 : index[i + c->out.as.rank - a->rank];
    at[a->rank - 2] = row;
    at[a->rank - 1] = column;
    return (double)*array_at(a, at);
}

static expected product_oracle(const node_case *c, const int64_t *index) {
    const dwc_array *a = &c->in[0].as, *b = &c->in[1].as;
    const int rank = c->out.as.rank;
    expected e = {0, 0};
    for (int64_t k = 0; k < a->shape[a->rank - 1]; k++) {
        const double product =
            factor_at(a, c, index, index[rank - 2], k) * factor_at(b, c, index, k, index[rank - 1]);
        e.value += product;
        e.magnitude += fabs(product);
    }
    return e;
}

static void product_case(int rank_a, const int64_t *a, int rank_b, const int64_t *b, int number, rng *r) {
    const int rank = rank_a > rank_b ? rank_a : rank_b;
    int64_t out[DWCONV_MAX_RANK];
    for (int i = 0; i + 2 < rank; i++) {
        const int in_a = i - (rank - rank_a), in_b = i - (rank - rank_b);
        out[i] = in_a >= 0 && a[in_a] > 1 ? a[in_a] : in_b >= 0 ? b[in_b] : 1;
    }
    out[rank - 2] = a[rank_a - 2];
    out[rank - 1] = b[rank_b - 1];
    node_case c = {.node = {.kind = DWCONV_MATMUL}, .inputs = 2, .oracle = product_oracle, .tolerance = 1e-5};
    c.in[0] = array_create(rank_a, a, (strides)(number % STRIDES_COUNT), number % 2, r);
    c.in[1] = array_create(rank_b, b, (strides)(number / 5 % STRIDES_COUNT), number % 2, r);
    c.out = array_create(rank, out, (strides)(number / 25 % STRIDES_COUNT), number / 2 % 2, r);
    CONTEXT("product %lldx%lldx%lld, ranks %d %d, number %d", (long long)out[rank - 2],
            (long long)a[rank_a - 1], (long long)out[rank - 1], rank_a, rank_b, number);
    check_node(&c);
    node_case_free(&c);
}

static void test_products(rng *r) {
    static const int64_t sizes[] = {1, 2, 3, 7, 8, 13, 17, 33, 70};
    for (int number = 0; number < 250; number++) {
        const int64_t m = sizes[rng_range(r, 0, 8)], k = sizes[rng_range(r, 0, 8)],
                      n = sizes[rng_range(r, 0, 8)];
        product_case(2, (int64_t[]){m, k}, 2, (int64_t[]){k, n}, number, r);
        if (number % 3) continue;
        product_case(4, (int64_t[]){2, 3, m, k}, 4, (int64_t[]){2, 3, k, n}, number, r);
        product_case(4, (int64_t[]){2, 1, m, k}, 3, (int64_t[]){3, k, n}, number, r);
        product_case(3, (int64_t[]){4, m, k}, 2, (int64_t[]){k, n}, number, r);
    }
    for (int number = 0; number < 125; number += 9) { /* large enough to be shared */
        product_case(2, (int64_t[]){113, 40}, 2, (int64_t[]){40, 90}, number, r);
        product_case(3, (int64_t[]){4, 49, 32}, 3, (int64_t[]){4, 32, 50}, number, r);
        product_case(3, (int64_t[]){40, 20, 24}, 3, (int64_t[]){40, 24, 23}, number, r);
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static dwconv_status status_of(dwconv_node node, int rank, const int64_t *in, const int64_t *out,
                               strides how) {
    rng r = {9};
    node_case c = {.node = node, .inputs = 1};
    c.in[0] = array_create(rank, in, how, 0, &r);
    c.out = array_create(rank, out, PACKED, 0, &r);
    const dwconv_threads alone = {.count = 1};
    dwc_node_call call = node_call(&c, dwc_kernel_table_of("baseline"), &alone);
    call.in[1] = call.in[0];
    call.in[2] = call.in[0];
    const dwconv_status status = class_of(node.kind)->check(&call);
    node_case_free(&c);
    return status;
}

static void test_refusals(void) {
    const int64_t a[] = {4, 6}, b[] = {4, 5}, square[] = {5, 5};
    const dwconv_node reduce = {.kind = DWCONV_REDUCE, .function = DWCONV_SUM};
    const dwconv_node softmax = {.kind = DWCONV_SOFTMAX}, norm = {.kind = DWCONV_LAYER_NORM};
    const dwconv_node product = {.kind = DWCONV_MATMUL};
    CONTEXT("refused nodes");
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(reduce, 2, a, b, PACKED));
    CHECK_STATUS(DWCONV_BAD_VALUE, status_of((dwconv_node){.kind = DWCONV_REDUCE}, 2, a, a, PACKED));
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(softmax, 2, a, b, PACKED));
    CHECK_STATUS(DWCONV_BAD_LAYOUT, status_of(softmax, 2, a, a, STEPS));
    CHECK_STATUS(DWCONV_BAD_VALUE,
                 status_of((dwconv_node){.kind = DWCONV_SOFTMAX, .function = DWCONV_EXP}, 2, a, a, PACKED));
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(norm, 2, a, a, PACKED));
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(product, 2, a, a, PACKED));
    CHECK_STATUS(DWCONV_OK, status_of(product, 2, square, square, PACKED));
}

void test_node_numbers(void) {
    rng r = {12};
    test_reductions(&r);
    test_rows(&r);
    test_products(&r);
    test_refusals();
}
