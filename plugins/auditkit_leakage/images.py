"""Stage 2 for images: which training image is a query an altered copy of?

Three steps, each exacter and dearer than the one before, on fewer pairs: Fourier magnitudes over
the whole training set (`spectra`), correlation at a grid of places (`probes`), and alignment pixel
by pixel (`registration`). The distance of a pair is what the training image leaves unexplained of
the query, over the same of the query's usual neighbours: plain images have close strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_leakage.found import Found, chosen, first_of, once
from auditkit_leakage.neighbours import Indices, Vectors
from auditkit_leakage.probes import Grid, Placed
from auditkit_leakage.registration import Aligned, Parts, align
from auditkit_leakage.resampling import Images, Planes, background, grey, to_planes, working_side
from auditkit_leakage.spectra import SIZES, candidates

_COARSE = 60
_KEPT = 16
_FINE = 4
_LEAST_USUAL = 0.1
_NEAR = 0.5
"""Pairs at this distance or beyond are called near, and no alteration is named."""


@dataclass(frozen=True)
class _Sides:
    """Both sides at the working size."""

    train: Planes
    queries: Planes

    @property
    def both_ways(self) -> Planes:
        """The queries, then their mirror images."""
        return np.concatenate([self.queries, self.queries[..., ::-1]])


def find_images(
    train: Images,
    queries: Images,
    *,
    proposed: Indices | None = None,
    same_pool: bool = False,
    neighbours: int = 3,
    seed: int = 0,
) -> Found:
    """The nearest training images of each query.

    Args:
        train: the training images.
        queries: the evaluation images.
        proposed: int64 [query, k], training images to look at besides; -1 for none.
        same_pool: the two are the same; an image is not paired with itself.
        neighbours: how many pairs to give for each query.
        seed: for the altered views that the coarse search learns from.
    """
    side = max(working_side(train), working_side(queries))
    images = _Sides(to_planes(train, side), to_planes(queries, side))
    placed = _placed(images, proposed, same_pool=same_pool, seed=seed)
    turned = np.where(placed.flipped, len(placed.train), 0) + np.arange(len(placed.train))[:, None]
    both = images.both_ways
    starts = np.stack([placed.top, placed.left], axis=-1)
    sizes = np.repeat(placed.size[..., None], 2, axis=-1)
    unlike = np.ones(turned.shape, dtype=np.float32)

    def aligned(mask: npt.NDArray[np.bool_], *, fine: bool) -> Aligned:
        pairs = turned[mask], placed.train[mask]
        found = align(both, images.train, pairs, Parts(starts[mask], sizes[mask]), fine=fine)
        starts[mask], sizes[mask], unlike[mask] = found.parts.start, found.parts.size, found.unlike
        return found

    aligned(placed.train >= 0, fine=False)
    usual = _usual(np.sort(unlike[:, :_KEPT], axis=1))
    order = np.argsort(unlike, axis=1, kind="stable")
    nearest = np.take_along_axis(placed.train, order, axis=1)
    best = np.zeros(turned.shape, dtype=bool)
    np.put_along_axis(best, order, chosen(nearest, max(_FINE, neighbours), proposed), axis=1)
    exact = aligned(best, fine=True)
    rows = np.nonzero(best)[0].astype(np.int64)
    distance = exact.unlike / usual[rows]
    kinds = _kinds(exact, placed.flipped[best], distance, side)
    found = Found(rows, placed.train[best], kinds, 1.0 - exact.unlike, distance)
    return found.nearest(neighbours, always=first_of(proposed))


def _placed(images: _Sides, proposed: Indices | None, *, same_pool: bool, seed: int) -> Placed:
    """The best candidates of each query, and roughly how they lie."""
    level = background(images.train)
    known, seen = grey(images.train, level), grey(images.queries, level)
    if len(known) <= _COARSE * len(SIZES):
        offered = np.broadcast_to(np.arange(len(known)), (len(seen), len(known))).copy()
    else:
        offered = np.concatenate(
            [places for places, _ in candidates(known, seen, count=_COARSE, seed=seed)], axis=1
        )
    own = np.arange(len(seen))[:, None] if same_pool else np.full((len(seen), 1), -2)
    laid = Grid(known)
    offered = once(offered)
    offered[offered == own] = -1
    placed = laid.place(seen, offered, keep=_KEPT)
    if proposed is None:
        return placed
    more = once(np.where((proposed[:, :, None] == placed.train[:, None]).any(axis=2), -1, proposed))
    more[more == own] = -1
    return placed.beside(laid.place(seen, more, keep=more.shape[1]))


def _usual(unlike: Vectors) -> npt.NDArray[np.float64]:
    """What the usual neighbours leave unexplained, [query], from all neighbours in order."""
    half = unlike[:, unlike.shape[1] // 2 :]
    usual = np.median(half, axis=1).astype(np.float64)
    floor = _LEAST_USUAL * float(np.median(usual))
    result: npt.NDArray[np.float64] = np.maximum(usual, max(floor, 1e-6))
    return result


def _kinds(
    aligned: Aligned,
    flipped: npt.NDArray[np.bool_],
    distance: npt.NDArray[np.float64],
    side: int,
) -> list[str]:
    """How each pair differs, in words."""
    parts = aligned.parts
    cropped = parts.size.min(axis=1) < 1 - 0.8 / 28
    shifted = np.abs(parts.start + parts.size / 2 - 0.5).max(axis=1) > 0.5 / side
    changed = (np.abs(aligned.contrast - 1) > 0.08) | (np.abs(aligned.brightness) > 8)
    kinds = []
    for place in range(len(distance)):
        words = [
            word
            for word, true in (
                ("flip", flipped[place]),
                ("crop", cropped[place]),
                ("shift", shifted[place] and not cropped[place]),
                ("brightness", changed[place]),
            )
            if true
        ]
        if distance[place] >= _NEAR:
            words = ["near image"]
        kinds.append(", ".join(words) or "noise/compression")
    return kinds
