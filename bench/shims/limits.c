/* What one core can do at most: multiply-adds per second out of registers, bytes per second to and from a
 * buffer. Compiled once per instruction set with VECTOR_BYTES; vectors are the compiler's own, so there is
 * one text for all. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define API __attribute__((visibility("default")))

typedef float vec __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));

#if defined(__x86_64__) || defined(__i386__)
#define KEEP(v) __asm__ volatile("" : "+v"(v))
#else
#define KEEP(v) __asm__ volatile("" : "+w"(v))
#endif

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vec splat(float value) {
    vec v;
    for (size_t i = 0; i < VECTOR_BYTES / sizeof(float); i++) v[i] = value;
    return v;
}

/* Floating-point operations per second. Twelve chains cover a latency of four to six cycles on two ports. */
API double limit_fma(int64_t loops) {
    vec a0 = splat(1), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, a8 = a0, a9 = a0,
        a10 = a0, a11 = a0;
    vec m = splat(0.5f), b = splat(0.25f);
    KEEP(m);
    KEEP(b);
    double start = now();
    for (int64_t i = 0; i < loops; i++) {
#define STEP(a)    \
    a = a * m + b; \
    KEEP(a);
        STEP(a0)
        STEP(a1) STEP(a2) STEP(a3) STEP(a4) STEP(a5) STEP(a6) STEP(a7) STEP(a8) STEP(a9) STEP(a10) STEP(a11)
    }
    double seconds = now() - start;
    return (double)loops * 12 * 2 * (VECTOR_BYTES / sizeof(float)) / seconds;
}

/* ---- dot products of 8-bit integers ------------------------------------------------------------ */

typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));

#if VNNI && VECTOR_BYTES == 64
#define DOT4(a, x, w) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(a) : "v"(x), "v"(w))
#elif VNNI
#define DOT4(a, x, w) __asm__ volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(a) : "x"(x), "x"(w))
#elif defined(__ARM_FEATURE_DOTPROD)
#define DOT4(a, x, w) __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(a) : "w"(x), "w"(w))
#elif defined(__AVX512BW__) || defined(__AVX2__)
/* Bytes are 16-bit numbers by then; two products that make four. */
#define DOT4(a, x, w)                                                          \
    do {                                                                       \
        ints even, odd;                                                        \
        __asm__ volatile("vpmaddwd %2, %1, %0" : "=v"(even) : "v"(x), "v"(w)); \
        __asm__ volatile("vpmaddwd %2, %1, %0" : "=v"(odd) : "v"(w), "v"(x));  \
        a += even;                                                             \
        KEEP(a);                                                               \
        a += odd;                                                              \
        KEEP(a);                                                               \
    } while (0)
#endif

/* Operations per second, of a product and a sum each. */
API double limit_dot(int64_t loops) {
#ifdef DOT4
    ints a[12] = {0}, x = {0}, w = {0};
    KEEP(x);
    KEEP(w);
    double start = now();
    for (int64_t i = 0; i < loops; i++) {
        DOT4(a[0], x, w);
        DOT4(a[1], x, w);
        DOT4(a[2], x, w);
        DOT4(a[3], x, w);
        DOT4(a[4], x, w);
        DOT4(a[5], x, w);
        DOT4(a[6], x, w);
        DOT4(a[7], x, w);
        DOT4(a[8], x, w);
        DOT4(a[9], x, w);
        DOT4(a[10], x, w);
        DOT4(a[11], x, w);
    }
    return (double)loops * 12 * 2 * VECTOR_BYTES / (now() - start);
#else
    (void)loops;
    return 0;
#endif
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* The buffer is aligned to 64 bytes and a multiple of four vectors long. Each returns bytes per second. */
API double limit_read(void *buffer, int64_t bytes, int64_t loops) {
    double start = now();
    for (int64_t i = 0; i < loops; i++) {
        const vec *p = buffer, *end = (const vec *)((char *)buffer + bytes);
        for (; p < end; p += 4) {
            vec a = p[0], b = p[1], c = p[2], d = p[3];
            KEEP(a);
            KEEP(b);
            KEEP(c);
            KEEP(d);
        }
    }
    return (double)loops * (double)bytes / (now() - start);
}

API double limit_write(void *buffer, int64_t bytes, int64_t loops) {
    vec value = splat(1);
    double start = now();
    for (int64_t i = 0; i < loops; i++) {
        vec *p = buffer, *end = (vec *)((char *)buffer + bytes);
        for (; p < end; p += 4) {
            KEEP(value); /* or the loop becomes a call of memset */
            p[0] = p[1] = p[2] = p[3] = value;
        }
    }
    return (double)loops * (double)bytes / (now() - start);
}

/* From the first half to the second; counts both the bytes read and the bytes written. */
API double limit_copy(void *buffer, int64_t bytes, int64_t loops) {
    double start = now();
    for (int64_t i = 0; i < loops; i++) {
        const vec *p = buffer, *end = (const vec *)((char *)buffer + bytes / 2);
        for (vec *q = (vec *)end; p < end; p += 4, q += 4) {
            vec a = p[0], b = p[1], c = p[2], d = p[3];
            KEEP(a);
            q[0] = a;
            q[1] = b;
            q[2] = c;
            q[3] = d;
        }
    }
    return (double)loops * (double)bytes / (now() - start);
}
