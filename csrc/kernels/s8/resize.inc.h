/* Resized rows of 8-bit integers: two rows of an image become one of sums, two pixels of that a pixel. Plain C, as
 * bytes.inc.h is. Included once for an instruction set. */

/* Sums at a time: a pixel is computed in whole pieces, and what its last one has beyond it is written over by the next
 * pixel, where there is one. */
enum { BLENDED = DWC_BLENDED };

static void byte_blend_rows(const uint8_t *top, const uint8_t *bottom, int64_t count,
                            const dwc_byte_weight *w, int32_t *restrict to) {
    const int32_t flip = w->flip, down = w->second, rest = (1 << w->bits) - down;
    EACH_BYTE for (int64_t i = 0; i < count; i++) to[i] =
        byte_number(top[i], flip) * rest + byte_number(bottom[i], flip) * down;
}

INLINE void blend_piece(const int32_t *left, const int32_t *right, int32_t second, int bits, int32_t less,
                        uint8_t *restrict y) {
    const uint32_t across = (uint32_t)second, rest = (1u << bits) - across;
    for (int i = 0; i < BLENDED; i++) {
        const int32_t sum = (int32_t)((uint32_t)left[i] * rest + (uint32_t)right[i] * across);
        y[i] = (uint8_t)((sum + (1 << (2 * bits - 1)) + (sum >> 31 & less)) >> (2 * bits));
    }
}

INLINE void blend_pixels(const dwc_byte_resize *r, const int bits, const int32_t less) {
    uint8_t *y = r->y;
    for (int64_t o = 0; o < r->outputs; o++, y += r->y_pixel) {
        const dwc_byte_column *at = &r->columns[o];
        const int32_t *left = r->row + at->first, *right = r->row + at->second;
        int64_t c = 0;
        for (; c + BLENDED <= r->channels; c += BLENDED)
            blend_piece(left + c, right + c, at->weight, bits, less, y + c);
        if (c == r->channels) continue;
        if (o < r->whole) {
            blend_piece(left + c, right + c, at->weight, bits, less, y + c);
        } else {
            uint8_t last[BLENDED];
            blend_piece(left + c, right + c, at->weight, bits, less, last);
            for (int64_t i = c; i < r->channels; i++) y[i] = last[i - c];
        }
    }
}

/* -(half - 1) would be rounded up where halves go away from zero. */
NOINLINE void blend_pixels_even(const dwc_byte_resize *r) { blend_pixels(r, 11, 0); }
NOINLINE void blend_pixels_twice(const dwc_byte_resize *r) { blend_pixels(r, 10, -1); }

static void byte_resize(const dwc_byte_resize *r) { (r->twice ? blend_pixels_twice : blend_pixels_even)(r); }
