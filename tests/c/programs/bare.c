/* The library where there is nothing: no /proc, no /sys, no file at all. Exit code 77 where no empty root can be had. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../../csrc/dwconv.h"

int main(void) {
    char root[] = "/tmp/dwconv-bare-XXXXXX";
    if (!mkdtemp(root) || chdir(root) != 0 || rmdir(root) != 0) return 77; /* stays while it is in use */
    if (chroot(".") != 0 && (unshare(CLONE_NEWUSER) != 0 || chroot(".") != 0)) {
        puts("this user may not change its root");
        return 77;
    }
    if (access("/proc", F_OK) == 0 || access("/sys", F_OK) == 0 || access("/dev", F_OK) == 0) return 1;

    float filter[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, in[25], out[25];
    for (int i = 0; i < 25; i++) in[i] = 1.0f;
    const dwconv_conv_desc conv = {.size = sizeof conv,
                                   .in_channels = 1,
                                   .out_channels = 1,
                                   .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME},
                                   .filter = filter};
    const dwconv_desc d = {.size = sizeof d, .conv = &conv};
    dwconv_plan *plan;
    const dwconv_tensor x = {.data = in, .batch = 1, .height = 5, .width = 5, .channels = 1};
    const dwconv_tensor y = {.data = out, .batch = 1, .height = 5, .width = 5, .channels = 1};
    dwconv_status status = dwconv_plan_create(&d, &plan);
    if (status == DWCONV_OK) status = dwconv_run(plan, &x, &y, NULL, 0, NULL);
    printf("in an empty root: %s, %s\n", dwconv_isa_best(), dwconv_status_string(status));
    dwconv_plan_destroy(plan);
    return !(status == DWCONV_OK && out[0] == 4.0f && out[12] == 9.0f);
}
