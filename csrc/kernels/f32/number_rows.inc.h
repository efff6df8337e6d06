/* Reductions, softmax, layer normalisation. Included once, for whole vectors; see
 * kernels/rows.h. Sums are of several partial ones: their order depends on the lanes of a vector and on sizes, never
 * on who computes. */

/* n lanes, the first ones; ALL: all of them. */
INLINE V(vec) V(some)(const float *p, int n, const int ALL) {
    if (ALL) return V(load)(p);
    return V(load_n)(p, n);
}

/* Where the vector after the one at c begins, in at least a vector of floats: the last one lies at their end, over a
 * part of the one before. -1: there is none. */
INLINE int64_t V(after)(int64_t c, int64_t floats) {
    const int64_t last = floats - V(lanes);
    return c == last ? -1 : c + V(lanes) < last ? c + V(lanes) : last;
}

/* NaN if either is: max gives its second operand then. Of equal numbers, 0 and -0 among them, one of both. */
INLINE V(vec) V(larger)(V(vec) a, V(vec) b) {
    return (V(vec))((V(ivec))V(max)(a, b) | (V(ivec))V(max)(b, a));
}

INLINE V(vec) V(reduce_join)(V(vec) a, V(vec) b, const int KIND) {
    switch (KIND) {
        case DWCONV_SUM: return a + b;
        case DWCONV_PRODUCT: return a * b;
        case DWCONV_LARGEST: return V(larger)(a, b);
        default: return (V(vec))((V(ivec))V(min)(a, b) | (V(ivec))V(min)(b, a));
    }
}

/* ---- grids of pixels ------------------------------------------------------------------------ */

/* `vectors` whole ones, or n lanes of one. */
INLINE void reduce_vectors(const dwc_reduce_grid *g, int64_t c, int n, const int vectors, const int KIND) {
    V(vec) all[4];
    UNROLL for (int v = 0; v < vectors; v++) all[v] = V(set1)(0.0f);
    for (int64_t row = 0; row < g->rows; row++) {
        const float *x = g->x + c + row * g->x_row;
        V(vec) sum[4];
        UNROLL for (int v = 0; v < vectors; v++) sum[v] = V(some)(x + v * V(lanes), n, n == V(lanes));
        for (int64_t i = 1; i < g->columns; i++) {
            x += g->x_column;
            UNROLL for (int v = 0; v < vectors; v++)
                sum[v] = V(reduce_join)(sum[v], V(some)(x + v * V(lanes), n, n == V(lanes)), KIND);
        }
        UNROLL for (int v = 0; v < vectors; v++) all[v] = row ? V(reduce_join)(all[v], sum[v], KIND) : sum[v];
    }
    UNROLL for (int v = 0; v < vectors; v++) {
        float *y = g->y + c + v * V(lanes);
        if (g->resumes) all[v] = V(reduce_join)(V(some)(y, n, n == V(lanes)), all[v], KIND);
        if (n == V(lanes))
            V(store)(y, all[v]);
        else
            V(store_n)(y, all[v], n);
    }
}

INLINE void reduce_many(const dwc_reduce_grid *g, const int KIND) {
    int64_t c = 0;
    for (; c + 4 * V(lanes) <= g->channels; c += 4 * V(lanes)) reduce_vectors(g, c, V(lanes), 4, KIND);
    for (; c + V(lanes) <= g->channels; c += V(lanes)) reduce_vectors(g, c, V(lanes), 1, KIND);
    if (c < g->channels) reduce_vectors(g, c, (int)(g->channels - c), 1, KIND);
}

NOINLINE void reduce_sum(const dwc_reduce_grid *g) { reduce_many(g, DWCONV_SUM); }
NOINLINE void reduce_product(const dwc_reduce_grid *g) { reduce_many(g, DWCONV_PRODUCT); }
NOINLINE void reduce_largest(const dwc_reduce_grid *g) { reduce_many(g, DWCONV_LARGEST); }
NOINLINE void reduce_smallest(const dwc_reduce_grid *g) { reduce_many(g, DWCONV_SMALLEST); }

/* Of squeeze-and-excite: sums[c] = x[0][c] + x[1][c] + ..., in this order. */
static void sum_pixels(const float *x, int64_t x_pixel, int64_t pixels, int64_t channels, float *sums) {
    reduce_sum(&(dwc_reduce_grid){
        .x = x, .rows = 1, .x_column = x_pixel, .columns = pixels, .channels = channels, .y = sums});
}

/* Fewer dense channels than lanes: as many pixels as there are lanes are one, of whole vectors; in the end they are
 * joined. */
static void reduce_few(const dwc_reduce_grid *g, void (*reduce)(const dwc_reduce_grid *)) {
    const int64_t wide = g->channels * V(lanes), rest = g->columns % V(lanes);
    float sums[V(lanes) * V(lanes)];
    dwc_reduce_grid part = *g;
    part.columns = g->columns / V(lanes);
    part.x_column = part.channels = wide;
    part.y = sums;
    part.resumes = 0;
    reduce(&part);
    if (rest) {
        part.x += part.columns * wide;
        part.columns = 1;
        part.channels = rest * g->channels;
        part.resumes = 1;
        reduce(&part);
    }
    const dwc_reduce_grid joined = {.x = sums,
                                    .rows = 1,
                                    .columns = V(lanes),
                                    .x_column = g->channels,
                                    .channels = g->channels,
                                    .y = g->y,
                                    .resumes = g->resumes};
    reduce(&joined);
}

static void reduce_grid(const dwc_reduce_grid *g, dwconv_function function) {
    void (*const reduce)(const dwc_reduce_grid *) = function == DWCONV_SUM       ? reduce_sum
                                                    : function == DWCONV_PRODUCT ? reduce_product
                                                    : function == DWCONV_LARGEST ? reduce_largest
                                                                                 : reduce_smallest;
    if (g->channels < V(lanes) && g->x_column == g->channels && g->columns >= 2 * V(lanes))
        reduce_few(g, reduce);
    else
        reduce(g);
}

/* ---- runs of numbers ------------------------------------------------------------------------ */

INLINE float V(fold)(V(vec) v, const int KIND) {
    float lanes[V(lanes)];
    V(store)(lanes, v);
    for (int n = V(lanes) / 2; n; n /= 2)
        for (int i = 0; i < n; i++) lanes[i] = dwc_reduce_two(lanes[i], lanes[i + n], (dwconv_function)KIND);
    return lanes[0];
}

/* At least a vector of numbers in the lanes of one, but for those of a product from *rest on. */
INLINE V(vec) V(reduce_lanes)(const float *x, int64_t count, int64_t *rest, const int KIND) {
    V(vec) all = V(load)(x);
    int64_t i = V(lanes);
    if (count >= 4 * V(lanes)) {
        V(vec) sum[4];
        UNROLL for (int v = 0; v < 4; v++) sum[v] = V(load)(x + v * V(lanes));
        for (i = 4 * V(lanes); i + 4 * V(lanes) <= count; i += 4 * V(lanes))
            UNROLL for (int v = 0; v < 4; v++) {
                const V(vec) next = V(load)(x + i + v * V(lanes));
                sum[v] = V(reduce_join)(sum[v], next, KIND);
            }
        all = V(reduce_join)(V(reduce_join)(sum[0], sum[1], KIND), V(reduce_join)(sum[2], sum[3], KIND), KIND);
    }
    for (; i + V(lanes) <= count; i += V(lanes)) all = V(reduce_join)(all, V(load)(x + i), KIND);
    if (i < count && KIND != DWCONV_PRODUCT) { /* the others are 0, or compared once more */
        const int n = (int)(count - i);
        all = V(reduce_join)(all, KIND == DWCONV_SUM ? V(load_n)(x + i, n) : V(load)(x + count - V(lanes)), KIND);
        i = count;
    }
    *rest = i;
    return all;
}

INLINE float reduce_numbers(const float *x, int64_t count, const int KIND) {
    int64_t i = 1;
    float result = x[0];
    if (count >= V(lanes)) result = V(fold)(V(reduce_lanes)(x, count, &i, KIND), KIND);
    for (; i < count; i++) result = dwc_reduce_two(result, x[i], (dwconv_function)KIND);
    return result;
}

/* Rows whose lanes are joined together: what is stored of one is loaded when the others are. */
enum { FOLDED_ROWS = 32 };

/* Sums in any case as of a row alone. Numbers fewer than lanes are compared with what is no result. */
INLINE void reduce_many_rows(const float *x, int64_t x_row, int64_t rows, int64_t count, float *y, int64_t y_row,
                             const int KIND) {
    float vectors[FOLDED_ROWS * V(lanes)], none[V(lanes)];
    const int few = count < V(lanes), compares = KIND == DWCONV_LARGEST || KIND == DWCONV_SMALLEST;
    int64_t rest;
    for (int i = 0; i < V(lanes); i++) none[i] = i < count ? 0.0f : KIND == DWCONV_LARGEST ? -INFINITY : INFINITY;
    for (int n; rows > 0; rows -= n, x += n * x_row, y += n * y_row) {
        n = rows < FOLDED_ROWS ? (int)rows : FOLDED_ROWS;
        if (KIND == DWCONV_PRODUCT || (!compares && (few || n == 1))) {
            for (int r = 0; r < n; r++) y[r * y_row] = reduce_numbers(x + r * x_row, count, KIND);
            continue;
        }
        for (int r = 0; r < n; r++) {
            const float *row = x + r * x_row;
            const V(vec) v = few ? (V(vec))((V(ivec))V(load_n)(row, (int)count) | (V(ivec))V(load)(none))
                                 : V(reduce_lanes)(row, count, &rest, KIND);
            V(store)(vectors + r * V(lanes), v);
        }
        fold_rows(vectors, n, y, y_row, KIND);
    }
}

static void reduce_rows(const float *x, int64_t x_row, int64_t rows, int64_t count, dwconv_function function,
                        float *y, int64_t y_row) {
    switch (function) {
        case DWCONV_SUM: reduce_many_rows(x, x_row, rows, count, y, y_row, DWCONV_SUM); return;
        case DWCONV_PRODUCT: reduce_many_rows(x, x_row, rows, count, y, y_row, DWCONV_PRODUCT); return;
        case DWCONV_LARGEST: reduce_many_rows(x, x_row, rows, count, y, y_row, DWCONV_LARGEST); return;
        default: reduce_many_rows(x, x_row, rows, count, y, y_row, DWCONV_SMALLEST); return;
    }
}

/* ---- softmax -------------------------------------------------------------------------------- */

/* exp of what is not above 0, and 0 where that is less than the smallest normal number. */
INLINE V(vec) V(exp_below)(V(vec) t) {
    const V(vec) least = V(set1)(-87.0f);
    const V(exp_parts) e = V(exp)(V(max)(least, t), 0);
    return (V(vec))((V(ivec))(e.mantissa * e.scale) & ~(V(ivec))(t < least));
}

/* At least a vector of numbers. */
NOINLINE void softmax_row(const float *x, int64_t count, float *y) {
    const V(vec) most = V(set1)(reduce_numbers(x, count, DWCONV_LARGEST));
    V(vec) sum[2] = {V(set1)(0.0f), V(set1)(0.0f)};
    const int n = (int)(count % V(lanes));
    int64_t i = 0;
    for (; i + 2 * V(lanes) <= count; i += 2 * V(lanes))
        UNROLL for (int v = 0; v < 2; v++) {
            const V(vec) e = V(exp_below)(V(load)(x + i + v * V(lanes)) - most);
            V(store)(y + i + v * V(lanes), e);
            sum[v] = sum[v] + e;
        }
    if (i + V(lanes) <= count) {
        const V(vec) e = V(exp_below)(V(load)(x + i) - most);
        V(store)(y + i, e);
        sum[0] = sum[0] + e;
        i += V(lanes);
    }
    if (n) {
        V(store_n)(y + i, V(exp_below)(V(load_n)(x + i, n) - most), n);
        sum[1] = sum[1] + V(load_n)(y + i, n); /* 0 in the other lanes */
    }
    const V(vec) factor = V(set1)(1.0f / V(fold)(sum[0] + sum[1], DWCONV_SUM));
    for (i = 0; i + V(lanes) <= count; i += V(lanes)) V(store)(y + i, V(load)(y + i) * factor);
    if (n) V(store_n)(y + i, V(load_n)(y + i, n) * factor, n);
}

/* Its logarithm. */
NOINLINE void softmax_log(const float *x, int64_t count, float *y) {
    const V(vec) most = V(set1)(reduce_numbers(x, count, DWCONV_LARGEST));
    V(vec) sum = V(set1)(0.0f);
    const int n = (int)(count % V(lanes));
    int64_t i = 0;
    for (; i + V(lanes) <= count; i += V(lanes)) {
        const V(vec) shifted = V(load)(x + i) - most;
        V(store)(y + i, shifted);
        sum = sum + V(exp_below)(shifted);
    }
    if (n) {
        const V(vec) shifted = V(load_n)(x + i, n) - most;
        V(store_n)(y + i, V(exp_below)(shifted), n);
        sum = sum + V(load_n)(y + i, n);
        V(store_n)(y + i, shifted, n);
    }
    const V(vec) less = V(set1)(logf(V(fold)(sum, DWCONV_SUM)));
    for (i = 0; i + V(lanes) <= count; i += V(lanes)) V(store)(y + i, V(load)(y + i) - less);
    if (n) V(store_n)(y + i, V(load_n)(y + i, n) - less, n);
}

/* Fewer numbers than lanes: as many rows as there are lanes at a time, turned, so that each has a lane of its own. */
INLINE void softmax_few(const float *x, int64_t x_row, int rows, int count, float *y, int64_t y_row, int log) {
    float turned[V(lanes)][V(lanes)], less[V(lanes)];
    for (int i = 0; i < count; i++) {
        V(store)(turned[i], V(set1)(0.0f));
        for (int r = 0; r < rows; r++) turned[i][r] = x[r * x_row + i];
    }
    V(vec) most = V(set1)(-INFINITY), total = V(set1)(0.0f);
    for (int i = 0; i < count; i++) most = V(larger)(most, V(load)(turned[i]));
    for (int i = 0; i < count; i++) {
        const V(vec) shifted = V(load)(turned[i]) - most;
        V(vec) e = V(exp_below)(shifted);
        total = total + e;
        if (log) e = shifted;
        V(store)(turned[i], e);
    }
    if (!log) total = V(set1)(1.0f) / total;
    V(store)(less, total);
    for (int r = 0; log && r < rows; r++) less[r] = logf(less[r]);
    const V(vec) last = V(load)(less);
    for (int i = 0; i < count; i++) {
        V(vec) v = V(load)(turned[i]);
        if (log)
            v = v - last;
        else
            v = v * last;
        V(store)(turned[i], v);
        for (int r = 0; r < rows; r++) y[r * y_row + i] = turned[i][r];
    }
}

static void softmax(const float *x, int64_t x_row, int64_t rows, int64_t count, float *y, int64_t y_row, int log) {
    if (count >= V(lanes)) {
        for (; rows > 0; rows--, x += x_row, y += y_row) (log ? softmax_log : softmax_row)(x, count, y);
        return;
    }
    for (; rows > 0; rows -= V(lanes), x += V(lanes) * x_row, y += V(lanes) * y_row)
        softmax_few(x, x_row, rows < V(lanes) ? (int)rows : V(lanes), (int)count, y, y_row, log);
}

/* ---- layer normalisation -------------------------------------------------------------------- */

/* Sums of x - mean and of its square, which correct the mean and give the variance. */
typedef struct norm_sums {
    float first, second;
} norm_sums;

INLINE norm_sums norm_about(const float *x, int64_t count, float mean) {
    const V(vec) m = V(set1)(mean);
    V(vec) first[2] = {V(set1)(0.0f), V(set1)(0.0f)}, second[2] = {first[0], first[0]};
    int64_t i = 0;
    for (; i + 2 * V(lanes) <= count; i += 2 * V(lanes))
        UNROLL for (int v = 0; v < 2; v++) {
            const V(vec) d = V(load)(x + i + v * V(lanes)) - m;
            first[v] = first[v] + d;
            second[v] = V(fma)(d, d, second[v]);
        }
    if (i + V(lanes) <= count) {
        const V(vec) d = V(load)(x + i) - m;
        first[0] = first[0] + d;
        second[0] = V(fma)(d, d, second[0]);
        i += V(lanes);
    }
    if (i < count) {
        const int n = (int)(count - i);
        float kept[V(lanes)]; /* for lanes beyond the last to become 0 */
        V(store)(kept, V(load_n)(x + i, n) - m);
        const V(vec) d = V(load_n)(kept, n);
        first[1] = first[1] + d;
        second[1] = V(fma)(d, d, second[1]);
    }
    return (norm_sums){V(fold)(first[0] + first[1], DWCONV_SUM), V(fold)(second[0] + second[1], DWCONV_SUM)};
}

/* What a row is moved and divided by. */
typedef struct norm_factors {
    float mean, shift, unit;
} norm_factors;

INLINE norm_factors norm_factors_of(float mean, norm_sums s, int64_t count, float epsilon) {
    const double shift = (double)s.first / (double)count;
    double variance = (double)s.second / (double)count - shift * shift;
    if (variance < 0) variance = 0;
    return (norm_factors){mean, (float)shift, (float)(1 / sqrt(variance + (double)epsilon))};
}

INLINE void norm_row(const float *x, int64_t count, const float *scale, const float *bias, norm_factors f, float *y) {
    const V(vec) m = V(set1)(f.mean), d = V(set1)(f.shift), unit = V(set1)(f.unit);
    if (count >= V(lanes)) {
        for (int64_t i = 0; i >= 0; i = V(after)(i, count))
            V(store)(y + i, V(fma)((V(load)(x + i) - m - d) * unit, V(load)(scale + i), V(load)(bias + i)));
    } else {
        const int n = (int)count;
        V(store_n)(y, V(fma)((V(load_n)(x, n) - m - d) * unit, V(load_n)(scale, n), V(load_n)(bias, n)), n);
    }
}

/* Some rows at a time, step by step: the chains of sums, divisions and a root, longer than the work on a short row, are those
 * of several rows under way. */
static void layer_norm(const float *x, int64_t x_row, int64_t rows, int64_t count, const float *scale,
                       const float *bias, float epsilon, float *y, int64_t y_row) {
    enum { ROWS = 4, FLOATS = 4096 }; /* that stay in the first-level cache */
    const int64_t most = count <= FLOATS / ROWS ? ROWS : 1;
    for (int64_t some; rows > 0; rows -= some, x += some * x_row, y += some * y_row) {
        float means[ROWS];
        norm_sums sums[ROWS];
        norm_factors factors[ROWS];
        some = rows < most ? rows : most;
        for (int64_t r = 0; r < some; r++)
            means[r] = reduce_numbers(x + r * x_row, count, DWCONV_SUM) / (float)count;
        for (int64_t r = 0; r < some; r++) sums[r] = norm_about(x + r * x_row, count, means[r]);
        for (int64_t r = 0; r < some; r++) factors[r] = norm_factors_of(means[r], sums[r], count, epsilon);
        for (int64_t r = 0; r < some; r++)
            norm_row(x + r * x_row, count, scale, bias, factors[r], y + r * y_row);
    }
}

#define ROW_KERNELS                                                                                            \
    {                                                                                                          \
        .pool = pool, .pool_columns = pool_columns, .blend = blend, .resize = resize, .pick = pick,            \
        .reduce_grid = reduce_grid, .reduce_rows = reduce_rows, .place_rows = place_rows, .softmax = softmax, .layer_norm = layer_norm,    \
        .activate = activate_pixels                                                                            \
    }
