/* 3x3 windows by rolling rows: strips whose padding is one column at either side, in calls whose padding is one row at
 * the top and at the bottom; with a dilation, in each of the dense problems that it is made of. The window kernel takes
 * all others. */

INLINE int dw_rolls(const dw_strip *s, const int S, const int T) {
    return s->count == T && s->live_begin <= 1 && s->live_end >= (T - 1) * S + 2;
}

#define DW_ROLL_STRIP(S, T)                                                                     \
    NOINLINE void dw_roll_##S##_##T(const dw_strip *s) {                                        \
        if (!dw_rolls(s, S, T))                                                                 \
            (T > DW_NARROW ? dw_wide_##S##_3 : dw_narrow_##S##_3)(s);                           \
        else                                                                                    \
            DW_EACH_VECTOR(s, V(dw_roll)(s, x, y, w, V(lanes), V(lanes), T, S, 0, 1, V(lanes)), \
                           TAIL(dw_roll)(s, x, y, w, lanes, lanes, T, S, 0, 0, V(lanes)))       \
    }

/* Whole vectors by groups, in images of one strip, with stride 2 and pixels a multiple of 2 KB apart: 14x14x512 takes
 * 8.7 us instead of 11.6, 14x14x1024 27 instead of 37. Two strips (28x28x512) gain nothing. Other pixels lose 5 % by
 * groups, and stride 1 a third, since it has twice as much to put away for every row. */
#define DW_CONFLICT (2048 / (int64_t)sizeof(float))

static void dw_grouped(const dw_strip *s) {
    dwc_dw_call rest = *s->call;
    if (dw_rolls(s, 2, DW_WIDE)) {
        const dwc_dw_call *c = s->call;
        int64_t left = (c->channel_end - c->channel_begin) / V(lanes); /* whole vectors */
        for (int group; left > 0; left -= group) {
            const float *w = c->stage->weights + rest.channel_begin / V(lanes) * c->stage->block;
            group = left < DW_GROUP ? (int)left : DW_GROUP;
            V(dw_roll_group)(s, rest.channel_begin, w, group, DW_WIDE);
            for (int g = 0; g < group; g++, rest.channel_begin += V(lanes))
                V(dw_finish)(s, c->y + s->y + rest.channel_begin, V(lanes));
        }
    }
    if (rest.channel_begin < rest.channel_end) {
        dw_strip others = *s;
        others.call = &rest;
        dw_wide_2_3(&others);
    }
}

#ifdef STREAMS
#define DW_STREAM_END(c) \
    if (c->stream) V(stream_end)();
#else
#define DW_STREAM_END(c)
#endif

/* DW_ROLL(S, W, N) defines dw_roll_S: stride S, strips of W outputs, or N where fewer are left. */
#define DW_ROLL(S, W, N)                                                                     \
    DW_ROLL_STRIP(S, W)                                                                      \
    DW_ROLL_STRIP(S, N)                                                                      \
    NOINLINE void dw_roll_spread_##S(const dw_strip *s) {                                    \
        if (!dw_rolls(s, S, W))                                                              \
            dw_spread_##S##_3(s);                                                            \
        else                                                                                 \
            DW_EACH_SPREAD(s, V(dw_roll)(s, x, y, w, lanes, in_lanes, W, S, 1, 0, V(lanes))) \
    }                                                                                        \
    static void dw_roll_##S(const dwc_dw_call *c) {                                          \
        static const dw_strips kernel = {W, N, 3, dw_roll_##S##_##W, dw_roll_##S##_##N};     \
        static const dw_strips spreading = {W, 0, 3, dw_roll_spread_##S, NULL};              \
        static const dw_strips grouped = {W, N, 3, dw_grouped, dw_roll_##S##_##N};           \
        const int64_t dilation = c->stage->window.dilation_h;                                \
        if (c->row_begin * S - c->pad_top < -dilation ||                                     \
            (c->row_end - 1) * S - c->pad_top + dilation >= c->in_h)                         \
            dw_general_f32(c);                                                               \
        else                                                                                 \
            dw_walk(c,                                                                       \
                    c->stage->multiplier > 1                                   ? &spreading  \
                    : S == 2 && c->out_w == W && c->x_pixel % DW_CONFLICT == 0 ? &grouped    \
                                                                               : &kernel,    \
                    c->row_begin, c->row_end, 0, c->out_w);                                  \
        DW_STREAM_END(c)                                                                     \
    }
