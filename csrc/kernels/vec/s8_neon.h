/* 8-bit integers in 128-bit vectors of Arm64, suffix _q.
 *
 * What the kernels rely on, per cycle and core (Arm's optimisation guides):
 *   Cortex-A55              sdot 1, smull 1           in order, two instructions a cycle
 *   Cortex-A76, Neoverse N1 sdot 2, smull 1, sadalp 1
 *
 * Before: S8_DOTPROD, whether there is sdot. Without it the products of bytes are 16 bits wide, and sadalp adds
 * pairs of them; (-128) * (-128) still fits, a sum of two would not. */
#ifndef DWCONV_VEC_S8_NEON_H
#define DWCONV_VEC_S8_NEON_H

#include "neon.h"
#include "s8.h"

typedef int8x16_t quads_q, factors_q;
enum { factor_bytes_q = sizeof(factors_q), quad_bytes_q = sizeof(factors_q) / lanes_q };

INLINE factors_q load_factors_q(const void *p) { return vld1q_s8(p); }
INLINE ivec_q dot4_q(ivec_q acc, quads_q q, factors_q w) {
#if S8_DOTPROD
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(q), "w"(w));
    return acc;
#else /* a vector of two sums per lane would take an accumulator more: pairs are added here */
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(q), vget_low_s8(w)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(q, w));
    return acc + (ivec_q)vpaddq_s32(low, high);
#endif
}

INLINE ivec_q load_ints_q(const void *p) { return (ivec_q)vld1q_s32(p); }
INLINE void store_ints_q(void *p, ivec_q v) { vst1q_s32(p, (int32x4_t)v); }
INLINE void store_ints_n_q(void *p, ivec_q v, int n) { store_n_q(p, (vec_q)v, n); }
INLINE void ints_in_order_q(uint8_t **p, ivec_q *v) { __asm__("" : "+r"(*p), "+w"(*v)); }
INLINE ivec_q set1_ints_q(int32_t word) { return (ivec_q)vdupq_n_s32(word); }
INLINE ivec_q flips_q(uint8_t flip) { return set1_ints_q((int32_t)(flip * 0x01010101u)); }
INLINE quads_q one_quad_q(int32_t word, ivec_q flip) { return (quads_q)(set1_ints_q(word) ^ flip); }
INLINE void load_pairs_q(const uint8_t *p, const uint8_t *q, quads_q *v) {
    const int16x8_t a = vreinterpretq_s16_u8(vld1q_u8(p)), b = vreinterpretq_s16_u8(vld1q_u8(q));
    v[0] = vreinterpretq_s8_s16(vzip1q_s16(a, b));
    v[1] = vreinterpretq_s8_s16(vzip2q_s16(a, b));
}
INLINE quads_q spread_pairs_q(const uint8_t *p, const uint8_t *q, ivec_q lanes) {
    const uint8x16_t pairs = vcombine_u8(vld1_u8(p), vld1_u8(q));
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x09080100), (uint32x4_t)lanes, 0x02020202);
    return vreinterpretq_s8_u8(vqtbl1q_u8(pairs, vreinterpretq_u8_u32(bytes)));
}
INLINE void unpair_q(ivec_q *v) { (void)v; }

typedef struct end_q {
    vec_q low, high;
    ivec_q zero_point;
    int16x8_t words; /* this and what follows: of finish4 */
    int8x16_t least, most, flip;
} end_q;
INLINE end_q end_of_q(const dwc_s8_end *e, const int range) {
    const int base = s8_base(e, range);
    return (end_q){set1_q((float)(e->low - e->zero_point)),
                   set1_q((float)(e->high - e->zero_point)),
                   set1_ints_q(e->zero_point),
                   vdupq_n_s16((int16_t)(e->zero_point - base)),
                   vdupq_n_s8((int8_t)(e->low - base)),
                   vdupq_n_s8((int8_t)(e->high - base)),
                   vdupq_n_s8((int8_t)base)};
}
INLINE int32x4_t round_q(ivec_q acc, vec_q multiplier) {
    return vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32((int32x4_t)acc), multiplier));
}
typedef uint32x4_t bytes4_q;
INLINE bytes4_q pack4_q(const ivec_q *a, const vec_q *m, const int multipliers, const end_q *e,
                        const int range) {
    int16x8_t words[2];
    UNROLL for (int i = 0; i < 2; i++) {
        const int j = 2 * i % multipliers;
        words[i] = vqmovn_high_s32(vqmovn_s32(round_q(a[2 * i], m[j])), round_q(a[2 * i + 1], m[j + 1]));
        words[i] = vqaddq_s16(words[i], e->words);
    }
    if (range == S8_ALL_UNSIGNED)
        return vreinterpretq_u32_u8(vqmovun_high_s16(vqmovun_s16(words[0]), words[1]));
    const int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(words[0]), words[1]);
    if (range == S8_ALL_SIGNED) return vreinterpretq_u32_s8(bytes);
    return vreinterpretq_u32_s8(veorq_s8(vminq_s8(vmaxq_s8(bytes, e->least), e->most), e->flip));
}
INLINE bytes4_q finish4_q(const ivec_q *a, const vec_q *m, const end_q *e) { return pack4_q(a, m, 4, e, S8_CLAMPED); }
INLINE bytes4_q finish_groups_q(const ivec_q *a, const vec_q *m, const end_q *e, const int range) {
    return pack4_q(a, m, 2, e, range);
}
INLINE void store_groups_q(uint8_t *p, uint8_t *q, bytes4_q v, int n) {
    const uint8x16_t bytes = vreinterpretq_u8_u32(v);
    if (LIKELY(n == 2 * lanes_q)) {
        vst1_u8(p, vget_low_u8(bytes));
        vst1_u8(q, vget_high_u8(bytes));
    } else {
        s8_store_part(p, vgetq_lane_u64(vreinterpretq_u64_u8(bytes), 0), n);
        s8_store_part(q, vgetq_lane_u64(vreinterpretq_u64_u8(bytes), 1), n);
    }
}
INLINE void store_bytes4_q(uint8_t *const *p, bytes4_q v, const int together) {
    if (together == 4) {
        vst1q_u8(p[0], vreinterpretq_u8_u32(v));
    } else if (together == 2) {
        vst1_u8(p[0], vget_low_u8(vreinterpretq_u8_u32(v)));
        vst1_u8(p[2], vget_high_u8(vreinterpretq_u8_u32(v)));
    } else {
        vst1q_lane_u32((uint32_t *)p[0], v, 0);
        vst1q_lane_u32((uint32_t *)p[1], v, 1);
        vst1q_lane_u32((uint32_t *)p[2], v, 2);
        vst1q_lane_u32((uint32_t *)p[3], v, 3);
    }
}
typedef uint8x8_t bytes_q;
INLINE bytes_q finish_q(ivec_q acc, vec_q multiplier, const end_q *e) {
    const vec_q t = vmulq_f32(vcvtq_f32_s32((int32x4_t)acc), multiplier);
    const int32x4_t q = vcvtnq_s32_f32(min_q(e->high, max_q(e->low, t)));
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(vaddq_s32(q, (int32x4_t)e->zero_point)));
    return vmovn_u16(vcombine_u16(words, words));
}
INLINE void store_bytes_q(uint8_t *p, bytes_q v) {
    const uint32_t word = vget_lane_u32(vreinterpret_u32_u8(v), 0);
    memcpy(p, &word, sizeof word);
}
INLINE void store_bytes_n_q(uint8_t *p, bytes_q v, int n) {
    s8_store_part(p, vget_lane_u32(vreinterpret_u32_u8(v), 0), n);
}

enum { woven_q = 16 };
INLINE void weave_q(const uint8_t *const *rows, uint8_t flip, uint8_t *to) {
    const uint8x16_t f = vdupq_n_u8(flip);
    const uint8x16x2_t r = {{veorq_u8(vld1q_u8(rows[0]), f), veorq_u8(vld1q_u8(rows[1]), f)}};
    vst2q_u8(to, r);
}
NOINLINE void weave_n_q(const uint8_t *const *rows, int n, uint8_t flip, uint8_t *to) {
    NO_UNROLL for (int i = 0; i < n; i++) {
        to[2 * i] = rows[0][i] ^ flip;
        to[2 * i + 1] = rows[1][i] ^ flip;
        OPAQUE(to); /* not worth vectors */
    }
}

#endif
