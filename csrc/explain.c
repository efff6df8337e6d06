/* dwconv_explain: what a plan is, and the schedule of a run. */
#include <stdio.h>

#include "schedule/schedule.h"

#define FOR_SUMS "squeeze-and-excite needs the whole output of depthwise"

/* In text a line each. */
static void put_node(dwc_text *t, const char *op, int64_t channels, const char *kernel, int64_t panel) {
    if (!t->is_json) {
        char line[160], panels[40] = "";
        if (panel) snprintf(panels, sizeof panels, "; panels of %lld columns", (long long)panel);
        snprintf(line, sizeof line, "%s of %lld channels%s%s%s", op, (long long)channels, kernel ? ": " : "",
                 kernel ? kernel : "", panels);
        dwc_text_string(t, "node", line);
        return;
    }
    dwc_text_open(t, NULL, '{');
    dwc_text_string(t, "op", op);
    dwc_text_int(t, "channels", channels);
    if (kernel) dwc_text_string(t, "kernel", kernel);
    if (panel) dwc_text_int(t, "panel", panel);
    dwc_text_close(t, '}');
}

static const char *quantized_name(const dwc_node *n) {
    if (n->op != DWC_DEPTHWISE && n->op != DWC_MATRIX) return NULL;
    const dwc_s8_stage *s = n->s8;
    if (!s->kernels) return "plain loops of bytes";
    return s->is_depthwise ? s->kernels->depthwise_name : s->kernels->matrix_name;
}

static void put_nodes(dwc_text *t, const dwc_graph *g, const dwc_kernel_table *table) {
    static const char *const names[] = {[DWC_DEPTHWISE] = "depthwise",
                                        [DWC_MATRIX] = "matrix",
                                        [DWC_MEAN] = "mean",
                                        [DWC_SCALE] = "scale",
                                        [DWC_ADD] = "add"};
    dwc_text_open(t, "nodes", '[');
    for (const dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        const int panel = n->op == DWC_MATRIX && !dwc_is_quantized(g);
        const char *kernel = dwc_is_quantized(g)      ? quantized_name(n)
                             : n->op == DWC_DEPTHWISE ? dwc_depthwise_name(&n->depthwise, table)
                             : n->op == DWC_MATRIX    ? n->matrix.kernel->name
                                                      : NULL;
        put_node(t, names[n->op], g->values[n->output].channels, kernel, panel ? n->matrix.panel : 0);
    }
    dwc_text_close(t, ']');
}

static void put_depthwise(dwc_text *t, const dwc_depthwise_stage *stage, const dwc_kernel_table *table,
                          const dwc_dw_schedule *s) {
    const char *how = dwc_dw_way_text(stage, table, s);
    dwc_text_int(t, "tile_columns", s->columns);
    dwc_text_int(t, "copied_channels", s->copied_channels);
    dwc_text_int(t, "copied_columns", s->copied_columns);
    dwc_text_int(t, "rows_prefetched", s->rows_ahead);
    dwc_text_int(t, "streams_output", s->streams);
    if (*how) dwc_text_string(t, "how", how);
    if (*dwc_dw_body_text(s)) dwc_text_string(t, "body", dwc_dw_body_text(s));
}

static void put_layer(dwc_text *t, const dwconv_plan *plan, const dwc_layer_schedule *s) {
    const dwc_node *node = plan->graph.nodes;
    const dwc_view *y = &s->frame.y;
    dwc_text_int(t, "nanoseconds", (int64_t)s->nanoseconds);
    dwc_text_int(t, "workers", s->workers);
    dwc_text_int(t, "items", y->batch * s->strips * s->blocks);
    dwc_text_int(t, "images", y->batch);
    dwc_text_int(t, "strips", s->strips);
    dwc_text_int(t, "strip_rows", s->strip_rows);
    dwc_text_int(t, "row_pixels", y->width);
    dwc_text_int(t, "channel_blocks", s->blocks);
    dwc_text_int(t, "block_channels", s->block_channels);
    if (node->op == DWC_DEPTHWISE) {
        put_depthwise(t, &node->depthwise, plan->table, &s->depthwise);
        return;
    }
    dwc_text_int(t, "pixels_at_once", s->matrix.pixels);
    dwc_text_int(t, "columns_at_once", s->matrix.columns);
    dwc_text_int(t, "prefetches_output", s->matrix.far_y);
}

static void put_second_pass(dwc_text *t, const dwc_block_schedule *s) {
    const dwc_second_pass *second = &s->second;
    dwc_text_int(t, "kept_bytes", in_bytes(s->hidden_floats));
    dwc_text_int(t, "second_pass_parts", second->parts);
    dwc_text_int(t, "part_pixels", second->part_rows * second->row_pixels);
    dwc_text_int(t, "step_pixels", second->step_rows * second->row_pixels);
    dwc_text_int(t, "gate_parts", second->gate_parts);
}

static void put_block(dwc_text *t, const dwconv_plan *plan, const dwc_block_schedule *s,
                      const dwc_machine *machine) {
    static const char *const why[] = {
        [DWC_TWO_FOR_SUMS] = FOR_SUMS,
        [DWC_TWO_FOR_SHARES] = "workers share the channels of so low an image",
        [DWC_TWO_FOR_ROOM] = "one pass would read its weights, or expanded rows, again for few pixels"};
    const dwc_frame *f = &s->frame;
    const int passes = s->passes == DWC_ONE_PASS ? 1 : 2;
    dwc_text_int(t, "nanoseconds", (int64_t)s->nanoseconds);
    dwc_text_int(t, "workers", s->workers);
    dwc_text_int(t, "workers_per_image", s->sharing);
    dwc_text_int(t, "passes", passes);
    if (passes == 2) dwc_text_string(t, "two_passes_since", why[s->passes]);
    dwc_text_int(t, "items", f->x.batch * s->bands * s->slices.count);
    dwc_text_int(t, "images", f->x.batch);
    dwc_text_int(t, "strips", s->bands);
    dwc_text_int(t, "strip_rows", s->band_rows);
    dwc_text_int(t, "row_pixels", f->y.width);
    dwc_text_int(t, "chunk_rows", s->chunks.rows);
    dwc_text_int(t, "chunk_columns", s->chunks.columns);
    dwc_text_int(t, "ring_rows", s->chunks.ring_rows);
    dwc_text_int(t, "channel_blocks", s->slices.count);
    dwc_text_int(t, "block_channels", s->slices.most);
    dwc_text_int(t, "worker_bytes", in_bytes(s->worker_floats));
    dwc_text_int(t, "image_bytes", in_bytes(s->image_floats));
    dwc_text_int(t, "cache_bytes", machine->l2_bytes);
    dwc_text_int(t, "prefetches_output", s->project.far_y);
    put_depthwise(t, plan->chain.depthwise, plan->table, &s->depthwise);
    if (passes == 2) put_second_pass(t, s);
}

/* What is read twice for weights of 9 bits. */
static void put_wide(dwc_text *t, const dwc_s8_stage *stage) {
    if (!stage->wide) return;
    if (t->is_json) {
        dwc_text_int(t, "wide", stage->wide);
        dwc_text_int(t, "of", stage->vectors);
        return;
    }
    char line[100];
    snprintf(line, sizeof line, "%lld of %lld %s, of weights beyond int8", (long long)stage->wide,
             (long long)stage->vectors, stage->is_depthwise ? "groups of channels" : "fours of inputs");
    dwc_text_string(t, "twice", line);
}

/* What kernels of integers are given at a time; in text a line each. */
static void put_stage(dwc_text *t, const dwc_s8_stage *stage, const dwc_s8_stage_schedule *s) {
    const char *op = stage->is_depthwise ? "depthwise" : "matrix";
    if (!t->is_json) {
        char line[200];
        snprintf(line, sizeof line,
                 "%s, %lld columns of %lld channels at once, %s of %lld bytes, %lld staged", op,
                 (long long)s->columns, (long long)s->channels, stage->is_depthwise ? "lines" : "copied rows",
                 (long long)s->row_bytes, (long long)s->staged_bytes);
        dwc_text_string(t, "stage", line);
        put_wide(t, stage);
        return;
    }
    dwc_text_open(t, NULL, '{');
    dwc_text_string(t, "op", op);
    dwc_text_int(t, "strip_rows", s->strip_rows);
    dwc_text_int(t, "columns", s->columns);
    dwc_text_int(t, "channels", s->channels);
    dwc_text_int(t, "row_bytes", s->row_bytes);
    dwc_text_int(t, "staged_bytes", s->staged_bytes);
    put_wide(t, stage);
    dwc_text_close(t, '}');
}

/* With squeeze-and-excite the projection is one more, and its rows are scaled. */
static void put_passes(dwc_text *t, const dwc_s8_schedule *s) {
    const dwc_s8_stage_schedule *wide = &s->stage[s->depthwise];
    const int first = s->walk.chunk_rows ? 1 : s->gate.mean ? s->depthwise + 1 : s->stages;
    dwc_text_int(t, "passes", first + (s->gate.mean != 0));
    if (!s->gate.mean) return;
    dwc_text_string(t, "two_passes_since", FOR_SUMS);
    dwc_text_int(t, "kept_bytes", wide->out[1] * wide->out[2] * wide->out[3]);
    dwc_text_int(t, "step_pixels", s->gate.rows * wide->out[2]);
}

static dwconv_status put_quantized(dwc_text *t, const dwconv_plan *plan, const int64_t input[4],
                                   const dwconv_threads *threads, const dwc_machine *machine) {
    dwc_s8_schedule s;
    size_t scratch;
    DWC_TRY(dwc_schedule_s8(plan, input, threads, machine, &s));
    DWC_TRY(dwc_s8_scratch(plan, input, threads ? threads->count : 1, machine, &scratch));
    dwc_text_int(t, "scratch_bytes", (int64_t)scratch);
    if (input[0] == 0) return DWCONV_OK;
    const dwc_s8_walk *w = &s.walk;
    const dwc_s8_stage_schedule *last = &s.stage[s.stages - 1];
    const int64_t strips = w->chunk_rows ? w->bands : last->strips;
    dwc_text_int(t, "nanoseconds", (int64_t)s.nanoseconds);
    dwc_text_int(t, "workers", s.workers);
    put_passes(t, &s);
    dwc_text_int(t, "items", input[0] * strips);
    dwc_text_int(t, "images", input[0]);
    dwc_text_int(t, "strips", strips);
    dwc_text_int(t, "strip_rows", w->chunk_rows ? w->band_rows : last->strip_rows);
    dwc_text_int(t, "row_pixels", last->out[2]);
    if (w->chunk_rows) {
        dwc_text_int(t, "chunk_rows", w->chunk_rows);
        dwc_text_int(t, "ring_rows", w->kept_rows);
        dwc_text_int(t, "cache_bytes", machine->l2_bytes);
    }
    dwc_text_int(t, "worker_bytes", s.worker_bytes);
    dwc_text_open(t, "stages", '[');
    for (int i = 0; i < s.stages; i++)
        if (plan->graph.nodes[s.stage[i].node].s8->kernels)
            put_stage(t, plan->graph.nodes[s.stage[i].node].s8, &s.stage[i]);
    dwc_text_close(t, ']');
    return DWCONV_OK;
}

static dwconv_status put_run(dwc_text *t, const dwconv_plan *plan, const int64_t input[4],
                             const dwconv_threads *threads, const dwc_machine *machine) {
    if (dwc_is_quantized(&plan->graph)) return put_quantized(t, plan, input, threads, machine);
    const int is_block = dwc_is_block(plan);
    int64_t output[4];
    dwc_view x, y;
    size_t scratch = 0;
    DWC_TRY(dwc_output_shape(&plan->graph, input, output));
    DWC_TRY(dwc_dense_view(input, dwc_input_dtype(&plan->graph), &x));
    DWC_TRY(dwc_dense_view(output, dwc_output_dtype(&plan->graph), &y));
    if (is_block && x.batch > 0)
        DWC_TRY(dwc_block_scratch(plan, &x, &y, threads ? threads->count : 1, machine, &scratch));
    dwc_text_int(t, "scratch_bytes", (int64_t)scratch);
    if (x.batch == 0) return DWCONV_OK;
    if (is_block) {
        dwc_block_schedule block;
        DWC_TRY(dwc_schedule_block(plan, &x, &y, threads, machine, &block));
        put_block(t, plan, &block, machine);
    } else {
        dwc_layer_schedule layer;
        DWC_TRY(dwc_schedule_layer(plan, &x, &y, threads, machine, &layer));
        put_layer(t, plan, &layer);
    }
    return DWCONV_OK;
}

dwconv_status dwc_explain(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                          const dwc_machine *machine, dwc_text *t) {
    dwc_text_open(t, NULL, '{');
    dwc_text_string(t, "instruction_set", dwc_table_name(plan->table));
    dwc_text_int(t, "plan_bytes", (int64_t)plan->bytes);
    put_nodes(t, &plan->graph, plan->table);
    if (input) DWC_TRY(put_run(t, plan, input, threads, machine));
    dwc_text_close(t, '}');
    return DWCONV_OK;
}

dwconv_status dwconv_explain(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                             dwconv_format format, char *buffer, size_t size, size_t *needed) {
    dwc_text t;
    if (!plan) return DWCONV_NULL_POINTER;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_text_begin(&t, format, buffer, size));
    const dwc_machine machine = dwc_this_machine();
    DWC_TRY(dwc_explain(plan, input, threads, &machine, &t));
    return dwc_text_end(&t, needed);
}
