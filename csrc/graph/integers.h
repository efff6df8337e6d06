/* Arithmetic of sizes. */
#ifndef DWCONV_INTEGERS_H
#define DWCONV_INTEGERS_H

#include <stdint.h>

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t within(int64_t n, int64_t low, int64_t high) {
    return n < low ? low : smaller(n, high);
}

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline int64_t round_up(int64_t n, int64_t unit) { return divide_up(n, unit) * unit; }

static inline int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Of so many floats. */
static inline int64_t in_bytes(int64_t floats) { return floats * (int64_t)sizeof(float); }

/* *result = a * b; 0 if it does not fit int64. */
static inline int dwc_multiply(int64_t a, int64_t b, int64_t *result) {
    return !__builtin_mul_overflow(a, b, result);
}

#endif
