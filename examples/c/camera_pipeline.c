/* The first layers of a network on a stream of frames, strip by strip while a camera still delivers the rows below.
 *
 *   camera_pipeline [--frames N] [--strip ROWS] [FILE.ppm ...]
 *
 * Without files a scene is generated. A cropped tensor reads rows in place, so a layer runs as soon as the rows that it
 * sees are there, and results have the bits of a whole frame: the program checks that. All memory is allocated before
 * the first frame. The latency of a strip is the time from its last row's arrival to its last result. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dwconv.h"
#include "frames.h"

enum { LAYERS = 2, RGB = 3, STEM = 16, FEATURES = 32 };

/* A map with a row of zeros above and one below, which are the padding of the layer that reads it. */
typedef struct map {
    float *memory;
    int64_t height, width, channels;
} map;

typedef struct layer {
    dwconv_plan *plan;
    int64_t stride, done; /* output rows that are there */
} layer;

typedef struct pipeline {
    layer layers[LAYERS];
    map maps[LAYERS + 1]; /* frame, stem, features */
    void *scratch;
    size_t scratch_bytes;
} pipeline;

static float *map_row(const map *m, int64_t row) { return m->memory + (row + 1) * m->width * m->channels; }

static size_t map_bytes(const map *m) { return (size_t)(m->height * m->width * m->channels) * sizeof(float); }

static int map_create(map *m, int64_t height, int64_t width, int64_t channels) {
    *m = (map){.height = height, .width = width, .channels = channels};
    m->memory = calloc((size_t)((height + 2) * width * channels), sizeof *m->memory);
    return m->memory == NULL;
}

static dwconv_tensor rows_of(const map *m, int64_t first, int64_t count) {
    return (dwconv_tensor){
        .data = map_row(m, first), .batch = 1, .height = count, .width = m->width, .channels = m->channels};
}

/* ---- the network ---------------------------------------------------------------------------- */

static float stem[3 * 3 * RGB * STEM], depthwise[3 * 3 * STEM], pointwise[STEM * FEATURES];

static void fill(float *floats, int count, float scale) {
    static unsigned state = 1;
    for (int i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        floats[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
}

static dwconv_status plan_layers(pipeline *p) {
    const dwconv_activation relu6 = {.kind = DWCONV_RELU6};
    fill(stem, 3 * 3 * RGB * STEM, 0.3f);
    fill(depthwise, 3 * 3 * STEM, 0.4f);
    fill(pointwise, STEM * FEATURES, 0.4f);
    dwconv_conv_desc first = {
        .size = sizeof first,
        .in_channels = RGB,
        .out_channels = STEM,
        .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_EXPLICIT, .pad_left = 1, .pad_right = 1},
        .filter = stem,
        .activation = relu6};
    dwconv_conv_desc second = first;
    first.window.stride_h = first.window.stride_w = 2;
    second.in_channels = second.out_channels = second.groups = STEM;
    second.filter = depthwise;
    const dwconv_conv_desc third = {.size = sizeof third,
                                    .in_channels = STEM,
                                    .out_channels = FEATURES,
                                    .filter = pointwise,
                                    .activation = relu6};
    const dwconv_desc descs[LAYERS] = {{.size = sizeof *descs, .conv = &first},
                                       {.size = sizeof *descs, .conv = &second, .project = &third}};
    for (int i = 0; i < LAYERS; i++) {
        p->layers[i].stride = i == 0 ? 2 : 1;
        const dwconv_status status = dwconv_plan_create(&descs[i], &p->layers[i].plan);
        if (status != DWCONV_OK) return status;
    }
    return DWCONV_OK;
}

static dwconv_status pipeline_create(pipeline *p, int width, int height) {
    *p = (pipeline){0};
    dwconv_status status = plan_layers(p);
    if (status != DWCONV_OK) return status;
    if (map_create(&p->maps[0], height, width, RGB) || map_create(&p->maps[1], height / 2, width / 2, STEM) ||
        map_create(&p->maps[2], height / 2, width / 2, FEATURES))
        return DWCONV_NO_MEMORY;
    const map *m = &p->maps[1];
    status = dwconv_scratch_size(p->layers[1].plan, (int64_t[4]){1, m->height + 2, m->width, m->channels}, 1,
                                 &p->scratch_bytes);
    if (status != DWCONV_OK) return status;
    p->scratch_bytes = (p->scratch_bytes + DWCONV_ALIGNMENT - 1) / DWCONV_ALIGNMENT * DWCONV_ALIGNMENT;
    p->scratch = aligned_alloc(DWCONV_ALIGNMENT, p->scratch_bytes);
    return p->scratch ? DWCONV_OK : DWCONV_NO_MEMORY;
}

static void pipeline_destroy(pipeline *p) {
    for (int i = 0; i < LAYERS; i++) dwconv_plan_destroy(p->layers[i].plan);
    for (int i = 0; i <= LAYERS; i++) free(p->maps[i].memory);
    free(p->scratch);
}

/* ---- strips --------------------------------------------------------------------------------- */

/* Output row r of a 3x3 window with padding 1 sees input rows up to r * stride + 1. */
static int64_t rows_possible(const map *in, const map *out, int64_t stride, int64_t available) {
    if (available == in->height) return out->height;
    return available < 2 ? 0 : (available - 2) / stride + 1;
}

/* Everything that the first `available` rows of the frame allow. */
static dwconv_status advance(pipeline *p, int64_t available) {
    for (int i = 0; i < LAYERS; i++) {
        layer *l = &p->layers[i];
        const map *in = &p->maps[i], *out = &p->maps[i + 1];
        const int64_t possible = rows_possible(in, out, l->stride, available), rows = possible - l->done;
        if (rows > 0) {
            const dwconv_tensor x = rows_of(in, l->done * l->stride - 1, (rows - 1) * l->stride + 3);
            const dwconv_tensor y = rows_of(out, l->done, rows);
            const dwconv_status status = dwconv_run(l->plan, &x, &y, p->scratch, p->scratch_bytes, NULL);
            if (status != DWCONV_OK) return status;
            l->done = possible;
        }
        available = l->done;
    }
    return DWCONV_OK;
}

static void start_frame(pipeline *p) {
    for (int i = 0; i < LAYERS; i++) p->layers[i].done = 0;
}

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

typedef struct figures {
    double strip_sum, strip_worst, whole_sum;
    int strips, frames, differing;
} figures;

/* A frame strip by strip, then at once: times of both, and whether all bits agree. */
static dwconv_status process(pipeline *p, int64_t strip, figures *f, float *by_strips) {
    const map *frame = &p->maps[0], *result = &p->maps[LAYERS];
    start_frame(p);
    for (int64_t arrived = 0; arrived < frame->height;) {
        arrived = arrived + strip < frame->height ? arrived + strip : frame->height;
        const double begin = milliseconds();
        const dwconv_status status = advance(p, arrived);
        const double latency = milliseconds() - begin;
        if (status != DWCONV_OK) return status;
        f->strip_sum += latency;
        if (latency > f->strip_worst) f->strip_worst = latency;
        f->strips++;
    }
    memcpy(by_strips, map_row(result, 0), map_bytes(result));
    start_frame(p);
    const double begin = milliseconds();
    const dwconv_status status = advance(p, frame->height);
    f->whole_sum += milliseconds() - begin;
    f->frames++;
    f->differing += memcmp(by_strips, map_row(result, 0), map_bytes(result)) != 0;
    return status;
}

/* ---- the program ---------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    int frames = 30, width = 320, height = 240, files = argc;
    int64_t strip = 16;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--frames") == 0 && i + 1 < argc) {
            frames = atoi(argv[++i]);
        } else if (strcmp(argv[i], "--strip") == 0 && i + 1 < argc) {
            strip = atoi(argv[++i]);
        } else {
            files = i;
            break;
        }
    }
    if (files < argc) frames = argc - files;
    if (files < argc && frame_size(argv[files], &width, &height)) return 1;
    if (frames < 1 || strip < 1 || width % 2 || height % 2) {
        fprintf(stderr,
                "camera_pipeline: needs frames, a strip of rows, and frames of even width and height\n");
        return 1;
    }
    pipeline p;
    figures f = {0};
    dwconv_status status = pipeline_create(&p, width, height);
    float *by_strips = status == DWCONV_OK ? malloc(map_bytes(&p.maps[LAYERS])) : NULL;
    if (status == DWCONV_OK && !by_strips) status = DWCONV_NO_MEMORY;
    for (int i = 0; i < frames && status == DWCONV_OK; i++) {
        if (files == argc) {
            frame_draw(i, width, height, map_row(&p.maps[0], 0));
        } else if (frame_read(argv[files + i], width, height, map_row(&p.maps[0], 0))) {
            return 1;
        }
        status = process(&p, strip, &f, by_strips);
    }
    free(by_strips);
    pipeline_destroy(&p);
    if (status != DWCONV_OK) {
        fprintf(stderr, "camera_pipeline: %s\n", dwconv_status_string(status));
        return 1;
    }
    printf("%d frames of %dx%d in strips of %d rows\n", f.frames, width, height, (int)strip);
    printf("row-strip latency   %.3f ms, worst %.3f ms\n", f.strip_sum / f.strips, f.strip_worst);
    printf("whole frames        %.3f ms each\n", f.whole_sum / f.frames);
    printf("bits                %d of %d frames differ between strips and the whole\n", f.differing,
           f.frames);
    return f.differing != 0;
}
