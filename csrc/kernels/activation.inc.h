/* Activations on one vector, and the epilogue that stores a tile of results. Included once per suffix.
 *
 * NaN in gives NaN out: every clamp has its data in the second operand of min and max.
 * Polynomials: fit_activation.py. Largest errors over all float32 (tests/test_numerics.py):
 * at most 4 ULP for sigmoid, SiLU, tanh and both GELUs. */

INLINE V(vec) V(select)(V(ivec) mask, V(vec) a, V(vec) b) {
    return (V(vec))(((V(ivec))a & mask) | ((V(ivec))b & ~mask));
}

INLINE V(vec) V(clamp)(V(vec) x, float low, float high) {
    return V(min)(V(set1)(high), V(max)(V(set1)(low), x));
}

INLINE V(vec) V(abs)(V(vec) x) { return (V(vec))((V(ivec))x & 0x7fffffff); }

/* exp(x) = 2^n exp(r), |r| <= ln(2) / 2. Scaling in two steps keeps overflow and denormals exact. */
INLINE V(vec) V(exp)(V(vec) x) {
    const V(vec) magic = V(set1)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    x = V(clamp)(x, -104.5f, 89.5f);           /* beyond, the result is 0 or infinite anyway */
    const V(vec) shifted = V(fma)(x, V(set1)(1.44269504f), magic);
    const V(vec) n = shifted - magic;
    const V(ivec) bits = (V(ivec))shifted - (V(ivec))magic;
    V(vec) r = V(fma)(n, V(set1)(-0.693359375f), x); /* ln(2) in two parts; the first product is exact */
    r = V(fma)(n, V(set1)(2.12194440e-4f), r);
    V(vec) q = V(fma)(V(set1)(0.00138131424f), r, V(set1)(0.00836941904f));
    q = V(fma)(q, r, V(set1)(0.0416684568f));
    q = V(fma)(q, r, V(set1)(0.166665148f));
    q = V(fma)(q, r, V(set1)(0.499999931f));
    q = V(fma)(q * r, r, r) + V(set1)(1.0f);
    const V(ivec) half = bits >> 1;
    const V(vec) scale = (V(vec))((half + 127) << 23);
    const V(vec) rest = (V(vec))((bits - half + 127) << 23);
    return q * scale * rest;
}

/* From exp(-|x|), so that nothing overflows and small results keep their relative accuracy. */
INLINE V(vec) V(sigmoid)(V(vec) x) {
    const V(vec) e = V(exp)(-V(abs)(x));
    const V(vec) s = V(set1)(1.0f) / (V(set1)(1.0f) + e);
    return V(select)(x < V(set1)(0.0f), e * s, s);
}

INLINE V(vec) V(tanh)(V(vec) x) {
    const V(vec) a = V(abs)(x), s = x * x;
    V(vec) q = V(fma)(V(set1)(-0.00627423294f), s, V(set1)(0.021071674f));
    q = V(fma)(q, s, V(set1)(-0.0538523085f));
    q = V(fma)(q, s, V(set1)(0.133325861f));
    q = V(fma)(q, s, V(set1)(-0.333333176f));
    const V(vec) small = V(fma)(q * s, x, x);
    const V(vec) e = V(exp)(a + a);
    const V(vec) large = V(set1)(1.0f) - V(set1)(2.0f) / (e + V(set1)(1.0f));
    const V(ivec) sign = (V(ivec))x & (int32_t)0x80000000;
    return V(select)(a < V(set1)(0.55f), small, (V(vec))((V(ivec))large | sign));
}

/* x * Phi(x), with the tail of the normal distribution Phi(-t) = exp(-t^2 / 2) * q(1 / (1 + 0.35 t)). */
INLINE V(vec) V(gelu_erf)(V(vec) x) {
    const V(vec) t = V(min)(V(set1)(14.5f), V(abs)(x)); /* Phi(-14.5) is below the smallest float */
    const V(vec) high = (V(vec))((V(ivec))t & (int32_t)0xfffff000), low = t - high;
    const V(vec) h = t * t; /* t^2 = h + l exactly: an error of h would be amplified by exp */
    const V(vec) l = high * high - h + V(set1)(2.0f) * high * low + low * low;
    const V(vec) e = V(exp)(V(set1)(-0.5f) * h) * V(fma)(l, V(set1)(-0.5f), V(set1)(1.0f));
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
    const V(vec) tail = e * q;
    return x * V(select)(x < V(set1)(0.0f), tail, V(set1)(1.0f) - tail);
}

/* (1 + tanh(v)) / 2 = sigmoid(2 v). */
INLINE V(vec) V(gelu_tanh)(V(vec) x) {
    const V(vec) v = x * V(fma)(x * x, V(set1)(0.0713548163f), V(set1)(1.59576912f));
    return x * V(sigmoid)(v);
}

INLINE V(vec) V(sixth)(V(vec) x) { return V(clamp)(x + V(set1)(3.0f), 0.0f, 6.0f) * V(set1)(1.0f / 6.0f); }

NOINLINE V(vec) V(activate)(V(vec) x, const dwconv_activation *act) {
    switch (act->kind) {
        case DWCONV_LEAKY_RELU: return V(select)(x < V(set1)(0.0f), x * V(set1)(act->a), x);
        case DWCONV_HARD_SIGMOID: return V(sixth)(x);
        case DWCONV_HARD_SWISH: return x * V(sixth)(x);
        case DWCONV_SIGMOID: return V(sigmoid)(x);
        case DWCONV_SILU: return x * V(sigmoid)(x);
        case DWCONV_TANH: return V(tanh)(x);
        case DWCONV_GELU_ERF: return V(gelu_erf)(x);
        case DWCONV_GELU_TANH: return V(gelu_tanh)(x);
        default: return V(clamp)(x, act->a, act->b);
    }
}

/* The general end of a tile: `count` vectors, `step` floats apart in y; the first `lanes` of each are
 * stored. Tiles call it when their own end, clamp and store whole vectors, does not do. */
NOINLINE void V(finish)(const float *results, int count, float *y, int64_t step, int lanes,
                        const dwconv_activation *act, const float *residual, int64_t residual_step) {
    for (int i = 0; i < count; i++) {
        V(vec) v = V(activate)(V(load)(results + i * V(lanes)), act);
        if (residual) v = v + V(load_n)(residual + i * residual_step, lanes);
        V(store_n)(y + i * step, v, lanes);
    }
}
