/* 8-bit integers in 512-bit vectors, suffix _z, and 256-bit ones with masks, suffix _y.
 *
 * What the kernels rely on (Zen 4), in zmm per cycle and core: vpdpbusd, vpmaddwd, vmulps 1, on the same two pipes;
 * conversions 1, on the two others; additions and logic 2; stores 1/2. vpdpbusd takes 4 cycles.
 *
 * Before: S8_VNNI, whether there is vpdpbusd. Then the dot product is inline assembly with one operand that is
 * read and written: of the intrinsic GCC 12 copies and spills the accumulators. Without it bytes are split into
 * even and odd ones, 16 bits each: vpmaddwd is exact, unlike vpmaddubsw, which saturates. */
#ifndef DWCONV_VEC_S8_AVX512_H
#define DWCONV_VEC_S8_AVX512_H

#include "avx512.h"
#include "s8.h"

#ifdef __clang__
#define S8_OPERAND "v" /* given the choice it stores a register to read it as memory */
#else
#define S8_OPERAND "vm"
#endif

#if S8_VNNI
typedef ivec_z quads_z, factors_z;
typedef ivec_y quads_y, factors_y;
INLINE factors_z load_factors_z(const void *p) { return (factors_z)_mm512_loadu_si512(p); }
INLINE factors_y load_factors_y(const void *p) { return (factors_y)_mm256_loadu_si256(p); }
INLINE quads_z split_z(ivec_z v) { return v; }
INLINE quads_y split_y(ivec_y v) { return v; }
INLINE ivec_z dot4_z(ivec_z acc, quads_z q, factors_z w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(q), S8_OPERAND(w));
    return acc;
}
INLINE ivec_y dot4_y(ivec_y acc, quads_y q, factors_y w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(q), S8_OPERAND(w));
    return acc;
}
#else
typedef struct quads_z {
    __m512i even, odd;
} quads_z;
typedef struct quads_y {
    __m256i even, odd;
} quads_y;
typedef quads_z factors_z;
typedef quads_y factors_y;
INLINE factors_z load_factors_z(const void *p) {
    return (factors_z){_mm512_loadu_si512(p), _mm512_loadu_si512((const char *)p + 64)};
}
INLINE factors_y load_factors_y(const void *p) {
    return (factors_y){_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1)};
}
INLINE quads_z split_z(ivec_z v) {
    return (quads_z){_mm512_and_si512((__m512i)v, _mm512_set1_epi16(0xff)), _mm512_srli_epi16((__m512i)v, 8)};
}
INLINE quads_y split_y(ivec_y v) {
    return (quads_y){_mm256_and_si256((__m256i)v, _mm256_set1_epi16(0xff)), _mm256_srli_epi16((__m256i)v, 8)};
}
INLINE ivec_z dot4_z(ivec_z acc, quads_z q, factors_z w) {
    acc += (ivec_z)_mm512_madd_epi16(q.even, w.even);
    return acc + (ivec_z)_mm512_madd_epi16(q.odd, w.odd);
}
INLINE ivec_y dot4_y(ivec_y acc, quads_y q, factors_y w) {
    acc += (ivec_y)_mm256_madd_epi16(q.even, w.even);
    return acc + (ivec_y)_mm256_madd_epi16(q.odd, w.odd);
}
#endif
enum { factor_bytes_z = sizeof(factors_z), factor_bytes_y = sizeof(factors_y) };
enum { quad_bytes_z = sizeof(factors_z) / lanes_z, quad_bytes_y = quad_bytes_z };

INLINE ivec_z load_ints_z(const void *p) { return (ivec_z)_mm512_loadu_si512(p); }
INLINE void store_ints_z(void *p, ivec_z v) { _mm512_storeu_si512(p, (__m512i)v); }
INLINE void store_ints_n_z(void *p, ivec_z v, int n) {
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), (__m512i)v);
}
INLINE void ints_in_order_z(uint8_t **p, ivec_z *v) { __asm__("" : "+r"(*p), "+v"(*v)); }
INLINE ivec_z set1_ints_z(int32_t word) { return (ivec_z)_mm512_set1_epi32(word); }
INLINE ivec_z flips_z(uint8_t flip) { /* opaque: else words are flipped before they are broadcast */
    ivec_z v = set1_ints_z((int32_t)(flip * 0x01010101u));
    __asm__("" : "+v"(v));
    return v;
}
INLINE quads_z one_quad_z(int32_t word, ivec_z flip) { return split_z(set1_ints_z(word) ^ flip); }
INLINE void load_pairs_z(const uint8_t *p, const uint8_t *q, quads_z *v) {
    const __m512i a = _mm512_loadu_si512(p), b = _mm512_loadu_si512(q);
    v[0] = split_z((ivec_z)_mm512_unpacklo_epi16(a, b));
    v[1] = split_z((ivec_z)_mm512_unpackhi_epi16(a, b));
}
INLINE quads_z spread_pairs_z(const uint8_t *p, const uint8_t *q, ivec_z lanes) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)p), b = _mm256_loadu_si256((const __m256i *)q);
    const ivec_z words = lanes * 0x00010001 + 0x00100000; /* of both */
    return split_z((ivec_z)_mm512_permutexvar_epi16((__m512i)words,
                                                    _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1)));
}
INLINE void unpair_z(ivec_z *v) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
    const __m512i a = (__m512i)v[0], b = (__m512i)v[1];
    v[0] = (ivec_z)_mm512_permutex2var_epi32(a, first, b);
    v[1] = (ivec_z)_mm512_permutex2var_epi32(a, second, b);
}

typedef struct end_z {
    vec_z low, high;
    ivec_z zero_point;
    __m512i words, least, most, flip; /* of finish4 */
} end_z;
INLINE end_z end_of_z(const dwc_s8_end *e, const int range) {
    const int base = s8_base(e, range);
    return (end_z){set1_z((float)(e->low - e->zero_point)),
                   set1_z((float)(e->high - e->zero_point)),
                   set1_ints_z(e->zero_point),
                   _mm512_set1_epi16((short)(e->zero_point - base)),
                   _mm512_set1_epi8((char)(e->low - base)),
                   _mm512_set1_epi8((char)(e->high - base)),
                   _mm512_set1_epi8((char)base)};
}
INLINE __m512i round_z(ivec_z acc, vec_z multiplier) {
    return _mm512_cvtps_epi32(_mm512_cvtepi32_ps((__m512i)acc) * multiplier);
}
typedef __m512i bytes4_z;
INLINE __m512i pack4_z(const ivec_z *a, const vec_z *m, const int multipliers, const end_z *e,
                       const int range) {
    __m512i words[2];
    UNROLL for (int i = 0; i < 2; i++) {
        const int j = 2 * i % multipliers;
        words[i] = _mm512_packs_epi32(round_z(a[2 * i], m[j]), round_z(a[2 * i + 1], m[j + 1]));
        words[i] = _mm512_adds_epi16(words[i], e->words);
    }
    if (range == S8_ALL_UNSIGNED) return _mm512_packus_epi16(words[0], words[1]);
    const __m512i bytes = _mm512_packs_epi16(words[0], words[1]);
    if (range == S8_ALL_SIGNED) return bytes;
    return _mm512_xor_si512(_mm512_min_epi8(_mm512_max_epi8(bytes, e->least), e->most), e->flip);
}
INLINE bytes4_z finish4_z(const ivec_z *a, const vec_z *m, const end_z *e) {
    /* Packing interleaves the four quarters of its operands. */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, pack4_z(a, m, 4, e, S8_CLAMPED));
}
INLINE bytes4_z finish_groups_z(const ivec_z *a, const vec_z *m, const end_z *e, const int range) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    return _mm512_permutexvar_epi64(order, pack4_z(a, m, 2, e, range));
}
INLINE void store_groups_z(uint8_t *p, uint8_t *q, bytes4_z v, int n) {
    const __m256i low = _mm512_castsi512_si256(v), high = _mm512_extracti64x4_epi64(v, 1);
    if (LIKELY(n == 2 * lanes_z)) {
        _mm256_storeu_si256((__m256i *)p, low);
        _mm256_storeu_si256((__m256i *)q, high);
    } else {
        const __mmask32 mask = ((__mmask32)1 << n) - 1;
        _mm256_mask_storeu_epi8(p, mask, low);
        _mm256_mask_storeu_epi8(q, mask, high);
    }
}
INLINE void store_bytes4_z(uint8_t *const *p, bytes4_z v, const int together) {
    if (together == 4) {
        _mm512_storeu_si512(p[0], v);
    } else if (together == 2) {
        _mm256_storeu_si256((__m256i *)p[0], _mm512_castsi512_si256(v));
        _mm256_storeu_si256((__m256i *)p[2], _mm512_extracti64x4_epi64(v, 1));
    } else {
        _mm_storeu_si128((__m128i *)p[0], _mm512_castsi512_si128(v));
        _mm_storeu_si128((__m128i *)p[1], _mm512_extracti32x4_epi32(v, 1));
        _mm_storeu_si128((__m128i *)p[2], _mm512_extracti32x4_epi32(v, 2));
        _mm_storeu_si128((__m128i *)p[3], _mm512_extracti32x4_epi32(v, 3));
    }
}
typedef ivec_z bytes_z;
INLINE bytes_z finish_z(ivec_z acc, vec_z multiplier, const end_z *e) {
    const vec_z t = _mm512_cvtepi32_ps((__m512i)acc) * multiplier;
    return (ivec_z)_mm512_cvtps_epi32(min_z(e->high, max_z(e->low, t))) + e->zero_point;
}
INLINE void store_bytes_z(uint8_t *p, bytes_z v) {
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)v));
}
INLINE void store_bytes_n_z(uint8_t *p, bytes_z v, int n) {
    _mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1), _mm512_cvtepi32_epi8((__m512i)v));
}

INLINE ivec_y load_ints_y(const void *p) { return (ivec_y)_mm256_loadu_si256(p); }
INLINE void store_ints_y(void *p, ivec_y v) { _mm256_storeu_si256(p, (__m256i)v); }
INLINE void store_ints_n_y(void *p, ivec_y v, int n) {
    _mm256_mask_storeu_epi32(p, (__mmask8)((1u << n) - 1), (__m256i)v);
}
INLINE void ints_in_order_y(uint8_t **p, ivec_y *v) { __asm__("" : "+r"(*p), "+v"(*v)); }
INLINE ivec_y set1_ints_y(int32_t word) { return (ivec_y)_mm256_set1_epi32(word); }
INLINE ivec_y flips_y(uint8_t flip) { /* opaque: else words are flipped before they are broadcast */
    ivec_y v = set1_ints_y((int32_t)(flip * 0x01010101u));
    __asm__("" : "+v"(v));
    return v;
}
INLINE quads_y one_quad_y(int32_t word, ivec_y flip) { return split_y(set1_ints_y(word) ^ flip); }

typedef struct end_y {
    vec_y low, high;
    ivec_y zero_point;
} end_y;
INLINE end_y end_of_y(const dwc_s8_end *e, const int range) {
    (void)range;
    return (end_y){set1_y((float)(e->low - e->zero_point)), set1_y((float)(e->high - e->zero_point)),
                   set1_ints_y(e->zero_point)};
}
typedef ivec_y bytes_y;
INLINE bytes_y finish_y(ivec_y acc, vec_y multiplier, const end_y *e) {
    const vec_y t = _mm256_cvtepi32_ps((__m256i)acc) * multiplier;
    return (ivec_y)_mm256_cvtps_epi32(min_y(e->high, max_y(e->low, t))) + e->zero_point;
}
INLINE void store_bytes_y(uint8_t *p, bytes_y v) {
    _mm_storel_epi64((__m128i *)p, _mm256_cvtepi32_epi8((__m256i)v));
}
INLINE void store_bytes_n_y(uint8_t *p, bytes_y v, int n) {
    _mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1), _mm256_cvtepi32_epi8((__m256i)v));
}

enum { woven_z = 64 };
/* Unpacking works within 128 bits: their halves are put where they become neighbours. */
INLINE void weave_z(const uint8_t *const *rows, uint8_t flip, uint8_t *to) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), f = _mm512_set1_epi8((char)flip);
    __m512i r[2];
    UNROLL for (int i = 0; i < 2; i++)
        r[i] = _mm512_permutexvar_epi64(order, _mm512_xor_si512(_mm512_loadu_si512(rows[i]), f));
    _mm512_storeu_si512(to, _mm512_unpacklo_epi8(r[0], r[1]));
    _mm512_storeu_si512(to + 64, _mm512_unpackhi_epi8(r[0], r[1]));
}
INLINE void weave_half_z(const uint8_t *const *rows, int n, uint8_t flip, uint8_t *to) {
    const __m256i f = _mm256_set1_epi8((char)flip);
    const __mmask32 mask = n < 32 ? ((__mmask32)1 << n) - 1 : ~(__mmask32)0;
    __m256i r[2];
    UNROLL for (int i = 0; i < 2; i++)
        r[i] = _mm256_permute4x64_epi64(_mm256_xor_si256(_mm256_maskz_loadu_epi8(mask, rows[i]), f), 0xd8);
    _mm256_storeu_si256((__m256i *)to, _mm256_unpacklo_epi8(r[0], r[1]));
    if (n > 16) _mm256_storeu_si256((__m256i *)to + 1, _mm256_unpackhi_epi8(r[0], r[1]));
}
INLINE void weave_n_z(const uint8_t *const *rows, int n, uint8_t flip, uint8_t *to) {
    weave_half_z(rows, n, flip, to);
    if (n > 32) {
        const uint8_t *const rest[2] = {rows[0] + 32, rows[1] + 32};
        weave_half_z(rest, n - 32, flip, to + 64);
    }
}

#endif
