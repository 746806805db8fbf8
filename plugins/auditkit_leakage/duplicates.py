"""Duplicates within the train pool: clusters, and labels that contradict each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Positions = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def clusters(count: int, first: Positions, second: Positions) -> Positions:
    """The cluster of each example, int64 [count]: those that pairs connect are in one.

    Args:
        count: how many examples there are.
        first: int64 [pair].
        second: int64 [pair].
    """
    from scipy.sparse import coo_matrix  # noqa: PLC0415 - heavy, and imported for `--help`
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - as above

    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    found: Positions = connected_components(links, directed=False)[1].astype(np.int64)
    return found


def duplicates_frame(
    cluster: Positions, ids: Sequence[str], labels: Sequence[str | None] | None
) -> pl.DataFrame:
    """The examples in clusters of two or more, the largest cluster first.

    Columns: `cluster` (numbered from 1), `example_id`, `label`, `conflicting` (whether the cluster
    holds several labels).
    """
    frame = pl.DataFrame(
        {
            "cluster": cluster,
            "example_id": list(ids),
            "label": [None] * len(ids) if labels is None else list(labels),
        },
        schema={"cluster": pl.Int64(), "example_id": pl.String(), "label": pl.String()},
    )
    sized = frame.with_columns(
        pl.len().over("cluster").alias("size"),
        (pl.col("label").drop_nulls().n_unique().over("cluster") > 1).alias("conflicting"),
    ).filter(pl.col("size") > 1)
    ordered = sized.sort("size", "cluster", descending=[True, False], maintain_order=True)
    numbered = ordered.with_columns(pl.col("cluster").rle_id() + 1)
    return numbered.select(pl.col("cluster").cast(pl.Int64), "example_id", "label", "conflicting")
