/* dwconv_gradient_explain: the schedules of both gradients of a convolution. */
#include "graph/text.h"
#include "schedule/schedule_gradient.h"

typedef struct problem {
    dwc_gradient g;
    dwc_view x, y;
    dwconv_threads threads;
} problem;

/* Of the first phase that has taps: the others are alike. */
static dwconv_status put_phase(dwc_text *t, const problem *p, const dwc_input_gradient_schedule *s) {
    const dwconv_window *w = &p->g.window;
    dwc_extent extent;
    if (s->back) {
        dwc_text_string(t, "input_kernel", s->back->name);
        return DWCONV_OK;
    }
    DWC_TRY(dwc_window_extent(w, p->x.height, p->x.width, &extent));
    for (int64_t i = 0; i < s->row_phases * s->column_phases; i++) {
        const dwc_phase_axis rows = dwc_phase_of(i / s->column_phases, p->x.height, p->y.height, w->kernel_h,
                                                 w->stride_h, w->dilation_h, extent.pad_top);
        const dwc_phase_axis columns = dwc_phase_of(i % s->column_phases, p->x.width, p->y.width, w->kernel_w,
                                                    w->stride_w, w->dilation_w, extent.pad_left);
        dwc_built built;
        dwconv_plan prepared;
        if (!rows.taps || !columns.taps) continue;
        DWC_TRY(dwc_prepare_phase(&p->g, &rows, &columns, &built, &prepared));
        const dwc_node *n = built.nodes;
        dwc_text_string(
            t, "input_kernel",
            n->op == DWC_DEPTHWISE ? dwc_depthwise_name(&n->depthwise, p->g.table) : n->matrix.kernel->name);
        dwc_text_int(t, "input_phase_taps", rows.taps * columns.taps);
        return DWCONV_OK;
    }
    return DWCONV_OK;
}

static dwconv_status put_input(dwc_text *t, const problem *p) {
    dwc_input_gradient_schedule s;
    DWC_TRY(dwc_schedule_input_gradient(&p->g, &p->x, &p->y, &p->threads, &s));
    DWC_TRY(put_phase(t, p, &s));
    dwc_text_int(t, "input_phases", s.row_phases * s.column_phases);
    dwc_text_int(t, "input_by_image", s.by_image);
    dwc_text_int(t, "input_band_rows", s.band_rows);
    dwc_text_int(t, "input_workers", s.workers);
    dwc_text_int(t, "input_scratch_bytes", (int64_t)s.scratch_bytes);
    return DWCONV_OK;
}

static dwconv_status put_filter(dwc_text *t, const problem *p) {
    dwc_filter_gradient_schedule s;
    DWC_TRY(dwc_schedule_filter_gradient(&p->g, &p->x, &p->y, &p->threads, 1, &s));
    const int64_t pixels = p->y.batch * p->y.height * p->y.width;
    dwc_text_string(t, "filter_kernel", s.depthwise ? s.kernel->name : p->g.table->matrix.name);
    dwc_text_int(t, "filter_chunks", s.chunks);
    if (s.depthwise) {
        dwc_text_int(t, "filter_chunk_rows", s.chunk_rows);
        dwc_text_int(t, "filter_rows_of_a_tile", s.row_group);
    } else {
        dwc_text_int(t, "filter_chunk_boxes", s.chunk_boxes);
        dwc_text_int(t, "filter_box_pixels", smaller(s.images * s.rows * s.columns, pixels));
    }
    dwc_text_int(t, "filter_channel_blocks", s.blocks);
    dwc_text_int(t, "filter_block_channels", s.block_channels);
    dwc_text_int(t, "filter_workers", s.workers);
    dwc_text_int(t, "filter_scratch_bytes", (int64_t)s.scratch_bytes);
    return DWCONV_OK;
}

static dwconv_status put_both(dwc_text *t, const problem *p) {
    dwc_both_gradients_schedule s;
    DWC_TRY(dwc_schedule_both_gradients(&p->g, &p->x, &p->y, &p->threads, (dwc_gradient_wish){1, 1, 0}, &s));
    dwc_text_int(t, "both_in_one_walk", s.joint);
    dwc_text_int(t, "both_band_rows", s.band_rows);
    dwc_text_int(t, "both_scratch_bytes", (int64_t)s.scratch_bytes);
    DWC_TRY(dwc_schedule_both_gradients(&p->g, &p->x, &p->y, &p->threads, (dwc_gradient_wish){1, 1, 1}, &s));
    dwc_text_int(t, "normalized_in_one_walk", s.joint);
    return DWCONV_OK;
}

dwconv_status dwconv_gradient_explain(const dwconv_gradient_desc *desc, const int64_t input[4], int threads,
                                      dwconv_format format, char *buffer, size_t size, size_t *needed) {
    dwc_text t;
    problem p = {.threads = {.count = threads}};
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_text_begin(&t, format, buffer, size));
    DWC_TRY(dwc_dense_gradient(desc, input, &p.g, &p.x, &p.y));
    dwc_text_open(&t, NULL, '{');
    dwc_text_string(&t, "instruction_set", dwc_table_name(p.g.table));
    if (input[0]) {
        DWC_TRY(put_input(&t, &p));
        DWC_TRY(put_filter(&t, &p));
        DWC_TRY(put_both(&t, &p));
    }
    dwc_text_close(&t, '}');
    return dwc_text_end(&t, needed);
}
