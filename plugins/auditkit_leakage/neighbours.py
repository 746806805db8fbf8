"""Exact nearest neighbours: scikit-learn, and faiss where there are very many examples."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from auditkit.errors import UsageError

Vectors: TypeAlias = npt.NDArray[np.float32]
Indices: TypeAlias = npt.NDArray[np.int64]

MOST = 100_000
"""Beyond so many examples to search among, faiss is asked for."""


def nearest(queries: Vectors, points: Vectors, count: int) -> tuple[Indices, Vectors]:
    """The nearest points of each query by Euclidean distance, nearest first.

    Args:
        queries: [query, feature], finite.
        points: [point, feature], finite.
        count: how many neighbours, or all points where there are fewer.

    Returns:
        Positions, int64 [query, count], and distances, float32 [query, count].

    Raises:
        UsageError: more than 100,000 points, and faiss is not installed.
    """
    count = min(count, len(points))
    if len(points) > MOST:
        return _with_faiss(queries, points, count)
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points)
    distances, places = search.kneighbors(queries)
    return places.astype(np.int64), distances.astype(np.float32)


def nearest_sparse(
    queries: sparse.csr_matrix, points: sparse.csr_matrix, count: int
) -> tuple[Indices, Vectors]:
    """The points with the largest inner products with each query, largest first.

    Args:
        queries: [query, feature].
        points: [point, feature].
        count: how many neighbours, or all points where there are fewer.

    Returns:
        Positions, int64 [query, count], and the products, float32 [query, count].
    """
    count = min(count, points.shape[0])
    places = np.empty((queries.shape[0], count), dtype=np.int64)
    products = np.empty((queries.shape[0], count), dtype=np.float32)
    turned = points.T.tocsr()
    block = max(1, 2**24 // max(points.shape[0], 1))
    for start in range(0, queries.shape[0], block):
        table = (queries[start : start + block] @ turned).toarray()
        best = np.argpartition(-table, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(table, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        places[start : start + block] = np.take_along_axis(best, order, axis=1)
        products[start : start + block] = np.take_along_axis(values, order, axis=1)
    return places, products


def _with_faiss(queries: Vectors, points: Vectors, count: int) -> tuple[Indices, Vectors]:
    try:
        import faiss  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageError(
            f"There are {len(points):,} examples to search among, and beyond {MOST:,} the search "
            "needs faiss: install auditkit-influence[faiss], or audit a sample."
        ) from None
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(points, dtype=np.float32))
    squared, places = index.search(np.ascontiguousarray(queries, dtype=np.float32), count)
    return places.astype(np.int64), np.sqrt(np.maximum(squared, 0)).astype(np.float32)
