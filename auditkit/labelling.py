"""Other labels in examples, and labels where there are none: in the place and form they have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from auditkit.errors import PoolError
from auditkit.pool import Pool, Positions, RowDataset
from auditkit.subject import TARGET_KEYS

Labels = npt.NDArray[np.generic]


def lacks_labels(train: Pool, other: Pool) -> bool:
    """Whether the examples of the other pool have the form of the first's without their label."""
    ours, theirs = train[0], other[0]
    if isinstance(ours, Mapping):
        keys = set(TARGET_KEYS) & set(ours)
        return isinstance(theirs, Mapping) and bool(keys) and not keys & set(theirs)
    if isinstance(ours, tuple | list) and len(ours) >= 2:
        return not isinstance(theirs, tuple | list) or len(theirs) == len(ours) - 1
    return False


def labelled(pool: Pool, labels: Labels, *, like: object = None) -> Pool:
    """The examples with these labels: in place of their own, or added where they have none.

    Labels stand last in a tuple, or under one of the usual keys of a mapping, in the type and shape
    they have in `like`. Ids, metadata and previews stay; which column holds the labels does not.

    Args:
        pool: the examples.
        labels: [example, ...].
        like: an example with a label, which says where it stands; by default the pool's first.

    Raises:
        PoolError: `like` has no label whose place is known.
    """
    return Pool(
        _Labelled(pool, labels, pool[0] if like is None else like),
        ids=pool.ids,
        metadata=pool.metadata,
        preview=pool.preview,
        contents=pool.contents,
    )


class _Labelled:
    """The same examples, each given its label when it is read."""

    def __init__(self, pool: Pool, labels: Labels, like: object) -> None:
        self._pool, self._labels = pool, labels
        self._key: object = None
        self._before = 0
        if isinstance(like, Mapping):
            self._key = next((key for key in TARGET_KEYS if key in like), None)
            self._own = like.get(self._key)
        elif isinstance(like, tuple | list) and len(like) >= 2:
            self._before, self._own = len(like) - 1, like[-1]
        if self._key is None and not self._before:
            raise PoolError(
                f"The labels of {type(like).__name__} examples cannot be exchanged: examples must "
                "be (inputs, label) pairs or mappings with one of the keys "
                f"{', '.join(TARGET_KEYS)}."
            )
        dataset = pool.dataset
        if self._before and isinstance(dataset, RowDataset) and not isinstance(pool[0], Mapping):
            self.rows = lambda places: self._rows(dataset, places)

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, position: int) -> object:
        example, label = self._pool[position], _in_form(self._labels[position], self._own)
        if isinstance(example, Mapping):
            return {**example, self._key: label}
        parts = tuple(example) if isinstance(example, tuple | list) else (example,)
        return (*parts[: self._before], label)

    def _rows(self, dataset: RowDataset, places: Positions) -> tuple[object, ...]:
        labels = [_in_form(self._labels[place], self._own) for place in places]
        return (*dataset.rows(places)[: self._before], _stacked(labels))


def _in_form(label: object, own: object) -> object:
    """The label in the type and shape of another."""
    value = np.asarray(label)
    if isinstance(own, bool | int | float):
        return type(own)(value.item())
    shape = tuple(getattr(own, "shape", ()))
    if hasattr(own, "new_tensor"):
        return own.new_tensor(value.tolist()).reshape(shape)
    return value.astype(np.asarray(own).dtype).reshape(shape)[()]


def _stacked(labels: list[object]) -> object:
    if hasattr(labels[0], "new_tensor"):
        import torch  # noqa: PLC0415 - heavy, and needed for tensors alone

        return torch.stack([torch.as_tensor(label) for label in labels])
    return np.stack([np.asarray(label) for label in labels])
