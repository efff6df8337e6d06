"""What quantized layers refuse, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from int8_layers import block, depthwise, image

GATE = (np.zeros((18, 2), np.int8), None, np.zeros((2, 18), np.int8), None)
OF_GATE = dwconv.SqueezeExciteQuantization(
    mean=(0.025, 0), squeeze_filter_scale=0.01, squeeze_output=(0.02, 0), gate_filter_scale=0.01,
    gate_output=(0.004, -128), scaled=(0.02, 0), gate_activation_quantization=(0.05, 0),
)  # fmt: skip


def test_integers_and_numbers_never_mix_silently() -> None:
    floats = dwconv.DepthwiseConv2D(np.ones((3, 3, 3, 1), np.float32))
    with pytest.raises(
        TypeError, match=r"dtype of x is int8; .*dwconv\.dequantize, or a layer with dtype='int8'"
    ):
        floats(image())
    with pytest.raises(TypeError, match=r"dtype of x is float32 but int8 is expected .*dwconv\.quantize"):
        depthwise()(np.zeros((1, 5, 5, 3), np.float32))
    with pytest.raises(TypeError, match="dtype of x is uint8 but int8 is expected"):
        depthwise()(image(np.uint8))
    with pytest.raises(TypeError, match="dtype of out is float32 but int8 is expected"):
        depthwise()(image(), out=np.empty((2, 7, 9, 3), np.float32))
    with pytest.raises(TypeError, match="dtype of filters is float32 but int8 is expected"):
        dwconv.PointwiseConv2D(np.ones((3, 3), np.float32), dtype="int8")
    with pytest.raises(
        TypeError, match=r"uint8 but int8 is expected: the weights themselves.*signed_filters"
    ):
        dwconv.PointwiseConv2D(np.ones((3, 3), np.uint8), dtype="int8")
    with pytest.raises(ValueError, match="of an output channel and 0 are at most 255 apart, not 256"):
        dwconv.PointwiseConv2D(np.array([[-128], [128]], np.int16), dtype="int8")
    with pytest.raises(
        TypeError, match="dtype of bias is float32 but int32 is expected: integers in units of"
    ):
        depthwise(bias=np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="filter_scale needs dtype='int8'"):
        dwconv.PointwiseConv2D(np.ones((3, 3), np.float32), filter_scale=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"filter_scale": None}, "filter_scale is needed"),
        ({"filter_scale": [0.1, 0.0, 0.1]}, "filter_scale: every scale must be finite and above 0"),
        ({"filter_scale": [0.1, 0.1]}, r"one for each of the 3 output channels, not of shape \(2,\)"),
        ({"filter_scale": 600.0}, r"filter scale / output scale must be above 0 and below 256"),
        ({"filter_scale": 1e-45, "input_quantization": (1e-3, 0)}, r"not 0\.001 \* "),
        ({"input_quantization": None}, "input_quantization is needed with dtype='int8'"),
        ({"input_quantization": 0.5}, r"input_quantization must be \(scale, zero_point\), not 0.5"),
        ({"input_quantization": (np.nan, 0)}, "the scale must be finite and above 0"),
        ({"output_quantization": (0.1, 128)}, "the zero point of int8 must be between -128 and 127, not 128"),
        ({"output_quantization": (0.1, 0.5)}, "the zero point must be an integer, not 0.5"),
        ({"dtype": "int16"}, "dtype must be None, 'int8' or 'uint8', not 'int16'"),
        ({"rounding": "up"}, "rounding must be 'even' or 'tflite', not 'up'"),
        ({"output_dtype": "float16"}, "output_dtype must be None, int8 or float32"),
        ({"activation": "sigmoid"}, "activation_quantization is needed: .* of what sigmoid takes"),
        ({"activation": ("clamp", -129, 0)}, "'clamp' needs -128 <= low <= high <= 127, not -129 and 0"),
        ({"activation": np.zeros(255, np.int8)}, "a table has 256 entries of int8"),
        ({"bias": [2**31 - 1, 0, 0]}, r"sums must fit 32 bits: 255 \* sum \|w\| \+ \|bias\| is"),
        ({"bias": [2**31, 0, 0]}, "bias must be between -2147483648 and 2147483647 for int32"),
    ],
)  # fmt: skip
def test_errors_name_scale_zero_point_and_rule(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        depthwise(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sum_quantization": None}, "sum_quantization is needed where x is added"),
        ({"strides": 2}, "sum_quantization is for blocks that add x"),
        ({"sum_quantization": (1e-9, 0)}, r"sum_quantization: the larger of the scales .* at least 2\^-10"),
        ({"squeeze_excite": GATE}, "squeeze_excite_quantization is needed .* dwconv.Squeeze"),
        ({"squeeze_excite_quantization": OF_GATE}, "squeeze_excite_quantization needs squeeze_excite"),
        (
            {"squeeze_excite": GATE, "squeeze_excite_quantization": OF_GATE._replace(mean=(0.1, 200))},
            "mean of squeeze_excite_quantization: the zero point of int8 must be between -128 and 127",
        ),
        (
            {"squeeze_excite": GATE, "squeeze_excite_quantization": OF_GATE._replace(gate_filter_scale=0)},
            "gate_filter_scale: every scale must be finite and above 0",
        ),
        (
            {"squeeze_excite": GATE, "squeeze_excite_quantization": OF_GATE._replace(scaled=(1e-11, 0))},
            r"scaled of squeeze_excite_quantization: .* must be less than 2\^20 times 1e-11",
        ),
        (
            {"squeeze_excite": GATE, "squeeze_excite_quantization": OF_GATE._replace(product="exact")},
            "product of squeeze_excite_quantization must be 'integer' or 'float', not 'exact'",
        ),
    ],
)  # fmt: skip
def test_errors_of_blocks(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        block(**given)
