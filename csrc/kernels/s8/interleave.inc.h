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
    uint8_t *line = c->line + c->left * c->pitch;
    if (c->pixel == channels && c->pitch == 4 * channels) { /* a row of pixels is one long pixel */
        channels *= columns;
        columns = columns > 0;
    }
    const uint8_t flip = c->flip;
    const int64_t pitch = c->pitch;
    /* What is no whole piece comes first: it writes over the begin of the next column. */
    for (int64_t i = channels / V(woven) * V(woven); i >= 0; i -= V(woven)) {
        const uint8_t *at[4];
        int64_t steps[4];
        UNROLL for (int r = 0; r < 4; r++) {
            at[r] = in[r] + (i & step[r]);
            steps[r] = c->pixel & step[r];
        }
        const int64_t rest = channels - i;
        if (rest == 0) continue;
        uint8_t *to = line + 4 * i;
        for (int64_t x = 0; x < columns; x++, to += pitch) {
            if (LIKELY(rest >= V(woven)))
                V(weave)(at, flip, to);
            else
                V(weave_n)(at, (int)rest, flip, to);
            UNROLL for (int r = 0; r < 4; r++) at[r] += steps[r];
        }
    }
    memset(c->line + (c->left + c->columns) * c->pitch, c->fill ^ c->flip, (size_t)(c->right * c->pitch));
}
