"""Last step of the search for images: lay a query exactly onto a training image and compare.

The part of the training image that the query shows is moved and stretched along both axes by
Gauss-Newton steps (Lucas and Kanade 1981), together with a change of contrast and brightness, at
half the resolution. Then both are compared pixel by pixel, in colour where there is colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_leakage.neighbours import Indices, Vectors
from auditkit_leakage.resampling import Floats, Planes, blur, window

Numbers = npt.NDArray[np.float64]

_STEPS = 3
_BLOCK = 2_048
_BLUR = 0.7
_FLOOR = 1.0
_STIFFNESS = 0.02
_SATURATED = 253
_MOST_CONTRAST = 4.0
_NOISE_SHARE = 0.02
_FLOOR_UNLIKE = 0.05
_PIXELS = (1, 2, 3)
_LARGEST_MOVE = 1.5 / 28
_SIZES = (0.7, 1.1)


@dataclass(frozen=True)
class Parts:
    """Which part of a training image each query shows, [pair, 2] (rows, columns), in sides."""

    start: Vectors
    size: Vectors


@dataclass(frozen=True)
class Aligned:
    """Queries on training images, per pair.

    Attributes:
        parts: which part of the training image the query shows.
        unlike: float64; the share of the query's variance that the training image does not explain.
        contrast: the query's contrast over the training image's.
        brightness: what is added to the training image's grey levels to get the query's.
    """

    parts: Parts
    unlike: Numbers
    contrast: Vectors
    brightness: Vectors


def align(
    queries: Planes, train: Planes, pairs: tuple[Indices, Indices], parts: Parts, *, fine: bool
) -> Aligned:
    """Align pairs, beginning with the parts given.

    Args:
        queries: [m, colour, side, side], mirrored already where they are.
        train: [n, colour, side, side].
        pairs: positions of each pair's query and training image, int64 [pair] twice.
        parts: where to begin.
        fine: move by the whole resolution, from parts that fit at half of it already; and take
            whole pixels where they fit better.
    """
    blocks = [
        _aligned(
            queries[pairs[0][block]].astype(np.float32),
            train[pairs[1][block]].astype(np.float32),
            Parts(parts.start[block], parts.size[block]),
            fine=fine,
        )
        for block in np.array_split(np.arange(len(pairs[0])), len(pairs[0]) // _BLOCK + 1)
    ]
    return Aligned(
        Parts(
            np.concatenate([block.parts.start for block in blocks]),
            np.concatenate([block.parts.size for block in blocks]),
        ),
        *(
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("unlike", "contrast", "brightness")
        ),
    )


def _aligned(queries: Floats, train: Floats, parts: Parts, *, fine: bool) -> Aligned:
    side = queries.shape[2]
    if not fine:
        shrink = window(side, start=0, length=side, out=max(side // 2, 4))
        small = [shrink @ images.mean(axis=1) @ shrink.T for images in (queries, train)]
        for _ in range(_STEPS):
            parts = _moved(small[0], small[1], parts)
        return _compared(queries, train, parts)
    smooth = blur(side, _BLUR * side / 28)
    soft = [smooth @ images.mean(axis=1) @ smooth.T for images in (queries, train)]
    for _ in range(_STEPS):
        parts = _moved(soft[0], soft[1], parts)
    return _better(
        _compared(queries, train, parts), _compared(queries, train, _whole_pixels(parts, side))
    )


def _whole_pixels(parts: Parts, side: int) -> Parts:
    """The nearest shift by whole pixels, nothing stretched."""
    middle = parts.start + parts.size / 2 - 0.5
    start = (np.round(middle * side) / side).astype(np.float32)
    return Parts(start, np.ones_like(parts.size))


def _better(one: Aligned, other: Aligned) -> Aligned:
    """Pair by pair, what leaves less unexplained."""
    first = one.unlike < other.unlike
    wide = first[:, None]
    return Aligned(
        Parts(
            np.where(wide, one.parts.start, other.parts.start),
            np.where(wide, one.parts.size, other.parts.size),
        ),
        np.where(first, one.unlike, other.unlike),
        np.where(first, one.contrast, other.contrast),
        np.where(first, one.brightness, other.brightness),
    )


def _windows(start: Vectors, size: Vectors, side: int) -> tuple[Floats, Vectors]:
    """Maps of the training image's axis to the query's, [pair, side, side], and what they cover."""
    centres = start[:, None] * side + (np.arange(side) + 0.5) * size[:, None] - 0.5
    maps = 1 - np.abs(centres[:, :, None] - np.arange(side, dtype=np.float32))
    np.maximum(maps, 0, out=maps)
    inside = (centres >= -0.25) & (centres <= side - 0.75)
    maps /= np.maximum(maps.sum(axis=2, keepdims=True), 1e-3)
    return maps.astype(np.float32), inside.astype(np.float32)


def _moved(queries: Floats, train: Floats, parts: Parts) -> Parts:
    """One Gauss-Newton step on moves and stretches along both axes."""
    count, side = queries.shape[:2]
    rows, high = _windows(parts.start[:, 0], parts.size[:, 0], side)
    columns, wide = _windows(parts.start[:, 1], parts.size[:, 1], side)
    laid = rows @ train @ columns.transpose(0, 2, 1)
    down, right = np.gradient(laid, axis=1), np.gradient(laid, axis=2)
    along = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    mask = (high[:, :, None] * wide[:, None, :]).reshape(count, -1)
    slopes = np.stack(
        [down, down * along[:, None], right, right * along, laid, np.ones_like(laid)], axis=1
    ).reshape(count, 6, -1)
    masked = slopes * mask[:, None]
    table = (masked @ slopes.transpose(0, 2, 1)).astype(np.float64)
    target = (masked @ queries.reshape(count, -1, 1)).astype(np.float64)
    ridge = np.zeros(6)
    ridge[:4] = _STIFFNESS
    table[:, range(6), range(6)] *= 1 + ridge
    table[:, range(6), range(6)] += 1e-3 * _FLOOR * side**2
    solved = np.linalg.solve(table, target)[:, :, 0]
    contrast = np.where(np.abs(solved[:, 4]) > 0.1, solved[:, 4], np.inf)[:, None]
    moves = np.clip(solved[:, :4] / contrast / side, -_LARGEST_MOVE, _LARGEST_MOVE)
    return _shifted(parts, moves.astype(np.float32))


def _shifted(parts: Parts, moves: Vectors) -> Parts:
    """The parts after moves and stretches in the query's frame, [pair, 4], in sides of it."""
    size = np.clip(parts.size * (1 + moves[:, 1::2]), *_SIZES)
    middle = parts.start + parts.size / 2 + parts.size * moves[:, ::2]
    return Parts((middle - size / 2).astype(np.float32), size.astype(np.float32))


def _compared(queries: Floats, train: Floats, parts: Parts) -> Aligned:
    """What stays unexplained by contrast and brightness, of what both images show.

    The unexplained part is measured by the product of residuals of neighbouring pixels: noise and
    the traces of compression differ from pixel to pixel, another object does not.
    """
    side = queries.shape[2]
    rows, high = _windows(parts.start[:, 0], parts.size[:, 0], side)
    columns, wide = _windows(parts.start[:, 1], parts.size[:, 1], side)
    laid = rows[:, None] @ train @ columns[:, None].transpose(0, 1, 3, 2)
    mask = np.broadcast_to((high[:, :, None] * wide[:, None, :])[:, None], laid.shape)
    open_ = mask * (queries < _SATURATED)  # what was cut off at white says nothing of contrast
    open_ = np.where(open_.sum(axis=_PIXELS, keepdims=True) < side, mask, open_)
    total = np.maximum(open_.sum(axis=_PIXELS), 1.0)
    means = [(open_ * images).sum(axis=_PIXELS) / total for images in (queries, laid)]
    seen, known = (
        (images - mean[:, None, None, None]) * open_
        for images, mean in zip((queries, laid), means, strict=True)
    )
    cross = (seen * known).sum(axis=_PIXELS) / total
    contrast = np.clip(cross / ((known**2).sum(axis=_PIXELS) / total + _FLOOR), 0, _MOST_CONTRAST)
    brightness = means[0] - contrast * means[1]
    predicted = contrast[:, None, None, None] * laid + brightness[:, None, None, None]
    rest = (queries - np.clip(predicted, 0, 255)) * mask
    variance = _variance(queries, mask)
    structure = (
        (rest[:, :, 1:] * rest[:, :, :-1]).sum(axis=_PIXELS)
        + (rest[..., 1:] * rest[..., :-1]).sum(axis=_PIXELS)
    ) / (2 * np.maximum(mask.sum(axis=_PIXELS), 1.0))
    noise = (rest**2).sum(axis=_PIXELS) / np.maximum(mask.sum(axis=_PIXELS), 1.0)
    unlike = (np.maximum(structure, 0) + _NOISE_SHARE * noise + _FLOOR_UNLIKE) / (variance + _FLOOR)
    return Aligned(
        parts,
        np.where(variance < _FLOOR, 1, np.clip(unlike, 0, 1)).astype(np.float64),
        contrast.astype(np.float32),
        brightness.astype(np.float32),
    )


def _variance(images: Floats, mask: Floats) -> Vectors:
    total = np.maximum(mask.sum(axis=_PIXELS), 1.0)
    mean = (mask * images).sum(axis=_PIXELS) / total
    spread: Vectors = ((images - mean[:, None, None, None]) ** 2 * mask).sum(axis=_PIXELS) / total
    return spread
