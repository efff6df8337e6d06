/* A single operation: its items, each a strip of rows and a block of channels. */
#include "depthwise.h"
#include "run.h"

typedef struct job {
    const dwc_kernel_table *table;
    const dwc_layer_schedule *how;
    const float *x;
    float *y;
    const dwc_depthwise_stage *depthwise; /* of the plan, or with the window as it is walked */
    const dwc_matmul_stage *matrix;
} job;

typedef struct piece {
    int64_t image, row_begin, row_end, channel_begin, channel_end;
} piece;

static piece piece_of(const dwc_layer_schedule *s, int64_t item) {
    const int64_t block = item % s->blocks, strip = item / s->blocks % s->strips;
    return (piece){.image = item / s->blocks / s->strips,
                   .row_begin = strip * s->strip_rows,
                   .row_end = smaller((strip + 1) * s->strip_rows, s->frame.extent.out_h),
                   .channel_begin = block * s->block_channels,
                   .channel_end = smaller((block + 1) * s->block_channels, s->frame.y.channels)};
}

static void depthwise_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_frame *f = &j->how->frame;
    const piece p = piece_of(j->how, item);
    const float *x = j->x + p.image * f->x.image;
    (void)worker;
    dwc_dw_call call;
    if (f->sequence) {
        call = dwc_stretch(j->depthwise, &f->x, x, 0, f->extent.pad_top, p.row_begin, p.row_end);
        call.y_pixel = in_bytes(f->y.row);
    } else {
        call = (dwc_dw_call){.stage = j->depthwise,
                             .x = (const char *)x,
                             .x_row = in_bytes(f->x.row),
                             .x_pixel = in_bytes(f->x.pixel),
                             .in_h = f->x.height,
                             .in_w = f->x.width,
                             .ring_rows = f->x.height,
                             .y_row = in_bytes(f->y.row),
                             .y_pixel = in_bytes(f->y.pixel),
                             .out_w = f->y.width,
                             .pad_top = f->extent.pad_top,
                             .pad_left = f->extent.pad_left,
                             .row_begin = p.row_begin,
                             .row_end = p.row_end};
    }
    call.table = j->table;
    call.how = &j->how->depthwise;
    call.y = (char *)(j->y + p.image * f->y.image + p.row_begin * f->y.row);
    call.channel_begin = p.channel_begin;
    call.channel_end = p.channel_end;
    dwc_run_depthwise(&call);
}

static void matmul_task(void *context, int64_t item, int worker) {
    const job *j = context;
    const dwc_frame *f = &j->how->frame;
    const piece p = piece_of(j->how, item);
    const int whole = j->how->blocks == 1; /* all columns of every group */
    (void)worker;
    const dwc_matmul_rows rows = {.stage = j->matrix,
                                  .how = &j->how->matrix,
                                  .x = j->x + p.image * f->x.image,
                                  .x_row = f->x.row,
                                  .x_pixel = f->x.pixel,
                                  .in_h = f->x.height,
                                  .in_w = f->x.width,
                                  .y = j->y + p.image * f->y.image + p.row_begin * f->y.row,
                                  .y_row = f->y.row,
                                  .y_pixel = f->y.pixel,
                                  .out_w = f->y.width,
                                  .pad_top = f->extent.pad_top,
                                  .pad_left = f->extent.pad_left,
                                  .row_begin = p.row_begin,
                                  .row_end = p.row_end,
                                  .column_begin = whole ? 0 : p.channel_begin,
                                  .column_end = whole ? j->matrix->group_outputs : p.channel_end};
    dwc_run_matmul_rows(&rows);
}

void dwc_run_scheduled_layer(const dwconv_plan *plan, const dwc_layer_schedule *how, const float *x, float *y,
                             const dwconv_threads *threads) {
    const dwc_node *node = plan->graph.nodes;
    const int is_depthwise = node->op == DWC_DEPTHWISE;
    dwc_node turned;
    if (how->frame.sequence) {
        turned = *node;
        if (is_depthwise) {
            turned.depthwise.window = how->frame.window;
            dwc_turn_window(&turned.depthwise.window);
        } else {
            turned.matrix.window = how->frame.window;
        }
        node = &turned;
    }
    job j = {plan->table, how, x, y, &node->depthwise, &node->matrix};
    dwc_parallel(threads, how->workers, how->frame.y.batch * how->strips * how->blocks,
                 is_depthwise ? depthwise_task : matmul_task, &j);
}

dwconv_status dwc_run_layer(const dwconv_plan *plan, const dwc_view *x, const dwc_view *y,
                            const dwconv_threads *threads) {
    const dwc_machine machine = dwc_this_machine();
    dwc_layer_schedule how;
    DWC_TRY(dwc_schedule_layer(plan, x, y, threads, &machine, &how));
    dwc_run_scheduled_layer(plan, &how, x->data, y->data, threads);
    return DWCONV_OK;
}
