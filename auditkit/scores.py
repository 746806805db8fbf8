"""What the engine gives: `Scores` of influence, `Holdout` measurements, and what the model says.

A score above zero makes the training example a **proponent** of the query: training on it
lowered the query's measure. A score below zero makes it an **opponent**. This is the only place
that says so, and the engine keeps to it for every update and measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit.errors import NonFiniteScoreError, PoolError
from auditkit.standing import together

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
        return self.strongest(self._row(query_id), k, sign=1.0)

    def opponents(self, query_id: str, k: int = 10) -> list[Match]:
        """The k training examples with the lowest scores below zero, lowest first."""
        return self.strongest(self._row(query_id), k, sign=-1.0)

    def strongest(self, row: int, k: int, *, sign: float) -> list[Match]:
        """The k strongest scores of a sign in one row; ties in the order of the pool."""
        places = strongest_places(self.values[row], k, sign=sign)
        return [Match(self.train_ids[place], float(self.values[row, place])) for place in places]

    def _row(self, query_id: str) -> int:
        if query_id not in self.query_ids:
            raise PoolError(f"There are no scores for a query with the id {query_id!r}.")
        return self.query_ids.index(query_id)


@dataclass(frozen=True)
class Top:
    """The strongest scores of one sign of every query.

    Attributes:
        places: int32 [query, k]; positions of the training examples in the pool, strongest first;
            -1 where a query has fewer scores of that sign.
        scores: float32 [query, k]; 0 there.
    """

    places: npt.NDArray[np.int32]
    scores: Floats

    def matches(self, row: int, ids: Sequence[str], k: int) -> list[Match]:
        """The k strongest of one query."""
        pairs = zip(self.places[row, :k].tolist(), self.scores[row, :k].tolist(), strict=True)
        return [Match(ids[place], score) for place, score in pairs if place >= 0]


@dataclass(frozen=True)
class Ranking:
    """The strongest scores of each query, and what all scores say of each training example.

    Attributes:
        query_ids, train_ids: what was scored.
        strongest: each query's k highest scores above zero, best first.
        opposing: each query's k lowest scores below zero, lowest first.
        mean, highest, lowest: float32 [train]; over all queries.
        measure: name of the measure on the train side.
    """

    query_ids: tuple[str, ...]
    train_ids: tuple[str, ...]
    strongest: Top
    opposing: Top
    mean: Floats
    highest: Floats
    lowest: Floats
    measure: str = "loss"

    def proponents(self, query_id: str, k: int = 10) -> list[Match]:
        """The k training examples with the highest scores above zero, best first."""
        return self.strongest.matches(self._row(query_id), self.train_ids, k)

    def opponents(self, query_id: str, k: int = 10) -> list[Match]:
        """The k training examples with the lowest scores below zero, lowest first."""
        return self.opposing.matches(self._row(query_id), self.train_ids, k)

    def _row(self, query_id: str) -> int:
        if query_id not in self.query_ids:
            raise PoolError(f"There are no scores for a query with the id {query_id!r}.")
        return self.query_ids.index(query_id)


@dataclass(frozen=True)
class DocumentScores:
    """Influence of documents on queries, read in two ways from one pass.

    Attributes:
        tokens: by the largest change of a document's token.
        loss: by the change of its mean loss.
    """

    tokens: Scores
    loss: Scores

    @property
    def together(self) -> Scores:
        """By both readings, as `auditkit.together` puts them together.

        These are no influences: they rank proponents, each in units of its query's other scores,
        and are zero for all else.
        """
        values = together(self.tokens.values, self.loss.values).astype(np.float32)
        return replace(self.tokens, values=values, measure="tokens and loss")


def strongest_places(values: Floats, k: int, *, sign: float) -> npt.NDArray[np.int64]:
    """Positions of the k strongest scores of a sign, strongest first; ties in their order."""
    signed = sign * values
    if k < len(signed):  # of those that tie with the k-th, the first ones
        least = np.partition(signed, len(signed) - k)[len(signed) - k]
        above = np.flatnonzero(signed > least)
        level = np.flatnonzero(signed == least)[: k - len(above)]
        places = np.sort(np.concatenate([above, level]))
    else:
        places = np.arange(len(signed))
    order = places[np.argsort(-signed[places], kind="stable")]
    found: npt.NDArray[np.int64] = order[signed[order] > 0]
    return found


@dataclass(frozen=True)
class Evaluation:
    """What the trained model says of each example of a pool.

    Attributes:
        ids: the examples.
        loss: float32 [example].
        outputs: float32 [example, k]; class scores or predictions; None where the task has none.
        targets: int64 [example], the labels, or float32 [example, k]; None as well.
    """

    ids: tuple[str, ...]
    loss: Floats
    outputs: Floats | None = None
    targets: npt.NDArray[np.int64] | Floats | None = None


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
        neighbours: int64 [repeat, example, neighbour]; the positions of the others that are most
            alike by the features (`ForwardINF.features`) of the model that was replayed without the
            example's fold, nearest first; -1 where there is none. None where they were not asked
            for.
    """

    ids: tuple[str, ...]
    inside: Floats
    outside: Floats
    replayed: Floats
    folds: npt.NDArray[np.int64]
    classes: ClassTables | None = None
    neighbours: npt.NDArray[np.int64] | None = None

    @property
    def probabilities_outside(self) -> Floats | None:
        """Out-of-sample class probabilities, [example, class]: geometric means over the models."""
        if self.classes is None:
            return None
        shifted = np.exp(self.classes.outside - self.classes.outside.max(axis=1, keepdims=True))
        probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
        return probabilities
