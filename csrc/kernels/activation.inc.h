/* Activations on one vector, and of what a tile has stored. Included once per suffix.
 *
 * NaN in gives NaN out: every clamp has its data in the second operand of min and max.
 * Polynomials: fit_activation.py. Largest errors over all float32 (tests/test_numerics.py): at most 4 ULP
 * for sigmoid, SiLU, tanh and GELU's tanh form, at most 8 for GELU's erf form. Far out on the negative side
 * that takes the argument of exp in two parts, since exp turns its absolute error into a relative one.
 *
 * A vector of 16 costs, in cycles of Zen 4 (which begins one fused multiply-add of that size per cycle): hard-swish 5,
 * sigmoid 16, SiLU 17, tanh 24, GELU's tanh form 31, its erf form 32. Each divides once: that takes 6 cycles, but only
 * 2 of the multiply-adds' unit. */

INLINE V(vec) V(select)(V(ivec) mask, V(vec) a, V(vec) b) {
    return (V(vec))(((V(ivec))a & mask) | ((V(ivec))b & ~mask));
}

INLINE V(vec) V(clamp)(V(vec) x, float low, float high) {
    return V(min)(V(set1)(high), V(max)(V(set1)(low), x));
}

INLINE V(vec) V(abs)(V(vec) x) { return (V(vec))((V(ivec))x & 0x7fffffff); }

/* exp(x + low) * 2^shift, |low| << 1, as mantissa * scale, so that the caller can multiply the mantissa by something
 * before it overflows or loses bits. x is in the range that keeps the scale between 0 and infinity, both of which
 * it may be: -88 < x + shift ln(2) < 89. */
typedef struct V(exp_parts) {
    V(vec) mantissa, scale;
} V(exp_parts);

INLINE V(exp_parts) V(exp)(V(vec) x, const V(vec) * low, const int shift) {
    const V(vec) magic = V(set1)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const V(vec) shifted = V(fma)(x, V(set1)(1.44269504f), magic);
    const V(vec) n = shifted - magic;
    V(vec) r = V(fma)(n, V(set1)(-0.693359375f), x); /* ln(2) in two parts; the first product is exact */
    r = V(fma)(n, V(set1)(2.12194440e-4f), r);
    if (low) r = r + *low;
    V(vec) q = V(fma)(V(set1)(0.00138131424f), r, V(set1)(0.00836941904f));
    q = V(fma)(q, r, V(set1)(0.0416684568f));
    q = V(fma)(q, r, V(set1)(0.166665148f));
    q = V(fma)(q, r, V(set1)(0.499999931f));
    q = V(fma)(q, r, V(set1)(1.0f));
    q = V(fma)(q, r, V(set1)(1.0f));
    const int32_t bias = 127 + shift - 0x4b400000; /* of the exponent, less the bits of magic */
    return (V(exp_parts)){q, (V(vec))(((V(ivec))shifted + bias) << 23)};
}

/* What rounding a * b to `product` left out. Without fused arithmetic, from halves whose products are exact. */
INLINE V(vec) V(product_error)(V(vec) a, V(vec) b, V(vec) product) {
    if (V(fused)) return V(fma)(a, b, -product);
    const V(vec) a_high = (V(vec))((V(ivec))a & (int32_t)0xfffff000), a_low = a - a_high;
    const V(vec) b_high = (V(vec))((V(ivec))b & (int32_t)0xfffff000), b_low = b - b_high;
    return a_high * b_high - product + a_high * b_low + a_low * b_high + a_low * b_low;
}

/* 2^32 x * sigmoid(v + low) = x / (2^-32 + exp(-v - low - 32 ln(2))): exp(-v) may pass the largest float while the
 * result is not yet 0. Where even the smaller one is infinite the quotient is 0, and -infinity / infinity NaN. */
INLINE V(vec) V(gate)(V(vec) x, V(vec) v, const V(vec) * low) {
    const V(exp_parts) e = V(exp)(V(clamp)(-v, -66.0f, 111.0f), low, -32);
    return x / V(fma)(e.mantissa, e.scale, V(set1)(0x1p-32f));
}

INLINE V(vec) V(sigmoid)(V(vec) x) { return V(gate)(V(set1)(1.0f), x, NULL) * V(set1)(0x1p-32f); }

/* x * sigmoid(v + low), v of the sign of x. What lies above 2^90, which 2^32 x must not overflow, is added at the end. */
INLINE V(vec) V(gated)(V(vec) x, V(vec) v, const V(vec) * low) {
    const V(vec) part = V(min)(V(set1)(0x1p90f), x);
    return V(fma)(V(gate)(part, v, low), V(set1)(0x1p-32f), x - part);
}

INLINE V(vec) V(silu)(V(vec) x) { return V(gated)(x, x, NULL); }

INLINE V(vec) V(tanh)(V(vec) x) {
    const V(vec) a = V(abs)(x), s = x * x;
    V(vec) q = V(fma)(V(set1)(-0.00627423294f), s, V(set1)(0.021071674f));
    q = V(fma)(q, s, V(set1)(-0.0538523085f));
    q = V(fma)(q, s, V(set1)(0.133325861f));
    q = V(fma)(q, s, V(set1)(-0.333333176f));
    const V(vec) small = V(fma)(q * s, a, a);
    const V(exp_parts) e = V(exp)(V(min)(V(set1)(40.0f), a + a), NULL, 0);
    const V(vec) large = V(set1)(1.0f) - V(set1)(2.0f) / V(fma)(e.mantissa, e.scale, V(set1)(1.0f));
    const V(ivec) sign = (V(ivec))x & (int32_t)0x80000000;
    return (V(vec))((V(ivec))V(select)(a < V(set1)(0.55f), small, large) | sign);
}

/* x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), with the tail of the normal distribution
 * Phi(-t) = exp(-t^2 / 2) * q(1 / (1 + 0.35 t)). The scale of exp is larger by 2^64: the product with t may be a normal
 * number where Phi is not. From t = 15 on it rounds to 0. */
INLINE V(vec) V(gelu_erf)(V(vec) x) {
    const V(vec) t = V(min)(V(set1)(15.0f), V(abs)(x)), half = V(set1)(-0.5f) * t;
    const V(vec) square = half * t, low = V(product_error)(half, t, square);
    const V(exp_parts) e = V(exp)(square, &low, 64);
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
    const V(vec) tail = t * (q * e.mantissa) * e.scale;
    const V(vec) positive = x - V(min)(V(set1)(0.0f), x); /* NaN where x is -infinity: -infinity * 0 */
    return V(fma)(tail, V(set1)(-0x1p-64f), positive);
}

/* (1 + tanh(u)) / 2 = sigmoid(2 u), and 2 u = x * w with w = c0 + c1 x^2, each in two parts. */
INLINE V(vec) V(gelu_tanh)(V(vec) x) {
    const V(vec) c0 = V(set1)(1.59576917f), c0_low = V(set1)(-4.53406804e-8f); /* 2 sqrt(2 / pi) */
    const V(vec) c1 = V(set1)(0.0713548139f), c1_low = V(set1)(2.3988324e-9f); /* 0.044715 of that */
    const V(vec) t = V(clamp)(x, -16.0f, 16.0f); /* sigmoid is 0 or 1 from there */
    const V(vec) square = t * t;
    const V(vec) p = c1 * square;
    V(vec) low = V(fma)(c1_low, square, V(product_error)(c1, square, p));
    low = V(fma)(c1, V(product_error)(t, t, square), low);
    const V(vec) w = c0 + p, back = w - p;
    low = low + ((c0 - back) + (p - (w - back))) + c0_low;
    const V(vec) v = t * w;
    low = -V(fma)(t, low, V(product_error)(t, w, v));
    return V(gated)(x, v, &low);
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
