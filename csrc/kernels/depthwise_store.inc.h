/* The end of a depthwise strip's row: activation, and the store of `count` outputs. Included once per suffix. */
INLINE void V(dw_store)(const dw_strip *s, float *y, const V(vec) * acc, int lanes, const int T,
                        const int WHOLE) {
    const dwconv_activation *act = &s->call->stage->activation;
    if (LIKELY(act->kind == DWCONV_CLIP)) {
        const V(vec) low = V(set1)(act->a), high = V(set1)(act->b);
    UNROLL for (int t = 0; t < T; t++) {
            if (t >= s->count) break;
            V(vec) v = acc[t];
            V(in_order)(&y, &v); /* a store of a vector just made is cheaper than of one that waited */
            v = V(min)(high, V(max)(low, v));
            if (WHOLE)
                V(store)(y, v);
            else
                V(store_n)(y, v, lanes);
            y += s->y_step;
        }
        return;
    }
    float results[DW_COLUMNS][V(lanes)];
    UNROLL for (int t = 0; t < T; t++) V(store)(results[t], acc[t]);
    V(finish)(results[0], s->count, y, s->y_step, lanes, act);
}
