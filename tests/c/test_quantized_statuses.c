/* What quantized plans refuse when they are made, and which tensors. */
#include <math.h>
#include <string.h>

#include "../../csrc/dwconv.h"
#include "check.h"
#include "suites.h"

enum { INPUTS = 4, OUTPUTS = 6 };

static dwconv_desc desc;
static dwconv_conv_desc conv;
static float scale[OUTPUTS];

static dwconv_status created(void) {
    dwconv_plan *plan = NULL;
    const dwconv_status status = dwconv_plan_create(&desc, &plan);
    dwconv_plan_destroy(plan);
    return status;
}

static dwconv_conv_desc *plain(void) {
    static int8_t filter[INPUTS * OUTPUTS];
    memset(filter, 1, sizeof filter);
    for (int c = 0; c < OUTPUTS; c++) scale[c] = 0.01f;
    conv = (dwconv_conv_desc){.size = sizeof conv,
                              .in_channels = INPUTS,
                              .out_channels = OUTPUTS,
                              .filter = filter,
                              .filter_scale = scale,
                              .output = {0.1f, 0}};
    desc = (dwconv_desc){.size = sizeof desc, .dtype = DWCONV_S8, .conv = &conv, .input = {0.1f, 5}};
    return &conv;
}

#define REFUSED(status, change)            \
    do {                                   \
        dwconv_conv_desc *d = plain();     \
        (void)d;                           \
        change;                            \
        CONTEXT("%s", #change);            \
        CHECK_STATUS((status), created()); \
    } while (0)

static void check_tensors(void) {
    dwconv_plan *plan = NULL;
    static uint8_t x[4 * INPUTS], y[4 * OUTPUTS];
    plain();
    CHECK_STATUS(DWCONV_OK, dwconv_plan_create(&desc, &plan));
    dwconv_tensor in = {
        .data = x, .dtype = DWCONV_S8, .batch = 1, .height = 2, .width = 2, .channels = INPUTS};
    dwconv_tensor out = {
        .data = y, .dtype = DWCONV_S8, .batch = 1, .height = 2, .width = 2, .channels = OUTPUTS};
    CHECK_STATUS(DWCONV_OK, dwconv_run(plan, &in, &out, NULL, 0, NULL));
    in.dtype = DWCONV_U8;
    CHECK_STATUS(DWCONV_BAD_DTYPE, dwconv_run(plan, &in, &out, NULL, 0, NULL));
    in.dtype = DWCONV_S8;
    out.dtype = DWCONV_F32;
    CHECK_STATUS(DWCONV_BAD_DTYPE, dwconv_run(plan, &in, &out, NULL, 0, NULL));
    out.dtype = DWCONV_S8;
    out.data = x + 1;
    CHECK_STATUS(DWCONV_OVERLAP, dwconv_run(plan, &in, &out, NULL, 0, NULL));
    dwconv_plan_destroy(plan);
}

void test_quantization_statuses(void) {
    static const uint8_t table[256];
    static const int32_t zeros[OUTPUTS] = {113, 0, 255, 128, 1, 254};
    static int32_t bias[OUTPUTS] = {0, INT32_MIN};
    const float bad[] = {0.0f, -0.1f, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        REFUSED(DWCONV_BAD_QUANTIZATION, desc.input.scale = bad[i]);
        REFUSED(DWCONV_BAD_QUANTIZATION, d->output.scale = bad[i]);
        REFUSED(DWCONV_BAD_QUANTIZATION, scale[5] = bad[i]);
    }
    REFUSED(DWCONV_OK, (void)0);
    REFUSED(DWCONV_BAD_QUANTIZATION, desc.input.zero_point = 128);
    REFUSED(DWCONV_BAD_QUANTIZATION, d->output.zero_point = -129);
    REFUSED(DWCONV_BAD_QUANTIZATION, (desc.dtype = DWCONV_U8, d->output.zero_point = -1));
    REFUSED(DWCONV_BAD_QUANTIZATION, scale[3] = 256.0f); /* that of the sums too */
    REFUSED(DWCONV_OK, scale[3] = 255.0f);
    REFUSED(DWCONV_BAD_QUANTIZATION, (scale[3] = 1e-30f, desc.input.scale = 1e-30f));
    REFUSED(DWCONV_BAD_QUANTIZATION, d->filter_scales = 2);
    REFUSED(DWCONV_NULL_POINTER, d->filter_scale = NULL);
    REFUSED(DWCONV_OK,
            (d->filter_dtype = DWCONV_U8, d->filter_zero_point = zeros, d->filter_zero_points = 1));
    REFUSED(DWCONV_OK, (d->filter_dtype = DWCONV_U8, d->filter_zero_point = zeros));
    REFUSED(DWCONV_BAD_QUANTIZATION, d->filter_zero_point = zeros); /* of int8 they end at 127 */
    REFUSED(DWCONV_BAD_QUANTIZATION, (d->filter_zero_point = zeros, d->filter_zero_points = 5));
    REFUSED(DWCONV_BAD_DTYPE, d->filter_dtype = DWCONV_S32);
    REFUSED(DWCONV_BAD_QUANTIZATION, d->bias = bias);
    REFUSED(DWCONV_BAD_QUANTIZATION, (d->low = 3, d->high = 2));
    REFUSED(DWCONV_BAD_QUANTIZATION, d->high = 128);
    REFUSED(DWCONV_BAD_QUANTIZATION, d->table = table); /* and no activation_input */
    REFUSED(DWCONV_BAD_QUANTIZATION, d->activation.kind = DWCONV_TANH);
    REFUSED(DWCONV_OK, (d->activation.kind = DWCONV_TANH, d->activation_input = (dwconv_quant){1e-20f, 0},
                        desc.input.scale = 1e-20f));
    REFUSED(DWCONV_BAD_VALUE, desc.rounding = (dwconv_quant_rounding)2);
    REFUSED(DWCONV_BAD_DTYPE, desc.dtype = (dwconv_dtype)DWCONV_DTYPE_COUNT);
    REFUSED(DWCONV_BAD_VALUE, (desc.dtype = DWCONV_F32, desc.flags = DWCONV_FLOAT_OUTPUT));
    REFUSED(DWCONV_BAD_SHAPE, desc.squeeze = d); /* conv is not depthwise */
    REFUSED(DWCONV_BAD_VALUE, desc.product = DWCONV_FORMULA_COUNT);
    check_tensors();
}
