"""What the engine gives: `Scores` of influence, and `Holdout` measurements.

A score above zero makes the training example a **proponent** of the query: training on it
lowered the query's measure. A score below zero makes it an **opponent**. This is the only place
that says so, and the engine keeps to it for every update and measure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit.errors import NonFiniteScoreError, PoolError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """One training example that bears on a query."""

    train_id: str
    score: float


@dataclass(frozen=True)
class Scores:
    """Influence of training examples on queries.

    Attributes:
        values: float32 [query, train]; the predicted change of the query's measure if the
            training example were left out, positive for proponents.
        query_ids, train_ids: what the axes stand for.
        step: float32 [query]; how far the weights were moved for each query.
        measure: name of the measure on the train side.
    """

    values: Floats
    query_ids: tuple[str, ...]
    train_ids: tuple[str, ...]
    step: Floats
    measure: str = "loss"

    def __post_init__(self) -> None:
        expected = (len(self.query_ids), len(self.train_ids))
        if self.values.shape != expected:
            raise PoolError(f"The scores have shape {self.values.shape}, expected {expected}.")
        finite = np.isfinite(self.values).all(axis=1)
        if not finite.all():
            query = self.query_ids[int(np.argmin(finite))]
            raise NonFiniteScoreError(
                f"The scores of query {query!r} are not finite: its update went too far; lower "
                "the rise or raise the damping."
            )

    def proponents(self, query_id: str, k: int = 10) -> list[Match]:
        """The k training examples with the highest scores above zero, best first."""
        return [match for match in self._ranked(query_id, k, sign=1.0) if match.score > 0]

    def opponents(self, query_id: str, k: int = 10) -> list[Match]:
        """The k training examples with the lowest scores below zero, lowest first."""
        return [match for match in self._ranked(query_id, k, sign=-1.0) if match.score < 0]

    def _ranked(self, query_id: str, k: int, *, sign: float) -> list[Match]:
        if query_id not in self.query_ids:
            raise PoolError(f"There are no scores for a query with the id {query_id!r}.")
        row = self.values[self.query_ids.index(query_id)]
        order = np.argsort(-sign * row, kind="stable")[:k]
        return [Match(self.train_ids[place], float(row[place])) for place in order]


@dataclass(frozen=True)
class Planted:
    """Examples that trained the replays under another label than their own.

    Attributes:
        positions: int64 [planted]; where they stand in the pool.
        labels: int64 [planted]; the label they were given.
    """

    positions: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


Planter: TypeAlias = Callable[[Floats, npt.NDArray[np.int64]], Planted]
"""Chooses what to plant, from the trained model's probabilities [example, class] and the labels."""


@dataclass(frozen=True)
class ClassTables:
    """What the models of a holdout say of each example, class by class.

    Attributes:
        targets: int64 [example]; the labels.
        inside: float32 [example, class]; log probabilities of the trained model, averaged over it
            and its checkpoints.
        outside: float32 [example, class]; the mean over models that did not train on the example.
        replayed: float32 [example, class]; the mean over models while they trained on it, taken
            from the training passes, before each step; the outside ones where none did.
        planted: what was planted, to calibrate on; None where nothing was.
    """

    targets: npt.NDArray[np.int64]
    inside: Floats
    outside: Floats
    replayed: Floats
    planted: Planted | None = None


@dataclass(frozen=True)
class Holdout:
    """Every example of a pool, measured by models that did and that did not train on it.

    Attributes:
        ids: the examples.
        inside: float32 [example]; loss under the trained model, averaged over it and its
            checkpoints.
        outside: float32 [example]; mean loss under models that did not train on the example.
        replayed: float32 [example]; mean loss on the example while models trained on it; the
            outside loss where none did.
        folds: int64 [repeat, example]; the fold each example was held out with.
        classes: the same by class, where the task has class outputs.
    """

    ids: tuple[str, ...]
    inside: Floats
    outside: Floats
    replayed: Floats
    folds: npt.NDArray[np.int64]
    classes: ClassTables | None = None

    @property
    def probabilities_outside(self) -> Floats | None:
        """Out-of-sample class probabilities, [example, class]: geometric means over the models."""
        if self.classes is None:
            return None
        shifted = np.exp(self.classes.outside - self.classes.outside.max(axis=1, keepdims=True))
        probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
        return probabilities
