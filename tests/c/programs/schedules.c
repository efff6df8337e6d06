/* Schedules of operations for machines that are made up: tests/scheduled.py builds it, for CPUs that have every instruction set.
 *
 *     schedules ISA L1_SETS L1_WAYS L2_BYTES LAST_BYTES [int8] < operations
 *
 * An operation is a line of numbers: threads batch height width residual, then for each of expand, conv, squeeze, excite
 * and project, 0 or 1, and if it is there: inputs outputs groups kernel_h kernel_w stride dilation padding activation.
 * What dwc_explain tells comes out, a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../csrc/schedule/schedule.h"

enum { PARTS = 5, MOST_WEIGHTS = 1 << 24 };

static float *weights; /* zeros */
static int is_int8;
static const float scale = 1.0f;
static const dwconv_quant quant = {1.0f, 0};

/* 1: `part` is there. */
static int read_part(dwconv_conv_desc *part) {
    int there = 0, activation = 0, padding = 0;
    long long n[7];
    if (scanf("%d", &there) != 1) exit(2);
    if (!there) return 0;
    for (int i = 0; i < 7; i++)
        if (scanf("%lld", &n[i]) != 1) exit(2);
    if (scanf("%d %d", &padding, &activation) != 2) exit(2);
    if (n[0] / n[2] * n[1] * n[3] * n[4] > MOST_WEIGHTS) exit(3);
    *part = (dwconv_conv_desc){.size = sizeof *part,
                               .in_channels = n[0],
                               .out_channels = n[1],
                               .groups = n[2],
                               .window = {.kernel_h = n[3],
                                          .kernel_w = n[4],
                                          .stride_h = n[5],
                                          .stride_w = n[5],
                                          .dilation_h = n[6],
                                          .dilation_w = n[6],
                                          .padding = (dwconv_padding)padding},
                               .filter = weights,
                               .activation = {.kind = (dwconv_activation_kind)activation},
                               .filter_scale = &scale,
                               .filter_scales = 1,
                               .output = quant,
                               .activation_input = quant};
    return 1;
}

static void print_schedule(const char *isa, const dwc_machine *machine, int count, int64_t input[4]) {
    dwconv_conv_desc parts[PARTS];
    const dwconv_conv_desc *there[PARTS] = {0};
    int residual = 0;
    if (scanf("%d", &residual) != 1) exit(2);
    for (int i = 0; i < PARTS; i++)
        if (read_part(&parts[i])) there[i] = &parts[i];
    const dwconv_desc desc = {.size = sizeof desc,
                              .dtype = is_int8 ? DWCONV_S8 : DWCONV_F32,
                              .isa = isa,
                              .input = quant,
                              .sum = quant,
                              .expand = there[0],
                              .conv = there[1],
                              .squeeze = there[2],
                              .excite = there[3],
                              .project = there[4],
                              .residual = residual ? DWCONV_RESIDUAL_ON : DWCONV_RESIDUAL_OFF};
    input[3] = (there[0] ? there[0] : there[1])->in_channels;
    const dwconv_threads threads = {.count = count};
    char buffer[4096];
    dwc_text text = {.buffer = buffer, .size = sizeof buffer, .is_json = 1, .begins = 1};
    dwconv_plan *plan = NULL;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    if (status == DWCONV_OK) status = dwc_explain(plan, input, &threads, machine, &text);
    if (status != DWCONV_OK || text.used >= text.size) {
        fprintf(stderr, "%s\n", dwconv_status_string(status));
        exit(1);
    }
    puts(buffer);
    dwconv_plan_destroy(plan);
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) return 2;
    is_int8 = argc == 7;
    const dwc_machine machine = {.l1_sets = atoll(argv[2]),
                                 .l1_ways = atoll(argv[3]),
                                 .l2_bytes = atoll(argv[4]),
                                 .last_bytes = atoll(argv[5])};
    int threads;
    long long batch, height, width;
    weights = calloc(MOST_WEIGHTS, sizeof *weights);
    if (!weights) return 3;
    while (scanf("%d %lld %lld %lld", &threads, &batch, &height, &width) == 4) {
        int64_t input[4] = {batch, height, width};
        print_schedule(argv[1], &machine, threads, input);
    }
    free(weights);
    return 0;
}
