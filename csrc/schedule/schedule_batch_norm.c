/* How batch normalization is computed: blocks, chunks and parts of channels. What is summed together depends on shapes alone. */
#include "machine.h"
#include "schedule_gradient.h"

int dwc_batch_norm_streams(const dwc_batch_norm *n, const dwc_view *y) {
    const int64_t strides = y->pixel | y->row | y->image | y->channels;
    if (!n->table->norm.apply_streaming || (uintptr_t)y->data % DWCONV_ALIGNMENT || strides % DWC_LINE_FLOATS)
        return 0;
    const double bytes = 4.0 * (double)y->batch * (double)y->height * (double)y->width * (double)y->channels;
    return bytes >= DWC_STREAM_CACHES * (double)dwc_this_machine().l2_bytes;
}

dwconv_status dwc_schedule_batch_norm(const dwc_view *x, int tensors, const dwconv_threads *threads,
                                      dwc_batch_norm_schedule *s) {
    const int64_t channels = x->channels;
    int64_t floats;
    *s = (dwc_batch_norm_schedule){.pixels = x->batch * x->height * x->width};
    s->block = within(DWC_NORM_BLOCK_FLOATS / channels, DWC_NORM_LEAST_PIXELS, DWC_NORM_MOST_PIXELS);
    const int64_t blocks = divide_up(s->pixels, s->block);
    const int64_t wanted = divide_up(s->pixels, larger(DWC_NORM_CHUNK_FLOATS / channels, 1));
    s->chunk = divide_up(blocks, within(wanted, 1, DWC_MOST_CHUNKS)) * s->block;
    s->chunks = divide_up(s->pixels, s->chunk);
    const double moved = (double)s->pixels * (double)channels * tensors;
    s->workers = dwc_worker_count(threads, dwc_nanoseconds(0, moved));
    s->padded = round_up(channels, DWC_LINE_FLOATS);
    const int64_t lines = s->padded / DWC_LINE_FLOATS;
    s->parts = smaller(divide_up((int64_t)s->workers, s->chunks), lines);
    s->part_channels = divide_up(lines, s->parts) * DWC_LINE_FLOATS;
    s->parts = divide_up(channels, s->part_channels);
    if (!dwc_multiply(s->padded, s->chunks * DWC_NORM_ROWS + DWC_NORM_SHARED_ROWS, &floats) ||
        floats > INT64_MAX / 64)
        return DWCONV_OVERFLOW;
    s->scratch_bytes = (size_t)in_bytes(floats);
    return DWCONV_OK;
}
