"""Pools: examples with stable string ids and a metadata frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import PoolError
from auditkit.preview import Preview, guess_preview

if TYPE_CHECKING:
    from torch import Tensor

Positions = npt.NDArray[np.int64]


class SizedDataset(Protocol):
    """A map-style data set, as `torch.utils.data` has them: a length and items by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> object: ...


Array: TypeAlias = Union[npt.NDArray[np.generic], "Tensor"]
"""A numpy array or torch tensor: its first axis counts examples."""


@runtime_checkable
class RowDataset(Protocol):
    """A data set that can hand out many examples at once, already stacked."""

    def rows(self, positions: Positions) -> tuple[object, ...]:
        """The examples at `positions`: one stacked array per field, first axis [batch]."""


@runtime_checkable
class SelectableDataset(Protocol):
    """A data set that makes a smaller one of its own kind, so that what it knows is not lost."""

    def selected(self, positions: Positions) -> SizedDataset:
        """A data set of the examples at `positions`, in that order."""


class Pool:
    """Examples, one unique string id each, and optionally a frame of metadata beside them.

    Args:
        dataset: a map-style data set; item `i` must be the same example every time.
        ids: one string per example; by default the position, as a string.
        metadata: a frame with one row per example, in the same order.
        preview: gives what a reader sees of the example at a position; guessed by default.
        label: the metadata column that holds the labels as people read them, if one does.
        contents: the metadata columns that the examples consist of; others only describe them.

    Raises:
        PoolError: no examples; ids or metadata of another length; ids that are not unique strings;
            a label or contents that are no column of the metadata.
    """

    def __init__(
        self,
        dataset: SizedDataset,
        *,
        ids: Sequence[str] | None = None,
        metadata: pl.DataFrame | None = None,
        preview: Callable[[int], Preview | None] | None = None,
        label: str | None = None,
        contents: Sequence[str] = (),
    ) -> None:
        self.dataset = dataset
        if len(dataset) == 0:
            raise PoolError("The pool is empty: expected at least one example.")
        self.ids = _checked_ids(ids, len(dataset))
        if metadata is not None and metadata.height != len(dataset):
            raise PoolError(
                f"The metadata frame has {metadata.height} rows for {len(dataset)} examples: "
                "give one row per example, in the same order."
            )
        self.metadata = pl.DataFrame({"id": self.ids}) if metadata is None else metadata
        unknown = {*contents, *([] if label is None else [label])}.difference(self.metadata.columns)
        if unknown:
            raise PoolError(
                f"The metadata frame has no column {min(unknown)!r}, named as label or contents: "
                f"there are {', '.join(self.metadata.columns)}."
            )
        self.label, self.contents = label, tuple(contents)
        self._preview = preview
        self._positions: dict[str, int] | None = None

    @classmethod
    def from_arrays(
        cls,
        *arrays: Array,
        ids: Sequence[str] | None = None,
        metadata: pl.DataFrame | None = None,
        preview: Callable[[int], Preview | None] | None = None,
        label: str | None = None,
        contents: Sequence[str] = (),
    ) -> Pool:
        """A pool of the rows of numpy arrays or torch tensors, as (inputs, labels, ...) tuples.

        Raises:
            PoolError: no arrays, or arrays of different lengths.
        """
        return cls(
            ArrayDataset(*arrays),
            ids=ids,
            metadata=metadata,
            preview=preview,
            label=label,
            contents=contents,
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> object:
        return self.dataset[position]

    def __repr__(self) -> str:
        return f"Pool({len(self)} examples, ids {self.ids[0]!r} to {self.ids[-1]!r})"

    def positions(self, ids: Sequence[str]) -> Positions:
        """Where the examples with these ids stand, int64 [len(ids)].

        Raises:
            PoolError: an id that is not in the pool.
        """
        if self._positions is None:
            self._positions = {name: place for place, name in enumerate(self.ids)}
        unknown = [name for name in ids if name not in self._positions]
        if unknown:
            raise PoolError(f"The pool has no example with the id {unknown[0]!r}.")
        return np.array([self._positions[name] for name in ids], dtype=np.int64)

    def subset(self, positions: Sequence[int] | Positions) -> Pool:
        """The examples at `positions`, under the ids, metadata and previews they have here."""
        places = np.asarray(positions, dtype=np.int64)
        dataset = self.dataset
        return Pool(
            dataset.selected(places)
            if isinstance(dataset, SelectableDataset)
            else _View(dataset, places),
            ids=[self.ids[place] for place in places],
            metadata=self.metadata[places],
            preview=lambda position: self.preview(int(places[position])),
            label=self.label,
            contents=self.contents,
        )

    def joined(self, other: Pool) -> Pool:
        """The examples of this pool, then those of another one of the same form.

        The other's ids get a prefix where they stand in both; metadata is not carried over.

        Raises:
            PoolError: the first examples of the two are not of the same form.
        """
        here, there = _form(self[0]), _form(other[0])
        if here != there:
            raise PoolError(
                f"The pools hold different things: examples are {here} in one and {there} in the "
                "other; prepare both in the same way."
            )
        clash = not set(self.ids).isdisjoint(other.ids)
        others = [f"joined/{name}" for name in other.ids] if clash else other.ids
        return Pool(
            _Joined(self.dataset, other.dataset),
            ids=[*self.ids, *others],
            preview=lambda position: (
                self.preview(position)
                if position < len(self)
                else other.preview(position - len(self))
            ),
        )

    def preview(self, position: int) -> Preview | None:
        """What a reader sees of the example at `position`; None if it cannot be shown."""
        if self._preview is not None:
            return self._preview(position)
        return guess_preview(self.dataset[position])


class ArrayDataset:
    """The rows of arrays of equal length, as tuples (or the bare row where there is one array)."""

    def __init__(self, *arrays: Array) -> None:
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise PoolError(
                f"The arrays have {sorted(lengths)} rows: expected at least one array, and all of "
                "the same length."
            )
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, position: int) -> object:
        row = tuple(array[position] for array in self.arrays)
        return row if len(row) > 1 else row[0]

    def rows(self, positions: Positions) -> tuple[object, ...]:
        """Many rows at once, stacked per array, first axis [batch]."""
        return tuple(array[positions] for array in self.arrays)


class _View:
    """Some examples of another data set, in a given order."""

    def __init__(self, dataset: SizedDataset, places: Positions) -> None:
        self._dataset, self._places = dataset, places
        if isinstance(dataset, RowDataset):
            self.rows = lambda positions: cast(RowDataset, dataset).rows(places[positions])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> object:
        return self._dataset[int(self._places[position])]


class _Joined:
    """Two data sets, one after the other."""

    def __init__(self, first: SizedDataset, second: SizedDataset) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, position: int) -> object:
        count = len(self._first)
        return self._first[position] if position < count else self._second[position - count]


def _form(example: object) -> str:
    """What an example is, in words: shapes of arrays, types of the rest."""
    if isinstance(example, Mapping):
        return "{" + ", ".join(f"{key}: {_form(value)}" for key, value in example.items()) + "}"
    if isinstance(example, tuple | list):
        return "(" + ", ".join(_form(part) for part in example) + ")"
    if hasattr(example, "shape"):
        shape = tuple(int(size) for size in example.shape)
        return f"array {list(shape)}" if shape else "number"
    return "number" if isinstance(example, int | float) else type(example).__name__


def _checked_ids(ids: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if ids is None:
        return tuple(str(position) for position in range(count))
    if len(ids) != count:
        raise PoolError(f"There are {len(ids)} ids for {count} examples: give one id per example.")
    wrong = next((name for name in ids if not isinstance(name, str)), None)
    if wrong is not None:
        raise PoolError(f"The id {wrong!r} is a {type(wrong).__name__}: ids are strings.")
    name, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise PoolError(f"The id {name!r} stands {times} times: ids must be unique.")
    return tuple(ids)
