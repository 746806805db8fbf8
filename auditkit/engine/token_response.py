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
            measured = zip(where, *self._measured(batch, where, None), strict=True)
            for position, values, counted in measured:
                found[int(position)] = own = values[counted]
                if not bool(own.isfinite().all()):
                    raise NonFiniteLossError(
                        f"The measure of a token of document {self._pool.ids[int(position)]!r} is "
                        "infinite: look for a score that is none, or train at a lower rate."
                    )
            return torch.zeros(len(where))

        with torch.no_grad():
            self._executor.each(self._pool, run, doing="measuring the tokens")
        return [found[position] for position in range(len(self._pool))]

    def both(self, weights: Sequence[Weights], base: Sequence[Tensor]) -> Tensor:
        """The largest change of a token, and the change of the mean loss, [q, doc, 2].

        A token's measure is its negative log-odds m, so that its loss is log(1 + exp(m)): both come
        from one pass.
        """

        def run(batch: Batch, where: Positions) -> Tensor:
            before = torch.cat([base[int(position)] for position in where])
            found = []
            for moved in weights:
                values, counted = self._measured(batch, where, moved)
                after, none = values[counted], torch.zeros_like(values)
                losses = none.masked_scatter(counted, softplus(after) - softplus(before))
                found += [
                    (none - torch.inf).masked_scatter(counted, after - before).amax(dim=1),
                    losses.sum(dim=1) / counted.sum(dim=1),
                ]
            return torch.stack(found, dim=1)

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
        moved, counted = self._measured(batch, where, weights)
        return [
            own[its] - base[int(position)]
            for own, its, position in zip(moved, counted, where, strict=True)
        ]

    def _measured(
        self, batch: Batch, where: Positions, weights: Weights | None
    ) -> tuple[Tensor, Tensor]:
        """The measure of each token and which count, both [batch, token], on the CPU."""

        def both(model: nn.Module, given: Batch) -> Tensor:
            values, counted = self._task.token_measure(model, given)
            return torch.stack([values.float(), counted.float()])

        with common_numbers(self._pool, where):
            values, counted = call(both, self._model, batch, weights).cpu()
        return values, counted.bool()
