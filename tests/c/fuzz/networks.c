/* libFuzzer target: networks of arbitrary descriptors.
 *
 * Under sanitizers, every array is allocated to the byte. Beyond what they see, each input checks that
 *   - all ways to make a network agree on its status, and a refused network is NULL;
 *   - an accepted one has what it was told to have, and places every value inside its workspace;
 *   - a run gives the same bits whatever the workspace held, whoever does the work;
 *   - results are exactly those of dwconv_network_reference, where all numbers are small integers.
 * tests/c/fuzz/run.sh builds and runs it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

enum { MAX_BYTES = 1 << 22 };

/* ---- what was tried, told at the end ------------------------------------------------------- */

static unsigned long statuses[DWCONV_STATUS_COUNT], runs, exact_results;

static void tell(void) {
    for (int i = 0; i < DWCONV_STATUS_COUNT; i++)
        fprintf(stderr, "%-60s %12lu networks\n", dwconv_status_string((dwconv_status)i), statuses[i]);
    fprintf(stderr, "%lu runs, %lu results compared exactly\n", runs, exact_results);
}

static void count(dwconv_status status) {
    static int registered;
    if (!registered) registered = atexit(tell) == 0;
    REQUIRE((unsigned)status < DWCONV_STATUS_COUNT);
    statuses[status]++;
}

/* ---- runs ---------------------------------------------------------------------------------- */

typedef struct tensors {
    void *inputs[MAX_VALUES], *outputs[MAX_VALUES];
    size_t output_bytes[MAX_VALUES];
    int input_count, output_count;
    double bound; /* of all that is computed */
} tensors;

static tensors tensors_of(const network_input *in) {
    tensors t = {0};
    for (int i = 0; i < in->value_count; i++) {
        const dwconv_value *v = &in->values[i];
        const int64_t floats = value_floats(v);
        t.bound = fmax(t.bound, in->bound[i]);
        if (v->storage == DWCONV_INPUT) t.inputs[t.input_count++] = small_integers(floats);
        if (v->storage != DWCONV_OUTPUT) continue;
        t.output_bytes[t.output_count] = (size_t)floats * sizeof(float);
        t.outputs[t.output_count++] = small_integers(floats);
    }
    return t;
}

static void free_tensors(tensors *t) {
    for (int i = 0; i < t->input_count; i++) free(t->inputs[i]);
    for (int i = 0; i < t->output_count; i++) free(t->outputs[i]);
}

static void backwards(void *pool, int64_t items, dwconv_task task, void *context) {
    const int workers = *(const int *)pool;
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, (int)(i % workers));
}

/* Of as many threads, with a workspace of these bytes. */
static void run(const dwconv_network *network, tensors *t, int threads, int byte) {
    const size_t bytes = dwconv_network_workspace(network);
    void *workspace = aligned_alloc(DWCONV_ALIGNMENT, (bytes + 63) / 64 * 64 + 64);
    const dwconv_threads own = {.count = threads, .run = backwards, .pool = &threads};
    const size_t state_bytes = dwconv_network_state_bytes(network);
    void *state = aligned_alloc(DWCONV_ALIGNMENT, (state_bytes + 63) / 64 * 64 + 64);
    REQUIRE(workspace && state);
    memset(workspace, byte, bytes);
    REQUIRE(dwconv_network_reset(network, state, state_bytes) == DWCONV_OK);
    for (int i = 0; i < t->output_count; i++) memset(t->outputs[i], byte, t->output_bytes[i]);
    const dwconv_status status = dwconv_network_run(network, (const void *const *)t->inputs, t->outputs,
                                                    state, state_bytes, workspace, bytes, &own, NULL, NULL);
    REQUIRE(status == DWCONV_OK);
    runs++;
    free(state);
    free(workspace);
}

static int is_comparable(const tensors *t) { return t->bound < 0x1p24; }

static void compare(const network_input *in, tensors *t) {
    tensors expected = *t;
    for (int i = 0; i < t->output_count; i++) REQUIRE(expected.outputs[i] = malloc(t->output_bytes[i]));
    const dwconv_status status =
        dwconv_network_reference(&in->desc, (const void *const *)t->inputs, expected.outputs);
    REQUIRE(status == DWCONV_OK || status == DWCONV_BAD_DTYPE); /* a value of integers: no plain loops */
    const int comparable = status == DWCONV_OK && is_comparable(t);
    for (int i = 0; i < t->output_count; i++) {
        const float *a = t->outputs[i], *b = expected.outputs[i];
        for (size_t k = 0; comparable && k < t->output_bytes[i] / sizeof *a; k++) REQUIRE(a[k] == b[k]);
        free(expected.outputs[i]);
    }
    exact_results += comparable != 0;
}

static void run_all(const network_input *in, const dwconv_network *network) {
    tensors t = tensors_of(in), first;
    const int most = in->desc.threads > 1 ? in->desc.threads : 1;
    run(network, &t, 1, 0);
    compare(in, &t);
    first = t;
    for (int i = 0; i < t.output_count; i++) {
        REQUIRE(t.outputs[i] = malloc(t.output_bytes[i]));
    }
    run(network, &t, most, 0xff);
    for (int i = 0; i < t.output_count; i++) {
        REQUIRE(!is_comparable(&t) || !memcmp(t.outputs[i], first.outputs[i], t.output_bytes[i]));
        free(first.outputs[i]);
    }
    free_tensors(&t);
}

/* ---- networks ------------------------------------------------------------------------------- */

static void check_network(const network_input *in, const dwconv_network *network) {
    const size_t workspace = dwconv_network_workspace(network), state = dwconv_network_state_bytes(network);
    char text[512];
    REQUIRE(dwconv_network_lower_bound(network) <= workspace);
    for (int i = 0; i < in->value_count; i++) {
        const int64_t offset = dwconv_network_offset(network, i);
        REQUIRE(offset >= -1 && offset <= (int64_t)(workspace > state ? workspace : state));
    }
    for (int i = -1; i <= in->node_count; i++) {
        const dwconv_status told = dwconv_network_explain(network, i, DWCONV_TEXT, text, sizeof text, NULL);
        REQUIRE((i >= 0 && i < in->node_count) == (told == DWCONV_OK || told == DWCONV_TOO_SMALL));
    }
    if (!in->vast && workspace <= MAX_BYTES) run_all(in, network);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    reader r = {data, size};
    network_input in;
    network_input_read(&in, &r);
    size_t bytes = 0;
    int bad = -2;
    dwconv_network *network = NULL;
    const dwconv_status sized = dwconv_network_size(&in.desc, &bytes, &bad);
    REQUIRE(bad >= -1 && bad < in.node_count && (sized != DWCONV_OK || bad == -1));
    dwconv_status status = sized;
    if (sized != DWCONV_OK) {
        REQUIRE(dwconv_network_create(&in.desc, &network, NULL) == sized && !network);
    } else if (bytes <= MAX_BYTES) {
        void *memory = aligned_alloc(DWCONV_ALIGNMENT, (bytes + 63) / 64 * 64);
        REQUIRE(memory);
        REQUIRE(dwconv_network_create_in(&in.desc, memory, bytes - 1, &network, NULL) == DWCONV_TOO_SMALL);
        status = dwconv_network_create_in(&in.desc, memory, bytes, &network, &bad);
        REQUIRE((status == DWCONV_OK) == (network != NULL) && (network || status == DWCONV_BAD_VALUE));
        if (network) check_network(&in, network);
        dwconv_network_destroy(network);
        free(memory);
    }
    count(status);
    network_input_free(&in);
    return 0;
}
