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
    if (SPREAD == DW_FEW) return V(spread_few)(x, (V(ivec))V(load)(spread));
    const V(vec) v = WHOLE ? V(load)(x) : V(load_n)(x, lanes);
    return SPREAD ? V(spread)(v, spread) : v;
}

/* The input of output t for the tap at `x`, by an address that a load can form. */
INLINE const float *V(dw_at)(const char *x, int t, const dw_steps *p) {
    return (const float *)(x + (t == 3 ? p->output3 : t * p->output));
}

/* Some taps of an input row for outputs [FROM, TO) of the output rows in ROWS (1: the first, 2: the second, 3: both; 4: both,
 * each with an input row of its own). */
INLINE void V(dw_taps)(V(vec) * acc0, V(vec) * acc1, const char **x, const char **w, const dw_steps *p,
                       int lanes, const float *spread, const int TAPS, const int ROWS, const int FROM,
                       const int TO, const int SPREAD, const int WHOLE) {
    const char *in = *x, *weights = *w, *weights2 = *w + p->second;
    if (ROWS & 2) OPAQUE(weights2);
    UNROLL for (int k = 0; k < TAPS; k++) {
        V(vec) weight0, weight1;
        if (ROWS & 5) weight0 = V(load)((const float *)weights + k * V(lanes));
        if (ROWS & 2) weight1 = V(load)((const float *)weights2 + k * V(lanes));
        UNROLL for (int t = FROM; t < TO; t++) {
            V(vec) v = V(dw_input)(V(dw_at)(in, t, p), lanes, spread, SPREAD, WHOLE);
            if (ROWS == 3) { /* or it is loaded twice, as an operand */
                float *after = (float *)in;
                V(in_order)(&after, &v);
                in = (const char *)after;
            }
            if (ROWS & 5) acc0[t] = V(fma)(v, weight0, acc0[t]);
            if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            if (ROWS & 4) acc1[t] = V(fma)(V(load)(V(dw_at)(in + p->second, t, p)), weight0, acc1[t]);
        }
        in += p->tap;
        OPAQUE(in);
    }
    *x = in;
    *w += TAPS * V(lanes) * (int64_t)sizeof(float);
    OPAQUE(*w);
}

/* Taps with padding on both sides, of images narrower than a strip. */
INLINE void V(dw_tested_taps)(const dw_strip *s, V(vec) * acc0, V(vec) * acc1, const char **x, const char **w,
                              const dw_steps * p, int lanes, const float *spread, const int ROWS, const int T,
                              const int SPREAD, const int WHOLE) {
    NO_UNROLL for (int64_t tap = s->tested_begin; tap < s->tested_end; tap++) {
        V(vec) weight0, weight1;
        if (ROWS & 1) weight0 = V(load)((const float *)*w);
        if (ROWS & 2) weight1 = V(load)((const float *)(*w + p->second));
        const char *in = *x;
        int64_t column = tap;
        UNROLL for (int t = 0; t < T; t++) {
            if (column >= s->live_begin && column < s->live_end) {
                const V(vec) v = V(dw_input)((const float *)in, lanes, spread, SPREAD, WHOLE);
                if (ROWS & 1) acc0[t] = V(fma)(v, weight0, acc0[t]);
                if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            }
            in += p->output;
            column += s->stride;
        }
        *x += p->tap;
        *w += V(lanes) * sizeof(float);
    }
}

/* An input row: a multiple of four taps and REST, or if that is DW_TWINS or DW_EACH any number, all on the image; with REST 0
 * as many as see it. */
INLINE void V(dw_pair_row)(const dw_strip *s, V(vec) * acc0, V(vec) * acc1, const char **x, const char **w,
                           const dw_steps * p, int lanes, const float *spread, const int REST, const int ROWS,
                           const int T, const int SPREAD, const int WHOLE) {
#define DW_TAPS(TAPS, FROM, TO) \
    V(dw_taps)(acc0, acc1, x, w, p, lanes, spread, TAPS, ROWS, FROM, TO, SPREAD, WHOLE)
    if (REST == DW_TWINS || REST == DW_EACH) {
        NO_UNROLL for (int64_t taps = s->taps; taps > 0; taps--) DW_TAPS(1, 0, T);
        if (REST == DW_TWINS) *w += s->w_rest * (int64_t)sizeof(float);
        return;
    }
    if (REST) {
        NO_UNROLL for (int64_t taps = s->taps - REST; taps > 0; taps -= 4) DW_TAPS(4, 0, T);
        DW_TAPS(REST, 0, T);
        *w += s->w_rest * (int64_t)sizeof(float);
        return;
    }
    if (s->left) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->from[t]; taps > 0; taps--) DW_TAPS(1, t, T);
        }
    }
    if (s->tested_begin < s->tested_end)
        V(dw_tested_taps)(s, acc0, acc1, x, w, p, lanes, spread, ROWS, T, SPREAD, WHOLE);
    if (!SPREAD) { /* with multipliers, half the code */
        NO_UNROLL for (int64_t taps = s->whole >> 2; taps > 0; taps--) DW_TAPS(4, 0, T);
    }
    NO_UNROLL for (int64_t taps = SPREAD ? s->whole : s->whole & 3; taps > 0; taps--) DW_TAPS(1, 0, T);
    if (s->right) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->to[t]; taps > 0; taps--) DW_TAPS(1, 0, t);
        }
    }
    *w += s->w_rest * (int64_t)sizeof(float);
#undef DW_TAPS
}

/* Clamps and stores T outputs of each row if FULL, else s->count. */
INLINE void V(dw_store_pair)(const dw_strip *s, const dw_rows *r, const dw_steps * p,
                             const dwc_depthwise_stage *stage, float *y, const V(vec) * acc0,
                             const V(vec) * acc1, int lanes, const int T, const int FULL, const int WHOLE) {
    const V(vec) low = V(set1)(stage->low), high = V(set1)(stage->high);
    const int count = s->count;
    UNROLL for (int row = 0; row < 2; row++) {
        if (row && !r->pair) break;
        float *out = row ? y + r->y_down : y;
        UNROLL for (int t = 0; t < T; t++) {
            if (!FULL && t >= count) break;
            float *to = (float *)((char *)out + (t == 3 ? p->y3 : t * p->y));
            V(dw_put)(&to, row ? acc1[t] : acc0[t], low, high, lanes, WHOLE);
        }
    }
}

/* A strip of T outputs of one row or two, one vector of channels. */
INLINE void V(dw_pair)(const dw_strip *s, const dw_rows *r, const dw_steps * p, const dwc_depthwise_stage *stage,
                       const float *input, float *y, const float *weights, int lanes, int in_lanes, const int REST,
                       const int T, const int SPREAD, const int WHOLE) {
    const float *spread = weights + stage->block - V(lanes);
    const char *x = (const char *)input, *w = (const char *)weights + p->weights;
    V(vec) acc0[DW_COLUMNS], acc1[DW_COLUMNS];
    const V(vec) bias = V(load)(weights);
    UNROLL for (int t = 0; t < T; t++) acc0[t] = acc1[t] = bias;
    int64_t left = r->left;
    OPAQUE(s);
    OPAQUE(r);
#define DW_ROWS(COUNT, ROWS)                                                                      \
    NO_UNROLL for (int64_t rows = COUNT; rows > 0; rows--) {                                      \
        if (!LIKELY(left > 0)) { /* the end of the ring */                                        \
            x -= r->wrap * (int64_t)sizeof(float);                                                \
            left = INT64_MAX;                                                                     \
        }                                                                                         \
        V(dw_pair_row)(s, acc0, acc1, &x, &w, p, in_lanes, spread, REST, ROWS, T, SPREAD, WHOLE); \
        OPAQUE(s); /* what a row needs once is read then */                                       \
        x += p->rest;                                                                             \
        left -= p->rows;                                                                          \
    }
    if (REST == DW_TWINS) {
        DW_ROWS(r->first, 4)
    } else {
        DW_ROWS(r->first, 1)
        if (!LIKELY(r->gap == 0)) {
            x += r->gap * r->x_down * (int64_t)sizeof(float);
            w += r->gap * r->w_row * (int64_t)sizeof(float);
            left -= r->gap * r->dilation;
        }
        DW_ROWS(r->both, 3)
        DW_ROWS(r->second, 2)
    }
#undef DW_ROWS
    V(dw_store_pair)(s, r, p, stage, y, acc0, acc1, lanes, T, REST, WHOLE);
    const dwconv_activation *act = &stage->activation;
    if (!LIKELY(act->kind == DWCONV_CLIP)) V(dw_activate)(y, s->count, s->y_step, 1 + r->pair, r->y_down, lanes, act);
}
