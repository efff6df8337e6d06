/* 3x3 windows by rolling rows: strips whose padding is one column at either side, and one row at the top and at the
 * bottom. Others go through the window kernel. */

/* DW_WIDE is 7 and DW_NARROW 4 where this is included. */
#define DW_ROLL_SIDES(T, S, LEFT, RIGHT)                                                                  \
    NOINLINE void dw_roll_##S##_##T##_##LEFT##_##RIGHT(const dw_strip *s) {                               \
        DW_EACH_VECTOR(s, V(dw_roll)(s, x, y, w, V(lanes), T, S, LEFT, RIGHT, 1, V(lanes)),               \
                       TAIL(dw_roll)(s, x, y, w, lanes, T, S, LEFT, RIGHT, 0, V(lanes)))                  \
    }

#define DW_ROLL_STRIP(T, S)                                                                               \
    DW_ROLL_SIDES(T, S, 0, 0)                                                                             \
    DW_ROLL_SIDES(T, S, 0, 1)                                                                             \
    DW_ROLL_SIDES(T, S, 1, 0)                                                                             \
    DW_ROLL_SIDES(T, S, 1, 1)                                                                             \
    static void dw_roll_##S##_##T(const dw_strip *s) {                                                    \
        static const dw_strip_function sides[2][2] = {{dw_roll_##S##_##T##_0_0, dw_roll_##S##_##T##_0_1}, \
                                                      {dw_roll_##S##_##T##_1_0, dw_roll_##S##_##T##_1_1}}; \
        const int64_t right = (T - 1) * S + 3 - s->live_end;                                              \
        if (s->count == T && s->live_begin <= 1 && right <= 1)                                            \
            sides[s->live_begin][right](s);                                                               \
        else                                                                                              \
            (T == 7 ? dw_wide_##S##_3 : dw_narrow_##S##_3)(s);                                      \
    }

#define DW_ROLL(S)                                                                                        \
    DW_ROLL_STRIP(7, S)                                                                             \
    DW_ROLL_STRIP(4, S)                                                                           \
    static void dw_roll_##S(const dwc_dw_call *c) {                                                       \
        static const dw_strips kernel = {7, 4, 3, dw_roll_##S##_7, dw_roll_##S##_4}; \
        if (c->row_begin * S - c->pad_top < -1 || (c->row_end - 1) * S - c->pad_top + 2 > c->in_h)        \
            dw_general_f32(c);                                                                            \
        else                                                                                              \
            dw_walk(c, &kernel, c->row_begin, c->row_end, 0, c->out_w);                                   \
    }
