/* Depthwise convolution of any window: the walk over strips of outputs. All depthwise kernels add up the taps of an
 * output in the same order, so which one computes an output cannot be seen in its bits.
 *
 * Before: SUFFIX of whole vectors, TAIL_SUFFIX of the vectors that finish a row of channels. */

/* All channels of a strip: whole vectors, then what is left in narrower ones. Beside the statements: `x`, where row
 * 0 of the image and column 0 of the strip would lie, `y` of the call's first row, and the vector's weights `w`. */
#define DW_EACH_VECTOR(s, WHOLE, REST)                                                                \
    {                                                                                                 \
        const dwc_dw_call *c = s->call;                                                               \
        const int64_t block = c->stage->block;                                                        \
        const float *w = c->stage->weights + c->channel_begin / V(lanes) * block;                     \
        const float *x = c->x - c->ring_first * c->x_row + s->x + c->channel_begin;                   \
        float *y = c->y + s->y + c->channel_begin;                                                    \
        int64_t left = c->channel_end - c->channel_begin;                                             \
        for (; left >= V(lanes); left -= V(lanes), x += V(lanes), y += V(lanes), w += block) {        \
            WHOLE;                                                                                    \
            V(dw_finish)(s, y, V(lanes));                                                             \
        }                                                                                             \
        for (; left > 0; left -= TAIL(lanes), x += TAIL(lanes), y += TAIL(lanes), w += TAIL(lanes)) { \
            const int lanes = left < TAIL(lanes) ? (int)left : TAIL(lanes);                           \
            REST;                                                                                     \
            TAIL(dw_finish)(s, y, lanes);                                                             \
        }                                                                                             \
    }

/* All channels of a strip in vectors with a mask, where that costs no more: half the code. */
#define DW_EACH_MASKED(s, EACH)                                                        \
    {                                                                                  \
        const dwc_dw_call *c = s->call;                                                \
        const int64_t block = c->stage->block;                                         \
        const float *w = c->stage->weights + c->channel_begin / V(lanes) * block;      \
        const float *x = c->x - c->ring_first * c->x_row + s->x + c->channel_begin;    \
        float *y = c->y + s->y + c->channel_begin;                                     \
        int64_t left = c->channel_end - c->channel_begin;                              \
        for (; left > 0; left -= V(lanes), x += V(lanes), y += V(lanes), w += block) { \
            const int lanes = left < V(lanes) ? (int)left : V(lanes);                  \
            EACH;                                                                      \
            V(dw_finish)(s, y, lanes);                                                 \
        }                                                                              \
    }

#ifdef DW_MASKED
#define DW_WINDOW(name, KS, T, S)         \
    NOINLINE void name(const dw_strip *s) \
        DW_EACH_MASKED(s, V(dw_window)(s, x, y, w, lanes, lanes, KS, T, S, 0, 0, V(lanes)))
#else
#define DW_WINDOW(name, KS, T, S)                                                                 \
    NOINLINE void name(const dw_strip *s)                                                         \
        DW_EACH_VECTOR(s, V(dw_window)(s, x, y, w, V(lanes), V(lanes), KS, T, S, 0, 1, V(lanes)), \
                       TAIL(dw_window)(s, x, y, w, lanes, lanes, KS, T, S, 0, 0, V(lanes)))
#endif

/* With a multiplier, a vector of outputs spreads the lanes of fewer inputs. */
#define DW_EACH_SPREAD(s, EACH)                                                          \
    {                                                                                    \
        const dwc_dw_call *c = s->call;                                                  \
        const int64_t block = c->stage->block, multiplier = c->stage->multiplier;        \
        const float *w = c->stage->weights + c->channel_begin / V(lanes) * block;        \
        for (int64_t channel = c->channel_begin; channel < c->channel_end;               \
             channel += V(lanes), w += block) {                                          \
            const int64_t first = channel / multiplier, left = c->channel_end - channel; \
            const float *x = c->x - c->ring_first * c->x_row + s->x + first;             \
            float *y = c->y + s->y + channel;                                            \
            const int lanes = left < V(lanes) ? (int)left : V(lanes);                    \
            const int in_lanes = (int)((channel + lanes - 1) / multiplier - first + 1);  \
            EACH;                                                                        \
            V(dw_finish)(s, y, lanes);                                                   \
        }                                                                                \
    }

#define DW_SPREAD(name, KS, T, S)         \
    NOINLINE void name(const dw_strip *s) \
        DW_EACH_SPREAD(s, V(dw_window)(s, x, y, w, lanes, in_lanes, KS, T, S, 1, 0, V(lanes)))

/* One tap at a time suits every stride and width. Segments of 5 and 4 taps make every kernel width from 12 on, and 4, 5,
 * 8, 9 and 10; segments of 3 and 2 the rest but 1. Few outputs and multipliers are rare enough to do with 3 and 2. */
#define DW_WINDOWS(S, KS)                             \
    DW_WINDOW(dw_narrow_##S##_##KS, KS, DW_NARROW, S) \
    DW_SPREAD(dw_spread_##S##_##KS, KS, DW_WIDE, S)   \
    DW_WINDOW(dw_wide_##S##_##KS, KS, DW_WIDE, S)
DW_WINDOWS(0, 1)
DW_WINDOWS(1, 3)
DW_WINDOWS(2, 3)
DW_WINDOW(dw_wide_1_5, 5, DW_WIDE, 1)
DW_WINDOW(dw_wide_2_5, 5, DW_WIDE, 2)

/* Taps of a kernel row in segments of KS, so that segments of KS - 1 take the rest; -1 if there is no such number. */
INLINE int64_t dw_long_taps(int64_t taps, int KS) {
    if (KS == 1) return taps;
    const int64_t segments = (taps + KS - 1) / KS;
    const int64_t extra = taps - (KS - 1) * segments; /* that many segments have one tap more */
    return extra < 0 ? -1 : extra * KS;
}

/* Output rows [row_begin, row_end) and columns [ox_begin, ox_end) of a call, strip by strip. */
static void dw_walk(const dwc_dw_call *c, const dw_strips *kernel, int64_t row_begin, int64_t row_end,
                    int64_t ox_begin, int64_t ox_end) {
    const dwconv_window *w = &c->stage->window;
    const int64_t gcd = dw_common_divisor(w->stride_w, w->dilation_w);
    const int64_t gcd_h = dw_common_divisor(w->stride_h, w->dilation_h);
    const int64_t apart = w->dilation_w / gcd; /* outputs of the same dense problem */
    dw_strip s = {.call = c,
                  .x_step = w->dilation_w * c->x_pixel,
                  .stride = w->stride_w / gcd,
                  .group_step = w->stride_w / gcd * w->dilation_w * c->x_pixel,
                  .taps = w->kernel_w,
                  .row_begin = row_begin,
                  .row_end = row_end,
                  .row_step = w->dilation_h / gcd_h,
                  .row_stride = w->stride_h / gcd_h,
                  .y_step = apart * c->y_pixel};
    const int64_t long_wide = dw_long_taps(w->kernel_w, kernel->segment),
                  long_narrow = dw_long_taps(w->kernel_w, kernel->segment == 1 ? 1 : 3);
    for (int64_t first = ox_begin; first < ox_begin + apart && first < ox_end; first++) {
        const int64_t outputs = dw_divide_up(ox_end - first, apart);
        for (int64_t done = 0; done < outputs; done += s.count) {
            const int64_t left = outputs - done;
            const int wide = left > kernel->narrow, width = wide ? kernel->wide : kernel->narrow;
            if (left < width) done = outputs < width ? 0 : outputs - width; /* overlaps the strip before */
            s.count = (int)(outputs - done < width ? outputs - done : width);
            const int64_t ox = first + done * apart, ix = ox * w->stride_w - c->pad_left;
            const int64_t seen = (s.count - 1) * s.stride + w->kernel_w;
            s.x = ix * c->x_pixel;
            s.y = ox * c->y_pixel;
            s.live_begin = ix < 0 ? dw_divide_up(-ix, w->dilation_w) : 0;
            s.live_end = ix < c->in_w ? dw_divide_up(c->in_w - ix, w->dilation_w) : 0;
            if (s.live_end > seen) s.live_end = seen;
            s.long_taps = wide ? long_wide : long_narrow;
            s.inner = s.count == width && s.live_begin == 0 && s.live_end == seen;
            (wide ? kernel->run_wide : kernel->run_narrow)(&s);
        }
    }
}

/* The same with the kernel for the window's stride and segments. */
static void dw_window(const dwc_dw_call *c, int64_t row_begin, int64_t row_end, int64_t ox_begin,
                      int64_t ox_end) {
#define DW_KERNEL(S, LONG, KS) {DW_WIDE, DW_NARROW, LONG, PASTE(dw_wide_##S##_, LONG), dw_narrow_##S##_##KS}
#define DW_SPREAD_KERNEL(S, KS)                    \
    {                                              \
        DW_WIDE, 0, KS, dw_spread_##S##_##KS, NULL \
    }
    static const dw_strips single = DW_KERNEL(0, 1, 1), single_spreading = DW_SPREAD_KERNEL(0, 1);
    const int spread = c->stage->multiplier > 1;
    const dw_strips *kernel = spread ? &single_spreading : &single;
    static const dw_strips segments[2][2] = {{DW_KERNEL(1, 3, 3), DW_KERNEL(1, 5, 3)},
                                             {DW_KERNEL(2, 3, 3), DW_KERNEL(2, 5, 3)}};
    static const dw_strips spreading[2] = {DW_SPREAD_KERNEL(1, 3), DW_SPREAD_KERNEL(2, 3)};
    const dwconv_window *w = &c->stage->window;
    const int64_t apart = w->stride_w / dw_common_divisor(w->stride_w, w->dilation_w);
    if (w->kernel_w > 1 && apart <= 2)
        kernel = spread ? &spreading[apart - 1] : &segments[apart - 1][dw_long_taps(w->kernel_w, 5) >= 0];
#undef DW_KERNEL
#undef DW_SPREAD_KERNEL
    dw_walk(c, kernel, row_begin, row_end, ox_begin, ox_end);
}

static void dw_general_f32(const dwc_dw_call *c) { dw_window(c, c->row_begin, c->row_end, 0, c->out_w); }

/* Whether that is quicker than tiles of the few columns that a dilation leaves: not measured with these vectors. */
INLINE int dw_general_is_quicker(const dwc_dw_call *c) {
    (void)c;
    return 0;
}
