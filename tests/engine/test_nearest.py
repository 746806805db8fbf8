from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from auditkit.engine.nearest import nearest


@pytest.fixture
def features() -> Tensor:
    return torch.randn(700, 8, generator=torch.Generator().manual_seed(0))


def everybody(features: Tensor) -> np.ndarray:
    return np.arange(len(features))


def test_the_nearest_are_those_of_the_largest_cosine(features: Tensor) -> None:
    found = nearest(features, everybody(features), everybody(features), count=5)
    rows = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    alike = rows @ rows.T
    np.fill_diagonal(alike, -np.inf)
    np.testing.assert_array_equal(found, np.argsort(-alike, axis=1)[:, :5])


def test_neither_length_nor_order_of_the_pool_matters(features: Tensor) -> None:
    found = nearest(features, everybody(features), everybody(features), count=5)
    lengths = torch.linspace(0.1, 9.0, 700)[:, None]
    order = np.random.default_rng(0).permutation(700)
    moved = nearest((features * lengths)[order], np.argsort(order), everybody(features), count=5)
    np.testing.assert_array_equal(order[moved], found)


def test_only_candidates_are_neighbours(features: Tensor) -> None:
    among = np.arange(0, 700, 7)
    found = nearest(features, np.array([0, 1]), among, count=10)
    assert np.isin(found, among).all()
    assert 0 not in found[0]


@pytest.mark.parametrize("nothing", [float("nan"), float("inf"), 0.0])
def test_examples_without_a_direction_have_no_neighbours_and_are_nobodys(
    features: Tensor, nothing: float
) -> None:
    features[3] = nothing
    found = nearest(features, everybody(features), everybody(features), count=5)
    assert (found[3] == -1).all()
    assert not (found == 3).any()
    assert (np.delete(found, 3, axis=0) >= 0).all()


def test_a_row_ends_where_there_are_no_more() -> None:
    features = torch.eye(3) + 0.1
    found = nearest(features, np.arange(3), np.arange(3), count=4)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] == -1).all()
