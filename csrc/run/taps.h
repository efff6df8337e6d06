/* Which taps of a window are on an image, along one axis. */
#ifndef DWCONV_TAPS_H
#define DWCONV_TAPS_H

#include "../graph/integers.h"

/* Valid kernel positions of an output whose first tap lies at `origin`. */
typedef struct tap_range {
    int64_t begin, end;
} tap_range;

static inline tap_range valid_taps(int64_t origin, int64_t kernel, int64_t dilation, int64_t size) {
    tap_range taps = {0, 0};
    if (origin < 0) taps.begin = divide_up(-origin, dilation);
    if (origin < size) taps.end = smaller(kernel, divide_up(size - origin, dilation));
    if (taps.begin > taps.end) taps.begin = taps.end;
    return taps;
}

static inline int same_taps(tap_range a, tap_range b) { return a.begin == b.begin && a.end == b.end; }

/* Outputs that the axis sees with the taps of output `o`, up to `end`. */
static inline int64_t run_length(int64_t o, int64_t end, int64_t pad, int64_t kernel, int64_t stride,
                                 int64_t dilation, int64_t size) {
    const tap_range first = valid_taps(o * stride - pad, kernel, dilation, size);
    if (first.begin == 0 && first.end == kernel) { /* the interior: as far as the last tap stays inside */
        const int64_t last = (size - 1 - (kernel - 1) * dilation + pad) / stride;
        return smaller(last + 1, end) - o;
    }
    int64_t next = o + 1;
    while (next < end && same_taps(first, valid_taps(next * stride - pad, kernel, dilation, size))) next++;
    return next - o;
}

#endif
