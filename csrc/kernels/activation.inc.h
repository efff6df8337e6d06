/* Activations on one vector, and the epilogue that stores a tile of results. Included once per suffix.
 *
 * NaN in gives NaN out: every clamp has its data in the second operand of min and max.
 * Polynomials: fit_activation.py. Largest errors over all float32 (tests/test_numerics.py): at most 4 ULP
 * for sigmoid, SiLU, tanh and GELU's tanh form, at most 8 for GELU's erf form. Far out on the negative side
 * that takes the argument of exp in two parts, since exp turns its absolute error into a relative one. */

INLINE V(vec) V(select)(V(ivec) mask, V(vec) a, V(vec) b) {
    return (V(vec))(((V(ivec))a & mask) | ((V(ivec))b & ~mask));
}

INLINE V(vec) V(clamp)(V(vec) x, float low, float high) {
    return V(min)(V(set1)(high), V(max)(V(set1)(low), x));
}

INLINE V(vec) V(abs)(V(vec) x) { return (V(vec))((V(ivec))x & 0x7fffffff); }

/* exp as mantissa * scale * rest: two powers of two, so that overflow and denormals come out exact, also
 * when the caller multiplies the mantissa by something first. */
typedef struct V(exp_parts) {
    V(vec) mantissa, scale, rest;
} V(exp_parts);

/* exp(x + low), |low| << 1: 2^n exp(r), |r| <= ln(2) / 2. Beyond the clamp nothing but 0 or infinity is left. */
INLINE V(exp_parts) V(exp_split)(V(vec) x, V(vec) low) {
    const V(vec) magic = V(set1)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = V(clamp)(x, -150.0f, 89.5f);
    const V(vec) shifted = V(fma)(x, V(set1)(1.44269504f), magic);
    const V(vec) n = shifted - magic;
    const V(ivec) bits = (V(ivec))shifted - (V(ivec))magic, half = bits >> 1;
    V(vec) r = V(fma)(n, V(set1)(-0.693359375f), x); /* ln(2) in two parts; the first product is exact */
    r = V(fma)(n, V(set1)(2.12194440e-4f), r) + low;
    V(vec) q = V(fma)(V(set1)(0.00138131424f), r, V(set1)(0.00836941904f));
    q = V(fma)(q, r, V(set1)(0.0416684568f));
    q = V(fma)(q, r, V(set1)(0.166665148f));
    q = V(fma)(q, r, V(set1)(0.499999931f));
    q = V(fma)(q * r, r, r) + V(set1)(1.0f);
    return (V(exp_parts)){q, (V(vec))((half + 127) << 23), (V(vec))((bits - half + 127) << 23)};
}

INLINE V(vec) V(scaled)(V(vec) factor, V(exp_parts) e) { return factor * e.mantissa * e.scale * e.rest; }

INLINE V(vec) V(exp)(V(vec) x) {
    const V(exp_parts) e = V(exp_split)(x, V(set1)(0.0f));
    return e.mantissa * e.scale * e.rest;
}

/* The first 12 bits of a number: products of two such are exact, with and without fused arithmetic. */
INLINE V(vec) V(high)(V(vec) x) { return (V(vec))((V(ivec))x & (int32_t)0xfffff000); }

/* What rounding x * x to `square` left out. */
INLINE V(vec) V(square_error)(V(vec) x, V(vec) square) {
    const V(vec) high = V(high)(x), low = x - high;
    return high * high - square + V(set1)(2.0f) * high * low + low * low;
}

/* From exp(-|x|), so that nothing overflows and small results keep their relative accuracy. */
INLINE V(vec) V(sigmoid)(V(vec) x) {
    const V(vec) e = V(exp)(-V(abs)(x));
    const V(vec) s = V(set1)(1.0f) / (V(set1)(1.0f) + e);
    return V(select)(x < V(set1)(0.0f), e * s, s);
}

/* x * sigmoid(v + low), v of the sign of x. x - x is NaN where x is infinite: -infinity * 0. */
INLINE V(vec) V(gated)(V(vec) x, V(vec) v, V(vec) low) {
    const V(ivec) negative = x < V(set1)(0.0f);
    const V(exp_parts) e = V(exp_split)(-V(abs)(v), V(select)(negative, low, -low));
    const V(vec) s = V(set1)(1.0f) / (V(set1)(1.0f) + e.mantissa * e.scale * e.rest);
    return V(select)(negative, V(scaled)(V(max)(V(set1)(-150.0f), x) * s, e) + (x - x), x * s);
}

INLINE V(vec) V(tanh)(V(vec) x) {
    const V(vec) a = V(abs)(x), s = x * x;
    V(vec) q = V(fma)(V(set1)(-0.00627423294f), s, V(set1)(0.021071674f));
    q = V(fma)(q, s, V(set1)(-0.0538523085f));
    q = V(fma)(q, s, V(set1)(0.133325861f));
    q = V(fma)(q, s, V(set1)(-0.333333176f));
    const V(vec) small = V(fma)(q * s, a, a);
    const V(vec) e = V(exp)(a + a);
    const V(vec) large = V(set1)(1.0f) - V(set1)(2.0f) / (e + V(set1)(1.0f));
    const V(ivec) sign = (V(ivec))x & (int32_t)0x80000000;
    return (V(vec))((V(ivec))V(select)(a < V(set1)(0.55f), small, large) | sign);
}

/* x * Phi(x), with the tail of the normal distribution Phi(-t) = exp(-t^2 / 2) * q(1 / (1 + 0.35 t)). */
INLINE V(vec) V(gelu_erf)(V(vec) x) {
    const V(vec) t = V(min)(V(set1)(14.5f), V(abs)(x)); /* x * Phi(x) is below every float from there */
    const V(vec) square = t * t;
    const V(exp_parts) e = V(exp_split)(V(set1)(-0.5f) * square, V(set1)(-0.5f) * V(square_error)(t, square));
    const V(vec) u = V(set1)(1.0f) / V(fma)(V(set1)(0.35f), t, V(set1)(1.0f));
    V(vec) q = V(fma)(V(set1)(-0.0282655577f), u, V(set1)(0.1394092f));
    q = V(fma)(q, u, V(set1)(-0.245541336f));
    q = V(fma)(q, u, V(set1)(0.146405367f));
    q = V(fma)(q, u, V(set1)(-0.0131997048f));
    q = V(fma)(q, u, V(set1)(0.100592772f));
    q = V(fma)(q, u, V(set1)(0.12138553f));
    q = V(fma)(q, u, V(set1)(0.13956158f));
    q = V(fma)(q, u, V(set1)(0.13965359f));
    q = V(fma)(q, u, V(set1)(-1.45437398e-06f));
    const V(vec) tail = V(scaled)(V(max)(V(set1)(-14.5f), x) * q, e) + (x - x);
    return V(select)(x < V(set1)(0.0f), tail, x * (V(set1)(1.0f) - V(scaled)(q, e)));
}

/* (1 + tanh(u)) / 2 = sigmoid(2 u), and 2 u = x * w with w = c0 + c1 x^2, each in two parts. */
INLINE V(vec) V(gelu_tanh)(V(vec) x) {
    const V(vec) c0_high = V(set1)(1.595703125f), c0_low = V(set1)(6.59966057e-5f);  /* 2 sqrt(2 / pi) */
    const V(vec) c1_high = V(set1)(0.0713500977f), c1_low = V(set1)(4.71861635e-6f); /* 0.044715 of that */
    const V(vec) t = V(clamp)(x, -16.0f, 16.0f); /* sigmoid is 0 or 1 from there */
    const V(vec) square = t * t, square_high = V(high)(square);
    const V(vec) p = c1_high * square_high;
    const V(vec) p_low =
        c1_high * (square - square_high) + c1_low * square + c1_high * V(square_error)(t, square);
    const V(vec) w = V(high)(c0_high + p);
    const V(vec) w_low = p - (w - c0_high) + (p_low + c0_low);
    const V(vec) t_high = V(high)(t), exact = t_high * w, rest = (t - t_high) * w + t * w_low;
    const V(vec) v = exact + rest;
    return V(gated)(x, v, rest - (v - exact));
}

INLINE V(vec) V(sixth)(V(vec) x) { return V(clamp)(x + V(set1)(3.0f), 0.0f, 6.0f) * V(set1)(1.0f / 6.0f); }

/* Activates `count` vectors of results in place. Every activation has a loop of its own: the vectors of a tile then
 * overlap in the pipeline, and what to do is asked once. */
NOINLINE void V(activate)(float *results, int count, const dwconv_activation *act) {
    float *const end = results + count * V(lanes);
#define EACH(...)                                      \
    for (float *p = results; p < end; p += V(lanes)) { \
        const V(vec) x = V(load)(p);                   \
        V(store)(p, __VA_ARGS__);                      \
    }                                                  \
    break
    switch (act->kind) {
        case DWCONV_LEAKY_RELU: EACH(V(select)(x < V(set1)(0.0f), x * V(set1)(act->a), x));
        case DWCONV_HARD_SIGMOID: EACH(V(sixth)(x));
        case DWCONV_HARD_SWISH: EACH(x * V(sixth)(x));
        case DWCONV_SIGMOID: EACH(V(sigmoid)(x));
        case DWCONV_SILU: EACH(V(gated)(x, x, V(set1)(0.0f)));
        case DWCONV_TANH: EACH(V(tanh)(x));
        case DWCONV_GELU_ERF: EACH(V(gelu_erf)(x));
        case DWCONV_GELU_TANH: EACH(V(gelu_tanh)(x));
        default: EACH(V(clamp)(x, act->a, act->b));
    }
#undef EACH
}

/* The general end of a row of outputs: `count` vectors, `step` floats apart in y; the first `lanes` of each are
 * stored. Kernels call it when their own end, clamp and store whole vectors, does not do. */
NOINLINE void V(finish)(float *results, int count, float *y, int64_t step, int lanes,
                        const dwconv_activation *act) {
    V(activate)(results, count, act);
    for (int i = 0; i < count; i++) {
        const V(vec) v = V(load)(results + i * V(lanes));
        if (lanes < V(lanes))
            V(store_n)(y + i * step, v, lanes);
        else
            V(store)(y + i * step, v);
    }
}
