/* The classifier of `dwconv demo`, from C, with static memory only: no call of this program allocates.
 *
 *   classify          accuracy on 540 handwritten digits that training never saw
 *   classify --all    the prediction for each of them, one a line
 *
 * digits.h is made by examples/c/digits_header.py. */
#include <stdio.h>
#include <string.h>

#include "digits.h"
#include "dwconv.h"

enum { SIZE = 8, IMAGES = sizeof digits_labels, CLASSES = 10, FEATURES = 96 };
enum { STEM, SEPARABLE1, RESIDUAL, SEPARABLE2, CLASSIFIER, LAYERS };

/* Plans, one behind the other, and the scratch that the hungriest of them needs. */
static _Alignas(DWCONV_ALIGNMENT) unsigned char plan_memory[160 * 1024], scratch[96 * 1024];
static float features[2][SIZE * SIZE * FEATURES];

static dwconv_window window(int64_t stride) {
    return (dwconv_window){.kernel_h = 3,
                           .kernel_w = 3,
                           .stride_h = stride,
                           .stride_w = stride,
                           .padding = DWCONV_EXPLICIT,
                           .pad_top = 1,
                           .pad_bottom = 1,
                           .pad_left = 1,
                           .pad_right = 1};
}

#define CONV(inputs, outputs, in_groups, weights, biases, kind_of_activation)                              \
    (dwconv_conv_desc) {                                                                                   \
        .size = sizeof(dwconv_conv_desc), .in_channels = inputs, .out_channels = outputs,                  \
        .groups = in_groups, .filter = weights, .bias = biases, .activation = {.kind = kind_of_activation} \
    }

/* A layer and the convolutions that it consists of; not to be moved once it is described. */
typedef struct layer {
    dwconv_conv_desc expand, conv, project;
    dwconv_desc desc;
} layer;

static void describe_stem(layer *l) {
    l->conv = CONV(1, 16, 1, digits_stem_filter, digits_stem_bias, DWCONV_RELU6);
    l->conv.window = window(1);
    l->desc = (dwconv_desc){.size = sizeof l->desc, .conv = &l->conv};
}

static void describe_separable(layer *l, int64_t inputs, int64_t outputs, int64_t stride,
                               const float *depthwise, const float *depthwise_bias, const float *pointwise,
                               const float *bias) {
    l->conv = CONV(inputs, inputs, inputs, depthwise, depthwise_bias, DWCONV_RELU6);
    l->conv.window = window(stride);
    l->project = CONV(inputs, outputs, 1, pointwise, bias, DWCONV_RELU6);
    l->desc = (dwconv_desc){.size = sizeof l->desc, .conv = &l->conv, .project = &l->project};
}

static void describe_residual(layer *l) {
    l->expand = CONV(32, 128, 1, digits_residual_expand_filter, digits_residual_expand_bias, DWCONV_RELU6);
    l->conv =
        CONV(128, 128, 128, digits_residual_depthwise_filter, digits_residual_depthwise_bias, DWCONV_RELU6);
    l->conv.window = window(1);
    l->project =
        CONV(128, 32, 1, digits_residual_project_filter, digits_residual_project_bias, DWCONV_IDENTITY);
    l->desc = (dwconv_desc){.size = sizeof l->desc,
                            .expand = &l->expand,
                            .conv = &l->conv,
                            .project = &l->project,
                            .residual = DWCONV_RESIDUAL_ON};
}

static void describe_classifier(layer *l) {
    l->conv = CONV(FEATURES, CLASSES, 1, digits_classifier_filter, digits_classifier_bias, DWCONV_IDENTITY);
    l->desc = (dwconv_desc){.size = sizeof l->desc, .conv = &l->conv};
}

/* Plans for all layers in `plan_memory`. */
static dwconv_status plan_all(dwconv_plan *plans[LAYERS]) {
    static layer layers[LAYERS];
    size_t used = 0;
    describe_stem(&layers[STEM]);
    describe_separable(&layers[SEPARABLE1], 16, 32, 1, digits_separable1_depthwise_filter,
                       digits_separable1_depthwise_bias, digits_separable1_pointwise_filter,
                       digits_separable1_pointwise_bias);
    describe_residual(&layers[RESIDUAL]);
    describe_separable(&layers[SEPARABLE2], 32, FEATURES, 2, digits_separable2_depthwise_filter,
                       digits_separable2_depthwise_bias, digits_separable2_pointwise_filter,
                       digits_separable2_pointwise_bias);
    describe_classifier(&layers[CLASSIFIER]);
    for (int i = 0; i < LAYERS; i++) {
        dwconv_status status =
            dwconv_plan_create_in(&layers[i].desc, plan_memory + used, sizeof plan_memory - used, &plans[i]);
        if (status != DWCONV_OK) return status;
        used += (dwconv_plan_bytes(plans[i]) + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
    }
    return DWCONV_OK;
}

static dwconv_tensor tensor(float *data, const int64_t shape[4]) {
    return (dwconv_tensor){
        .data = data, .batch = shape[0], .height = shape[1], .width = shape[2], .channels = shape[3]};
}

static dwconv_status run_layer(const dwconv_plan *plan, float *in, float *out, int64_t shape[4]) {
    int64_t output[4];
    dwconv_status status = dwconv_output_shape(plan, shape, output);
    if (status != DWCONV_OK) return status;
    const dwconv_tensor x = tensor(in, shape), y = tensor(out, output);
    memcpy(shape, output, sizeof output);
    return dwconv_run(plan, &x, &y, scratch, sizeof scratch, NULL);
}

/* The digit on an image of 8x8 pixels from 0 to 16. */
static dwconv_status classify(dwconv_plan *const plans[LAYERS], const unsigned char *image, int *digit) {
    int64_t shape[4] = {1, SIZE, SIZE, 1};
    float mean[FEATURES] = {0}, scores[CLASSES];
    for (int i = 0; i < SIZE * SIZE; i++) features[0][i] = (float)image[i] / 16.0f;
    for (int i = STEM; i < CLASSIFIER; i++) {
        const dwconv_status status = run_layer(plans[i], features[i % 2], features[(i + 1) % 2], shape);
        if (status != DWCONV_OK) return status;
    }
    const int64_t pixels = shape[1] * shape[2];
    for (int64_t p = 0; p < pixels; p++)
        for (int c = 0; c < FEATURES; c++) mean[c] += features[CLASSIFIER % 2][p * FEATURES + c];
    for (int c = 0; c < FEATURES; c++) mean[c] /= (float)pixels;
    shape[1] = shape[2] = 1;
    const dwconv_status status = run_layer(plans[CLASSIFIER], mean, scores, shape);
    *digit = 0;
    for (int c = 1; c < CLASSES; c++)
        if (scores[c] > scores[*digit]) *digit = c;
    return status;
}

int main(int argc, char **argv) {
    const int all = argc > 1 && strcmp(argv[1], "--all") == 0;
    dwconv_plan *plans[LAYERS];
    dwconv_status status = plan_all(plans);
    int correct = 0;
    for (int i = 0; i < IMAGES && status == DWCONV_OK; i++) {
        int digit;
        status = classify(plans, digits_images + i * SIZE * SIZE, &digit);
        if (all) printf("%d\n", digit);
        correct += digit == digits_labels[i];
    }
    if (status != DWCONV_OK) {
        fprintf(stderr, "classify: %s\n", dwconv_status_string(status));
        return 1;
    }
    if (!all) printf("accuracy            %.2f%% (%d of %d)\n", 100.0 * correct / IMAGES, correct, IMAGES);
    return correct < IMAGES * 97 / 100;
}
