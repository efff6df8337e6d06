/* Rows of bytes -> lines, of which two give a vector of dot products four taps of a kernel column at once. */

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

static void interleave(const dwc_s8_interleave *c) {
    uint8_t padding[V(woven)];
    memset(padding, c->fill, sizeof padding);
    memset(c->line, c->fill ^ c->flip, (size_t)(c->left * c->pitch));
    uint8_t *line = c->line + c->left * c->pitch;
    const int64_t channels = c->channels;
    const int dense = c->pixel == channels && c->pitch == 2 * channels; /* a row of pixels is one long piece */
    const int64_t all = dense ? c->columns * channels : channels, whole = all / V(woven) * V(woven);
    /* What is no whole piece comes first: it writes over the begin of the next column. */
    for (int64_t i = all > whole ? whole : whole - V(woven); i >= 0; i -= V(woven)) {
        const int64_t n = i < whole ? V(woven) : all - whole;
        const int64_t begin = dense && i < whole ? 0 : i;
        const uint8_t *const from[2] = {c->rows[0] ? c->rows[0] + begin : padding, c->rows[1] ? c->rows[1] + begin : padding};
        if (!dense) {
            weave_pieces(c, from, n, c->pixel, c->columns, line + 2 * i, c->pitch);
        } else if (i < whole) {
            weave_pieces(c, from, V(woven), V(woven), whole / V(woven), line, 2 * V(woven));
            break;
        } else {
            weave_pieces(c, from, n, 0, 1, line + 2 * i, 0);
        }
    }
    memset(line + c->columns * c->pitch, c->fill ^ c->flip, (size_t)(c->right * c->pitch));
}
