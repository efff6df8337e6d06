/* Depthwise convolution of any window: two output rows x T outputs of one vector of channels, tap by tap.
 *
 * A tap takes the weights of both rows and T inputs into registers: 2 x 4 outputs take 6 loads for 8 multiply-adds, whatever
 * the stride. Taps come four at a time, and the last 1 to 4 of a kernel row are a compile-time constant. At an edge of the
 * image, where outputs see padding one after another, every tap is a run of outputs instead of a test for each. Included
 * once per suffix; REST, SHARED (whether neighbouring outputs share inputs), T, SPREAD and WHOLE are compile-time constants. */

/* What a run needs to know once: distances, and input rows that are no padding, with the weights that the first output row sees
 * them with. Found for each vector again, they cost as much as some ten taps. */
typedef struct dw_any_steps {
    int64_t tap, second; /* from tap to tap; to the weights of the second row */
    int64_t rounds;      /* of a row: four taps, and REST beside them; else single taps */
    int64_t times[DWC_MOST_COLUMNS / 2], y_times[DWC_MOST_COLUMNS / 2];
    int ends[3]; /* of the rows that the first output row sees, both, the second */
    struct dw_any_input {
        const char *x;
        int64_t weights; /* from those of a vector */
        int64_t apart;   /* DW_TWINS: to the input row of the second output row */
    } rows[DWC_MOST_ROWS];
} dw_any_steps;

/* The inputs of a vector of outputs: as many; or those of its groups, spread over the lanes (DW_FEW: four at most, of four
 * that can be read), or a single one for all lanes. */
INLINE V(vec) V(dw_input)(const char *from, int lanes, V(ivec) spread, const int SPREAD, const int WHOLE) {
    const float *x = (const float *)from;
    if (SPREAD == DW_ONE) return V(set1)(*x);
    if (SPREAD == DW_FEW) return V(spread_few)(x, spread);
    const V(vec) v = WHOLE ? V(load)(x) : V(load_n)(x, lanes);
    return SPREAD ? V(spread)(v, spread) : v;
}

/* Some taps of an input row for outputs [FROM, TO) of the output rows in ROWS (1: the first, 2: the second, 3: both; 4: both,
 * each with an input row of its own, `apart` from each other). */
INLINE void V(dw_taps)(V(vec) * acc0, V(vec) * acc1, char **x, const char **w, const dw_any_steps *p,
                       int64_t apart, int lanes, V(ivec) spread, const int TAPS, const int ROWS,
                       const int FROM, const int TO, const int SPREAD, const int WHOLE) {
    char *in = *x;
    const char *weights = *w, *weights2 = *w + p->second;
    if (ROWS & 2) OPAQUE(weights2);
    UNROLL for (int k = 0; k < TAPS; k++) {
        V(vec) weight0, weight1;
        if (ROWS & 5) weight0 = V(load)((const float *)weights + k * V(lanes));
        if (ROWS & 2) weight1 = V(load)((const float *)weights2 + k * V(lanes));
        UNROLL for (int t = FROM; t < TO; t++) {
            V(vec) v = V(dw_input)(V(column)(in, p->times, t), lanes, spread, SPREAD, WHOLE);
            if (ROWS == 3) { /* or it is loaded twice, as an operand */
                float *after = (float *)in;
                V(in_order)(&after, &v);
                in = (char *)after;
            }
            if (ROWS & 5) acc0[t] = V(fma)(v, weight0, acc0[t]);
            if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            if (ROWS & 4)
                acc1[t] = V(fma)(V(load)((const float *)V(column)(in + apart, p->times, t)), weight0, acc1[t]);
        }
        in += p->tap;
        OPAQUE(in);
    }
    *x = in;
    *w += TAPS * V(lanes) * (int64_t)sizeof(float);
    OPAQUE(*w);
}

/* The same where neighbouring outputs see neighbouring inputs: each input is loaded once and feeds all outputs that see it,
 * while the weights of TAPS taps stay in registers. For many registers. */
INLINE void V(dw_shared_taps)(V(vec) * acc0, V(vec) * acc1, char **x, const char **w, const dw_any_steps *p,
                              const int TAPS, const int ROWS, const int T) {
    char *in = *x;
    const char *weights = *w, *weights2 = *w + p->second;
    V(vec) weight0[DW_SHARED_TAPS], weight1[DW_SHARED_TAPS];
    UNROLL for (int k = 0; k < TAPS; k++) {
        if (ROWS & 1) weight0[k] = V(load)((const float *)weights + k * V(lanes));
        if (ROWS & 2) weight1[k] = V(load)((const float *)weights2 + k * V(lanes));
    }
    UNROLL for (int j = 0; j < T - 1 + TAPS; j++) {
        OPAQUE(in);
        const V(vec) v = V(load)((const float *)in);
        in += p->tap;
        UNROLL for (int t = 0; t < T; t++) {
            const int k = j - t;
            if (k < 0 || k >= TAPS) continue;
            if (ROWS & 1) acc0[t] = V(fma)(v, weight0[k], acc0[t]);
            if (ROWS & 2) acc1[t] = V(fma)(v, weight1[k], acc1[t]);
        }
    }
    *x += TAPS * p->tap;
    *w += TAPS * V(lanes) * (int64_t)sizeof(float);
    OPAQUE(*x);
    OPAQUE(*w);
}

/* Taps [begin, end) with padding on any side. */
INLINE void V(dw_tested_taps)(const dwc_dw_run *c, int64_t begin, int64_t end, V(vec) * acc0, V(vec) * acc1, char **x,
                              const char **w, const dw_any_steps *p, int lanes, V(ivec) spread,
                              const int ROWS, const int T, const int SPREAD, const int WHOLE) {
    const dwc_dw_taps *s = c->taps;
    NO_UNROLL for (int64_t tap = begin; tap < end; tap++) {
        V(vec) weight0, weight1;
        if (ROWS & 1) weight0 = V(load)((const float *)*w);
        if (ROWS & 2) weight1 = V(load)((const float *)(*w + p->second));
        const char *in = *x;
        int64_t column = tap;
        UNROLL for (int t = 0; t < T; t++) {
            if (column >= s->live_begin && column < s->live_end) {
                const V(vec) v = V(dw_input)(in, lanes, spread, SPREAD, WHOLE);
                if (ROWS & 1) acc0[t] = V(fma)(v, weight0, acc0[t]);
                if (ROWS & 2) acc1[t] = V(fma)(v, weight1, acc1[t]);
            }
            in += c->x_out;
            column += s->stride;
        }
        *x += p->tap;
        *w += V(lanes) * sizeof(float);
    }
}

/* An input row: a multiple of four taps and REST, or with DW_TWINS and DW_EACH any number, all on the image; or as many as
 * see it, DW_BY_EDGE. */
INLINE void V(dw_any_row)(const dwc_dw_run *c, V(vec) * acc0, V(vec) * acc1, const char *row, const char *weights,
                          const dw_any_steps *p, int64_t apart, int lanes, V(ivec) spread, const int REST,
                          const int SHARED, const int ROWS, const int T, const int SPREAD, const int WHOLE) {
    char *at = (char *)row, **x = &at;
    const char **w = &weights;
#define DW_TAPS(TAPS, FROM, TO) \
    V(dw_taps)(acc0, acc1, x, w, p, apart, lanes, spread, TAPS, ROWS, FROM, TO, SPREAD, WHOLE)
    if (REST == DW_TWINS && SHARED) { /* row after row: with few registers there is room for the weights of one */
        char *second = at + apart;
#define DW_BOTH(TAPS)                                                \
    {                                                                \
        const char *same = *w;                                       \
        V(dw_shared_taps)(acc0, acc0, x, &same, p, TAPS, 1, T);      \
        V(dw_shared_taps)(acc1, acc1, &second, w, p, TAPS, 1, T);    \
    }
        NO_UNROLL for (int64_t i = p->rounds >> 2; i > 0; i--) DW_BOTH(4)
        if (p->rounds & 2) DW_BOTH(2)
        if (p->rounds & 1) DW_TAPS(1, 0, T);
#undef DW_BOTH
        return;
    }
    if (REST == DW_TWINS || REST == DW_EACH) {
        NO_UNROLL for (int64_t i = p->rounds; i > 0; i--) DW_TAPS(1, 0, T);
        return;
    }
    if (REST && SHARED) {
        NO_UNROLL for (int64_t i = p->rounds; i > 0; i--)
            V(dw_shared_taps)(acc0, acc1, x, w, p, 4, ROWS, T);
        V(dw_shared_taps)(acc0, acc1, x, w, p, REST, ROWS, T);
        return;
    }
    if (REST) {
        NO_UNROLL for (int64_t i = p->rounds; i > 0; i--) DW_TAPS(4, 0, T);
        DW_TAPS(REST, 0, T);
        return;
    }
    const dwc_dw_taps *s = c->taps;
    const int64_t whole = s->tested_end + s->whole;
#define DW_TESTED_TAPS(BEGIN, END) \
    V(dw_tested_taps)(c, BEGIN, END, acc0, acc1, x, w, p, lanes, spread, ROWS, T, SPREAD, WHOLE)
    if (SPREAD || !WHOLE) { /* a third of the code */
        DW_TESTED_TAPS(s->first, s->tested_end);
        NO_UNROLL for (int64_t taps = s->whole; taps > 0; taps--) DW_TAPS(1, 0, T);
        DW_TESTED_TAPS(whole, s->first + s->seen);
        return;
    }
    if (s->left) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->from[t]; taps > 0; taps--) DW_TAPS(1, t, T);
        }
    }
    DW_TESTED_TAPS(s->tested_begin, s->tested_end);
    NO_UNROLL for (int64_t taps = s->whole >> 2; taps > 0; taps--) DW_TAPS(4, 0, T);
    NO_UNROLL for (int64_t taps = s->whole & 3; taps > 0; taps--) DW_TAPS(1, 0, T);
    if (s->right) {
        UNROLL for (int t = T - 1; t > 0; t--) {
            NO_UNROLL for (int64_t taps = s->to[t]; taps > 0; taps--) DW_TAPS(1, 0, t);
        }
    }
#undef DW_TESTED_TAPS
#undef DW_TAPS
}

/* T outputs of each row, or c->columns of them: clamps and stores them, or for sums of earlier kernel rows takes them up. */
INLINE void V(dw_any_ends)(const dwc_dw_run *c, const dw_any_steps *p, char *y, V(vec) * acc0, V(vec) * acc1, int lanes,
                           const int T, const int FULL, const int WHOLE, const int STORES) {
    const V(vec) low = V(set1)(c->low), high = V(set1)(c->high);
    const int count = c->columns;
    UNROLL for (int row = 0; row < 2; row++) {
        if (row && c->rows == 1) break;
        UNROLL for (int t = 0; t < T; t++) {
            if (!FULL && t >= count) break;
            char *to = V(column)(y, p->y_times, t);
            V(vec) *acc = row ? acc1 : acc0;
            if (STORES)
                V(dw_put)(to, acc[t], low, high, lanes, WHOLE);
            else
                acc[t] = WHOLE ? V(load)((float *)to) : V(load_n)((float *)to, lanes);
        }
        y += c->y_row;
    }
}

/* A tile of T outputs of one row or two, one vector of channels, of which inputs begin `input` bytes from a row. */
INLINE void V(dw_any)(const dwc_dw_run *run, const dw_any_steps *p, int64_t input, char *y, const float *weights,
                      int lanes, int in_lanes, const int REST, const int SHARED, const int T, const int SPREAD,
                      const int WHOLE) {
    const dwc_dw_run *c = run;
    const V(ivec) spread = SPREAD && SPREAD != DW_ONE ? (V(ivec))V(load)(weights + c->block - V(lanes)) : (V(ivec)){0};
    V(vec) acc0[DWC_MOST_COLUMNS], acc1[DWC_MOST_COLUMNS];
    const V(vec) bias = V(load)(weights);
    UNROLL for (int t = 0; t < T; t++) acc0[t] = acc1[t] = bias;
    if (!LIKELY(!c->resumes)) V(dw_any_ends)(c, p, y, acc0, acc1, lanes, T, REST, WHOLE, 0);
    const struct dw_any_input *row = p->rows;
    OPAQUE(c); /* what a row needs once is read then */
#define DW_ROW(X, WEIGHTS, INPUT, ROWS)                                                                      \
    V(dw_any_row)(c, acc0, acc1, X, WEIGHTS, p, row->apart, in_lanes, INPUT, REST, SHARED, ROWS, T, SPREAD, WHOLE);
#define DW_ROWS(PART, ROWS)                                                                                  \
    NO_UNROLL for (const struct dw_any_input *end = p->rows + p->ends[PART]; row < end; row++) {             \
        const char *x = row->x + input, *w = (const char *)weights + row->weights;                           \
        if (SPREAD) { /* the inputs of a group one after another */                                          \
            V(ivec) lane = spread;                                                                           \
            NO_UNROLL for (int64_t j = c->group_inputs; j > 0; j--) {                                        \
                DW_ROW(x, w, lane, ROWS)                                                                     \
                w += c->input_block * (int64_t)sizeof(float);                                                \
                if (SPREAD == DW_ONE)                                                                        \
                    x += sizeof(float);                                                                      \
                else                                                                                         \
                    lane += 1;                                                                               \
            }                                                                                                \
        } else {                                                                                             \
            DW_ROW(x, w, spread, ROWS)                                                                       \
        }                                                                                                    \
        OPAQUE(c);                                                                                           \
    }
    if (REST == DW_TWINS) {
        DW_ROWS(0, 4)
    } else {
        DW_ROWS(0, 1)
        DW_ROWS(1, 3)
        DW_ROWS(2, 2)
    }
#undef DW_ROWS
#undef DW_ROW
    V(dw_any_ends)(c, p, y, acc0, acc1, lanes, T, REST, WHOLE, 1);
    if (!LIKELY(!c->activation))
        V(dw_activate)((float *)y, c->columns, c->y_out / (int64_t)sizeof(float), c->rows,
                       c->y_row / (int64_t)sizeof(float), lanes, c->activation);
}
