/* Rows of bytes -> lines, of which two give a vector of dot products four taps of a kernel column at once. */

#define DW_LINE_BYTES 64 /* of the cache */

/* Pieces of n <= woven bytes, `pixel` apart in both rows, or the same piece of padding again and again. */
INLINE void weave_pieces(const dwc_s8_interleave *c, const uint8_t *const *from, int64_t n, int64_t pixel,
                         int64_t pieces, uint8_t *to, int64_t pitch) {
    const uint8_t *at[2] = {from[0], from[1]}, flip = c->flip;
    const int64_t steps[2] = {c->rows[0] ? pixel : 0, c->rows[1] ? pixel : 0};
    for (; pieces > 0; pieces--, to += pitch) {
        if (n == V(woven))
            V(weave)(at, flip, to);
        else
            V(weave_n)(at, (int)n, flip, to);
    UNROLL for (int r = 0; r < 2; r++) at[r] += steps[r];
    }
}

/* A run of n bytes in both rows, `at` bytes on. */
INLINE void weave_run(const dwc_s8_interleave *c, const uint8_t *padding, int64_t at, int64_t n, uint8_t *to) {
    const int64_t whole = n / V(woven) * V(woven);
    const uint8_t *from[2];
    for (int r = 0; r < 2; r++) from[r] = c->rows[r] ? c->rows[r] + at : padding;
    weave_pieces(c, from, V(woven), V(woven), whole / V(woven), to, 2 * V(woven));
    for (int r = 0; r < 2; r++) from[r] = c->rows[r] ? from[r] + whole : padding;
    if (n > whole) weave_pieces(c, from, n - whole, 0, 1, to + 2 * whole, 0);
}

static void interleave(const dwc_s8_interleave *c) {
    uint8_t padding[V(woven)];
    memset(padding, c->fill, sizeof padding);
    memset(c->line, c->fill ^ c->flip, (size_t)(c->left * c->pitch));
    uint8_t *line = c->line + c->left * c->pitch;
    const int64_t channels = c->channels;
    if (c->pixel == channels && c->pitch == 2 * channels) { /* a row of pixels is one long run */
        weave_run(c, padding, 0, c->columns * channels, line);
    } else if (V(woven) < DW_LINE_BYTES) { /* column by column, lest each line of the cache is read several times */
        for (int64_t x = 0; x < c->columns; x++) weave_run(c, padding, x * c->pixel, channels, line + x * c->pitch);
    } else { /* what is no whole piece comes first: it writes over the begin of the next column */
        for (int64_t i = (channels - 1) / V(woven) * V(woven); i >= 0; i -= V(woven)) {
            const uint8_t *const from[2] = {c->rows[0] ? c->rows[0] + i : padding,
                                            c->rows[1] ? c->rows[1] + i : padding};
            const int64_t n = channels - i < V(woven) ? channels - i : V(woven);
            weave_pieces(c, from, n, c->pixel, c->columns, line + 2 * i, c->pitch);
        }
    }
    memset(line + c->columns * c->pitch, c->fill ^ c->flip, (size_t)(c->right * c->pitch));
}
