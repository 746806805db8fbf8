"""From queries to scores: gradients, directions, steps and responses, some queries at a time.

What `forward_inf.py` says in prose, for one pool and one set of settings. Queries are taken in
blocks that fit into memory; each block is scored on the whole pool under the model and each of its
checkpoints, and handed on as a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auditkit.engine.advice import Advice
from auditkit.engine.cost import Cost, cost
from auditkit.engine.models import Models, Weighed
from auditkit.engine.output_response import output_changes
from auditkit.engine.passes import LocalExecutor, Weights
from auditkit.engine.per_example import Reader
from auditkit.engine.products import own_products, products, query_directions
from auditkit.engine.response import Response, Responses
from auditkit.engine.sides import Sides
from auditkit.engine.token_scoring import TokenScoring
from auditkit.engine.updates import Updates
from auditkit.pool import Pool, Positions
from auditkit.progress import Progress
from auditkit.subject import Task

_HELD = 2**22
"""How many numbers a block of queries may hold of gradients, directions, weights and scores each:
16 MiB in float32. More at once would save nothing, as each query has passes of its own."""

_HELD_TOGETHER = 2**26
"""The same where one pass over the pool serves all queries of a block: 256 MiB."""


@dataclass(frozen=True)
class Tile:
    """Scores of some rows on the whole pool.

    Attributes:
        rows: which rows.
        values: float64 [row, example].
        steps: float64 [row]; how far the weights moved, averaged; 0 for first-order responses.
    """

    rows: slice
    values: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]


class Scoring:
    """Scores queries on pools; see the module's docstring.

    Args:
        task: for its losses, and the measure of its tokens.
        train: the train pool; its size is what scores are divided by.
        models: the model and its checkpoints, and their preconditioners.
        sides: what is measured, and how.
        executor: runs the passes.
        progress: is told of every row.
        seed: for replayed examples and sphere points.
    """

    def __init__(
        self,
        task: Task,
        train: Pool,
        models: Models,
        sides: Sides,
        *,
        executor: LocalExecutor,
        progress: Progress,
        seed: int,
    ) -> None:
        self.task, self.train, self.models, self.sides = task, train, models, sides
        self._executor, self._progress = executor, progress
        self._bases: WeakKeyDictionary[Pool, dict[int, Tensor]] = WeakKeyDictionary()
        self._own: WeakKeyDictionary[Pool, dict[int, Tensor]] = WeakKeyDictionary()
        self.advice = Advice()
        self._updates = Updates(task, train, models, sides, executor=executor, seed=seed)
        self._by_token = TokenScoring(task, train, models, moved=self._moved, executor=executor)

    def tiles(self, queries: Pool, rows: Sequence[Positions], pool: Pool) -> Iterator[Tile]:
        """Scores of each row of queries on the pool, block by block.

        Raises:
            StepError: a query's measure has no gradient or cannot be raised at all.
        """
        way = self._way(pool, rows)
        pull = None if self.sides.pull is None else self.sides.pull(pool).double().numpy()
        with self._progress.step("scoring queries", len(rows)) as step:
            for where in self._blocks(way, len(rows), pool):
                block = list(rows[where])
                values, steps = self._of_block(way, queries, block, pool)
                if pull is not None:
                    values *= pull
                yield Tile(where, values, steps)
                step.advance(len(block))

    def documents(
        self,
        queries: Pool,
        rows: Sequence[Positions],
        pool: Pool,
        *,
        candidates: int | None = None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Of each row, the largest change of a document's token and that of its mean loss.

        As `TokenScoring.scores` gives them, block by block.
        """
        values, steps = np.zeros((len(rows), len(pool), 2)), np.zeros(len(rows))
        with self._progress.step("scoring queries", len(rows)) as step:
            for where in self._blocks("finite", len(rows), pool):
                block = list(rows[where])
                values[where], steps[where] = self._by_token.scores(
                    queries, block, pool, sized=True, candidates=candidates
                )
                step.advance(len(block))
        return values, steps

    def token_changes(
        self, queries: Pool, row: Positions, pool: Pool
    ) -> list[npt.NDArray[np.float64]]:
        """The change of each token of each document for one row, averaged over the models."""
        return self._by_token.changes(queries, row, pool)

    def cost(self, pool: Pool, *, rows: int) -> Cost:
        """What scores of so many rows will cost, in inference passes over the pool."""
        return cost(
            self.sides.train,
            self.models.trained,
            pool,
            rows=rows,
            blocks=len(list(self._blocks("products", rows, pool))),
            moving=self.models.moving,
            models=self.models.count,
            replays=self.models.replay_passes * len(self.train) / len(pool),
        )

    def _way(self, pool: Pool, rows: Sequence[Positions]) -> Response:
        """The response, with `first-order` decided: by counting, so that it is repeatable."""
        if self.sides.response != "first-order":
            return self.sides.response
        estimate = self.cost(pool, rows=len(rows))
        return "tangent" if estimate.tangent < estimate.products else "products"

    def _blocks(self, way: Response, count: int, pool: Pool) -> Iterator[slice]:
        held = _HELD_TOGETHER if way == "products" else _HELD
        at_once = max(held // max(self.models.moving, len(pool)), 1)
        for start in range(0, count, at_once):
            yield slice(start, min(start + at_once, count))

    def _of_block(
        self, way: Response, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Scores [row, example], averaged over the models, and the steps [row]."""
        if self.sides.by_token:
            both, steps = self._by_token.scores(queries, rows, pool)
            return both[:, :, 0], steps
        values, steps = self.models.averaged(
            partial(self._scores, way=way, queries=queries, rows=rows, pool=pool)
        )
        return values, steps

    def _scores(
        self, one: Weighed, *, way: Response, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, Tensor]:
        """Scores [row, example] under one model, in units of influence, and its steps [row]."""
        if way == "products":
            found, steps = self._by_products(one, queries, rows, pool)
        elif self.sides.by_outputs:
            found, steps = self._by_outputs(one, queries, rows, pool)
        else:
            found, steps = self._by_measure(one, queries, rows, pool, finite=way == "finite")
        found = found / len(self.train)
        return found / self._norms(one, pool) if self.sides.relative else found, steps

    def _by_measure(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool, *, finite: bool
    ) -> tuple[Tensor, Tensor]:
        """By finite differences of the measure, or by its derivative along the direction."""
        responses = Responses(
            self.sides.train,
            one.model,
            pool,
            moving=list(one.moving),
            executor=self._executor,
            device=self._executor.device,
            what=self.sides.train_name,
        )
        if finite:
            base = self._base(responses, one, pool)
            weights, steps = self._moved(one, queries, rows)
            found = (responses.moved(weights).double() - base.double()) / steps[:, None]
        else:
            updates = self._updates.of(one, queries, rows, length=False, advice=self.advice)
            found, steps = responses.tangents([own.direction for own in updates]), _unmoved(rows)
        self.advice.differenced |= not responses.forward_mode
        self.advice.whole |= responses.untraced
        return found, steps

    def _by_outputs(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, Tensor]:
        """By the mean square of how far outputs move, so by the square of the step."""
        weights, steps = self._moved(one, queries, rows)
        found = output_changes(self.task, one.model, pool, weights, executor=self._executor)
        return found.double() / steps[:, None].square(), steps

    def _by_products(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, Tensor]:
        """By gradients per example times all directions."""
        device = self._executor.device
        reader = Reader(one.model, self.sides.train, pool, device=device)
        directions = query_directions(
            self.sides.query,
            reader,
            queries,
            rows,
            precondition=self.models.chosen(one).solve,
            device=device,
            batch_size=self._executor.batch_size,
        )
        found = products(self.sides.train, reader, pool, directions, executor=self._executor)
        return found, _unmoved(rows)

    def _moved(
        self, one: Weighed, queries: Pool, rows: list[Positions]
    ) -> tuple[list[Weights], Tensor]:
        """The moved weights of each row, and how far they moved, float64 [row]."""
        updates = self._updates.of(one, queries, rows, length=True, advice=self.advice)
        steps = torch.tensor([own.step for own in updates], dtype=torch.float64)
        return [own.moved(one.model) for own in updates], steps

    def _base(self, responses: Responses, one: Weighed, pool: Pool) -> Tensor:
        """The unmoved measure of the pool, taken once per model."""
        kept = self._bases.setdefault(pool, {})
        if one.place not in kept:
            kept[one.place] = responses.base()
        return kept[one.place]

    def _norms(self, one: Weighed, pool: Pool) -> Tensor:
        """The root of each example's influence on itself, [example], taken once per model.

        By it, a score is the cosine of two gradients in the preconditioner's metric, but for the
        query's own length (RelatIF; Barshan et al. 2020, section 4).
        """
        kept = self._own.setdefault(pool, {})
        if one.place not in kept:
            reader = Reader(one.model, self.sides.train, pool, device=self._executor.device)
            own = own_products(
                self.sides.train,
                reader,
                pool,
                precondition=self.models.chosen(one).solve,
                executor=self._executor,
            )
            kept[one.place] = (own / len(self.train)).clamp(min=0).sqrt()
        # An example without a gradient has no influence, whatever its score is divided by.
        return torch.where(kept[one.place] > 0, kept[one.place], torch.ones(()))


def _unmoved(rows: Sequence[Positions]) -> Tensor:
    """The steps where no weights are moved, [row]."""
    return torch.zeros(len(rows), dtype=torch.float64)
