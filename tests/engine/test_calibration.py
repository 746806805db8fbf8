from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool
from auditkit.engine.calibration import check_sign, self_check
from auditkit.errors import SignError


@pytest.fixture
def train() -> Pool:
    return Pool.from_arrays(torch.arange(100.0))


def test_examples_that_find_themselves_pass(train: Pool) -> None:
    def same(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        return values.astype(np.float32)

    found = self_check(same, train, 8, 40, seed=0)
    assert (found.queries, found.candidates, found.top1, found.top5) == (8, 40, 1.0, 1.0)
    assert found.passed


def test_scores_of_the_wrong_sign_fail(train: Pool) -> None:
    def opposite(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        values = 0.0 - np.array([[name == other for other in pool.ids] for name in queries.ids])
        return values.astype(np.float32)

    found = self_check(opposite, train, 8, 40, seed=0)
    assert found.top1 == found.top5 == 0
    assert not found.passed


def test_scores_that_are_all_alike_fail(train: Pool) -> None:
    def flat(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        return np.zeros((len(queries), len(pool)), dtype=np.float32)

    assert self_check(flat, train, 8, 40, seed=0).top1 == 0


def test_a_tie_with_one_copy_is_no_failure(train: Pool) -> None:
    def twins(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        values[np.arange(len(queries)), np.argmin(values, axis=1)] = True
        return values.astype(np.float32)

    assert self_check(twins, train, 8, 40, seed=0).top1 == 1


def test_rank_four_counts_for_the_first_five_only(train: Pool) -> None:
    def fourth(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        values = np.zeros((len(queries), len(pool)), dtype=np.float32)
        for row, name in enumerate(queries.ids):
            own = pool.ids.index(name)
            values[row, own] = 1
            values[row, [place for place in range(len(pool)) if place != own][:3]] = 2
        return values

    found = self_check(fourth, train, 8, 40, seed=0)
    assert (found.top1, found.top5) == (0, 1)


def test_a_small_pool_is_asked_about_whole() -> None:
    train = Pool.from_arrays(torch.arange(3.0))

    def same(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        values = np.array([[name == other for other in pool.ids] for name in queries.ids])
        return values.astype(np.float32)

    found = self_check(same, train, 16, 512, seed=0)
    assert (found.queries, found.candidates) == (3, 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_class_that_unlearning_it_helps_is_an_error(
    sign: int, blobs: tuple[Tensor, Tensor], classifier: nn.Module
) -> None:
    asked: list[int] = []

    def influence(queries: Pool, pool: Pool, _: object = None) -> np.ndarray:
        labels = [int(pool[place][1]) for place in range(len(pool))]
        asked.append(len({*labels, *(int(queries[place][1]) for place in range(len(queries)))}))
        return np.full((1, len(pool)), sign * 0.5)

    train, task = Pool.from_arrays(*blobs), ClassificationTask(classifier)
    if sign > 0:
        check_sign(influence, task, classifier, train, 100, seed=0)
    else:
        with pytest.raises(SignError, match="lowers the loss of its own"):
            check_sign(influence, task, classifier, train, 100, seed=0)
    assert asked == [1]  # all of one class
