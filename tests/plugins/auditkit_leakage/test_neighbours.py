from __future__ import annotations

import sys

import numpy as np
import pytest
from auditkit_leakage import neighbours
from scipy import sparse

from auditkit.errors import UsageError


def test_nearest_is_exact() -> None:
    random = np.random.default_rng(0)
    points, queries = (random.normal(size=(n, 5)).astype(np.float32) for n in (300, 20))
    places, distances = neighbours.nearest(queries, points, 4)
    table = np.linalg.norm(queries[:, None] - points[None], axis=2)
    np.testing.assert_array_equal(places, table.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(table, axis=1)[:, :4], rtol=1e-3)


def test_beyond_a_size_faiss_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    random = np.random.default_rng(1)
    points, queries = (random.normal(size=(n, 6)).astype(np.float32) for n in (400, 15))
    expected = neighbours.nearest(queries, points, 3)
    monkeypatch.setattr(neighbours, "MOST", 100)
    found = neighbours.nearest(queries, points, 3)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-3)


def test_without_faiss_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST", 10)
    monkeypatch.setitem(sys.modules, "faiss", None)
    points = np.zeros((11, 2), dtype=np.float32)
    with pytest.raises(UsageError, match=r"install auditkit-influence\[faiss\]"):
        neighbours.nearest(points, points, 1)


def test_there_are_never_more_neighbours_than_points() -> None:
    points = np.eye(3, dtype=np.float32)
    assert neighbours.nearest(points, points, 9)[0].shape == (3, 3)
    table = sparse.csr_matrix(points)
    assert neighbours.nearest_sparse(table, table, 9)[0].shape == (3, 3)


def test_sparse_products_come_largest_first() -> None:
    random = np.random.default_rng(2)
    points, queries = (sparse.random(n, 30, 0.3, format="csr", rng=random) for n in (50, 8))
    places, products = neighbours.nearest_sparse(queries, points, 5)
    table = (queries @ points.T).toarray()
    np.testing.assert_allclose(products, -np.sort(-table, axis=1)[:, :5], rtol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(table, places, axis=1), products, rtol=1e-6)
