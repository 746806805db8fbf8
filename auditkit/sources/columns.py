"""Which columns of a table are features, of what kind, and which are not, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

_ID_NAME = re.compile(
    r"(?i:^(ids?|index|idx|uuid|guid|rownames?|row_?(id|num|number|no|index)|unnamed.*"
    r"|.*[_\-. ](id|uuid|guid)|(id|uuid|guid)[_\-. ].*))$|^.*[a-z](Id|ID|Uuid|UUID)$"
)
"""Column names that say the column holds ids: `id`, `customer_id`, `PassengerId`, `rownames`."""

_TEXT_WORDS = 4.0
_TEXT_DISTINCT = 20
_UNIQUE_SHARE = 0.95
_UNIQUE_ROWS = 20


@dataclass(frozen=True)
class Columns:
    """The features of a table by kind, in the table's order, and the rest with the reason.

    Attributes:
        numbers: numeric columns, truth values among them.
        dates: dates and times of day.
        categories: texts of few words, for categories.
        texts: free text.
        left_out: why a column is no feature, by name.
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    categories: tuple[str, ...]
    texts: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def features(self) -> tuple[str, ...]:
        """All features."""
        return (*self.numbers, *self.dates, *self.categories, *self.texts)

    @property
    def sentences(self) -> list[str]:
        """What is used and what is not, in words."""
        kinds = (
            ("numeric", self.numbers),
            ("dates", self.dates),
            ("categories", self.categories),
            ("free text", self.texts),
        )
        used = "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)
        sentences = [f"Features are {used}."]
        reasons = dict.fromkeys(self.left_out.values())
        for reason in reasons:
            names = [name for name, why in self.left_out.items() if why == reason]
            sentences.append(f"Not features, {reason}: {_listed(names)}.")
        return sentences


def choose(
    frame: pl.DataFrame,
    *,
    dtypes: Mapping[str, pl.DataType],
    apart: Iterable[str],
    drop: Iterable[str] = (),
    text: str | None = None,
) -> Columns:
    """Sort the columns of a table into features and others.

    Never features: constant columns, columns of texts or whole numbers that differ in (nearly)
    every row, and columns named like ids. Texts of at least four words on average are free text
    however much they differ. Numbers with fractions, and dates, may differ in every row.

    Args:
        frame: the rows that have a label.
        dtypes: what each column holds, texts read as numbers or dates where all of them are.
        apart: columns that are not to be mentioned: labels and ids.
        drop: columns the user wants left out.
        text: a column the user wants read as free text.
    """
    kinds: dict[str, list[str]] = {"numbers": [], "dates": [], "categories": [], "texts": []}
    left_out: dict[str, str] = {}
    for name in frame.columns:
        if name in apart:
            continue
        if name == text:
            kinds["texts"].append(name)
        elif name in drop:
            left_out[name] = "as asked"
        else:
            dtype = dtypes.get(name, frame.schema[name])
            reason = _reason(name, frame[name], dtype)
            if reason is None:
                kinds[_kind(frame[name], dtype)].append(name)
            else:
                left_out[name] = reason
    return Columns(**{kind: tuple(names) for kind, names in kinds.items()}, left_out=left_out)


def _reason(name: str, values: pl.Series, dtype: pl.DataType) -> str | None:
    """Why a column is no feature; None if it is one."""
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        return "since their cells hold lists, objects or bytes"
    if values.n_unique() <= 1:
        return "since they are the same in every row"
    if not dtype.is_temporal() and not _is_words(values, dtype):
        if _ID_NAME.match(name) is not None:
            return "since they are named like ids"
        if _differs(values, dtype):
            return "since they differ in (nearly) every row"
    return None


def _differs(values: pl.Series, dtype: pl.DataType) -> bool:
    known = values.drop_nulls()
    if len(values) < _UNIQUE_ROWS:
        return False
    share = known.n_unique() / len(known)
    if dtype.is_numeric():
        return share == 1 and _is_whole(known)
    return share >= _UNIQUE_SHARE


def _kind(values: pl.Series, dtype: pl.DataType) -> str:
    if dtype.is_temporal():
        return "dates"
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "numbers"
    return "texts" if _is_words(values, dtype) else "categories"


def _is_whole(values: pl.Series) -> bool:
    return values.dtype.is_integer() or bool((values == values.floor()).all())


def _is_words(values: pl.Series, dtype: pl.DataType) -> bool:
    if dtype != pl.String:
        return False
    texts = values.cast(pl.String).drop_nulls()
    if texts.n_unique() < min(_TEXT_DISTINCT, len(texts) / 2):
        return False
    words = texts.str.strip_chars().str.count_matches(r"\s+").mean()
    return isinstance(words, float) and words + 1 >= _TEXT_WORDS


def _listed(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
