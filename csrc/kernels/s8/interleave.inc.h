/* Rows of bytes -> lines, of which a vector of dot products takes four taps of a kernel column at once. */

static void interleave(const dwc_s8_interleave *c) {
    uint8_t padding[V(woven)];
    memset(padding, c->fill, sizeof padding);
    const uint8_t *in[4];
    int64_t channels = c->channels, columns = c->columns, step[4];
    for (int r = 0; r < 4; r++) {
        in[r] = c->rows[r] ? c->rows[r] : padding;
        step[r] = c->rows[r] ? -1 : 0; /* a mask: padding is read again and again */
    }
    memset(c->line, c->fill ^ c->flip, (size_t)(c->left * c->pitch));
    uint8_t *to = c->line + c->left * c->pitch;
    if (c->pixel == channels && c->pitch == 4 * channels) { /* a row of pixels is one long pixel */
        channels *= columns;
        columns = columns > 0;
    }
    const int64_t whole = channels / V(woven) * V(woven);
    const int rest = (int)(channels - whole);
    for (int64_t x = 0; x < columns; x++, to += c->pitch) {
        const uint8_t *at[4];
        for (int r = 0; r < 4; r++) at[r] = in[r];
        NO_UNROLL for (int64_t i = 0; i < whole; i += V(woven)) {
            V(weave)(at, c->flip, to + 4 * i);
            UNROLL for (int r = 0; r < 4; r++) at[r] += V(woven) & step[r];
        }
        if (rest) V(weave_n)(at, rest, c->flip, to + 4 * whole);
        for (int r = 0; r < 4; r++) in[r] += c->pixel & step[r];
    }
    memset(c->line + (c->left + c->columns) * c->pitch, c->fill ^ c->flip, (size_t)(c->right * c->pitch));
}
