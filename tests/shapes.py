"""The one table of geometries that the tests share, and the cases made of it."""

from __future__ import annotations

import math
from typing import Any

from oracles import ACTIVATIONS, OPERATIONS, Case


def _geometry(
    shape: Any,
    out: int,
    kernel: Any,
    strides: Any = 1,
    padding: Any = "same",
    dilations: Any = 1,
    mult: int = 1,
) -> dict[str, Any]:
    pairs = [v if isinstance(v, tuple) else (v, v) for v in (kernel, strides, dilations)]
    return {
        "shape": shape,
        "out_channels": out,
        "kernel": pairs[0],
        "strides": pairs[1],
        "padding": padding,
        "dilations": pairs[2],
        "multiplier": mult,
    }


# Channels with every kind of tail, kernels of every table row and of none, small images, empty batches.
GEOMETRIES: tuple[dict[str, Any], ...] = (
    _geometry((1, 1, 1, 1), 1, 1),
    _geometry((0, 5, 5, 3), 4, 3),
    _geometry((2, 7, 9, 3), 8, 3),
    _geometry((1, 14, 13, 17), 33, 3),
    _geometry((2, 11, 12, 24), 24, 3, 2),
    _geometry((1, 12, 11, 40), 7, 3, 2, "valid"),
    _geometry((1, 9, 10, 15), 15, 5),
    _geometry((1, 10, 11, 8), 9, 5, 2),
    _geometry((1, 15, 16, 20), 12, 7),
    _geometry((1, 16, 15, 9), 17, 7, 2, ((3, 3), (3, 3))),
    _geometry((1, 6, 7, 5), 6, 3, mult=2),
    _geometry((1, 7, 6, 3), 5, 3, (2, 1), mult=8),
    _geometry((3, 5, 6, 17), 4, 2, padding="valid", mult=3),
    _geometry((1, 12, 12, 16), 16, 3, dilations=2),
    _geometry((2, 17, 30, 20), 8, 3, dilations=2),
    _geometry((1, 16, 29, 5), 6, 3, 2, mult=3),
    _geometry((1, 14, 14, 512), 3, 3, 2),
    _geometry((1, 5, 9, 512), 3, 3),
    _geometry((1, 6, 5, 1024), 3, 3),
    _geometry((1, 3, 29, 512), 3, 3, 2),
    _geometry((1, 9, 13, 512), 3, 3, dilations=2),
    _geometry((1, 11, 9, 256), 3, 5, padding=((3, 1), (2, 2))),
    _geometry((1, 9, 15, 384), 3, 7),
    _geometry((1, 13, 20, 11), 3, 3, (2, 3), dilations=(3, 5)),
    _geometry((1, 4, 4, 6), 6, 3, dilations=18),
    _geometry((1, 3, 25, 10), 2, (1, 7)),
    _geometry((1, 25, 3, 10), 2, (7, 1)),
    _geometry((1, 12, 12, 13), 13, 4),
    _geometry((1, 39, 11, 1), 3, 11, (1, 3), "valid"),
    _geometry((1, 10, 10, 4), 4, 9, padding=((8, 1), (0, 5))),
    _geometry((1, 2, 2, 19), 4, 3, padding=((7, 5), (0, 9))),
    _geometry((3, 1, 1, 33), 5, 5),
    _geometry((1, 5, 40, 2), 64, 3, 3, ((0, 2), (1, 0))),
    _geometry((2, 30, 131, 1), 2, 3),
    _geometry((1, 9, 52, 3), 3, 5),
    _geometry((1, 8, 39, 4), 2, (4, 3), dilations=(2, 3)),
)


# Groups of few channels, several of which fill a vector.
THIN_GROUPS: tuple[tuple[int, dict[str, Any]], ...] = (
    (32, _geometry((1, 14, 14, 128), 128, 3)),
    (13, _geometry((2, 9, 15, 52), 52, 3, 2)),
    (9, _geometry((1, 8, 11, 18), 36, 3, padding=((1, 0), (2, 3)))),
    (3, _geometry((1, 7, 9, 48), 48, 3)),
    (10, _geometry((1, 6, 7, 20), 20, 1)),
    (12, _geometry((1, 7, 8, 24), 24, (5, 3))),
    (5, _geometry((1, 12, 12, 40), 40, 3, dilations=2)),
    (8, _geometry((1, 1, 30, 32), 32, (1, 3))),
    (3, _geometry((1, 9, 9, 12), 12, 3)),
)


def cases() -> list[Case]:
    """Every geometry with every operation, and thin groups; all that is optional takes turns."""
    result = [
        Case("conv", seed=i, activation=ACTIVATIONS[i % len(ACTIVATIONS)], **(geometry | {"groups": groups}))
        for i, (groups, geometry) in enumerate(THIN_GROUPS)
    ]
    for i, geometry in enumerate(GEOMETRIES):
        for j, operation in enumerate(OPERATIONS):
            number = i * len(OPERATIONS) + j
            channels, out = geometry["shape"][3], geometry["out_channels"]
            extra: dict[str, Any] = {
                "activation": ACTIVATIONS[number % len(ACTIVATIONS)],
                "bias": number % 3 != 0,
            }
            if operation == "conv" and i % 2:
                extra["groups"] = math.gcd(channels, out)
            if operation in ("pointwise", "conv"):
                extra["multiplier"] = 1
            if operation == "inverted_residual":
                extra["expanded"] = (0, 2 * channels + 1, 6 * channels)[i % 3]
                if i % 4 > 1:
                    extra["squeezed"] = 1 + channels // 2
                    extra["squeeze_activation"] = ACTIVATIONS[(number + 1) % len(ACTIVATIONS)]
                    extra["gate_activation"] = ACTIVATIONS[(number + 4) % len(ACTIVATIONS)]
            result.append(Case(operation, seed=number, **(geometry | extra)))
    return result
