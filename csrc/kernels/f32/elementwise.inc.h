/* Functions of one or two values, element by element; transposition. Included once, for whole vectors.
 *
 * Every element is computed by the same operations wherever it lies, in a vector or in a remainder: results depend on
 * nothing else. Clamps are part of the loop; other activations, those of convolutions, are a second pass over a row,
 * which callers keep short enough for the first-level cache. */

/* ---- functions on vectors ------------------------------------------------------------------ */

/* exp(x) = (1 + part) * 2^n, for -88 < x < 89. As a function of its own it is more exact than activations need: n ln(2)
 * is taken off in two steps, and near 0 nothing cancels. */
typedef struct V(whole_exp_parts) {
    V(vec) part;
    V(ivec) n;
} V(whole_exp_parts);

INLINE V(whole_exp_parts) V(whole_exp)(V(vec) x) {
    const V(vec) magic = V(set1)(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    const V(vec) shifted = V(fma)(x, V(set1)(1.44269504f), magic);
    const V(vec) n = shifted - magic;
    const V(vec) r = V(fma)(n, V(set1)(2.12194440e-4f), V(fma)(n, V(set1)(-0.693359375f), x));
    V(vec) q = V(fma)(V(set1)(0.000198459583f), r, V(set1)(0.00139416525f));
    q = V(fma)(q, r, V(set1)(0.00833339164f));
    q = V(fma)(q, r, V(set1)(0.0416663487f));
    q = V(fma)(q, r, V(set1)(0.166666664f));
    q = V(fma)(q, r, V(set1)(0.5f));
    return (V(whole_exp_parts)){V(fma)(q, r * r, r), (V(ivec))shifted - 0x4b400000};
}

INLINE V(vec) V(two_to)(V(ivec) n) { return (V(vec))((n + 127) << 23); }

/* 0 where it would be less than 2^-125; half of it, doubled, does not overflow too early. */
INLINE V(vec) V(exp_of)(V(vec) x) {
    const V(whole_exp_parts) e = V(whole_exp)(V(clamp)(x, -87.6f, 89.0f));
    const V(vec) twice = V(fma)(e.part, V(set1)(2.0f), V(set1)(2.0f));
    return twice * V(two_to)(e.n - 1);
}

/* Of x <= 0. */
INLINE V(vec) V(expm1_of)(V(vec) x) {
    const V(whole_exp_parts) e = V(whole_exp)(V(clamp)(x, -87.0f, 0.0f));
    const V(vec) scale = V(two_to)(e.n);
    return V(fma)(scale, e.part, scale - V(set1)(1.0f));
}

INLINE V(vec) V(sign)(V(vec) x) {
    const V(vec) zero = V(set1)(0.0f), one = V(set1)(1.0f);
    const V(vec) other = V(select)(x == zero, zero, x); /* 0, or NaN */
    return V(select)(x > zero, one, V(select)(x < zero, -one, other));
}

/* `a` and `b`: parameters. */
INLINE V(vec) V(unary)(const dwconv_function f, V(vec) x, V(vec) a, V(vec) b) {
    switch (f) {
        case DWCONV_ABS: return V(abs)(x);
        case DWCONV_NEGATE: return -x;
        case DWCONV_EXP: return V(exp_of)(x);
        case DWCONV_RECIPROCAL: return V(set1)(1.0f) / x;
        case DWCONV_SQUARE: return x * x;
        case DWCONV_SIGN: return V(sign)(x);
        case DWCONV_ELU: return V(select)(x < V(set1)(0.0f), a * V(expm1_of)(x), x * b);
        case DWCONV_LINEAR: return V(fma)(a, x, b);
        default: return x;
    }
}

/* The vector layer's min and max give their second operand where one is NaN. */
INLINE V(vec) V(nan_of)(V(vec) a, V(vec) otherwise) { return V(select)(a != a, a, otherwise); }

INLINE V(vec) V(binary)(const dwconv_function f, V(vec) a, V(vec) b) {
    switch (f) {
        case DWCONV_PLUS: return a + b;
        case DWCONV_MINUS: return a - b;
        case DWCONV_TIMES: return a * b;
        case DWCONV_DIVIDE: return a / b;
        case DWCONV_MAXIMUM: return V(nan_of)(a, V(max)(a, b));
        case DWCONV_MINIMUM: return V(nan_of)(a, V(min)(a, b));
        case DWCONV_GREATER: return V(select)(a > b, V(set1)(1.0f), V(set1)(0.0f));
        case DWCONV_GREATER_OR_EQUAL: return V(select)(a >= b, V(set1)(1.0f), V(set1)(0.0f));
        case DWCONV_EQUAL: return V(select)(a == b, V(set1)(1.0f), V(set1)(0.0f));
        case DWCONV_KEEP: return V(select)(b == V(set1)(0.0f), V(set1)(-0.0f), a);
        default: return V(select)(a < V(set1)(0.0f), a * b, a); /* PRELU */
    }
}

/* ---- activations --------------------------------------------------------------------------- */

INLINE int is_clamp(const dwconv_activation *act) { return act->kind == DWCONV_CLIP; }

/* Activates what was stored, unless that was done with the clamp of the loop. */
static void each_activate(float *y, int64_t count, const dwconv_activation *act) {
    const int64_t whole = count / V(lanes);
    const int rest = (int)(count - whole * V(lanes));
    float last[V(lanes)];
    V(activate)(y, (int)whole, V(lanes), 1, 0, act);
    if (!rest) return;
    y += whole * V(lanes);
    V(store)(last, V(load_n)(y, rest));
    V(activate)(last, 1, V(lanes), 1, 0, act);
    V(store_n)(y, V(load)(last), rest);
}

/* ---- rows ---------------------------------------------------------------------------------- */

INLINE V(vec) each_load(const float *x, V(vec) all, int64_t i, const int STEP) {
    return STEP ? V(load)(x + i) : all;
}

INLINE V(vec) each_load_n(const float *x, V(vec) all, int64_t i, int n, const int STEP) {
    return STEP ? V(load_n)(x + i, n) : all;
}

INLINE void each_unary(const dwc_each_call *c, const dwconv_function F) {
    const int clamps = is_clamp(&c->activation);
    const float low = clamps ? c->activation.a : -INFINITY, high = clamps ? c->activation.b : INFINITY;
    const V(vec) a = V(set1)(c->parameters[0]), b = V(set1)(c->parameters[1]);
    for (int64_t row = 0; row < c->rows; row++) {
        const float *x = c->x[0] + row * c->x_row[0];
        float *y = c->y + row * c->y_row;
        int64_t i = 0;
        for (; i + V(lanes) <= c->count; i += V(lanes))
            V(store)(y + i, V(clamp)(V(unary)(F, V(load)(x + i), a, b), low, high));
        if (i < c->count) {
            const int n = (int)(c->count - i);
            V(store_n)(y + i, V(clamp)(V(unary)(F, V(load_n)(x + i, n), a, b), low, high), n);
        }
        if (!clamps) each_activate(y, c->count, &c->activation);
    }
}

INLINE void each_binary(const dwc_each_call *c, const dwconv_function F, const int A, const int B) {
    const int clamps = is_clamp(&c->activation);
    const float low = clamps ? c->activation.a : -INFINITY, high = clamps ? c->activation.b : INFINITY;
    for (int64_t row = 0; row < c->rows; row++) {
        const float *p = c->x[0] + row * c->x_row[0], *q = c->x[1] + row * c->x_row[1];
        const V(vec) all_p = V(set1)(*p), all_q = V(set1)(*q);
        float *y = c->y + row * c->y_row;
        int64_t i = 0;
        for (; i + V(lanes) <= c->count; i += V(lanes)) {
            const V(vec) a = each_load(p, all_p, i, A), b = each_load(q, all_q, i, B);
            V(store)(y + i, V(clamp)(V(binary)(F, a, b), low, high));
        }
        if (i < c->count) {
            const int n = (int)(c->count - i);
            const V(vec) a = each_load_n(p, all_p, i, n, A), b = each_load_n(q, all_q, i, n, B);
            V(store_n)(y + i, V(clamp)(V(binary)(F, a, b), low, high), n);
        }
        if (!clamps) each_activate(y, c->count, &c->activation);
    }
}

/* ---- functions of the C library ------------------------------------------------------------ */

#define EACH_VALUE(...)               \
    for (int64_t i = 0; i < n; i++) { \
        const float v = x[i];         \
        y[i] = (__VA_ARGS__);         \
    }                                 \
    break

static void each_of_library(dwconv_function f, const float *x, int64_t n, float *y) {
    switch (f) {
        case DWCONV_LOG: EACH_VALUE(logf(v));
        case DWCONV_SQRT: EACH_VALUE(sqrtf(v));
        case DWCONV_ERF: EACH_VALUE(erff(v));
        case DWCONV_FLOOR: EACH_VALUE(floorf(v));
        case DWCONV_CEIL: EACH_VALUE(ceilf(v));
        case DWCONV_ROUND: EACH_VALUE(rintf(v));
        case DWCONV_SIN: EACH_VALUE(sinf(v));
        case DWCONV_COS: EACH_VALUE(cosf(v));
        default: EACH_VALUE((v < 0.0f ? 0.0f : v) + log1pf(expf(-fabsf(v)))); /* SOFTPLUS */
    }
}
#undef EACH_VALUE

static void each_power(const float *x, int x_step, const float *exponent, int step, int64_t n, float *y) {
    if (!step && *exponent == 2.0f)
        for (int64_t i = 0; i < n; i++) y[i] = x[i * x_step] * x[i * x_step];
    else
        for (int64_t i = 0; i < n; i++) y[i] = powf(x[i * x_step], exponent[i * step]);
}

/* ---- what callers see ---------------------------------------------------------------------- */

static void each_unary_f32(const dwc_each_call *c) {
    if (!c->x_step[0] && c->count > 1) { /* the same value for a whole row */
        dwc_each_call one = *c;
        one.count = 1;
        each_unary_f32(&one);
        for (int64_t row = 0; row < c->rows; row++)
            for (int64_t i = 1; i < c->count; i++) c->y[row * c->y_row + i] = c->y[row * c->y_row];
        return;
    }
    switch (c->function) {
        case DWCONV_SAME_VALUE: each_unary(c, DWCONV_SAME_VALUE); return;
        case DWCONV_ABS: each_unary(c, DWCONV_ABS); return;
        case DWCONV_NEGATE: each_unary(c, DWCONV_NEGATE); return;
        case DWCONV_EXP: each_unary(c, DWCONV_EXP); return;
        case DWCONV_RECIPROCAL: each_unary(c, DWCONV_RECIPROCAL); return;
        case DWCONV_SQUARE: each_unary(c, DWCONV_SQUARE); return;
        case DWCONV_SIGN: each_unary(c, DWCONV_SIGN); return;
        case DWCONV_ELU: each_unary(c, DWCONV_ELU); return;
        case DWCONV_LINEAR: each_unary(c, DWCONV_LINEAR); return;
        default:
            for (int64_t row = 0; row < c->rows; row++) {
                float *y = c->y + row * c->y_row;
                each_of_library(c->function, c->x[0] + row * c->x_row[0], c->count, y);
                each_activate(y, c->count, &c->activation);
            }
    }
}

#define EACH_STEPS(F)                 \
    if (c->x_step[0] && c->x_step[1]) \
        each_binary(c, F, 1, 1);      \
    else if (c->x_step[0])            \
        each_binary(c, F, 1, 0);      \
    else if (c->x_step[1])            \
        each_binary(c, F, 0, 1);      \
    else                              \
        each_binary(c, F, 0, 0);      \
    return

static void each_binary_f32(const dwc_each_call *c) {
    switch (c->function) {
        case DWCONV_PLUS: EACH_STEPS(DWCONV_PLUS);
        case DWCONV_MINUS: EACH_STEPS(DWCONV_MINUS);
        case DWCONV_TIMES: EACH_STEPS(DWCONV_TIMES);
        case DWCONV_DIVIDE: EACH_STEPS(DWCONV_DIVIDE);
        case DWCONV_MAXIMUM: EACH_STEPS(DWCONV_MAXIMUM);
        case DWCONV_MINIMUM: EACH_STEPS(DWCONV_MINIMUM);
        case DWCONV_PRELU: EACH_STEPS(DWCONV_PRELU);
        case DWCONV_GREATER: EACH_STEPS(DWCONV_GREATER);
        case DWCONV_GREATER_OR_EQUAL: EACH_STEPS(DWCONV_GREATER_OR_EQUAL);
        case DWCONV_EQUAL: EACH_STEPS(DWCONV_EQUAL);
        case DWCONV_KEEP: EACH_STEPS(DWCONV_KEEP);
        default:
            for (int64_t row = 0; row < c->rows; row++) {
                float *y = c->y + row * c->y_row;
                each_power(c->x[0] + row * c->x_row[0], c->x_step[0], c->x[1] + row * c->x_row[1],
                           c->x_step[1], c->count, y);
                each_activate(y, c->count, &c->activation);
            }
    }
}
#undef EACH_STEPS

/* ---- transposition ------------------------------------------------------------------------- */

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_lanes __attribute__((vector_size(16)));
#ifdef __clang__
#define QUAD_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define QUAD_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (quad_lanes){__VA_ARGS__})
#endif

INLINE quad quad_load(const float *p, const int n) {
    quad v = {0};
    __builtin_memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

/* `rows` of up to four rows and `count` of up to four columns. */
INLINE void transpose_quad(const float *x, int64_t x_column, float *y, int64_t y_row, const int rows,
                           const int count) {
    quad c[4];
    for (int i = 0; i < 4; i++) c[i] = i < count ? quad_load(x + i * x_column, rows) : (quad){0};
    const quad low_a = QUAD_SHUFFLE(c[0], c[1], 0, 4, 1, 5), high_a = QUAD_SHUFFLE(c[0], c[1], 2, 6, 3, 7);
    const quad low_b = QUAD_SHUFFLE(c[2], c[3], 0, 4, 1, 5), high_b = QUAD_SHUFFLE(c[2], c[3], 2, 6, 3, 7);
    const quad r[4] = {QUAD_SHUFFLE(low_a, low_b, 0, 1, 4, 5), QUAD_SHUFFLE(low_a, low_b, 2, 3, 6, 7),
                       QUAD_SHUFFLE(high_a, high_b, 0, 1, 4, 5), QUAD_SHUFFLE(high_a, high_b, 2, 3, 6, 7)};
    for (int i = 0; i < rows; i++) __builtin_memcpy(y + i * y_row, &r[i], (size_t)count * sizeof *y);
}

/* Four columns of all rows. */
INLINE void transpose_columns(const float *x, int64_t x_column, int64_t rows, float *y, int64_t y_row,
                              const int count) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4, x += 4, y += 4 * y_row) transpose_quad(x, x_column, y, y_row, 4, count);
    switch (rows - row) {
        case 3: transpose_quad(x, x_column, y, y_row, 3, count); break;
        case 2: transpose_quad(x, x_column, y, y_row, 2, count); break;
        case 1: transpose_quad(x, x_column, y, y_row, 1, count); break;
        default: break;
    }
}

/* Three columns become rows right after each other, as the planes of an image do: stores are whole. */
static void transpose_three(const float *x, int64_t x_column, int64_t rows, float *y) {
    for (; rows >= 4; rows -= 4, x += 4, y += 12) {
        const quad a = quad_load(x, 4), b = quad_load(x + x_column, 4), c = quad_load(x + 2 * x_column, 4);
        const quad low = QUAD_SHUFFLE(a, b, 0, 4, 1, 5), high = QUAD_SHUFFLE(a, b, 2, 6, 3, 7);
        const quad middle = QUAD_SHUFFLE(b, c, 1, 5, 1, 5);
        const quad r[3] = {QUAD_SHUFFLE(low, c, 0, 1, 4, 2), QUAD_SHUFFLE(middle, high, 0, 1, 4, 5),
                           QUAD_SHUFFLE(c, high, 2, 6, 7, 3)};
    UNROLL for (int i = 0; i < 3; i++) __builtin_memcpy(y + 4 * i, &r[i], sizeof r[i]);
    }
    for (; rows > 0; rows--, x++, y += 3)
        for (int i = 0; i < 3; i++) y[i] = x[i * x_column];
}

/* A line of every output row at a time, of as many rows as do not take it from the first-level cache. */
static void each_transpose(const float *x, int64_t x_column, int64_t rows, int64_t count, float *y,
                           int64_t y_row) {
    enum { ROWS = 8 };
    if (count == 3 && y_row == 3) {
        transpose_three(x, x_column, rows, y);
        return;
    }
    for (int64_t line = 0; line < count; line += DWC_LINE_FLOATS)
        for (int64_t row = 0; row < rows; row += ROWS) {
            const int64_t some = rows - row < ROWS ? rows - row : ROWS;
            const int64_t end = count - line < DWC_LINE_FLOATS ? count : line + DWC_LINE_FLOATS;
            for (int64_t c = line; c < end; c += 4) {
                const float *from = x + c * x_column + row;
                float *to = y + row * y_row + c;
                switch (end - c) {
                    case 1: transpose_columns(from, x_column, some, to, y_row, 1); break;
                    case 2: transpose_columns(from, x_column, some, to, y_row, 2); break;
                    case 3: transpose_columns(from, x_column, some, to, y_row, 3); break;
                    default: transpose_columns(from, x_column, some, to, y_row, 4); break;
                }
            }
        }
}

#define EACH_KERNELS {each_unary_f32, each_binary_f32, each_slope, each_transpose}
