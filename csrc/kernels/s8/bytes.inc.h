/* Rows of 8-bit integers: see kernels/bytes.h. Included once for an instruction set, in whose vectors the compiler puts
 * these loops: all of them are plain C, so that all instruction sets give the same bits.
 * Before: LOOKUP_ROWS, or not: a whole vector of bytes replaced by those of a table, LOOKUP_BYTES at a time. */

/* Loops of which no iteration sees another's stores: where inputs may be the output, it is the same element. */
#ifdef __clang__
#define EACH_BYTE _Pragma("clang loop vectorize(enable) interleave(enable)")
#else
#define EACH_BYTE _Pragma("GCC ivdep")
#endif

/* ---- tables --------------------------------------------------------------------------------- */

static void byte_lookup(const uint8_t *x, int64_t count, const uint8_t table[256], uint8_t *y) {
    int64_t i = 0;
#ifdef LOOKUP_ROWS
    if (count >= LOOKUP_BYTES) {
        const LOOKUP_ROWS rows = lookup_rows(table);
        for (; i + LOOKUP_BYTES <= count; i += LOOKUP_BYTES) lookup_bytes(x + i, &rows, y + i);
    }
#endif
    for (; i < count; i++) y[i] = table[x[i]];
}

/* ---- numbers -------------------------------------------------------------------------------- */

INLINE int32_t byte_number(uint8_t byte, int32_t flip) { return (int32_t)(byte ^ flip) - flip; }

static void byte_quantize(const float *x, int64_t count, const dwc_byte_parameters *p, uint8_t *y) {
    dwc_byte_end end = p->end;
    const float scale = p->y_scale;
    if (end.twice) {
        end.twice = 1;
        EACH_BYTE for (int64_t i = 0; i < count; i++) y[i] = (uint8_t)dwc_quantize_one(x[i], scale, &end);
    } else {
        end.twice = 0;
        EACH_BYTE for (int64_t i = 0; i < count; i++) y[i] = (uint8_t)dwc_quantize_one(x[i], scale, &end);
    }
}

static void byte_dequantize(const uint8_t *x, int64_t count, const dwc_byte_parameters *p, float *y) {
    const int32_t flip = p->flip, zero = p->zero[0];
    const float scale = p->scale[0];
    EACH_BYTE for (int64_t i = 0; i < count; i++) y[i] = scale * (float)(byte_number(x[i], flip) - zero);
}

/* dwc_times_fixed where x << left is no more than int32 holds, in operations that vectors have. `left` or `right` is 0. */
INLINE int32_t fixed_product(int32_t x, int32_t mantissa, int32_t left, int32_t right) {
    const int64_t product = (int64_t)(int32_t)((uint32_t)x << left) * mantissa + (1 << 30);
    const int32_t h = (int32_t)((uint64_t)product >> 31), mask = (int32_t)((1u << right) - 1);
    return (h >> right) + ((h & mask) > (mask >> 1) + (h < 0));
}

/* ---- two inputs ----------------------------------------------------------------------------- */

/* Rows of a form: NAME_rows by the steps of the inputs, which are constants in NAME_row, whose body follows. */
#define BYTE_ROW(NAME)                                                                        \
    INLINE void NAME##_row(const dwc_byte_parameters *p, const uint8_t *a, const int a_step,  \
                           const uint8_t *b, const int b_step, int64_t count, uint8_t *y);    \
    NOINLINE void NAME##_rows(const dwc_byte_binary *c) {                                     \
        for (int64_t row = 0; row < c->rows; row++) {                                         \
            const uint8_t *a = c->x[0] + row * c->x_row[0], *b = c->x[1] + row * c->x_row[1]; \
            uint8_t *y = c->y + row * c->y_row;                                               \
            if (c->x_step[0] == 1 && c->x_step[1] == 1)                                       \
                NAME##_row(c->parameters, a, 1, b, 1, c->count, y);                           \
            else if (c->x_step[0] == 1)                                                       \
                NAME##_row(c->parameters, a, 1, b, 0, c->count, y);                           \
            else if (c->x_step[1] == 1)                                                       \
                NAME##_row(c->parameters, a, 0, b, 1, c->count, y);                           \
            else                                                                              \
                NAME##_row(c->parameters, a, 0, b, 0, c->count, y);                           \
        }                                                                                     \
    }                                                                                         \
    INLINE void NAME##_row(const dwc_byte_parameters *p, const uint8_t *a, const int a_step,  \
                           const uint8_t *b, const int b_step, int64_t count, uint8_t *y)
#define BYTE_A byte_number(a[i * a_step], flip)
#define BYTE_B byte_number(b[i * b_step], flip)

BYTE_ROW(add_once) {
    const int32_t flip = p->flip, start = p->add.start, by_a = p->add.a, by_b = p->add.b,
                  shift = p->add.shift;
    const int32_t zero = p->add.zero_point, low = p->add.low, high = p->add.high;
    EACH_BYTE for (int64_t i = 0; i < count; i++) {
        const int32_t sum = (start + BYTE_A * by_a + BYTE_B * by_b) >> shift; /* arithmetic: halves upwards */
        y[i] = (uint8_t)dwc_clamp(sum + zero, low, high);
    }
}

/* Factors of inputs are a half at most, that of the sum is less. */
BYTE_ROW(add_twice) {
    const dwc_s8_add *add = &p->add;
    const int32_t flip = p->flip, zero_a = add->zero_a, zero_b = add->zero_b, sign = add->minus ? -1 : 1;
    const int32_t by_a = add->fixed_a.mantissa, right_a = -add->fixed_a.shift;
    const int32_t by_b = add->fixed_b.mantissa, right_b = -add->fixed_b.shift;
    const int32_t by_y = add->fixed_y.mantissa, right_y = -add->fixed_y.shift;
    const int32_t zero = add->zero_point, low = add->low, high = add->high;
    EACH_BYTE for (int64_t i = 0; i < count; i++) {
        const int32_t f = fixed_product((BYTE_A - zero_a) * (1 << 20), by_a, 0, right_a);
        const int32_t g = fixed_product((BYTE_B - zero_b) * (1 << 20), by_b, 0, right_b);
        y[i] = (uint8_t)dwc_clamp(fixed_product(f + sign * g, by_y, 0, right_y) + zero, low, high);
    }
}

BYTE_ROW(times_once) {
    const int32_t flip = p->flip, zero_a = p->zero[0], zero_b = p->zero[1];
    const dwc_byte_end end = p->end;
    EACH_BYTE for (int64_t i = 0; i < count; i++) y[i] =
        (uint8_t)dwc_end_once((BYTE_A - zero_a) * (BYTE_B - zero_b), &end);
}

BYTE_ROW(times_twice) {
    const int32_t flip = p->flip, zero_a = p->zero[0], zero_b = p->zero[1];
    const dwc_byte_end end = p->end;
    EACH_BYTE for (int64_t i = 0; i < count; i++) y[i] =
        (uint8_t)dwc_end_twice((BYTE_A - zero_a) * (BYTE_B - zero_b), &end);
}

BYTE_ROW(prelu_once) {
    const int32_t flip = p->flip, zero_a = p->zero[0], zero_b = p->zero[1];
    const dwc_byte_end end = p->end, positive = p->positive;
    EACH_BYTE for (int64_t i = 0; i < count; i++) {
        const int32_t n = BYTE_A - zero_a;
        const int32_t below = dwc_end_once(n * (BYTE_B - zero_b), &end), above = dwc_end_once(n, &positive);
        y[i] = (uint8_t)(n < 0 ? below : above);
    }
}

BYTE_ROW(prelu_twice) {
    const int32_t flip = p->flip, zero_a = p->zero[0], zero_b = p->zero[1];
    const dwc_byte_end end = p->end, positive = p->positive;
    EACH_BYTE for (int64_t i = 0; i < count; i++) {
        const int32_t n = BYTE_A - zero_a;
        y[i] = (uint8_t)(n < 0 ? dwc_end_twice(n * (BYTE_B - zero_b), &end) : dwc_end_twice(n, &positive));
    }
}

#define BYTE_EXTREME(NAME, IS_FIRST)                                        \
    BYTE_ROW(NAME) {                                                        \
        const int32_t flip = p->flip, low = p->end.low, high = p->end.high; \
        EACH_BYTE for (int64_t i = 0; i < count; i++) {                     \
            const int32_t f = BYTE_A, g = BYTE_B;                           \
            y[i] = (uint8_t)dwc_clamp(IS_FIRST ? f : g, low, high);         \
        }                                                                   \
    }
BYTE_EXTREME(maximum, f > g)
BYTE_EXTREME(minimum, f < g)

/* OPERATION of floats f and g, a function of its own for each. */
#define BYTE_FLOATS(NAME, OPERATION)                                                  \
    BYTE_ROW(NAME) {                                                                  \
        const int32_t flip = p->flip, zero_a = p->zero[0], zero_b = p->zero[1];       \
        const float scale_a = p->scale[0], scale_b = p->scale[1], scale = p->y_scale; \
        dwc_byte_end end = p->end;                                                    \
        end.twice = 0;                                                                \
        EACH_BYTE for (int64_t i = 0; i < count; i++) {                               \
            const float f = scale_a * (float)(BYTE_A - zero_a);                       \
            const float g = scale_b * (float)(BYTE_B - zero_b);                       \
            y[i] = (uint8_t)dwc_quantize_one(OPERATION, scale, &end);                 \
        }                                                                             \
    }
BYTE_FLOATS(float_plus, f + g)
BYTE_FLOATS(float_minus, f - g)
BYTE_FLOATS(float_times, f *g)
BYTE_FLOATS(float_divide, f / g)
BYTE_FLOATS(float_maximum, f > g ? f : g)
BYTE_FLOATS(float_minimum, f < g ? f : g)

static void byte_binary(const dwc_byte_binary *c) {
    const dwc_byte_parameters *p = c->parameters;
    switch (p->form) {
        case DWC_BYTES_ADD: (p->twice ? add_twice_rows : add_once_rows)(c); return;
        case DWC_BYTES_TIMES: (p->twice ? times_twice_rows : times_once_rows)(c); return;
        case DWC_BYTES_PRELU: (p->twice ? prelu_twice_rows : prelu_once_rows)(c); return;
        case DWC_BYTES_MAXIMUM: maximum_rows(c); return;
        case DWC_BYTES_MINIMUM: minimum_rows(c); return;
        case DWC_BYTES_FLOATS: break;
    }
    switch (p->function) {
        case DWCONV_PLUS: float_plus_rows(c); return;
        case DWCONV_MINUS: float_minus_rows(c); return;
        case DWCONV_TIMES: float_times_rows(c); return;
        case DWCONV_DIVIDE: float_divide_rows(c); return;
        case DWCONV_MAXIMUM: float_maximum_rows(c); return;
        default: float_minimum_rows(c); return;
    }
}

/* ---- sums and extremes ---------------------------------------------------------------------- */

static void byte_sum(const uint8_t *x, int64_t x_pixel, int64_t pixels, int64_t channels, uint8_t flip,
                     int32_t *restrict sums) {
    const int32_t f = flip;
    for (; pixels > 0; pixels--, x += x_pixel)
        for (int64_t c = 0; c < channels; c++) sums[c] += byte_number(x[c], f);
}

static int64_t byte_sum_run(const uint8_t *x, int64_t count, uint8_t flip) {
    enum { PART = 1 << 16 }; /* a sum of so many fits 32 bits */
    const int32_t f = flip;
    int64_t all = 0;
    for (int64_t begin = 0; begin < count; begin += PART) {
        const int64_t end = count - begin < PART ? count : begin + PART;
        int32_t sum = 0;
        for (int64_t i = begin; i < end; i++) sum += byte_number(x[i], f);
        all += sum;
    }
    return all;
}

/* With f, order is that of unsigned numbers, and the smallest is the largest. */
INLINE uint8_t extreme_of(uint8_t a, uint8_t b, uint8_t f) {
    const uint8_t first = a ^ f, second = b ^ f;
    return (uint8_t)((first > second ? first : second) ^ f);
}

static void byte_extreme(const uint8_t *x, int64_t x_pixel, int64_t pixels, int64_t channels, uint8_t flip,
                         int largest, uint8_t *restrict y) {
    const uint8_t f = largest ? flip : (uint8_t)~flip;
    for (; pixels > 0; pixels--, x += x_pixel)
        for (int64_t c = 0; c < channels; c++) y[c] = extreme_of(x[c], y[c], f);
}

enum { BYTE_ROWS_TOGETHER = 64 };

/* Rows of WIDE numbers at least become WIDE each, then pairs of neighbours one. */
INLINE void extreme_of_rows(const uint8_t *x, int64_t x_row, int rows, int64_t count, uint8_t f,
                            const int WIDE, uint8_t *restrict y) {
    uint8_t wide[BYTE_ROWS_TOGETHER * 64], half[BYTE_ROWS_TOGETHER * 32];
    for (int r = 0; r < rows; r++, x += x_row) {
        uint8_t *const to = wide + r * WIDE;
        memcpy(to, x, (size_t)WIDE);
        for (int64_t i = WIDE; i < count; i += WIDE) {
            const uint8_t *from = x + (i + WIDE <= count ? i : count - WIDE);
            for (int k = 0; k < WIDE; k++) to[k] = extreme_of(to[k], from[k], f);
        }
    }
    uint8_t *from = wide, *to = half;
    for (int n = rows * WIDE / 2; n > rows; n /= 2) {
        EACH_BYTE for (int i = 0; i < n; i++) to[i] = extreme_of(from[2 * i], from[2 * i + 1], f);
        uint8_t *const other = from;
        from = to;
        to = other;
    }
    if (WIDE == 1)
        memcpy(y, from, (size_t)rows);
    else
        EACH_BYTE for (int i = 0; i < rows; i++) y[i] = extreme_of(from[2 * i], from[2 * i + 1], f);
}

static void byte_extreme_rows(const uint8_t *x, int64_t x_row, int64_t rows, int64_t count, uint8_t flip,
                              int largest, int resumes, uint8_t *restrict y) {
    const uint8_t f = largest ? flip : (uint8_t)~flip;
    for (int n; rows > 0; rows -= n, x += n * x_row, y += n) {
        uint8_t found[BYTE_ROWS_TOGETHER];
        n = rows < BYTE_ROWS_TOGETHER ? (int)rows : BYTE_ROWS_TOGETHER;
        if (count >= 64)
            extreme_of_rows(x, x_row, n, count, f, 64, found);
        else if (count >= 16)
            extreme_of_rows(x, x_row, n, count, f, 16, found);
        else if (count >= 4)
            extreme_of_rows(x, x_row, n, count, f, 4, found);
        else
            extreme_of_rows(x, x_row, n, count, f, 1, found);
        for (int i = 0; i < n; i++) y[i] = resumes ? extreme_of(y[i], found[i], f) : found[i];
    }
}

static void byte_finish(const int32_t *sums, int64_t count, const dwc_byte_end *e, uint8_t *restrict y) {
    const dwc_byte_end end = *e;
    if (end.twice)
        for (int64_t i = 0; i < count; i++) y[i] = (uint8_t)dwc_end_twice(sums[i], &end);
    else
        for (int64_t i = 0; i < count; i++) y[i] = (uint8_t)dwc_end_once(sums[i], &end);
}

/* `channels` of one pixel, with the factors of each. */
NOINLINE void requant_row(const int32_t *restrict sums, int64_t channels, const int32_t *restrict mantissa,
                          const int32_t *restrict left, const int32_t *restrict right, const dwc_requant *r,
                          uint8_t *restrict y) {
    const int32_t zero = r->zero_point, low = r->low - zero, high = r->high - zero;
    for (int64_t c = 0; c < channels; c++)
        y[c] = (uint8_t)(dwc_clamp(fixed_product(sums[c], mantissa[c], left[c], right[c]), low, high) + zero);
}

/* Few channels of dense pixels are more of fewer pixels, with factors repeated: rows fill vectors then. */
static void byte_requant(const int32_t *sums, int64_t pixels, int64_t channels, const dwc_requant *r,
                         int64_t first, uint8_t *y, int64_t y_pixel) {
    enum { MANY = 128 };
    int32_t mantissa[MANY], left[MANY], right[MANY];
    const int64_t times = channels < MANY / 2 && y_pixel == channels ? MANY / channels : 1,
                  row = times * channels;
    const int64_t all = pixels * channels;
    y_pixel *= times;
    for (int64_t begin = 0, c = 0; begin < row; begin += MANY) {
        const int64_t count = row - begin < MANY ? row - begin : MANY;
        for (int64_t i = 0; i < count; i++) {
            const dwc_fixed f = r->fixed[first + c];
            mantissa[i] = f.mantissa;
            left[i] = f.shift > 0 ? f.shift : 0;
            right[i] = f.shift > 0 ? 0 : -f.shift;
            c = c + 1 < channels ? c + 1 : 0;
        }
        uint8_t *to = y + begin;
        for (int64_t at = begin; at < all; at += row, to += y_pixel)
            requant_row(sums + at, all - at < count ? all - at : count, mantissa, left, right, r, to);
    }
}

/* Quotients of 32-bit integers that are bytes are exact to the integer in double precision. */
static void byte_divide(const int32_t *sums, int64_t count, int32_t divisor, const dwc_byte_end *e,
                        uint8_t *restrict y) {
    const int32_t half = divisor / 2, low = e->low, high = e->high;
    const double by = (double)divisor;
    for (int64_t i = 0; i < count; i++) {
        const int32_t sum = sums[i] > 0 ? sums[i] + half : sums[i] - half;
        y[i] = (uint8_t)dwc_clamp((int32_t)((double)sum / by), low, high);
    }
}

/* ---- images --------------------------------------------------------------------------------- */

/* Three channels, those of pictures, to and from pixels. */
INLINE void transpose_to_3(const uint8_t *x, int64_t x_column, int64_t rows, uint8_t *restrict y) {
    const uint8_t *const a = x, *const b = x + x_column, *const c = x + 2 * x_column;
    for (int64_t r = 0; r < rows; r++) {
        y[3 * r] = a[r];
        y[3 * r + 1] = b[r];
        y[3 * r + 2] = c[r];
    }
}

INLINE void transpose_from_3(const uint8_t *x, int64_t count, uint8_t *restrict a, uint8_t *restrict b,
                             uint8_t *restrict c) {
    for (int64_t i = 0; i < count; i++) {
        a[i] = x[3 * i];
        b[i] = x[3 * i + 1];
        c[i] = x[3 * i + 2];
    }
}

static void byte_transpose(const uint8_t *x, int64_t x_column, int64_t rows, int64_t count, uint8_t *y,
                           int64_t y_row) {
    if (count == 3 && y_row == 3)
        transpose_to_3(x, x_column, rows, y);
    else if (rows == 3 && x_column == 3)
        transpose_from_3(x, count, y, y + y_row, y + 2 * y_row);
    else
        for (int64_t r = 0; r < rows; r++, y += y_row)
            for (int64_t c = 0; c < count; c++) y[c] = x[c * x_column + r];
}

#define BYTE_KERNELS                    \
    {.lookup = byte_lookup,             \
     .quantize = byte_quantize,         \
     .dequantize = byte_dequantize,     \
     .binary = byte_binary,             \
     .sum = byte_sum,                   \
     .sum_run = byte_sum_run,           \
     .extreme = byte_extreme,           \
     .extreme_rows = byte_extreme_rows, \
     .requant = byte_requant,           \
     .finish = byte_finish,             \
     .divide = byte_divide,             \
     .blend_rows = byte_blend_rows,     \
     .resize = byte_resize,             \
     .transpose = byte_transpose}
