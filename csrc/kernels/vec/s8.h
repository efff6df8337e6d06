/* The vector layer of 8-bit integers, beside that of vec.h, whose lanes are the lanes here.
 *
 *   quads            four bytes of input in each lane, ready to be multiplied
 *   factors          four weights for each lane, ready to be multiplied
 *   factor_bytes     of these in memory
 *   flips(byte)      what flips quads, in every byte
 *   one_quad(word, f)  one word, four bytes, in every lane, flipped by f
 *   load_factors(p)  any alignment
 *   dot4(acc, q, w)  acc + q[0] w[0] + ... + q[3] w[3] in every lane, exact modulo 2^32

 * Depthwise takes channels in groups of two vectors. Where vectors consist of several 128 bits, interleaving and
 * packing go by these: vector h of a group has channel l / 4 * 8 + h * 4 + l % 4 in lane l (s8_channel).
 *
 *   load_pairs(p, q, v)      2 * lanes channels of two lines, rows 0 and 1 at p, 2 and 3 at q: v[0] and v[1]
 *   spread_pairs(p, q, i)    a vector, of channel i[j] of these in lane j, i[j] < lanes
 *   unpair(v)                two vectors of a group, int32, become channels in order
 *
 *   load_ints, store_ints, store_ints_n, set1_ints   int32
 *   end, end_of(e, range)   what a dwc_s8_end says, ready to be used; `range` is a constant: S8_CLAMPED for all
 * but finish_groups
 *   bytes            outputs, a byte of each lane
 *   finish(acc, m, e)       sums -> bytes
 *   store_bytes(p, v), store_bytes_n(p, v, n)   of each lane; of the first n, 1 <= n < lanes
 *   finish4(a, m, e)        four vectors of sums, with their multipliers -> bytes4; only where e->fits
 *   store_bytes4(p, v, together)   to p[0] to p[3], of which 1, 2 or 4 follow each other in memory
 *   finish_groups(a, m, e, range)  the same of two groups, with the multipliers of one
 *   store_groups(p, q, v, n)  the first n channels of both, 1 <= n <= 2 * lanes
 *   weave(rows, f, to)      so many bytes (`woven`) of two rows, flipped by byte f: to[2 * i + r] = rows[r][i]
 *   weave_n(rows, n, f, to) the same of n < woven, after which as much may be written as of woven
 *   ints_in_order(&p, &v)   as in_order of vec.h
 *
 * finish clamps before it rounds, which is the same since bounds are integers, and keeps every conversion in range.
 * finish4 packs first, with saturation, and clamps all bytes at once. */
#ifndef DWCONV_VEC_S8_H
#define DWCONV_VEC_S8_H

#include <string.h>

#include "../s8/abi.h"
#include "vec.h"

INLINE int32_t s8_word(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The last `k` % 4 bytes of a run of k, in the lowest bytes of a word; none before or after the run is read. */
INLINE int32_t s8_last_word(const uint8_t *run, int64_t k) {
    const int rest = (int)(k % 4);
    if (LIKELY(k >= 4)) return (int32_t)((uint32_t)s8_word(run + k - 4) >> (32 - 8 * rest));
    uint32_t word = run[0];
    if (rest > 1) word |= (uint32_t)run[1] << 8;
    if (rest > 2) word |= (uint32_t)run[2] << 16;
    return (int32_t)word;
}

/* Outputs that are clamped, or may be all of int8 or of uint8. */
enum { S8_CLAMPED, S8_ALL_SIGNED, S8_ALL_UNSIGNED };

/* Bytes of uint8 that are clamped are packed as int8, 128 less, and flipped then. */
INLINE int s8_base(const dwc_s8_end *e, const int range) {
    return range == S8_CLAMPED && e->high > 127 ? 128 : 0;
}

/* The first n <= 8 bytes of a word of eight. */
INLINE void s8_store_part(uint8_t *p, uint64_t bytes, int n) {
    if (n & 8) memcpy(p, &bytes, sizeof bytes);
    if (n & 4) {
        const uint32_t part = (uint32_t)bytes;
        memcpy(p, &part, sizeof part);
        p += 4;
        bytes >>= 32;
    }
    if (n & 2) {
        const uint16_t part = (uint16_t)bytes;
        memcpy(p, &part, sizeof part);
        p += 2;
        bytes >>= 16;
    }
    if (n & 1) *p = (uint8_t)bytes;
}

/* The channel of lane `lane` in vector `half` of a group. */
INLINE int s8_channel(int half, int lane) { return lane / 4 * 8 + half * 4 + lane % 4; }

#endif
