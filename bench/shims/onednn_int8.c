/* oneDNN on 8-bit integers through its own C API: NHWC images of int8 or uint8, int8 weights in the format it prefers
 * with a scale for every output channel, float32 bias, every output reused. Saturation is the clamp of an activation.
 * A residual is a post-op that adds to what lies in the output: its input is copied there first. */
#define IMAGE_TYPE(c) ((c)->dtype == BENCH_U8 ? dnnl_u8 : dnnl_s8)
#define FILTER_TYPE dnnl_s8
#include "onednn.h"

/* So many numbers, copied. */
static const char *attach_numbers(runner *r, layer *l, int argument, dnnl_data_type_t type, int64_t count,
                                  const void *data) {
    dnnl_memory_desc_t desc;
    void *to;
    TRY(dnnl_memory_desc_create_with_tag(&desc, 1, (dnnl_dims_t){count}, type, dnnl_a));
    const char *error = attach(r, l, argument, desc, NULL);
    dnnl_memory_desc_destroy(desc);
    if (error) return error;
    TRY(dnnl_memory_get_data_handle(l->memories[l->arg_count - 1], &to));
    memcpy(to, data, (size_t)count * 4);
    return NULL;
}

static const char *attach_quant(runner *r, layer *l, int argument, const bench_quant *q) {
    const char *error = attach_numbers(r, l, DNNL_ARG_ATTR_SCALES | argument, dnnl_f32, 1, &q->scale);
    if (error || !q->zero_point) return error;
    return attach_numbers(r, l, DNNL_ARG_ATTR_ZERO_POINTS | argument, dnnl_s32, 1, &q->zero_point);
}

static const char *attach_weights(runner *r, layer *l, const bench_stage *s, bench_quant input,
                                  const_dnnl_primitive_desc_t pd) {
    const char *error = attach_filter(r, l, s, pd, DNNL_ARG_WEIGHTS);
    if (error) return error;
    float *bias = l->owned = malloc((size_t)s->out_channels * sizeof(float));
    for (int64_t i = 0; i < s->out_channels; i++)
        bias[i] = (float)((const int32_t *)s->bias)[i] * (input.scale * s->filter_scale[i]);
    error = attach_numbers(r, l, DNNL_ARG_BIAS, dnnl_f32, s->out_channels, bias);
    if (error) return error;
    return attach_numbers(r, l, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, dnnl_f32, s->out_channels,
                          s->filter_scale);
}

static const char *make_attr(const bench_stage *s, bench_quant input, bench_quant output,
                             const bench_quant *residual, dnnl_data_type_t type,
                             dnnl_primitive_attr_t *attr) {
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_SRC, 0));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_WEIGHTS, s->op == BENCH_DEPTHWISE ? 3 : 1));
    TRY(dnnl_primitive_attr_set_scales_mask(*attr, DNNL_ARG_DST, 0));
    if (input.zero_point) TRY(dnnl_primitive_attr_set_zero_points_mask(*attr, DNNL_ARG_SRC, 0));
    if (output.zero_point) TRY(dnnl_primitive_attr_set_zero_points_mask(*attr, DNNL_ARG_DST, 0));
    if (!residual) return NULL;
    dnnl_post_ops_t ops;
    TRY(dnnl_post_ops_create(&ops));
    TRY(dnnl_post_ops_append_sum(ops, residual->scale, residual->zero_point, type));
    TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    TRY(dnnl_post_ops_destroy(ops));
    return NULL;
}

static const char *add_layer(runner *r, const bench_chain *c, const bench_stage *s, const void *x, void *y) {
    layer *l = &r->layers[r->count];
    const int last = s + 1 == c->stages + c->count;
    const bench_quant input = s == c->stages ? c->input : s[-1].output;
    const bench_quant output = last && c->residual ? c->sum : s->output;
    dnnl_memory_desc_t x_desc, y_desc;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd;
    const char *error = image_desc(c, s->in_channels, s->in_h, s->in_w, &x_desc);
    if (!error) error = image_desc(c, s->out_channels, s->out_h, s->out_w, &y_desc);
    if (!error)
        error = make_attr(s, input, output, last && c->residual ? &c->input : NULL, IMAGE_TYPE(c), &attr);
    if (!error) error = convolution(r, s, x_desc, y_desc, attr, &pd);
    if (error) return error;
    error = add_primitive(r, pd, "");
    if (!error) error = attach_weights(r, l, s, input, pd);
    if (!error) error = attach(r, l, DNNL_ARG_SRC, x_desc, x);
    if (!error) error = attach(r, l, DNNL_ARG_DST, y_desc, y);
    if (!error) error = attach_quant(r, l, DNNL_ARG_SRC, &input);
    if (!error) error = attach_quant(r, l, DNNL_ARG_DST, &output);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    dnnl_memory_desc_destroy(x_desc);
    dnnl_memory_desc_destroy(y_desc);
    return error;
}

const char *bench_prepare(const bench_chain *c, void **handle) {
    const char *error = NULL;
    runner *r = open_runner(c, &error);
    if (c->residual)
        r->residual = (size_t)(c->batch * c->stages->in_h * c->stages->in_w * c->stages->in_channels);
    const void *x = c->x;
    for (int64_t i = 0; i < c->count && !error; i++) {
        void *y = i + 1 == c->count ? c->y : r->between[i % 2];
        error = add_layer(r, c, &c->stages[i], x, y);
        x = y;
    }
    return opened(r, error, handle);
}
