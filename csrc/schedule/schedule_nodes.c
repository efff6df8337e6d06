/* How the nodes of a network run that are no convolutions: shared out by rows, serial where they are small. */
#include "schedule_nodes.h"

static double values_of(const dwc_view *v) {
    return (double)v->batch * (double)v->height * (double)v->width * (double)v->channels;
}

/* What the work is cut into. */
static int64_t items_wanted(int workers) { return workers > 1 ? DWC_ITEMS_PER_WORKER * (int64_t)workers : 1; }

static dwc_items uncut(const dwconv_threads *threads, int64_t units, double nanoseconds) {
    const dwconv_threads own = {.count = threads->count};
    return (dwc_items){.workers = dwc_worker_count(threads, nanoseconds),
                       .seats = dwc_worker_count(&own, nanoseconds) > 1 ? threads->count : 1,
                       .units = units};
}

static dwc_items cut(dwc_items items, int64_t least, int64_t count) {
    items.size = smaller(larger(divide_up(items.units, count), least), items.units);
    items.count = divide_up(items.units, items.size);
    return items;
}

static dwc_items schedule_items(const dwconv_threads *threads, int64_t units, double nanoseconds) {
    const dwc_items items = uncut(threads, units, nanoseconds);
    return cut(items, 1, items_wanted(items.workers));
}

/* ---- images ------------------------------------------------------------------------------------- */

dwc_pool_schedule dwc_schedule_pool(const dwc_kernel_table *table, const dwconv_node *node, const dwc_view *x,
                                    const dwc_view *y, const dwconv_threads *threads) {
    const dwconv_window *w = &node->window;
    const double below = (double)w->kernel_h, beside = (double)w->kernel_w;
    const int few = y->channels < table->lanes;
    dwc_pool_schedule s = {.lanes = table->lanes};
    /* Joined for a column of the image, taps below each other serve all outputs that see them. */
    s.columns_first = few || (below > 1 && below * beside > DWC_DIRECT_TAPS && w->stride_w <= w->kernel_w);
    s.worker_floats = s.columns_first ? x->width * x->channels + table->lanes : 0;
    const double column_work =
        s.columns_first ? below * (double)smaller(w->stride_w, w->kernel_w) : below * beside;
    const double join = node->function == DWCONV_LARGEST ? DWC_MAXIMUM_WORK : 1;
    const double work =
        values_of(y) * (DWC_STORE_WORK + join * (column_work + (s.columns_first ? beside : 0)));
    s.items =
        schedule_items(threads, y->batch * y->height, dwc_nanoseconds(work, values_of(x) + values_of(y)));
    return s;
}

dwc_resize_schedule dwc_schedule_resize(const dwc_kernel_table *table, const dwconv_node *node,
                                        const dwc_view *x, const dwc_view *y, const dwconv_threads *threads) {
    const int linear = node->function == DWCONV_BILINEAR;
    dwc_resize_schedule s = {.lanes = table->lanes, .rows_first = linear && x->channels < table->lanes};
    s.worker_floats = s.rows_first ? x->width * x->channels + table->lanes : 0;
    const double work = values_of(y) * (linear ? DWC_BLEND_WORK : DWC_STORE_WORK);
    s.items =
        schedule_items(threads, y->batch * y->height, dwc_nanoseconds(work, values_of(x) + values_of(y)));
    return s;
}

/* ---- numbers -------------------------------------------------------------------------------------- */

dwc_items dwc_schedule_reduce(const dwconv_threads *threads, int64_t results, int64_t channels,
                              double taken) {
    const double all = (double)results * (double)channels;
    return schedule_items(threads, results * divide_up(channels, DWC_REDUCE_CHANNELS),
                          dwc_nanoseconds(all * taken, all * (taken + 1)));
}

static dwc_items rows_of_numbers(const dwconv_threads *threads, int64_t rows, int64_t count, double work) {
    const double values = (double)rows * (double)count;
    return schedule_items(threads, rows, dwc_nanoseconds(values * work, 2 * values));
}

dwc_items dwc_schedule_softmax(const dwconv_threads *threads, int64_t rows, int64_t count) {
    return rows_of_numbers(threads, rows, count, DWC_SOFTMAX_WORK);
}

dwc_items dwc_schedule_layer_norm(const dwconv_threads *threads, int64_t rows, int64_t count) {
    return rows_of_numbers(threads, rows, count, DWC_NORM_WORK);
}

/* ---- 8-bit integers ------------------------------------------------------------------------------- */

/* An order of magnitude for all instruction sets: a shuffle or a few operations of 32-bit integers for each element, or of
 * 64-bit ones. */
double dwc_byte_nanoseconds(const dwconv_node *node, dwconv_quant_rounding rounding, double elements) {
    const int twice = rounding == DWCONV_ROUND_TFLITE && node->kind == DWCONV_BINARY;
    return elements / (twice ? DWC_WIDE_BYTES_PER_NANOSECOND : DWC_BYTES_PER_NANOSECOND);
}

dwc_items dwc_schedule_byte_pool(const dwconv_window *w, const dwc_view *y, const dwconv_threads *threads) {
    const double taps = (double)w->kernel_h * (double)w->kernel_w;
    return schedule_items(threads, y->batch * y->height,
                          values_of(y) * (taps + DWC_STORE_WORK) / DWC_BYTES_PER_NANOSECOND);
}

dwc_byte_resize_schedule dwc_schedule_byte_resize(const dwconv_node *node, const dwc_view *x,
                                                  const dwc_view *y, const dwconv_threads *threads) {
    enum { SKIPPED = 4 }; /* input pixels for one that an output sees */
    const int linear = node->function == DWCONV_BILINEAR;
    dwc_byte_resize_schedule s = {.whole_rows = x->pixel == x->channels && x->width / SKIPPED <= y->width};
    const int64_t pixels = s.whole_rows ? x->width : 2 * y->width;
    s.items = schedule_items(threads, y->batch * y->height,
                             values_of(y) * (linear ? 4 : 1) / DWC_BYTES_PER_NANOSECOND);
    s.worker_ints = linear ? pixels * x->channels + DWC_BLENDED : 0;
    return s;
}

/* ---- products ------------------------------------------------------------------------------------- */

dwc_products_schedule dwc_schedule_products(const dwc_products_problem *p, const dwconv_threads *threads) {
    const double k = (double)p->k, n = (double)p->n, products = (double)p->products;
    const double pack = (double)p->factors * k * n,
                 multiply = products * (double)p->m * n * (k + DWC_STORE_WORK);
    const dwc_items rows = uncut(threads, p->m, dwc_nanoseconds(multiply + DWC_PACK_WORK * pack, pack));
    const int64_t wanted = items_wanted(rows.workers);
    dwc_products_schedule s = {.block_rows = smaller(DWC_COPIED_ROWS, p->m), .runs = wanted};
    s.shared = rows.workers > 1 && p->factors <= wanted;
    s.copies = rows.seats;
    if (rows.seats > 1 && p->factors <= items_wanted(rows.seats)) s.copies = larger(p->factors, rows.seats);
    s.panels = round_up(p->k * p->padded, DWC_LINE_FLOATS);
    s.rows = cut(rows, DWC_PRODUCT_ROWS, s.shared ? divide_up(wanted, p->products) : 1);
    return s;
}
