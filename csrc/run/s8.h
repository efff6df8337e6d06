/* Walks of quantized stages. */
#ifndef DWCONV_RUN_S8_H
#define DWCONV_RUN_S8_H

#include "run.h"

typedef struct dwc_s8_job {
    const dwc_s8_stage *stage;
    const dwc_byte_kernels *bytes;
    const dwc_s8_stage_schedule *how;
    dwc_view x, y;         /* of one image, or of all of them */
    const dwc_s8_add *add; /* or NULL, and then no residual */
    dwc_view residual;
    dwconv_quant quant; /* of the output, which may be float32 */
    char *workers;      /* memory of each, so many bytes */
    int64_t worker_bytes;
} dwc_s8_job;

/* Pixels of a row from `column` on, and channels of each. */
typedef struct dwc_s8_part {
    int64_t image, row, column, pixels, first, channels;
} dwc_s8_part;

static inline int64_t dwc_s8_at(const dwc_view *v, const dwc_s8_part *p) {
    return p->image * v->image + p->row * v->row + p->column * v->pixel + p->first;
}

/* Whether kernels write elsewhere than to the output: sums, or bytes that become numbers. */
static inline int dwc_s8_is_staged(const dwc_s8_job *j) {
    return !j->stage->requant.multiplier || j->y.dtype == DWCONV_F32;
}

/* Bytes of what kernels write. */
static inline int64_t dwc_s8_unit(const dwc_s8_job *j) {
    return j->stage->requant.multiplier ? 1 : (int64_t)sizeof(int32_t);
}

/* What becomes of sums, or of bytes that follow from them, dense, or both NULL: of bytes where the output is. */
DWC_HIDDEN void dwc_s8_finish(const dwc_s8_job *job, const dwc_s8_part *part, const int32_t *sums,
                              const uint8_t *bytes);

/* All of a job but its tensors and workers. */
DWC_HIDDEN dwc_s8_job dwc_s8_job_of(const dwconv_plan *plan, const dwc_s8_schedule *schedule, int stage);
/* What a stage gives for one image, in scratch. */
DWC_HIDDEN dwc_view dwc_s8_between(const dwc_s8_stage_schedule *how, dwconv_dtype dtype, void *scratch);

/* A block whose schedule has a walk. y: its output, or with squeeze-and-excite what depthwise gives, whose sums by band
 * and channel go to `sums`. */
typedef struct dwc_s8_block {
    const dwconv_plan *plan;
    const dwc_s8_schedule *how;
    dwc_view x, y;
    int32_t *sums;
    char *workers;
} dwc_s8_block;

DWC_HIDDEN void dwc_s8_run_band(const dwc_s8_block *block, int64_t item, int worker);
DWC_HIDDEN void dwc_s8_run_walk(const dwconv_plan *plan, const dwc_s8_schedule *schedule, const dwc_view *x,
                                const dwc_view *y, char *scratch, const dwconv_threads *threads);
/* One image of a block with squeeze-and-excite. */
DWC_HIDDEN void dwc_s8_run_gate(const dwconv_plan *plan, const dwc_s8_schedule *schedule, const dwc_view *x,
                                const dwc_view *y, char *scratch, const dwconv_threads *threads);
/* sums += the channels of rows [begin, end) of the first image. */
DWC_HIDDEN void dwc_s8_sum_rows(const dwconv_plan *plan, const dwc_view *v, int64_t begin, int64_t end,
                                int32_t *sums);

/* Rows [begin, end) of an image. */
DWC_HIDDEN void dwc_s8_run_rows(const dwc_s8_job *job, int64_t image, int64_t begin, int64_t end,
                                char *memory);
/* The same of a depthwise stage with kernels, of any other, and by plain loops. */
DWC_HIDDEN void dwc_s8_run_lines(const dwc_s8_job *job, int64_t image, int64_t begin, int64_t end,
                                 char *memory);
DWC_HIDDEN void dwc_s8_run_matrix(const dwc_s8_job *job, int64_t image, int64_t begin, int64_t end,
                                  char *memory);
DWC_HIDDEN void dwc_s8_run_plain(const dwc_s8_job *job, int64_t image, int64_t begin, int64_t end);

/* The columns of an input row that outputs see, from padding on the left to padding on the right. */
typedef struct dwc_s8_columns {
    int64_t left, begin, count, right;
} dwc_s8_columns;

static inline dwc_s8_columns dwc_s8_columns_of(const dwc_s8_job *j, int64_t first, int64_t outputs) {
    const dwconv_window *w = &j->stage->window;
    const int64_t base = first * w->stride_w - j->how->extent.pad_left;
    const int64_t all = (outputs - 1) * w->stride_w + (w->kernel_w - 1) * w->dilation_w + 1;
    dwc_s8_columns c = {.left = within(-base, 0, all), .begin = larger(base, 0)};
    c.count = within(j->x.width - c.begin, 0, all - c.left);
    c.right = all - c.left - c.count;
    return c;
}

#endif
