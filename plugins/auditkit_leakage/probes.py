"""Middle search for images: where in a training image could the query lie?

A query that was cropped, shifted or mirrored shows a part of the original. Which part, is one of a
grid of places and sizes. For each, the query is laid onto the training image's frame at half the
resolution and correlated with what the training image has there. The products go through the main
directions of the training images, so that thousands of pairs cost one small product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from auditkit_leakage.neighbours import Indices, Vectors
from auditkit_leakage.resampling import Floats, halved, window

_SHIFT = 2 / 28
_RANK = 1e-9
_STEP = 1 / 28
_SIZES = tuple(np.arange(27, 21, -1) / 28)
_DIRECTIONS = 96
_SAMPLE = 5_000
_BLOCK = 128
_FLOOR = 1.0
"""Variance, in squared grey levels a pixel, that counts as none."""


@dataclass(frozen=True)
class Placed:
    """The best of the candidates of each query and how they lie, [query, candidate], best first.

    Attributes:
        train: int64; which training image; -1 where there were fewer candidates.
        similarity: float32, correlation of what both show.
        top, left, size: the part of the training image that the query shows, in sides.
        flipped: whether the query is mirrored.
    """

    train: Indices
    similarity: Vectors
    top: Vectors
    left: Vectors
    size: Vectors
    flipped: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """One place of the grid: the map of a query's axes to the original's, and what is covered."""

    rows: Floats
    columns: Floats
    mask: Vectors


def grid(side: int) -> npt.NDArray[np.float64]:
    """The places looked at: top, left and size of the part of an original that a query shows."""
    reach = max(_SHIFT, 1 / side)
    shifts = np.linspace(-reach, reach, 5)
    places = [(top, left, 1.0) for top, left in product(shifts, shifts)]
    for size in _SIZES:
        starts = np.linspace(0, 1 - size, max(2, round((1 - size) / _STEP) + 1))
        places += [(top, left, size) for top, left in product(starts, starts)]
    return np.array(places)


class Grid:
    """The training images, prepared for queries at every place.

    Args:
        train: grey images [n, side, side].
    """

    def __init__(self, train: Floats) -> None:
        side = train.shape[1]
        small = halved(train)
        self.places = grid(side)
        self._mates = _mates(self.places)
        self._views = [_view(side, small.shape[1], *spot) for spot in self.places.tolist()]
        self._basis, self._parity = _basis(small)
        self._known = small.reshape(len(small), -1) @ self._basis
        seen = np.asarray(self._known @ self._basis.T)  # what the directions see of the images
        masks = np.stack([view.mask for view in self._views])
        covered = masks.sum(axis=1)
        self._contrast = 1 / np.sqrt(
            seen**2 @ masks.T - (seen @ masks.T) ** 2 / covered + _FLOOR * covered
        )

    def place(self, queries: Floats, candidates: Indices, *, keep: int) -> Placed:
        """The candidates of each query by their best place.

        Args:
            queries: grey images [m, side, side].
            candidates: int64 [m, candidate], positions among the training images; -1 for none.
            keep: how many to give for each query.
        """
        parts = [
            self._placed(queries[start : start + _BLOCK], candidates[start : start + _BLOCK], keep)
            for start in range(0, len(queries), _BLOCK)
        ]
        return Placed(*(np.concatenate(field) for field in zip(*parts, strict=True)))

    def _placed(
        self, queries: Floats, candidates: Indices, keep: int
    ) -> tuple[Indices, Vectors, Vectors, Vectors, Vectors, npt.NDArray[np.bool_]]:
        """One block of `place`: the fields of the result."""
        there = np.maximum(candidates, 0)
        known = self._known[there]  # [m, candidate, direction]
        views = self._projected(queries)  # [m, place, direction]
        straight = known @ views.transpose(0, 2, 1)  # [m, candidate, place]
        known *= self._parity  # as a mirror image would have it
        mirrored = known @ views[:, self._mates].transpose(0, 2, 1)
        flipped = mirrored > straight
        table = np.maximum(straight, mirrored, out=straight)
        table *= self._contrast[there]
        spot = table.argmax(axis=2)[..., None]
        similarity = np.take_along_axis(table, spot, axis=2)[..., 0]
        similarity[candidates < 0] = -2
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :keep]
        flipped = np.take_along_axis(flipped, spot, axis=2)[..., 0]
        lies = self.places[np.take_along_axis(spot[..., 0], order, axis=1)].astype(np.float32)
        return (
            np.take_along_axis(candidates, order, axis=1),
            np.take_along_axis(similarity, order, axis=1),
            lies[..., 0],
            lies[..., 1],
            lies[..., 2],
            np.take_along_axis(flipped, order, axis=1),
        )

    def _projected(self, queries: Floats) -> Vectors:
        """The queries laid out at every place, of unit contrast: [m, place, direction]."""
        parts = []
        for view in self._views:
            laid = (view.rows @ queries @ view.columns.T).reshape(len(queries), -1)
            total = view.mask.sum()
            laid -= (laid @ view.mask / total)[:, None]
            variance = laid**2 @ view.mask
            laid *= view.mask
            laid /= np.sqrt(variance + _FLOOR * total)[:, None]
            parts.append(laid @ self._basis)
        return np.stack(parts, axis=1)


def _mates(places: npt.NDArray[np.float64]) -> Indices:
    """For each place, the one where the mirror image of a query's mirror image would lie."""
    keys = {tuple(row): number for number, row in enumerate(places.round(6).tolist())}
    turned = np.stack([places[:, 0], 1 - places[:, 2] - places[:, 1], places[:, 2]], axis=1)
    return np.array([keys[tuple(row)] for row in (turned.round(6) + 0.0).tolist()])


def _view(side: int, half: int, top: float, left: float, size: float) -> View:
    (rows, high), (columns, wide) = (_laid(side, half, start, size) for start in (top, left))
    return View(rows, columns, np.outer(high, wide).reshape(-1))


def _laid(side: int, half: int, start: float, size: float) -> tuple[Floats, Vectors]:
    """The map of a query's axis to the original's, and which share of each pixel it covers."""
    laid = window(side, start=-start / size * side, length=side / size, out=half)
    edges = np.arange(half + 1) / half
    covered = np.clip(edges[1:], start, start + size) - np.clip(edges[:-1], start, start + size)
    share = covered * half
    share[(share < 0.49) | ~laid.any(axis=1)] = 0
    return laid, share.astype(np.float32)


def _basis(images: Floats) -> tuple[Vectors, Vectors]:
    """Main directions of images and their mirror images, and the sign a mirror gives to each.

    Returns:
        [pixel, direction], and 1 or -1 per direction: every direction is even or odd.
    """
    sample = images[:: max(1, len(images) // _SAMPLE)].astype(np.float64)
    values, directions, signs = [], [], []
    for sign in (1, -1):
        part = ((sample + sign * sample[:, :, ::-1]) / 2).reshape(len(sample), -1)
        strength, vectors = np.linalg.eigh(part.T @ part)
        there = strength > _RANK * max(float(strength[-1]), 1.0)  # the others have no parity
        values.append(strength[there])
        directions.append(vectors[:, there])
        signs.append(np.full(int(there.sum()), sign))
    best = np.argsort(-np.concatenate(values), kind="stable")[:_DIRECTIONS]
    basis = np.concatenate(directions, axis=1)[:, best].astype(np.float32)
    return basis, np.concatenate(signs)[best].astype(np.float32)
