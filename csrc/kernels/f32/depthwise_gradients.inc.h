/* Runs of tiles of depthwise_gradient.inc.h: all channels of a tile, then the next. Included once, for whole vectors. */

INLINE void dwg_run(const dwc_dw_gradient_run *c, const int R, const int K, const int T, const int S,
                    const int EDGE, const int SPREAD) {
    int64_t x = c->x;
    const char *dy = c->dy;
    for (int64_t i = 0; i < c->tiles; i++, x += c->x_tile, dy += c->dy_tile) {
        int64_t n = c->channel, left = c->channels;
        for (; left >= V(lanes); left -= V(lanes), n += V(lanes))
            V(dwg_tile)(c, x, dy, c->sums, n, V(lanes), R, K, T, S, 1, EDGE, SPREAD);
        for (; left > 0; left -= TAIL(lanes), n += TAIL(lanes))
            TAIL(dwg_tile)(c, x, dy, c->sums, n, left < TAIL(lanes) ? (int)left : TAIL(lanes), R, K, T, S, 0,
                           EDGE, SPREAD);
    }
}

#define DWG_DEFINE(R, K, T, S, SPREAD)                                                 \
    NOINLINE void dwg_inner_##R##_##K##_##S##_##SPREAD(const dwc_dw_gradient_run *c) { \
        dwg_run(c, R, K, T, S, 0, SPREAD);                                             \
    }                                                                                  \
    NOINLINE void dwg_edge_##R##_##K##_##S##_##SPREAD(const dwc_dw_gradient_run *c) {  \
        dwg_run(c, R, K, T, S, 1, SPREAD);                                             \
    }
#define DWG_LIST(R, K, T, S, SPREAD)       \
    {R,                                    \
     K,                                    \
     T,                                    \
     S,                                    \
     SPREAD,                               \
     0,                                    \
     dwg_inner_##R##_##K##_##S##_##SPREAD, \
     dwg_edge_##R##_##K##_##S##_##SPREAD,  \
     DWG_NAME(R, K, S)},
#define DWG_NAME(R, K, S) ISA " filter gradient, " #R "x" #K " taps s" #S

/* Those that roll: their edges are those of any 3x3 window. */
#ifdef DW_ROLLS
INLINE void dwg_roll_run(const dwc_dw_gradient_run *c, const int T, const int S) {
    int64_t x = c->x;
    const char *dy = c->dy;
    for (int64_t i = 0; i < c->tiles; i++, x += c->x_tile, dy += c->dy_tile) {
        int64_t n = c->channel, left = c->channels;
        for (; left >= V(lanes); left -= V(lanes), n += V(lanes))
            V(dwg_roll)(c, x, dy, c->sums, n, V(lanes), T, S, 1);
        for (; left > 0; left -= TAIL(lanes), n += TAIL(lanes))
            TAIL(dwg_roll)(c, x, dy, c->sums, n, left < TAIL(lanes) ? (int)left : TAIL(lanes), T, S, 0);
    }
}
NOINLINE void dwg_roll_1(const dwc_dw_gradient_run *c) { dwg_roll_run(c, 7, 1); }
NOINLINE void dwg_roll_2(const dwc_dw_gradient_run *c) { dwg_roll_run(c, 7, 2); }
#define DWG_ROLLING(S) \
    {3,                \
     3,                \
     7,                \
     S,                \
     0,                \
     1,                \
     dwg_roll_##S,     \
     dwg_edge_3_3_0_0, \
     ISA " filter gradient, 3x3 taps s" #S ", rolling rows"},
#endif

/* clang-format off */
DWG_EACH(DWG_DEFINE)
static const dwc_dw_gradient_kernel gradients[] = {
#ifdef DW_ROLLS
    DWG_ROLLING(1) DWG_ROLLING(2)
#endif
    DWG_EACH(DWG_LIST)};
/* clang-format on */

/* Of depthwise_back.inc.h: tiles side by side, all channels of each in turn. */
INLINE void dwb_run(const dwc_dw_back_run *c, const int EDGE) {
    int64_t dy = c->dy, dx = c->dx;
    for (int64_t left = c->columns; left > 0; left -= DWC_BACK_COLUMNS) {
        const int64_t columns = left < DWC_BACK_COLUMNS ? left : DWC_BACK_COLUMNS;
        int64_t n = c->channel, channels = c->channels;
        for (; channels >= V(lanes); channels -= V(lanes), n += V(lanes))
            V(dwb_tile)(c, dy, dx, columns, n, V(lanes), 1, EDGE);
        for (; channels > 0; channels -= TAIL(lanes), n += TAIL(lanes))
            TAIL(dwb_tile)(c, dy, dx, columns, n, channels < TAIL(lanes) ? (int)channels : TAIL(lanes), 0,
                           EDGE);
        dy += columns * c->dy_pixel;
        dx += 2 * columns * c->dx_pixel;
    }
}
NOINLINE void dwb_inner(const dwc_dw_back_run *c) { dwb_run(c, 0); }
NOINLINE void dwb_edge(const dwc_dw_back_run *c) { dwb_run(c, 1); }
static const dwc_dw_back_kernel back = {dwb_inner, dwb_edge, ISA " input gradient, 3x3 s2, blocks of 2x2"};
