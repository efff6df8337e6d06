/* dwconv_explain: see explain.h for the format, run_layer.c and schedule_block.c for what is told of a run. */
#include "explain.h"

#include <stdarg.h>
#include <stdio.h>

#include "graph/graph.h"

/* ---- the format --------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void put(dwc_text *t, const char *format, ...) {
    char *rest = t->used < t->size ? t->buffer + t->used : NULL;
    va_list arguments;
    va_start(arguments, format);
    t->used += (size_t)vsnprintf(rest, rest ? t->size - t->used : 0, format, arguments);
    va_end(arguments);
}

/* What comes before a value, a label in text. */
static void put_key(dwc_text *t, const char *key) {
    if (t->is_json) put(t, t->begins ? "" : ", ");
    if (t->is_json && key) put(t, "\"%s\": ", key);
    for (; !t->is_json && *key; key++) put(t, "%c", *key == '_' ? ' ' : *key);
    t->begins = 0;
}

void dwc_text_open(dwc_text *t, const char *key, char bracket) {
    if (!t->is_json) return;
    put_key(t, key);
    put(t, "%c", bracket);
    t->begins = 1;
}

void dwc_text_close(dwc_text *t, char bracket) {
    if (t->is_json) put(t, "%c", bracket);
    t->begins = 0;
}

void dwc_text_int(dwc_text *t, const char *key, int64_t value) {
    put_key(t, key);
    put(t, t->is_json ? "%lld" : ": %lld\n", (long long)value);
}

void dwc_text_string(dwc_text *t, const char *key, const char *value) {
    put_key(t, key);
    put(t, t->is_json ? "\"%s\"" : ": %s\n", value);
}

/* ---- plans and runs ----------------------------------------------------------------------- */

/* In text a line each. */
static void put_node(dwc_text *t, const char *op, int64_t channels, const char *kernel, int64_t panel) {
    if (!t->is_json) {
        put(t, "node: %s of %lld channels", op, (long long)channels);
        if (kernel) put(t, ": %s", kernel);
        if (panel) put(t, "; panels of %lld columns", (long long)panel);
        put(t, "\n");
        return;
    }
    dwc_text_open(t, NULL, '{');
    dwc_text_string(t, "op", op);
    dwc_text_int(t, "channels", channels);
    if (kernel) dwc_text_string(t, "kernel", kernel);
    if (panel) dwc_text_int(t, "panel", panel);
    dwc_text_close(t, '}');
}

static void put_nodes(dwc_text *t, const dwc_graph *g) {
    static const char *const names[] = {[DWC_DEPTHWISE] = "depthwise",
                                        [DWC_MATRIX] = "matrix",
                                        [DWC_MEAN] = "mean",
                                        [DWC_SCALE] = "scale",
                                        [DWC_ADD] = "add"};
    dwc_text_open(t, "nodes", '[');
    for (const dwc_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        const dwc_kernel *kernel = n->op == DWC_DEPTHWISE ? n->depthwise.kernel
                                   : n->op == DWC_MATRIX  ? n->matrix.kernel
                                                          : NULL;
        put_node(t, names[n->op], g->values[n->output].channels, kernel ? kernel->name : NULL,
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
    put_nodes(&t, &plan->graph);
    if (input) DWC_TRY(put_run(&t, plan, input, threads));
    dwc_text_close(&t, '}');
    if (needed) *needed = t.used + 1;
    return size && size <= t.used ? DWCONV_TOO_SMALL : DWCONV_OK;
}
