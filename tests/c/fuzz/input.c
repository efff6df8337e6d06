/* See input.h. */
#include "input.h"

#include <math.h>
#include <stddef.h>
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

static dwconv_conv_desc read_part(input *in, reader *r, int64_t inputs, int64_t outputs, int64_t groups,
                                  dwconv_window window) {
    static const size_t sizes[] = {0, 8, offsetof(dwconv_conv_desc, bias),
                                   offsetof(dwconv_conv_desc, activation)};
    const uint8_t odd = read_byte(r);
    dwconv_conv_desc c = {.size = odd >= 252 ? sizes[odd - 252] : sizeof c,
                          .in_channels = inputs,
                          .out_channels = outputs,
                          .groups = groups,
                          .window = window};
    const int64_t divisor = groups > 0 ? groups : 1, kernel_h = window.kernel_h ? window.kernel_h : 1,
                  kernel_w = window.kernel_w ? window.kernel_w : 1;
    c.filter = read_array(in, r, kernel_h, kernel_w, inputs / divisor, outputs);
    c.bias = read_byte(r) % 2 ? read_array(in, r, outputs, 1, 1, 1) : NULL;
    grow(in, (double)kernel_h * (double)kernel_w * (double)(inputs / divisor));
    c.activation = read_activation(in, r);
    return c;
}

static const dwconv_conv_desc *read_pointwise(input *in, reader *r, dwconv_conv_desc *part, int64_t inputs,
                                              int64_t outputs) {
    dwconv_window window = {0};
    if (read_byte(r) % 16 == 15) window = read_window(r);
    *part = read_part(in, r, inputs, outputs, read_byte(r) % 16 == 15 ? read_size(r, 0, 4) : 0, window);
    return read_byte(r) == 255 ? NULL : part;
}

static int is_small(int64_t size) { return size > 0 && size < 1000; }

/* Mostly the channels that the part before gives. */
static int64_t fitting(reader *r, int64_t channels) {
    return read_byte(r) >= 250 || !is_small(channels) ? read_size(r, 1, 64) : channels;
}

static void read_depthwise(input *in, reader *r, int64_t channels) {
    const int64_t multiplier = read_byte(r) % 2 ? read_size(r, 1, 4) : 1;
    const int64_t outputs = is_small(channels) && is_small(multiplier) ? channels * multiplier : multiplier;
    in->conv = read_part(in, r, channels, outputs, read_byte(r) == 255 ? read_size(r, 0, 4) : channels,
                         read_window(r));
}

static void read_dense(input *in, reader *r) {
    const int64_t groups = read_byte(r) % 2 ? read_size(r, 0, 6) : 1, factor = is_small(groups) ? groups : 1;
    const int64_t inputs = read_size(r, 1, 72), outputs = read_size(r, 1, 150);
    const int fits = read_byte(r) % 16 != 15 && is_small(inputs) && is_small(outputs);
    const dwconv_window window = read_byte(r) % 4 ? read_window(r) : (dwconv_window){0};
    in->conv =
        read_part(in, r, fits ? inputs * factor : inputs, fits ? outputs * factor : outputs, groups, window);
}

static void read_block(input *in, reader *r) {
    dwconv_desc *d = &in->desc;
    const int64_t inputs = read_size(r, 1, 40);
    const int expands = read_byte(r) % 4 >= 2;
    const int64_t hidden = expands ? read_size(r, 1, 72) : inputs;
    if (expands) d->expand = read_pointwise(in, r, &in->expand, inputs, hidden);
    read_depthwise(in, r, fitting(r, hidden));
    const int64_t wide = in->conv.out_channels;
    if (read_byte(r) % 4 == 0) {
        const double bound = in->bound;
        const int64_t scaled = fitting(r, wide), few = read_size(r, 1, 20);
        d->squeeze = read_pointwise(in, r, &in->squeeze, scaled, few);
        d->excite = read_pointwise(in, r, &in->excite, few, scaled);
        in->bound *= bound;
        in->exact = 0; /* the mean */
    }
    const int64_t outputs = read_byte(r) % 2 ? inputs : read_size(r, 1, 72);
    d->project = read_pointwise(in, r, &in->project, fitting(r, wide), outputs);
    d->residual = (dwconv_residual)(read_byte(r) % 4);
    in->bound += 2;
}

void input_read(input *in, reader *r) {
    *in = (input){.exact = 1, .bound = 2};
    dwconv_desc *d = &in->desc;
    const uint8_t rare = read_byte(r);
    *d = (dwconv_desc){.size = rare == 253 ? offsetof(dwconv_desc, conv) : sizeof *d,
                       .dtype = rare == 255 ? DWCONV_DTYPE_COUNT : DWCONV_F32,
                       .flags = rare == 254 ? 2u : rare % 2,
                       .conv = rare == 252 ? NULL : &in->conv};
    const uint8_t isa = read_byte(r) % 16;
    d->isa = isa == 15 ? "none" : isa > 7 ? NULL : dwconv_isa_name(isa % dwconv_isa_count());
    switch (read_byte(r) % 4) {
        case 0: read_depthwise(in, r, read_size(r, 1, 72)); break;
        case 1: read_dense(in, r); break;
        default: read_block(in, r);
    }
}

void input_free(input *in) {
    while (in->array_count > 0) free(in->arrays[--in->array_count]);
}
