/* 8-bit integers in 128-bit vectors of the compiler, suffix _x; with SSE2 products are pmaddwd, as in s8_avx2.h. */
#ifndef DWCONV_VEC_S8_BASELINE_H
#define DWCONV_VEC_S8_BASELINE_H

#include "baseline.h"
#include "s8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef int16_t words_x __attribute__((vector_size(16)));
typedef uint16_t unsigned_words_x __attribute__((vector_size(16)));
typedef struct quads_x {
    words_x even, odd;
} quads_x;
typedef quads_x factors_x;
enum { factor_bytes_x = sizeof(factors_x), quad_bytes_x = sizeof(factors_x) / lanes_x };

INLINE factors_x load_factors_x(const void *p) {
    factors_x w;
    memcpy(&w, p, sizeof w);
    return w;
}
/* Of bytes a, b, c, d in memory a and c are the even ones, wherever a word has its first byte. */
INLINE quads_x split_x(ivec_x v) {
    const unsigned_words_x words = (unsigned_words_x)v;
    const words_x low = (words_x)(words & 0xff), high = (words_x)(words >> 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (quads_x){high, low};
#else
    return (quads_x){low, high};
#endif
}
INLINE ivec_x pairs_x(words_x a, words_x b) {
#ifdef __SSE2__
    return (ivec_x)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    ivec_x sums;
    for (int i = 0; i < 4; i++) sums[i] = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
    return sums;
#endif
}
typedef uint32_t unsigned_x __attribute__((vector_size(16)));
INLINE ivec_x add_x(ivec_x a, ivec_x b) { return (ivec_x)((unsigned_x)a + (unsigned_x)b); }
INLINE ivec_x dot4_x(ivec_x acc, quads_x q, factors_x w) {
    return add_x(add_x(acc, pairs_x(q.even, w.even)), pairs_x(q.odd, w.odd));
}

INLINE ivec_x load_ints_x(const void *p) {
    ivec_x v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store_ints_x(void *p, ivec_x v) { memcpy(p, &v, sizeof v); }
INLINE void store_ints_n_x(void *p, ivec_x v, int n) { store_n_x(p, (vec_x)v, n); }
INLINE void ints_in_order_x(uint8_t **p, ivec_x *v) {
    (void)v;
    OPAQUE(*p);
}
INLINE ivec_x set1_ints_x(int32_t word) { return (ivec_x){word, word, word, word}; }
INLINE ivec_x flips_x(uint8_t flip) { return set1_ints_x((int32_t)(flip * 0x01010101u)); }
INLINE quads_x one_quad_x(int32_t word, ivec_x flip) { return split_x(set1_ints_x(word) ^ flip); }
INLINE void load_pairs_x(const uint8_t *p, const uint8_t *q, quads_x *v) {
    words_x a, b, low = {0}, high = {0};
    memcpy(&a, p, sizeof a);
    memcpy(&b, q, sizeof b);
#ifdef __SSE2__
    low = (words_x)_mm_unpacklo_epi16((__m128i)a, (__m128i)b);
    high = (words_x)_mm_unpackhi_epi16((__m128i)a, (__m128i)b);
#else
    for (int i = 0; i < 4; i++) {
        low[2 * i] = a[i], low[2 * i + 1] = b[i];
        high[2 * i] = a[4 + i], high[2 * i + 1] = b[4 + i];
    }
#endif
    v[0] = split_x((ivec_x)low);
    v[1] = split_x((ivec_x)high);
}
INLINE quads_x spread_pairs_x(const uint8_t *p, const uint8_t *q, ivec_x lanes) {
    int16_t pairs[8];
    for (int i = 0; i < 4; i++) {
        memcpy(pairs + 2 * i, p + 2 * lanes[i], 2);
        memcpy(pairs + 2 * i + 1, q + 2 * lanes[i], 2);
    }
    return split_x(load_ints_x(pairs));
}
INLINE void unpair_x(ivec_x *v) { (void)v; }

typedef struct end_x {
    vec_x low, high;
    ivec_x zero_point;
} end_x;
INLINE end_x end_of_x(const dwc_s8_end *e, const int range) {
    (void)range;
    return (end_x){set1_x((float)(e->low - e->zero_point)), set1_x((float)(e->high - e->zero_point)),
                   set1_ints_x(e->zero_point)};
}
typedef uint32_t bytes_x;
INLINE bytes_x finish_x(ivec_x acc, vec_x multiplier, const end_x *e) {
    const vec_x t = min_x(e->high, max_x(e->low, __builtin_convertvector(acc, vec_x) * multiplier));
    const vec_x magic =
        set1_x(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer, in its lower bits */
    const ivec_x q = ((ivec_x)(t + magic) - (ivec_x)magic + e->zero_point) & 0xff;
#ifdef __SSE2__
    const __m128i words = _mm_packs_epi32((__m128i)q, (__m128i)q);
    return (bytes_x)_mm_cvtsi128_si32(_mm_packus_epi16(words, words));
#else
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)q[i];
    bytes_x word;
    memcpy(&word, bytes, sizeof word);
    return word;
#endif
}
INLINE void store_bytes_x(uint8_t *p, bytes_x v) { memcpy(p, &v, sizeof v); }
INLINE void store_bytes_n_x(uint8_t *p, bytes_x v, int n) { memcpy(p, &v, (size_t)n); }
typedef struct bytes4_x {
    bytes_x each[4];
} bytes4_x;
INLINE bytes4_x finish4_x(const ivec_x *a, const vec_x *m, const end_x *e) {
    return (bytes4_x){
        {finish_x(a[0], m[0], e), finish_x(a[1], m[1], e), finish_x(a[2], m[2], e), finish_x(a[3], m[3], e)}};
}
INLINE void store_bytes4_x(uint8_t *const *p, bytes4_x v, const int together) {
    (void)together;
    for (int i = 0; i < 4; i++) store_bytes_x(p[i], v.each[i]);
}
INLINE bytes4_x finish_groups_x(const ivec_x *a, const vec_x *m, const end_x *e, const int range) {
    const vec_x by[4] = {m[0], m[1], m[0], m[1]};
    (void)range;
    return finish4_x(a, by, e);
}
INLINE void store_groups_x(uint8_t *p, uint8_t *q, bytes4_x v, int n) {
    memcpy(p, v.each, (size_t)n);
    memcpy(q, v.each + 2, (size_t)n);
}

enum { woven_x = 16 };
#ifdef __SSE2__
INLINE void weave_x(const uint8_t *const *rows, uint8_t flip, uint8_t *to) {
    const __m128i f = _mm_set1_epi8((char)flip);
    const __m128i a = _mm_xor_si128(_mm_loadu_si128((const __m128i *)rows[0]), f);
    const __m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)rows[1]), f);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi8(a, b));
    _mm_storeu_si128((__m128i *)to + 1, _mm_unpackhi_epi8(a, b));
}
#else
INLINE void weave_x(const uint8_t *const *rows, uint8_t flip, uint8_t *to) {
    for (int i = 0; i < woven_x; i++)
        for (int r = 0; r < 2; r++) to[2 * i + r] = rows[r][i] ^ flip;
}
#endif
NOINLINE void weave_n_x(const uint8_t *const *rows, int n, uint8_t flip, uint8_t *to) {
    NO_UNROLL for (int i = 0; i < n; i++) {
        to[2 * i] = rows[0][i] ^ flip;
        to[2 * i + 1] = rows[1][i] ^ flip;
        OPAQUE(to); /* not worth vectors */
    }
}

#endif
