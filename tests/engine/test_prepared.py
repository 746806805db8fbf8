"""What a task makes of pools is made once, for each side, and let go with the pool."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import torch
from torch import nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.prepared import Prepared

CPU = torch.device("cpu")


def pool(count: int = 4) -> Pool:
    return Pool.from_arrays(np.zeros((count, 2), np.float32), np.arange(count) % 2)


class Copied(ClassificationTask):
    """Makes a pool of its own of each, and says of which."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2))
        self.made: list[tuple[int, bool]] = []

    def prepared(self, pool: Pool, *, device: torch.device, asked: bool = False) -> Pool:
        self.made.append((len(pool), asked))
        return Pool(pool.dataset, ids=pool.ids)


def test_each_pool_is_made_once_on_each_side() -> None:
    task, train, queries = Copied(), pool(4), pool(3)
    pools = Prepared(task, train, device=CPU)
    assert pools.given is train
    assert pools.scored(None) is pools.train is pools.scored(train) is not train
    first, second = pools.pair(queries, train), pools.pair(queries, None)
    assert first == second == (first[0], pools.train)
    assert pools.scored(queries) is not first[0]
    assert task.made == [(4, False), (3, True), (3, False)]


def test_a_pool_that_the_task_leaves_alone_is_itself_and_is_not_held() -> None:
    pools = Prepared(ClassificationTask(nn.Linear(2, 2)), pool(), device=CPU)
    queries = pool(3)
    assert pools.pair(queries, queries) == (queries, queries)
    held = weakref.ref(queries)
    del queries
    gc.collect()
    assert held() is None


def test_what_was_made_goes_with_the_pool_it_was_made_of() -> None:
    pools, queries = Prepared(Copied(), pool(), device=CPU), pool(3)
    made = weakref.ref(pools.pair(queries, None)[0])
    gc.collect()
    assert made() is not None
    del queries
    gc.collect()
    assert made() is None
