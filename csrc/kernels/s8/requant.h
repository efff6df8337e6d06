/* What plans tell kernels of 8-bit integers, and the arithmetic of one value, which every kernel must reproduce to the
 * bit. Sums are exact integers modulo 2^32; their true values fit int32, as plans check. */
#ifndef DWCONV_KERNELS_S8_REQUANT_H
#define DWCONV_KERNELS_S8_REQUANT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- the parameters --------------------------------------------------------------------------- */

/* A real factor as mantissa * 2^(shift - 31), in TensorFlow Lite's way: 2^30 <= mantissa < 2^31, or 0. */
typedef struct dwc_fixed {
    int32_t mantissa, shift;
} dwc_fixed;

/* Sums -> bytes. Kernels work on bytes as unsigned numbers: those of int8 with their upper bit flipped, which adds 128
 * to the number and to its zero point. `flip` says which: 0x80 or 0. */
typedef struct dwc_requant {
    const int32_t *start;    /* [c]: bias - zero point of the unsigned input * sum of the weights */
    const float *multiplier; /* [c], to round once; or NULL, and then */
    const dwc_fixed *fixed;  /* [c], to round twice */
    int fits;                /* no sum leaves int32, however far `fixed` shifts it to the left */
    const uint8_t *table;    /* 256 bytes by byte, or NULL */
    int32_t zero_point;      /* of the output, or of what the table takes; as is low and high */
    int32_t low, high;
    uint8_t flip;
} dwc_requant;

/* A sum, of a residual say: a + b, both bytes of the dtype, as a byte. */
typedef struct dwc_s8_add {
    int twice; /* round as TensorFlow Lite, else as XNNPACK */
    int minus; /* a - b: `b` is negative */
    int32_t start, a, b;
    int shift;
    dwc_fixed fixed_a, fixed_b, fixed_y;
    int32_t zero_a, zero_b, zero_point, low, high;
    uint8_t flip;
} dwc_s8_add;

/* ---- rounding once ---------------------------------------------------------------------------- */

static inline int32_t dwc_clamp(int32_t q, int32_t low, int32_t high) {
    return q < low ? low : q > high ? high : q;
}

/* Halves to even, for |t| < 2^22: adding 1.5 * 2^23 leaves the integer in the lower bits. */
static inline int32_t dwc_round_even(float t) {
    const float magic = 12582912.0f, shifted = t + magic;
    int32_t bits, base;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&base, &magic, sizeof base);
    return bits - base;
}

/* Bounds are integers: to clamp before rounding is the same. `low` and `high` are relative to the zero point. */
static inline int32_t dwc_requant_even(int32_t sum, float multiplier, float low, float high) {
    float t = (float)sum * multiplier;
    t = t < low ? low : t;
    t = t > high ? high : t;
    return dwc_round_even(t);
}

/* ---- rounding twice --------------------------------------------------------------------------- */

/* The upper half of 2 * a * b, halves away from zero; b >= 0. */
static inline int32_t dwc_high_product(int32_t a, int32_t b) {
    const int64_t product = (int64_t)a * b;
    const int64_t nudge = product >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30);
    return (int32_t)((product + nudge) / (INT64_C(1) << 31));
}

/* x / 2^exponent, halves away from zero; 0 <= exponent <= 31. */
static inline int32_t dwc_shift_right(int32_t x, int exponent) {
    const int64_t mask = (INT64_C(1) << exponent) - 1;
    const int64_t rest = x & mask, threshold = (mask >> 1) + (x < 0);
    return (int32_t)(((int64_t)x >> exponent) + (rest > threshold));
}

/* What does not fit int32 saturates: the factor leaves it out of every clamp. */
static inline int32_t dwc_times_fixed(int32_t x, dwc_fixed f) {
    const int left = f.shift > 0 ? f.shift : 0, right = f.shift > 0 ? 0 : -f.shift;
    int64_t shifted = (int64_t)x * (INT64_C(1) << left);
    shifted = shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : shifted;
    return dwc_shift_right(dwc_high_product((int32_t)shifted, f.mantissa), right);
}

/* ---- values ----------------------------------------------------------------------------------- */

/* The number that a byte stands for. */
static inline int32_t dwc_number(uint8_t byte, uint8_t flip) { return flip ? (int8_t)byte : byte; }

/* Output channel c for a sum that `start` began; before the table. */
static inline int32_t dwc_requant_number(const dwc_requant *r, int64_t c, int32_t sum) {
    const int32_t z = r->zero_point;
    if (r->multiplier)
        return dwc_requant_even(sum, r->multiplier[c], (float)(r->low - z), (float)(r->high - z)) + z;
    const int64_t q = (int64_t)dwc_times_fixed(sum, r->fixed[c]) + z;
    return q < r->low ? r->low : q > r->high ? r->high : (int32_t)q;
}

static inline uint8_t dwc_requant_byte(const dwc_requant *r, int64_t c, int32_t sum) {
    const uint8_t byte = (uint8_t)dwc_requant_number(r, c, sum);
    return r->table ? r->table[byte] : byte;
}

static inline uint8_t dwc_add_bytes(const dwc_s8_add *s, uint8_t first, uint8_t second) {
    const int32_t a = dwc_number(first, s->flip), b = dwc_number(second, s->flip);
    int32_t sum;
    if (s->twice) {
        const int32_t x = dwc_times_fixed((a - s->zero_a) * (1 << 20), s->fixed_a);
        const int32_t y = dwc_times_fixed((b - s->zero_b) * (1 << 20), s->fixed_b);
        sum = dwc_times_fixed(s->minus ? x - y : x + y, s->fixed_y);
    } else {
        sum = (s->start + a * s->a + b * s->b) >> s->shift; /* arithmetic: halves upwards */
    }
    return (uint8_t)dwc_clamp(sum + s->zero_point, s->low, s->high);
}

#endif
