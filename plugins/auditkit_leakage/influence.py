"""Stage 3: does the model itself treat a pair as the same, and what does the copy do to it?

Two questions to the engine about each pair of an evaluation example and a training example:

- **The same?** Influence between margins, relative to each training example's influence on itself:
  then a copy of the query comes first (`relative`, docs/explanation/method.md). What is kept is how
  the training example ranks among a sample of the train pool, or among all of it.
- **How much?** The influence on the query's margin in its own units: how far the margin is
  predicted to fall if that one training example had been left out.

Where the task has no margin, its own measure stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from auditkit import Engine, Pool, Progress, Silent

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Measure = Literal["auto", "margin"]

_AT_ONCE = 64


@dataclass(frozen=True)
class Treated:
    """What the model itself says of pairs.

    Attributes:
        rank: int64 [pair]; 1 where no compared training example scores higher for the query.
        percentile: float64 [pair]; the share of the compared ones that score lower.
        carried: float64 [pair]; how far the query's margin would fall without the training example.
        first: int64 [pair]; the compared training example that scores highest for the query.
        compared: how many training examples the rank is among.
    """

    rank: Positions
    percentile: Floats
    carried: Floats
    first: Positions
    compared: int


def treat(
    engine: Engine,
    queries: Pool,
    train: Pool,
    *,
    evaluation: Positions,
    candidates: Positions,
    among: Positions | None,
    measure: Measure = "margin",
    progress: Progress | None = None,
) -> Treated:
    """Ask the model about pairs.

    Args:
        engine: on the train pool.
        queries: the evaluation set, with labels.
        train: the train pool.
        evaluation: int64 [pair]; positions among the queries.
        candidates: int64 [pair]; positions in the train pool.
        among: positions in the train pool to rank among; None for all of it.
        measure: of both sides.
        progress: is told of every block of queries.
    """
    places = np.arange(len(train)) if among is None else np.union1d(among, candidates)
    pool = train if among is None else train.subset(places)
    column = np.searchsorted(places, candidates)
    same = engine.configured(
        measure=measure, train_measure=measure, relative=True, response="first-order"
    )
    much = engine.configured(measure=measure, response="first-order")
    others = np.unique(candidates)
    copies = train.subset(others)
    rank, first = np.zeros(len(evaluation), np.int64), np.zeros(len(evaluation), np.int64)
    percentile, carried = np.zeros(len(evaluation)), np.zeros(len(evaluation))
    with (progress or Silent()).step("asking about pairs", len(np.unique(evaluation))) as step:
        for asked in _blocks(evaluation):
            rows = np.flatnonzero(np.isin(evaluation, asked))
            row = np.searchsorted(asked, evaluation[rows])
            chosen = queries.subset(asked)
            scores = same.influence(chosen, pool).values[row]
            if queries is train:  # an example is no copy of itself
                itself = np.searchsorted(places, evaluation[rows]).clip(max=len(places) - 1)
                there = places[itself] == evaluation[rows]
                scores[np.flatnonzero(there), itself[there]] = -np.inf
            own = scores[np.arange(len(rows)), column[rows]][:, None]
            higher, lower = (scores > own).sum(axis=1), (scores < own).sum(axis=1)
            rank[rows], percentile[rows] = higher + 1, lower / max(len(pool) - 1, 1)
            first[rows] = places[scores.argmax(axis=1)]
            moved = much.influence(chosen, copies).values
            carried[rows] = moved[row, np.searchsorted(others, candidates[rows])]
            step.advance(len(asked))
    return Treated(rank, percentile, carried, first, len(pool))


def margins(outputs: npt.NDArray[np.floating], labels: Positions) -> Floats:
    """The log-odds of the label, [example], from class scores [example, class]."""
    from scipy.special import logsumexp  # noqa: PLC0415 - heavy, and imported for `--help`

    scores = outputs.astype(np.float64)
    rows = np.arange(len(scores))
    own = scores[rows, labels]
    scores[rows, labels] = -np.inf
    found: Floats = own - logsumexp(scores, axis=1)
    return found


def _blocks(evaluation: Positions) -> Iterator[Positions]:
    distinct = np.unique(evaluation)
    for start in range(0, len(distinct), _AT_ONCE):
        yield distinct[start : start + _AT_ONCE]
