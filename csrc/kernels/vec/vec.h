/* The vector layer: a dozen operations per vector width, told apart by a suffix.
 *
 *   vec, ivec        a vector of float32 and of int32; arithmetic and comparison operators work on both
 *   lanes            how many
 *   fused            whether fma rounds once
 *   load, store      any alignment
 *   stream           a store past the caches, of a whole and aligned cache line or, right after each other, of both halves
 *   stream_end       before others may read what was stored so
 *   load_n, store_n  the first n lanes, 1 <= n <= lanes; no other byte is touched, other lanes load as 0
 *   set1             one value in every lane
 *   fma(a, b, c)     a * b + c
 *   one              a factor for all lanes: load_one(p), fma_one(one, b, c)
 *   min, max(a, b)   NaN where b is; a is never NaN
 *   spread(v, i)     lane j becomes lane i[j] of v
 *   spread_few(p, i) lane j is p[i[j]], of 4 floats that are read; where registers are few
 *   sum4(v, p)      p[i] is the sum of the lanes of v[i], 0 <= i < 4
 *   in_order(&p, &v) what is made of v from here on comes after the stores through p up to here
 *
 * HOLD_FIVE(v), a macro, where registers are few: v[0] to v[4] are in registers here, and what is made of them comes later.
 *
 * An algorithm writes V(load)(p); the file that includes it says which suffix V stands for. */
#ifndef DWCONV_VEC_H
#define DWCONV_VEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* loops that it leaves as they are */
#define NOINLINE static __attribute__((noinline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define NOINLINE static __attribute__((noinline, noclone)) /* not once per set of constant arguments either */
#define UNROLL _Pragma("GCC unroll 64")
#define NO_UNROLL _Pragma("GCC unroll 1")
#endif

/* Keeps the usual path in one piece, without a jump. */
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

/* Makes a pointer opaque: the compiler can no longer derive hundreds of addresses from its origin,
 * keep them in registers ahead of time and spill what matters. */
#define OPAQUE(p) __asm__("" : "+r"(p))

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define V(name) PASTE(name, SUFFIX)
#define TAIL(name) PASTE(name, TAIL_SUFFIX)

#endif
