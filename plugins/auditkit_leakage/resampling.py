"""Images of one working size, and the linear maps that crop, zoom and shift them.

An image is resampled along its two axes apart: `rows @ image @ columns.T`, where both matrices
interpolate linearly. All altered views of an image are thus products of small matrices.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from auditkit_leakage.content import Pixels

Images: TypeAlias = Pixels | tuple[Pixels, ...]
"""One array of images, or one array per image where sizes differ."""

Planes: TypeAlias = npt.NDArray[np.uint8]
"""Images of one size: uint8 [n, colour, side, side]."""

Floats: TypeAlias = npt.NDArray[np.float32]

LARGEST, SMALLEST = 32, 8

_MOST_TRIMMED = 0.25
_ALIKE = 2
"""By how many levels the pixels of an empty margin may differ."""


def working_side(pixels: Images) -> int:
    """The side all images are brought to: their own longer side, if it is from 8 to 32 pixels."""
    longest = max(max(image.shape[:2]) for image in pixels)
    return int(np.clip(longest, SMALLEST, LARGEST))


def to_planes(pixels: Images, side: int) -> Planes:
    """Images at the working size, smoothed where they shrink; grey if all of them are grey."""
    if isinstance(pixels, np.ndarray) and pixels.shape[1:3] == (side, side):
        stacked = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
        return np.ascontiguousarray(stacked)
    colours = 3 if any(image.ndim == 3 for image in pixels) else 1
    planes = np.empty((len(pixels), colours, side, side), dtype=np.uint8)
    for place, image in enumerate(pixels):
        scaled = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        array = np.asarray(scaled)
        planes[place] = array if array.ndim == 2 else np.moveaxis(array, 2, 0)
    return planes


def margins(image: Pixels) -> npt.NDArray[np.int64]:
    """How many rows and columns of one colour frame an image: [2, 2], before and after, by axis.

    That is what comes in where an image is moved or padded. The row after a margin counts too: in a
    scaled image it mixes both. A margin that would then be wider than a quarter of the side counts
    as none: it is left whole, not cut down to a quarter.
    """
    cells = image.reshape(*image.shape[:2], -1).astype(np.int16)
    found = np.zeros((2, 2), dtype=np.int64)
    for axis in (0, 1):
        lines = np.moveaxis(cells, axis, 0)
        most = int(_MOST_TRIMMED * len(lines))
        for end, ordered in enumerate((lines, lines[::-1])):
            apart = np.abs(ordered[:most] - ordered[0, 0]).max(axis=(1, 2)) > _ALIKE
            count = int(apart.argmax()) if apart.any() else 0
            found[axis, end] = count + 1 if count else 0
    return found


def without(image: Pixels, frame: npt.NDArray[np.int64]) -> Pixels:
    """An image without its margins, as `margins` gives them."""
    height, width = image.shape[:2]
    (top, bottom), (left, right) = frame.tolist()
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def background(planes: Planes) -> float:
    """The brightness most of the border has: the median over the border pixels of all images."""
    border = np.concatenate(
        [planes[:, :, 0], planes[:, :, -1], planes[:, :, :, 0], planes[:, :, :, -1]], axis=-1
    )
    return float(np.median(border))


def grey(planes: Planes, level: float) -> Floats:
    """Brightness above the background's level, float32 [n, side, side]."""
    mean: Floats = planes[:, 0].astype(np.float32)
    for colour in range(1, planes.shape[1]):
        mean += planes[:, colour]
    mean /= planes.shape[1]
    mean -= np.float32(level)
    return mean


def window(side: int, *, start: float, length: float, out: int | None = None) -> Floats:
    """The map of an axis to its window from `start`, `length` pixels long, stretched to `out`.

    Returns:
        float32 [out, side]; what lies outside the axis gives zero.
    """
    out = side if out is None else out
    step = length / out
    centres = start + (np.arange(out) + 0.5) * step - 0.5
    width = max(step, 1.0)
    distance = np.abs(centres[:, None] - np.arange(side)[None])
    weights = np.clip(1 - distance / width, 0, None)
    inside = (centres >= -0.5 - 1e-6) & (centres <= side - 0.5 + 1e-6)
    total = weights.sum(axis=1, keepdims=True)
    result = np.where(inside[:, None], weights / np.maximum(total, 1e-9), 0.0)
    return result.astype(np.float32)


def windows(
    start: npt.NDArray[np.floating], size: npt.NDArray[np.floating], side: int
) -> tuple[Floats, Floats]:
    """Many maps of an axis to its windows, at most stretched by a little less than nothing.

    Args:
        start: [pair], where each window begins, in sides.
        size: [pair], how long it is, in sides.
        side: the axis's length, and the window's.

    Returns:
        float32 [pair, side, side], and whether each place lies on the axis, float32 [pair, side].
    """
    places = np.arange(side, dtype=np.float32)
    centres = (start[:, None] * side + (places + 0.5) * size[:, None] - 0.5).astype(np.float32)
    maps = 1 - np.abs(centres[:, :, None] - places)
    np.maximum(maps, 0, out=maps)
    maps /= np.maximum(maps.sum(axis=2, keepdims=True), 1e-3)
    inside = (centres >= -0.25) & (centres <= side - 0.75)
    return maps, inside.astype(np.float32)


def halved(images: Floats) -> Floats:
    """Images at half the resolution, but at least 8 pixels a side, where they have them."""
    side = images.shape[1]
    shrink = window(side, start=0, length=side, out=max(side // 2, min(side, SMALLEST)))
    return (shrink @ images @ shrink.T).astype(np.float32, copy=False)


def blur(side: int, deviation: float) -> Floats:
    """A Gaussian blur along an axis, float32 [side, side]; the edge does not darken."""
    places = np.arange(side)
    weights = np.exp(-((places[:, None] - places[None]) ** 2) / (2 * deviation**2))
    result: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
