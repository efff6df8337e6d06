/* Depthwise convolution of 8-bit integers on lines: four taps at a time, one or two output rows, a group of channels
 * (two vectors) at a time. Both output rows see the same vectors of a line, with weights of their own.
 *
 * Before: SUFFIX; DW_TILE, the outputs of a row of the widest tiles, 2 or 4; DW_ROLLS, if 3x3 have loops of their own: 1, or
 * 2 where there are no registers for sums of several outputs; DW_CONSTANT, if tiles of constant taps are worth their size. */
#include "depthwise_tile.inc.h"
#ifdef DW_ROLLS
#include "depthwise_roll.inc.h"
#endif

typedef void (*dw_tiles_function)(const dw_group *, int64_t, int64_t);

/* Tiles of the greatest width for constant taps, or NULL. */
static dw_tiles_function dw_constant(const dwc_s8_dw_run *c) {
    if (c->multiplier > 1 || c->rows < c->sets) return NULL;
#ifdef DW_CONSTANT
    const dwc_s8_pass *last = c->passes + c->count - 1;
    const int five = c->count == 2 && c->passes->taps == 5 && last->taps == 3;
    if (c->rows == 1) return five && c->x_out == 2 * c->x_tap ? DW_WIDEST(1, 5, 2) : NULL;
    if (c->x_out != c->x_tap) return NULL;
#ifndef DW_ROLLS
    if (c->kernel_w == 3) return DW_WIDEST(2, 3, 1);
#endif
    if (five) return DW_WIDEST(2, 5, 1);
    if (c->kernel_w == 7 && last->taps == 7) return DW_WIDEST(2, 7, 1);
#endif
    return NULL;
}

/* The only output of a row, twice: a tile of one is not worth its size. */
static void dw_run_one(const dw_group *group, dw_tiles_function two) {
    dwc_s8_dw_run run = *group->call;
    dw_group g = *group;
    run.x_out = run.y_out = 0;
    g.call = &run;
    two(&g, 0, 2);
}

/* The widest tiles, then twos, the last of which may overlap what comes before. */
static void dw_run_columns(const dw_group *g, int64_t all) {
    static const dw_tiles_function tiles[2][2][2] = {
        {{DW_WIDEST(1, 0, 0), dw_tiles_2_1_0_0_0}, {DW_WIDEST(2, 0, 0), dw_tiles_2_2_0_0_0}},
        {{dw_tiles_2_1_1_0_0, dw_tiles_2_1_1_0_0}, {dw_tiles_2_2_1_0_0, dw_tiles_2_2_1_0_0}}};
    const dwc_s8_dw_run *c = g->call;
    const int64_t columns = c->multiplier > 1 ? 2 : DW_TILE;
    const dw_tiles_function *by = tiles[c->multiplier > 1][c->rows > 1], constant = dw_constant(c);
    const int64_t wide = all / columns * columns, twos = all / 2 * 2;
    const dw_tiles_function widest = constant ? constant : by[0];
    if (wide > 0) widest(g, 0, wide);
    if (wide > 0 && twos > wide) {
        widest(g, all - columns, all);
        return;
    }
    if (twos > wide) by[1](g, wide, twos);
    if (all > 1 && all > twos) by[1](g, all - 2, all);
    if (all == 1) dw_run_one(g, by[1]);
}

static void dw_run_group(const dw_group *g) {
    const dwc_s8_dw_run *c = g->call;
#ifdef DW_ROLLS
    if (dw_rolls(g)) {
        dw_roll_any(g);
        return;
    }
#endif
    if (c->x_back == 0) {
        dw_run_columns(g, c->columns);
        return;
    }
    if (c->columns > 1) dw_run_columns(g, c->columns - 1);
    dw_group last = *g;
    last.x += (c->columns - 1) * c->x_out - c->x_back;
    last.y += (c->columns - 1) * c->y_out - c->y_back;
    dw_run_columns(&last, 1);
}

static void dw_s8(const dwc_s8_dw_run *c) {
    const int group = 2 * V(lanes);
    const uint8_t *w = c->weights;
    for (int64_t done = 0; done < c->channels; done += group, w += c->block) {
        const int64_t begin = c->channels - done >= group || done == 0 ? done : c->channels - group;
        dw_group g = {.call = c,
                      .start = w,
                      .multipliers = w + 8 * V(lanes),
                      .sources = w + 16 * V(lanes),
                      .weights = w + (c->multiplier > 1 ? 24 : 16) * V(lanes),
                      .x = (c->channel + begin) / (c->multiplier > 1 ? c->multiplier : 1) * 2,
                      .y = begin * (c->end.sums ? 4 : 1),
                      .channels = c->channels < group ? (int)c->channels : group,
                      .is_plain = c->end.fits && !c->end.sums};
        dw_run_group(&g);
    }
}
