from __future__ import annotations

import numpy as np
import pytest
import torch

from auditkit import Pool, Scores
from auditkit.engine.calibration import self_check


def scores(values: np.ndarray, queries: Pool, pool: Pool) -> Scores:
    return Scores(values, queries.ids, pool.ids, np.ones(len(queries), dtype=np.float32))


@pytest.fixture
def train() -> Pool:
    return Pool.from_arrays(torch.arange(100.0))


def test_examples_that_find_themselves_pass(train: Pool) -> None:
    def same(queries: Pool, pool: Pool) -> Scores:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        return scores(values.astype(np.float32), queries, pool)

    found = self_check(same, train, 8, 40, seed=0)
    assert (found.queries, found.candidates, found.top1, found.top5) == (8, 40, 1.0, 1.0)
    assert found.passed


def test_scores_of_the_wrong_sign_fail(train: Pool) -> None:
    def opposite(queries: Pool, pool: Pool) -> Scores:
        values = 0.0 - np.array([[name == other for other in pool.ids] for name in queries.ids])
        return scores(values.astype(np.float32), queries, pool)

    found = self_check(opposite, train, 8, 40, seed=0)
    assert found.top1 == found.top5 == 0
    assert not found.passed


def test_scores_that_are_all_alike_fail(train: Pool) -> None:
    def flat(queries: Pool, pool: Pool) -> Scores:
        return scores(np.zeros((len(queries), len(pool)), dtype=np.float32), queries, pool)

    assert self_check(flat, train, 8, 40, seed=0).top1 == 0


def test_a_tie_with_one_copy_is_no_failure(train: Pool) -> None:
    def twins(queries: Pool, pool: Pool) -> Scores:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        values[np.arange(len(queries)), np.argmin(values, axis=1)] = True
        return scores(values.astype(np.float32), queries, pool)

    assert self_check(twins, train, 8, 40, seed=0).top1 == 1


def test_rank_four_counts_for_the_first_five_only(train: Pool) -> None:
    def fourth(queries: Pool, pool: Pool) -> Scores:
        values = np.zeros((len(queries), len(pool)), dtype=np.float32)
        for row, name in enumerate(queries.ids):
            own = pool.ids.index(name)
            values[row, own] = 1
            values[row, [place for place in range(len(pool)) if place != own][:3]] = 2
        return scores(values, queries, pool)

    found = self_check(fourth, train, 8, 40, seed=0)
    assert (found.top1, found.top5) == (0, 1)


def test_a_small_pool_is_asked_about_whole() -> None:
    train = Pool.from_arrays(torch.arange(3.0))

    def same(queries: Pool, pool: Pool) -> Scores:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        return scores(values.astype(np.float32), queries, pool)

    found = self_check(same, train, 16, 512, seed=0)
    assert (found.queries, found.candidates) == (3, 3)
