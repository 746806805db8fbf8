"""Updates of many queries: their directions at once, then the step of each."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from auditkit.engine.advice import Advice
from auditkit.engine.models import Models, Weighed
from auditkit.engine.passes import Executor
from auditkit.engine.sides import Sides
from auditkit.engine.sphere import away
from auditkit.engine.update import Query, Update, make_update
from auditkit.pool import Pool, Positions
from auditkit.seeds import stream
from auditkit.subject import Task

_UNIT_SAMPLE = 2_048
"""How many draws of training examples' losses make the unit of a rise."""


class Updates:
    """Makes the updates of queries under a model or its checkpoints.

    Args:
        task: for its losses, which replayed examples are measured by.
        train: the train pool.
        models: the model and its checkpoints, and their preconditioners.
        sides: what is measured, and how the weights move.
        executor: runs the passes.
        seed: for replayed examples and sphere points.
    """

    def __init__(
        self,
        task: Task,
        train: Pool,
        models: Models,
        sides: Sides,
        *,
        executor: Executor,
        seed: int,
    ) -> None:
        self.task, self.train, self.models, self.sides = task, train, models, sides
        self._executor, self._seed = executor, seed
        self._mean_loss: float | None = None

    def of(
        self, one: Weighed, queries: Pool, rows: list[Positions], *, length: bool, advice: Advice
    ) -> list[Update]:
        """The update of each row: directions of all of them at once, then each one's step."""
        rise = self.sides.rise * self._unit() if length else 0.0
        asked = [self._query(one, queries, positions) for positions in rows]
        slopes = [query.gradient() for query in asked]
        solve = self.models.chosen(one).solve
        stacked = {name: torch.stack([own[name] for own in slopes]) for name in slopes[0]}
        solved = solve(stacked)
        found = []
        for row, query in enumerate(asked):
            direction = {name: part[row] for name, part in solved.items()}
            if not length:
                found.append(Update(direction, 1.0, 0.0))
                continue
            update = make_update(
                query,
                direction,
                slopes[row],
                precondition=solve,
                rise=rise,
                settings=self.sides.update,
                replayed=partial(self._replayed, one),
            )
            advice.short += update.rise < rise
            found.append(update)
        return found

    def _unit(self) -> float:
        """What a rise of 1 is: one nat; elsewhere the mean loss of the training examples.

        A squared error has the unit of its targets, so a number alone would say nothing.
        """
        if self.task.likelihood in ("categorical", "tokens"):
            return 1.0
        if self._mean_loss is None:
            count = min(max(_UNIT_SAMPLE // self.task.draws, 1), len(self.train))
            places = np.unique(np.linspace(0, len(self.train) - 1, count).astype(np.int64))
            losses = self._executor.measure(
                self.task.loss, self.models.trained, self.train, positions=places
            )
            mean = float(losses.double().abs().mean())
            self._mean_loss = mean if mean > 0 else 1.0
        return self._mean_loss

    def _query(self, one: Weighed, queries: Pool, positions: Positions) -> Query:
        query = Query(
            self.sides.query, one.model, queries, positions, self._executor, self._executor.device
        )
        radius = self.sides.update.sphere
        if radius is None:
            return query
        return away(query, self.task.loss, radius=radius, seed=self._seed)

    def _replayed(self, one: Weighed, number: int) -> Query:
        """Training examples of one move of an update, measured by their loss."""
        count = min(self.sides.update.replay, len(self.train))
        places = stream(self._seed, f"replayed {number}").permutation(len(self.train))[:count]
        return Query(
            self.task.loss,
            one.model,
            self.train,
            np.sort(places),
            self._executor,
            self._executor.device,
        )
