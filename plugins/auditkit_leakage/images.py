"""Stage 2 for images: which training image is a query an altered copy of?

Steps, each exacter and dearer than the one before, on fewer pairs: Fourier magnitudes over the
whole training set (`spectra`) and, where images are large enough, perceptual hashes (`hashes`);
correlation at a grid of places (`probes`); alignment pixel by pixel at 32 pixels a side
(`registration`); and for larger images once more at 64, where their details are compared
(`details`). The distance of a pair is what the training image leaves unexplained of the query, over
the same of the query's usual neighbours: plain images have close strangers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit_leakage.details import SIDE, detailed
from auditkit_leakage.found import Found, chosen, once
from auditkit_leakage.framing import Framed, framed, in_whole
from auditkit_leakage.hashes import nearest_hashes
from auditkit_leakage.neighbours import Indices
from auditkit_leakage.probes import Grid, Placed
from auditkit_leakage.registration import Compared, Numbers, Parts, Registration
from auditkit_leakage.resampling import Images, Planes, background, grey, to_planes, working_side
from auditkit_leakage.spectra import SIZES, candidates

Mask: TypeAlias = npt.NDArray[np.bool_]

_COARSE = 80
_HASHED = 8
_KEPT = 24
_ALIGNED = 12
_FINE = 3
_FINE_LARGE = 6
_DETAILED = 0.5
"""Pairs of larger images at this distance or beyond are not compared by their details."""

_USUAL_RANKS = (0.5, 0.65, 0.8, 1.0)
_LEAST_USUAL = 0.1
_NEAR = 0.5
"""Pairs at this distance or beyond are called near, and no alteration is named."""

_TURNED = 1.5
"""Degrees from which on a pair is said to be turned."""


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


@dataclass(frozen=True)
class _Pairs:
    """The best pairs of all queries: where they stand, how they lie, and how far apart they are."""

    query: Indices
    train: Indices
    flipped: Mask
    aligned: Compared
    angle: Numbers
    distance: Numbers


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
    large = min(_usual_side(train), _usual_side(queries)) >= SIDE
    ours, theirs = framed(train, trim=large), framed(queries, trim=large)
    known, asked, more = ours.images, theirs.images, None
    if large:
        more = nearest_hashes(known, asked, _HASHED)
    pairs, side = _aligned(
        known, asked, more, same_pool=same_pool, neighbours=neighbours, seed=seed
    )
    if large:
        pairs = _in_detail(pairs, known, asked)
    kinds = _kinds(pairs, _whole(pairs, ours, theirs), side)
    found = Found(pairs.query, pairs.train, kinds, 1.0 - pairs.aligned.unlike, pairs.distance)
    return found.nearest(neighbours)


def _usual_side(images: Images) -> float:
    """The median of the shorter sides."""
    if isinstance(images, np.ndarray):
        return float(min(images.shape[1:3]))
    return float(np.median([min(image.shape[:2]) for image in images]))


def _aligned(
    train: Images,
    queries: Images,
    more: Indices | None,
    *,
    same_pool: bool,
    neighbours: int,
    seed: int,
) -> tuple[_Pairs, int]:
    """The best pairs by alignment at the working size, and that size.

    Args:
        train: the training images.
        queries: the evaluation images.
        more: candidates beside those of the coarse search, [query, candidate].
        same_pool: an image is not paired with itself.
        neighbours: at least so many pairs for each query.
        seed: for the coarse search.
    """
    side = max(working_side(train), working_side(queries))
    known, asked = _same_colours(to_planes(train, side), to_planes(queries, side))
    placed = _placed(known, asked, more, same_pool=same_pool, seed=seed)
    laid = _Laid(placed, asked, known)
    usual = _usual(laid.compare(_farther(placed.train)))
    laid.align(chosen(placed.train, _ALIGNED), steps=1)

    order = np.argsort(laid.unlike, axis=1, kind="stable")
    ranked = np.take_along_axis(placed.train, order, axis=1)
    best = np.zeros(order.shape, dtype=bool)
    count = max(_FINE if more is None else _FINE_LARGE, neighbours)
    np.put_along_axis(best, order, chosen(ranked, count), axis=1)
    exact = laid.align(best, steps=3)
    rows = np.nonzero(best)[0].astype(np.int64)
    return _Pairs(
        query=rows,
        train=placed.train[best],
        flipped=placed.flipped[best],
        aligned=exact,
        angle=np.zeros(len(rows)),
        distance=exact.unlike / usual[rows],
    ), side


def _in_detail(pairs: _Pairs, train: Images, queries: Images) -> _Pairs:
    """The pairs after the comparison of details, in which those that are far take no part.

    The distance becomes the geometric mean of what is unexplained of the whole, and of the details.
    """
    near = np.flatnonzero(pairs.distance < _DETAILED)
    unlike, distance = pairs.aligned.unlike.copy(), np.sqrt(pairs.distance)
    start, size = pairs.aligned.parts.start.copy(), pairs.aligned.parts.size.copy()
    contrast, brightness = pairs.aligned.contrast.copy(), pairs.aligned.brightness.copy()
    angle = pairs.angle.copy()
    if len(near):
        found = detailed(
            train,
            queries,
            (pairs.query[near], pairs.train[near]),
            Parts(start[near], size[near]),
            pairs.flipped[near],
        )
        whole = np.minimum(found.unlike, unlike[near])
        distance[near] *= np.sqrt(found.details * whole / unlike[near])
        unlike[near], angle[near] = whole, found.angle
        start[near], size[near] = found.parts.start, found.parts.size
        contrast[near], brightness[near] = found.contrast, found.brightness
    return _Pairs(
        pairs.query,
        pairs.train,
        pairs.flipped,
        Compared(Parts(start, size), unlike, contrast, brightness),
        angle,
        distance,
    )


def _whole(pairs: _Pairs, train: Framed, queries: Framed) -> Parts:
    """The parts that queries show, margins included, mirrored as the pairs are."""
    boxes = queries.boxes[pairs.query]
    mirrored = boxes.copy()
    mirrored[:, 1, 0] = 1 - boxes[:, 1].sum(axis=1)
    boxes = np.where(pairs.flipped[:, None, None], mirrored, boxes)
    return in_whole(pairs.aligned.parts, train.boxes[pairs.train], boxes)


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


def _placed(
    train: Planes, queries: Planes, more: Indices | None, *, same_pool: bool, seed: int
) -> Placed:
    """The best candidates of each query, and roughly how they lie."""
    level = background(train)
    known, seen = grey(train, level), grey(queries, level)
    if len(known) <= _COARSE * len(SIZES):
        offered = np.broadcast_to(np.arange(len(known)), (len(seen), len(known))).copy()
    else:
        tables = [places for places, _ in candidates(known, seen, count=_COARSE, seed=seed)]
        offered = np.concatenate([*tables, *([] if more is None else [more])], axis=1)
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


def _kinds(pairs: _Pairs, whole: Parts, side: int) -> list[str]:
    """How each pair differs, in words.

    Args:
        pairs: the pairs.
        whole: the parts that the queries show, margins included.
        side: the working size.
    """
    aligned = pairs.aligned
    cropped = whole.size.min(axis=1) < 1 - 0.8 / 28
    shifted = np.abs(whole.start + whole.size / 2 - 0.5).max(axis=1) > 0.5 / side
    changed = (np.abs(aligned.contrast - 1) > 0.08) | (np.abs(aligned.brightness) > 8)
    turned = np.abs(pairs.angle) > _TURNED
    kinds = []
    for place in range(len(pairs.query)):
        words = [
            word
            for word, true in (
                ("flip", pairs.flipped[place]),
                ("rotation", turned[place]),
                ("crop", cropped[place]),
                ("shift", shifted[place] and not cropped[place]),
                ("brightness", changed[place]),
            )
            if true
        ]
        if pairs.distance[place] >= _NEAR:
            words = ["near image"]
        kinds.append(", ".join(words) or "noise/compression")
    return kinds
