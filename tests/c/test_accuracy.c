/* Every operation on every instruction set against the oracle, in every layout. */
#include <string.h>

#include "check.h"
#include "problem.h"
#include "suites.h"

static void check_everywhere(const problem *p, rng *r, layout x_layout, layout y_layout) {
    buffer x;
    expectation expected;
    buffer_create(&x, p->input, x_layout);
    buffer_fill(&x, r);
    expectation_create(&expected, p, &x);
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        buffer y;
        char message[200] = "";
        buffer_create(&y, p->output, y_layout);
        CONTEXT("%s layouts %d %d %s", isa, x_layout, y_layout, shape_text(&p->shape));
        CHECK_STATUS(DWCONV_OK, problem_run(p, isa, &x, &y, NULL));
        const int met = expectation_met(&expected, &y.tensor, message, sizeof message);
        CONTEXT("%s layouts %d %d %s: %s", isa, x_layout, y_layout, shape_text(&p->shape), message);
        CHECK(met);
        CHECK(buffer_gaps_intact(&y));
        buffer_free(&y);
    }
    expectation_free(&expected);
    buffer_free(&x);
}

void test_accuracy(void) {
    rng r = {1};
    const shape *s;
    for (int i = 0; (s = grid_shape(i)) != NULL; i++) {
        problem p;
        const int possible = problem_create(&p, s, &r);
        CONTEXT("%s", shape_text(s));
        CHECK(possible);
        if (!possible) continue;
        check_everywhere(&p, &r, DENSE, DENSE);
        check_everywhere(&p, &r, (layout)(i % LAYOUT_COUNT), (layout)(i / 3 % LAYOUT_COUNT));
        problem_free(&p);
    }
}

void test_fuzz(void) {
    enum { ROUNDS = 1500, IMPOSSIBLE_AT_MOST = ROUNDS / 2 };
    rng r = {2};
    int impossible = 0;
    for (int i = 0; i < ROUNDS; i++) {
        const shape s = random_shape(&r);
        problem p;
        if (!problem_create(&p, &s, &r)) {
            impossible++;
            continue;
        }
        check_everywhere(&p, &r, (layout)rng_range(&r, 0, LAYOUT_COUNT - 1),
                         (layout)rng_range(&r, 0, LAYOUT_COUNT - 1));
        problem_free(&p);
    }
    CHECK(impossible < IMPOSSIBLE_AT_MOST);
}
