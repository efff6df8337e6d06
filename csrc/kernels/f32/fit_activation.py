"""Fits the polynomials of activation.inc.h and elementwise.inc.h; needs NumPy and SciPy.

Each fit minimises the largest weighted error over an interval by iteratively reweighted least squares on
Chebyshev nodes. Printed: the coefficients, lowest power first, and the largest weighted error they leave.
"""

import numpy as np
from scipy import special


def fit(function, low, high, degree, weight, zero=None, nodes=4000, rounds=300):
    """The polynomial that is nearest to `function` over [low, high], and 0 at `zero`, if that is given."""
    middle, half = (low + (zero or high)) / 2, ((zero or high) - low) / 2
    x = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes) * (high - low) / 2 + (high + low) / 2
    y, w = function(x), weight(x)
    powers = np.polynomial.chebyshev.chebvander((x - middle) / half, degree)
    end = np.polynomial.chebyshev.chebvander(np.ones(1), degree) * (1e4 if zero else 0)
    importance = np.ones(nodes)
    for _ in range(rounds):
        scale = np.sqrt(importance) * w
        rows = np.vstack([powers * scale[:, None], end])
        # Functions divided by x stand for 1 + x q(x), which is 0 where q(x) is -1 / x.
        targets = np.append(y * scale, -1e4 / zero if zero else 0)
        coefficients = np.linalg.lstsq(rows, targets, rcond=None)[0]
        error = np.abs((powers @ coefficients - y) * w)
        importance *= error / error.max() + 1e-3
        importance /= importance.mean()
    series = np.polynomial.Chebyshev(coefficients, domain=[middle - half, middle + half])
    return series.convert(domain=[-1, 1], kind=np.polynomial.Polynomial).coef, error.max()


def tail(t):
    return special.erfc(t / np.sqrt(2)) / 2


def main():
    limit = np.log(2) / 2 * 1.01
    fits = {
        # exp(r) = 1 + r q(r)
        "exp": fit(lambda r: np.expm1(r) / r, -limit, limit, 4, lambda r: r / np.exp(r)),
        # expm1(r) = r + r^2 q(r)
        "expm1": fit(
            lambda r: (np.expm1(r) - r) / r**2,
            -limit,
            limit,
            5,
            lambda r: r**2 / np.maximum(abs(np.expm1(r)), 0.01),
        ),
        # tanh(x) = x + x^3 q(x^2) for |x| < 0.55
        "tanh": fit(
            lambda s: (np.tanh(np.sqrt(s)) - np.sqrt(s)) / s**1.5,
            1e-4,
            0.55**2,
            4,
            lambda s: s**1.5 / np.tanh(np.sqrt(s)),
        ),
        # normal distribution: Phi(-t) = (1 + t q(t))^4 / 2; errors of t Phi(-t) are relative to it or 0.01,
        # whichever is more; beyond t = 5 nothing is asked but that it vanishes at 6.7
        "gelu": fit(
            lambda t: ((2 * tail(t)) ** 0.25 - 1) / t,
            1e-3,
            5.0,
            10,
            lambda t: 4 * tail(t) * t**2 / (2 * tail(t)) ** 0.25 / np.maximum(t * tail(t), 0.01),
            zero=6.7,
        ),
    }
    for name, (coefficients, error) in fits.items():
        print(f"{name}: largest error {error:.2g}")
        print("    " + ", ".join(f"{c:.9g}f" for c in coefficients))


if __name__ == "__main__":
    main()
