"""Tiles of scores, as they come out of a pass, taken in: whole, or the strongest of each query."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from auditkit.choices import check_count
from auditkit.errors import SettingError
from auditkit.scores import Ranking, Scores, Top, strongest_places

_MOST = 2**29
"""How many scores are held whole: 2 GiB."""


class Whole:
    """Takes tiles of scores in and holds them all.

    Raises:
        SettingError: there would be more than fit into memory.
    """

    def __init__(
        self, query_ids: tuple[str, ...], train_ids: tuple[str, ...], *, measure: str
    ) -> None:
        if len(query_ids) * len(train_ids) > _MOST:
            raise SettingError(
                f"Scores of {len(query_ids):,} queries on {len(train_ids):,} examples are more "
                f"than the {_MOST:,} that are held at once: use `ranking`, which keeps the "
                "strongest of each query, or ask about fewer."
            )
        self._ids, self._measure = (query_ids, train_ids), measure
        self._values = np.zeros((len(query_ids), len(train_ids)), dtype=np.float32)
        self._steps = np.zeros(len(query_ids), dtype=np.float32)

    def add(
        self, rows: slice, values: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]
    ) -> None:
        """Take in the scores of some queries, [row, train], and their steps."""
        self._values[rows], self._steps[rows] = values, steps

    def scores(self) -> Scores:
        """All of them."""
        return Scores(self._values, *self._ids, self._steps, self._measure)


class Strongest:
    """Takes tiles of scores in and keeps the strongest: 16 k bytes a query, whatever the pool."""

    def __init__(
        self, query_ids: tuple[str, ...], train_ids: tuple[str, ...], *, k: int, measure: str
    ) -> None:
        check_count("k", k)
        self._query_ids, self._train_ids = query_ids, train_ids
        self._k, self._measure = min(k, len(train_ids)), measure
        self._tops = {sign: self._empty() for sign in (1.0, -1.0)}
        self._sum = np.zeros(len(train_ids))
        self._highest = np.full(len(train_ids), -np.inf)
        self._lowest = np.full(len(train_ids), np.inf)

    def add(
        self, rows: slice, values: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]
    ) -> None:
        """Take in the scores of some queries, [row, train], in their order."""
        part = Scores(
            values.astype(np.float32),
            self._query_ids[rows],
            self._train_ids,
            steps.astype(np.float32),
        )
        for row, own in enumerate(part.values, start=rows.start):
            for sign, top in self._tops.items():
                places = strongest_places(own, self._k, sign=sign)
                top.places[row, : len(places)] = places
                top.scores[row, : len(places)] = own[places]
        self._sum += values.sum(axis=0)
        np.maximum(self._highest, values.max(axis=0), out=self._highest)
        np.minimum(self._lowest, values.min(axis=0), out=self._lowest)

    def ranking(self) -> Ranking:
        """What was kept."""
        return Ranking(
            self._query_ids,
            self._train_ids,
            self._tops[1.0],
            self._tops[-1.0],
            (self._sum / len(self._query_ids)).astype(np.float32),
            self._highest.astype(np.float32),
            self._lowest.astype(np.float32),
            self._measure,
        )

    def _empty(self) -> Top:
        shape = (len(self._query_ids), self._k)
        return Top(np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.float32))
