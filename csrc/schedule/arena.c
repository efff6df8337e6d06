/* See arena.h. Finding the least workspace is NP-hard; on the graphs of real networks these two orders are at the lower
 * bound or a few percent above it. */
#include "arena.h"

#include <string.h>

#include "../graph/integers.h"

static int64_t room(const dwc_tenant *t) { return round_up(t->bytes, DWCONV_ALIGNMENT); }

static int meet(const dwc_tenant *a, const dwc_tenant *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* ---- orders ------------------------------------------------------------------------------- */

typedef int (*before_function)(const dwc_tenant *a, const dwc_tenant *b);

static int larger_first(const dwc_tenant *a, const dwc_tenant *b) { return room(a) > room(b); }

/* Of those that begin together the one that stays longer. */
static int earlier_first(const dwc_tenant *a, const dwc_tenant *b) {
    return a->first != b->first ? a->first < b->first : a->last > b->last;
}

typedef struct sorting {
    const dwc_tenant *tenants;
    before_function before;
    int32_t *order;
} sorting;

/* Ties by number, so that the order is one and the same everywhere. */
static int comes_before(const sorting *s, int32_t a, int32_t b) {
    if (s->before(&s->tenants[a], &s->tenants[b])) return 1;
    return !s->before(&s->tenants[b], &s->tenants[a]) && a < b;
}

static void swap(int32_t *a, int32_t *b) {
    const int32_t kept = *a;
    *a = *b;
    *b = kept;
}

static void sift(const sorting *s, int32_t parent, int32_t count) {
    int32_t child;
    for (; (child = 2 * parent + 1) < count; parent = child) {
        if (child + 1 < count && comes_before(s, s->order[child], s->order[child + 1])) child++;
        if (!comes_before(s, s->order[parent], s->order[child])) return;
        swap(&s->order[parent], &s->order[child]);
    }
}

/* A heap: no memory, no recursion, whatever the numbers are. */
static void sort(const sorting *s, int32_t count) {
    for (int32_t i = 0; i < count; i++) s->order[i] = i;
    for (int32_t i = count / 2 - 1; i >= 0; i--) sift(s, i, count);
    for (int32_t i = count - 1; i > 0; i--) {
        swap(&s->order[0], &s->order[i]);
        sift(s, 0, i);
    }
}

/* ---- placing ------------------------------------------------------------------------------ */

/* The smallest gap that t fits in between those of `placed`, which are sorted by offset, that live when it does; else
 * behind all of them. */
static int64_t best_fit(const dwc_tenant *tenants, const int32_t *placed, int32_t count,
                        const dwc_tenant *t) {
    int64_t end = 0, best = -1, best_gap = INT64_MAX;
    for (int32_t i = 0; i < count; i++) {
        const dwc_tenant *other = &tenants[placed[i]];
        if (!meet(t, other)) continue;
        const int64_t gap = other->offset - end;
        if (gap >= room(t) && gap < best_gap) {
            best = end;
            best_gap = gap;
        }
        end = larger(end, other->offset + room(other));
    }
    return best >= 0 ? best : end;
}

static void insert(const dwc_tenant *tenants, int32_t *placed, int32_t count, int32_t t) {
    int32_t at = count;
    while (at > 0 && tenants[placed[at - 1]].offset > tenants[t].offset) at--;
    memmove(placed + at + 1, placed + at, (size_t)(count - at) * sizeof *placed);
    placed[at] = t;
}

/* The bytes that it takes. */
static int64_t place(dwc_tenant *tenants, int32_t count, before_function before, int32_t *order,
                     int32_t *placed) {
    int64_t bytes = 0;
    sort(&(sorting){tenants, before, order}, count);
    for (int32_t i = 0; i < count; i++) {
        dwc_tenant *t = &tenants[order[i]];
        t->offset = best_fit(tenants, placed, i, t);
        insert(tenants, placed, i, order[i]);
        bytes = larger(bytes, t->offset + room(t));
    }
    return bytes;
}

/* Most is alive when some tenant begins. */
static int64_t lower_bound(const dwc_tenant *tenants, int32_t count) {
    int64_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t alive = 0;
        for (int32_t j = 0; j < count; j++)
            if (tenants[j].first <= tenants[i].first && tenants[i].first <= tenants[j].last)
                alive += room(&tenants[j]);
        most = larger(most, alive);
    }
    return most;
}

int64_t dwc_arena_scratch(int32_t tenants) { return 2 * (int64_t)sizeof(int32_t) * tenants; }

dwconv_status dwc_place_tenants(dwc_tenant *tenants, int32_t count, void *scratch, dwc_arena *arena) {
    int32_t *order = scratch, *placed = order + count;
    int64_t all = 0;
    for (int32_t i = 0; i < count; i++) {
        if (tenants[i].bytes > PTRDIFF_MAX - DWCONV_ALIGNMENT - all) return DWCONV_OVERFLOW;
        all += room(&tenants[i]);
    }
    const int64_t by_size = place(tenants, count, larger_first, order, placed);
    arena->lower_bound = lower_bound(tenants, count);
    arena->bytes = by_size;
    if (by_size == arena->lower_bound) return DWCONV_OK;
    arena->bytes = place(tenants, count, earlier_first, order, placed);
    if (arena->bytes > by_size) arena->bytes = place(tenants, count, larger_first, order, placed);
    return DWCONV_OK;
}
