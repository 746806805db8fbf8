"""Pools as a task has them measured: each made once, and kept as long as the pool itself is."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from auditkit.pool import Pool
from auditkit.subject import Task


class Prepared:
    """What a task makes of pools, by its `prepared`.

    Args:
        task: makes it.
        train: the train pool, as it was given.
        device: where the task is to work.

    Attributes:
        given: the train pool, as it was given.
        train: what is made of it.
    """

    def __init__(self, task: Task, train: Pool, *, device: torch.device) -> None:
        self._task, self._device = task, device
        self._scored: WeakKeyDictionary[Pool, Pool] = WeakKeyDictionary()
        self._asked: WeakKeyDictionary[Pool, Pool] = WeakKeyDictionary()
        self.given = train
        self.train = self.scored(train)

    def scored(self, pool: Pool | None) -> Pool:
        """A pool as training examples are measured; the train pool for None."""
        if pool is None:
            return self.train
        return self._of(pool, self._scored, asked=False)

    def pair(self, queries: Pool, pool: Pool | None) -> tuple[Pool, Pool]:
        """The queries, whose random numbers are others than a training example's, and the pool."""
        return self._of(queries, self._asked, asked=True), self.scored(pool)

    def _of(self, pool: Pool, kept: WeakKeyDictionary[Pool, Pool], *, asked: bool) -> Pool:
        if pool in kept:
            return kept[pool]
        found = self._task.prepared(pool, device=self._device, asked=asked)
        if found is not pool:  # kept by itself, it would be so for good
            kept[pool] = found
        return found
