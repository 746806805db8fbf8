"""Stage 2 for rows of a table: which training row agrees with a query in more than chance allows?

Candidates agree in all cells but one, or are near in standardized numbers and categories. A pair is
then judged cell by cell: a cell tells as much as agreement that close is rare among the training
rows, -log(share of rows at least that close). Sharing a rare value says much, sharing a common one
little, and a cell that differs altogether says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit_leakage.found import Found, chosen, once
from auditkit_leakage.identical import canonical
from auditkit_leakage.neighbours import Indices, Vectors, nearest

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_NEIGHBOURS = 20
_JOINED = 3
_MOST_JOINS = 256
_MOST_LEVELS = 32
_NUMERIC_SHARE = 0.95
_LARGEST = 1e150
"""Larger numbers count as missing."""

_NEAR = 0.5
_ROUNDED, _ROUNDED_TELLS = 0.05, 0.7
_LEAST_USUAL = 0.1


@dataclass(frozen=True)
class Cells:
    """Both sides of a table, encoded alike.

    Attributes:
        numbers: float64 [column][train] and [column][query], NaN where missing.
        codes: int64 likewise for categories, -1 where missing.
        keys: uint64 [column, train] and [column, query], equal where cells are equal.
    """

    numbers: list[tuple[Numbers, Numbers]]
    codes: list[tuple[Codes, Codes]]
    keys: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]


def find_rows(
    train: pl.DataFrame,
    queries: pl.DataFrame,
    *,
    same_pool: bool = False,
    neighbours: int = 3,
) -> Found:
    """The training rows that agree most with each query.

    Args:
        train: the training rows, without labels and ids.
        queries: the evaluation rows, with the same columns.
        same_pool: the two are the same; a row is not paired with itself.
        neighbours: how many pairs to give for each query.
    """
    cells = encoded(train, queries)
    offered = [_near(cells), _all_but_one(cells)]
    table = once(np.concatenate(offered, axis=1))
    if same_pool:
        table[table == np.arange(queries.height)[:, None]] = -1
    known = information(cells, table)
    most = information(cells, None)
    order = np.argsort(-known, axis=1, kind="stable")
    table = np.take_along_axis(table, order, axis=1)
    known = np.take_along_axis(known, order, axis=1)
    usual = _usual(known, most[:, 0])
    rows, columns = np.nonzero(chosen(table, neighbours))
    pairs = rows.astype(np.int64), table[rows, columns]
    explained = known[rows, columns] + _by_rounding(cells, pairs)
    missing = np.maximum(most[rows, 0] - explained, 0)
    distance = missing / usual[rows]
    found = Found(
        *pairs,
        _kinds(cells, pairs, distance),
        1 - np.clip(missing / np.maximum(most[rows, 0], 1e-9), 0, 1),
        distance,
    )
    return found.nearest(neighbours)


def encoded(train: pl.DataFrame, queries: pl.DataFrame) -> Cells:
    """Both sides, with a column of numbers where nearly all training cells are numbers."""
    ours, theirs = canonical(train), canonical(queries)
    numbers, codes, keys = [], [], []
    for place, name in enumerate(ours.columns):
        both = pl.concat([ours[name], theirs[name]])
        keys.append((both.hash(seed=place + 1)).to_numpy())
        values = both.cast(pl.Float64, strict=False)
        filled = ours[name].len() - ours[name].null_count()
        numeric = int(values[: train.height].is_not_null().sum())
        if filled and numeric >= _NUMERIC_SHARE * filled:
            array = values.to_numpy().astype(np.float64)
            array[np.abs(array) > _LARGEST] = np.nan
            numbers.append((array[: train.height], array[train.height :]))
        else:
            levels = both.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
            codes.append((levels[: train.height], levels[train.height :]))
    table = np.array(keys, dtype=np.uint64).reshape(len(keys), -1)
    return Cells(numbers, codes, (table[:, : train.height], table[:, train.height :]))


def information(cells: Cells, candidates: Indices | None) -> Numbers:
    """How much the agreement of each query with each candidate tells, in nats: [query, candidate].

    Args:
        cells: both sides.
        candidates: int64 [query, candidate], -1 for none; None for each query's own copy.
    """
    count, queries = cells.keys[0].shape[1], cells.keys[1].shape[1]
    there = np.zeros((queries, 1), dtype=np.int64) if candidates is None else candidates
    total = np.zeros(there.shape)
    for known, asked in cells.numbers:
        other = asked[:, None] if candidates is None else known[np.maximum(there, 0)]
        total -= np.log(np.maximum(_share_near(known, asked[:, None], other), 1 / count))
    for levels, sought in cells.codes:
        match = sought[:, None] if candidates is None else levels[np.maximum(there, 0)]
        shares = np.bincount(levels + 1, minlength=max(levels.max(), sought.max()) + 2) / count
        same = match == sought[:, None]
        total -= np.where(same, np.log(np.maximum(shares[sought + 1], 1 / count))[:, None], 0.0)
    total[there < 0] = -np.inf
    return total


def _by_rounding(cells: Cells, pairs: tuple[Indices, Indices]) -> Numbers:
    """What agreement up to rounding tells beyond nearness, [pair].

    A number that is the other one rounded, to two digits or more, is most of a match.
    """
    gained = np.zeros(len(pairs[0]))
    for known, asked in cells.numbers:
        ours, theirs = known[pairs[1]], asked[pairs[0]]
        close = np.abs(ours - theirs) <= _ROUNDED * np.abs(theirs)
        rounded = np.flatnonzero(close & _is_rounded(ours, theirs))
        theirs = theirs[rounded]
        shares = (_share_near(known, theirs, other) for other in (ours[rounded], theirs))
        near, own = (np.maximum(share, 1 / len(known)) for share in shares)
        gained[rounded] += _ROUNDED_TELLS * np.log(near / own)
    return gained


def _share_near(known: Numbers, asked: Numbers, other: Numbers) -> Numbers:
    """The share of training rows at least as near to `asked` as `other` is, by one number."""
    ordered = np.sort(known[~np.isnan(known)])
    gone = 1 - len(ordered) / len(known)
    gap = np.abs(other - asked)
    slack = 1e-9 * np.maximum(np.abs(asked), np.abs(other))
    high = np.searchsorted(ordered, asked + gap + slack, side="right")
    low = np.searchsorted(ordered, asked - gap - slack, side="left")
    share = np.where(np.isnan(gap), 1.0, (high - low) / len(known))
    both_missing = np.isnan(asked) & np.isnan(other)
    result: Numbers = np.where(both_missing, max(gone, 1 / len(known)), share)
    return result


def _near(cells: Cells) -> Indices:
    """The nearest training rows by ranks of numbers and by categories."""
    train, queries = (np.concatenate(_features(cells, side), axis=1) for side in (0, 1))
    places, _ = nearest(queries, train, _NEIGHBOURS)
    return places


def _features(cells: Cells, side: int) -> list[Vectors]:
    parts = [np.zeros((cells.keys[side].shape[1], 1), dtype=np.float32)]
    for pair in cells.numbers:
        ordered = np.sort(pair[0][~np.isnan(pair[0])])
        gone = np.isnan(pair[side])
        low = np.searchsorted(ordered, pair[side], side="left")
        high = np.searchsorted(ordered, pair[side], side="right")
        ranks = np.where(gone, 0.5, (low + high) / (2 * max(len(ordered), 1)))
        parts.append(np.stack([ranks * np.sqrt(12), gone], axis=1).astype(np.float32))
    for levels in cells.codes:
        buckets = min(int(levels[0].max()) + 2, _MOST_LEVELS)
        row = (levels[side] + 1) % buckets
        parts.append((np.eye(buckets, dtype=np.float32) / np.float32(np.sqrt(2)))[row])
    return parts


def _all_but_one(cells: Cells) -> Indices:
    """Training rows equal to the query in all cells but one: [query, column * 3], -1 for none."""
    train, queries = cells.keys
    totals = train.sum(axis=0), queries.sum(axis=0)  # sums wrap around, and equal rows alike
    found = [np.full((queries.shape[1], 1), -1, dtype=np.int64)]
    for ours, theirs in zip(train[:_MOST_JOINS], queries[:_MOST_JOINS], strict=True):
        rest = totals[0] - ours
        order = np.argsort(rest, kind="stable")
        ordered, sought = rest[order], totals[1] - theirs
        first = np.searchsorted(ordered, sought)
        places = first[:, None] + np.arange(_JOINED)
        inside = np.minimum(places, len(ordered) - 1)
        match = (places < len(ordered)) & (ordered[inside] == sought[:, None])
        if match.any():
            found.append(np.where(match, order[inside], -1).astype(np.int64))
    return np.concatenate(found, axis=1)


def _usual(known: Numbers, most: Numbers) -> Numbers:
    """What usual neighbours leave open, [query], from all candidates in order."""
    counts = np.maximum(np.isfinite(known).sum(axis=1), 1)
    middle = np.minimum(counts // 2 + counts // 4, known.shape[1] - 1)
    value = known[np.arange(len(known)), middle]
    usual = np.maximum(most - np.where(np.isfinite(value), value, 0.0), 0)
    floor = _LEAST_USUAL * float(np.median(usual)) if len(usual) else 0.0
    result: Numbers = np.maximum(usual, max(floor, 1e-9))
    return result


def _kinds(cells: Cells, pairs: tuple[Indices, Indices], distance: Numbers) -> list[str]:
    """How each pair differs, in words."""
    differs = (cells.keys[0][:, pairs[1]] != cells.keys[1][:, pairs[0]]).sum(axis=0)
    rounded = np.zeros(len(pairs[0]), dtype=np.int64)
    for known, asked in cells.numbers:
        rounded += _is_rounded(known[pairs[1]], asked[pairs[0]])
    kinds = []
    for changed, coarse, far in zip(differs, rounded, distance >= _NEAR, strict=True):
        if changed == 0:
            kinds.append("identical")
        elif changed == coarse:
            kinds.append("rounding")
        elif changed == 1:
            kinds.append("changed cell")
        else:
            kinds.append("near row" if far else "changed cells")
    return kinds


def _is_rounded(known: Numbers, asked: Numbers) -> npt.NDArray[np.bool_]:
    """Whether one of two different numbers is the other, rounded to some decimal place."""
    found = np.zeros(len(known), dtype=bool)
    for decimals in range(-4, 7):
        for exact, coarse in ((known, asked), (asked, known)):
            gap = np.abs(np.round(exact, decimals) - coarse)
            found |= (gap <= 1e-9 * np.abs(coarse)) & (coarse != 0)
    result: npt.NDArray[np.bool_] = found & (known != asked)
    return result
