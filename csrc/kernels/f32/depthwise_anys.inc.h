/* Runs of tiles of any window, and the end of a vector of channels where vectors have no masks. */

/* Rows between those of a small kernel no output sees. Of twins the second output row's come by their distance. */
INLINE void dw_find_rows(const dwc_dw_run *c, dw_any_steps *p, const int TWINS) {
    const int64_t tap = V(lanes) * (int64_t)sizeof(float), first = c->taps->first;
    const int64_t row = c->kernel_w * tap;
    const int second = c->rows > 1 ? c->row_stride : INT32_MAX,
              end = c->kernel_h + (c->rows > 1 && !TWINS ? second : 0);
    int count = 0, part = 0;
    p->second = -c->row_stride * row;
    for (int i = 0; i < end; i++) {
        for (; part < (i >= second) + (i >= c->kernel_h); part++) p->ends[part] = count;
        if (!c->in[i] || (i >= c->kernel_h && i < second)) continue;
        struct dw_any_input *input = &p->rows[count++];
        input->x = c->in[i] + first * c->x_tap;
        input->weights = (1 + first) * tap + (c->kernel_row + i) * row;
        if (TWINS) input->apart = c->in[i + second] - c->in[i];
    }
    for (; part < 3; part++) p->ends[part] = count;
}

INLINE void dw_find_steps(const dwc_dw_run *c, dw_any_steps *p, const int REST) {
    dw_find_rows(c, p, REST == DW_TWINS);
    p->tap = c->x_tap;
    p->rounds = REST > 0 ? (c->taps->seen - REST) / 4 : c->taps->seen;
    OPAQUE(p->tap); /* or the compiler makes them anew from what they are made of */
    OPAQUE(p->second);
    V(distances)(p->times, c->x_out, DW_WIDE / 2);
    V(distances)(p->y_times, c->y_out, DW_WIDE / 2);
}

/* The tiles of a run, all whole vectors of channels or the lanes that are left. */
INLINE void dw_any_run(const dwc_dw_run *c, const int REST, const int SHARED, const int WHOLE) {
    const int64_t channels = c->channels, whole = channels - channels % V(lanes), size = sizeof(float);
    const int64_t end = c->last ? channels : whole;
    dw_any_steps p;
    dw_find_steps(c, &p, REST);
    int64_t x = c->x;
    char *y = c->y;
    for (int64_t tiles = c->tiles; tiles > 0; tiles--, x += c->x_tile, y += c->y_tile) {
        if (WHOLE) {
            const float *w = c->weights;
            for (int64_t channel = 0; channel < end; channel += V(lanes), w += c->block) {
                if (!LIKELY(channel + V(lanes) <= channels)) {
                    channel = channels - V(lanes);
                    w = c->last;
                }
                OPAQUE(channel);
                V(dw_any)(c, &p, x + channel * size, y + channel * size, w, V(lanes), V(lanes), REST, SHARED,
                          DW_WIDE, 0, 1);
            }
        } else {
            const int lanes = (int)(channels - whole);
            V(dw_any)(c, &p, x + whole * size, y + whole * size, c->weights + whole / V(lanes) * c->block,
                      lanes, lanes, REST, 0, DW_WIDE, 0, 0);
        }
    }
}

#define DW_ANY(name, REST, SHARED, WHOLE) \
    NOINLINE void name(const dwc_dw_run *c) { dw_any_run(c, REST, SHARED, WHOLE); }
#define DW_ANY_RESTS(name, SHARED) \
    DW_ANY(name##_1, 1, SHARED, 1) \
    DW_ANY(name##_2, 2, SHARED, 1) DW_ANY(name##_3, 3, SHARED, 1) DW_ANY(name##_4, 4, SHARED, 1)
#define DW_ANY_RESTS_OF(name) {name##_4, name##_1, name##_2, name##_3}

DW_ANY_RESTS(dw_any, 0)
#if DW_SHARES
DW_ANY_RESTS(dw_any_shared, 1)
#define DW_SHARED DW_ANY_RESTS_OF(dw_any_shared)
#define DW_SHARED_TWINS NULL
#else
DW_ANY(dw_any_shared_twins, DW_TWINS, 1, 1)
#define DW_SHARED {NULL}
#define DW_SHARED_TWINS dw_any_shared_twins
#endif
DW_ANY(dw_any_twins, DW_TWINS, 0, 1)
DW_ANY(dw_any_edge, DW_BY_EDGE, 0, 1)
DW_ANY(dw_any_lanes, DW_BY_EDGE, 0, 0)

/* A vector of outputs of several groups spreads their inputs, or of multipliers fewer, over its lanes. */
INLINE void dw_any_multiplied(const dwc_dw_run *c, const int REST, const int ONE) {
    const int64_t outputs = c->multiplier, each = c->group_inputs, size = sizeof(float);
    const int64_t end = c->channel + c->channels;
    dw_any_steps p;
    dw_find_steps(c, &p, REST);
    int64_t x = c->x;
    char *y = c->y;
    for (int64_t tiles = c->tiles; tiles > 0; tiles--, x += c->x_tile, y += c->y_tile) {
        const float *w = c->weights;
        char *to = y;
        for (int64_t channel = c->channel; channel < end;
             channel += V(lanes), w += c->block, to += V(lanes) * size) {
            const int64_t first = channel / outputs * each, left = end - channel, from = x + first * size;
            const int lanes = left < V(lanes) ? (int)left : V(lanes);
            const int in_lanes = (int)((channel + lanes - 1) / outputs * each + each - first);
            if (ONE) {
                V(dw_any)(c, &p, from, to, w, V(lanes), 1, REST, 0, DW_WIDE, DW_ONE, 1);
            } else if (DW_SPREADS_FEW && left >= V(lanes) && in_lanes <= 4 && first + 4 <= c->in_channels) {
                V(dw_any)(c, &p, from, to, w, V(lanes), 4, DW_BY_EDGE, 0, DW_WIDE, DW_FEW, 1);
#ifndef DW_MASKED
            } else if (left >= V(lanes) && first + V(lanes) <= c->in_channels) {
                V(dw_any)(c, &p, from, to, w, V(lanes), V(lanes), DW_BY_EDGE, 0, DW_WIDE, DW_SOME, 1);
#endif
            } else {
                V(dw_any)(c, &p, from, to, w, lanes, in_lanes, DW_BY_EDGE, 0, DW_WIDE, DW_SOME, 0);
            }
        }
    }
}

NOINLINE void dw_any_spread(const dwc_dw_run *c) { dw_any_multiplied(c, DW_BY_EDGE, 0); }
NOINLINE void dw_any_broadcast(const dwc_dw_run *c) { dw_any_multiplied(c, DW_BY_EDGE, 1); }
NOINLINE void dw_any_broadcast_inner(const dwc_dw_run *c) { dw_any_multiplied(c, DW_EACH, 1); }

/* 1x1 windows: every channel of a pixel, x, times a factor of its own; NULL: a pixel of padding. */
INLINE void dw_scale_pixel(const dwc_dw_run *c, const char *x, char *y) {
    const V(vec) low = V(set1)(c->low), high = V(set1)(c->high);
    const int64_t size = sizeof(float), step = V(lanes) * size;
    const float *w = c->weights;
    int64_t left = c->channels;
    for (; left >= V(lanes); left -= V(lanes), w += c->block, y += step) {
        V(vec) v = V(load)(w);
        if (x) v = V(fma)(V(load)((const float *)x), V(load)(w + V(lanes)), v), x += step;
        V(dw_put)(y, v, low, high, V(lanes), 1);
    }
    if (left) {
        V(vec) v = V(load)(w);
        if (x) v = V(fma)(V(load_n)((const float *)x, (int)left), V(load)(w + V(lanes)), v);
        V(dw_put)(y, v, low, high, (int)left, 0);
    }
}

static void dw_scale(const dwc_dw_run *c) {
    for (int64_t i = 0; i < c->tiles; i++) {
        char *const y = c->y + i * c->y_tile;
        for (int r = 0; r < c->rows; r++) {
            const char *row = c->in[r * c->row_stride];
            dw_scale_pixel(c, row ? row + c->x + i * c->x_tile : NULL, y + r * c->y_row);
        }
        if (!LIKELY(!c->activation)) dw_activate_tile(c, y, 1);
    }
}

/* For the table of an instruction set: Clang takes no struct for a constant. */
#define DW_ANY_WINDOW                           \
    {.columns = DW_WIDE,                        \
     .rest = DW_ANY_RESTS_OF(dw_any),           \
     .shared = DW_SHARED,                       \
     .twins = dw_any_twins,                     \
     .shared_twins = DW_SHARED_TWINS,           \
     .edge = dw_any_edge,                       \
     .lanes = dw_any_lanes,                     \
     .spread = dw_any_spread,                   \
     .broadcast = dw_any_broadcast,             \
     .broadcast_inner = dw_any_broadcast_inner, \
     .scale = dw_scale}
