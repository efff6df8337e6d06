#include "described.h"

struct parts part;
float weights[4096], data_in[4096], data_out[4096];

static dwconv_conv_desc part_of(int64_t inputs, int64_t outputs, int64_t groups, int64_t kernel) {
    return (dwconv_conv_desc){.size = sizeof(dwconv_conv_desc),
                              .in_channels = inputs,
                              .out_channels = outputs,
                              .groups = groups,
                              .window = {.kernel_h = kernel, .kernel_w = kernel},
                              .filter = weights};
}

static dwconv_desc conv_of(int64_t inputs, int64_t outputs, int64_t groups, int64_t kernel) {
    part.conv = part_of(inputs, outputs, groups, kernel);
    return (dwconv_desc){.size = sizeof(dwconv_desc), .conv = &part.conv};
}

dwconv_desc depthwise(void) { return conv_of(4, 4, 4, 3); }

dwconv_desc dense(void) { return conv_of(4, 6, 0, 3); }

dwconv_desc pointwise(void) { return conv_of(4, 6, 0, 0); }

dwconv_desc separable(void) {
    dwconv_desc d = depthwise();
    part.project = part_of(4, 6, 1, 1);
    d.project = &part.project;
    return d;
}

dwconv_desc block(void) {
    dwconv_desc d = conv_of(8, 8, 8, 3);
    part.conv.window.padding = DWCONV_SAME;
    part.expand = part_of(4, 8, 0, 0);
    part.project = part_of(8, 4, 0, 1);
    part.squeeze = part_of(8, 2, 0, 0);
    part.excite = part_of(2, 8, 0, 0);
    d.expand = &part.expand;
    d.project = &part.project;
    d.squeeze = &part.squeeze;
    d.excite = &part.excite;
    d.residual = DWCONV_RESIDUAL_AUTO;
    return d;
}

dwconv_tensor in_8x8(void) {
    return (dwconv_tensor){.data = data_in, .batch = 1, .height = 8, .width = 8, .channels = 4};
}

dwconv_tensor out_6x6(void) {
    return (dwconv_tensor){.data = data_out, .batch = 1, .height = 6, .width = 6, .channels = 4};
}
