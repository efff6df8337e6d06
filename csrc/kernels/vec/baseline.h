/* 128-bit vectors in the compiler's own vector extension, suffix _x: SSE2 on x86-64, NEON on Arm64,
 * scalar code elsewhere. No latency table: it is the rung that always works, not the one that is tuned. */
#ifndef DWCONV_VEC_BASELINE_H
#define DWCONV_VEC_BASELINE_H

#include <string.h>

#include "vec.h"

typedef float vec_x __attribute__((vector_size(16)));
typedef int32_t ivec_x __attribute__((vector_size(16)));
enum { lanes_x = 4, fused_x = 0 };

INLINE vec_x load_x(const float *p) {
    vec_x v;
    memcpy(&v, p, sizeof v);
    return v;
}
__attribute__((unused)) NOINLINE vec_x
load_n_x(const float *p, int n) { /* a call: inlined, its branches would fill half the library */
    vec_x v = {p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, n > 3 ? p[3] : 0.0f};
    return v;
}
INLINE void store_x(float *p, vec_x v) { memcpy(p, &v, sizeof v); }
NOINLINE void store_n_x(float *p, vec_x v, int n) {
    p[0] = v[0];
    if (n > 1) p[1] = v[1];
    if (n > 2) p[2] = v[2];
    if (n > 3) p[3] = v[3];
}
INLINE void stream_x(float *p, vec_x v) { store_x(p, v); }
INLINE void in_order_x(float **p, vec_x *v) {
    (void)v;
    OPAQUE(*p);
}
INLINE vec_x set1_x(float f) { return (vec_x){f, f, f, f}; }
INLINE vec_x fma_x(vec_x a, vec_x b, vec_x c) { return a * b + c; } /* rounds twice: contraction is off */
typedef vec_x one_x;
INLINE one_x load_one_x(const float *p) { return set1_x(*p); }
INLINE vec_x fma_one_x(one_x a, vec_x b, vec_x c) { return fma_x(a, b, c); }
INLINE vec_x pick_x(ivec_x mask, vec_x a, vec_x b) {
    return (vec_x)(((ivec_x)a & mask) | ((ivec_x)b & ~mask));
}
INLINE vec_x min_x(vec_x a, vec_x b) { return pick_x(a < b, a, b); }
INLINE vec_x max_x(vec_x a, vec_x b) { return pick_x(a > b, a, b); }
INLINE void sum4_x(const vec_x *v, float *p) {
    for (int i = 0; i < 4; i++) p[i] = (v[i][0] + v[i][2]) + (v[i][1] + v[i][3]);
}
INLINE vec_x spread_x(vec_x v, ivec_x lanes) {
    float f[4];
    memcpy(f, &v, sizeof f);
    return (vec_x){f[lanes[0]], f[lanes[1]], f[lanes[2]], f[lanes[3]]};
}
INLINE vec_x spread_few_x(const float *p, ivec_x lanes) { return spread_x(load_x(p), lanes); }

#endif
