"""Which pairs the report shows side by side."""

from __future__ import annotations

import polars as pl

PAIRS = 24
"""How many flagged pairs are shown, of all kinds together."""

NEAREST = 6
"""How many pairs are shown where none is flagged."""


def by_kind(flagged: pl.DataFrame) -> list[tuple[str, int, pl.DataFrame]]:
    """Kinds, most frequent first, with their number and the first pairs of each."""
    counts = flagged["kind"].value_counts(sort=True)
    share = max(2, PAIRS // max(counts.height, 1))
    return [
        (str(kind), count, flagged.filter(pl.col("kind") == kind).head(share))
        for kind, count in counts.iter_rows()
    ]


def shown_pairs(findings: pl.DataFrame) -> list[tuple[str, str]]:
    """The (example, other) ids of the pairs the report shows, for what is to be marked in them."""
    frame = findings.filter(pl.col("other_id").is_not_null())
    flagged = frame.filter(pl.col("flagged"))
    chosen = [part for _, _, part in by_kind(flagged)] or [frame.head(NEAREST)]
    return [pair for part in chosen for pair in part.select("example_id", "other_id").iter_rows()]
