/* The end of depthwise kernels. Included once per suffix.
 *
 * Whatever the activation, results are clamped and stored, between infinities if it is no clamp. Other activations are a
 * second pass over what a tile has stored, while it is in the first-level cache. */

/* Clamps a result and stores it at once: a store of a vector just made is cheaper than of one that waited. */
INLINE void V(dw_put)(char *y, V(vec) v, V(vec) low, V(vec) high, int lanes, const int WHOLE) {
    float *to = (float *)y;
    V(in_order)(&to, &v);
    v = V(min)(high, V(max)(low, v));
    if (WHOLE)
        V(store)(to, v);
    else
        V(store_n)(to, v, lanes);
}

/* `rows` rows of `count` outputs, steps in floats; partial vectors go through a buffer. */
NOINLINE void V(dw_activate)(float *y, int count, int64_t step, int64_t rows, int64_t row_step, int lanes,
                             const dwconv_activation *act) {
    if (lanes == V(lanes)) {
        V(activate)(y, count, step, rows, row_step, act);
        return;
    }
    for (; rows > 0; rows--, y += row_step)
        for (int first = 0; first < count; first += DWC_MOST_COLUMNS) {
            const int some = count - first < DWC_MOST_COLUMNS ? count - first : DWC_MOST_COLUMNS;
            float results[DWC_MOST_COLUMNS][V(lanes)], *from = y + first * step;
            for (int t = 0; t < some; t++) V(store)(results[t], V(load_n)(from + t * step, lanes));
            V(activate)(results[0], some, V(lanes), 1, 0, act);
            for (int t = 0; t < some; t++) V(store_n)(from + t * step, V(load)(results[t]), lanes);
        }
}
