"""The search for leaks without a model's opinion: identical content, then altered copies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from auditkit import Progress
from auditkit_leakage.altering import planted
from auditkit_leakage.content import Content, Modality, check_comparable, content_of
from auditkit_leakage.found import Found, first_of, identical_pairs
from auditkit_leakage.identical import identical
from auditkit_leakage.images import find_images
from auditkit_leakage.neighbours import Indices, Vectors, nearest
from auditkit_leakage.rows import find_rows
from auditkit_leakage.texts import SILENT, find_texts

__all__ = [
    "Content",
    "Found",
    "Modality",
    "check_comparable",
    "clusters",
    "content_of",
    "find",
    "planted",
]

VERY_NEAR = 0.1
"""Pairs within a pool at this distance or below are duplicates of each other."""

_BY_FEATURES = 5


def find(
    train: Content,
    evaluation: Content,
    *,
    features: tuple[Vectors, Vectors] | None = None,
    same_pool: bool = False,
    neighbours: int = 3,
    progress: Progress = SILENT,
) -> Found:
    """The training examples that each evaluation example could be a copy of.

    Every evaluation example is in the result, with its nearest training examples, however far.

    Args:
        train: the training examples.
        evaluation: the evaluation examples, of the same modality.
        features: what a model makes of both, float32 [n, d] and [m, d]: their nearest neighbours
            are looked at too, and a pair that only they propose is of the kind "features".
        same_pool: the two are one pool; no example is paired with itself.
        neighbours: at most so many pairs for each evaluation example.
        progress: is told of the work.

    Raises:
        UsageError: pools that cannot be compared.
    """
    check_comparable(train, evaluation)
    if same_pool and len(train) == 1:
        nothing = np.zeros(0, dtype=np.int64)
        return identical_pairs(nothing, nothing)
    same = identical_pairs(
        *identical(train, evaluation, same_pool=same_pool, neighbours=neighbours)
    )
    proposed = None if features is None else _proposed(features, same_pool=same_pool)
    wanted = neighbours + 1  # an identical one may be found again
    with progress.step("looking for altered copies", 1) as step:
        if train.images is not None:
            near = find_images(
                train.images,
                evaluation.pictures,
                proposed=proposed,
                same_pool=same_pool,
                neighbours=wanted,
            )
        elif train.texts is not None:
            near = find_texts(
                train.texts,
                evaluation.strings,
                proposed=proposed,
                same_pool=same_pool,
                neighbours=wanted,
                progress=progress,
            )
        else:
            near = find_rows(
                train.frame,
                evaluation.frame,
                proposed=proposed,
                same_pool=same_pool,
                neighbours=wanted,
            )
        step.advance()
    if proposed is not None:
        near = _named(near, proposed)
    return same.joined(near).nearest(neighbours, always=first_of(proposed))


def clusters(
    train: Content,
    *,
    found: Found | None = None,
    within: float = VERY_NEAR,
    progress: Progress = SILENT,
) -> npt.NDArray[np.int64]:
    """The duplicates within one pool: equal numbers for examples that pairs connect, int64 [n].

    Args:
        train: the pool.
        found: what `find` gave for the pool and itself, if it is at hand.
        within: the largest distance of a pair that counts.
        progress: is told of the work.
    """
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - slow to import
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - as above

    if found is None:
        found = find(train, train, same_pool=True, progress=progress)
    near = found.distance <= within
    pairs = found.evaluation[near], found.train[near]
    size = (len(train), len(train))
    links = coo_matrix((np.ones(len(pairs[0])), pairs), shape=size)
    numbers: npt.NDArray[np.int64] = connected_components(links, directed=False)[1]
    return numbers.astype(np.int64)


def _proposed(features: tuple[Vectors, Vectors], *, same_pool: bool) -> Indices:
    """The nearest training examples of each evaluation example by the cosine of features."""
    unit = [
        np.nan_to_num(values)
        / np.maximum(np.linalg.norm(np.nan_to_num(values), axis=1), 1e-12)[:, None]
        for values in features
    ]
    places, _ = nearest(unit[1], unit[0], _BY_FEATURES + same_pool)
    if same_pool:  # the example itself goes last, wherever it came
        order = np.argsort(places == np.arange(len(places))[:, None], axis=1, kind="stable")
        places = np.take_along_axis(places, order, axis=1)[:, :-1]
    return places


def _named(found: Found, proposed: Indices) -> Found:
    """The same pairs; "features" where features propose one that no alteration explains."""
    near_by_features = (proposed[found.evaluation] == found.train[:, None]).any(axis=1)
    kinds = [
        "features" if kind.startswith("near ") and close else kind
        for kind, close in zip(found.kind, near_by_features, strict=True)
    ]
    return Found(found.evaluation, found.train, kinds, found.similarity, found.distance)
