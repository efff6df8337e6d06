/* Batch normalization, forward and backward: sums over chunks of pixels, these joined in order, then every pixel again. */
#include <math.h>
#include <string.h>

#include "gradient.h"

/* Pixels [first, last) and some channels of them. */
typedef struct item {
    int64_t chunk, first, last, begin, channels;
} item;

static item item_of(const dwc_norm_job *j, int64_t number) {
    const dwc_batch_norm_schedule *s = &j->how;
    const int64_t chunk = number / s->parts, begin = number % s->parts * s->part_channels;
    return (item){chunk, chunk * s->chunk, smaller((chunk + 1) * s->chunk, s->pixels), begin,
                  smaller(s->part_channels, j->n->channels - begin)};
}

static float *sums_of(const dwc_norm_job *j, const item *t, int row) {
    return j->chunks + (t->chunk * DWC_NORM_ROWS + row) * j->how.padded + t->begin;
}

static void clear(float *sums, const item *t) { memset(sums, 0, (size_t)t->channels * sizeof *sums); }

/* ---- walks ---------------------------------------------------------------------------------- */

static dwc_norm_run run_of(const dwc_norm_job *j, const item *t) {
    const dwc_batch_norm *n = j->n;
    const int64_t c = t->begin;
    return (dwc_norm_run){.channels = t->channels,
                          .x_pixel = j->x->pixel,
                          .dy_pixel = j->dy ? j->dy->pixel : 0,
                          .y_pixel = j->y ? j->y->pixel : 0,
                          .mean = j->mean + c,
                          .factor = j->factor + c,
                          .offset = j->offset + c,
                          .slope = j->slope + c,
                          .constant = j->constant + c,
                          .low = n->low,
                          .high = n->high,
                          .stop_low = isinf(n->low) ? NAN : n->low,
                          .stop_high = isinf(n->high) ? NAN : n->high};
}

/* A kernel on pixels from `first` on, in as few runs as strides allow. */
static void run_pixels(const dwc_norm_job *j, const item *t, int64_t first, int64_t pixels,
                       void (*kernel)(const dwc_norm_run *), dwc_norm_run *run) {
    for (const int64_t end = first + pixels; first < end; first += run->pixels) {
        const float *at;
        run->pixels = dwc_even_pixels(j->x, first, end - first, &at);
        run->x = at + t->begin;
        if (j->dy) {
            run->pixels = dwc_even_pixels(j->dy, first, run->pixels, &at);
            run->dy = at + t->begin;
        }
        if (j->y) {
            run->pixels = dwc_even_pixels(j->y, first, run->pixels, &at);
            run->y = j->y->data + (at - j->y->data) + t->begin;
        }
        kernel(run);
    }
}

/* Every pixel, block by block: the last chunks first, which the caches may still hold. */
static void apply_task(void *context, int64_t number, int worker) {
    const dwc_norm_job *j = context;
    const item t = item_of(j, j->how.chunks * j->how.parts - 1 - number);
    const dwc_norm_kernels *k = &j->n->table->norm;
    void (*kernel)(const dwc_norm_run *) = j->streams ? k->apply_streaming : k->apply;
    dwc_norm_run run = run_of(j, &t);
    (void)worker;
    if (j->dy) kernel = j->n->fixed ? k->back_fixed : j->streams ? k->back_streaming : k->back;
    for (int64_t first = t.first; first < t.last; first += j->how.block)
        run_pixels(j, &t, first, smaller(j->how.block, t.last - first), kernel, &run);
    if (j->streams) j->n->table->end_stream();
}

/* ---- forward -------------------------------------------------------------------------------- */

/* Joins a block of pixels to `count` others: `sums` and `added` are of distances from their mean. Source: Chan, Golub and
 * LeVeque, The American Statistician 37 (1983). */
static void join_block(float *mean, float *squares, const float *sums, const float *added, int64_t channels,
                       int64_t count, int64_t pixels) {
    const float share = (float)((double)pixels / (double)(count + pixels)), weight = share * (float)count;
    for (int64_t c = 0; c < channels; c++) {
        const float distance = sums[c] / (float)pixels, own = added[c] - sums[c] * distance;
        mean[c] += distance * share;
        squares[c] += (own < 0.0f ? 0.0f : own) + distance * weight * distance;
    }
}

/* Each pixel is read once: as distance from the mean of the pixels before, for the first block from that of its first
 * ones. What cancels in the squares is less than what blocks so far apart add to them. */
static void moments_task(void *context, int64_t number, int worker) {
    const dwc_norm_job *j = context;
    const item t = item_of(j, number);
    float *mean = sums_of(j, &t, 0), *squares = sums_of(j, &t, 1);
    dwc_norm_run run = run_of(j, &t);
    (void)worker;
    run.mean = mean;
    run.sums = sums_of(j, &t, 2);
    run.squares = sums_of(j, &t, 3);
    clear(mean, &t);
    clear(squares, &t);
    clear(run.sums, &t);
    clear(run.squares, &t);
    const int64_t few = smaller(DWC_NORM_LEAST_PIXELS, t.last - t.first);
    run_pixels(j, &t, t.first, few, j->n->table->norm.moments, &run);
    for (int64_t c = 0; c < t.channels; c++) mean[c] = run.sums[c] / (float)few;
    for (int64_t first = t.first; first < t.last; first += j->how.block) {
        const int64_t pixels = smaller(j->how.block, t.last - first);
        clear(run.sums, &t);
        clear(run.squares, &t);
        run_pixels(j, &t, first, pixels, j->n->table->norm.moments, &run);
        join_block(mean, squares, run.sums, run.squares, t.channels, first - t.first, pixels);
    }
}

/* ---- channels ------------------------------------------------------------------------------- */

/* What (x - mean) is multiplied with, and what is added, of channels [begin, end). */
static void find_factors(const dwc_norm_job *j, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) {
        j->factor[c] = (float)dwc_norm_factor(j->n, j->gamma, j->variance, c);
        j->offset[c] = j->beta ? j->beta[c] : 0.0f;
    }
}

static void find_moments(const dwc_norm_job *j, int64_t begin, int64_t end) {
    const dwc_batch_norm_schedule *s = &j->how;
    double mean[DWC_LINE_FLOATS] = {0.0}, squares[DWC_LINE_FLOATS] = {0.0};
    for (int64_t chunk = 0; chunk < s->chunks; chunk++) {
        const double count = (double)(chunk * s->chunk),
                     all = (double)smaller((chunk + 1) * s->chunk, s->pixels);
        const double share = (all - count) / all, weight = share * count;
        const float *sums = j->chunks + chunk * DWC_NORM_ROWS * s->padded;
        for (int64_t c = begin; c < end; c++) {
            const double distance = (double)sums[c] - mean[c - begin];
            mean[c - begin] += distance * share;
            squares[c - begin] += (double)sums[s->padded + c] + distance * distance * weight;
        }
    }
    for (int64_t c = begin; c < end; c++) {
        j->mean[c] = (float)mean[c - begin];
        j->variance[c] = (float)(squares[c - begin] / (double)s->pixels);
        if (isfinite(j->mean[c]) && isnan(j->variance[c]))
            j->variance[c] = INFINITY; /* of squares that overflow */
    }
}

/* Gradients of gamma and beta, and what dx is made with. */
static void find_slopes(const dwc_norm_job *j, int64_t begin, int64_t end) {
    const dwc_batch_norm_schedule *s = &j->how;
    double sum[DWC_LINE_FLOATS] = {0.0}, along[DWC_LINE_FLOATS] = {0.0};
    for (int64_t chunk = 0; chunk < s->chunks; chunk++) {
        const float *sums = j->chunks + chunk * DWC_NORM_ROWS * s->padded;
        for (int64_t c = begin; c < end; c++) {
            sum[c - begin] += (double)sums[c];
            along[c - begin] += (double)sums[s->padded + c];
        }
    }
    for (int64_t c = begin; c < end; c++) {
        const double inverse = dwc_norm_factor(j->n, NULL, j->variance, c), count = (double)s->pixels;
        const double factor = dwc_norm_factor(j->n, j->gamma, j->variance, c);
        if (j->dbeta) j->dbeta[c] = (float)sum[c - begin];
        if (j->dgamma) j->dgamma[c] = (float)(along[c - begin] * inverse);
        j->slope[c] = (float)(-factor * inverse * inverse * along[c - begin] / count);
        j->constant[c] = (float)(-factor * sum[c - begin] / count);
    }
}

static void channels_task(void *context, int64_t number, int worker) {
    const dwc_norm_job *j = context;
    const int64_t begin = number * DWC_LINE_FLOATS, end = smaller(begin + DWC_LINE_FLOATS, j->n->channels);
    (void)worker;
    if (j->dy) {
        find_slopes(j, begin, end);
        return;
    }
    find_moments(j, begin, end);
    find_factors(j, begin, end);
}

/* ---- backward ------------------------------------------------------------------------------- */

static void slopes_task(void *context, int64_t number, int worker) {
    const dwc_norm_job *j = context;
    const item t = item_of(j, number);
    float *sum = sums_of(j, &t, 0), *along = sums_of(j, &t, 1);
    dwc_norm_run run = run_of(j, &t);
    (void)worker;
    run.sums = sums_of(j, &t, 2);
    run.squares = sums_of(j, &t, 3);
    clear(sum, &t);
    clear(along, &t);
    for (int64_t first = t.first; first < t.last; first += j->how.block) {
        clear(run.sums, &t);
        clear(run.squares, &t);
        run_pixels(j, &t, first, smaller(j->how.block, t.last - first), j->n->table->norm.slopes, &run);
        for (int64_t c = 0; c < t.channels; c++) {
            sum[c] += run.sums[c];
            along[c] += run.squares[c];
        }
    }
}

void dwc_make_norm_gradient(const dwc_norm_job *j, int64_t first, int64_t pixels, int64_t begin, int64_t end,
                            float *to, int64_t step) {
    const dwc_norm_kernels *k = &j->n->table->norm;
    /* One row, of which pixel `first` and channel `begin` are at `to`. */
    const dwc_view y = {.data = (float *)((uintptr_t)to - (uintptr_t)in_bytes(first * step + begin)),
                        .batch = 1,
                        .height = 1,
                        .width = first + pixels,
                        .channels = j->n->channels,
                        .pixel = step};
    dwc_norm_job here = *j;
    here.y = &y;
    const item t = {.begin = begin, .channels = end - begin};
    dwc_norm_run run = run_of(&here, &t);
    run_pixels(&here, &t, first, pixels, j->n->fixed ? k->back_fixed : k->back, &run);
}

/* ---- calls ---------------------------------------------------------------------------------- */

dwconv_status dwconv_batch_norm_scratch(const dwconv_batch_norm_desc *desc, const int64_t shape[4],
                                        int threads, size_t *bytes) {
    dwc_batch_norm n;
    dwc_view x;
    dwc_batch_norm_schedule s;
    const dwconv_threads workers = {.count = threads};
    if (!shape || !bytes) return DWCONV_NULL_POINTER;
    if (threads < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_batch_norm(desc, &n));
    DWC_TRY(dwc_check_batch_norm_shape(&n, shape));
    *bytes = 0;
    if (shape[0] == 0) return DWCONV_OK;
    DWC_TRY(dwc_dense_view(shape, DWCONV_F32, &x));
    DWC_TRY(dwc_schedule_batch_norm(&x, DWC_NORM_GRADIENT_TENSORS, &workers, &s));
    *bytes = s.scratch_bytes;
    return DWCONV_OK;
}

/* Whether memory that is written, `channels` floats of it, is apart from what is read and from each other. */
static dwconv_status check_memory(const dwc_norm_job *j, const void *scratch, const float *const written[2]) {
    const size_t bytes = (size_t)in_bytes(j->n->channels);
    const dwc_view *views[3] = {j->x, j->dy, j->y};
    const float *read[4] = {j->gamma, j->beta, j->mean, j->variance};
    for (int i = 0; i < 4; i++) {
        if ((uintptr_t)read[i] % sizeof(float)) return DWCONV_MISALIGNED;
        if (read[i] && j->y && dwc_view_meets(j->y, read[i], bytes)) return DWCONV_OVERLAP;
    }
    for (int i = 0; i < 3; i++) {
        const void *memory = i < 2 ? written[i] : scratch;
        const size_t size = i < 2 ? bytes : j->how.scratch_bytes;
        if (!memory) continue;
        if ((uintptr_t)memory % sizeof(float)) return DWCONV_MISALIGNED;
        for (int k = 0; k < 3; k++)
            if (views[k] && dwc_view_meets(views[k], memory, size)) return DWCONV_OVERLAP;
        for (int k = 0; k < i; k++) {
            const uintptr_t a = (uintptr_t)memory, b = (uintptr_t)written[k];
            if (written[k] && a < b + bytes && b < a + size) return DWCONV_OVERLAP;
        }
    }
    return DWCONV_OK;
}

static dwconv_status prepare(dwc_norm_job *j, void *scratch, size_t scratch_bytes,
                             const dwconv_threads *threads, const float *first, const float *second) {
    const float *written[2] = {first, second};
    DWC_TRY(dwc_schedule_batch_norm(j->x, j->dy ? DWC_NORM_GRADIENT_TENSORS : DWC_NORM_TENSORS, threads,
                                    &j->how));
    if (!scratch) return DWCONV_NULL_POINTER;
    if ((uintptr_t)scratch % DWCONV_ALIGNMENT) return DWCONV_MISALIGNED;
    if (scratch_bytes < j->how.scratch_bytes) return DWCONV_TOO_SMALL;
    DWC_TRY(check_memory(j, scratch, written));
    j->streams = j->y && dwc_batch_norm_streams(j->n, j->y);
    j->factor = scratch;
    j->offset = j->factor + j->how.padded;
    j->slope = j->offset + j->how.padded;
    j->constant = j->slope + j->how.padded;
    j->chunks = j->constant + j->how.padded;
    return DWCONV_OK;
}

/* Phases [first, 3) of sums, channels, pixels; the last one where there are results. */
static void run(dwc_norm_job *j, int first, dwconv_task sums, const dwconv_threads *threads) {
    const int64_t items = j->how.chunks * j->how.parts;
    const dwc_phase phases[3] = {
        {items, sums}, {j->how.padded / DWC_LINE_FLOATS, channels_task}, {items, apply_task}};
    dwc_parallel_phases(threads, j->how.workers, phases + first, (j->y ? 3 : 2) - first, j);
}

dwconv_status dwc_begin_norm_gradient(dwc_norm_job *j, void *scratch, size_t scratch_bytes,
                                      const dwconv_threads *threads) {
    return prepare(j, scratch, scratch_bytes, threads, j->dgamma, j->dbeta);
}

void dwc_run_norm_gradient(dwc_norm_job *j, const dwconv_threads *threads) {
    const int needs_sums = !j->n->fixed || j->dgamma || j->dbeta;
    find_factors(j, 0, j->n->channels);
    if (needs_sums || j->y) run(j, needs_sums ? 0 : 2, slopes_task, threads);
}

dwconv_status dwconv_batch_norm(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x_tensor,
                                const float *gamma, const float *beta, float *mean, float *variance,
                                const dwconv_tensor *y_tensor, void *scratch, size_t scratch_bytes,
                                const dwconv_threads *threads) {
    dwc_batch_norm n;
    dwc_view x, y;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_batch_norm(desc, &n));
    DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, y_tensor, &y, &x, &y));
    if (!mean || !variance) return DWCONV_NULL_POINTER;
    if (x.batch == 0) return n.fixed ? DWCONV_OK : DWCONV_BAD_SHAPE;
    dwc_norm_job j = {
        .n = &n, .x = &x, .y = &y, .gamma = gamma, .beta = beta, .mean = mean, .variance = variance};
    DWC_TRY(prepare(&j, scratch, scratch_bytes, threads, n.fixed ? NULL : mean, n.fixed ? NULL : variance));
    if (n.fixed) find_factors(&j, 0, n.channels);
    run(&j, n.fixed ? 2 : 0, moments_task, threads);
    return DWCONV_OK;
}

dwconv_status dwconv_batch_norm_gradient(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x_tensor,
                                         const float *gamma, const float *beta, const float *mean,
                                         const float *variance, const dwconv_tensor *dy_tensor,
                                         const dwconv_tensor *dx_tensor, float *dgamma, float *dbeta,
                                         void *scratch, size_t scratch_bytes, const dwconv_threads *threads) {
    dwc_batch_norm n;
    dwc_view x, dy, dx;
    if (threads && threads->count < 0) return DWCONV_BAD_VALUE;
    DWC_TRY(dwc_describe_batch_norm(desc, &n));
    DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, dy_tensor, NULL, &x, &dy));
    if (dx_tensor) {
        DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, dx_tensor, &dx, &x, &dx));
        DWC_TRY(dwc_check_batch_norm_tensors(&n, dy_tensor, dx_tensor, &dx, &dy, &dx));
    }
    if (!mean || !variance) return DWCONV_NULL_POINTER;
    if (x.batch == 0) {
        if (dgamma) memset(dgamma, 0, (size_t)in_bytes(n.channels));
        if (dbeta) memset(dbeta, 0, (size_t)in_bytes(n.channels));
        return DWCONV_OK;
    }
    dwc_norm_job j = {.n = &n,
                      .x = &x,
                      .dy = &dy,
                      .y = dx_tensor ? &dx : NULL,
                      .gamma = gamma,
                      .beta = beta,
                      .mean = (float *)(uintptr_t)mean,
                      .variance = (float *)(uintptr_t)variance, /* only read */
                      .dgamma = dgamma,
                      .dbeta = dbeta};
    DWC_TRY(dwc_begin_norm_gradient(&j, scratch, scratch_bytes, threads));
    dwc_run_norm_gradient(&j, threads);
    return DWCONV_OK;
}
