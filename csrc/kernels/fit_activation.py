"""Fits the polynomials of activation.inc.h (needs NumPy and SciPy; run it only to change them).

Each fit minimises the largest weighted error over an interval by iteratively reweighted least squares on
Chebyshev nodes. Printed: the coefficients, lowest power first, and the largest relative error they leave.
"""

import numpy as np
from scipy import special


def fit(function, low, high, degree, weight, nodes=4000, rounds=60):
    middle, half = (high + low) / 2, (high - low) / 2
    t = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    x = t * half + middle
    y, w = function(x), weight(x)
    powers = np.vander(t, degree + 1, increasing=True)
    importance = np.ones(nodes)
    for _ in range(rounds):
        scale = np.sqrt(importance) * w
        coefficients = np.linalg.lstsq(powers * scale[:, None], y * scale, rcond=None)[0]
        error = np.abs((powers @ coefficients - y) * w)
        importance *= error / error.max() + 1e-3
        importance /= importance.mean()
    polynomial = np.polynomial.Polynomial(coefficients, domain=[low, high], window=[-1, 1])
    return polynomial.convert().coef, error.max()


def main():
    limit = np.log(2) / 2 * 1.01
    fits = {
        # exp(r) = 1 + r + r^2 q(r)
        "exp": fit(lambda r: (np.expm1(r) - r) / r**2, -limit, limit, 4, lambda r: r * r / np.exp(r)),
        # tanh(x) = x + x^3 q(x^2) for |x| < 0.55
        "tanh": fit(
            lambda s: (np.tanh(np.sqrt(s)) - np.sqrt(s)) / s**1.5,
            1e-4,
            0.55**2,
            4,
            lambda s: s**1.5 / np.tanh(np.sqrt(s)),
        ),
        # normal distribution: Phi(-t) = exp(-t^2 / 2) q(u), u = 1 / (1 + 0.35 t), 0 <= t <= 14.5
        "phi": fit(
            lambda u: 0.5 * special.erfcx((1 / u - 1) / 0.35 / np.sqrt(2)),
            1 / (1 + 0.35 * 14.5),
            1.0,
            9,
            lambda u: 2 / special.erfcx((1 / u - 1) / 0.35 / np.sqrt(2)),
        ),
    }
    for name, (coefficients, error) in fits.items():
        print(f"{name}: largest relative error {error:.2g}")
        print("    " + ", ".join(f"{c:.9g}f" for c in coefficients))


if __name__ == "__main__":
    main()
