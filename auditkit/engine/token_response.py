"""The train side of documents, token by token.

A document may hold many sentences, of which one has to do with the query: the change of its mean
loss drowns in the others. One forward pass measures every token, so the change of each is there for
free, and a document's score is the largest of them (docs/explanation/tracing.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from auditkit.engine.passes import Executor, Weights, call, common_numbers
from auditkit.errors import NonFiniteLossError
from auditkit.pool import Pool, Positions
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch


class TokenResponses:
    """Changes of each token's measure over one pool under the moved weights of some queries.

    Args:
        task: gives the measure of each token.
        model: the trained model, in evaluation mode.
        pool: the documents.
        executor: runs the passes.
    """

    def __init__(self, task: Task, model: nn.Module, pool: Pool, *, executor: Executor) -> None:
        self._task, self._model, self._pool, self._executor = task, model, pool, executor

    def base(self) -> list[Tensor]:
        """The measure of each counted token under the trained weights: [token] per document.

        Raises:
            NonFiniteLossError: one is NaN or infinite.
        """
        found: dict[int, Tensor] = {}

        def run(batch: Batch, where: Positions) -> Tensor:
            for position, values in zip(where, self._measured(batch, where, None), strict=True):
                found[int(position)] = own = values[~values.isnan()].cpu()
                if not bool(own.isfinite().all()):
                    raise NonFiniteLossError(
                        f"The measure of a token of document {self._pool.ids[int(position)]!r} is "
                        "infinite: look for a score that is none, or train at a lower rate."
                    )
            return torch.zeros(len(where))

        with torch.no_grad():
            self._executor.each(self._pool, run, doing="measuring the tokens")
        return [found[position] for position in range(len(self._pool))]

    def largest(self, weights: Sequence[Weights], base: Sequence[Tensor]) -> Tensor:
        """The largest change of a token of each document under each of some weights, [q, doc]."""

        def run(batch: Batch, where: Positions) -> Tensor:
            found = [
                torch.stack([own.max() for own in self._changes(batch, where, moved, base)])
                for moved in weights
            ]
            return torch.stack(found, dim=1)

        with torch.no_grad():
            return self._executor.each(self._pool, run, doing="measuring the tokens").T

    def both(self, weights: Sequence[Weights], base: Sequence[Tensor]) -> Tensor:
        """The largest change of a token, and the change of the mean loss, [q, doc, 2].

        A token's measure is its negative log-odds m, so that its loss is log(1 + exp(m)): both come
        from one pass.
        """

        def run(batch: Batch, where: Positions) -> Tensor:
            found = []
            for moved in weights:
                values = self._measured(batch, where, moved).cpu()
                pairs = [
                    (own[~own.isnan()], base[int(position)])
                    for own, position in zip(values, where, strict=True)
                ]
                largest = torch.stack([(after - before).max() for after, before in pairs])
                losses = torch.stack(
                    [(softplus(after) - softplus(before)).mean() for after, before in pairs]
                )
                found.append(torch.stack([largest, losses], dim=1))
            return torch.stack(found, dim=1).flatten(start_dim=1)

        with torch.no_grad():
            table = self._executor.each(self._pool, run, doing="measuring the tokens")
        return table.view(len(self._pool), len(weights), 2).transpose(0, 1)

    def changes(self, weights: Weights, base: Sequence[Tensor]) -> list[Tensor]:
        """The change of each counted token under moved weights: [token] per document."""
        found: dict[int, Tensor] = {}

        def run(batch: Batch, where: Positions) -> Tensor:
            changes = self._changes(batch, where, weights, base)
            found.update(zip(map(int, where), changes, strict=True))
            return torch.zeros(len(where))

        with torch.no_grad():
            self._executor.each(self._pool, run, doing="measuring the tokens")
        return [found[position] for position in range(len(self._pool))]

    def _changes(
        self, batch: Batch, where: Positions, weights: Weights, base: Sequence[Tensor]
    ) -> list[Tensor]:
        moved = self._measured(batch, where, weights).cpu()
        return [
            own[~own.isnan()] - base[int(position)]
            for own, position in zip(moved, where, strict=True)
        ]

    def _measured(self, batch: Batch, where: Positions, weights: Weights | None) -> Tensor:
        """The measure of each token, [batch, token]; NaN for those that do not count."""

        def masked(model: nn.Module, given: Batch) -> Tensor:
            values, counted = self._task.token_measure(model, given)
            return values.float().masked_fill(~counted, float("nan"))

        with common_numbers(self._pool, where):
            return call(masked, self._model, batch, weights)
