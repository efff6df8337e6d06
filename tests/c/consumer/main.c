/* A program of somebody else: C11 and C++11, from the installed package. */
#include <dwconv.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    float filter[3 * 3 * 2], in[4 * 5 * 2], out[4 * 5 * 2];
    for (int i = 0; i < 3 * 3 * 2; i++) filter[i] = 1.0f;
    for (int i = 0; i < 4 * 5 * 2; i++) in[i] = 1.0f;
    dwconv_conv_desc conv;
    dwconv_desc desc;
    memset(&conv, 0, sizeof conv);
    memset(&desc, 0, sizeof desc);
    conv.size = sizeof conv;
    conv.in_channels = conv.out_channels = conv.groups = 2;
    conv.window.kernel_h = conv.window.kernel_w = 3;
    conv.window.padding = DWCONV_SAME;
    conv.filter = filter;
    desc.size = sizeof desc;
    desc.conv = &conv;
    dwconv_plan *plan;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    if (status != DWCONV_OK) {
        fprintf(stderr, "%s\n", dwconv_status_string(status));
        return 1;
    }
    dwconv_tensor x, y;
    memset(&x, 0, sizeof x);
    x.batch = 1, x.height = 4, x.width = 5, x.channels = 2;
    y = x;
    x.data = in;
    y.data = out;
    status = dwconv_run(plan, &x, &y, NULL, 0, NULL);
    printf("dwconv %s: %s, a corner sums %g, the middle %g\n", dwconv_version(), dwconv_plan_isa(plan),
           (double)out[0], (double)out[(1 * 5 + 2) * 2]);
    dwconv_plan_destroy(plan);
    return !(status == DWCONV_OK && out[0] == 4.0f && out[(1 * 5 + 2) * 2] == 9.0f &&
             strcmp(dwconv_version(), DWCONV_VERSION) == 0);
}
