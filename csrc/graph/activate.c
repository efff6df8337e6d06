/* Activations in double precision: for the oracle, and for tables of bytes. */
#include <math.h>

#include "graph.h"

/* Not fmin and fmax: those drop a NaN. */
static double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* x * p, and the limit 0 where x is -infinity and p, which falls faster than x grows, is 0. */
static double weighted(double x, double p) { return p == 0.0 ? 0.0 : x * p; }

/* The formulas of dwconv.h, written so that negative arguments do not cancel. */
double dwc_activate(double x, const dwconv_activation *activation) {
    static const double sqrt_half = 0.70710678118654752440, sqrt_2_over_pi = 0.79788456080286535588;
    switch (activation->kind) {
        case DWCONV_LEAKY_RELU: return x < 0.0 ? activation->a * x : x;
        case DWCONV_HARD_SIGMOID: return clamp(x + 3.0, 0.0, 6.0) / 6.0;
        case DWCONV_HARD_SWISH: return x * (clamp(x + 3.0, 0.0, 6.0) / 6.0);
        case DWCONV_SIGMOID: return sigmoid(x);
        case DWCONV_SILU: return weighted(x, sigmoid(x));
        case DWCONV_TANH: return tanh(x);
        case DWCONV_GELU_ERF: return weighted(x, erfc(-x * sqrt_half) * 0.5);
        case DWCONV_GELU_TANH: return weighted(x, sigmoid(2.0 * sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
        default: return clamp(x, activation->a, activation->b);
    }
}
