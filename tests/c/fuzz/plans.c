/* libFuzzer target: plans of arbitrary descriptors, run on tensors of arbitrary shapes, strides and addresses.
 *
 * Under sanitizers, every array is allocated to the byte. Beyond what they see, each input checks that
 *   - all ways to make a plan agree on its status, and a refused plan is NULL;
 *   - a refused run writes nothing, an accepted one writes every element of its output and nothing else;
 *   - input and output of an accepted run share no element;
 *   - results are those of dwconv_reference: exactly, where all numbers are small integers.
 * tests/c/fuzz/run.sh builds and runs it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

/* ---- what was tried, told at the end ------------------------------------------------------- */

static unsigned long plan_statuses[DWCONV_STATUS_COUNT], run_statuses[DWCONV_STATUS_COUNT], exact_results;

static void tell(void) {
    fprintf(stderr, "%-60s %12s %12s\n", "status", "plans", "runs");
    for (int i = 0; i < DWCONV_STATUS_COUNT; i++)
        fprintf(stderr, "%-60s %12lu %12lu\n", dwconv_status_string((dwconv_status)i), plan_statuses[i],
                run_statuses[i]);
    fprintf(stderr, "%lu results compared exactly\n", exact_results);
}

static void count(unsigned long *statuses, dwconv_status status) {
    static int registered;
    if (!registered) registered = atexit(tell) == 0;
    REQUIRE((unsigned)status < DWCONV_STATUS_COUNT);
    statuses[status]++;
}

/* ---- tensors ------------------------------------------------------------------------------- */

enum { MAX_ELEMENTS = 1 << 15 };
__extension__ typedef __int128 wide;

/* Floats before and after the address of element [0, 0, 0, 0], by the rules of dwconv.h. */
typedef struct reach {
    wide below, above;
} reach;

static reach reach_of(dwconv_tensor *t, int resolve) {
    wide pixel = t->pixel_stride ? t->pixel_stride : t->channels;
    wide row = t->row_stride ? t->row_stride : t->width * pixel;
    wide image = t->image_stride ? t->image_stride : t->height * row;
    const wide sizes[3] = {t->batch, t->height, t->width}, strides[3] = {image, row, pixel};
    reach r = {0, t->channels};
    for (int i = 0; i < 3; i++) {
        const wide step = (sizes[i] - 1) * strides[i];
        if (sizes[i] > 1) *(step < 0 ? &r.below : &r.above) += step < 0 ? -step : step;
    }
    if (resolve) {
        t->pixel_stride = (int64_t)pixel;
        t->row_stride = (int64_t)row;
        t->image_stride = (int64_t)image;
    }
    return r;
}

static int affordable(const dwconv_tensor *t) {
    const int64_t sizes[4] = {t->batch, t->height, t->width, t->channels};
    int64_t elements = 1;
    for (int i = 0; i < 4; i++) {
        if (sizes[i] < 0 || sizes[i] > MAX_ELEMENTS) return 0;
        elements *= sizes[i];
        if (elements > MAX_ELEMENTS) return 0;
    }
    return 1;
}

static void read_strides(reader *r, dwconv_tensor *t) {
    const uint8_t how = read_byte(r);
    if (how % 2 == 0 || !affordable(t)) return; /* contiguous */
    const int64_t pixel = t->channels + (how >> 1 & 3);
    const int64_t row = t->width * pixel + (how >> 3 & 7);
    if (how & 64) t->pixel_stride = pixel;
    if (how & 128) t->row_stride = row;
    switch (read_byte(r) % 8) {
        case 0: t->row_stride = -row; break;
        case 1: t->image_stride = -t->height * row; break;
        case 2: t->pixel_stride = read_size(r, -20, 60); break;
        case 3: t->row_stride = read_size(r, -100, 100); break;
        case 4: t->image_stride = read_size(r, -120, 120); break;
        case 5: /* columns in place of rows */
            t->row_stride = pixel;
            t->pixel_stride = t->height * pixel;
            break;
        default: break;
    }
}

static void backwards(void *pool, int64_t items, dwconv_task task, void *context) {
    const int workers = *(const int *)pool;
    for (int64_t i = items - 1; i >= 0; i--) task(context, i, (int)(i % workers));
}

/* ---- one run ------------------------------------------------------------------------------- */

typedef struct trial {
    const input *in;
    const dwconv_plan *plan;
    dwconv_tensor x, y;
    float *x_memory, *y_memory; /* the same where they overlap */
    size_t x_floats, y_floats;
    dwconv_threads threads;
    int workers;
} trial;

static float *element(const dwconv_tensor *t, int64_t n, int64_t y, int64_t x) {
    return (float *)t->data + n * t->image_stride + y * t->row_stride + x * t->pixel_stride;
}

/* Marks the elements of t among the floats of `memory`. */
static void mark(const dwconv_tensor *t, const float *memory, unsigned char *marks, unsigned char bit) {
    for (int64_t n = 0; n < t->batch; n++)
        for (int64_t y = 0; y < t->height; y++)
            for (int64_t x = 0; x < t->width; x++)
                for (int64_t c = 0; c < t->channels; c++) {
                    unsigned char *m = &marks[element(t, n, y, x) + c - memory];
                    REQUIRE(bit == 1 || !(*m & bit)); /* no element of an output is another one */
                    *m |= bit;
                }
}

static float *dense_copy(const dwconv_tensor *t) {
    const size_t pixels = (size_t)(t->batch * t->height * t->width);
    float *copy = malloc(pixels * (size_t)t->channels * sizeof *copy), *next = copy;
    REQUIRE(copy);
    for (int64_t n = 0; n < t->batch; n++)
        for (int64_t y = 0; y < t->height; y++)
            for (int64_t x = 0; x < t->width; x++, next += t->channels)
                memcpy(next, element(t, n, y, x), (size_t)t->channels * sizeof *next);
    return copy;
}

static void compare(const trial *t, const float *x_copy) {
    const int comparable = t->in->bound < 1e30, exact = t->in->exact && t->in->bound < 0x1p24;
    const size_t pixels = (size_t)(t->y.batch * t->y.height * t->y.width);
    float *expected = malloc(pixels * (size_t)t->y.channels * sizeof *expected);
    float *found = dense_copy(&t->y);
    const dwconv_tensor x = {.data = (void *)(uintptr_t)x_copy,
                             .batch = t->x.batch,
                             .height = t->x.height,
                             .width = t->x.width,
                             .channels = t->x.channels};
    const dwconv_tensor y = {.data = expected,
                             .batch = t->y.batch,
                             .height = t->y.height,
                             .width = t->y.width,
                             .channels = t->y.channels};
    REQUIRE(expected && dwconv_reference(&t->in->desc, &x, &y) == DWCONV_OK);
    const double tolerance = exact ? 0 : 4e-6 * t->in->bound;
    for (size_t i = 0; i < pixels * (size_t)t->y.channels; i++)
        REQUIRE(!comparable || fabs((double)found[i] - (double)expected[i]) <= tolerance);
    if (exact) exact_results++;
    free(expected);
    free(found);
}

/* After a run: what changed is the output's elements if it was accepted, else nothing. */
static void check_written(const trial *t, const float *before, int accepted) {
    unsigned char *marks = calloc(t->y_floats + 1, 1);
    REQUIRE(marks);
    if (accepted) mark(&t->y, t->y_memory, marks, 2);
    if (accepted && t->x_memory == t->y_memory) {
        mark(&t->x, t->x_memory, marks, 1);
        for (size_t i = 0; i < t->y_floats; i++) REQUIRE(marks[i] != 3);
    }
    for (size_t i = 0; i < t->y_floats; i++)
        REQUIRE(marks[i] & 2 || memcmp(&before[i], &t->y_memory[i], sizeof(float)) == 0);
    free(marks);
}

static void run(trial *t, reader *r) {
    const int64_t shape[4] = {t->x.batch, t->x.height, t->x.width, t->x.channels};
    size_t bytes = 0;
    const dwconv_status scratch_status = dwconv_scratch_size(t->plan, shape, t->threads.count, &bytes);
    if (bytes > 1 << 22) return;
    const uint8_t how = read_byte(r);
    const size_t given = how == 255 && bytes ? bytes - 1 : bytes;
    char *scratch = bytes ? aligned_alloc(DWCONV_ALIGNMENT, (bytes + 127) / 64 * 64) : NULL;
    char *aligned = how == 254 && scratch ? scratch + 32 : how == 253 ? NULL : scratch;
    float *x_copy = dense_copy(&t->x);
    float *before = malloc(t->y_floats * sizeof *before + 1);
    REQUIRE(before);
    memcpy(before, t->y_memory, t->y_floats * sizeof *before);
    if (scratch) memset(scratch, 0xff, bytes);
    const dwconv_status status =
        dwconv_run(t->plan, &t->x, &t->y, aligned, given, how % 4 ? &t->threads : NULL);
    count(run_statuses, status);
    if (status == DWCONV_OK) {
        REQUIRE(scratch_status == DWCONV_OK || how % 4 == 0); /* a negative count was left out */
        compare(t, x_copy);
    }
    check_written(t, before, status == DWCONV_OK);
    free(before);
    free(x_copy);
    free(scratch);
}

/* Memory for both tensors, exactly as large as they reach, then the run. */
static void run_in_memory(trial *t, reader *r) {
    const int64_t lead = read_byte(r) % 2; /* an address that no vector is aligned to */
    const uint8_t overlap = read_byte(r);
    const reach x = reach_of(&t->x, 1), y = reach_of(&t->y, 1);
    const int shared = overlap % 8 == 0;
    const wide offset = shared ? read_size(r, 0, 200) % 4096 : 0;
    const wide x_floats = lead + x.below + x.above, y_floats = y.below + y.above;
    const wide common = (x_floats > y_floats ? x_floats : y_floats) + (offset < 0 ? 0 : offset);
    t->x_floats = (size_t)(shared ? common : x_floats);
    t->y_floats = (size_t)(shared ? common : y_floats);
    t->x_memory = small_integers((int64_t)t->x_floats);
    t->y_memory = shared ? t->x_memory : small_integers((int64_t)t->y_floats);
    t->x.data = t->x_memory + (shared ? 0 : lead) + (int64_t)x.below;
    t->y.data = t->y_memory + (int64_t)y.below + (offset < 0 ? 0 : (int64_t)offset);
    run(t, r);
    free(t->x_memory);
    if (!shared) free(t->y_memory);
}

static void run_plan(const input *in, const dwconv_plan *plan, reader *r) {
    trial t = {.in = in, .plan = plan};
    const int64_t channels = in->desc.expand ? in->expand.in_channels : in->conv.in_channels;
    int64_t shape[4] = {read_size(r, 0, 3), read_size(r, 1, 14), read_size(r, 1, 24), channels};
    const uint8_t odd = read_byte(r);
    if (odd >= 252) shape[odd - 252] = read_size(r, -1, 9);
    int64_t output[4] = {1, 1, 1, 1};
    const dwconv_status shape_status = dwconv_output_shape(plan, shape, output);
    const uint8_t wrong = read_byte(r);
    if (wrong >= 252) output[wrong - 252] = read_size(r, -1, 9);
    t.workers = read_byte(r) % 5;
    t.threads =
        (dwconv_threads){.count = t.workers == 4 ? -1 : t.workers, .run = backwards, .pool = &t.workers};
    if (t.workers == 0 || t.workers == 4) t.workers = 1;
    char text[1024];
    const size_t size = read_byte(r) * 4u;
    const dwconv_format format = (dwconv_format)(read_byte(r) % 2);
    const dwconv_status told = dwconv_explain(plan, shape, &t.threads, format, text, size, NULL);
    if (told == DWCONV_OK || told == DWCONV_TOO_SMALL) REQUIRE(shape_status == DWCONV_OK);
    if (told == DWCONV_TOO_SMALL) REQUIRE(strlen(text) == size - 1);
    t.x = (dwconv_tensor){.batch = shape[0], .height = shape[1], .width = shape[2], .channels = shape[3]};
    t.y = (dwconv_tensor){.batch = output[0], .height = output[1], .width = output[2], .channels = output[3]};
    read_strides(r, &t.x);
    read_strides(r, &t.y);
    if (shape_status != DWCONV_OK) {
        t.x.data = t.y.data = &t; /* refused before either is touched */
        const dwconv_status status = dwconv_run(plan, &t.x, &t.y, NULL, 0, NULL);
        REQUIRE(status == shape_status);
        count(run_statuses, status);
        return;
    }
    if (!affordable(&t.x) || !affordable(&t.y)) return;
    const reach x = reach_of(&t.x, 0), y = reach_of(&t.y, 0);
    const wide absurd = (wide)1 << 61;
    if (x.below + x.above > absurd || y.below + y.above > absurd) {
        t.x.data = t.y.data = &t;
        const dwconv_status status = dwconv_run(plan, &t.x, &t.y, NULL, 0, NULL);
        REQUIRE(status != DWCONV_OK || t.x.batch == 0);
        count(run_statuses, status);
    } else if (x.below + x.above <= 4 * MAX_ELEMENTS && y.below + y.above <= 4 * MAX_ELEMENTS) {
        run_in_memory(&t, r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    reader r = {data, size};
    input in;
    input_read(&in, &r);
    size_t bytes = 0;
    dwconv_plan *plan = NULL;
    const dwconv_status status = dwconv_plan_size(&in.desc, &bytes);
    count(plan_statuses, status);
    void *memory = aligned_alloc(DWCONV_ALIGNMENT, 1 << 20);
    REQUIRE(memory);
    if (status != DWCONV_OK) {
        REQUIRE(dwconv_plan_create(&in.desc, &plan) == status && !plan);
        REQUIRE(dwconv_plan_create_in(&in.desc, memory, 1 << 20, &plan) == status && !plan);
    } else if (in.vast || bytes > 1 << 20) { /* too little memory is refused before a weight is read */
        REQUIRE(dwconv_plan_create_in(&in.desc, memory, 64, &plan) == DWCONV_TOO_SMALL && !plan);
    } else if (read_byte(&r) % 2) {
        REQUIRE(dwconv_plan_create(&in.desc, &plan) == DWCONV_OK);
    } else {
        free(memory);
        memory = aligned_alloc(DWCONV_ALIGNMENT, bytes);
        REQUIRE(memory && dwconv_plan_create_in(&in.desc, memory, bytes, &plan) == DWCONV_OK);
        REQUIRE(dwconv_plan_bytes(plan) == bytes);
    }
    if (plan) run_plan(&in, plan, &r);
    dwconv_plan_destroy(plan);
    free(memory);
    input_free(&in);
    return 0;
}
