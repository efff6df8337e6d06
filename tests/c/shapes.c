/* The grid of shapes of the C tests, and random ones. */
#include <stdio.h>

#include "problem.h"

#define WINDOW(kh, kw, sh, sw, dh, dw) \
    .window = {                        \
        .kernel_h = kh, .kernel_w = kw, .stride_h = sh, .stride_w = sw, .dilation_h = dh, .dilation_w = dw
#define VALID }
#define SAME                 \
    , .padding = DWCONV_SAME \
    }
#define PADS(t, b, l, r)                                                                       \
    , .padding = DWCONV_EXPLICIT, .pad_top = t, .pad_bottom = b, .pad_left = l, .pad_right = r \
    }

/* A geometry that every operation runs: channels of every kind of tail, kernels of every table row and
 * of none, padding wider than the image, and steps that are not equal in both directions. */
#define GEOMETRY(n, h, w, c, m, o) \
    .batch = n, .height = h, .width = w, .in_channels = c, .multiplier = m, .out_channels = o
static const shape geometries[] = {
    {GEOMETRY(1, 1, 1, 1, 1, 1), WINDOW(1, 1, 1, 1, 1, 1) VALID},
    {GEOMETRY(0, 5, 5, 3, 1, 4), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(2, 7, 9, 3, 1, 8), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 8, 8, 16, 1, 16), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 14, 13, 17, 1, 33), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(2, 11, 12, 24, 1, 24), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 12, 11, 40, 1, 7), WINDOW(3, 3, 2, 2, 1, 1) VALID},
    {GEOMETRY(1, 13, 17, 32, 1, 48), WINDOW(3, 3, 1, 1, 1, 1) VALID},
    {GEOMETRY(1, 9, 10, 15, 1, 15), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 10, 11, 8, 1, 9), WINDOW(5, 5, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 15, 16, 20, 1, 12), WINDOW(7, 7, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 16, 15, 9, 1, 17), WINDOW(7, 7, 2, 2, 1, 1) PADS(3, 3, 3, 3)},
    {GEOMETRY(1, 6, 7, 5, 2, 6), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 7, 6, 3, 8, 5), WINDOW(3, 3, 2, 1, 1, 1) SAME},
    {GEOMETRY(2, 5, 6, 17, 3, 4), WINDOW(2, 2, 1, 1, 1, 1) VALID},
    {GEOMETRY(1, 12, 12, 16, 1, 16), WINDOW(3, 3, 1, 1, 2, 2) SAME},
    {GEOMETRY(2, 17, 30, 20, 1, 8), WINDOW(3, 3, 1, 1, 2, 2) SAME},
    {GEOMETRY(1, 16, 29, 5, 3, 6), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 14, 14, 512, 1, 3), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 13, 20, 11, 1, 3), WINDOW(3, 3, 2, 3, 3, 5) SAME},
    {GEOMETRY(1, 4, 4, 6, 1, 6), WINDOW(3, 3, 1, 1, 18, 18) SAME},
    {GEOMETRY(1, 3, 25, 10, 1, 2), WINDOW(1, 7, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 25, 3, 10, 1, 2), WINDOW(7, 1, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 12, 12, 13, 1, 13), WINDOW(4, 4, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 39, 11, 1, 3, 3), WINDOW(11, 11, 1, 3, 1, 1) VALID},
    {GEOMETRY(1, 10, 10, 4, 1, 4), WINDOW(9, 9, 1, 1, 1, 1) PADS(8, 1, 0, 5)},
    {GEOMETRY(1, 2, 2, 19, 1, 4), WINDOW(3, 3, 1, 1, 1, 1) PADS(7, 5, 0, 9)},
    {GEOMETRY(3, 1, 1, 33, 1, 5), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 5, 40, 2, 1, 64), WINDOW(3, 3, 3, 3, 1, 1) PADS(0, 2, 1, 0)},
    {GEOMETRY(1, 30, 30, 3, 1, 32), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 6, 6, 130, 1, 129), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 33, 33, 2, 1, 2), WINDOW(31, 31, 1, 1, 1, 1) SAME},
    /* few channels: rows of one strip, of several, with and without an edge, and kernels in passes of 3 and 1 rows */
    {GEOMETRY(2, 13, 131, 1, 1, 2), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 9, 47, 3, 1, 2), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 8, 52, 3, 1, 3), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 9, 37, 4, 1, 2), WINDOW(4, 2, 1, 1, 2, 3) VALID},
    {GEOMETRY(1, 7, 65, 2, 1, 2), WINDOW(7, 7, 1, 1, 1, 1) PADS(2, 5, 6, 1)},
    /* rows of tiles of two widths, with and without an edge, and channels that are left over */
    {GEOMETRY(1, 9, 14, 24, 1, 30), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(2, 8, 9, 60, 1, 3), WINDOW(3, 3, 1, 1, 1, 1) PADS(1, 0, 0, 2)},
    {GEOMETRY(1, 7, 22, 16, 1, 8), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(1, 6, 13, 24, 1, 3), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 5, 9, 40, 1, 2), WINDOW(5, 5, 1, 1, 1, 1) PADS(2, 2, 1, 2)},
    {GEOMETRY(1, 9, 14, 11, 1, 2), WINDOW(7, 7, 1, 1, 1, 1) SAME},
    /* tiles that spread inputs for a multiplier: vectors of four inputs and of one, the last of them at the end of a pixel, or
     * overlapping; three inputs, or outputs that fill no vector, have none */
    {GEOMETRY(2, 5, 9, 12, 2, 4), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 8, 6, 16, 3, 2), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 5, 12, 10, 2, 3), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 9, 13, 5, 3, 2), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {GEOMETRY(2, 8, 10, 7, 5, 2), WINDOW(3, 3, 2, 2, 1, 1) PADS(1, 0, 0, 1)},
    {GEOMETRY(1, 6, 9, 4, 8, 1), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 7, 9, 4, 9, 1), WINDOW(7, 7, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 5, 7, 3, 8, 1), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 3, 400, 8, 2, 2), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    /* sequences, rows and columns: tiles of neighbours that share inputs and that do not, of whole lines, copied, and what is left */
    {GEOMETRY(2, 1, 31, 24, 1, 5), WINDOW(1, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(2, 29, 1, 28, 1, 5), WINDOW(6, 1, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 1, 45, 24, 1, 3), WINDOW(1, 3, 1, 2, 1, 1) SAME},
    {GEOMETRY(1, 40, 1, 17, 1, 3), WINDOW(3, 1, 1, 1, 4, 1) VALID},
    {GEOMETRY(1, 1, 24, 256, 1, 1), WINDOW(1, 3, 1, 1, 1, 5) SAME},
    {GEOMETRY(1, 1, 24, 512, 1, 1), WINDOW(1, 3, 1, 1, 1, 3) SAME},
    {GEOMETRY(1, 1, 44, 256, 1, 1), WINDOW(1, 11, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 36, 1, 512, 1, 1), WINDOW(9, 1, 2, 1, 1, 1) SAME},
    {GEOMETRY(2, 1, 20, 16, 1, 4), WINDOW(1, 4, 1, 1, 1, 1) PADS(0, 0, 13, 30)},
    {GEOMETRY(1, 33, 1, 24, 1, 2), WINDOW(3, 1, 3, 2, 7, 1) PADS(5, 0, 0, 1)},
    {GEOMETRY(2, 50, 1, 3, 1, 4), WINDOW(7, 1, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 40, 1, 6, 2, 3), WINDOW(3, 1, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 120, 1, 1, 1, 1), WINDOW(50, 1, 1, 1, 1, 1) PADS(5, 3, 0, 0)},
    /* rows that are copied in bands of columns, some of which see padding alone */
    {GEOMETRY(1, 3, 34, 256, 1, 1), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {GEOMETRY(1, 2, 30, 256, 1, 1), WINDOW(7, 7, 1, 1, 1, 1) PADS(3, 3, 20, 25)},
    /* dilations so wide that strips are of neighbours, with padding wider than the image too */
    {GEOMETRY(1, 12, 29, 20, 1, 3), WINDOW(3, 3, 1, 1, 5, 9) SAME},
    {GEOMETRY(1, 9, 37, 9, 1, 2), WINDOW(3, 3, 2, 3, 5, 4) SAME},
    {GEOMETRY(1, 8, 31, 5, 2, 4), WINDOW(3, 3, 1, 1, 6, 6) SAME},
    {GEOMETRY(1, 6, 40, 12, 1, 2), WINDOW(5, 3, 1, 1, 2, 12) PADS(3, 0, 30, 1)},
    {GEOMETRY(1, 9, 28, 24, 1, 2), WINDOW(3, 3, 1, 1, 6, 6) SAME},
    {GEOMETRY(1, 6, 21, 3, 8, 2), WINDOW(2, 2, 1, 1, 5, 5) SAME},
    /* windows and strides of more rows than a kernel gets pointers to: in passes, with tiles and vectors that would overlap */
    {GEOMETRY(1, 30, 10, 20, 1, 2), WINDOW(66, 3, 1, 1, 1, 1) PADS(40, 30, 1, 1)},
    {GEOMETRY(1, 140, 9, 11, 2, 1), WINDOW(130, 2, 3, 1, 1, 1) VALID},
    {GEOMETRY(2, 75, 7, 9, 1, 1), WINDOW(3, 3, 70, 1, 1, 1) SAME},
};
enum { GEOMETRIES = sizeof geometries / sizeof geometries[0] };

/* Blocks so wide that bands are walked down with some of their columns at a time. */
#define WIDE(e) .operation = INVERTED_RESIDUAL, .expanded = e
static const shape wide_blocks[] = {
    {WIDE(450), GEOMETRY(2, 5, 61, 3, 1, 3), WINDOW(3, 3, 1, 1, 1, 1) SAME}, /* a residual */
    {WIDE(215), GEOMETRY(1, 7, 121, 5, 1, 17), WINDOW(5, 5, 2, 2, 1, 1) SAME},
    {WIDE(300), GEOMETRY(1, 9, 77, 2, 1, 4), WINDOW(3, 3, 1, 1, 3, 3) SAME},
    {WIDE(230), GEOMETRY(1, 6, 87, 4, 2, 5), WINDOW(4, 3, 1, 1, 1, 1) SAME},
    {WIDE(80), GEOMETRY(1, 11, 187, 3, 1, 8),
     WINDOW(9, 3, 1, 3, 1, 1) VALID}, /* the last columns see nothing */
    {WIDE(600), GEOMETRY(1, 4, 20, 2, 1, 3), WINDOW(3, 3, 1, 1, 1, 1) PADS(1, 2, 40, 37)},
    {.operation = SEPARABLE, GEOMETRY(1, 4, 125, 64, 11, 9), WINDOW(3, 5, 1, 1, 1, 1) VALID},
    /* Of so many channels that one pass has room for a row: in slices. */
    {WIDE(1681), GEOMETRY(2, 9, 10, 3, 1, 3), WINDOW(7, 7, 1, 1, 1, 1) SAME},
    {WIDE(1700), GEOMETRY(1, 19, 17, 2, 1, 3), WINDOW(7, 5, 2, 1, 1, 1) SAME},
};
enum { WIDE_BLOCKS = sizeof wide_blocks / sizeof wide_blocks[0] };

static const dwconv_activation activations[] = {
    {DWCONV_IDENTITY, 0, 0},     {DWCONV_RELU, 0, 0},          {DWCONV_RELU6, 0, 0},
    {DWCONV_CLIP, -0.5f, 0.75f}, {DWCONV_LEAKY_RELU, 0.2f, 0}, {DWCONV_HARD_SIGMOID, 0, 0},
    {DWCONV_HARD_SWISH, 0, 0},   {DWCONV_SIGMOID, 0, 0},       {DWCONV_SILU, 0, 0},
    {DWCONV_TANH, 0, 0},         {DWCONV_GELU_ERF, 0, 0},      {DWCONV_GELU_TANH, 0, 0}};
enum { ACTIVATIONS = sizeof activations / sizeof activations[0] };

static int64_t greatest_common_divisor(int64_t a, int64_t b) {
    return b ? greatest_common_divisor(b, a % b) : a;
}

/* Fields that an operation does not have are 0, so that a shape says what is run. */
static void specialise(shape *s, int variant) {
    s->groups = s->operation == CONV ? 1 : 0;
    if (s->operation == CONV && variant % 2)
        s->groups = greatest_common_divisor(s->in_channels, s->out_channels);
    if (s->operation == CONV || s->operation == POINTWISE) s->multiplier = 0;
    if (s->operation == DEPTHWISE) s->out_channels = 0;
    if (s->operation == POINTWISE)
        s->window = (dwconv_window){.kernel_h = 1,
                                    .kernel_w = 1,
                                    .stride_h = s->window.stride_h,
                                    .stride_w = s->window.stride_w,
                                    .dilation_h = 1,
                                    .dilation_w = 1};
    if (s->operation == INVERTED_RESIDUAL && variant % 3) s->expanded = 6 * s->in_channels + variant % 5;
    if (s->expanded > 200) s->expanded = 200;
    if (s->operation == INVERTED_RESIDUAL && variant % 2) s->squeezed = 1 + s->in_channels / 2 + variant;
}

/* Groups of few channels, several of which fill a vector: whole vectors and what is left, fewer inputs than outputs, a vector
 * for each group; with tiles, without, and in passes of kernel rows; last, two that go through the matrix kernel. */
#define THIN(g) .operation = CONV, .groups = g
static const shape thin_groups[] = {
    {THIN(8), GEOMETRY(2, 8, 15, 32, 0, 32), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(13), GEOMETRY(1, 7, 9, 26, 0, 26), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(5), GEOMETRY(1, 9, 16, 20, 0, 20), WINDOW(3, 3, 2, 2, 1, 1) SAME},
    {THIN(7), GEOMETRY(1, 15, 16, 14, 0, 28), WINDOW(3, 3, 2, 2, 1, 1) PADS(1, 0, 0, 1)},
    {THIN(3), GEOMETRY(1, 9, 9, 24, 0, 24), WINDOW(3, 3, 1, 1, 1, 1) VALID},
    {THIN(3), GEOMETRY(1, 8, 11, 48, 0, 48), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(4), GEOMETRY(1, 8, 7, 12, 0, 32), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(9), GEOMETRY(2, 6, 7, 36, 0, 36), WINDOW(5, 5, 1, 1, 1, 1) SAME},
    {THIN(12), GEOMETRY(1, 5, 6, 24, 0, 24), WINDOW(1, 1, 1, 1, 1, 1) VALID},
    {THIN(6), GEOMETRY(1, 5, 13, 24, 0, 24), WINDOW(1, 1, 2, 2, 1, 1) PADS(1, 1, 2, 0)},
    {THIN(10), GEOMETRY(1, 12, 21, 40, 0, 40), WINDOW(3, 3, 1, 1, 2, 2) SAME},
    {THIN(10), GEOMETRY(1, 7, 31, 20, 0, 20), WINDOW(3, 3, 1, 1, 6, 6) SAME},
    {THIN(11), GEOMETRY(1, 11, 12, 22, 0, 44), WINDOW(3, 2, 2, 3, 1, 1) SAME},
    {THIN(4), GEOMETRY(1, 3, 3, 16, 0, 16), WINDOW(3, 3, 1, 1, 1, 1) PADS(4, 2, 5, 3)},
    {THIN(2), GEOMETRY(1, 9, 9, 4, 0, 8), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(6), GEOMETRY(1, 1, 40, 24, 0, 24), WINDOW(1, 5, 1, 1, 1, 1) SAME},
    {THIN(6), GEOMETRY(1, 40, 1, 24, 0, 24), WINDOW(3, 1, 2, 1, 1, 1) SAME},
    {THIN(6), GEOMETRY(1, 75, 5, 12, 0, 24), WINDOW(66, 2, 1, 1, 1, 1) PADS(30, 20, 1, 0)},
    {THIN(8), GEOMETRY(1, 9, 9, 24, 0, 24), WINDOW(3, 3, 1, 1, 1, 1) SAME},
    {THIN(8), GEOMETRY(1, 9, 9, 32, 0, 16), WINDOW(3, 3, 1, 1, 1, 1) SAME},
};
enum { THIN_GROUPS = sizeof thin_groups / sizeof thin_groups[0] };

/* Every geometry with every operation, then wide blocks and thin groups; activations and biases take turns. */
const shape *grid_shape(int index) {
    static shape s;
    const int wide = index - GEOMETRIES * OPERATION_COUNT, thin = wide - WIDE_BLOCKS;
    if (thin >= THIN_GROUPS) return NULL;
    s = wide < 0 ? geometries[index / OPERATION_COUNT] : thin < 0 ? wide_blocks[wide] : thin_groups[thin];
    if (wide < 0) s.operation = (operation)(index % OPERATION_COUNT);
    s.activation = activations[index % ACTIVATIONS];
    s.gate = activations[(index / 2 + 5) % ACTIVATIONS];
    s.has_bias = index % 3 != 0;
    if (wide < 0) specialise(&s, index / OPERATION_COUNT + (int)s.operation);
    return &s;
}

shape random_shape(rng *r) {
    const int64_t n = rng_range(r, 0, 7) ? rng_range(r, 1, 2) : rng_range(r, 0, 3);
    shape s = {
        GEOMETRY(n, rng_range(r, 1, 20), rng_range(r, 1, 20), rng_range(r, 1, 40), 1, rng_range(r, 1, 40)),
        WINDOW(rng_range(r, 1, 7), rng_range(r, 1, 7), rng_range(r, 1, 3), rng_range(r, 1, 3), 1, 1) VALID};
    s.operation = (operation)rng_range(r, 0, OPERATION_COUNT - 1);
    if (rng_range(r, 0, 3) == 0) s.multiplier = rng_range(r, 2, 5);
    if (rng_range(r, 0, 1)) s.window.kernel_w = s.window.kernel_h = 2 * rng_range(r, 1, 3) + 1;
    if (rng_range(r, 0, 1)) s.window.stride_w = s.window.stride_h = rng_range(r, 1, 2);
    if (rng_range(r, 0, 3) == 0)
        s.window.dilation_h = rng_range(r, 1, 4), s.window.dilation_w = rng_range(r, 1, 4);
    s.window.padding = (dwconv_padding)rng_range(r, 0, 2);
    if (s.window.padding == DWCONV_EXPLICIT) {
        s.window.pad_top = rng_range(r, 0, 4);
        s.window.pad_bottom = rng_range(r, 0, 4);
        s.window.pad_left = rng_range(r, 0, 4);
        s.window.pad_right = rng_range(r, 0, 4);
    }
    s.activation = activations[rng_range(r, 0, ACTIVATIONS - 1)];
    s.gate = activations[rng_range(r, 0, ACTIVATIONS - 1)];
    s.has_bias = (int)rng_range(r, 0, 1);
    s.without_residual = (int)rng_range(r, 0, 1);
    if (s.operation == INVERTED_RESIDUAL && rng_range(r, 0, 1)) s.out_channels = s.in_channels;
    specialise(&s, (int)rng_range(r, 0, 5));
    if (s.operation == CONV && rng_range(r, 0, 3) == 0) { /* thin groups, or nearly */
        s.groups = rng_range(r, 2, 20);
        s.in_channels = s.groups * rng_range(r, 1, 4);
        s.out_channels = s.groups << rng_range(r, 0, 3);
    }
    return s;
}

const char *shape_text(const shape *s) {
    static char text[400];
    static const char *const names[] = {"depthwise", "pointwise", "conv", "separable", "inverted_residual"};
    const dwconv_window *w = &s->window;
    snprintf(text, sizeof text,
             "%s %dx%dx%dx%d multiplier %d out %d groups %d expanded %d squeezed %d kernel %dx%d stride "
             "%dx%d dilation %dx%d "
             "padding %d (%d,%d,%d,%d) activation %d gate %d bias %d residual %d",
             names[s->operation], (int)s->batch, (int)s->height, (int)s->width, (int)s->in_channels,
             (int)s->multiplier, (int)s->out_channels, (int)s->groups, (int)s->expanded, (int)s->squeezed,
             (int)w->kernel_h, (int)w->kernel_w, (int)w->stride_h, (int)w->stride_w, (int)w->dilation_h,
             (int)w->dilation_w, (int)w->padding, (int)w->pad_top, (int)w->pad_bottom, (int)w->pad_left,
             (int)w->pad_right, (int)s->activation.kind, (int)s->gate.kind, s->has_bias,
             !s->without_residual);
    return text;
}
