"""From queries to scores: gradients, directions, steps and responses, some queries at a time.

What `forward_inf.py` says in prose, for one pool and one set of settings. Queries are taken in
blocks that fit into memory; each block is scored on the whole pool under the model and each of its
checkpoints, and handed on as a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from auditkit.engine.advice import Advice
from auditkit.engine.cost import Cost, cost
from auditkit.engine.models import Models, Weighed
from auditkit.engine.output_response import output_changes
from auditkit.engine.passes import LocalExecutor
from auditkit.engine.per_example import Reader
from auditkit.engine.products import own_products, products, query_directions
from auditkit.engine.response import Response, Responses
from auditkit.engine.sides import Sides
from auditkit.engine.token_response import TokenResponses
from auditkit.engine.updates import Updates
from auditkit.errors import SettingError
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
        self._token_bases: WeakKeyDictionary[Pool, dict[int, list[Tensor]]] = WeakKeyDictionary()
        self._own: WeakKeyDictionary[Pool, dict[int, Tensor]] = WeakKeyDictionary()
        self.advice = Advice()
        self._updates = Updates(task, train, models, sides, executor=executor, seed=seed)

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
                values = np.zeros((len(block), len(pool)), dtype=np.float64)
                steps = np.zeros(len(block), dtype=np.float64)
                total = 0.0
                for one in self.models.weighed():
                    found, moved = self._scores(way, one, queries, block, pool)
                    if self.sides.relative:
                        found = found / self._norms(one, pool)
                    values += one.weight * found.double().numpy()
                    steps += one.weight * np.array(moved)
                    total += one.weight
                values *= 1 / total if pull is None else pull / total
                yield Tile(where, values, steps / total)
                step.advance(len(block))

    def cost(self, pool: Pool, *, rows: int) -> Cost:
        """What scores of so many rows will cost, in inference passes over the pool."""
        first = next(self.models.weighed())
        moving = sum(weight.numel() for weight in first.moving.values())
        return cost(
            self.sides.train, first.model, pool, rows=rows, moving=moving, models=len(self.models)
        )

    def _way(self, pool: Pool, rows: Sequence[Positions]) -> Response:
        """The response, with `first-order` decided: by counting, so that it is repeatable."""
        if self.sides.response != "first-order":
            return self.sides.response
        estimate = self.cost(pool, rows=len(rows))
        return "tangent" if estimate.tangent < estimate.products else "products"

    def _blocks(self, way: Response, count: int, pool: Pool) -> Iterator[slice]:
        held = _HELD_TOGETHER if way == "products" else _HELD
        first = next(self.models.weighed())
        size = sum(weight.numel() for weight in first.moving.values())
        at_once = max(held // max(size, len(pool)), 1)
        for start in range(0, count, at_once):
            yield slice(start, min(start + at_once, count))

    def _scores(
        self, way: Response, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, list[float]]:
        """Scores [row, example] under one model, in units of influence, and its steps."""
        if way == "products":
            return self._by_products(one, queries, rows, pool)
        if self.sides.by_token:
            return self._by_tokens(one, queries, rows, pool)
        if self.sides.by_outputs:
            return self._by_outputs(one, queries, rows, pool)
        responses = Responses(
            self.sides.train,
            one.model,
            pool,
            moving=list(one.moving),
            executor=self._executor,
            device=self._executor.device,
            what=self.sides.train_name,
        )
        base = self._base(responses, one, pool) if way == "finite" else None
        updates = self._updates.of(one, queries, rows, length=way == "finite", advice=self.advice)
        if base is None:
            found, steps = responses.tangents([own.direction for own in updates]), [0.0] * len(rows)
        else:
            steps = [own.step for own in updates]
            moved = responses.moved([own.moved(one.model) for own in updates])
            lengths = torch.tensor(steps, dtype=torch.float64)
            found = (moved.double() - base.double()) / lengths[:, None]
        self.advice.differenced |= not responses.forward_mode
        self.advice.whole |= responses.untraced
        return found / len(self.train), steps

    def token_changes(
        self, queries: Pool, row: Positions, pool: Pool
    ) -> list[npt.NDArray[np.float64]]:
        """The change of each token of each document for one row, averaged over the models."""
        found: list[npt.NDArray[np.float64]] = []
        total = 0.0
        for one in self.models.weighed():
            [update] = self._updates.of(one, queries, [row], length=True, advice=self.advice)
            responses, base = self._tokens(one, pool)
            changes = responses.changes(update.moved(one.model), base)
            scale = one.weight / (update.step * len(self.train))
            scaled = [scale * own.double().numpy() for own in changes]
            found = [a + b for a, b in zip(found, scaled, strict=True)] if found else scaled
            total += one.weight
        return [own / total for own in found]

    def _by_tokens(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, list[float]]:
        responses, base = self._tokens(one, pool)
        updates = self._updates.of(one, queries, rows, length=True, advice=self.advice)
        moved = responses.largest([own.moved(one.model) for own in updates], base)
        steps = [own.step for own in updates]
        lengths = torch.tensor(steps, dtype=torch.float64)
        return moved.double() / lengths[:, None] / len(self.train), steps

    def _by_outputs(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, list[float]]:
        updates = self._updates.of(one, queries, rows, length=True, advice=self.advice)
        weights = [own.moved(one.model) for own in updates]
        found = output_changes(self.task, one.model, pool, weights, executor=self._executor)
        steps = [own.step for own in updates]
        lengths = torch.tensor(steps, dtype=torch.float64)
        return found.double() / lengths[:, None].square() / len(self.train), steps

    def _tokens(self, one: Weighed, pool: Pool) -> tuple[TokenResponses, list[Tensor]]:
        """What measures tokens under one model, and their unmoved measures, taken once."""
        responses = TokenResponses(self.task, one.model, pool, executor=self._executor)
        kept = self._token_bases.setdefault(pool, {})
        if one.place not in kept:
            kept[one.place] = responses.base()
        return responses, kept[one.place]

    def _by_products(
        self, one: Weighed, queries: Pool, rows: list[Positions], pool: Pool
    ) -> tuple[Tensor, list[float]]:
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
        return found / len(self.train), [0.0] * len(rows)

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


def grouped(queries: Pool, groups: Sequence[str] | None) -> dict[str, Positions]:
    """Positions of the queries by row: their own ids, or the groups' names.

    Raises:
        SettingError: more or fewer names than queries.
    """
    names = queries.ids if groups is None else groups
    if len(names) != len(queries):
        raise SettingError(f"There are {len(names)} group names for {len(queries)} queries.")
    rows: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        rows.setdefault(name, []).append(position)
    return {name: np.array(places, dtype=np.int64) for name, places in rows.items()}
