/* See input.h. */
#include "input.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_FLOATS = 1 << 15 };

uint8_t read_byte(reader *r) {
    if (r->size == 0) return 0;
    r->size--;
    return *r->data++;
}

int64_t read_size(reader *r, int64_t low, int64_t high) {
    static const int64_t absurd[] = {
        0, -1, INT32_MAX, (int64_t)1 << 31, (int64_t)1 << 32, (int64_t)1 << 62, INT64_MAX, INT64_MIN};
    const int byte = read_byte(r);
    if (byte >= 248) return absurd[byte - 248];
    return low + byte % (high - low + 1);
}

float *small_integers(int64_t count) {
    float *floats = malloc((size_t)count * sizeof *floats);
    uint32_t state = 12345;
    if (!floats) abort();
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        floats[i] = (float)(int)(state >> 24) - 127.5f > 0 ? (float)(state >> 30) - 1.0f
                                                           : (float)(state >> 30) - 2.0f;
    }
    return floats;
}

/* An array of a * b * c * d floats, as far as the fuzzer affords it. NULL sometimes. */
static const float *read_array(input *in, reader *r, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t sizes[4] = {a, b, c, d};
    int64_t count = 1;
    for (int i = 0; i < 4; i++) {
        if (sizes[i] < 1 || sizes[i] > MAX_FLOATS || count > MAX_FLOATS) {
            in->vast = 1;
            count = 1;
            break;
        }
        count *= sizes[i];
    }
    if (count > MAX_FLOATS) {
        in->vast = 1;
        count = 1;
    }
    if (read_byte(r) % 32 == 31) return NULL;
    return in->arrays[in->array_count++] = small_integers(count);
}

/* Every layer may enlarge what the one before it gave. */
static void grow(input *in, double terms) { in->bound = in->bound * 2 * terms + 2; }

static dwconv_activation read_activation(input *in, reader *r) {
    static const float parameters[] = {0.0f, 1.0f, -1.0f, 6.0f, 100.0f, -INFINITY, INFINITY, NAN};
    dwconv_activation a = {.kind = (dwconv_activation_kind)(read_byte(r) % (DWCONV_ACTIVATION_COUNT + 1))};
    a.a = parameters[read_byte(r) % 8];
    a.b = parameters[read_byte(r) % 8];
    if (a.kind > DWCONV_CLIP) in->exact = 0;
    if (a.kind == DWCONV_CLIP || a.kind == DWCONV_LEAKY_RELU) in->bound = in->bound * 100 + 100;
    /* An infinite slope or clip makes NaN out of zeros in the next layer: still defined, no longer comparable. */
    if (isinf(a.a) || isinf(a.b)) in->bound = INFINITY;
    return a;
}

static dwconv_window read_window(reader *r) {
    dwconv_window w = {.kernel_h = read_size(r, 1, 7), .kernel_w = read_size(r, 1, 7)};
    const int square = read_byte(r) % 2;
    if (square) w.kernel_w = w.kernel_h;
    w.stride_h = read_size(r, 0, 3);
    w.stride_w = square ? w.stride_h : read_size(r, 0, 3);
    w.dilation_h = square ? 1 : read_size(r, 0, 3);
    w.dilation_w = square ? 1 : read_size(r, 0, 3);
    w.padding = (dwconv_padding)(read_byte(r) % 4);
    if (w.padding == DWCONV_EXPLICIT || read_byte(r) == 255) {
        w.pad_top = read_size(r, 0, 4);
        w.pad_bottom = read_size(r, 0, 4);
        w.pad_left = read_size(r, 0, 4);
        w.pad_right = read_size(r, 0, 4);
    }
    return w;
}

static dwconv_depthwise_desc read_depthwise(input *in, reader *r, int64_t channels) {
    dwconv_depthwise_desc d = {.channels = channels, .window = read_window(r)};
    d.multiplier = read_byte(r) % 2 ? read_size(r, 0, 4) : 1;
    const int64_t multiplier = d.multiplier ? d.multiplier : 1;
    d.filter = read_array(in, r, d.window.kernel_h, d.window.kernel_w, channels, multiplier);
    d.bias = read_byte(r) % 2 ? read_array(in, r, channels, multiplier, 1, 1) : NULL;
    grow(in, (double)d.window.kernel_h * (double)d.window.kernel_w);
    d.activation = read_activation(in, r);
    return d;
}

static dwconv_pointwise_desc read_pointwise(input *in, reader *r, int64_t inputs, int64_t outputs) {
    dwconv_pointwise_desc p = {.in_channels = inputs, .out_channels = outputs};
    p.stride_h = read_byte(r) % 8 ? 0 : read_size(r, 0, 3);
    p.stride_w = read_byte(r) % 8 ? 1 : read_size(r, 0, 3);
    p.filter = read_array(in, r, inputs, outputs, 1, 1);
    p.bias = read_byte(r) % 2 ? read_array(in, r, outputs, 1, 1, 1) : NULL;
    grow(in, (double)inputs);
    p.activation = read_activation(in, r);
    return p;
}

static int is_small(int64_t size) { return size > 0 && size < 100; }

static dwconv_conv_desc read_conv(input *in, reader *r) {
    dwconv_conv_desc c = {.groups = read_byte(r) % 2 ? read_size(r, 0, 6) : 1};
    const int64_t groups = is_small(c.groups) ? c.groups : 1;
    const int64_t inputs = read_size(r, 1, 9), outputs = read_size(r, 1, 40);
    const int fits = read_byte(r) % 16 != 15;
    c.in_channels = fits && is_small(inputs) ? inputs * groups : inputs;
    c.out_channels = fits && is_small(outputs) ? outputs * groups : outputs;
    c.window = read_window(r);
    c.filter =
        read_array(in, r, c.window.kernel_h, c.window.kernel_w, c.in_channels / groups, c.out_channels);
    c.bias = read_byte(r) % 2 ? read_array(in, r, c.out_channels, 1, 1, 1) : NULL;
    grow(in, (double)c.window.kernel_h * (double)c.window.kernel_w * (double)c.in_channels);
    c.activation = read_activation(in, r);
    return c;
}

/* Mostly the channels that the layer before gives. */
static int64_t fitting(reader *r, int64_t channels, int64_t multiplier) {
    const uint8_t byte = read_byte(r);
    if (byte >= 250 || channels < 1 || channels > 1000 || multiplier < 0 || multiplier > 1000)
        return read_size(r, 1, 64);
    return channels * (multiplier ? multiplier : 1);
}

static void read_separable(input *in, reader *r, dwconv_separable_desc *s) {
    s->depthwise = read_depthwise(in, r, read_size(r, 1, 40));
    const int64_t inputs = fitting(r, s->depthwise.channels, s->depthwise.multiplier);
    s->pointwise = read_pointwise(in, r, inputs, read_size(r, 1, 72));
}

static void read_inverted_residual(input *in, reader *r, dwconv_inverted_residual_desc *b) {
    const int64_t inputs = read_size(r, 1, 24);
    const int expands = read_byte(r) % 4 != 0;
    const int64_t hidden = expands ? read_size(r, 1, 72) : inputs;
    if (expands) b->expand = read_pointwise(in, r, inputs, hidden);
    b->depthwise = read_depthwise(in, r, fitting(r, hidden, 1));
    if (read_byte(r) % 4 == 0) {
        const double bound = in->bound;
        const int64_t scaled = fitting(r, b->depthwise.channels, b->depthwise.multiplier);
        const int64_t few = read_size(r, 1, 20);
        b->squeeze = read_pointwise(in, r, scaled, few);
        b->excite = read_pointwise(in, r, few, scaled);
        in->bound *= bound;
        in->exact = 0; /* the mean */
    }
    const int64_t outputs = read_byte(r) % 2 ? inputs : read_size(r, 1, 40);
    b->project = read_pointwise(in, r, fitting(r, b->depthwise.channels, b->depthwise.multiplier), outputs);
    b->residual = (dwconv_residual)(read_byte(r) % 4);
    in->bound += 2;
}

void input_read(input *in, reader *r) {
    *in = (input){.exact = 1, .bound = 2};
    dwconv_desc *d = &in->desc;
    d->operation = (dwconv_operation)(read_byte(r) % (DWCONV_OPERATION_COUNT + 1));
    d->isa = (dwconv_isa)(read_byte(r) % (DWCONV_ISA_COUNT + 1));
    const uint8_t rare = read_byte(r);
    d->dtype = rare == 255 ? DWCONV_DTYPE_COUNT : DWCONV_F32;
    d->flags = rare == 254 ? 2u : rare % 2;
    switch (d->operation) {
        case DWCONV_DEPTHWISE: d->depthwise = read_depthwise(in, r, read_size(r, 1, 72)); break;
        case DWCONV_POINTWISE:
            d->pointwise = read_pointwise(in, r, read_size(r, 1, 72), read_size(r, 1, 150));
            break;
        case DWCONV_CONV: d->conv = read_conv(in, r); break;
        case DWCONV_SEPARABLE: read_separable(in, r, &d->separable); break;
        default: read_inverted_residual(in, r, &d->inverted_residual);
    }
}

void input_free(input *in) {
    while (in->array_count > 0) free(in->arrays[--in->array_count]);
}
