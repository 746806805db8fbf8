"""How well scores predict what retraining does: rank correlations, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from auditkit.errors import PoolError, SettingError
from auditkit.scores import Floats, Scores
from auditkit.seeds import stream
from auditkit.truth.subsets import Halves

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LDS:
    """The linear datamodeling score of an attribution: 1 is perfect, 0 no better than chance.

    Attributes:
        mean: over queries.
        standard_error: of the mean, by a bootstrap over subsets and queries, both drawn anew each
            time; a little too large rather than too small.
        subset_error: of the mean over these very queries, by the same bootstrap over subsets
            alone: what more subsets can make smaller. Where it is far below `standard_error`, more
            queries help, and more retraining does not.
        per_query: float32 [query]; Spearman correlation over subsets, 0 where either side is
            constant.
        query_ids: what the axis stands for.
        resampled: float32 [resample]; the mean in each of the bootstrap's samples. These are the
            same for all scores of the same queries, so that differences of two are paired.
    """

    mean: float
    standard_error: float
    subset_error: float
    per_query: Floats
    query_ids: tuple[str, ...]
    resampled: Floats


def lds(
    scores: Scores | npt.NDArray[np.floating],
    halves: Halves,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> LDS:
    """The linear datamodeling score: do sums of scores rank the subsets as retraining does?

    For each query, the Spearman correlation over subsets of the measure under models trained on
    the subset with its prediction, minus the sum of the scores of the subset's members: a score is
    positive where training on the example lowers the measure. (Park et al. 2023, TRAK, section
    2.3, after Ilyas et al. 2022.)

    Args:
        scores: of the same train pool; ids are matched, and not every query needs scores. Or an
            array [query, train], in the order of `halves`.
        halves: what retraining gave.
        resamples: how many samples the bootstrap draws.
        seed: for the bootstrap.

    Raises:
        SettingError: fewer than three subsets, or no resamples.
        PoolError: scores of other queries or training examples.
    """
    if len(halves.members) < 3 or resamples < 1:
        raise SettingError(
            f"There are {len(halves.members)} subsets and {resamples} resamples: correlations over "
            "subsets need three or more, and a bootstrap one or more."
        )
    values, rows = _aligned(scores, halves)
    predicted = -(halves.members.astype(np.float64) @ values.T)
    actual = halves.measures[:, rows].astype(np.float64)
    per_query = correlations(predicted, actual, np.ones((1, len(actual))))[0]
    whole, subsets = _resampled_means(predicted, actual, resamples=resamples, seed=seed)
    return LDS(
        mean=float(per_query.mean()),
        standard_error=float(whole.std()),
        subset_error=float(subsets.std()),
        per_query=per_query.astype(np.float32),
        query_ids=tuple(halves.query_ids[row] for row in rows),
        resampled=whole.astype(np.float32),
    )


def ceiling(halves: Halves) -> float:
    """About the linear datamodeling score that perfect scores would have, 0 to 1.

    What noise of training is left in the means over seeds no score can predict. With r the mean
    correlation over subsets between the measures of two seeds, the mean over s seeds correlates
    with the noiseless measure as sqrt(s r / (1 + (s - 1) r)) (Spearman 1910; Brown 1910).

    Raises:
        SettingError: fewer than two seeds or three subsets.
    """
    subsets, seeds, _ = halves.by_seed.shape
    if seeds < 2 or subsets < 3:
        raise SettingError(
            f"There are {subsets} subsets of {seeds} seeds each: what noise is left can be told "
            "from three subsets and two seeds or more."
        )
    once, tables = np.ones((1, subsets)), halves.by_seed.astype(np.float64)
    pairs = [
        correlations(tables[:, first], tables[:, second], once).mean()
        for first, second in combinations(range(seeds), 2)
    ]
    agreement = max(float(np.mean(pairs)), 0.0)
    return math.sqrt(seeds * agreement / (1 + (seeds - 1) * agreement))


def correlations(predicted: Doubles, actual: Doubles, times: Doubles) -> Doubles:
    """Spearman correlations of each column, with every row taken so many times.

    Args:
        predicted: [row, column].
        actual: [row, column].
        times: [resample, row]; how often each row counts.

    Returns:
        [resample, column]; 0 where either side is constant. Ties have their mean rank.
    """
    found = np.zeros((len(times), predicted.shape[1]))
    for column in range(predicted.shape[1]):
        left = _ranks(predicted[:, column], times)
        right = _ranks(actual[:, column], times)
        shared = (times * left * right).sum(axis=1)
        size = np.sqrt((times * left**2).sum(axis=1) * (times * right**2).sum(axis=1))
        np.divide(shared, size, out=found[:, column], where=size > 0)
    return found


def _resampled_means(
    predicted: Doubles, actual: Doubles, *, resamples: int, seed: int
) -> tuple[Doubles, Doubles]:
    """Mean correlations of columns, [resample], with rows drawn anew each time.

    First with columns drawn anew as well, then over the columns as they are.
    """
    draw = stream(seed, "bootstrap of correlations")
    rows, columns = predicted.shape
    times = draw.multinomial(rows, np.full(rows, 1 / rows), size=resamples).astype(np.float64)
    chosen = draw.multinomial(columns, np.full(columns, 1 / columns), size=resamples)
    found = correlations(predicted, actual, times)
    return (found * chosen).sum(axis=1) / columns, found.mean(axis=1)


def _ranks(values: Doubles, times: Doubles) -> Doubles:
    """Centred mean ranks, [resample, row], among rows that count so many times."""
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import, and large

    ranks = rankdata(values, method="dense")  # equal values, equal integers
    below = (ranks[:, None] > ranks[None, :]) + 0.5 * (ranks[:, None] == ranks[None, :])
    counted = times @ below.T
    total = times.sum(axis=1, keepdims=True)
    centred: Doubles = counted - total / 2
    return centred


def _aligned(
    scores: Scores | npt.NDArray[np.floating], halves: Halves
) -> tuple[Doubles, list[int]]:
    """Scores [query, train] in the order of the halves' examples, and the rows of their queries."""
    expected = (len(halves.query_ids), len(halves.train_ids))
    if not isinstance(scores, Scores):
        if scores.shape != expected:
            raise PoolError(f"The scores have shape {scores.shape}, expected {expected}.")
        return scores.astype(np.float64), list(range(len(halves.query_ids)))
    places = {name: place for place, name in enumerate(scores.train_ids)}
    rows = {name: row for row, name in enumerate(halves.query_ids)}
    strange = [name for name in scores.query_ids if name not in rows]
    if set(places) != set(halves.train_ids) or strange or not scores.query_ids:
        raise PoolError(
            f"The scores are of {len(scores.query_ids)} queries and {len(places)} training "
            f"examples, {len(strange)} of the queries and "
            f"{len(set(places) ^ set(halves.train_ids))} of the examples not those that were "
            "retrained on: score the same train pool and queries."
        )
    order = [places[name] for name in halves.train_ids]
    return scores.values[:, order].astype(np.float64), [rows[name] for name in scores.query_ids]
