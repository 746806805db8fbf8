"""Memorization by class and by whatever the metadata say: do rare subgroups stand out?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import ColumnError, did_you_mean

CLASS = "class"
MISSING = "(missing)"

SIGNIFICANT = 0.05
"""The false-discovery rate at which a group is said to stand out."""

_MOST = 20
"""A column of more different values is no grouping unless it is asked for."""

_MOST_ASKED = 100
_BANDS = 5
_LEAST = 5
"""Groups of fewer examples are shown and not tested."""

_SCHEMA = {
    "column": pl.String(),
    "group": pl.String(),
    "examples": pl.Int64(),
    "memorized": pl.Int64(),
    "share": pl.Float64(),
    "share elsewhere": pl.Float64(),
    "mean memorization": pl.Float64(),
    "mislabelled": pl.Int64(),
    "rare but right": pl.Int64(),
    "q": pl.Float64(),
}


def by_groups(
    labels: npt.NDArray[np.str_],
    metadata: pl.DataFrame,
    memorization: npt.NDArray[np.float64],
    memorized: npt.NDArray[np.bool_],
    verdict: npt.NDArray[np.str_],
    *,
    by: str | None,
) -> pl.DataFrame:
    """How much is memorized in each group, and whether that is more or less than elsewhere.

    `q` is the false-discovery rate (Benjamini and Hochberg 1995, over all groups of all columns)
    of Fisher's exact test of the group against the other examples.

    Args:
        labels: the given labels' names, [example].
        metadata: a row per example.
        memorization: the estimates, [example].
        memorized: whether they are over the threshold, [example].
        verdict: what each example is, [example].
        by: a column to group by; None for every column of few values.

    Raises:
        ColumnError: as `check_column`.
    """
    rows = []
    for column, values in _columns(labels, metadata, by).items():
        for group in dict.fromkeys(sorted(values.tolist(), key=_natural)):
            inside = values == group
            rows.append(
                {
                    "column": column,
                    "group": group,
                    "examples": int(inside.sum()),
                    "memorized": int(memorized[inside].sum()),
                    "share": float(memorized[inside].mean()),
                    "share elsewhere": _mean(memorized[~inside]),
                    "mean memorization": float(memorization[inside].mean()),
                    "mislabelled": int((verdict[inside] == "mislabelled").sum()),
                    "rare but right": int((verdict[inside] == "rare but right").sum()),
                    "q": _significance(memorized, inside),
                }
            )
    return _corrected(pl.DataFrame(rows, schema=_SCHEMA))


def check_column(metadata: pl.DataFrame, by: str | None) -> None:
    """Refuse a column that nothing can be grouped by.

    Raises:
        ColumnError: there is no such column, or it has too many values.
    """
    if by is None or by == CLASS:
        return
    if by not in metadata.columns:
        raise ColumnError(
            f"There is no column {by!r} in the metadata of the training examples; "
            f"{did_you_mean(by, [CLASS, *metadata.columns])}"
        )
    values = metadata[by]
    if values.dtype.is_nested() or (
        not values.dtype.is_numeric() and values.n_unique() > _MOST_ASKED
    ):
        raise ColumnError(
            f"The column {by!r} of type {values.dtype} has too many different "
            f"values: grouping needs numbers, or at most {_MOST_ASKED} different values."
        )


def _columns(
    labels: npt.NDArray[np.str_], metadata: pl.DataFrame, by: str | None
) -> Mapping[str, npt.NDArray[np.str_]]:
    """The values to group by, as texts, by column; the class always comes first."""
    found = {CLASS: labels}
    if by is not None:
        check_column(metadata, by)
        return found if by == CLASS else {**found, by: _asked(metadata[by])}
    for name in metadata.columns:
        values = metadata[name]
        if name != "id" and not values.dtype.is_float() and not values.dtype.is_nested():
            texts = _texts(values)
            if 2 <= len(set(texts)) <= min(_MOST, len(texts) // 2) and not _same(texts, labels):
                found[name] = texts
    return found


def _asked(values: pl.Series) -> npt.NDArray[np.str_]:
    """A column that was asked for: numbers of many values in bands of as many examples each."""
    if values.dtype.is_numeric() and values.n_unique() > _MOST:
        return _banded(values)
    return _texts(values)


def _banded(values: pl.Series) -> npt.NDArray[np.str_]:
    """Numbers as bands that hold as many examples each, named by their ends."""
    numbers = values.cast(pl.Float64).to_numpy()
    known = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _BANDS + 1)))
    place = np.clip(np.searchsorted(edges, numbers, side="left") - 1, 0, len(edges) - 2)
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return np.where(known, np.array(names)[place], MISSING)


def _texts(values: pl.Series) -> npt.NDArray[np.str_]:
    texts = [MISSING if value is None else str(value) for value in values.to_list()]
    return np.array(texts, dtype=np.str_)


def _same(texts: npt.NDArray[np.str_], labels: npt.NDArray[np.str_]) -> bool:
    """Whether a column says the same as the labels: one value for each."""
    pairs = set(zip(texts.tolist(), labels.tolist(), strict=True))
    return len(pairs) == len(set(texts.tolist())) == len(set(labels.tolist()))


def _significance(memorized: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_]) -> float | None:
    from scipy.stats import fisher_exact  # noqa: PLC0415 - slow to import

    if inside.sum() < _LEAST or (~inside).sum() < _LEAST:
        return None
    table = [
        [int(memorized[where].sum()), int((~memorized[where]).sum())] for where in (inside, ~inside)
    ]
    return float(fisher_exact(table)[1])


def _corrected(rows: pl.DataFrame) -> pl.DataFrame:
    """P-values turned into false-discovery rates."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow to import

    tested = rows["q"].is_not_null().to_numpy()
    rates = np.full(len(tested), np.nan)
    if tested.any():
        rates[tested] = false_discovery_control(rows["q"].drop_nulls().to_numpy())
    return rows.with_columns(pl.Series("q", rates).fill_nan(None))


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _natural(text: str) -> tuple[int, str]:
    """Sorts numbers as numbers, and before other texts."""
    return (int(text), "") if text.isdecimal() else (2**63, text)
