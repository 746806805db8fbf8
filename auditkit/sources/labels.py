"""Labels and classes: the one place that says what labels a source accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import ColumnError, LabelError, PoolError

_FEW_NUMBERS = 20
"""Up to so many different numbers are classes, whatever they are."""


def label_names(values: pl.Series, *, where: str) -> pl.Series:
    """The class of each row as text; null where there is none.

    Texts stand for themselves, whole numbers are written without a fraction, truth values as
    `true` and `false`; empty texts and NaN are missing.

    Args:
        values: a label column of any type.
        where: what the messages call it, e.g. "The label column 'y' of table.csv".

    Raises:
        ColumnError: a type that names no classes, or nothing but missing values.
        LabelError: numbers that are quantities rather than classes.
    """
    if isinstance(values.dtype, pl.Decimal):
        values = values.cast(pl.Float64)
    dtype = values.dtype
    if dtype.is_float():
        values = values.fill_nan(None)
    if dtype.is_numeric():
        _refuse_quantities(values, where)
        names = pl.Series([None if cell is None else _number(cell) for cell in values], dtype=_TEXT)
    elif dtype in (pl.Boolean, pl.String) or isinstance(dtype, pl.Categorical | pl.Enum):
        names = values.cast(_TEXT)
        names = names.set(names.str.strip_chars() == "", None)
    elif dtype == pl.Null:
        names = values.cast(_TEXT)
    else:
        raise ColumnError(
            f"{where} holds values of type {dtype}: expected texts, whole numbers or truth values, "
            "one class each."
        )
    if names.null_count() == len(names):
        raise ColumnError(f"{where} is empty in every row: choose another column with --label.")
    return names.alias(values.name)


def classes(labels: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """The classes of a train pool, in order: by value if all are numbers, else alphabetically.

    Raises:
        PoolError: no examples.
        LabelError: fewer than two classes, or a class with one example.
    """
    if not labels:
        raise PoolError("There are no examples: expected at least two of each of two classes.")
    counts = Counter(labels)
    if len(counts) == 1:
        raise LabelError(
            f"All {len(labels)} examples are of one class, {labels[0]!r}: expected at least two "
            "classes with two examples each."
        )
    single = [name for name, count in counts.items() if count == 1]
    if single:
        place = labels.index(single[0])
        others = f", and so have {len(single) - 1} other classes" if len(single) > 1 else ""
        raise LabelError(
            f"Class {single[0]!r} has one example ({ids[place]!r}){others}: each class needs at "
            "least two, so add some, join classes, or leave these examples out."
        )
    return _in_order(counts)


def codes(
    labels: Sequence[str], names: Sequence[str], ids: Sequence[str], *, where: str
) -> npt.NDArray[np.int64]:
    """Labels as positions among the class names, int64 [label].

    Raises:
        LabelError: a label that is none of the classes; the message names the example.
    """
    places = {name: place for place, name in enumerate(names)}
    unknown = next((at for at, label in enumerate(labels) if label not in places), None)
    if unknown is not None:
        shown = ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
        raise LabelError(
            f"Example {ids[unknown]!r} of {where} has the label {labels[unknown]!r}, which no "
            f"training example has: expected one of {shown}."
        )
    return np.array([places[label] for label in labels], dtype=np.int64)


_TEXT = pl.String()


def _number(cell: float) -> str:
    return str(int(cell)) if cell == cell // 1 else str(cell)


def _refuse_quantities(values: pl.Series, where: str) -> None:
    known = values.drop_nulls()
    distinct = known.n_unique() if len(known) else 0
    if known.dtype.is_float() and bool(known.is_infinite().any()):
        raise LabelError(f"{where} holds an infinite number: expected one class per row.")
    whole = known.dtype.is_integer() or bool((known == known.floor()).all())
    if distinct > _FEW_NUMBERS and (not whole or distinct > len(known) / 4):
        raise LabelError(
            f"{where} holds {distinct} different numbers in {len(known)} rows, a quantity rather "
            "than classes, and this audit needs classes: choose another column with --label, or "
            "sort the numbers into bins first."
        )


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return tuple(sorted(names))
    if any(isnan(value) for value in values.values()):
        return tuple(sorted(values))
    return tuple(sorted(values, key=lambda name: (values[name], name)))
