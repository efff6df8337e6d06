/* The formulas of docs/embedding.md for the memory of plans and runs. */
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* Whether it is that one, perhaps with dot products of integers. */
static int is(const char *isa, const char *name) { return strncmp(isa, name, strlen(name)) == 0; }

static int64_t lanes_of(const char *isa) { return is(isa, "avx512") ? 16 : is(isa, "avx2") ? 8 : 4; }

static int64_t depthwise_bytes(const dwconv_conv_desc *c, const char *isa) {
    const int64_t lanes = lanes_of(isa), groups = c->groups ? c->groups : 1;
    const int64_t taps = c->window.kernel_h * c->window.kernel_w * c->in_channels / groups;
    int64_t channels = c->out_channels;
    if (channels <= 2 && c->window.stride_w <= 1) channels *= lanes;
    const int overlaps = !is(isa, "avx512");
    const int64_t last = overlaps && channels > lanes && channels % lanes ? lanes : 0;
    const int spreads = c->out_channels > c->in_channels;
    return round_up(4 * (taps + 1 + spreads) * (round_up(channels, lanes) + last), DWCONV_ALIGNMENT);
}

static int64_t dense_bytes(const dwconv_conv_desc *c, const char *isa) {
    const int64_t unit = is(isa, "avx512") || is(isa, "avx2") ? 8 : 4;
    const int64_t taps = c->window.kernel_h ? c->window.kernel_h * c->window.kernel_w : 1;
    const int64_t groups = c->groups ? c->groups : 1;
    return round_up(
        4 * groups * (taps * (c->in_channels / groups) + 1) * round_up(c->out_channels / groups, unit),
        DWCONV_ALIGNMENT);
}

/* Of a part of an operation; one channel, and groups of few, run as one or the other. */
static int64_t part_bytes(const dwconv_conv_desc *c, const char *isa) {
    if (!c) return 0;
    const int64_t dense = dense_bytes(c, isa);
    const int64_t groups = c->groups ? c->groups : 1, inputs = c->in_channels / groups,
                  outputs = c->out_channels / groups;
    const int is_depthwise = inputs == 1, is_thin = inputs <= outputs && outputs <= lanes_of(isa);
    if (!is_depthwise && (groups == 1 || !is_thin)) return dense;
    const int64_t depthwise = depthwise_bytes(c, isa);
    return (is_depthwise && c->in_channels > 1) || depthwise > dense ? depthwise : dense;
}

/* What the parts of a plan may take at most. */
static int64_t packed_bytes(const dwconv_desc *d, const char *isa) {
    return part_bytes(d->expand, isa) + part_bytes(d->conv, isa) + part_bytes(d->project, isa) +
           part_bytes(d->squeeze, isa) + part_bytes(d->excite, isa);
}

static int64_t scratch_pixel(int64_t channels) {
    return channels < 64 ? channels : (round_up(channels, 16) / 16 | 1) * 16;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The block as it is cut: a row under a window of one row is a column (see frame.c). */
static problem turned(problem p) {
    shape *s = &p.shape;
    dwconv_window *w = &s->window, old = *w;
    if (s->height > 1 || p.output[1] > 1 || w->kernel_h > 1 || w->pad_top > 0) return p;
    const int64_t height = s->height, out_h = p.output[1];
    s->height = s->width;
    s->width = height;
    p.output[1] = p.output[2];
    p.output[2] = out_h;
    w->kernel_h = old.kernel_w;
    w->kernel_w = old.kernel_h;
    w->stride_h = old.stride_w;
    w->stride_w = old.stride_h;
    w->dilation_h = old.dilation_w;
    w->dilation_w = old.dilation_h;
    return p;
}

/* What a block needs on one thread at most, for so many outputs at a time. */
static int64_t block_bytes(const problem *p, int64_t rows, int64_t columns) {
    const shape *s = &p->shape;
    const dwconv_window *w = &s->window;
    const int64_t ring_rows = (rows - 1) * w->stride_h + (w->kernel_h - 1) * w->dilation_h + 1;
    const int64_t ring_columns = (columns - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
    const int64_t hidden = s->expanded ? s->expanded : s->in_channels;
    return 4 * (smaller(ring_rows, s->height) * smaller(ring_columns, s->width) * scratch_pixel(s->expanded) +
                rows * columns * scratch_pixel(hidden * s->multiplier)) +
           128;
}

static int shared_columns,
    sliced; /* blocks that are walked down with a part of their columns, or of their channels */

enum { MEGABYTE = 1024 * 1024 };

static void check_block_scratch(const problem *given, const dwconv_plan *plan) {
    const problem turned_problem = turned(*given), *p = &turned_problem;
    size_t scratch = 0, for_two = 0;
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p->input, 1, &scratch));
    CHECK(scratch > 0 || p->input[0] == 0);
    if (p->desc.squeeze || p->input[0] == 0) return;
#define TOLD(key) explained(plan, p->input, NULL, key)
    const int64_t cache = TOLD("cache_bytes"), rows = TOLD("chunk_rows"), columns = TOLD("chunk_columns");
    CHECK(TOLD("scratch_bytes") == (int64_t)scratch);
    if (TOLD("passes") ==
        2) { /* a slice of the channels in a quarter of the cache, and what depthwise gives */
        const int64_t kept = TOLD("kept_bytes");
        CHECK(kept > 0 && kept <= 16 * MEGABYTE);
        CHECK((int64_t)scratch <= kept + cache / 2);
        sliced++;
        return;
    }
    CHECK((int64_t)scratch <= block_bytes(p, rows, columns));
    const int64_t narrow = smaller(p->output[2], 28);
    const int64_t share = p->output[2] < 42 ? 640 * 1024 : smaller(cache, 1 << 20) / 8 * 5;
    const int64_t pairs = rows == 2 && columns >= 24 ? 640 * 1024 : share;
    if (block_bytes(p, 1, narrow) <= share) CHECK((int64_t)scratch <= pairs + 128);
    if (columns < p->output[2]) { /* only where two rows of all columns do not fit */
        shared_columns++;
        CHECK(block_bytes(p, smaller(p->output[1], 2), p->output[2]) > share);
    }
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p->input, 2, &for_two));
    CHECK(for_two >= scratch);
}

void test_budget(void) {
    rng r = {7};
    const shape *s;
    for (int i = 0; (s = grid_shape(i)) != NULL; i++) {
        problem p;
        if (!problem_create(&p, s, &r)) continue;
        for (int rung = 0; rung < dwconv_isa_count(); rung++) {
            const char *isa = dwconv_isa_name(rung);
            if (!dwconv_isa_available(isa)) continue;
            CONTEXT("%s %s", isa, shape_text(s));
            dwconv_desc desc = p.desc;
            desc.isa = isa;
            size_t bytes = 0;
            dwconv_plan *plan = NULL;
            CHECK_STATUS(DWCONV_OK, dwconv_plan_size(&desc, &bytes));
            CHECK((int64_t)bytes <= packed_bytes(&desc, isa) + 4096);
            void *memory = aligned_memory(bytes);
            const long calls = allocator_calls();
            CHECK_STATUS(DWCONV_OK, dwconv_plan_create_in(&desc, memory, bytes, &plan));
            CHECK(dwconv_plan_bytes(plan) == bytes);
            size_t scratch = 1;
            const int single = !desc.project;
            CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p.input, 2, &scratch));
            CHECK(!single || scratch == 0);
            if (!single) check_block_scratch(&p, plan);
            dwconv_plan_destroy(plan);
            CHECK(allocator_calls() == calls); /* all of it is in the caller's memory */
            free(memory);
        }
        problem_free(&p);
    }
    CHECK(shared_columns > 0 && sliced > 0);
}
