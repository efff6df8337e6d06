/* 8-bit integers in 256-bit vectors, suffix _y.
 *
 * What the kernels rely on (Zen 2 and later, Haswell and later), per cycle and core: vpmaddwd 2 (Intel: 2),
 * additions and logic 3 to 4, shifts 2; with AVX-VNNI vpdpbusd 2.
 *
 * Before: S8_VNNI, whether there is vpdpbusd: see s8_avx512.h. DWC_EVEX_VNNI: encoded as AVX-512 has it, for
 * tests on CPUs that have only that. */
#ifndef DWCONV_VEC_S8_AVX2_H
#define DWCONV_VEC_S8_AVX2_H

#include "avx2.h"
#include "s8.h"

#if S8_VNNI
typedef ivec_y quads_y, factors_y;
INLINE factors_y load_factors_y(const void *p) { return (factors_y)_mm256_loadu_si256(p); }
INLINE quads_y split_y(ivec_y v) { return v; }
INLINE ivec_y dot4_y(ivec_y acc, quads_y q, factors_y w) {
#ifdef DWC_EVEX_VNNI
    __asm__("vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(q), "x"(w));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(q), "x"(w));
#endif
    return acc;
}
#else
typedef struct quads_y {
    __m256i even, odd;
} quads_y;
typedef quads_y factors_y;
INLINE factors_y load_factors_y(const void *p) {
    return (factors_y){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE quads_y split_y(ivec_y v) {
    return (quads_y){_mm256_and_si256((__m256i)v, _mm256_set1_epi16(0xff)), _mm256_srli_epi16((__m256i)v, 8)};
}
INLINE ivec_y dot4_y(ivec_y acc, quads_y q, factors_y w) {
    acc += (ivec_y)_mm256_madd_epi16(q.even, w.even);
    return acc + (ivec_y)_mm256_madd_epi16(q.odd, w.odd);
}
#endif
enum { factor_bytes_y = sizeof(factors_y), quad_bytes_y = sizeof(factors_y) / lanes_y };

INLINE ivec_y load_ints_y(const void *p) { return (ivec_y)_mm256_loadu_si256(p); }
INLINE void store_ints_y(void *p, ivec_y v) { _mm256_storeu_si256(p, (__m256i)v); }
INLINE void store_ints_n_y(void *p, ivec_y v, int n) { store_n_y(p, (vec_y)v, n); }
INLINE void ints_in_order_y(uint8_t **p, ivec_y *v) { __asm__("" : "+r"(*p), "+x"(*v)); }
INLINE ivec_y set1_ints_y(int32_t word) { return (ivec_y)_mm256_set1_epi32(word); }
INLINE ivec_y flips_y(uint8_t flip) { /* opaque: else words are flipped before they are broadcast */
    ivec_y v = set1_ints_y((int32_t)(flip * 0x01010101u));
    __asm__("" : "+x"(v));
    return v;
}
INLINE quads_y one_quad_y(int32_t word, ivec_y flip) { return split_y(set1_ints_y(word) ^ flip); }
INLINE void load_pairs_y(const uint8_t *p, const uint8_t *q, quads_y *v) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)p), b = _mm256_loadu_si256((const __m256i *)q);
    v[0] = split_y((ivec_y)_mm256_unpacklo_epi16(a, b));
    v[1] = split_y((ivec_y)_mm256_unpackhi_epi16(a, b));
}
INLINE quads_y spread_pairs_y(const uint8_t *p, const uint8_t *q, ivec_y lanes) {
    const __m128i a = _mm_loadu_si128((const __m128i *)p), b = _mm_loadu_si128((const __m128i *)q);
    const __m256i quads = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi16(a, b)),
                                                  _mm_unpackhi_epi16(a, b), 1);
    return split_y((ivec_y)_mm256_permutevar8x32_epi32(quads, (__m256i)lanes));
}
INLINE void unpair_y(ivec_y *v) {
    const __m256i a = (__m256i)v[0], b = (__m256i)v[1];
    v[0] = (ivec_y)_mm256_permute2x128_si256(a, b, 0x20);
    v[1] = (ivec_y)_mm256_permute2x128_si256(a, b, 0x31);
}

typedef struct end_y {
    vec_y low, high;
    ivec_y zero_point;
    __m256i words, least, most, flip; /* words, least and most: of finish4 */
} end_y;
INLINE end_y end_of_y(const dwc_s8_end *e, const int range) {
    const int base = s8_base(e, range);
    return (end_y){set1_y((float)(e->low - e->zero_point)),
                   set1_y((float)(e->high - e->zero_point)),
                   set1_ints_y(e->zero_point - base),
                   _mm256_set1_epi16((short)(e->zero_point - base)),
                   _mm256_set1_epi8((char)(e->low - base)),
                   _mm256_set1_epi8((char)(e->high - base)),
                   _mm256_set1_epi8((char)base)};
}
INLINE __m256i round_y(ivec_y acc, vec_y multiplier) {
    return _mm256_cvtps_epi32(_mm256_cvtepi32_ps((__m256i)acc) * multiplier);
}
typedef __m256i bytes4_y;
INLINE __m256i pack4_y(const ivec_y *a, const vec_y *m, const int multipliers, const end_y *e,
                       const int range) {
    __m256i words[2];
    UNROLL for (int i = 0; i < 2; i++) {
        const int j = 2 * i % multipliers;
        words[i] = _mm256_packs_epi32(round_y(a[2 * i], m[j]), round_y(a[2 * i + 1], m[j + 1]));
        words[i] = _mm256_adds_epi16(words[i], e->words);
    }
    if (range == S8_ALL_UNSIGNED) return _mm256_packus_epi16(words[0], words[1]);
    const __m256i bytes = _mm256_packs_epi16(words[0], words[1]);
    if (range == S8_ALL_SIGNED) return bytes;
    return _mm256_xor_si256(_mm256_min_epi8(_mm256_max_epi8(bytes, e->least), e->most), e->flip);
}
INLINE bytes4_y finish4_y(const ivec_y *a, const vec_y *m, const end_y *e) {
    /* Packing interleaves the halves of its operands. */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(pack4_y(a, m, 4, e, S8_CLAMPED), order);
}
INLINE bytes4_y finish_groups_y(const ivec_y *a, const vec_y *m, const end_y *e, const int range) {
    return _mm256_permute4x64_epi64(pack4_y(a, m, 2, e, range), 0xd8);
}
INLINE void s8_store_half(uint8_t *p, __m128i v, int n) {
    s8_store_part(p, (uint64_t)_mm_cvtsi128_si64(v), n < 8 ? n : 8);
    if (n > 8) s8_store_part(p + 8, (uint64_t)_mm_extract_epi64(v, 1), n - 8);
}
INLINE void store_groups_y(uint8_t *p, uint8_t *q, bytes4_y v, int n) {
    const __m128i low = _mm256_castsi256_si128(v), high = _mm256_extracti128_si256(v, 1);
    if (LIKELY(n == 2 * lanes_y)) {
        _mm_storeu_si128((__m128i *)p, low);
        _mm_storeu_si128((__m128i *)q, high);
    } else {
        s8_store_half(p, low, n);
        s8_store_half(q, high, n);
    }
}
INLINE void store_bytes4_y(uint8_t *const *p, bytes4_y v, const int together) {
    const __m128i low = _mm256_castsi256_si128(v), high = _mm256_extracti128_si256(v, 1);
    if (together == 4) {
        _mm256_storeu_si256((__m256i *)p[0], v);
    } else if (together == 2) {
        _mm_storeu_si128((__m128i *)p[0], low);
        _mm_storeu_si128((__m128i *)p[2], high);
    } else {
        _mm_storel_epi64((__m128i *)p[0], low);
        _mm_storeh_pi((__m64 *)p[1], (__m128)low);
        _mm_storel_epi64((__m128i *)p[2], high);
        _mm_storeh_pi((__m64 *)p[3], (__m128)high);
    }
}
typedef __m128i bytes_y;
INLINE bytes_y finish_y(ivec_y acc, vec_y multiplier, const end_y *e) {
    const vec_y t = _mm256_cvtepi32_ps((__m256i)acc) * multiplier;
    const __m256i q = (__m256i)((ivec_y)_mm256_cvtps_epi32(min_y(e->high, max_y(e->low, t))) + e->zero_point);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_xor_si128(_mm_packs_epi16(words, words), _mm256_castsi256_si128(e->flip));
}
INLINE void store_bytes_y(uint8_t *p, bytes_y v) { _mm_storel_epi64((__m128i *)p, v); }
INLINE void store_bytes_n_y(uint8_t *p, bytes_y v, int n) {
    s8_store_part(p, (uint64_t)_mm_cvtsi128_si64(v), n);
}

enum { woven_y = 16 };
INLINE void weave_y(const uint8_t *const *rows, uint8_t flip, uint8_t *to) {
    const __m128i f = _mm_set1_epi8((char)flip);
    const __m128i a = _mm_xor_si128(_mm_loadu_si128((const __m128i *)rows[0]), f);
    const __m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)rows[1]), f);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi8(a, b));
    _mm_storeu_si128((__m128i *)to + 1, _mm_unpackhi_epi8(a, b));
}
NOINLINE void weave_n_y(const uint8_t *const *rows, int n, uint8_t flip, uint8_t *to) {
    NO_UNROLL for (int i = 0; i < n; i++) {
        to[2 * i] = rows[0][i] ^ flip;
        to[2 * i + 1] = rows[1][i] ^ flip;
        OPAQUE(to); /* not worth vectors */
    }
}

#endif
