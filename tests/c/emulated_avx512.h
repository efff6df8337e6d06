/* What csrc/kernels/vec/avx512.h gives, made of AVX2's vectors: on a CPU without AVX-512 the kernels of that instruction
 * set are tested all the same, tiles, tails and all, to the same bits. Included before every file of such a build
 * (EMULATE=1 tests/c/run.sh), which makes that header empty. Masked accesses touch no other lane; streamed stores abort
 * where AVX-512 would fault. */
#ifndef DWCONV_VEC_AVX512_H
#define DWCONV_VEC_AVX512_H
#define DWC_EMULATED_AVX512

#include <stdlib.h>
#include <string.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "../../csrc/kernels/vec/avx2.h" /* the halves */

typedef float vec_z __attribute__((vector_size(64)));
typedef int32_t ivec_z __attribute__((vector_size(64)));
enum { lanes_z = 16, fused_z = 1 };

typedef union pair {
    vec_z whole;
    vec_y half[2];
} pair;

#define EACH_HALF(A, B, ...)                                  \
    pair result;                                              \
    const pair a = {.whole = A}, b = {.whole = B};            \
    for (int i = 0; i < 2; i++) result.half[i] = __VA_ARGS__; \
    return result.whole

INLINE vec_z load_z(const float *p) {
    vec_z v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE vec_z load_n_z(const float *p, int n) {
    vec_z v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
INLINE void store_z(float *p, vec_z v) { memcpy(p, &v, sizeof v); }
INLINE void stream_z(float *p, vec_z v) {
    if ((uintptr_t)p % sizeof v) abort();
    store_z(p, v);
}
INLINE void stream_end_z(void) {}
INLINE void store_n_z(float *p, vec_z v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
INLINE void in_order_z(float **p, vec_z *v) {
    (void)v;
    OPAQUE(*p);
}
INLINE vec_z set1_z(float f) { return f - (vec_z){0}; }
INLINE vec_z fma_z(vec_z x, vec_z y, vec_z z) {
    const pair c = {.whole = z};
    EACH_HALF(x, y, fma_y(a.half[i], b.half[i], c.half[i]));
}
typedef vec_z one_z;
INLINE one_z load_one_z(const float *p) { return set1_z(*p); }
INLINE vec_z fma_one_z(one_z a, vec_z b, vec_z c) { return fma_z(a, b, c); }
INLINE vec_z min_z(vec_z x, vec_z y) { EACH_HALF(x, y, min_y(a.half[i], b.half[i])); }
INLINE vec_z max_z(vec_z x, vec_z y) { EACH_HALF(x, y, max_y(a.half[i], b.half[i])); }
INLINE vec_z spread_z(vec_z v, ivec_z lanes) {
    vec_z result;
    for (int i = 0; i < lanes_z; i++) result[i] = v[lanes[i] & (lanes_z - 1)];
    return result;
}
INLINE vec_z spread_few_z(const float *p, ivec_z lanes) { return spread_z(load_n_z(p, 4), lanes); }
INLINE void hold_z(vec_z *v, int n) {
    (void)v;
    (void)n;
}

#undef EACH_HALF
#pragma GCC pop_options

#endif
