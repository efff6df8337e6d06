/* The smallest program: one depthwise layer, one image.
 *
 *   cc -O3 -I csrc examples/c/first_call.c $(find csrc -name '*.c') -lm -pthread
 */
#include <stdio.h>

#include "dwconv.h"

enum { HEIGHT = 112, WIDTH = 112, CHANNELS = 32 };

static float filter[3 * 3 * CHANNELS]; /* [kernel_h, kernel_w, channels, 1] */
static float in[HEIGHT * WIDTH * CHANNELS], out[HEIGHT * WIDTH * CHANNELS];

int main(void) {
    for (int i = 0; i < 3 * 3 * CHANNELS; i++) filter[i] = 1.0f / 9.0f; /* the mean of 3x3 pixels */
    for (int i = 0; i < HEIGHT * WIDTH * CHANNELS; i++) in[i] = 5.0f;

    const dwconv_conv_desc depthwise = {.size = sizeof depthwise,
                                        .in_channels = CHANNELS,
                                        .out_channels = CHANNELS,
                                        .groups = CHANNELS,
                                        .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                                        .filter = filter,
                                        .activation = {.kind = DWCONV_RELU6}};
    const dwconv_desc desc = {.size = sizeof desc, .conv = &depthwise};

    dwconv_plan *plan;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    if (status == DWCONV_OK) {
        const dwconv_tensor x = {
            .data = in, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
        const dwconv_tensor y = {
            .data = out, .batch = 1, .height = HEIGHT, .width = WIDTH, .channels = CHANNELS};
        status = dwconv_run(plan, &x, &y, NULL, 0, NULL); /* serial; one convolution needs no scratch */
    }
    if (status != DWCONV_OK) {
        fprintf(stderr, "dwconv: %s\n", dwconv_status_string(status));
        return 1;
    }
    printf("%s: a corner is %.4f, the middle %.4f\n", dwconv_plan_isa(plan), (double)out[0],
           (double)out[(HEIGHT / 2 * WIDTH + WIDTH / 2) * CHANNELS]);
    dwconv_plan_destroy(plan);
    return 0;
}
