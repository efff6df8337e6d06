/* Softmax of 8-bit integers: exponentials are a table that the network is given, so that no machine rounds them otherwise.
 * A row has no more than 256 different results. */
#include <math.h>

#include "number_rows.h"

/* ---- TensorFlow Lite's: fixed points of gemmlowp -------------------------------------------- */

/* e has 0 integer bits, the sum 12. */
static int32_t to_sum(int32_t e) { return dwc_shift_right(e, 12); }

/* 1 / (1 + a) for a in [0, 1), no integer bits: three steps of Newton from 48/17 - 32/17 * half of the denominator, whose
 * fixed points have two integer bits. */
static int32_t one_over_one_plus(int32_t a) {
    const int64_t whole = (int64_t)a + INT32_MAX;
    const int32_t half = (int32_t)((whole + 1) / 2); /* RoundingHalfSum of what is not negative */
    int32_t x = 1515870810 + dwc_high_product(half, -1010580540);
    for (int i = 0; i < 3; i++) {
        const int32_t rest = (1 << 29) - dwc_high_product(half, x);
        const int64_t step = (int64_t)dwc_high_product(x, rest) * 4;
        const int64_t next = (int64_t)x + (step > INT32_MAX   ? INT32_MAX
                                           : step < INT32_MIN ? INT32_MIN
                                                              : step);
        x = (int32_t)next;
    }
    const int64_t twice = (int64_t)x * 2;
    return twice > INT32_MAX ? INT32_MAX : twice < INT32_MIN ? INT32_MIN : (int32_t)twice;
}

typedef struct reciprocal {
    int32_t scale;
    int bits_over_unit;
} reciprocal;

static reciprocal reciprocal_of(int32_t sum) {
    int zeros = 0;
    while (zeros < 31 && !((uint32_t)sum >> (31 - zeros))) zeros++;
    const int32_t fraction = (int32_t)(((uint32_t)sum << zeros) - (UINT32_C(1) << 31));
    return (reciprocal){one_over_one_plus(fraction), 12 - zeros};
}

/* Differences without an exponential give the least. */
static int32_t result_twice(const dwc_byte_parameters *p, int32_t e, reciprocal r) {
    const int shift = (int)within(r.bits_over_unit + 31 - 8, 0, 31);
    const int32_t least = p->flip ? INT8_MIN : 0;
    const int32_t q = e < 0 ? 0 : dwc_shift_right(dwc_high_product(r.scale, e), shift);
    return dwc_clamp(q + least, p->end.low, p->end.high);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static int32_t largest(const uint8_t *x, int64_t count, uint8_t flip) {
    uint8_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint8_t byte = x[i] ^ flip;
        most = byte > most ? byte : most;
    }
    return most;
}

/* The sum of a row, and what follows from it. */
typedef struct total {
    dwc_byte_end end;
    reciprocal twice;
} total;

static total total_of(const dwc_byte_parameters *p, int64_t sum) {
    total t = {.end = p->end};
    if (p->twice)
        t.twice = reciprocal_of((int32_t)smaller(sum, INT32_MAX));
    else
        t.end.multiplier = (float)(1.0 / ((double)sum * (double)p->y_scale));
    return t;
}

static uint8_t result(const dwc_byte_parameters *p, int32_t e, const total *t) {
    return (uint8_t)(p->twice ? result_twice(p, e, t->twice) : dwc_end_once(e, &t->end));
}

static void softmax_row(const dwc_node_call *call, const uint8_t *x, int64_t count, uint8_t *y) {
    const dwc_byte_parameters *p = call->parameters;
    const int32_t *table = call->in[1].words;
    const int32_t most = largest(x, count, p->flip);
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t e = table[most - (x[i] ^ p->flip)];
        sum += p->twice ? (e < 0 ? 0 : to_sum(e)) : e;
    }
    const total t = total_of(p, sum);
    if (count < 256) {
        for (int64_t i = 0; i < count; i++) y[i] = result(p, table[most - (x[i] ^ p->flip)], &t);
        return;
    }
    uint8_t results[256]; /* those of larger numbers than there are do not matter */
    for (int byte = 0; byte < 256; byte++)
        results[byte] = result(p, table[larger(most - (byte ^ p->flip), 0)], &t);
    call->table->bytes.lookup(x, count, results, y);
}

static void softmax_rows(const dwc_node_call *call, const dwc_number_rows *r) {
    for (int64_t i = 0; i < r->rows; i++)
        softmax_row(call, call->in[0].bytes + r->x + i * r->x_row, r->count,
                    call->out.bytes + r->y + i * r->y_row);
}

/* ---- the node ------------------------------------------------------------------------------- */

static dwc_items items_of(const dwc_node_call *call) {
    const dwc_array *x = &call->in[0];
    return dwc_schedule_softmax(call->threads, dwc_count_number_rows(call), x->shape[x->rank - 1]);
}

static int softmax_workers(const dwc_node_call *call) { return items_of(call).workers; }

static void softmax_node(const dwc_node_call *call) {
    dwc_run_number_rows(call, items_of(call), softmax_rows);
}

/* Of a difference of 0 there is an exponential, so that sums are above 0. */
static dwconv_status softmax_check(const dwc_node_call *call) {
    const dwc_array *table = &call->in[1];
    const dwconv_dtype dtype = call->out.dtype;
    if (call->node->function != 0 || !table->words) return DWCONV_BAD_VALUE;
    if (call->in[0].dtype != dtype || dwc_unit(dtype) != 1 || table->dtype != DWCONV_S32)
        return DWCONV_BAD_DTYPE;
    if (table->rank != 1 || table->shape[0] != 256) return DWCONV_BAD_SHAPE;
    for (int i = 0; i < 256; i++)
        if (table->words[i] < (call->rounding == DWCONV_ROUND_TFLITE ? -1 : 0)) return DWCONV_BAD_VALUE;
    if (table->words[0] < 1 << 22) return DWCONV_BAD_VALUE;
    return dwc_check_number_rows(call);
}

const dwc_node_class dwc_class_byte_softmax = {.name = "softmax",
                                               .inputs = 2,
                                               .types = DWC_TYPES_OWN,
                                               .check = softmax_check,
                                               .prepare = dwc_prepare_bytes,
                                               .run = softmax_node,
                                               .workers = softmax_workers};
