"""Identical content that is common by nature: how likely is it to be a leak at all?

Two photographs or two letters are not the same by chance. Two rows of a small table are, and so are
two empty texts or two black images. Content is **poor** if it holds so little information that some
two of all the examples compared are expected to coincide: fewer bits than `log2(train x evaluation)
+ 10`. Bits are those of the compressed content; of a row, half of what its cells hold if columns
did not depend on each other.

For identical poor content, the train pool itself shows how often an example without a leak finds an
identical one: the share c of its poor examples that have another like them. If a share a of the
poor evaluation examples has one, then 1 - c / a of these are more than chance explains.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from math import log2

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MARGIN = 10
_OVERHEAD = len(zlib.compress(b"", 9))


def compressed_bits(contents: Sequence[bytes]) -> Floats:
    """Bits of information in each content, [example]: no more than its compressed size."""
    sizes = [max(0, len(zlib.compress(content, 9)) - _OVERHEAD) for content in contents]
    return 8.0 * np.array(sizes, dtype=np.float64)


def row_bits(rows: pl.DataFrame, train: pl.DataFrame) -> Floats:
    """Bits of information in each row, [row]: half the sum over its cells, by the train pool.

    A cell holds -log2 of the chance that another row has the same, counted among the distinct rows
    of the train pool, so that copies do not count. Of values seen once or never, that is the share
    of values that recur at all. Half, since columns depend on each other.

    Args:
        rows: what is asked about.
        train: the train pool, of the same columns.
    """
    known, total = train.unique(), np.zeros(rows.height)
    for name in train.columns:
        counts = known[name].cast(pl.String).value_counts(name="auditkit_count")
        joined = rows.select(pl.col(name).cast(pl.String)).join(
            counts, on=name, how="left", nulls_equal=True, maintain_order="left"
        )
        others = joined["auditkit_count"].fill_null(0).to_numpy().astype(np.float64) - 1
        recurring = 1 - (counts["auditkit_count"] == 1).sum() / known.height
        rare = max(float(recurring), 1 / known.height)
        chance = np.where(others > 0, others, rare) / max(known.height - 1, 1)
        total -= np.log2(np.minimum(chance, 1.0))
    return total / 2


def is_poor(bits: Floats, *, train: int, evaluation: int) -> Bools:
    """Whether so little information may coincide by chance, [example]."""
    return bits < log2(max(train, 1) * max(evaluation, 1)) + _MARGIN


def more_than_chance(
    *, train_poor: Bools, train_twin: Bools, poor: Bools, identical: Bools
) -> float:
    """The probability that an evaluation example of identical poor content has leaked.

    Args:
        train_poor: bool [train]; of training examples.
        train_twin: bool [train]; whether another training example has the same content.
        poor: bool [example]; of evaluation examples.
        identical: bool [example]; whether a training example has the same content.
    """
    if not (poor & identical).any():
        return 1.0
    found = float(identical[poor].mean())
    by_chance = float(train_twin[train_poor].mean()) if train_poor.any() else 0.0
    return max(0.0, 1 - by_chance / found)
