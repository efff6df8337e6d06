/* Nodes of networks that go from image to image: pooling and resizing, against plain loops. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "node_case.h"
#include "suites.h"

static const int64_t channel_counts[] = {1, 2, 3, 8, 15, 17, 24, 40, 67};
enum { CHANNEL_COUNTS = sizeof channel_counts / sizeof *channel_counts };

static double activated(const dwconv_activation *a, double x) {
    switch (a->kind) {
        case DWCONV_RELU: return x < 0 ? 0 : x;
        case DWCONV_LEAKY_RELU: return x < 0 ? (double)a->a * x : x;
        case DWCONV_SIGMOID: return 1 / (1 + exp(-x));
        default: return x;
    }
}

/* ---- pooling -------------------------------------------------------------------------------- */

static double larger_of(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }

static expected pool_oracle(const node_case *c, const int64_t *index) {
    const dwconv_window *w = &c->node.window;
    const dwc_array *x = &c->in[0].as;
    const int most = c->node.function == DWCONV_LARGEST;
    double result = most ? -INFINITY : 0, magnitude = 0;
    int64_t count = 0;
    for (int64_t ky = 0; ky < w->kernel_h; ky++)
        for (int64_t kx = 0; kx < w->kernel_w; kx++) {
            const int64_t iy = index[1] * w->stride_h - w->pad_top + ky * w->dilation_h;
            const int64_t ix = index[2] * w->stride_w - w->pad_left + kx * w->dilation_w;
            if (c->node.counts_padding && iy < x->shape[1] + w->pad_bottom && ix < x->shape[2] + w->pad_right)
                count++;
            if (iy < 0 || ix < 0 || iy >= x->shape[1] || ix >= x->shape[2]) continue;
            const double value = (double)*array_at(x, (int64_t[]){index[0], iy, ix, index[3]});
            if (!c->node.counts_padding) count++;
            result = most ? larger_of(result, value) : result + value;
            magnitude += fabs(value);
        }
    if (!most && count) {
        result /= (double)count;
        magnitude /= (double)count;
    }
    return (expected){activated(&c->node.activation, result),
                      most && c->node.activation.kind == DWCONV_IDENTITY ? 0 : magnitude + 1};
}

static void pool_case(dwconv_window w, const int64_t in[4], int64_t more, int most, int number, rng *r) {
    static const dwconv_activation activations[] = {
        {DWCONV_IDENTITY, 0, 0}, {DWCONV_RELU, 0, 0}, {DWCONV_IDENTITY, 0, 0}, {DWCONV_SIGMOID, 0, 0}};
    static const strides layouts[] = {PACKED, GAPS, PACKED, FLIPPED};
    const int64_t reach_h = (w.kernel_h - 1) * w.dilation_h + 1,
                  reach_w = (w.kernel_w - 1) * w.dilation_w + 1;
    const int64_t room_h = in[1] + w.pad_top + w.pad_bottom - reach_h;
    const int64_t room_w = in[2] + w.pad_left + w.pad_right - reach_w;
    const int64_t out[4] = {in[0], (room_h < 0 ? 0 : room_h / w.stride_h) + 1 + more,
                            (room_w < 0 ? 0 : room_w / w.stride_w) + 1 + more, in[3]};
    node_case c = {.node = {.kind = DWCONV_POOL,
                            .function = most ? DWCONV_LARGEST : DWCONV_MEAN,
                            .window = w,
                            .counts_padding = number % 2,
                            .activation = activations[number % 4]},
                   .inputs = 1,
                   .oracle = pool_oracle,
                   .tolerance = 1e-5};
    c.in[0] = array_create(4, in, layouts[number % 4], number % 2, r);
    c.out = array_create(4, out, layouts[number / 4 % 4], number / 2 % 2, r);
    if (number % 5 == 0 && most)
        *array_at(&c.in[0].as, (int64_t[]){0, in[1] / 2, in[2] / 2, in[3] / 2}) = NAN;
    CONTEXT("pool %s %lldx%lld s%lld d%lld, %lldx%lldx%lldx%lld, number %d", most ? "most" : "mean",
            (long long)w.kernel_h, (long long)w.kernel_w, (long long)w.stride_h, (long long)w.dilation_h,
            (long long)in[0], (long long)in[1], (long long)in[2], (long long)in[3], number);
    check_node(&c);
    node_case_free(&c);
}

static void test_pooling(rng *r) {
    static const struct {
        int64_t kernel_h, kernel_w, stride, dilation, pad;
    } windows[] = {{2, 2, 2, 1, 0}, {3, 3, 2, 1, 1},   {3, 3, 1, 1, 1}, {1, 3, 2, 1, 1},
                   {5, 5, 1, 1, 2}, {13, 13, 1, 1, 6}, {2, 3, 3, 2, 1}, {3, 2, 1, 3, 2},
                   {7, 7, 7, 1, 0}, {4, 1, 2, 1, 3},   {1, 1, 2, 1, 1}};
    int number = 0;
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (int k = 0; k < CHANNEL_COUNTS; k++)
            for (int most = 0; most < 2; most++, number++) {
                const dwconv_window w = {.kernel_h = windows[i].kernel_h,
                                         .kernel_w = windows[i].kernel_w,
                                         .stride_h = windows[i].stride,
                                         .stride_w = 1 + (windows[i].stride - 1) * (number % 3 > 0),
                                         .dilation_h = windows[i].dilation,
                                         .dilation_w = windows[i].dilation,
                                         .padding = DWCONV_EXPLICIT,
                                         .pad_top = windows[i].pad,
                                         .pad_bottom = number % 4 ? windows[i].pad : 0,
                                         .pad_left = windows[i].pad,
                                         .pad_right = number % 3 ? windows[i].pad : 0};
                const int64_t side = number % 7 == 0 ? 2 : 9 + number % 5; /* also smaller than the window */
                pool_case(w, (int64_t[]){1 + number % 2, side, side + 2, channel_counts[k]}, number % 3 == 2,
                          most, number, r);
            }
    /* Large enough to be shared. */
    const dwconv_window w = {.kernel_h = 3,
                             .kernel_w = 3,
                             .stride_h = 2,
                             .stride_w = 2,
                             .dilation_h = 1,
                             .dilation_w = 1,
                             .padding = DWCONV_EXPLICIT,
                             .pad_top = 1,
                             .pad_left = 1};
    for (int most = 0; most < 2; most++) {
        pool_case(w, (int64_t[]){2, 97, 75, 20}, 0, most, 1, r);
        pool_case(w, (int64_t[]){1, 241, 235, 3}, 1, most, 2, r);
    }
}

/* ---- resizing ------------------------------------------------------------------------------- */

static double coordinate(const dwconv_node *n, int axis, int64_t i, double in, double out) {
    const double scale = n->parameters[axis] > 0 ? (double)n->parameters[axis] : out / in;
    switch (n->coordinates) {
        case DWCONV_ASYMMETRIC: return (double)i / scale;
        case DWCONV_ALIGN_CORNERS: return out > 1 ? (double)i * (in - 1) / (out - 1) : 0;
        case DWCONV_PYTORCH_HALF_PIXEL: return out > 1 ? ((double)i + 0.5) / scale - 0.5 : 0;
        case DWCONV_HALF_PIXEL_SYMMETRIC:
            return ((double)i + 0.5) / scale - 0.5 + in / 2 * (1 - out / (scale * in));
        default: return ((double)i + 0.5) / scale - 0.5;
    }
}

static int64_t cut(double at, int64_t size) {
    return at<0 ? 0 : at>(double)(size - 1) ? size - 1 : (int64_t)at;
}

static int64_t nearest(const dwconv_node *n, double at, int64_t size) {
    switch (n->rounding) {
        case DWCONV_ROUND_FLOOR: return cut(floor(at), size);
        case DWCONV_ROUND_CEIL: return cut(ceil(at), size);
        case DWCONV_ROUND_PREFER_FLOOR: return cut(ceil(at - 0.5), size);
        default: return cut(floor(at + 0.5), size);
    }
}

static expected resize_oracle(const node_case *c, const int64_t *index) {
    const dwc_array *x = &c->in[0].as;
    const int64_t h = x->shape[1], w = x->shape[2];
    const double y_at = coordinate(&c->node, 0, index[1], (double)h, (double)c->out.as.shape[1]);
    const double x_at = coordinate(&c->node, 1, index[2], (double)w, (double)c->out.as.shape[2]);
    if (c->node.function == DWCONV_NEAREST) {
        const int64_t iy = nearest(&c->node, y_at, h), ix = nearest(&c->node, x_at, w);
        return (expected){(double)*array_at(x, (int64_t[]){index[0], iy, ix, index[3]}), 0};
    }
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        const double down = y_at - floor(y_at), right = x_at - floor(x_at);
        const int64_t iy = cut(floor(y_at) + (i & 1), h), ix = cut(floor(x_at) + (i >> 1), w);
        const double weight = (i & 1 ? down : 1 - down) * (i >> 1 ? right : 1 - right);
        sum += weight * (double)*array_at(x, (int64_t[]){index[0], iy, ix, index[3]});
    }
    return (expected){sum, 4};
}

static void resize_case(dwconv_node node, const int64_t in[4], const int64_t size[2], int number, rng *r) {
    static const strides layouts[] = {PACKED, GAPS, FLIPPED};
    node_case c = {.node = node, .inputs = 1, .oracle = resize_oracle, .tolerance = 2e-6};
    c.node.kind = DWCONV_RESIZE;
    c.in[0] = array_create(4, in, layouts[number % 3], number % 2, r);
    c.out = array_create(4, (int64_t[]){in[0], size[0], size[1], in[3]}, layouts[number / 3 % 3],
                         number / 2 % 2, r);
    CONTEXT("resize %d, coordinates %d, rounding %d, %lldx%lldx%lldx%lld to %lldx%lld", (int)node.function,
            (int)node.coordinates, (int)node.rounding, (long long)in[0], (long long)in[1], (long long)in[2],
            (long long)in[3], (long long)size[0], (long long)size[1]);
    check_node(&c);
    node_case_free(&c);
}

static void test_resizing(rng *r) {
    static const int64_t sizes[][2] = {{14, 18}, {7, 9}, {3, 4}, {1, 1}, {5, 23}, {20, 2}};
    int number = 0;
    for (int k = 0; k < CHANNEL_COUNTS; k++)
        for (int coordinates = 0; coordinates < DWCONV_COORDINATES_COUNT; coordinates++)
            for (int linear = 0; linear < 2; linear++, number++) {
                dwconv_node node = {.function = linear ? DWCONV_BILINEAR : DWCONV_NEAREST,
                                    .coordinates = (dwconv_coordinates)coordinates,
                                    .rounding = (dwconv_rounding)(number / 2 % DWCONV_ROUNDING_COUNT)};
                if (number % 4 == 3) node.parameters[0] = 1.75f;
                if (number % 8 > 4) node.parameters[1] = 0.625f;
                const int64_t in[4] = {1 + number % 2, number % 9 ? 7 : 1, 9, channel_counts[k]};
                resize_case(node, in, sizes[number % 6], number, r);
                resize_case(node, in, sizes[(number + k) % 6], number + 1, r);
            }
    for (int linear = 0; linear < 2; linear++) { /* large enough to be shared */
        const dwconv_node node = {.function = linear ? DWCONV_BILINEAR : DWCONV_NEAREST,
                                  .coordinates = DWCONV_HALF_PIXEL};
        resize_case(node, (int64_t[]){1, 40, 40, 24}, (int64_t[]){80, 80}, 0, r);
        resize_case(node, (int64_t[]){2, 100, 120, 3}, (int64_t[]){157, 190}, 0, r);
    }
}

/* ---- what is refused ------------------------------------------------------------------------ */

static dwconv_status status_of(const dwconv_node *node, const int64_t in[4], const int64_t out[4],
                               strides how) {
    rng r = {9};
    node_case c = {.node = *node, .inputs = 1};
    c.in[0] = array_create(4, in, how, 0, &r);
    c.out = array_create(4, out, PACKED, 0, &r);
    const dwconv_threads alone = {.count = 1};
    const dwc_node_call call = node_call(&c, dwc_kernel_table_of("baseline"), &alone);
    const dwconv_status status = class_of(node->kind)->check(&call);
    node_case_free(&c);
    return status;
}

static void test_refusals(void) {
    const int64_t in[4] = {1, 6, 6, 4}, out[4] = {1, 3, 3, 4}, other[4] = {1, 3, 3, 5};
    dwconv_node pool = {
        .kind = DWCONV_POOL, .function = DWCONV_MEAN, .window = {.kernel_h = 2, .kernel_w = 2}};
    CONTEXT("refused nodes");
    CHECK_STATUS(DWCONV_OK, status_of(&pool, in, out, PACKED));
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(&pool, in, other, PACKED));
    CHECK_STATUS(DWCONV_BAD_LAYOUT, status_of(&pool, in, out, STEPS));
    pool.window.padding = DWCONV_SAME;
    CHECK_STATUS(DWCONV_BAD_PADDING, status_of(&pool, in, out, PACKED));
    pool.window.padding = DWCONV_EXPLICIT;
    pool.function = DWCONV_SUM;
    CHECK_STATUS(DWCONV_BAD_VALUE, status_of(&pool, in, out, PACKED));
    dwconv_node resize = {.kind = DWCONV_RESIZE, .function = DWCONV_BILINEAR, .parameters = {0.5f, -1}};
    CHECK_STATUS(DWCONV_BAD_VALUE, status_of(&resize, in, out, PACKED));
    resize.parameters[1] = 0.5f;
    CHECK_STATUS(DWCONV_OK, status_of(&resize, in, out, PACKED));
    CHECK_STATUS(DWCONV_BAD_SHAPE, status_of(&resize, in, other, PACKED));
    resize.function = DWCONV_MEAN;
    CHECK_STATUS(DWCONV_BAD_VALUE, status_of(&resize, in, out, PACKED));
}

void test_nodes(void) {
    rng r = {11};
    test_pooling(&r);
    test_resizing(&r);
    test_refusals();
}
