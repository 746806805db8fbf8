"""Scores of documents: by their tokens and by their loss, under the model and its checkpoints.

Each model unlearns a query by the same rise, and what its documents' measures change by then is
averaged, in units of the trained model's step: by each model's own, the least trained would count
most, since their steps are the shortest. For rankings each model's changes are brought to the size
of the trained model's besides: where the update breaks one of them, it has one voice among others
and no more (docs/benchmarks.md, fact tracing). And since no document that the trained model leaves
cold comes first by the mean, further models need only be asked about the documents that may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auditkit.engine.models import Models, Weighed
from auditkit.engine.passes import LocalExecutor, Weights
from auditkit.engine.token_response import TokenResponses
from auditkit.pool import Pool, Positions
from auditkit.standing import together
from auditkit.subject import Task

Moved: TypeAlias = Callable[[Weighed, Pool, list[Positions]], tuple[list[Weights], Tensor]]
"""Gives the weights moved for each row of queries, and how far, float64 [row]."""


class TokenScoring:
    """Scores documents; see the module's docstring.

    Args:
        task: gives the measure of each token.
        train: the train pool; its size is what scores are divided by.
        models: the model and its checkpoints.
        moved: unlearns queries.
        executor: runs the passes.
    """

    def __init__(
        self, task: Task, train: Pool, models: Models, *, moved: Moved, executor: LocalExecutor
    ) -> None:
        self._task, self._train, self._models = task, train, models
        self._moved, self._executor = moved, executor
        self._bases: WeakKeyDictionary[Pool, dict[int, dict[int, Tensor]]] = WeakKeyDictionary()

    def scores(
        self,
        queries: Pool,
        rows: list[Positions],
        pool: Pool,
        *,
        sized: bool = False,
        candidates: int | None = None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Of each row, the largest change of a document's token and that of its mean loss.

        Args:
            queries: what is explained.
            rows: which queries are unlearned at once.
            pool: the documents.
            sized: whether each model's changes, of tokens and of losses apart, are brought to the
                root mean square of the trained model's on the documents it is asked about.
            candidates: of so many documents at either end of the trained model's scores, further
                models are asked; the others keep what the trained model says. None for all.

        Returns:
            float64 [row, document, 2] in units of influence, and the trained model's steps, float64
            [row].
        """
        steps, sums, shares = torch.empty(0), torch.empty(0), torch.empty(0)
        first, chosen = torch.empty(0), list[Positions]()
        for one in self._models.weighed():
            weights, own_steps = self._moved(one, queries, rows)
            if one.place == 0:
                steps, first = own_steps, self._both(one, pool, weights)
                chosen = [_ends(own.numpy(), candidates) for own in first]
                sums = one.weight * first
                shares = torch.full(first.shape[:2], one.weight, dtype=first.dtype)
                continue
            for row, where in enumerate(chosen):
                own = self._both(one, pool, weights[row : row + 1], where)[0]
                own = _sized(own, first[row, where]) if sized else own
                sums[row, where] += one.weight * own
                shares[row, where] += one.weight
        asked = shares[:, :, None] > 0  # where all weight is the checkpoints', the rest was not
        means = torch.where(asked, sums / shares.clamp(min=1e-300)[:, :, None], first)
        return (means / steps[:, None, None]).numpy() / len(self._train), steps.numpy()

    def changes(self, queries: Pool, row: Positions, pool: Pool) -> list[npt.NDArray[np.float64]]:
        """The change of each token of each document for one row, averaged over the models."""
        means: list[Tensor] = []
        first = torch.empty(0)
        for one in self._models.weighed():
            weights, steps = self._moved(one, queries, [row])
            responses = TokenResponses(self._task, one.model, pool, executor=self._executor)
            found = responses.changes(weights[0], self._base(one, pool, np.arange(len(pool))))
            own = [one.weight * part.double() for part in found]
            first = steps if one.place == 0 else first
            means = [a + b for a, b in zip(means, own, strict=True)] if means else own
        return [(mean / (first[0] * len(self._train))).numpy() for mean in means]

    def _both(
        self,
        one: Weighed,
        pool: Pool,
        weights: Sequence[Weights],
        where: Positions | None = None,
    ) -> Tensor:
        """Both changes of each document under moved weights, float64 [row, document, 2].

        Args:
            one: the model that was moved.
            pool: the documents.
            weights: of each row.
            where: those that are measured; None for all.
        """
        every = where is None or len(where) == len(pool)
        some = pool if where is None or every else pool.subset(where)
        base = self._base(one, pool, np.arange(len(pool)) if where is None else where)
        measured = TokenResponses(self._task, one.model, some, executor=self._executor)
        return measured.both(weights, base).double()

    def _base(self, one: Weighed, pool: Pool, where: Positions) -> list[Tensor]:
        """The unmoved measures of documents' tokens, each taken once per model."""
        kept = self._bases.setdefault(pool, {}).setdefault(one.place, {})
        missing = np.array([own for own in where.tolist() if own not in kept], dtype=np.int64)
        if len(missing):
            some = pool if len(missing) == len(pool) else pool.subset(missing)
            found = TokenResponses(self._task, one.model, some, executor=self._executor).base()
            kept.update(zip(missing.tolist(), found, strict=True))
        return [kept[own] for own in where.tolist()]


def _ends(scores: npt.NDArray[np.float64], count: int | None) -> Positions:
    """Those documents that are among so many first proponents, or opponents, in order.

    Proponents come by their best place of three: by tokens, by loss, and by both together.

    Args:
        scores: [document, 2], by tokens and by loss.
        count: at each end; None for all documents.
    """
    if count is None or 2 * count >= len(scores):
        return np.arange(len(scores))
    tokens, loss = scores[:, 0], scores[:, 1]
    readings = (tokens, loss, together(tokens[None], loss[None])[0])
    best = np.min([_places(-own) for own in readings], axis=0)
    proponents = np.argsort(best, kind="stable")[:count]
    opponents = np.argsort(loss, kind="stable")[:count]
    found: Positions = np.union1d(proponents, opponents)
    return found


def _places(values: npt.NDArray[np.float64]) -> Positions:
    """The place of each value, 0 for the lowest, in their order among equals."""
    found = np.empty(len(values), dtype=np.int64)
    found[np.argsort(values, kind="stable")] = np.arange(len(values))
    return found


def _sized(own: Tensor, like: Tensor) -> Tensor:
    """Changes brought to the root mean square of others, [document, k], each of k apart."""
    size, wanted = (part.square().mean(dim=0).sqrt() for part in (own, like))
    return own * torch.where(size > 0, wanted / size, torch.ones_like(size))
