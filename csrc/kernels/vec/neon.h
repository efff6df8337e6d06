/* 128-bit vectors of Arm64's NEON, suffix _q.
 *
 * What the kernels rely on, per cycle and core (Arm's optimisation guides):
 *   Cortex-A55              fma 1, latency 4      load 1/2        in order, two instructions a cycle
 *   Cortex-A76, Neoverse N1 fma 2, latency 4      load 2          store 1
 * Copies, minima and maxima take the multiply-adds' ports, as does a load that fills all lanes with one value (ld1r).
 * A scalar load does not, and a multiply-add takes any lane of a register as a factor: see `one`.
 */
#ifndef DWCONV_VEC_NEON_H
#define DWCONV_VEC_NEON_H

#include <arm_neon.h>

#include "vec.h"

typedef float32x4_t vec_q;
typedef int32_t ivec_q __attribute__((vector_size(16)));
enum { lanes_q = 4, fused_q = 1 };

INLINE vec_q load_q(const float *p) { return vld1q_f32(p); }
INLINE vec_q load_n_q(const float *p, int n) {
    /* Lanes beyond n load the first one again: no branch, and `n` alone decides about offsets and mask. */
    const int32_t lanes[4] = {0, 1, 2, 3};
    vec_q v = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);
    v = vld1q_lane_f32(p + (n > 1 ? 1 : 0), v, 1);
    v = vld1q_lane_f32(p + (n > 2 ? 2 : 0), v, 2);
    v = vld1q_lane_f32(p + (n > 3 ? 3 : 0), v, 3);
    const uint32x4_t mask = vcgtq_s32(vdupq_n_s32(n), vld1q_s32(lanes));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), mask));
}
INLINE void store_q(float *p, vec_q v) { vst1q_f32(p, v); }
INLINE void store_n_q(float *p, vec_q v, int n) {
    float32x2_t part = vget_low_f32(v);
    if (n & 4) {
        vst1q_f32(p, v);
        return;
    }
    if (n & 2) {
        vst1_f32(p, part);
        p += 2;
        part = vget_high_f32(v);
    }
    if (n & 1) vst1_lane_f32(p, part, 0);
}
INLINE void stream_q(float *p, vec_q v) { store_q(p, v); }
INLINE void in_order_q(float **p, vec_q *v) { __asm__("" : "+r"(*p), "+w"(*v)); }
INLINE vec_q set1_q(float f) { return vdupq_n_f32(f); }
INLINE vec_q fma_q(vec_q a, vec_q b, vec_q c) {
#ifdef __clang__
    c = vfmaq_f32(c, a, b);
#else /* of the intrinsic GCC copies one accumulator in four, in 5x5 */
    __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(c) : "w"(a), "w"(b));
#endif
    return c;
}
typedef vec_q one_q; /* the first lane; what the others hold is of no consequence */
INLINE one_q load_one_q(const float *p) {
    one_q v; /* assembly: the compilers make ld1r of whatever else one writes */
    __asm__("ldr %s0, %1" : "=w"(v) : "m"(*p));
    return v;
}
INLINE vec_q fma_one_q(one_q a, vec_q b, vec_q c) { return vfmaq_laneq_f32(c, b, a, 0); }
INLINE vec_q min_q(vec_q a, vec_q b) { return vminq_f32(a, b); }
INLINE vec_q max_q(vec_q a, vec_q b) { return vmaxq_f32(a, b); }
INLINE void sum4_q(const vec_q *v, float *p) {
    vst1q_f32(p, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])));
}
INLINE vec_q spread_q(vec_q v, ivec_q lanes) {
    /* Bytes 4 i to 4 i + 3 for lane i. */
    const uint32x4_t bytes = vmlaq_n_u32(vdupq_n_u32(0x03020100), (uint32x4_t)lanes, 0x04040404);
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(v), vreinterpretq_u8_u32(bytes)));
}
INLINE vec_q spread_few_q(const float *p, ivec_q lanes) { return spread_q(vld1q_f32(p), lanes); }

#endif
