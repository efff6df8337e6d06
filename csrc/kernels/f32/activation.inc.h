/* Activations on one vector, and of what a tile has stored. Included once per suffix.
 *
 * NaN in gives NaN out: every clamp has its data in the second operand of min and max.
 * Polynomials: fit_activation.py. Largest errors over all float32 (tests/test_numerics.py): at most 8 ULP
 * for sigmoid and SiLU, 4 for tanh, 2 eps |x| for both forms of GELU.
 *
 * A vector of 8 costs, in cycles of Zen 3 with all in the first-level cache: a clamp 2, hard-swish 3, sigmoid and SiLU 10, GELU's
 * erf form 11, its tanh form 13, tanh 16. Sigmoid, SiLU, tanh and the tanh form divide once, which takes 3.4 of these. */

INLINE V(vec) V(select)(V(ivec) mask, V(vec) a, V(vec) b) {
    return (V(vec))(((V(ivec))a & mask) | ((V(ivec))b & ~mask));
}

INLINE V(vec) V(clamp)(V(vec) x, float low, float high) {
    return V(min)(V(set1)(high), V(max)(V(set1)(low), x));
}

INLINE V(vec) V(abs)(V(vec) x) { return (V(vec))((V(ivec))x & 0x7fffffff); }

/* exp(x) * 2^shift as mantissa * scale, which saves the product where a sum follows. x is in the range that keeps the
 * scale between 0 and infinity, both of which it may be: -88 < x + shift ln(2) < 89. */
typedef struct V(exp_parts) {
    V(vec) mantissa, scale;
} V(exp_parts);

INLINE V(exp_parts) V(exp)(V(vec) x, const int shift) {
    const V(vec) magic = V(set1)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const V(vec) shifted = V(fma)(x, V(set1)(1.44269504f), magic);
    const V(vec) n = shifted - magic;
    V(vec)
    r = V(fma)(n, V(set1)(V(fused) ? -0.693147182f : -0.693359375f),
               x); /* less n ln(2); the second is exact */
    if (!V(fused)) r = V(fma)(n, V(set1)(2.12194440e-4f), r);
    V(vec) q = V(fma)(V(set1)(0.00828945867f), r, V(set1)(0.0419025573f));
    q = V(fma)(q, r, V(set1)(0.166676754f));
    q = V(fma)(q, r, V(set1)(0.499991153f));
    q = V(fma)(q, r, V(set1)(0.999999689f));
    q = V(fma)(q, r, V(set1)(1.0f));
    const int32_t bias = 127 + shift - 0x4b400000; /* of the exponent, less the bits of magic */
    return (V(exp_parts)){q, (V(vec))(((V(ivec))shifted + bias) << 23)};
}

/* 2^32 a / (1 + exp(v)) = a / (2^-32 + exp(v - 32 ln(2))), -66 <= v <= 111: exp(v) may pass the largest float while the
 * result is not yet 0. Where even the smaller one is infinite the quotient is 0. */
INLINE V(vec) V(logistic)(V(vec) a, V(vec) v) {
    const V(exp_parts) e = V(exp)(v, -32);
    return a / V(fma)(e.mantissa, e.scale, V(set1)(0x1p-32f));
}

INLINE V(vec) V(sigmoid)(V(vec) x) {
    return V(logistic)(V(set1)(1.0f), V(clamp)(-x, -66.0f, 111.0f)) * V(set1)(0x1p-32f);
}

/* SiLU and both forms of GELU are x * p(x) with p(-x) = 1 - p(x), hence max(x, 0) - |x| * p(-|x|). The second term vanishes
 * far out, so |x| is cut there, and does not cancel near 0; of -infinity the limit comes out, 0. */
INLINE V(vec) V(cut_abs)(V(vec) x, float most) { return V(min)(V(set1)(most), V(abs)(x)); }

INLINE V(vec) V(less)(V(vec) x, V(vec) tail, float scale) {
    return V(fma)(tail, V(set1)(-scale), V(max)(V(set1)(0.0f), x));
}

INLINE V(vec) V(silu)(V(vec) x) {
    const V(vec) t = V(cut_abs)(x, 111.0f);
    return V(less)(x, V(logistic)(t, t), 0x1p-32f);
}

/* (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
INLINE V(vec) V(gelu_tanh)(V(vec) x) {
    const V(vec) t = V(cut_abs)(x, 10.9f);
    const V(vec) v = t * V(fma)(V(set1)(0.0713548163f), t * t, V(set1)(1.59576912f));
    return V(less)(x, V(logistic)(t, v), 0x1p-32f);
}

/* The tail of the normal distribution, Phi(-t) = q(t)^4 / 2, falls with its fourth root so gently that a polynomial follows it
 * to where it vanishes: no exp, no division. Even and odd powers apart, so that half as many wait for each other. */
INLINE V(vec) V(gelu_erf)(V(vec) x) {
    static const float even[] = {
        1.0f, -0.0596783016f, 0.00470538735f, -0.000189966682f, 1.76012257e-05f, 2.91022393e-07f};
    static const float odd[] = {-0.199471515f,    0.00544513805f,   -0.000280348573f,
                                -9.52014749e-06f, -3.46742784e-06f, -9.45712112e-09f};
    const V(vec) t = V(cut_abs)(x, 6.7f), square = t * t;
    V(vec) p = V(set1)(even[5]), q = V(set1)(odd[5]);
    UNROLL
    for (int i = 4; i >= 0; i--) {
        p = V(fma)(p, square, V(set1)(even[i]));
        q = V(fma)(q, square, V(set1)(odd[i]));
    }
    q = V(fma)(q, t, p);
    q = q * q;
    /* At the cut a little of the tail is left, but not at infinity. */
    const V(vec) tail = (V(vec))((V(ivec))(t * (q * q)) & (V(ivec))(x != V(set1)(-INFINITY)));
    return V(less)(x, tail, 0.5f);
}

INLINE V(vec) V(tanh)(V(vec) x) {
    const V(vec) a = V(abs)(x), s = x * x;
    V(vec) q = V(fma)(V(set1)(-0.00627423944f), s, V(set1)(0.021071679f));
    q = V(fma)(q, s, V(set1)(-0.0538523099f));
    q = V(fma)(q, s, V(set1)(0.133325861f));
    q = V(fma)(q, s, V(set1)(-0.333333176f));
    const V(vec) small = V(fma)(q * s, a, a);
    const V(exp_parts) e = V(exp)(V(min)(V(set1)(40.0f), a + a), 0);
    const V(vec) large = V(set1)(1.0f) - V(set1)(2.0f) / V(fma)(e.mantissa, e.scale, V(set1)(1.0f));
    const V(ivec) sign = (V(ivec))x & (int32_t)0x80000000;
    return (V(vec))((V(ivec))V(select)(a < V(set1)(0.55f), small, large) | sign);
}

INLINE V(vec) V(sixth)(V(vec) x) { return V(clamp)(x + V(set1)(3.0f), 0.0f, 6.0f) * V(set1)(1.0f / 6.0f); }

/* Activates `rows` rows of `count` vectors in place; vectors are `step` floats apart, rows `row_step`. Every activation
 * has a loop of its own: the vectors overlap in the pipeline, and what to do is asked once. */
NOINLINE void V(activate)(float *y, int count, int64_t step, int64_t rows, int64_t row_step,
                          const dwconv_activation *act) {
#define EACH(...)                                    \
    for (; rows > 0; rows--, y += row_step) {        \
        float *p = y;                                \
        for (int i = 0; i < count; i++, p += step) { \
            const V(vec) x = V(load)(p);             \
            V(store)(p, __VA_ARGS__);                \
        }                                            \
    }                                                \
    break
    switch (act->kind) {
        case DWCONV_LEAKY_RELU: EACH(V(select)(x < V(set1)(0.0f), x * V(set1)(act->a), x));
        case DWCONV_HARD_SIGMOID: EACH(V(sixth)(x));
        case DWCONV_HARD_SWISH: EACH(x * V(sixth)(x));
        case DWCONV_SIGMOID: EACH(V(sigmoid)(x));
        case DWCONV_SILU: EACH(V(silu)(x));
        case DWCONV_TANH: EACH(V(tanh)(x));
        case DWCONV_GELU_ERF: EACH(V(gelu_erf)(x));
        case DWCONV_GELU_TANH: EACH(V(gelu_tanh)(x));
        default: EACH(V(clamp)(x, act->a, act->b));
    }
#undef EACH
}
