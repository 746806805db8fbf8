"""A pool with other labels, for trainings whose labels were made wrong on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from auditkit.errors import PoolError

Targets: TypeAlias = npt.NDArray[np.generic]

KEYS = ("label", "labels", "target", "targets", "y")
"""Under which key an example that is a mapping may hold its label; the first one is taken."""


def relabelled(pool: Pool, targets: Targets) -> Pool:
    """The examples of a pool under other labels: the last entry of a tuple, or a mapping's label.

    Raises:
        PoolError: examples of another form, whose labels nobody can tell.
    """
    return Pool(_Relabelled(pool, targets), ids=pool.ids, preview=pool.preview)


@runtime_checkable
class _Rows(Protocol):
    """A data set that hands out many examples at once, stacked."""

    def rows(self, positions: npt.NDArray[np.int64]) -> tuple[object, ...]:
        """The examples at the positions."""


class _Relabelled:
    """The same examples; the label of each is replaced when it is read."""

    def __init__(self, pool: Pool, targets: Targets) -> None:
        self._pool, self._targets = pool, targets
        _exchanged(pool[0], targets[0])
        dataset = pool.dataset
        if isinstance(dataset, _Rows) and isinstance(pool[0], tuple):
            self.rows = lambda places: _last_exchanged(dataset.rows(places), targets[places])

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, position: int) -> object:
        return _exchanged(self._pool[position], self._targets[position])


def _last_exchanged(fields: tuple[object, ...], targets: Targets) -> tuple[object, ...]:
    return (*fields[:-1], _like(targets, fields[-1]))


def _exchanged(example: object, target: object) -> object:
    if isinstance(example, tuple | list) and len(example) >= 2:
        return (*example[:-1], _like(target, example[-1]))
    if isinstance(example, Mapping):
        for key in KEYS:
            if key in example:
                return {**example, key: _like(target, example[key])}
    raise PoolError(
        f"The labels of {type(example).__name__} examples cannot be exchanged: examples must be "
        f"(inputs, label) pairs or mappings with one of the keys {', '.join(KEYS)}."
    )


def _like(target: object, own: object) -> object:
    """The target in the type and shape that the example's own has."""
    value = np.asarray(target)
    if isinstance(own, bool | int | float):
        return type(own)(value.item())
    shape = tuple(getattr(own, "shape", ()))
    if hasattr(own, "new_tensor"):
        return own.new_tensor(value.tolist()).reshape(shape)
    return value.astype(np.asarray(own).dtype).reshape(shape)[()]
