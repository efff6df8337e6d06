/* dwconv_explain: what run_layer.c and schedule_block.c tell of a run, after what the plan is. */
#include <stdio.h>

#include "graph/graph.h"
#include "graph/text.h"

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

static void put_nodes(dwc_text *t, const dwc_graph *g, const dwc_kernel_table *table) {
    static const char *const names[] = {[DWC_DEPTHWISE] = "depthwise",
                                        [DWC_MATRIX] = "matrix",
                                        [DWC_MEAN] = "mean",
                                        [DWC_SCALE] = "scale",
                                        [DWC_ADD] = "add"};
    dwc_text_open(t, "nodes", '[');
    for (const dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        const char *kernel = n->op == DWC_DEPTHWISE ? dwc_depthwise_name(&n->depthwise, table)
                             : n->op == DWC_MATRIX  ? n->matrix.kernel->name
                                                    : NULL;
        put_node(t, names[n->op], g->values[n->output].channels, kernel,
                 n->op == DWC_MATRIX ? n->matrix.panel : 0);
    }
    dwc_text_close(t, ']');
}

static dwconv_status put_run(dwc_text *t, const dwconv_plan *plan, const int64_t input[4],
                             const dwconv_threads *threads) {
    int64_t output[4];
    dwc_view x, y;
    size_t scratch;
    DWC_TRY(dwc_output_shape(&plan->graph, input, output));
    DWC_TRY(dwc_dense_view(input, &x));
    DWC_TRY(dwc_dense_view(output, &y));
    DWC_TRY(dwconv_scratch_size(plan, input, threads ? threads->count : 1, &scratch));
    dwc_text_int(t, "scratch_bytes", (int64_t)scratch);
    if (x.batch == 0) return DWCONV_OK;
    return dwc_is_block(plan) ? dwc_explain_block(t, plan, &x, &y, threads)
                              : dwc_explain_layer(t, plan, &x, &y, threads);
}

dwconv_status dwconv_explain(const dwconv_plan *plan, const int64_t input[4], const dwconv_threads *threads,
                             dwconv_format format, char *buffer, size_t size, size_t *needed) {
    dwc_text t = {.buffer = buffer, .size = size, .is_json = format == DWCONV_JSON, .begins = 1};
    if (!plan || (!buffer && size)) return DWCONV_NULL_POINTER;
    if ((threads && threads->count < 0) || (format != DWCONV_TEXT && format != DWCONV_JSON))
        return DWCONV_BAD_VALUE;
    if (size) buffer[0] = 0;
    dwc_text_open(&t, NULL, '{');
    dwc_text_string(&t, "instruction_set", dwc_table_name(plan->table));
    dwc_text_int(&t, "plan_bytes", (int64_t)plan->bytes);
    put_nodes(&t, &plan->graph, plan->table);
    if (input) DWC_TRY(put_run(&t, plan, input, threads));
    dwc_text_close(&t, '}');
    if (needed) *needed = t.used + 1;
    return size && size <= t.used ? DWCONV_TOO_SMALL : DWCONV_OK;
}
