/* 256-bit vectors, suffix _y: what is the same with AVX2 and with AVX-512VL. */
#ifndef DWCONV_VEC_AVX_H
#define DWCONV_VEC_AVX_H

#include <immintrin.h>

#include "vec.h"

typedef __m256 vec_y;
typedef int32_t ivec_y __attribute__((vector_size(32)));
enum { lanes_y = 8, fused_y = 1 };

INLINE vec_y load_y(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store_y(float *p, vec_y v) { _mm256_storeu_ps(p, v); }
INLINE void stream_y(float *p, vec_y v) { _mm256_stream_ps(p, v); }
INLINE vec_y set1_y(float f) { return _mm256_set1_ps(f); }
INLINE vec_y fma_y(vec_y a, vec_y b, vec_y c) { return _mm256_fmadd_ps(a, b, c); }
typedef vec_y one_y;
INLINE one_y load_one_y(const float *p) { return set1_y(*p); }
INLINE vec_y fma_one_y(one_y a, vec_y b, vec_y c) { return fma_y(a, b, c); }
INLINE vec_y min_y(vec_y a, vec_y b) { return _mm256_min_ps(a, b); }
INLINE vec_y max_y(vec_y a, vec_y b) { return _mm256_max_ps(a, b); }
INLINE void sum4_y(const vec_y *v, float *p) {
    const vec_y a = _mm256_unpacklo_ps(v[0], v[1]) + _mm256_unpackhi_ps(v[0], v[1]);
    const vec_y b = _mm256_unpacklo_ps(v[2], v[3]) + _mm256_unpackhi_ps(v[2], v[3]);
    const vec_y quads = _mm256_shuffle_ps(a, b, 0x44) + _mm256_shuffle_ps(a, b, 0xee);
    _mm_storeu_ps(p, _mm256_castps256_ps128(quads) + _mm256_extractf128_ps(quads, 1));
}

#endif
