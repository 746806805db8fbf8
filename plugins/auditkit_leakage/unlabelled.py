"""Evaluation sets without labels: the model's own prediction takes the label's place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from auditkit import Pool

_TARGET_KEYS = ("label", "labels", "target", "targets", "y")


def lacks_labels(train: Pool, evaluation: Pool) -> bool:
    """Whether the evaluation examples have the form of training examples without their label."""
    ours, theirs = train[0], evaluation[0]
    if isinstance(ours, Mapping):
        keys = set(_TARGET_KEYS) & set(ours)
        return isinstance(theirs, Mapping) and bool(keys) and not keys & set(theirs)
    if isinstance(ours, tuple | list) and len(ours) >= 2:
        return not isinstance(theirs, tuple | list) or len(theirs) == len(ours) - 1
    return False


def with_labels(pool: Pool, labels: npt.NDArray[np.int64], *, like: object) -> Pool:
    """The examples with labels, in the form of a labelled one.

    Args:
        pool: examples without labels.
        labels: int64 [example].
        like: a labelled example, which says where a label stands and of what type it is.
    """
    return Pool(
        _Labelled(pool, labels, like),
        ids=pool.ids,
        metadata=pool.metadata,
        preview=pool.preview,
        contents=pool.contents,
    )


class _Labelled:
    """Examples with a label each."""

    def __init__(self, pool: Pool, labels: npt.NDArray[np.int64], like: object) -> None:
        self._pool = pool
        self._key = None
        target: object = like[-1] if isinstance(like, tuple | list) else None
        if isinstance(like, Mapping):
            self._key = next(key for key in _TARGET_KEYS if key in like)
            target = like[self._key]
        form = np.asarray(target)
        self._labels = labels.astype(form.dtype).reshape(-1, *form.shape)

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, position: int) -> object:
        example, label = self._pool[position], self._labels[position]
        if isinstance(example, Mapping):
            return {**example, self._key: label}
        return (*example, label) if isinstance(example, tuple | list) else (example, label)
