"""Findings: what an audit claims, one row per example judged, in a polars frame of one schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit.errors import StoreError

SCHEMA: Mapping[str, pl.DataType] = {
    "example_id": pl.String(),
    "rank": pl.UInt32(),
    "score": pl.Float64(),
    "probability": pl.Float64(),
    "flagged": pl.Boolean(),
}
"""The columns every audit's findings begin with."""


class Findings:
    """Ranked claims on examples.

    `frame` begins with the columns of `SCHEMA`: `rank` 1 is the worst; a higher `score` is worse;
    `probability` is that the claim is right, null where it is not known; `flagged` marks
    what the audit would have a person look at. The audit's own columns follow. Rows are sorted by
    rank.

    Raises:
        StoreError: the frame does not begin with the columns of `SCHEMA`.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        found = dict(frame.schema.items())
        for place, (name, dtype) in enumerate(SCHEMA.items()):
            if frame.columns[place : place + 1] != [name] or found[name] != dtype:
                raise StoreError(
                    f"Findings must have the column {name!r} of type {dtype} in place {place}, "
                    f"got {frame.columns[: len(SCHEMA)]}."
                )
        self.frame = frame.sort("rank")

    @classmethod
    def ranked(
        cls,
        ids: Sequence[str],
        score: npt.NDArray[np.floating],
        *,
        probability: npt.NDArray[np.floating] | None = None,
        flagged: npt.NDArray[np.bool_] | None = None,
        columns: Mapping[str, pl.Series | npt.NDArray[np.generic] | Sequence[object]] | None = None,
    ) -> Findings:
        """Findings ranked by falling score; equal scores keep the order they were given in.

        Args:
            ids: of the examples judged.
            score: [example]; finite, higher is worse.
            probability: [example]; NaN where it is not known, which becomes null. None for an
                audit that claims none.
            flagged: [example]; None flags none.
            columns: the audit's own, [example] each.
        """
        order = np.argsort(-score, kind="stable")
        rank = np.empty(len(ids), dtype=np.uint32)
        rank[order] = np.arange(1, len(ids) + 1, dtype=np.uint32)
        claimed = np.full(len(ids), np.nan) if probability is None else probability
        frame = pl.DataFrame(
            {
                "example_id": list(ids),
                "rank": rank,
                "score": score.astype(np.float64),
                "probability": pl.Series(claimed.astype(np.float64)).fill_nan(None),
                "flagged": np.zeros(len(ids), dtype=bool) if flagged is None else flagged,
                **(columns or {}),
            },
            schema_overrides=SCHEMA,
        )
        return cls(frame)

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        return f"Findings({len(self)} examples judged, {self.flagged.height} flagged)"

    @property
    def flagged(self) -> pl.DataFrame:
        """The rows a person should look at, worst first."""
        return self.frame.filter(pl.col("flagged"))

    def write(self, folder: Path) -> None:
        """Write `findings.parquet` and `findings.csv` into a folder.

        CSV knows no lists and structures: there they are texts in JSON.
        """
        self.frame.write_parquet(folder / "findings.parquet")
        flat = [_as_text(column) if column.dtype.is_nested() else column for column in self.frame]
        pl.DataFrame(flat).write_csv(folder / "findings.csv")

    @classmethod
    def read(cls, folder: Path) -> Findings:
        """Read back what `write` wrote.

        Raises:
            StoreError: the file is missing or is not one of findings.
        """
        try:
            return cls(pl.read_parquet(folder / "findings.parquet"))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(f"The findings in {folder} cannot be read: {error}.") from error


def _as_text(column: pl.Series) -> pl.Series:
    texts = [
        None if value is None else json.dumps(value, default=str, ensure_ascii=False)
        for value in column.to_list()
    ]
    return pl.Series(column.name, texts, dtype=pl.String())
