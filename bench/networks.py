"""The networks, each a compact description that expands to its layers and blocks.

Every convolution of a network is a layer, classifiers and squeeze-and-excitation products included (as 1x1
images), so that totals equal the published multiply-accumulate counts; pooling, normalisation and gates are
left out of the layers. Blocks are what dwconv runs as one operation: depthwise + pointwise, and inverted
residuals, with their squeeze-and-excite where the network has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from bench.workloads import Stage, Workload


class _Net:
    """Follows an image through a network and notes every layer and block that it meets."""

    def __init__(self, name: str, size: int, channels: int = 3, activation: str = "relu6") -> None:
        self.name, self.height, self.width = name, size, size
        self.channels, self.activation = channels, activation
        self.gate = "relu", "hard_sigmoid"  # activations of a squeeze-and-excite
        self.found: list[Workload] = []

    def conv(
        self, out: int, kernel: int, stride: int = 1, padding: str = "same", activation: str | None = None
    ) -> None:
        op = "pointwise" if kernel == 1 else "conv"
        self._layers(self._stage(op, out, kernel, stride, padding, activation or self.activation))

    def pointwise(self, out: int, activation: str | None = None) -> None:
        self._layers(self._stage("pointwise", out, activation=activation))

    def depthwise(self, kernel: int, stride: int = 1, activation: str | None = None) -> None:
        self._layers(self._stage("depthwise", self.channels, kernel, stride, activation=activation))

    def separable(self, out: int, stride: int = 1, between: bool = True) -> None:
        depthwise = self._stage(
            "depthwise", self.channels, 3, stride, activation=self.activation if between else None
        )
        stages = depthwise, self._stage("pointwise", out, activation=self.activation)
        self._note_block(stages)
        self._layers(*stages)

    def inverted(self, out: int, expanded: int, kernel: int = 3, stride: int = 1, squeeze: int = 0) -> None:
        residual = stride == 1 and out == self.channels
        stages = [
            self._stage("depthwise", expanded, kernel, stride, activation=self.activation, channels=expanded)
        ]
        if expanded != self.channels:
            stages.insert(0, self._stage("pointwise", expanded, activation=self.activation))
        project = self._stage("pointwise", out, channels=expanded)
        gate: tuple[Stage, ...] = ()
        if squeeze:
            gate = (
                Stage("pointwise", expanded, squeeze, activation=self.gate[0]),
                Stage("pointwise", squeeze, expanded, activation=self.gate[1]),
            )
        self._note_block((*stages, project), residual, gate)
        self._layers(*stages)
        if squeeze:
            self.on_pooled(squeeze, expanded)
        self._layers(project)

    def on_pooled(self, *outs: int) -> None:
        """Products on the globally pooled image: squeeze-and-excitation, classifiers."""
        size = self.height, self.width
        self.height = self.width = 1
        for out in outs:
            self.pointwise(out)
        self.height, self.width = size

    def pool(self) -> None:
        self.height, self.width = -(-self.height // 2), -(-self.width // 2)

    def _stage(
        self,
        op: str,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        padding: str = "same",
        activation: str | None = None,
        channels: int = 0,
    ) -> Stage:
        return Stage(op, channels or self.channels, out, (kernel, kernel), stride, 1, padding, activation)

    def _layers(self, *stages: Stage) -> None:
        for stage in stages:
            self.found.append(Workload(self.name, (stage,), self.height, self.width))
            self.height, self.width = stage.output_size(self.height, self.width)
            self.channels = stage.out_channels

    def _note_block(
        self, stages: tuple[Stage, ...], residual: bool = False, gate: tuple[Stage, ...] = ()
    ) -> None:
        """Its layers are to follow at once: tables.whole_networks counts either."""
        size = self.height, self.width
        self.found.append(Workload(self.name, stages, *size, residual=residual, squeeze_excite=gate))


def _rows(table: str) -> list[list[int]]:
    return [[int(number) for number in row.split()] for row in table.split(";")]


def _mobilenet_v1() -> list[Workload]:
    net = _Net("mobilenet_v1", 224)
    net.conv(32, 3, 2)
    for out, stride in _rows("64 1; 128 2; 128 1; 256 2; 256 1; 512 2" + "; 512 1" * 5 + "; 1024 2; 1024 1"):
        net.separable(out, stride)
    net.on_pooled(1000)
    return net.found


def _mobilenet_v2(name: str = "mobilenet_v2", size: int = 224, classes: int = 1000) -> list[Workload]:
    net = _Net(name, size)
    net.conv(32, 3, 2)
    table = "1 16 1 1; 6 24 2 2; 6 32 3 2; 6 64 4 2; 6 96 3 1; 6 160 3 2; 6 320 1 1"
    for ratio, out, repeats, stride in _rows(table):
        for i in range(repeats):
            net.inverted(out, ratio * net.channels, stride=1 if i else stride)
    net.pointwise(1280, "relu6")
    if classes:
        net.on_pooled(classes)
    return net.found


def _divisible(value: float) -> int:
    """MobileNet's rounding of channels to multiples of 8, never below 90 %."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def _mobilenet_v3(name: str, rows: str, last: int, hidden: int) -> list[Workload]:
    net = _Net(name, 224, activation="hard_swish")
    net.conv(16, 3, 2)
    for row in rows.split(";"):
        kernel, expanded, out, squeeze, activation, stride = row.split()
        net.activation = {"re": "relu", "hs": "hard_swish"}[activation]
        gate = _divisible(int(expanded) / 4) if squeeze == "se" else 0
        net.inverted(int(out), int(expanded), int(kernel), int(stride), gate)
    net.pointwise(last, "hard_swish")
    net.on_pooled(hidden, 1000)
    return net.found


# kernel, expanded and output channels, squeeze-and-excitation, activation, stride (tables 1 and 2 of the
# paper)
_V3_LARGE = (
    "3 16 16 - re 1; 3 64 24 - re 2; 3 72 24 - re 1; 5 72 40 se re 2; 5 120 40 se re 1; 5 120 40 se re 1;"
    "3 240 80 - hs 2; 3 200 80 - hs 1; 3 184 80 - hs 1; 3 184 80 - hs 1; 3 480 112 se hs 1;"
    "3 672 112 se hs 1; 5 672 160 se hs 2; 5 960 160 se hs 1; 5 960 160 se hs 1"
)
_V3_SMALL = (
    "3 16 16 se re 2; 3 72 24 - re 2; 3 88 24 - re 1; 5 96 40 se hs 2; 5 240 40 se hs 1; 5 240 40 se hs 1;"
    "5 120 48 se hs 1; 5 144 48 se hs 1; 5 288 96 se hs 2; 5 576 96 se hs 1; 5 576 96 se hs 1"
)


def _efficientnet_b0() -> list[Workload]:
    net = _Net("efficientnet_b0", 224, activation="silu")
    net.gate = "silu", "sigmoid"
    net.conv(32, 3, 2)
    table = "1 16 1 1 3; 6 24 2 2 3; 6 40 2 2 5; 6 80 3 2 3; 6 112 3 1 5; 6 192 4 2 5; 6 320 1 1 3"
    for ratio, out, repeats, stride, kernel in _rows(table):
        for i in range(repeats):
            net.inverted(out, ratio * net.channels, kernel, 1 if i else stride, squeeze=net.channels // 4)
    net.pointwise(1280, "silu")
    net.on_pooled(1000)
    return net.found


def _convnext_tiny() -> list[Workload]:
    net = _Net("convnext_tiny", 224)
    for i, (channels, depth) in enumerate([(96, 3), (192, 3), (384, 9), (768, 3)]):
        size = 2 if i else 4
        net._layers(net._stage("conv", channels, size, size, "valid"))
        for _ in range(depth):
            net.depthwise(7)
            net.pointwise(4 * channels, "gelu")
            net.pointwise(channels)
    net.on_pooled(1000)
    return net.found


def _xception() -> list[Workload]:
    net = _Net("xception", 299, activation="relu")
    net.conv(32, 3, 2, "valid")
    net.conv(64, 3, 1, "valid")

    def reduce(*outs: int) -> None:
        shortcut = net._stage("pointwise", outs[-1], stride=2)
        net.found.append(Workload(net.name, (shortcut,), net.height, net.width))
        for out in outs:
            net.separable(out, between=False)
        net.pool()

    for out in (128, 256, 728):
        reduce(out, out)
    for _ in range(8 * 3):
        net.separable(728, between=False)
    reduce(728, 1024)
    net.separable(1536, between=False)
    net.separable(2048, between=False)
    net.on_pooled(1000)
    return net.found


def layers_of(name: str, rows: str, activation: str | None = "relu6") -> Iterator[Workload]:
    """Rows of `HxW CHANNELS KxK sS dD mM bB`, apart by semicolons; all from the kernel on optional.

    CHANNELS: `C` depthwise, with multiplier M; `K>N` pointwise, dense where it has a kernel; `K/N` a pair;
    `K/E/N` an inverted residual, whose last stage has no activation. B is the batch.
    """
    for row in rows.split(";"):
        size, chain, *options = row.split()
        height, width = map(int, size.split("x"))
        channels = [int(count) for count in chain.replace(">", "/").split("/")]
        number = {option[0]: int(option[1:]) for option in options if "x" not in option}
        given = [option.split("x") for option in options if "x" in option]
        kernel = (int(given[0][0]), int(given[0][1])) if given else (3, 3) if "/" in chain else (1, 1)
        window = kernel, number.get("s", 1), number.get("d", 1)
        if ">" in chain:
            op = "conv" if given else "pointwise"
            stages = [Stage(op, channels[0], channels[1], *window, activation=activation)]
        else:
            inputs, *others = channels[-2:]
            stages = [Stage("depthwise", inputs, inputs * number.get("m", 1), *window, activation=activation)]
            last = None if len(channels) == 3 else activation
            stages += [Stage("pointwise", inputs, outputs, activation=last) for outputs in others]
        residual = len(channels) == 3 and window[1] == 1 and channels[0] == channels[2]
        if len(channels) == 3:
            stages.insert(0, Stage("pointwise", channels[0], channels[1], activation=activation))
        yield Workload(name, tuple(stages), height, width, number.get("b", 1), residual)


def _classic() -> list[Workload]:
    """The layers that the project's first measurements were made on: the quick set."""
    rows = (
        "112x112 32 3x3; 112x112 64 3x3 s2; 56x56 128 3x3; 56x56 128 3x3 s2; 28x28 256 3x3; 28x28 256 3x3 "
        "s2;14x14 512 3x3; 14x14 512 3x3 s2; 7x7 1024 3x3; 7x7 1040 3x3; 56x56 144 3x3; 56x56 24 3x3; 28x28 "
        "40 3x3;28x28 72 3x3; 28x28 120 3x3; 28x28 240 5x5; 14x14 672 5x5; 56x56 96 7x7; 14x14 384 "
        "7x7;112x112 16>96; 112x112 96>24; 56x56 24>144; 56x56 144>24; 112x112 32>64; 7x7 1024>1024;112x112 "
        "32/64; 56x56 128/128; 14x14 512/512; 112x112 16/96/24 s2; 56x56 24/144/24; 28x28 32/192/32;14x14 "
        "64/384/64; 14x14 96/576/96; 7x7 160/960/160; 256x256 32/64; 512x512 32/64; 256x256 16/96/24 "
        "s2;512x512 16/96/24 s2; 256x256 24/144/24"
    )
    return list(layers_of("classic", rows))


def _stress() -> list[Workload]:
    """Where libraries have cliffs: dilation, multipliers, big kernels, odd channels, batches, sizes."""
    rows = (
        "56x56 64 3x3 d2; 56x56 64 3x3 d4; 56x56 64 3x3 d18; 56x56 64 3x3 s2 d2; 56x56 32 3x3 m2; 56x56 32 "
        "3x3 m4;112x112 3 3x3 m8; 56x56 64 4x4; 56x56 64 9x9; 56x56 64 11x11; 56x56 64 31x31; 56x56 64 1x9; "
        "56x56 64 9x1;112x112 3 3x3; 112x112 17 3x3; 112x112 24 3x3; 112x112 40 3x3; 112x112 1 3x3; 28x28 "
        "256 3x3 b8;1x1 256 3x3; 4x4 256 3x3; 256x256 32 3x3; 512x512 32 3x3; 1024x1024 32 3x3; 1024x1024 32 "
        "3x3 s2;1x1 512>512; 4x4 256>256; 56x56 3>16; 56x56 17>40; 112x112 24>24; 512x512 32>64;1024x1024 "
        "32/64; 1024x1024 24/144/24; 416x416 32/64 s2; 13x13 512/1024"
    )
    return list(layers_of("stress", rows))


def _sequences() -> list[Workload]:
    """Depthwise and separable layers of networks for speech, on images of one row of T pixels; the last on a
    column. Ten seconds are 500 steps in QuartzNet (Kriman et al., 2020) and 250 in Conformer (Gulati et al.,
    2020), four seconds at 8 kHz 3200 in Conv-TasNet (Luo and Mesgarani, 2019), one second 128 in MatchboxNet
    (Majumdar and Ginsburg, 2020).
    """
    rows = (
        "1x500 256/256 1x33; 1x500 256/256 1x39; 1x500 256/512 1x51; 1x500 512/512 1x63; 1x500 512/512 "
        "1x75;1x500 512/512 1x87 d2; 1x250 144 1x31; 1x250 256 1x31; 1x250 512 1x31; 1x3200 512 1x3; 1x3200 "
        "512 1x3 d4;1x3200 512 1x3 d16; 1x3200 512 1x3 d64; 1x3200 128/512/128 1x3; 1x3200 128/512/128 1x3 "
        "d16;1x3200 128/512/128 1x3 d128; 1x128 64/128 1x11 s2; 1x128 64/64 1x13; 1x128 64/64 1x15; 1x128 "
        "64/64 1x17;1x128 64/128 1x29 d2; 1x4000 128 1x3; 1x1000 64 1x5 s2; 1x16000 16 1x9; 1x2000 24 "
        "1x7;500x1 256/256 33x1; 250x1 256 31x1; 3200x1 512 3x1 d16"
    )
    return list(layers_of("sequences", rows, "relu"))


NETWORKS: dict[str, Callable[[], list[Workload]]] = {
    "classic": _classic,
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v2_320": lambda: _mobilenet_v2("mobilenet_v2_320", 320, 0),
    "mobilenet_v2_416": lambda: _mobilenet_v2("mobilenet_v2_416", 416, 0),
    "mobilenet_v3_large": lambda: _mobilenet_v3("mobilenet_v3_large", _V3_LARGE, 960, 1280),
    "mobilenet_v3_small": lambda: _mobilenet_v3("mobilenet_v3_small", _V3_SMALL, 576, 1024),
    "efficientnet_b0": _efficientnet_b0,
    "convnext_tiny": _convnext_tiny,
    "xception": _xception,
    "stress": _stress,
}

# Of a run of everything in 8-bit integers: activations are clamps, no squeeze-and-excite.
INT8_NETWORKS = ("classic", "mobilenet_v1", "mobilenet_v2")

# Not part of a run of everything, whose results are published: these have their own.
APART: dict[str, Callable[[], list[Workload]]] = {"sequences": _sequences}

SETS = ("classic", "stress", "sequences")  # chosen layers, of which no total makes sense


def defaults(dtype: str) -> list[str]:
    """The networks of a run of everything."""
    return list(INT8_NETWORKS if dtype == "int8" else NETWORKS)


OPS = ("depthwise", "pointwise", "conv", "blocks")


def expand(network: str, ops: tuple[str, ...] = OPS) -> list[Workload]:
    """Distinct workloads in order of appearance, equal ones counted. KeyError for no such network."""
    counts: dict[Workload, int] = {}
    for workload in {**NETWORKS, **APART}[network]():
        if workload.kind in ops:
            counts[workload] = counts.get(workload, 0) + 1
    return [replace(workload, count=count) for workload, count in counts.items()]
