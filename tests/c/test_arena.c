/* Placement of tensors: nothing that lives together overlaps, and little is wasted. */
#include <stdlib.h>
#include <string.h>

#include "../../csrc/schedule/arena.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

enum { MOST = 200 };

static dwconv_status place(dwc_tenant *tenants, int32_t count, dwc_arena *arena) {
    void *scratch = malloc((size_t)dwc_arena_scratch(count) + 1);
    const dwconv_status status = dwc_place_tenants(tenants, count, scratch, arena);
    free(scratch);
    return status;
}

static int64_t room(const dwc_tenant *t) {
    return (t->bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
}

/* The most that is alive at any node. */
static int64_t most_alive(const dwc_tenant *tenants, int32_t count, int32_t nodes) {
    int64_t most = 0;
    for (int32_t node = 0; node < nodes; node++) {
        int64_t alive = 0;
        for (int32_t i = 0; i < count; i++)
            if (tenants[i].first <= node && node <= tenants[i].last) alive += room(&tenants[i]);
        if (alive > most) most = alive;
    }
    return most;
}

static void check_places(const dwc_tenant *tenants, int32_t count, const dwc_arena *arena) {
    for (int32_t i = 0; i < count; i++) {
        const dwc_tenant *a = &tenants[i];
        CHECK(a->offset >= 0 && a->offset % DWCONV_ALIGNMENT == 0 && a->offset + a->bytes <= arena->bytes);
        for (int32_t j = 0; j < i; j++) {
            const dwc_tenant *b = &tenants[j];
            const int together = a->first <= b->last && b->first <= a->last;
            CHECK(!together || a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
}

static void test_random_lives(void) {
    rng r = {41};
    for (int round = 0; round < 200; round++) {
        dwc_tenant tenants[MOST] = {0};
        dwc_arena arena;
        const int32_t count = (int32_t)rng_range(&r, 0, MOST), nodes = (int32_t)rng_range(&r, 1, 60);
        int64_t all = 0;
        for (int32_t i = 0; i < count; i++) {
            tenants[i].bytes = rng_range(&r, 1, round % 2 ? 100000 : 300);
            tenants[i].first = (int32_t)rng_range(&r, 0, nodes - 1);
            tenants[i].last = (int32_t)rng_range(&r, tenants[i].first, nodes - 1);
            all += room(&tenants[i]);
        }
        CONTEXT("round %d", round);
        CHECK_STATUS(DWCONV_OK, place(tenants, count, &arena));
        check_places(tenants, count, &arena);
        CHECK(arena.lower_bound == most_alive(tenants, count, nodes));
        CHECK(arena.lower_bound <= arena.bytes && arena.bytes <= all);
    }
}

/* Each tensor is read by the next node and smaller: two places take turns. */
static void test_chain_is_at_the_lower_bound(void) {
    dwc_tenant tenants[MOST] = {0};
    dwc_arena arena;
    CONTEXT("chain");
    for (int32_t i = 0; i < MOST; i++)
        tenants[i] = (dwc_tenant){.bytes = 100 * (MOST - i), .first = i, .last = i + 1};
    CHECK_STATUS(DWCONV_OK, place(tenants, MOST, &arena));
    CHECK(arena.bytes == arena.lower_bound);
}

/* By size, the two long-lived ones at the ends leave a hole that the middle fits exactly. */
static void test_gaps_are_filled(void) {
    dwc_tenant tenants[] = {{.bytes = 640, .first = 0, .last = 2},
                            {.bytes = 128, .first = 0, .last = 0},
                            {.bytes = 256, .first = 0, .last = 2},
                            {.bytes = 64, .first = 1, .last = 2},
                            {.bytes = 64, .first = 1, .last = 1}};
    dwc_arena arena;
    CONTEXT("gaps");
    CHECK_STATUS(DWCONV_OK, place(tenants, 5, &arena));
    CHECK(arena.bytes == 1024 && arena.lower_bound == 1024);
}

static void test_sizes_that_overflow(void) {
    dwc_tenant tenants[] = {{.bytes = PTRDIFF_MAX / 2}, {.bytes = PTRDIFF_MAX / 2}, {.bytes = 640}};
    dwc_arena arena;
    CONTEXT("overflow");
    CHECK_STATUS(DWCONV_OVERFLOW, place(tenants, 3, &arena));
    tenants[0].bytes = PTRDIFF_MAX;
    CHECK_STATUS(DWCONV_OVERFLOW, place(tenants, 1, &arena));
    CHECK_STATUS(DWCONV_OK, place(tenants, 0, &arena));
    CHECK(arena.bytes == 0 && arena.lower_bound == 0);
}

void test_arena(void) {
    test_random_lives();
    test_chain_is_at_the_lower_bound();
    test_gaps_are_filled();
    test_sizes_that_overflow();
}
