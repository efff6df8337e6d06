/* The formulas of docs/embedding.md for the memory of plans and runs. */
#include <stdlib.h>

#include "allocator.h"
#include "check.h"
#include "problem.h"
#include "suites.h"

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static int64_t lanes_of(dwconv_isa isa) {
    return isa == DWCONV_ISA_AVX512 ? 16 : isa == DWCONV_ISA_AVX2 ? 8 : 4;
}

static int64_t depthwise_bytes(const dwconv_depthwise_desc *d, dwconv_isa isa) {
    const int64_t lanes = lanes_of(isa), taps = d->window.kernel_h * d->window.kernel_w;
    const int64_t multiplier = d->multiplier ? d->multiplier : 1;
    int64_t channels = d->channels * multiplier;
    if (channels <= 2 && d->window.stride_w <= 1) channels *= lanes;
    const int overlaps = isa == DWCONV_ISA_AVX2 || isa == DWCONV_ISA_BASELINE;
    const int64_t last = overlaps && channels > lanes && channels % lanes ? lanes : 0;
    return round_up(4 * (taps + 1 + (multiplier > 1)) * (round_up(channels, lanes) + last), DWCONV_ALIGNMENT);
}

static int64_t dense_bytes(int64_t taps, int64_t groups, int64_t inputs, int64_t outputs, dwconv_isa isa) {
    const int64_t unit = isa == DWCONV_ISA_AVX512 || isa == DWCONV_ISA_AVX2 ? 8 : 4;
    return round_up(4 * groups * (taps * inputs + 1) * round_up(outputs, unit), DWCONV_ALIGNMENT);
}

static int64_t pointwise_bytes(const dwconv_pointwise_desc *p, dwconv_isa isa) {
    return p->filter ? dense_bytes(1, 1, p->in_channels, p->out_channels, isa) : 0;
}

static int64_t conv_bytes(const dwconv_conv_desc *c, dwconv_isa isa) {
    const int64_t groups = c->groups ? c->groups : 1, taps = c->window.kernel_h * c->window.kernel_w;
    if (groups == c->in_channels) { /* one input per group: depthwise */
        const dwconv_depthwise_desc d = {
            .channels = groups, .multiplier = c->out_channels / groups, .window = c->window};
        const int64_t dense = dense_bytes(taps, groups, 1, c->out_channels / groups, isa);
        const int64_t depthwise = depthwise_bytes(&d, isa);
        return dense > depthwise ? dense : depthwise;
    }
    return dense_bytes(taps, groups, c->in_channels / groups, c->out_channels / groups, isa);
}

/* What the stages of a plan may take at most. */
static int64_t stage_bytes(const dwconv_desc *d, dwconv_isa isa) {
    switch (d->operation) {
        case DWCONV_DEPTHWISE: return depthwise_bytes(&d->depthwise, isa);
        case DWCONV_POINTWISE: return pointwise_bytes(&d->pointwise, isa);
        case DWCONV_CONV: return conv_bytes(&d->conv, isa);
        case DWCONV_SEPARABLE:
            return depthwise_bytes(&d->separable.depthwise, isa) +
                   pointwise_bytes(&d->separable.pointwise, isa);
        default:
            return pointwise_bytes(&d->inverted_residual.expand, isa) +
                   depthwise_bytes(&d->inverted_residual.depthwise, isa) +
                   pointwise_bytes(&d->inverted_residual.project, isa) +
                   pointwise_bytes(&d->inverted_residual.squeeze, isa) +
                   (d->inverted_residual.squeeze.filter ? pointwise_bytes(&d->inverted_residual.excite, isa)
                                                        : 0);
    }
}

static int64_t scratch_pixel(int64_t channels) {
    return channels < 64 ? channels : (round_up(channels, 16) / 16 | 1) * 16;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The block as it is cut: a row under a window of one row is a column (see sequence.c). */
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
    dwconv_cut cut = {0};
    CHECK_STATUS(DWCONV_OK, dwconv_scratch_size(plan, p->input, 1, &scratch));
    CHECK(scratch > 0 || p->input[0] == 0);
    if (p->desc.operation == DWCONV_INVERTED_RESIDUAL && p->desc.inverted_residual.squeeze.filter) return;
    CHECK_STATUS(DWCONV_OK, dwconv_plan_cut(plan, p->input, NULL, &cut));
    if (cut.passes == 2) { /* a slice of the channels in a quarter of the cache, and what depthwise gives */
        CHECK(cut.kept_bytes > 0 && cut.kept_bytes <= 16 * MEGABYTE);
        CHECK((int64_t)scratch <= cut.kept_bytes + cut.cache_bytes / 2);
        sliced++;
        return;
    }
    CHECK((int64_t)scratch <= block_bytes(p, cut.chunk_rows, cut.chunk_columns));
    const int64_t narrow = smaller(p->output[2], 28);
    const int64_t share = p->output[2] < 42 ? 640 * 1024 : smaller(cut.cache_bytes, 1 << 20) / 8 * 5;
    const int64_t pairs = cut.chunk_rows == 2 && cut.chunk_columns >= 24 ? 640 * 1024 : share;
    if (block_bytes(p, 1, narrow) <= share) CHECK((int64_t)scratch <= pairs + 128);
    if (p->output[0] > 0 &&
        cut.chunk_columns < p->output[2]) { /* only where two rows of all columns do not fit */
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
        for (int isa = DWCONV_ISA_BASELINE; isa < DWCONV_ISA_COUNT; isa++) {
            if (!dwconv_isa_available((dwconv_isa)isa)) continue;
            CONTEXT("%s %s", dwconv_isa_name((dwconv_isa)isa), shape_text(s));
            dwconv_desc desc = p.desc;
            desc.isa = (dwconv_isa)isa;
            size_t bytes = 0;
            dwconv_plan *plan = NULL;
            CHECK_STATUS(DWCONV_OK, dwconv_plan_size(&desc, &bytes));
            CHECK((int64_t)bytes <= stage_bytes(&desc, desc.isa) + 4096);
            void *memory = aligned_memory(bytes);
            const long calls = allocator_calls();
            CHECK_STATUS(DWCONV_OK, dwconv_plan_create_in(&desc, memory, bytes, &plan));
            CHECK(dwconv_plan_bytes(plan) == bytes);
            size_t scratch = 1;
            const int single = desc.operation == DWCONV_DEPTHWISE || desc.operation == DWCONV_POINTWISE ||
                               desc.operation == DWCONV_CONV;
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
