"""Last step of the search for images: lay a query exactly onto a training image and compare.

The part of the training image that the query shows is moved and stretched along both axes by
Gauss-Newton steps (Lucas and Kanade 1981), together with a change of contrast and brightness. Then
both are compared pixel by pixel, in colour where there is colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit_leakage.neighbours import Indices, Vectors
from auditkit_leakage.resampling import Floats, Planes, blur, windows

Numbers: TypeAlias = npt.NDArray[np.float64]
Pairs: TypeAlias = tuple[Indices, Indices]

_BLOCK = 256
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
_NEARLY_WHOLE = 0.04


@dataclass(frozen=True)
class Parts:
    """Which part of a training image each query shows, [pair, 2] (rows, columns), in sides."""

    start: Vectors
    size: Vectors


@dataclass(frozen=True)
class Compared:
    """Queries laid onto training images, per pair.

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


class Registration:
    """Queries and training images, prepared for comparing many pairs.

    Args:
        queries: [m, colour, side, side].
        train: [n, colour, side, side].
    """

    def __init__(self, queries: Planes, train: Planes) -> None:
        self._queries, self._train = queries, train

    def aligned(self, pairs: Pairs, parts: Parts, *, steps: int) -> Compared:
        """Aligned, and compared then; a shift by whole pixels is taken where that fits better.

        Args:
            pairs: positions of each pair's query and training image, int64 [pair] twice.
            parts: where to begin.
            steps: how many Gauss-Newton steps to take.
        """
        side = self._queries.shape[2]
        smooth = blur(side, _BLUR * side / 28)
        done = []
        for block in _blocks(pairs[0]):
            queries, train = self._taken(pairs, block)
            soft = [smooth @ images.mean(axis=1) @ smooth.T for images in (queries, train)]
            moved = _take(parts, block)
            for _ in range(steps):
                moved = _moved(soft[0], soft[1], moved)
            done.append(_snapped(queries, train, _compared(queries, train, moved)))
        return _all(done)

    def compared(self, pairs: Pairs, parts: Parts) -> Compared:
        """Compared as they lie."""
        return _all(
            [
                _compared(*self._taken(pairs, block), _take(parts, block))
                for block in _blocks(pairs[0])
            ]
        )

    def _taken(self, pairs: Pairs, block: Indices) -> tuple[Floats, Floats]:
        return (
            self._queries[pairs[0][block]].astype(np.float32),
            self._train[pairs[1][block]].astype(np.float32),
        )


def _blocks(pairs: Indices) -> Iterator[Indices]:
    yield from np.array_split(np.arange(len(pairs)), len(pairs) // _BLOCK + 1)


def _take(parts: Parts, block: Indices) -> Parts:
    return Parts(parts.start[block], parts.size[block])


def _joined(parts: list[Parts]) -> Parts:
    return Parts(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.size for part in parts]),
    )


def _all(blocks: list[Compared]) -> Compared:
    return Compared(
        _joined([block.parts for block in blocks]),
        np.concatenate([block.unlike for block in blocks]),
        np.concatenate([block.contrast for block in blocks]),
        np.concatenate([block.brightness for block in blocks]),
    )


def _snapped(queries: Floats, train: Floats, found: Compared) -> Compared:
    """Shifts by whole pixels, nothing stretched, for the pairs that they fit better."""
    side = queries.shape[2]
    near = np.flatnonzero(np.abs(found.parts.size - 1).max(axis=1) < _NEARLY_WHOLE)
    middle = (found.parts.start + found.parts.size / 2 - 0.5)[near]
    start = (np.round(middle * side) / side).astype(np.float32)
    whole = _compared(queries[near], train[near], Parts(start, np.ones_like(start)))
    better = whole.unlike < found.unlike[near]
    for ours, theirs in (
        (found.parts.start, whole.parts.start),
        (found.parts.size, whole.parts.size),
        (found.unlike, whole.unlike),
        (found.contrast, whole.contrast),
        (found.brightness, whole.brightness),
    ):
        ours[near[better]] = theirs[better]
    return found


def _laid(train: Floats, parts: Parts) -> tuple[Floats, Floats]:
    """The parts of training images on the queries' frame, and what of it they cover."""
    side = train.shape[-1]
    rows, high = windows(parts.start[:, 0], parts.size[:, 0], side)
    columns, wide = windows(parts.start[:, 1], parts.size[:, 1], side)
    if train.ndim == 4:
        rows, columns = rows[:, None], columns[:, None]
    laid: Floats = np.asarray(rows @ train @ np.swapaxes(columns, -1, -2), dtype=np.float32)
    return laid, (high[:, :, None] * wide[:, None, :]).astype(np.float32, copy=False)


def _moved(queries: Floats, train: Floats, parts: Parts) -> Parts:
    """One Gauss-Newton step on moves and stretches along both axes."""
    count, side = queries.shape[:2]
    laid, mask = _laid(train, parts)
    along = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    slopes = np.ones((count, 6, side, side), dtype=np.float32)
    slopes[:, 0, 1:-1] = (laid[:, 2:] - laid[:, :-2]) / 2
    slopes[:, 0, :: side - 1] = 0
    slopes[:, 2, :, 1:-1] = (laid[:, :, 2:] - laid[:, :, :-2]) / 2
    slopes[:, 2, :, :: side - 1] = 0
    np.multiply(slopes[:, 0], along[:, None], out=slopes[:, 1])
    np.multiply(slopes[:, 2], along, out=slopes[:, 3])
    slopes[:, 4] = laid
    slopes *= mask[:, None]
    flat = slopes.reshape(count, 6, -1)
    table = (flat @ flat.transpose(0, 2, 1)).astype(np.float64)
    target = (flat @ queries.reshape(count, -1, 1)).astype(np.float64)
    table[:, range(4), range(4)] *= 1 + _STIFFNESS
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


def _compared(queries: Floats, train: Floats, parts: Parts) -> Compared:
    """What stays unexplained by contrast and brightness, of what both images show.

    The unexplained part is measured by the product of residuals of neighbouring pixels: noise and
    the traces of compression differ from pixel to pixel, another object does not.
    """
    laid, covered = _laid(train, parts)
    mask = np.broadcast_to(covered[:, None], laid.shape)
    total = np.maximum(mask.sum(axis=_PIXELS), 1.0)
    contrast, brightness = _fitted(queries, laid, mask)
    predicted = contrast[:, None, None, None] * laid + brightness[:, None, None, None]
    rest = (queries - np.clip(predicted, 0, 255)) * mask
    mean = (mask * queries).sum(axis=_PIXELS) / total
    variance = ((queries - mean[:, None, None, None]) ** 2 * mask).sum(axis=_PIXELS) / total
    structure = (
        (rest[:, :, 1:] * rest[:, :, :-1]).sum(axis=_PIXELS)
        + (rest[..., 1:] * rest[..., :-1]).sum(axis=_PIXELS)
    ) / (2 * total)
    noise = (rest**2).sum(axis=_PIXELS) / total
    left = np.maximum(structure, 0) + _NOISE_SHARE * noise + _FLOOR_UNLIKE
    unlike = np.where(variance < _FLOOR, 1, np.clip(left / (variance + _FLOOR), 0, 1))
    return Compared(parts, unlike.astype(np.float64), contrast, brightness)


def _fitted(queries: Floats, laid: Floats, mask: Floats) -> tuple[Vectors, Vectors]:
    """Contrast and brightness that take training images to queries, [pair] twice."""
    clear = mask * (queries < _SATURATED)  # what was cut off at white says nothing of contrast
    clear = np.where(clear.sum(axis=_PIXELS, keepdims=True) < queries.shape[-1], mask, clear)
    total = np.maximum(clear.sum(axis=_PIXELS), 1.0)
    means = [(clear * images).sum(axis=_PIXELS) / total for images in (queries, laid)]
    known = (laid - means[1][:, None, None, None]) * clear
    cross = (queries * known).sum(axis=_PIXELS) / total
    contrast = np.clip(cross / ((known**2).sum(axis=_PIXELS) / total + _FLOOR), 0, _MOST_CONTRAST)
    return contrast.astype(np.float32), (means[0] - contrast * means[1]).astype(np.float32)
