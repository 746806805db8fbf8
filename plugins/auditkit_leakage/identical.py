"""Stage 1: content hashes after canonical decoding."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit_leakage.content import Content, normalized

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def identical(
    train: Content, evaluation: Content, *, same_pool: bool = False, neighbours: int = 3
) -> Pairs:
    """Pairs of identical content: positions in the evaluation set and in the training set.

    Pixels are compared as they are, texts after normalization (`content.normalized`), cells as
    numbers where they are numbers (1 and 1.0 are equal, so are 0 and -0, and two missing cells).

    Args:
        train: the training examples.
        evaluation: the evaluation examples.
        same_pool: the two are one pool; an example is not paired with itself.
        neighbours: at most so many training examples for each evaluation example, the first ones.
    """
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, digest in enumerate(digests(train)):
        if len(places[digest]) <= neighbours:
            places[digest].append(place)
    pairs = [
        (query, place)
        for query, digest in enumerate(digests(evaluation))
        for place in [p for p in places.get(digest, ()) if not (same_pool and p == query)][
            :neighbours
        ]
    ]
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


_EXACT = 2.0**53
"""Integers up to here are told apart as floating-point numbers; what is larger stays text."""


def digests(content: Content) -> Iterator[bytes]:
    """One hash per example, equal where the canonical content is equal."""
    if content.images is not None:
        for image in content.images:
            shape = "x".join(map(str, image.shape)).encode()
            yield _digest(shape + b"\n" + np.ascontiguousarray(image).tobytes())
    elif content.texts is not None:
        for text in content.texts:
            yield _digest(normalized(text).encode("utf-8", "surrogatepass"))
    else:
        for row in canonical(content.frame).iter_rows():
            yield _digest(repr(row).encode("utf-8", "surrogatepass"))


def canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """Cells as they are compared, as text, columns sorted: numbers in one notation, no odd space.

    A number is one whether its column holds numbers or text, so that a table read as text equals
    the same table read with types. Missing cells, NaN and blank ones are null.
    """
    return frame.select(_canonical(frame[name]) for name in sorted(frame.columns))


def _canonical(column: pl.Series) -> pl.Series:
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return pl.Series(column.name, [repr(cell) for cell in column.to_list()], dtype=pl.String)
    texts = column.cast(pl.String)
    plain = column if column.dtype == pl.Boolean or column.dtype.is_numeric() else texts
    numbers = plain.cast(pl.Float64, strict=False)
    written = (numbers.fill_null(0.0) + 0.0).set(numbers.fill_null(0.0) == 0, 0.0).cast(pl.String)
    exact = (numbers.abs() < _EXACT).fill_null(value=False)  # larger integers would be rounded
    blank = numbers.is_nan().fill_null(value=False)
    kept = [
        None if empty or text is None else number if is_number else normalized(text) or None
        for text, number, is_number, empty in zip(texts, written, exact, blank, strict=True)
    ]
    return pl.Series(column.name, kept, dtype=pl.String)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
