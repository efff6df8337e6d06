"""Image files as inputs of a network: resized, scaled, in its layout. Needs Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .activation import Array
from .sources import Sizes, TensorInfo

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
COLOURS = {1: "L", 3: "RGB", 4: "RGBA"}  # channels, and what Pillow calls them


class Scaling(NamedTuple):
    """A pixel from 0 to 255 becomes low to high, then (value - mean) / std, one or one per channel."""

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def layout_of(info: TensorInfo, asked: str | None) -> str:
    """ "NHWC" or "NCHW", which the number of channels tells. Raises ValueError where it does not."""
    if len(info.shape) != 4:
        raise ValueError(f"input {info.name!r} {info.shape} is no image: give it as .npy")
    if asked is not None:
        return asked.upper()
    last, first = (info.shape[axis] in COLOURS for axis in (3, 1))
    if last == first:
        raise ValueError(
            f"the layout of input {info.name!r} {info.shape} is not clear: --layout NHWC or NCHW"
        )
    return "NHWC" if last else "NCHW"


def read(path: Path, info: TensorInfo, layout: str, scaling: Scaling, size: Sizes | None = None) -> Array:
    """One image [1, ...] of the dtype and layout of the input.

    It is resized to `size` (height, width), else to that of the input, else it keeps its own where that is
    open. Raises ImportError without Pillow, OSError and ValueError for what is no image.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError("images need Pillow: pip install 'dwconv[images]'") from None
    height, width, channels = (info.shape[axis] for axis in ((1, 2, 3) if layout == "NHWC" else (2, 3, 1)))
    if channels is not None and channels not in COLOURS:
        raise ValueError(f"input {info.name!r} has {channels} channels, images have 1, 3 or 4")
    try:
        with Image.open(path) as file:
            image = file.convert(COLOURS[channels or 3])
            own = image.height, image.width
            rows, columns = size or (height or own[0], width or own[1])
            image = image.resize((columns, rows), Image.Resampling.BILINEAR)
            pixels = np.asarray(image).reshape(rows, columns, -1)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"{path}: {error}") from None
    x = scaled(pixels, scaling, info.dtype)[None]
    return x if layout == "NHWC" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def scaled(pixels: Array, scaling: Scaling, dtype: np.dtype[np.generic]) -> Array:
    """Raises ValueError where the scaling has another number of channels. Integers stay as they are."""
    if dtype.kind != "f":
        return pixels.astype(dtype)
    channels = pixels.shape[-1]
    for word, values in (("mean", scaling.mean), ("std", scaling.std)):
        if len(values) not in (1, channels):
            raise ValueError(f"--{word} has {len(values)} values for {channels} channels")
    x = scaling.low + pixels * ((scaling.high - scaling.low) / 255)
    x = (x - np.array(scaling.mean)) / np.array(scaling.std)
    return np.asarray(x, dtype)


def top(scores: Array, count: int) -> list[tuple[int, float]]:
    """(class, score) of the best."""
    flat = scores.reshape(-1)
    best = np.argsort(-flat, kind="stable")[:count]
    return [(int(index), float(flat[index])) for index in best]


def are_probabilities(y: Array) -> bool:
    """Whether y is [1, ..., classes] and sums to 1, as after a softmax."""
    if y.size < 2 or y.size != y.shape[-1] or y.dtype.kind != "f":
        return False
    return bool(y.min() >= 0 and abs(float(y.sum(dtype=np.float64)) - 1) < 1e-3)


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def labels(path: Path) -> Sequence[str]:
    """A label per line."""
    return path.read_text(encoding="utf-8").splitlines()
