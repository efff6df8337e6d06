/* Packs filters into the order in which kernels read them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "graph.h"

static float flushed(float weight, int flush) { return flush && fabsf(weight) < FLT_MIN ? 0.0f : weight; }

int dwc_depthwise_bytes(const dwc_depthwise_stage *s, int lanes, int64_t *bytes) {
    /* Below 2^62, as are the channels' lanes. */
    const int64_t taps = s->window.kernel_h * s->window.kernel_w * s->group_inputs;
    if (taps > INT64_MAX / 256) return 0;
    const int64_t vectors = divide_up(s->channels, lanes) + s->overlaps;
    const int64_t vector = (int64_t)sizeof(float) * lanes;
    return dwc_multiply((taps + 1 + (s->multiplier > 1)) * vector, vectors, bytes);
}

/* The vector of channels from `first` on. Lanes beyond the last channel hold zeros: they are computed and never
 * stored. The filter is [kernel_h][kernel_w][group_inputs][channels]. */
static void pack_vector(const dwc_depthwise_stage *s, const float *filter, const float *bias, int lanes,
                        int flush, int64_t first, float *to) {
    const int64_t taps = s->window.kernel_h * s->window.kernel_w, inputs = s->group_inputs,
                  channels = s->repeated ? lanes : s->channels;
    for (int lane = 0; lane < lanes; lane++) {
        const int valid = first + lane < channels;
        const int64_t channel = valid ? (first + lane) % s->channels : 0;
        to[lane] = valid && bias ? bias[channel] : 0.0f;
        if (s->multiplier > 1) { /* counted from the first input channel of the vector */
            const int64_t groups = valid ? channel / s->multiplier - first / s->multiplier : 0;
            const int32_t source = (int32_t)(groups * inputs);
            memcpy(to + s->block - lanes + lane, &source, sizeof source);
        }
        float *weight = to + lanes + lane;
        for (int64_t input = 0; input < inputs; input++)
            for (int64_t tap = 0; tap < taps; tap++, weight += lanes) {
                const int64_t row = tap * inputs + input;
                *weight = valid ? flushed(filter[row * s->channels + channel], flush) : 0.0f;
            }
    }
}

void dwc_pack_depthwise(dwc_depthwise_stage *s, const float *filter, const float *bias, int lanes, int flush,
                        float *memory) {
    s->weights = memory;
    s->input_block = s->window.kernel_h * s->window.kernel_w * lanes;
    s->block = s->group_inputs * s->input_block + (1 + (s->multiplier > 1)) * lanes;
    for (int64_t first = 0; first < s->channels; first += lanes, memory += s->block)
        pack_vector(s, filter, bias, lanes, flush, first, memory);
    s->last = s->overlaps ? memory : NULL;
    if (s->overlaps) pack_vector(s, filter, bias, lanes, flush, s->channels - lanes, memory);
}

int dwc_matmul_bytes(const dwc_matmul_stage *s, int64_t *bytes) {
    int64_t rows;
    return dwc_multiply(s->depth + 1, s->padded, &rows) &&
           dwc_multiply(rows, s->groups * (int64_t)sizeof(float), bytes);
}

/* Per group: panels of [depth][width], all `panel` wide but the last; then the biases of all groups. */
void dwc_pack_matmul(dwc_matmul_stage *s, const float *filter, const float *bias, int flush, float *memory) {
    const int64_t outputs = s->groups * s->group_outputs;
    float *biases = memory + s->groups * s->depth * s->padded;
    s->weights = memory;
    s->bias = biases;
    for (int64_t g = 0; g < s->groups; g++) {
        const float *source = filter + g * s->group_outputs;
        for (int64_t n = 0; n < s->padded; n++)
            *biases++ = bias && n < s->group_outputs ? bias[g * s->group_outputs + n] : 0.0f;
        for (int64_t first = 0; first < s->padded; first += s->panel) {
            const int64_t width = smaller(s->panel, s->padded - first);
            const int64_t used = smaller(width, s->group_outputs - first);
            for (int64_t k = 0; k < s->depth; k++, memory += width) {
                const float *row = source + k * outputs + first;
                memcpy(memory, row, (size_t)used * sizeof(float));
                memset(memory + used, 0, (size_t)(width - used) * sizeof(float));
                for (int64_t n = 0; flush && n < used; n++) memory[n] = flushed(memory[n], flush);
            }
        }
    }
}
