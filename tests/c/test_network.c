/* Networks: every node gives what plain loops do, wherever values lie, whoever does the work. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "guarded.h"
#include "net.h"
#include "suites.h"

/* ---- placement ----------------------------------------------------------------------------- */

/* The nodes at which the memory of a value is used. */
static void life_of(const net *n, int value, int *first, int *last) {
    *first = *last = -1;
    for (int i = 0; i < n->node_count; i++) {
        const dwconv_node *node = &n->nodes[i];
        int uses = net_root(n, node->output) == value;
        for (int k = 0; k < DWCONV_NODE_INPUTS; k++)
            uses |= node->inputs[k] >= 0 && net_root(n, node->inputs[k]) == value;
        if (!uses) continue;
        if (*first < 0) *first = i;
        *last = i;
    }
}

static void check_places(const net *n, const dwconv_network *network) {
    const int64_t workspace = (int64_t)dwconv_network_workspace(network);
    for (int a = 0; a < n->value_count; a++) {
        const int64_t at = dwconv_network_offset(network, a), bytes = (int64_t)net_bytes(n, a);
        int first, last, other_first, other_last;
        if (n->values[a].storage != DWCONV_WORKSPACE || at < 0) continue;
        CHECK(at % DWCONV_ALIGNMENT == 0 && at + bytes <= workspace);
        life_of(n, a, &first, &last);
        for (int b = 0; b < a; b++) {
            const int64_t other = dwconv_network_offset(network, b);
            if (n->values[b].storage != DWCONV_WORKSPACE || other < 0) continue;
            life_of(n, b, &other_first, &other_last);
            const int meet = first <= other_last && other_first <= last;
            CHECK(!meet || at + bytes <= other || other + (int64_t)net_bytes(n, b) <= at);
        }
    }
    CHECK(dwconv_network_lower_bound(network) <= dwconv_network_workspace(network));
}

/* ---- random networks ----------------------------------------------------------------------- */

static void check_same_outputs(net_run *run, float *const expected[], const dwconv_threads *threads) {
    net_poison(run, 0x5a);
    CHECK_STATUS(DWCONV_OK, net_run_once(run, threads, NULL));
    for (int i = 0; i < run->n->value_count; i++)
        if (expected[i]) CHECK(memcmp(expected[i], run->at[i], net_bytes(run->n, i)) == 0);
}

static void backwards(void *pool, int64_t items, dwconv_task task, void *context) {
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, (int)(i % *(int *)pool));
}

static void check_random(const net *n, const char *isa, rng *r) {
    const dwconv_network_desc desc = net_desc(n, isa, 3);
    float *expected[NET_VALUES] = {0};
    dwconv_network *network;
    net_run run;
    int bad = 0;
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, &bad));
    CHECK(bad == -1);
    if (!network) return;
    check_places(n, network);
    net_run_create(&run, n, network, r);
    net_poison(&run, 0xff);
    const long calls = allocator_calls();
    CHECK_STATUS(DWCONV_OK, net_run_once(&run, NULL, NULL));
    CHECK(allocator_calls() == calls);
    net_poison(&run, 0xff);
    CHECK_STATUS(DWCONV_OK, net_run_once(&run, NULL, net_follow));
    CHECK(run.wrong == 0 && run.node == n->node_count);
    for (int i = 0; i < n->value_count; i++)
        if (n->values[i].storage == DWCONV_OUTPUT) {
            expected[i] = malloc(net_bytes(n, i));
            memcpy(expected[i], run.at[i], net_bytes(n, i));
        }
    check_same_outputs(&run, expected, NULL);
    for (int count = 2; count <= 3; count++) {
        const dwconv_threads own = {.count = count}, pool = {count, backwards, &count};
        check_same_outputs(&run, expected, &own);
        check_same_outputs(&run, expected, &pool);
    }
    for (int i = 0; i < n->value_count; i++) free(expected[i]);
    net_run_free(&run);
}

static void test_random_networks(void) {
    rng r = {23};
    for (int round = 0; round < 120; round++) {
        net n;
        net_random(&n, &r, 2 + round % 9, round % 6 == 0 ? 40000 : 600);
        for (int rung = 0; rung < dwconv_isa_count(); rung++) {
            const char *isa = dwconv_isa_name(rung);
            if (!dwconv_isa_available(isa)) continue;
            CONTEXT("network %d on %s", round, isa);
            check_random(&n, isa, &r);
        }
        net_free(&n);
    }
}

/* ---- memory -------------------------------------------------------------------------------- */

/* Network, workspace, inputs and outputs between inaccessible pages; the network and inputs are not written. */
static void check_guarded(const net *n, const char *isa, rng *r, int at_end) {
    const dwconv_network_desc desc = net_desc(n, isa, 1);
    guarded tensors[NET_VALUES];
    const void *inputs[NET_VALUES];
    void *outputs[NET_VALUES];
    int input_count = 0, output_count = 0;
    size_t bytes = 0;
    dwconv_network *network = NULL;
    CHECK_STATUS(DWCONV_OK, dwconv_network_size(&desc, &bytes, NULL));
    guarded memory = guarded_create(bytes, at_end, DWCONV_ALIGNMENT);
    CHECK_STATUS(DWCONV_OK, dwconv_network_create_in(&desc, memory.data, bytes, &network, NULL));
    if (!network) return;
    CHECK(guarded_slack_intact(&memory));
    guarded_make_read_only(&memory);
    guarded workspace = guarded_create(dwconv_network_workspace(network), at_end, DWCONV_ALIGNMENT);
    for (int i = 0; i < n->value_count; i++) {
        const dwconv_storage storage = n->values[i].storage;
        if (storage != DWCONV_INPUT && storage != DWCONV_OUTPUT) continue;
        tensors[i] = guarded_create(net_bytes(n, i), at_end, sizeof(float));
        for (size_t k = 0; k < net_bytes(n, i) / sizeof(float); k++)
            ((float *)tensors[i].data)[k] = rng_float(r);
        if (storage == DWCONV_INPUT) {
            guarded_make_read_only(&tensors[i]);
            inputs[input_count++] = tensors[i].data;
        } else {
            outputs[output_count++] = tensors[i].data;
        }
    }
    CHECK_STATUS(DWCONV_OK, dwconv_network_run(network, inputs, outputs, NULL, 0, workspace.data,
                                               workspace.bytes, NULL, NULL, NULL));
    CHECK(guarded_slack_intact(&workspace));
    for (int i = 0; i < n->value_count; i++)
        if (n->values[i].storage == DWCONV_INPUT || n->values[i].storage == DWCONV_OUTPUT)
            guarded_free(&tensors[i]);
    guarded_free(&workspace);
    guarded_free(&memory);
}

static void test_guarded_networks(void) {
    rng r = {29};
    for (int round = 0; round < 60; round++) {
        net n;
        net_random(&n, &r, 2 + round % 9, 300);
        for (int rung = 0; rung < dwconv_isa_count(); rung++) {
            const char *isa = dwconv_isa_name(rung);
            if (!dwconv_isa_available(isa)) continue;
            CONTEXT("guarded network %d on %s", round, isa);
            check_guarded(&n, isa, &r, round % 2);
        }
        net_free(&n);
    }
}

/* ---- concurrency --------------------------------------------------------------------------- */

typedef struct runner {
    net_run run;
    const float *expected;
    int output, wrong;
} runner;

static void *run_often(void *argument) {
    runner *me = argument;
    const dwconv_threads two = {.count = 2};
    for (int i = 0; i < 100; i++) {
        net_poison(&me->run, i);
        me->wrong += net_run_once(&me->run, i % 2 ? &two : NULL, NULL) != DWCONV_OK;
        me->wrong += memcmp(me->expected, me->run.at[me->output], net_bytes(me->run.n, me->output)) != 0;
    }
    return NULL;
}

/* One network, two threads, each with memory of its own. */
static void test_concurrent_runs(void) {
    rng r = {31};
    net n;
    net_random(&n, &r, 12, 3000);
    const dwconv_network_desc desc = net_desc(&n, NULL, 2);
    dwconv_network *network;
    pthread_t threads[2];
    runner runners[2] = {0};
    CONTEXT("two threads");
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    if (!network) return;
    int output = 0;
    while (n.values[output].storage != DWCONV_OUTPUT) output++;
    float *expected = malloc(net_bytes(&n, output));
    for (int i = 0; i < 2; i++) {
        rng same = {7};
        net_run_create(&runners[i].run, &n, network, &same);
        runners[i].output = output;
        runners[i].expected = expected;
    }
    CHECK_STATUS(DWCONV_OK, net_run_once(&runners[0].run, NULL, NULL));
    memcpy(expected, runners[0].run.at[output], net_bytes(&n, output));
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run_often, &runners[i]) != 0) abort();
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK(runners[i].wrong == 0);
    }
    runners[0].run.network = NULL; /* the other one destroys it */
    net_run_free(&runners[0].run);
    net_run_free(&runners[1].run);
    free(expected);
    net_free(&n);
}

/* ---- functions ----------------------------------------------------------------------------- */

enum { SWEEP = 4099 };

/* One node of a function, from `in` to an output of the same shape. */
static void run_function(const char *isa, dwconv_node_kind kind, dwconv_function function, const float *in,
                         const float *second, const float *parameters, float *out) {
    static const int64_t sizes[] = {SWEEP};
    net n = {0};
    const int x0 = net_value(&n, DWCONV_INPUT, 1, sizes), x1 = net_value(&n, DWCONV_INPUT, 1, sizes);
    dwconv_node *node = net_node(&n, kind, net_value(&n, DWCONV_OUTPUT, 1, sizes), x0, x1);
    node->function = function;
    memcpy(node->parameters, parameters, 2 * sizeof *parameters);
    const dwconv_network_desc desc = net_desc(&n, isa, 1);
    const void *inputs[] = {in, second};
    void *outputs[] = {out};
    dwconv_network *network;
    CHECK_STATUS(DWCONV_OK, dwconv_network_create(&desc, &network, NULL));
    CHECK_STATUS(DWCONV_OK, dwconv_network_run(network, inputs, outputs, NULL, 0, NULL, 0, NULL, NULL, NULL));
    dwconv_network_destroy(network);
}

static int is_within(float found, double expected, double relative, double least) {
    if (isnan(expected)) return isnan(found);
    if (fabs(expected) > FLT_MAX) return found == (float)expected || (double)found == expected;
    return fabs(found - expected) <= relative * fabs(expected) + least;
}

/* exp and what is made of it are written out: 2 ULP, 0 where the result is denormal. */
static void test_exponentials(const char *isa) {
    static float x[SWEEP], y[SWEEP];
    static const float parameters[2] = {1.5f, 2.0f};
    for (int i = 0; i < SWEEP; i++) x[i] = (float)(i - SWEEP / 2) * 0.05f;
    for (int i = 0; i < 200; i++) x[i] = (float)(i - 100) * 1e-3f;
    const float edges[] = {NAN,     INFINITY, -INFINITY, 0.0f,   -0.0f,   88.7228f, 88.73f,  -87.3f,
                           -104.0f, 1e30f,    -1e30f,    1e-30f, -1e-30f, FLT_MAX,  -FLT_MAX};
    memcpy(x + 200, edges, sizeof edges);
    CONTEXT("exp on %s", isa);
    run_function(isa, DWCONV_UNARY, DWCONV_EXP, x, x, parameters, y);
    for (int i = 0; i < SWEEP; i++) CHECK(is_within(y[i], (float)exp(x[i]), 2.4e-7, 2 * (double)FLT_MIN));
    CONTEXT("elu on %s", isa);
    run_function(isa, DWCONV_UNARY, DWCONV_ELU, x, x, parameters, y);
    for (int i = 0; i < SWEEP; i++)
        CHECK(is_within(y[i], x[i] < 0 ? 1.5 * expm1(x[i]) : (float)(x[i] * 2.0), 4e-7, (double)FLT_MIN));
}

/* NaN comes out where it goes in, whatever the other operand is; infinities and signs are those of IEEE. */
static void test_special_values(const char *isa) {
    static const float values[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1.5f, -2.5f, 1e-40f};
    static float a[SWEEP], b[SWEEP], y[SWEEP];
    static const float parameters[2] = {2.0f, -1.0f};
    for (int i = 0; i < SWEEP; i++) {
        a[i] = values[i % 8];
        b[i] = values[i / 8 % 8];
    }
    CONTEXT("maximum on %s", isa);
    run_function(isa, DWCONV_BINARY, DWCONV_MAXIMUM, a, b, parameters, y);
    for (int i = 0; i < SWEEP; i++)
        CHECK(isnan(a[i]) || isnan(b[i]) ? isnan(y[i]) : y[i] == (a[i] > b[i] ? a[i] : b[i]));
    CONTEXT("minimum on %s", isa);
    run_function(isa, DWCONV_BINARY, DWCONV_MINIMUM, a, b, parameters, y);
    for (int i = 0; i < SWEEP; i++)
        CHECK(isnan(a[i]) || isnan(b[i]) ? isnan(y[i]) : y[i] == (a[i] < b[i] ? a[i] : b[i]));
    CONTEXT("keep on %s", isa);
    run_function(isa, DWCONV_BINARY, DWCONV_KEEP, a, b, parameters, y);
    for (int i = 0; i < SWEEP; i++) {
        const float expected = b[i] == 0.0f ? -0.0f : a[i];
        CHECK(isnan(expected) ? isnan(y[i]) : y[i] == expected && !signbit(y[i]) == !signbit(expected));
    }
    for (int f = DWCONV_GREATER; f <= DWCONV_EQUAL; f++) {
        CONTEXT("comparison %d on %s", f, isa);
        run_function(isa, DWCONV_BINARY, (dwconv_function)f, a, b, parameters, y);
        for (int i = 0; i < SWEEP; i++) {
            const int above = a[i] > b[i], same = a[i] == b[i];
            const int expected = f == DWCONV_GREATER ? above : f == DWCONV_EQUAL ? same : above || same;
            CHECK(y[i] == (float)expected);
        }
    }
    CONTEXT("sign on %s", isa);
    run_function(isa, DWCONV_UNARY, DWCONV_SIGN, a, b, parameters, y);
    for (int i = 0; i < SWEEP; i++)
        CHECK(isnan(a[i]) ? isnan(y[i]) : y[i] == (float)((a[i] > 0) - (a[i] < 0)));
    for (int f = DWCONV_SAME_VALUE; f < DWCONV_UNARY_COUNT; f++) {
        CONTEXT("function %d of NaN on %s", f, isa);
        run_function(isa, DWCONV_UNARY, (dwconv_function)f, a, b, parameters, y);
        for (int i = 0; i < SWEEP; i++) CHECK(!isnan(a[i]) || isnan(y[i]));
    }
}

static void test_functions(void) {
    for (int rung = 0; rung < dwconv_isa_count(); rung++) {
        const char *isa = dwconv_isa_name(rung);
        if (!dwconv_isa_available(isa)) continue;
        test_exponentials(isa);
        test_special_values(isa);
    }
}

void test_network(void) {
    test_functions();
    test_random_networks();
    test_guarded_networks();
    test_concurrent_runs();
}
