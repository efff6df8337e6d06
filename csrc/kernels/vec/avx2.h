/* 256-bit vectors of AVX2 + FMA, suffix _y.
 *
 * What the kernels rely on (Haswell and later, Zen 2 and later), per cycle and core:
 *   fma 2, latency 4 to 5; load 2; store 1; permute 1, latency 3
 * Masked loads cost two micro-operations. Masked stores cost dozens on AMD, so a partial store is
 * made of halves.
 */
#ifndef DWCONV_VEC_AVX2_H
#define DWCONV_VEC_AVX2_H

#include "avx.h"

INLINE vec_y load_n_y(const float *p, int n) {
    static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(mask + 8 - n)));
}
INLINE void stream_end_y(void) { _mm_sfence(); }
INLINE void store_n_y(float *p, vec_y v, int n) {
    __m128 part = _mm256_castps256_ps128(v);
    if (n & 8) {
        _mm256_storeu_ps(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        p += 4;
        part = _mm256_extractf128_ps(v, 1);
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, part);
        p += 2;
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) _mm_store_ss(p, part);
}
INLINE void in_order_y(float **p, vec_y *v) { __asm__("" : "+r"(*p), "+x"(*v)); }
#define HOLD_FIVE(v) __asm__ volatile("" : "+x"(v[0]), "+x"(v[1]), "+x"(v[2]), "+x"(v[3]), "+x"(v[4]))
INLINE vec_y spread_y(vec_y v, ivec_y lanes) { return _mm256_permutevar8x32_ps(v, (__m256i)lanes); }
INLINE vec_y spread_few_y(const float *p, ivec_y lanes) {
    return _mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)p), (__m256i)lanes);
}

#endif
