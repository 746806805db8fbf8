"""The search for leaks without a model's opinion: identical content, then altered copies."""

from __future__ import annotations

import numpy as np

from auditkit import Progress
from auditkit_leakage.altering import planted
from auditkit_leakage.content import Content, Modality, check_comparable, content_of
from auditkit_leakage.found import Found, identical_pairs
from auditkit_leakage.identical import identical
from auditkit_leakage.images import find_images
from auditkit_leakage.rows import find_rows
from auditkit_leakage.texts import SILENT, find_texts

__all__ = [
    "Content",
    "Found",
    "Modality",
    "check_comparable",
    "content_of",
    "find",
    "planted",
]


def find(
    train: Content,
    evaluation: Content,
    *,
    same_pool: bool = False,
    neighbours: int = 3,
    progress: Progress = SILENT,
) -> Found:
    """The training examples that each evaluation example could be a copy of.

    Every evaluation example is in the result, with its nearest training examples, however far.

    Args:
        train: the training examples.
        evaluation: the evaluation examples, of the same modality.
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
    wanted = neighbours + 1  # an identical one may be found again
    with progress.step("looking for altered copies", 1) as step:
        if train.images is not None:
            near = find_images(
                train.images,
                evaluation.pictures,
                same_pool=same_pool,
                neighbours=wanted,
            )
        elif train.texts is not None:
            near = find_texts(
                train.texts,
                evaluation.strings,
                same_pool=same_pool,
                neighbours=wanted,
                progress=progress,
            )
        else:
            near = find_rows(
                train.frame,
                evaluation.frame,
                same_pool=same_pool,
                neighbours=wanted,
            )
        step.advance()
    return same.joined(near).nearest(neighbours)
