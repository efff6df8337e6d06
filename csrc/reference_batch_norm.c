/* Batch normalization as plain loops in double precision: the oracle of the tests, never the fast path. */
#include <math.h>

#include "graph/gradient.h"

static float *at(const dwc_view *v, int64_t pixel, int64_t channel) {
    const int64_t column = pixel % v->width, row = pixel / v->width % v->height;
    return v->data + pixel / v->width / v->height * v->image + row * v->row + column * v->pixel + channel;
}

static int64_t pixels_of(const dwc_view *v) { return v->batch * v->height * v->width; }

dwconv_status dwconv_batch_norm_reference(const dwconv_batch_norm_desc *desc, const dwconv_tensor *x_tensor,
                                          const float *gamma, const float *beta, float *mean, float *variance,
                                          const dwconv_tensor *y_tensor) {
    dwc_batch_norm n;
    dwc_view x, y;
    DWC_TRY(dwc_describe_batch_norm(desc, &n));
    DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, y_tensor, &y, &x, &y));
    if (!mean || !variance) return DWCONV_NULL_POINTER;
    const int64_t pixels = pixels_of(&x);
    if (pixels == 0) return n.fixed ? DWCONV_OK : DWCONV_BAD_SHAPE;
    const dwconv_activation clip = {DWCONV_CLIP, n.low, n.high};
    for (int64_t c = 0; c < n.channels; c++) {
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < pixels; i++) sum += (double)*at(&x, i, c);
        const double centre = n.fixed ? (double)mean[c] : sum / (double)pixels;
        for (int64_t i = 0; i < pixels; i++)
            squares += ((double)*at(&x, i, c) - centre) * ((double)*at(&x, i, c) - centre);
        if (!n.fixed) {
            mean[c] = (float)centre;
            variance[c] = (float)(squares / (double)pixels);
        }
        const double factor = dwc_norm_factor(&n, gamma, variance, c), offset = beta ? (double)beta[c] : 0.0;
        for (int64_t i = 0; i < pixels; i++) {
            const double normal = ((double)*at(&x, i, c) - centre) * factor + offset;
            *at(&y, i, c) = (float)dwc_activate(normal, &clip);
        }
    }
    return DWCONV_OK;
}

/* dy where the clamp lets it pass. */
static double passed(const dwc_batch_norm *n, const dwc_view *dy, int64_t pixel, int64_t c, double normal) {
    const int stopped =
        (normal <= (double)n->low && !isinf(n->low)) || (normal >= (double)n->high && !isinf(n->high));
    return stopped ? 0.0 : (double)*at(dy, pixel, c);
}

dwconv_status dwconv_batch_norm_gradient_reference(const dwconv_batch_norm_desc *desc,
                                                   const dwconv_tensor *x_tensor, const float *gamma,
                                                   const float *beta, const float *mean,
                                                   const float *variance, const dwconv_tensor *dy_tensor,
                                                   const dwconv_tensor *dx_tensor, float *dgamma,
                                                   float *dbeta) {
    dwc_batch_norm n;
    dwc_view x, dy, dx;
    DWC_TRY(dwc_describe_batch_norm(desc, &n));
    DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, dy_tensor, NULL, &x, &dy));
    if (dx_tensor) DWC_TRY(dwc_check_batch_norm_tensors(&n, x_tensor, dx_tensor, &dx, &x, &dx));
    if (!mean || !variance) return DWCONV_NULL_POINTER;
    const int64_t pixels = pixels_of(&x);
    for (int64_t c = 0; c < n.channels; c++) {
        const double centre = (double)mean[c], inverse = dwc_norm_factor(&n, NULL, variance, c);
        const double factor = dwc_norm_factor(&n, gamma, variance, c), offset = beta ? (double)beta[c] : 0.0;
        double sum = 0.0, along = 0.0;
        for (int64_t i = 0; i < pixels; i++) {
            const double centred = (double)*at(&x, i, c) - centre;
            const double g = passed(&n, &dy, i, c, centred * factor + offset);
            sum += g;
            along += g * centred * inverse;
        }
        if (dgamma) dgamma[c] = (float)along;
        if (dbeta) dbeta[c] = (float)sum;
        for (int64_t i = 0; dx_tensor && i < pixels; i++) {
            const double centred = (double)*at(&x, i, c) - centre;
            const double g = passed(&n, &dy, i, c, centred * factor + offset);
            const double common = n.fixed ? 0.0 : (sum + centred * inverse * along) / (double)pixels;
            *at(&dx, i, c) = (float)(factor * (g - common));
        }
    }
    return DWCONV_OK;
}
