"""PyTorch as most code calls it: `F.conv2d` on channels_last tensors, then the activation as one more
operator.

Not its best form: it shows what leaving out weight packing and fusion costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bench.peers import torch
from bench.workloads import Stage


class Peer(torch.Peer):
    def _step(
        self, stage: Stage, weights: Any, bias: Any, shape: tuple[int, int, int], residual: Any
    ) -> Callable[[Any], Any]:
        functional = self.torch.nn.functional
        weights = weights.to(memory_format=self.torch.channels_last)
        padding = torch.symmetric_padding(stage, shape[1:])
        window = {"stride": stage.stride, "padding": padding, "dilation": stage.dilation}
        convolve = partial(functional.conv2d, weight=weights, bias=bias, groups=stage.groups, **window)
        activations = {
            None: lambda y: y,
            "relu": functional.relu_,
            "relu6": lambda y: functional.hardtanh(y, 0.0, 6.0, inplace=True),
            "hard_swish": lambda y: functional.hardswish(y, inplace=True),
            "hard_sigmoid": lambda y: functional.hardsigmoid(y, inplace=True),
            "sigmoid": lambda y: y.sigmoid_(),
            "silu": lambda y: functional.silu(y, inplace=True),
            "gelu": functional.gelu,
        }
        activate = activations[stage.activation]
        if residual is None:
            return lambda x: activate(convolve(x))
        return lambda x: activate(convolve(x)).add_(residual)
