/* 512-bit vectors, suffix _z, and their 256-bit halves with masks (AVX-512VL), suffix _y.
 *
 * What the kernels rely on (Zen 4 / Ice Lake server), per cycle and core:
 *   fma      512 bit: 1 / 2,  latency 4 / 4      256 bit: 2 / 2
 *   load     512 bit: 1 / 2                      masked loads cost the same
 *   store    512 bit: 1/2 / 1                    masked stores to the first-level cache cost the same
 *   permute  512 bit: 1 / 1, latency 3 to 5
 */
#ifndef DWCONV_VEC_AVX512_H
#define DWCONV_VEC_AVX512_H

#include "avx.h"

typedef __m512 vec_z;
typedef int32_t ivec_z __attribute__((vector_size(64)));
enum { lanes_z = 16, fused_z = 1 };

INLINE vec_z load_z(const float *p) { return _mm512_loadu_ps(p); }
INLINE vec_z load_n_z(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void store_z(float *p, vec_z v) { _mm512_storeu_ps(p, v); }
INLINE void stream_z(float *p, vec_z v) { _mm512_stream_ps(p, v); }
INLINE void stream_end_z(void) { _mm_sfence(); }
INLINE void store_n_z(float *p, vec_z v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
INLINE void in_order_z(float **p, vec_z *v) { __asm__("" : "+r"(*p), "+v"(*v)); }
INLINE vec_z set1_z(float f) { return _mm512_set1_ps(f); }
INLINE vec_z fma_z(vec_z a, vec_z b, vec_z c) { return _mm512_fmadd_ps(a, b, c); }
typedef vec_z one_z;
INLINE one_z load_one_z(const float *p) { return set1_z(*p); }
INLINE vec_z fma_one_z(one_z a, vec_z b, vec_z c) { return fma_z(a, b, c); }
INLINE vec_z min_z(vec_z a, vec_z b) { return _mm512_min_ps(a, b); }
INLINE vec_z max_z(vec_z a, vec_z b) { return _mm512_max_ps(a, b); }
INLINE vec_z spread_z(vec_z v, ivec_z lanes) { return _mm512_permutexvar_ps((__m512i)lanes, v); }
INLINE vec_z spread_few_z(const float *p, ivec_z lanes) { return spread_z(load_n_z(p, 4), lanes); }

INLINE vec_y load_n_y(const float *p, int n) { return _mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p); }
INLINE void store_n_y(float *p, vec_y v, int n) { _mm256_mask_storeu_ps(p, (__mmask8)((1u << n) - 1), v); }
INLINE void in_order_y(float **p, vec_y *v) { __asm__("" : "+r"(*p), "+v"(*v)); }
INLINE vec_y spread_y(vec_y v, ivec_y lanes) { return _mm256_permutexvar_ps((__m256i)lanes, v); }
INLINE vec_y spread_few_y(const float *p, ivec_y lanes) { return spread_y(load_n_y(p, 4), lanes); }

#endif
