"""How far two influences agree: Pearson and Spearman correlations with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_mirror.draws import stream

Table = npt.NDArray[np.float64]

CERTAINTY = 0.95
"""What share of the bootstrap's samples an interval holds."""


@dataclass(frozen=True)
class Correlation:
    """One kind of correlation, row by row of two tables and on average.

    Attributes:
        each: float64 [row]; 0 where a side is constant.
        low, high: float64 [row]; of each row's interval, by a bootstrap over columns.
        mean: over rows.
        mean_low, mean_high: of the mean's interval, by a bootstrap over columns and rows.
    """

    each: Table
    low: Table
    high: Table
    mean: float
    mean_low: float
    mean_high: float


@dataclass(frozen=True)
class Agreement:
    """How far two tables of influences agree: by value, and by rank."""

    pearson: Correlation
    spearman: Correlation


def agreement(left: Table, right: Table, *, resamples: int = 500, seed: int = 0) -> Agreement:
    """Correlations of each row of one table with the same row of another one.

    Args:
        left: [row, column], or [column] for a single row. Rows are queries, columns are training
            examples or groups of them.
        right: the other one, of the same shape.
        resamples: how many samples the bootstrap draws.
        seed: for the bootstrap.
    """
    pair = [np.atleast_2d(np.asarray(table, dtype=np.float64)) for table in (left, right)]
    draw = stream(seed, "bootstrap of the mirror")
    rows, columns = pair[0].shape
    drawn = np.empty((2, resamples, rows))
    for place in range(resamples):
        chosen = draw.integers(columns, size=columns)
        sample = [table[:, chosen] for table in pair]
        drawn[0, place], drawn[1, place] = pearson(*sample), spearman(*sample)
    again = draw.integers(rows, size=(resamples, rows))
    means = np.take_along_axis(drawn, again[None], axis=2).mean(axis=2)
    return Agreement(
        *(
            _correlation(measure(*pair), drawn[kind], means[kind])
            for kind, measure in enumerate((pearson, spearman))
        )
    )


def pearson(left: Table, right: Table) -> Table:
    """The linear correlation along the last axis; 0 where a side is constant."""
    left, right = (table - table.mean(axis=-1, keepdims=True) for table in (left, right))
    shared = (left * right).sum(axis=-1)
    size = np.sqrt((left**2).sum(axis=-1) * (right**2).sum(axis=-1))
    found: Table = np.divide(shared, size, out=np.zeros_like(shared), where=size > 0)
    return found


def spearman(left: Table, right: Table) -> Table:
    """The rank correlation along the last axis; ties have their mean rank."""
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    return pearson(rankdata(left, axis=-1), rankdata(right, axis=-1))


def scaled(side: Table) -> Table:
    """Each row in units of its root mean square; 0 where all of it is."""
    size = np.sqrt((side**2).mean(axis=-1, keepdims=True))
    found: Table = np.divide(side, size, out=np.zeros_like(side), where=size > 0)
    return found


def _correlation(each: Table, drawn: Table, means: Table) -> Correlation:
    outside = (1 - CERTAINTY) / 2
    low, high = np.quantile(drawn, [outside, 1 - outside], axis=0)
    mean_low, mean_high = np.quantile(means, [outside, 1 - outside])
    return Correlation(each, low, high, float(each.mean()), float(mean_low), float(mean_high))
