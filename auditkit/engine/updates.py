"""Updates of many queries: which have one together, their directions at once, each one's step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from auditkit.engine.advice import Advice
from auditkit.engine.models import Models, Weighed
from auditkit.engine.passes import Executor
from auditkit.engine.sides import Sides
from auditkit.engine.sphere import away
from auditkit.engine.units import unit_of_rises
from auditkit.engine.update import Query, Update, make_update
from auditkit.errors import SettingError
from auditkit.pool import Pool, Positions
from auditkit.seeds import stream
from auditkit.subject import Task


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
        self._rises_by: float | None = None

    def of(
        self, one: Weighed, queries: Pool, rows: list[Positions], *, length: bool, advice: Advice
    ) -> list[Update]:
        """The update of each row: directions of all of them at once, then each one's step."""
        rise = self.sides.rise * self._unit() if length else 0.0
        asked = [self._query(one, queries, positions) for positions in rows]
        stacked: dict[str, Tensor] = {}  # each gradient is kept once
        for row, query in enumerate(asked):
            for name, part in query.gradient().items():
                if row == 0:
                    stacked[name] = part.new_empty(len(asked), *part.shape)
                stacked[name][row] = part
        solve = self.models.chosen(one).solve
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
                {name: part[row] for name, part in stacked.items()},
                precondition=solve,
                rise=rise,
                settings=self.sides.update,
                replayed=partial(self._replayed, one),
            )
            advice.short += update.rise < rise
            found.append(update)
        return found

    def _unit(self) -> float:
        """What a rise of 1 is, found once."""
        if self._rises_by is None:
            self._rises_by = unit_of_rises(
                self.task, self.models.trained, self.train, self._executor
            )
        return self._rises_by

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


def grouped(queries: Pool, groups: Sequence[str] | None) -> dict[str, Positions]:
    """Positions of the queries that have one update, by its name: the query's id, or the group's.

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
