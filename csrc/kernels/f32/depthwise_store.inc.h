/* The end of depthwise kernels. Included once per suffix.
 *
 * Whatever the activation, results are clamped and stored, between infinities if it is no clamp. Other activations
 * are a second pass over what a strip or a tile has stored for a vector of channels, while it is in the first-level
 * cache. */

/* Clamps a result and stores it at once: a store of a vector just made is cheaper than of one that waited. */
INLINE void V(dw_put)(float **y, V(vec) v, V(vec) low, V(vec) high, int lanes, const int WHOLE) {
    V(in_order)(y, &v);
    v = V(min)(high, V(max)(low, v));
    if (WHOLE)
        V(store)(*y, v);
    else
        V(store_n)(*y, v, lanes);
}

/* A strip's row: T outputs if FULL, else s->count. */
INLINE void V(dw_store)(const dw_strip *s, float *y, const V(vec) * acc, int lanes, const int T,
                        const int FULL, const int WHOLE) {
    const dwc_depthwise_stage *stage = s->call->stage;
    OPAQUE(stage); /* or the compiler keeps the bounds, in registers that the rows need */
    const V(vec) low = V(set1)(stage->low), high = V(set1)(stage->high);
#ifdef STREAMS
    if (WHOLE && !LIKELY(!s->call->stream)) {
    UNROLL for (int t = 0; t < T; t++) {
            if (!FULL && t >= s->count) break;
            V(stream)(y, V(min)(high, V(max)(low, acc[t])));
            y += s->y_step;
        }
        return;
    }
#endif
    UNROLL for (int t = 0; t < T; t++) {
        if (!FULL && t >= s->count) break;
        V(dw_put)(&y, acc[t], low, high, lanes, WHOLE);
        y += s->y_step;
    }
}

/* `rows` rows of `count` outputs; partial vectors go through a buffer. */
NOINLINE void V(dw_activate)(float *y, int count, int64_t step, int64_t rows, int64_t row_step, int lanes,
                             const dwconv_activation *act) {
    if (lanes == V(lanes)) {
        V(activate)(y, count, step, rows, row_step, act);
        return;
    }
    for (; rows > 0; rows--, y += row_step) {
        float results[DW_TILE_COLUMNS][V(lanes)];
        for (int t = 0; t < count; t++) V(store)(results[t], V(load_n)(y + t * step, lanes));
        V(activate)(results[0], count, V(lanes), 1, 0, act);
        for (int t = 0; t < count; t++) V(store_n)(y + t * step, V(load)(results[t]), lanes);
    }
}

/* All rows of a strip; `y` is of the call's first row. */
INLINE void V(dw_finish)(const dw_strip *s, float *y, int lanes) {
    const dwc_dw_call *c = s->call;
    if (!LIKELY(c->stage->activation.kind == DWCONV_CLIP))
        V(dw_activate)(y + (s->row_begin - c->row_begin) * c->y_row, s->count, s->y_step, s->row_end - s->row_begin,
                       c->y_row, lanes, &c->stage->activation);
}
