/* Lanes of many rows -> a number of each. Included once, for whole vectors, after elementwise.inc.h. */

INLINE quad quad_join(quad a, quad b, const int KIND) {
    if (KIND == DWCONV_SUM) return a + b;
    const quad_lanes chosen = KIND == DWCONV_LARGEST ? a > b : a < b, none = a != a;
    const quad best = (quad)(((quad_lanes)a & chosen) | ((quad_lanes)b & ~chosen));
    return (quad)(((quad_lanes)a & none) | ((quad_lanes)best & ~none));
}

/* In the order of V(fold): the upper half of what is left joins the lower one, as long as both are whole vectors of four. */
INLINE quad fold_to_quad(const float *row, const int KIND) {
    quad q[V(lanes) / 4];
    UNROLL for (int i = 0; i < V(lanes) / 4; i++) q[i] = quad_load(row + 4 * i, 4);
    UNROLL for (int n = V(lanes) / 8; n; n /= 2)
        UNROLL for (int i = 0; i < n; i++) q[i] = quad_join(q[i], q[i + n], KIND);
    return q[0];
}

/* A vector of each row -> a number of each, four rows at a time. Whole vectors across rows would be loaded from what two
 * stores have left, and wait for both. */
INLINE void fold_rows(const float *vectors, int rows, float *y, int64_t y_row, const int KIND) {
    for (int r = 0; r < rows; r += 4) {
        quad q[4];
        UNROLL for (int i = 0; i < 4; i++)
            q[i] = fold_to_quad(vectors + (r + i < rows ? r + i : rows - 1) * V(lanes), KIND);
        const quad a = quad_join(QUAD_SHUFFLE(q[0], q[1], 0, 4, 1, 5), QUAD_SHUFFLE(q[0], q[1], 2, 6, 3, 7), KIND);
        const quad b = quad_join(QUAD_SHUFFLE(q[2], q[3], 0, 4, 1, 5), QUAD_SHUFFLE(q[2], q[3], 2, 6, 3, 7), KIND);
        const quad all = quad_join(QUAD_SHUFFLE(a, b, 0, 1, 4, 5), QUAD_SHUFFLE(a, b, 2, 3, 6, 7), KIND);
        for (int i = 0; i < 4 && r + i < rows; i++) y[(r + i) * y_row] = all[i];
    }
}
