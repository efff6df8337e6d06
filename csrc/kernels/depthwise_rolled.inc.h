/* 3x3 windows by rolling rows: strips whose padding is one column at either side, in calls whose padding is one row at
 * the top and at the bottom. The window kernel takes all others. */

#define DW_ROLL_SIDES(S, T, LEFT, RIGHT)                                                    \
    NOINLINE void dw_roll_##S##_##T##_##LEFT##_##RIGHT(const dw_strip *s) {                 \
        DW_EACH_VECTOR(s, V(dw_roll)(s, x, y, w, V(lanes), T, S, LEFT, RIGHT, 1, V(lanes)), \
                       TAIL(dw_roll)(s, x, y, w, lanes, T, S, LEFT, RIGHT, 0, V(lanes)))    \
    }

#define DW_ROLL_STRIP(S, T)                                                                                \
    DW_ROLL_SIDES(S, T, 0, 0)                                                                              \
    DW_ROLL_SIDES(S, T, 0, 1)                                                                              \
    DW_ROLL_SIDES(S, T, 1, 0)                                                                              \
    DW_ROLL_SIDES(S, T, 1, 1)                                                                              \
    static void dw_roll_##S##_##T(const dw_strip *s) {                                                     \
        static const dw_strip_function sides[2][2] = {{dw_roll_##S##_##T##_0_0, dw_roll_##S##_##T##_0_1},  \
                                                      {dw_roll_##S##_##T##_1_0, dw_roll_##S##_##T##_1_1}}; \
        const int64_t right = (T - 1) * S + 3 - s->live_end;                                               \
        if (s->count == T && s->live_begin <= 1 && right <= 1)                                             \
            sides[s->live_begin][right](s);                                                                \
        else                                                                                               \
            (T > DW_NARROW ? dw_wide_##S##_3 : dw_narrow_##S##_3)(s);                                      \
    }

/* DW_ROLL(S, W, N) defines dw_roll_S: stride S, strips of W outputs, or N where fewer are left. */
#define DW_ROLL(S, W, N)                                                                           \
    DW_ROLL_STRIP(S, W)                                                                            \
    DW_ROLL_STRIP(S, N)                                                                            \
    static void dw_roll_##S(const dwc_dw_call *c) {                                                \
        static const dw_strips kernel = {W, N, 3, dw_roll_##S##_##W, dw_roll_##S##_##N};           \
        if (c->row_begin * S - c->pad_top < -1 || (c->row_end - 1) * S - c->pad_top + 2 > c->in_h) \
            dw_general_f32(c);                                                                     \
        else                                                                                       \
            dw_walk(c, &kernel, c->row_begin, c->row_end, 0, c->out_w);                            \
    }
