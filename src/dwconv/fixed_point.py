"""Fixed-point arithmetic of 32-bit integers, as gemmlowp defines it and TensorFlow Lite's kernels use it.

A number is an int64 array that holds what the kernels hold in int32: raw / 2^31 for numbers in [-1, 1), and
raw / 2^(31 - n) with n integer bits. Multiplying rounds half away from 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .activation import Array

ONE = 2**31 - 1
LEAST, MOST = -(2**31), 2**31 - 1
EXP_OF_MINUS_EIGHTH, THIRD = 1895147668, 715827883
# By power of two from -2 to 4: exp(-2^power).
EXP_OF_MINUS_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
FORTY_EIGHT_OVER_17, MINUS_32_OVER_17 = 1515870810, -1010580540  # with 2 integer bits


def fixed(factor: Any) -> tuple[Array, Array]:
    """Factors as (mantissa, shift): mantissa * 2^(shift - 31), as QuantizeMultiplier. Of any sign."""
    fraction, shift = np.frexp(np.asarray(factor, np.float64))
    scaled = fraction * 2.0**31
    mantissa = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int64)
    carried = np.abs(mantissa) == 2**31
    mantissa, shift = np.where(carried, mantissa // 2, mantissa), shift.astype(np.int64) + carried
    return np.where(shift < -31, 0, mantissa), np.where(shift < -31, 0, shift)


def times_fixed(x: Array, mantissa: Any, shift: Any) -> Array:
    """MultiplyByQuantizedMultiplier; what leaves int32 on the way saturates."""
    shifted = np.clip(x * (np.int64(1) << np.maximum(shift, 0)), LEAST, MOST)
    return divided(multiplied(shifted, mantissa), np.maximum(-np.asarray(shift), 0))


def times(x: Array, factor: Any) -> Array:
    """x * factor with the two roundings of TensorFlow Lite."""
    return times_fixed(x, *fixed(factor))


def multiplied(a: Any, b: Any) -> Array:
    """a * b / 2^31: SaturatingRoundingDoublingHighMul. Halves up."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    return np.minimum(np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31)), MOST)


def divided(x: Any, exponent: Any) -> Array:
    """x / 2^exponent: RoundingDivideByPOT. Half away from 0."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    return np.asarray((x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0)))


def saturated(x: Any) -> Array:
    return np.clip(np.asarray(x, np.int64), LEAST, MOST)


def exp(x: Array, integer_bits: int) -> Array:
    """exp of numbers up to 0 that have so many integer bits, at most 5; the result has none."""
    fractional = 31 - integer_bits
    quarter = np.int64(1) << (fractional - 2)
    within = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    result = _exp_of_quarter(saturated(within << integer_bits))
    rest = within - x
    for power, factor in zip(range(-2, integer_bits), EXP_OF_MINUS_POWERS, strict=False):
        result = np.where(rest & (np.int64(1) << (fractional + power)), multiplied(result, factor), result)
    return np.where(x == 0, ONE, result)


def _exp_of_quarter(a: Array) -> Array:
    """Of numbers in [-1/4, 0): four terms around -1/8."""
    x = a + 2**28
    square = multiplied(x, x)
    cube, fourth = multiplied(square, x), multiplied(square, square)
    terms = multiplied(divided(fourth, 2) + cube, THIRD) + square
    return EXP_OF_MINUS_EIGHTH + multiplied(EXP_OF_MINUS_EIGHTH, x + divided(terms, 1))


def _reciprocal_of_half(x: Any) -> Array:
    """2 / (1 + x) for x in [0, 1), with 2 integer bits: three steps of Newton's."""
    half = (np.asarray(x, np.int64) + ONE + 1) // 2  # of the denominator
    y = FORTY_EIGHT_OVER_17 + multiplied(half, MINUS_32_OVER_17)
    for _ in range(3):
        error = 2**29 - multiplied(half, y)
        y = y + saturated(multiplied(y, error) << 2)
    return y


def reciprocal_of_one_plus(x: Any) -> Array:
    """1 / (1 + x) for x in [0, 1)."""
    return saturated(_reciprocal_of_half(x) << 1)


def logistic(x: Array, integer_bits: int) -> Array:
    """1 / (1 + exp(-x)), without integer bits."""
    above = reciprocal_of_one_plus(exp(-np.abs(x), integer_bits))
    return np.where(x == 0, 2**30, np.where(x > 0, above, ONE - above))


def tanh(x: Array, integer_bits: int) -> Array:
    """(1 - exp(-2x)) / (1 + exp(-2x)), without integer bits."""
    above = saturated((_reciprocal_of_half(exp(-np.abs(x), integer_bits + 1)) - 2**29) << 2)
    return np.where(x == 0, 0, np.where(x > 0, above, -above))
