/* Where the largest numbers of rows are. Included once, for whole vectors, after number_rows.inc.h. */

/* At least the largest of some numbers -> in a lane, how many are left after the first such number there, or 0. Where the
 * largest is NaN, each NaN counts. `i`: of the first number in the row, `count`: of all. */
INLINE V(vec) place_left(V(vec) x, V(vec) largest, V(vec) lane, int64_t i, int64_t count) {
    const V(vec) left = V(set1)((float)(count - 1 - i)) - lane;
    return (V(vec))((V(ivec))left & ((V(ivec))(x == largest) | (V(ivec))(x != x)));
}

/* What is left in lanes beyond a short row is negative. */
INLINE V(vec) place_of_row(const float *x, int64_t count, float largest, V(vec) lane) {
    const V(vec) most = V(set1)(largest);
    V(vec) left = V(set1)(0.0f);
    if (count < V(lanes)) return V(max)(left, place_left(V(load_n)(x, (int)count), most, lane, 0, count));
    for (int64_t i = 0; i >= 0; i = V(after)(i, count))
        left = V(max)(left, place_left(V(load)(x + i), most, lane, i, count));
    return left;
}

NOINLINE void place_rows(const float *x, int64_t x_row, int64_t rows, int64_t count, float *y,
                         int64_t y_row) {
    enum { FLOATS = 4096 }; /* that stay in the first-level cache between both readings */
    float vectors[FOLDED_ROWS * V(lanes)], largest[FOLDED_ROWS], lanes[V(lanes)];
    const int64_t fit = FLOATS / count, most = fit < 1 ? 1 : fit < FOLDED_ROWS ? fit : FOLDED_ROWS;
    for (int i = 0; i < V(lanes); i++) lanes[i] = (float)i;
    const V(vec) lane = V(load)(lanes);
    for (int n; rows > 0; rows -= n, x += n * x_row, y += n * y_row) {
        n = (int)(rows < most ? rows : most);
        reduce_many_rows(x, x_row, n, count, largest, 1, DWCONV_LARGEST);
        for (int r = 0; r < n; r++)
            V(store)(vectors + r * V(lanes), place_of_row(x + r * x_row, count, largest[r], lane));
        fold_rows(vectors, n, y, y_row, DWCONV_LARGEST);
        for (int r = 0; r < n; r++) y[r * y_row] = (float)(count - 1) - y[r * y_row];
    }
}
