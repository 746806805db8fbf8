"""Other labels in examples, and labels where there are none: in the place and form they have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, Union, cast

import numpy as np
import numpy.typing as npt

from auditkit.errors import PoolError
from auditkit.pool import Pool, Positions, RowDataset
from auditkit.subject import TARGET_KEYS

if TYPE_CHECKING:
    from torch import Tensor

Labels = npt.NDArray[np.generic]
Formed: TypeAlias = Union[Labels, "Tensor"]

_KINDS = {"U": "a text", "S": "bytes", **dict.fromkeys("biuf", "a number")}
"""What an array holds, by numpy's letter for it."""


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
    they have in `like`. A text stays whole; a fraction is rounded to the precision of that type,
    and a number that would become another is refused. Ids, metadata and previews stay; which column
    holds the labels does not.

    Args:
        pool: the examples.
        labels: [example, ...].
        like: an example with a label, which says where it stands; by default the pool's first.

    Raises:
        PoolError: `like` has no label whose place is known; examples are of another form than
            `like`; there is not one label per example, or not of the type and shape in `like`.
    """
    return Pool(
        _Labelled(pool, np.atleast_1d(labels), pool[0] if like is None else like),
        ids=pool.ids,
        metadata=pool.metadata,
        preview=pool.preview,
        contents=pool.contents,
    )


class _Labelled:
    """The same examples, each given its label when it is read."""

    def __init__(self, pool: Pool, labels: Labels, like: object) -> None:
        if len(labels) != len(pool):
            raise PoolError(
                f"There are {len(labels):,} labels for {len(pool):,} examples: give one label per "
                "example, in the same order."
            )
        self._pool = pool
        self._place = _Place(like)
        self._place.inputs(pool[0])
        self._own = self._place.label
        self._labels = _in_form(labels, self._own)
        dataset = pool.dataset
        if self._place.before and isinstance(dataset, RowDataset):
            self.rows = lambda places: self._rows(dataset, places)

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, position: int) -> object:
        label = _typed(self._labels[position], self._own)
        inputs = self._place.inputs(self._pool[position])
        return {**inputs, self._place.key: label} if isinstance(inputs, dict) else (*inputs, label)

    def _rows(self, dataset: RowDataset, places: Positions) -> tuple[object, ...]:
        return (*dataset.rows(places)[: self._place.before], self._labels[places])


class _Place:
    """Where in examples the label stands.

    Args:
        like: an example with a label.

    Attributes:
        key: of mappings; None for tuples.
        before: how many parts of a tuple stand before it; 0 for mappings.
        label: the one of the example.

    Raises:
        PoolError: no label whose place is known.
    """

    def __init__(self, like: object) -> None:
        self.key: object = None
        self.before = 0
        if isinstance(like, Mapping):
            self.key = next((key for key in TARGET_KEYS if key in like), None)
            self.label = like.get(self.key)
            self._others = set(TARGET_KEYS).difference(like)
        elif isinstance(like, tuple | list) and len(like) >= 2:
            self.before, self.label = len(like) - 1, like[-1]
        if self.key is None and not self.before:
            raise PoolError(
                f"The labels of {type(like).__name__} examples cannot be exchanged: examples must "
                "be (inputs, label) pairs or mappings with one of the keys "
                f"{', '.join(TARGET_KEYS)}."
            )

    def inputs(self, example: object) -> dict[object, object] | tuple[object, ...]:
        """What an example holds besides its label, and its label too in a mapping.

        Raises:
            PoolError: an example of another form.
        """
        if self.key is not None:
            if isinstance(example, Mapping) and self._others.isdisjoint(example):
                return dict(example)
            expected = f"a mapping with its label, if it has one, as {self.key!r}"
        else:
            if isinstance(example, Mapping):
                parts: tuple[object, ...] = ()
            else:
                parts = tuple(example) if isinstance(example, tuple | list) else (example,)
            if len(parts) in (self.before, self.before + 1):
                return parts[: self.before]
            expected = f"{self.before} or, with its label, {self.before + 1} parts"
        raise PoolError(
            f"An example is {_said(example)}, and labels stand in examples of another form, so "
            f"there is no place for its own: expected {expected}; give examples and `like` in one "
            "form."
        )


def _said(example: object) -> str:
    """An example's form in words."""
    if isinstance(example, Mapping):
        return f"a mapping of {', '.join(map(str, example))}"
    if isinstance(example, tuple | list):
        return f"a {type(example).__name__} of {len(example)}"
    return f"one {type(example).__name__}"


def _in_form(labels: Labels, own: object) -> Formed:
    """All labels in the type and shape of another one, [example, ...].

    Raises:
        PoolError: labels of another shape or kind, or numbers that this type does not hold.
    """
    shape = tuple(getattr(own, "shape", (len(own),) if isinstance(own, list | tuple) else ()))
    if math.prod(labels.shape[1:]) != math.prod(shape):
        raise PoolError(
            f"The labels have the shape {list(labels.shape[1:])} each, and the label in `like` has "
            f"{list(shape)}: give labels of that shape."
        )
    given = _natural(labels).reshape(-1, *shape)
    tensor = hasattr(own, "new_tensor")
    form = given.dtype if tensor else np.asarray(own).dtype
    ours, theirs = "a number" if tensor else _KINDS.get(form.kind), _KINDS.get(given.dtype.kind)
    if ours is None and np.can_cast(given.dtype, form, "same_kind"):
        return given.astype(form)  # objects, dates: nothing that could be cut or rounded
    if ours is None or ours != theirs:
        raise PoolError(
            f"The label {given.ravel()[0]!s} is {theirs or 'of another kind'}, and the label in "
            f"`like` is {ours or 'of another kind'} ({_type(own)}): give labels of one kind."
        )
    return _exact(given, own) if ours == "a number" else given


def _natural(labels: Labels) -> Labels:
    """Objects as the array that numpy makes of texts alone or numbers alone."""
    if labels.dtype.kind not in "OT":
        return labels
    values = labels.ravel().tolist()
    kinds: tuple[type | tuple[type, ...], ...] = (str, bytes, (bool, int, float, np.number))
    alike = any(all(isinstance(value, kind) for value in values) for kind in kinds)
    return np.array(values).reshape(labels.shape) if alike else labels


def _exact(labels: Labels, own: object) -> Formed:
    """Numbers in the type of another; only fractions are rounded, to the precision of the type.

    Raises:
        PoolError: a number that would become another.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if isinstance(own, np.ndarray | np.generic | bool | int | float | list | tuple):
            found: Formed = labels.astype(np.asarray(own).dtype)
        else:
            whole = labels.dtype.kind in "biu"
            found = cast("Tensor", own).new_tensor(labels.astype(np.int64 if whole else np.float64))
    kept = np.asarray(found.tolist())
    lost = kept != labels
    if kept.dtype.kind == labels.dtype.kind == "f":
        lost = np.isfinite(kept) != np.isfinite(labels)
    if lost.any():
        first = int(np.flatnonzero(lost)[0])
        raise PoolError(
            f"The label {labels.ravel()[first].item()} would become {kept.ravel()[first].item()} "
            f"in the type of the label in `like`, {_type(own)}: give labels that it can hold."
        )
    return found


def _typed(label: object, own: object) -> object:
    """One label as Python has it, where the other one is of Python's own types."""
    if isinstance(own, list | tuple):
        return (list if isinstance(own, list) else tuple)(np.asarray(label).tolist())
    if isinstance(own, bool | int | float | str | bytes):
        return type(own)(np.asarray(label).item())
    return label


def _type(own: object) -> str:
    return str(getattr(own, "dtype", type(own).__name__))
