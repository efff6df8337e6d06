/* What the shims share: a chain of NHWC convolutions as bench/peers/shim.py lays it out, and the
 * functions of a shim. A shim runs its library n times without leaving C, so that libraries are compared
 * and not the ways to call them from Python. */
#ifndef BENCH_CHAIN_H
#define BENCH_CHAIN_H

#include <stdint.h>
#include <stdlib.h>

typedef enum bench_op { BENCH_DEPTHWISE, BENCH_POINTWISE, BENCH_CONV } bench_op;

typedef enum bench_activation {
    BENCH_IDENTITY,
    BENCH_RELU,
    BENCH_RELU6,
    BENCH_HARD_SWISH,
    BENCH_SILU,
    BENCH_GELU,
    BENCH_HARD_SIGMOID,
    BENCH_SIGMOID
} bench_activation;

/* Stages of 8-bit integers: an integer q stands for scale * (q - zero_point). */
typedef struct bench_quant {
    float scale;
    int32_t zero_point;
} bench_quant;

typedef enum bench_dtype { BENCH_F32, BENCH_S8, BENCH_U8 } bench_dtype;

typedef struct bench_stage {
    int64_t op, activation;
    int64_t in_channels, out_channels;
    int64_t in_h, in_w, out_h, out_w;
    int64_t kernel_h, kernel_w, stride, dilation;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    const void *filter, *bias; /* filter as in dwconv.h; float, or int8_t and int32_t */
    const float *filter_scale; /* of integers, by output channel */
    bench_quant output;        /* likewise */
} bench_stage;

typedef struct bench_chain {
    const bench_stage *stages;
    const bench_stage
        *gate; /* NULL, or the two of squeeze-and-excite: factors for what stage count - 2 gives */
    int64_t count, batch, residual, threads;
    int64_t
        fuse; /* dwconv: a block is one plan; oneDNN: one primitive for a pointwise stage and the depthwise one
                        after it */
    const char *isa;        /* NULL: the best */
    void *x, *y;            /* dense, aligned to 64 bytes */
    int64_t dtype;          /* of images */
    bench_quant input, sum; /* of integers; sum: after a residual */
} bench_chain;

static inline size_t bench_item(const bench_chain *c) { return c->dtype == BENCH_F32 ? sizeof(float) : 1; }

/* Memory for the outputs of stages but the last: two places in turn, as a network's memory plan has them. */
static inline void bench_between(const bench_chain *c, void *places[2]) {
    size_t most = 0;
    for (const bench_stage *s = c->stages; s + 1 < c->stages + c->count; s++) {
        size_t bytes = (size_t)(c->batch * s->out_h * s->out_w * s->out_channels) * bench_item(c);
        if (bytes > most) most = bytes;
    }
    for (int i = 0; i < 2 && most; i++) places[i] = aligned_alloc(64, (most + 63) / 64 * 64);
}

#define BENCH_API __attribute__((visibility("default")))
#define BENCH_STAGES 16

/* Each returns NULL, or a message that lives as long as the library. */
BENCH_API const char *bench_prepare(const bench_chain *chain, void **handle);
BENCH_API const char *bench_run(void *handle, int64_t loops);
BENCH_API void bench_release(void *handle);
/* Which kernels the library chose; lives until bench_release. */
BENCH_API const char *bench_kernels(void *handle);
/* Bytes that a run needs beside input, output and weights; -1 where the library does not say. */
BENCH_API int64_t bench_scratch(void *handle);

#endif
