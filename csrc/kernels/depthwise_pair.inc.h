/* Depthwise convolution of any window where registers are few: two output rows x T outputs, tap by tap.
 *
 * A tap takes the weights of both rows and T inputs into registers: 2 x 4 outputs take 6 loads for 8 multiply-adds,
 * whatever the stride. What counts besides is the arithmetic around a kernel row of few taps. So taps come four at a time,
 * and the last 1 to 4 of a row are a compile-time constant; what depends on rows and columns alone is found once for all
 * channels; and at an edge of the image, where outputs see padding one after another, every tap is a run of outputs
 * instead of a test for each. Included once per suffix; REST, T, SPREAD and WHOLE are compile-time constants. */

/* The inputs of a vector of outputs: as many; or with a multiplier those that it spreads, 4 or less (DW_FEW: that many can
 * be read), or a single one. */
INLINE V(vec) V(dw_input)(const float *x, int lanes, const float *spread, const int SPREAD, const int WHOLE) {
    if (SPREAD == DW_ONE) return V(set1)(*x);
    if (SPREAD == DW_FEW) return V(spread_few)(x, spread);
    const V(vec) v = WHOLE ? V(load)(x) : V(load_n)(x, lanes);
    return SPREAD ? V(spread)(v, spread) : v;
}

/* Some taps of an input row for outputs [FROM, TO) of the output rows in ROWS (1: the first, 2: the second, 3: both; 4: both,
 * each with an input row of its own). `second` floats further on are the second row's weights, or its inputs. */
INLINE void V(dw_taps)(V(vec) * acc0, V(vec) * acc1, const float **x, const float **w, int64_t x_step,
                       int64_t apart, int64_t second, int lanes, const float *spread, const int TAPS,
                       const int ROWS, const int FROM, const int TO, const int SPREAD, const int WHOLE) {
    float *in = (float *)*x;
    UNROLL for (int k = 0; k < TAPS; k++) {
        V(vec) weight0, weight1;
        if (ROWS & 5) weight0 = V(load)(*w + k * V(lanes));
        if (ROWS & 2) weight1 = V(load)(*w + second + k * V(lanes));
        UNROLL for (int t = FROM; t < TO; t++) {
            V(vec) v = V(dw_input)(in + t * apart, lanes, spread, SPREAD, WHOLE);
            if (ROWS == 3) V(in_order)(&in, &v); /* or it is loaded twice, as an operand */
            if (ROWS & 5) acc0[t] = V(fma)(v, weight0, acc0[t]);
            if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            if (ROWS & 4) acc1[t] = V(fma)(V(load)(in + second + t * apart), weight0, acc1[t]);
        }
        in += x_step;
        OPAQUE(in);
    }
    *x = in;
    *w += TAPS * V(lanes);
    OPAQUE(*w);
}

/* Taps with padding on both sides, of images narrower than a strip. */
INLINE void V(dw_tested_taps)(const dw_strip *s, V(vec) * acc0, V(vec) * acc1, const float **x, const float **w,
                              int64_t second, int lanes, const float *spread, const int ROWS, const int T,
                              const int SPREAD, const int WHOLE) {
    NO_UNROLL for (int64_t tap = s->tested_begin; tap < s->tested_end; tap++) {
        V(vec) weight0, weight1;
        if (ROWS & 1) weight0 = V(load)(*w);
        if (ROWS & 2) weight1 = V(load)(*w + second);
        const float *in = *x;
        int64_t column = tap;
        UNROLL for (int t = 0; t < T; t++) {
            if (column >= s->live_begin && column < s->live_end) {
                const V(vec) v = V(dw_input)(in, lanes, spread, SPREAD, WHOLE);
                if (ROWS & 1) acc0[t] = V(fma)(v, weight0, acc0[t]);
                if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            }
            in += s->group_step;
            column += s->stride;
        }
        *x += s->x_step;
        *w += V(lanes);
    }
}

/* An input row: a multiple of four taps and REST, or if that is DW_TWINS any number, all on the image; with REST 0 as many
 * as see it. */
INLINE void V(dw_pair_row)(const dw_strip *s, V(vec) * acc0, V(vec) * acc1, const float **x, const float **w,
                           int64_t x_step, int64_t apart, int64_t second, int lanes, const float *spread, const int REST,
                           const int ROWS, const int T, const int SPREAD, const int WHOLE) {
#define DW_TAPS(TAPS, FROM, TO) \
    V(dw_taps)(acc0, acc1, x, w, x_step, apart, second, lanes, spread, TAPS, ROWS, FROM, TO, SPREAD, WHOLE)
    if (REST == DW_TWINS) {
        NO_UNROLL for (int64_t taps = s->taps; taps > 0; taps--) DW_TAPS(1, 0, T);
        return;
    }
    if (REST) {
        NO_UNROLL for (int64_t taps = s->taps - REST; taps > 0; taps -= 4) DW_TAPS(4, 0, T);
        DW_TAPS(REST, 0, T);
        return;
    }
    if (s->left) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->from[t]; taps > 0; taps--) DW_TAPS(1, t, T);
        }
    }
    if (s->tested_begin < s->tested_end)
        V(dw_tested_taps)(s, acc0, acc1, x, w, second, lanes, spread, ROWS, T, SPREAD, WHOLE);
    if (!SPREAD) { /* with multipliers, half the code */
        NO_UNROLL for (int64_t taps = s->whole >> 2; taps > 0; taps--) DW_TAPS(4, 0, T);
    }
    NO_UNROLL for (int64_t taps = SPREAD ? s->whole : s->whole & 3; taps > 0; taps--) DW_TAPS(1, 0, T);
    if (s->right) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->to[t]; taps > 0; taps--) DW_TAPS(1, 0, t);
        }
    }
    *w += s->w_rest;
#undef DW_TAPS
}

/* Clamps and stores T outputs of each row if FULL, else s->count. */
INLINE void V(dw_store_pair)(const dw_strip *s, const dw_rows *r, float *y, const V(vec) * acc0, const V(vec) * acc1,
                             int lanes, const int T, const int FULL, const int WHOLE) {
    const dwc_depthwise_stage *stage = s->call->stage;
    const V(vec) low = V(set1)(stage->low), high = V(set1)(stage->high);
    const int64_t y_step = s->y_step; /* stores may alias anything: it would be read again after each */
    const int count = s->count;
    UNROLL for (int row = 0; row < 2; row++) {
        if (row && !r->pair) break;
        float *out = row ? y + r->y_down : y;
        UNROLL for (int t = 0; t < T; t++) {
            if (!FULL && t >= count) break;
            V(dw_put)(&out, row ? acc1[t] : acc0[t], low, high, lanes, WHOLE);
            out += y_step;
        }
    }
}

/* A strip of T outputs of one row or two, one vector of channels. */
INLINE void V(dw_pair)(const dw_strip *s, const dw_rows *r, const float *x, float *y, const float *w, int lanes,
                       int in_lanes, const int REST, const int T, const int SPREAD, const int WHOLE) {
    const float *spread = w + V(lanes);
    V(vec) acc0[DW_COLUMNS], acc1[DW_COLUMNS];
    const V(vec) bias = V(load)(w);
    UNROLL for (int t = 0; t < T; t++) acc0[t] = acc1[t] = bias;
    w += (SPREAD ? 2 : 1) * V(lanes) + r->w + s->first_tap * V(lanes);
    const int64_t x_step = s->x_step, apart = s->group_step, second = REST == DW_TWINS ? r->x_second : r->w_second;
    int64_t left = r->left;
    OPAQUE(s);
    OPAQUE(r);
#define DW_ROWS(COUNT, ROWS)                                                                                           \
    NO_UNROLL for (int64_t rows = COUNT; rows > 0; rows--) {                                                           \
        if (!LIKELY(left > 0)) { /* the end of the ring */                                                             \
            x -= r->wrap;                                                                                              \
            left = INT64_MAX;                                                                                          \
        }                                                                                                              \
        V(dw_pair_row)(s, acc0, acc1, &x, &w, x_step, apart, second, in_lanes, spread, REST, ROWS, T, SPREAD, WHOLE); \
        OPAQUE(s); /* what a row needs once is read then */ \
        x += s->x_rest;                                                                                                \
        left -= r->dilation;                                                                                           \
    }
    if (REST == DW_TWINS) {
        DW_ROWS(r->first, 4)
    } else {
        DW_ROWS(r->first, 1)
        if (!LIKELY(r->gap == 0)) {
            x += r->gap * r->x_down;
            w += r->gap * r->w_row;
            left -= r->gap * r->dilation;
        }
        DW_ROWS(r->both, 3)
        DW_ROWS(r->second, 2)
    }
#undef DW_ROWS
    V(dw_store_pair)(s, r, y, acc0, acc1, lanes, T, REST, WHOLE);
    const dwconv_activation *act = &s->call->stage->activation;
    if (!LIKELY(act->kind == DWCONV_CLIP)) V(dw_activate)(y, s->count, s->y_step, 1 + r->pair, r->y_down, lanes, act);
}
