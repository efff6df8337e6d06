/* Slopes of activations. Included once, for whole vectors. Errors of the smooth ones are those of the activations and of
 * exp, below 2e-6 (tests/test_gradients.py). Where a slope is 0, so is the gradient, whatever is multiplied with it. */

/* An infinite bound is none. */
INLINE V(vec) slope_inside(V(vec) v, V(vec) low, V(vec) high, V(vec) slope) {
    const V(vec) most = V(set1)(INFINITY);
    return (V(vec))((V(ivec))slope & ((v > low) | (low == -most)) & ((v < high) | (high == most)));
}

/* x * sigmoid(u) has the slope p + x p (1 - p) u'. x is cut to where it is 0 or 1, so that nothing overflows. */
INLINE V(vec) slope_weighted(V(vec) x, V(vec) u, V(vec) u_slope) {
    const V(vec) p = V(sigmoid)(u);
    return V(fma)(x * p, (V(set1)(1.0f) - p) * u_slope, p);
}

INLINE V(vec) slope_gelu_erf(V(vec) x) {
    const V(vec) t = V(clamp)(x, -9.0f, 9.0f), one = V(set1)(1.0f);
    /* The activation gives |x| times the tail; nothing is lost where x is small, as it is divided by the same number. */
    const V(vec) cut = V(max)(V(set1)(1e-3f), V(abs)(t));
    const V(vec) tail = -V(gelu_erf)(-cut) / cut;
    const V(vec) below = V(select)(t < V(set1)(0.0f), tail, one - tail);
    const V(exp_parts) bell = V(exp)(t * t * V(set1)(-0.5f), 0);
    const V(vec) near = V(fma)(t, V(set1)(0.398942280f), V(set1)(0.5f));
    const V(vec) phi = V(select)(V(abs)(t) < V(set1)(1e-3f), near, below);
    return V(fma)(t * V(set1)(0.398942280f), bell.mantissa * bell.scale, phi);
}

INLINE V(vec) slope_of(V(vec) v, const dwconv_activation *act, const dwconv_activation_kind KIND,
                       const int FROM_OUTPUT) {
    const V(vec) one = V(set1)(1.0f), zero = V(set1)(0.0f);
    switch ((int)KIND) {
        case DWCONV_LEAKY_RELU: return V(select)(v > zero, one, V(set1)(act->a));
        case DWCONV_HARD_SIGMOID:
            return slope_inside(v, V(set1)(FROM_OUTPUT ? 0.0f : -3.0f), V(set1)(FROM_OUTPUT ? 1.0f : 3.0f),
                                V(set1)(1.0f / 6.0f));
        case DWCONV_HARD_SWISH: {
            const V(vec) middle = V(fma)(v, V(set1)(1.0f / 3.0f), V(set1)(0.5f));
            const V(vec) slope = V(select)(v < V(set1)(3.0f), middle, one);
            return V(select)(v <= V(set1)(-3.0f), zero, slope);
        }
        case DWCONV_SIGMOID: {
            const V(vec) p = FROM_OUTPUT ? v : V(sigmoid)(v);
            return p * (one - p);
        }
        case DWCONV_TANH: {
            const V(vec) p = FROM_OUTPUT ? v : V(tanh)(v);
            return (one - p) * (one + p);
        }
        case DWCONV_SILU: {
            const V(vec) t = V(clamp)(v, -100.0f, 100.0f);
            return slope_weighted(t, t, one);
        }
        case DWCONV_GELU_ERF: return slope_gelu_erf(v);
        case DWCONV_GELU_TANH: {
            const V(vec) t = V(clamp)(v, -12.0f, 12.0f), square = t * t;
            return slope_weighted(t, t * V(fma)(V(set1)(0.0713548163f), square, V(set1)(1.59576912f)),
                                  V(fma)(V(set1)(0.214064449f), square, V(set1)(1.59576912f)));
        }
        default: return slope_inside(v, V(set1)(act->a), V(set1)(act->b), one);
    }
}

INLINE V(vec) slope_times(V(vec) slope, V(vec) dy) {
    return (V(vec))((V(ivec))(slope * dy) & (slope != V(set1)(0.0f)));
}

INLINE void slope_each(const dwconv_activation *act, const dwconv_activation_kind KIND, const int FROM_OUTPUT,
                       const float *values, const float *dy, float *dx, int64_t count) {
    int64_t i = 0;
    for (; i + V(lanes) <= count; i += V(lanes))
        V(store)(dx + i, slope_times(slope_of(V(load)(values + i), act, KIND, FROM_OUTPUT), V(load)(dy + i)));
    if (i < count) {
        const int n = (int)(count - i);
        const V(vec) slope = slope_of(V(load_n)(values + i, n), act, KIND, FROM_OUTPUT);
        V(store_n)(dx + i, slope_times(slope, V(load_n)(dy + i, n)), n);
    }
}

static void each_slope(const dwconv_activation *act, int from_output, const float *values, const float *dy,
                       float *dx, int64_t count) {
#define SLOPE(KIND, FROM_OUTPUT) slope_each(act, KIND, FROM_OUTPUT, values, dy, dx, count)
    switch (act->kind) {
        case DWCONV_LEAKY_RELU: SLOPE(DWCONV_LEAKY_RELU, 0); break;
        case DWCONV_HARD_SIGMOID:
            if (from_output)
                SLOPE(DWCONV_HARD_SIGMOID, 1);
            else
                SLOPE(DWCONV_HARD_SIGMOID, 0);
            break;
        case DWCONV_HARD_SWISH: SLOPE(DWCONV_HARD_SWISH, 0); break;
        case DWCONV_SIGMOID:
            if (from_output)
                SLOPE(DWCONV_SIGMOID, 1);
            else
                SLOPE(DWCONV_SIGMOID, 0);
            break;
        case DWCONV_TANH:
            if (from_output)
                SLOPE(DWCONV_TANH, 1);
            else
                SLOPE(DWCONV_TANH, 0);
            break;
        case DWCONV_SILU: SLOPE(DWCONV_SILU, 0); break;
        case DWCONV_GELU_ERF: SLOPE(DWCONV_GELU_ERF, 0); break;
        case DWCONV_GELU_TANH: SLOPE(DWCONV_GELU_TANH, 0); break;
        default: SLOPE(DWCONV_CLIP, 0);
    }
#undef SLOPE
}
