/* See pack_s8.h. */
#include "pack_s8.h"

#include <string.h>

uint8_t dwc_s8_flip(const dwc_s8_kernels *kernels, int is_signed) {
    return !is_signed == !kernels->is_signed ? 0 : 0x80;
}

int32_t dwc_s8_seen(const dwc_s8_kernels *kernels, int is_signed, int32_t zero_point) {
    if (!dwc_s8_flip(kernels, is_signed)) return zero_point;
    return kernels->is_signed ? zero_point - 128 : zero_point + 128;
}

/* Four weights of a lane as kernels of so many bytes read them: 8-bit numbers, or 16-bit ones, for which the lanes of a
 * vector have their even weights first, and then their odd ones. */
static void put_quad(int8_t *to, int lane, int lanes, int quad_bytes, const int8_t quad[4]) {
    if (quad_bytes == 4) {
        memcpy(to + 4 * lane, quad, 4);
        return;
    }
    for (int i = 0; i < 4; i++) {
        const int16_t number = quad[i];
        memcpy(to + (i % 2 * lanes + lane) * 4 + i / 2 * 2, &number, sizeof number);
    }
}

/* ---- matrices ----------------------------------------------------------------------------------- */

/* As wide as divides the outputs, or leaves a rest that is not thin: as panel_width in plan.c. */
static int64_t panel_width(const dwc_s8_kernels *kernels, int64_t padded) {
    const int64_t lanes = kernels->lanes, widest = kernels->panel_width;
    if (padded <= widest)
        return padded <= 2 * lanes || padded % lanes == 0 ? padded : round_up(padded / 2, kernels->panel_unit);
    for (int64_t width = widest; width >= 2 * lanes; width -= lanes) {
        const int64_t rest = padded % width;
        if (rest == 0 || (rest >= 16 && rest <= widest - lanes)) return width;
    }
    return widest;
}

void dwc_s8_choose_matrix(dwc_s8_matrix *m, const dwc_s8_kernels *kernels) {
    m->quads = m->taps_y * m->taps_x * divide_up(m->k, 4);
    m->padded = round_up(m->outputs, kernels->panel_unit);
    m->panel = panel_width(kernels, m->padded);
}

int dwc_s8_matrix_bytes(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, int64_t *bytes) {
    int64_t columns;
    return dwc_multiply(m->quads, m->padded, &columns) && dwc_multiply(columns, kernels->quad_bytes, bytes);
}

/* Lanes of the vectors that a panel's columns are read in: those of whole vectors, then those of a half one. */
static int lanes_at(const dwc_s8_kernels *kernels, int64_t width, int64_t column, int64_t *first) {
    const int64_t whole = width / kernels->lanes * kernels->lanes;
    const int lanes = column < whole ? kernels->lanes : kernels->panel_unit;
    *first = column < whole ? column / lanes * lanes : whole;
    return lanes;
}

void dwc_s8_pack_matrix(const dwc_s8_matrix *m, const dwc_s8_kernels *kernels, const int8_t *filter, void *memory) {
    int8_t *to = memory;
    const int bytes = kernels->quad_bytes;
    for (int64_t begin = 0; begin < m->padded; begin += m->panel) {
        const int64_t width = smaller(m->panel, m->padded - begin);
        for (int64_t tap = 0; tap < m->taps_y * m->taps_x; tap++)
            for (int64_t k = 0; k < m->k; k += 4, to += width * bytes)
                for (int64_t column = 0; column < width; column++) {
                    int8_t quad[4] = {0};
                    for (int64_t i = 0; i < 4 && begin + column < m->outputs && k + i < m->k; i++)
                        quad[i] = filter[(tap * m->k + k + i) * m->row + begin + column];
                    int64_t first;
                    const int lanes = lanes_at(kernels, width, column, &first);
                    put_quad(to + first * bytes, (int)(column - first), lanes, bytes, quad);
                }
    }
}

void dwc_s8_matrix_start(const dwc_s8_matrix *m, const int8_t *filter, const int32_t *bias, int32_t seen,
                         int32_t *start) {
    for (int64_t c = 0; c < m->padded; c++) {
        uint32_t sum = 0;
        for (int64_t i = 0; c < m->outputs && i < m->taps_y * m->taps_x * m->k; i++)
            sum += (uint32_t)filter[i * m->row + c];
        start[c] = (int32_t)((c < m->outputs && bias ? (uint32_t)bias[c] : 0) - sum * (uint32_t)seen);
    }
}
