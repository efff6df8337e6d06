/* See network.h. Descriptors of networks are made of model files: no number in them is trusted. */
#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

dwconv_status dwc_take_network(const dwconv_network_desc *desc, dwconv_network_desc *known) {
    size_t size;
    if (!desc) return DWCONV_NULL_POINTER;
    memcpy(&size, desc, sizeof size);
    DWC_TRY(dwc_take(desc, size, sizeof *known, known, sizeof *known));
    if (known->value_count < 0 || known->node_count < 0 || known->threads < 0) return DWCONV_BAD_VALUE;
    if ((unsigned)known->quant_rounding >= DWCONV_QUANT_ROUNDING_COUNT) return DWCONV_BAD_VALUE;
    if ((known->value_count && !known->values) || (known->node_count && !known->nodes))
        return DWCONV_NULL_POINTER;
    if (known->threads == 0) known->threads = 1;
    return DWCONV_OK;
}

/* Element i of an array of descriptors of the caller's size, with `known` bytes of this library's. */
static dwconv_status take_element(const void *array, size_t size, int32_t i, void *to, size_t known) {
    if (size > SIZE_MAX / 2 / ((size_t)i + 1)) return DWCONV_BAD_SIZE;
    return dwc_take((const char *)array + (size_t)i * size, size, known, to, known);
}

/* ---- values ------------------------------------------------------------------------------- */

int64_t dwc_elements(const dwconv_value *v) {
    int64_t elements = 1;
    for (int a = 0; a < v->rank; a++) elements *= v->shape[a];
    return elements;
}

int64_t dwc_elements_of_base(const dwconv_value *v, int64_t base_elements) {
    int64_t elements = 1;
    for (int a = 0; a < v->rank; a++)
        if (v->strides[a]) elements *= v->shape[a];
    return smaller(elements, base_elements);
}

/* The fields that are not about memory. */
static dwconv_status take_tensor(const dwconv_network_desc *d, int32_t i, dwconv_value *v) {
    int64_t elements = 1;
    if (i < 0 || i >= d->value_count) return DWCONV_BAD_VALUE;
    DWC_TRY(take_element(d->values, d->value_size, i, v, sizeof *v));
    if ((unsigned)v->storage >= DWCONV_STORAGE_COUNT) return DWCONV_BAD_VALUE;
    if ((unsigned)v->dtype >= DWCONV_DTYPE_COUNT) return DWCONV_BAD_DTYPE;
    if (v->scale != 0.0f && dwc_unit(v->dtype) == 1)
        DWC_TRY(dwc_check_quant((dwconv_quant){v->scale, v->zero_point}, v->dtype));
    if (v->rank < 0 || v->rank > DWCONV_MAX_RANK) return DWCONV_BAD_SHAPE;
    for (int a = 0; a < v->rank; a++) {
        DWC_TRY(dwc_check_size(v->shape[a]));
        if (!dwc_multiply(elements, v->shape[a], &elements) || elements > INT64_MAX / 16)
            return DWCONV_OVERFLOW;
    }
    const int64_t most = (PTRDIFF_MAX - DWCONV_ALIGNMENT) / dwc_unit(v->dtype);
    if (v->storage != DWCONV_VIEW && elements > most) return DWCONV_OVERFLOW;
    for (int a = 0; a < DWCONV_MAX_RANK; a++) {
        if (a >= v->rank) v->shape[a] = 1;
        if (v->shape[a] == 1) v->strides[a] = 0;
    }
    return DWCONV_OK;
}

static void make_contiguous(dwconv_value *v) {
    int64_t stride = 1;
    for (int a = v->rank - 1; a >= 0; a--) {
        v->strides[a] = v->shape[a] == 1 ? 0 : stride;
        stride *= v->shape[a];
    }
}

/* Whether the lowest and the highest element of a view are elements of its base. */
static int is_inside(const dwconv_value *v, int64_t base_elements) {
    int64_t low = v->offset, high = v->offset;
    for (int a = 0; a < v->rank; a++) {
        int64_t reach, *side = v->strides[a] < 0 ? &low : &high;
        if (!dwc_multiply(v->shape[a] - 1, v->strides[a], &reach) ||
            __builtin_add_overflow(*side, reach, side))
            return 0;
    }
    return low >= 0 && high < base_elements;
}

dwconv_status dwc_take_value(const dwconv_network_desc *d, int32_t i, dwconv_value *v) {
    dwconv_value base;
    DWC_TRY(take_tensor(d, i, v));
    if (v->storage == DWCONV_VIEW) {
        DWC_TRY(take_tensor(d, v->base, &base));
        if (base.storage == DWCONV_VIEW) return DWCONV_BAD_VALUE;
        if (base.dtype != v->dtype) return DWCONV_BAD_DTYPE;
        return is_inside(v, dwc_elements(&base)) ? DWCONV_OK : DWCONV_BAD_LAYOUT;
    }
    v->base = i;
    v->offset = 0;
    make_contiguous(v);
    if (v->storage != DWCONV_CONSTANT && v->storage != DWCONV_STATE) return DWCONV_OK;
    if (!v->data && v->storage == DWCONV_CONSTANT) return DWCONV_NULL_POINTER;
    return (uintptr_t)v->data % (uintptr_t)dwc_unit(v->dtype) ? DWCONV_MISALIGNED : DWCONV_OK;
}

/* ---- nodes -------------------------------------------------------------------------------- */

dwconv_status dwc_take_node(const dwconv_network_desc *d, int32_t i, dwconv_node *n) {
    DWC_TRY(take_element(d->nodes, d->node_size, i, n, sizeof *n));
    if ((unsigned)n->kind >= DWCONV_NODE_KIND_COUNT) return DWCONV_BAD_VALUE;
    if (n->kind == DWCONV_UNARY || n->kind == DWCONV_BINARY || n->kind == DWCONV_POOL)
        DWC_TRY(dwc_check_activation(&n->activation));
    if ((unsigned)n->formula >= DWCONV_FORMULA_COUNT) return DWCONV_BAD_VALUE;
    return n->kind == DWCONV_POOL ? dwc_check_window(&n->window) : DWCONV_OK;
}

/* ---- memory of a node --------------------------------------------------------------------- */

/* Axes with more than one element, strides positive, and the first element that this begins at. */
typedef struct lattice {
    int rank;
    int64_t first, shape[DWCONV_MAX_RANK], strides[DWCONV_MAX_RANK];
} lattice;

static lattice lattice_of(const dwconv_value *v) {
    lattice l = {.first = v->offset};
    for (int a = 0; a < v->rank; a++) {
        if (v->shape[a] == 1) continue;
        if (v->strides[a] < 0) l.first += (v->shape[a] - 1) * v->strides[a];
        l.shape[l.rank] = v->shape[a];
        l.strides[l.rank++] = llabs(v->strides[a]);
    }
    return l;
}

static int64_t reach_of(const lattice *l) {
    int64_t reach = 0;
    for (int a = 0; a < l->rank; a++) reach += (l->shape[a] - 1) * l->strides[a];
    return reach;
}

/* Sorted by stride, every axis must step over all that lies inside it. */
static int is_distinct(lattice l) {
    int64_t reach = 0;
    for (int done = 0; done < l.rank; done++) {
        int least = done;
        for (int a = done + 1; a < l.rank; a++)
            if (l.strides[a] < l.strides[least]) least = a;
        if (l.strides[least] <= reach) return 0;
        reach += (l.shape[least] - 1) * l.strides[least];
        l.shape[least] = l.shape[done];
        l.strides[least] = l.strides[done];
    }
    return 1;
}

/* What a lattice reaches within a period; -1 if some of its longer strides are no multiples of it. */
static int64_t reach_within(const lattice *l, int64_t period) {
    int64_t reach = 0;
    for (int a = 0; a < l->rank; a++) {
        if (l->strides[a] < period)
            reach += (l->shape[a] - 1) * l->strides[a];
        else if (l->strides[a] % period)
            return -1;
    }
    return reach;
}

/* Parts of every period that do not meet, as slices of channels, columns or rows of one tensor. */
static int apart_in(const lattice *a, const lattice *b, int64_t period) {
    const int64_t in_a = reach_within(a, period), in_b = reach_within(b, period);
    if (in_a < 0 || in_b < 0) return 0;
    const int64_t distance = ((b->first - a->first) % period + period) % period;
    return distance > in_a && distance + in_b < period;
}

static int are_apart(const lattice *a, const lattice *b) {
    if (a->first + reach_of(a) < b->first || b->first + reach_of(b) < a->first) return 1;
    for (int i = 0; i < a->rank; i++)
        if (a->strides[i] && apart_in(a, b, a->strides[i])) return 1;
    for (int i = 0; i < b->rank; i++)
        if (b->strides[i] && apart_in(a, b, b->strides[i])) return 1;
    return 0;
}

int dwc_is_same_memory(const dwconv_value *a, const dwconv_value *b) {
    return a->base == b->base && a->rank == b->rank && a->offset == b->offset &&
           !memcmp(a->shape, b->shape, sizeof a->shape) && !memcmp(a->strides, b->strides, sizeof a->strides);
}

dwconv_status dwc_check_memory(const dwconv_value *out, const dwconv_value *in, int inputs, int in_place) {
    const lattice to = lattice_of(out);
    if (!is_distinct(to)) return DWCONV_BAD_LAYOUT;
    for (int i = 0; i < inputs; i++) {
        if (in[i].base != out->base || (in_place && dwc_is_same_memory(&in[i], out))) continue;
        const lattice from = lattice_of(&in[i]);
        if (!are_apart(&from, &to)) return DWCONV_OVERLAP;
    }
    return DWCONV_OK;
}
