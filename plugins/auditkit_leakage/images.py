"""Stage 2 for images: which training image is a query an altered copy of?

Three steps, each exacter and dearer than the one before, on fewer pairs: Fourier magnitudes over
the whole training set (`spectra`), correlation at a grid of places (`probes`), and alignment pixel
by pixel (`registration`). The distance of a pair is what the training image leaves unexplained of
the query, over the same of the query's usual neighbours: plain images have close strangers.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit_leakage.found import Found, chosen, once
from auditkit_leakage.neighbours import Indices
from auditkit_leakage.probes import Grid, Placed
from auditkit_leakage.registration import Compared, Numbers, Parts, Registration
from auditkit_leakage.resampling import Images, Planes, background, grey, to_planes, working_side
from auditkit_leakage.spectra import SIZES, candidates

Mask: TypeAlias = npt.NDArray[np.bool_]

_COARSE = 80
_KEPT = 24
_ALIGNED = 12
_FINE = 3
_USUAL_RANKS = (0.5, 0.65, 0.8, 1.0)
_LEAST_USUAL = 0.1
_NEAR = 0.5
"""Pairs at this distance or beyond are called near, and no alteration is named."""


class _Laid:
    """Candidates as they lie on the queries, and what they leave unexplained.

    Args:
        placed: the candidates of each query, [query, candidate], best first.
        queries: the images asked about, [query, colour, side, side].
        train: the training images, [n, colour, side, side].
    """

    def __init__(self, placed: Placed, queries: Planes, train: Planes) -> None:
        both_ways = np.concatenate([queries, queries[..., ::-1]])
        self._registration = Registration(both_ways, train)
        self._asked = np.where(placed.flipped, len(queries), 0) + np.arange(len(queries))[:, None]
        self._train = placed.train
        self._starts = np.stack([placed.top, placed.left], axis=-1)
        self._sizes = np.repeat(placed.size[..., None], 2, axis=-1)
        self.unlike = np.ones(placed.train.shape)

    def align(self, mask: Mask, *, steps: int) -> Compared:
        """Align the candidates of a mask, [query, candidate], and compare them."""
        parts = Parts(self._starts[mask], self._sizes[mask])
        pairs = self._asked[mask], self._train[mask]
        found = self._registration.aligned(pairs, parts, steps=steps)
        self._starts[mask], self._sizes[mask] = found.parts.start, found.parts.size
        self.unlike[mask] = found.unlike
        return found

    def compare(self, mask: Mask) -> Numbers:
        """What the candidates of a mask leave unexplained as they lie; NaN for the others."""
        parts = Parts(self._starts[mask], self._sizes[mask])
        pairs = self._asked[mask], self._train[mask]
        result = np.full(mask.shape, np.nan)
        result[mask] = self._registration.compared(pairs, parts).unlike
        return result


def find_images(
    train: Images,
    queries: Images,
    *,
    same_pool: bool = False,
    neighbours: int = 3,
    seed: int = 0,
) -> Found:
    """The nearest training images of each query.

    Args:
        train: the training images.
        queries: the evaluation images.
        same_pool: the two are the same; an image is not paired with itself.
        neighbours: how many pairs to give for each query.
        seed: for the altered views that the coarse search learns from.
    """
    side = max(working_side(train), working_side(queries))
    known, asked = _same_colours(to_planes(train, side), to_planes(queries, side))
    placed = _placed(known, asked, same_pool=same_pool, seed=seed)
    laid = _Laid(placed, asked, known)
    usual = _usual(laid.compare(_farther(placed.train)))
    laid.align(chosen(placed.train, _ALIGNED), steps=1)

    order = np.argsort(laid.unlike, axis=1, kind="stable")
    ranked = np.take_along_axis(placed.train, order, axis=1)
    best = np.zeros(order.shape, dtype=bool)
    np.put_along_axis(best, order, chosen(ranked, max(_FINE, neighbours)), axis=1)
    exact = laid.align(best, steps=3)

    rows = np.nonzero(best)[0].astype(np.int64)
    distance = exact.unlike / usual[rows]
    kinds = _kinds(exact, placed.flipped[best], distance, side)
    found = Found(rows, placed.train[best], kinds, 1.0 - exact.unlike, distance)
    return found.nearest(neighbours)


def _same_colours(one: Planes, other: Planes) -> tuple[Planes, Planes]:
    """Both in colour where one is."""
    colours = max(one.shape[1], other.shape[1])
    grown = [
        planes if planes.shape[1] == colours else np.repeat(planes, colours, axis=1)
        for planes in (one, other)
    ]
    return grown[0], grown[1]


def _farther(train: Indices) -> Mask:
    """A few of the farther candidates of each query, which stand for its usual neighbours."""
    counts = np.minimum((train >= 0).sum(axis=1), _KEPT)
    mask = np.zeros(train.shape, dtype=bool)
    for share in _USUAL_RANKS:
        place = np.maximum((share * counts).astype(np.int64) - 1, 0)
        mask[np.arange(len(train)), place] = counts > 0
    return mask


def _placed(train: Planes, queries: Planes, *, same_pool: bool, seed: int) -> Placed:
    """The best candidates of each query, and roughly how they lie."""
    level = background(train)
    known, seen = grey(train, level), grey(queries, level)
    if len(known) <= _COARSE * len(SIZES):
        offered = np.broadcast_to(np.arange(len(known)), (len(seen), len(known))).copy()
    else:
        offered = np.concatenate(
            [places for places, _ in candidates(known, seen, count=_COARSE, seed=seed)], axis=1
        )
    offered = once(offered)
    if same_pool:
        offered[offered == np.arange(len(seen))[:, None]] = -1
    return Grid(known).place(seen, offered, keep=_KEPT)


def _usual(unlike: Numbers) -> Numbers:
    """What the usual neighbours of each query leave unexplained, from a few of them, else NaN."""
    none = np.isnan(unlike).all(axis=1, keepdims=True)
    usual = np.nanmedian(np.where(none, 1.0, unlike), axis=1)
    floor = _LEAST_USUAL * float(np.median(usual))
    result: Numbers = np.maximum(usual, max(floor, 1e-6))
    return result


def _kinds(
    aligned: Compared,
    flipped: Mask,
    distance: Numbers,
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
