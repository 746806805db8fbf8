"""The part of the memorization report on groups: where is it memorized?"""

from __future__ import annotations

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Section
from auditkit_memorization.groups import CLASS, SIGNIFICANT
from auditkit_memorization.verdicts import VERDICTS

_MOST_GROUPS = 20


def groups(result: AuditResult) -> Section:
    """Which groups are memorized clearly more than the rest, and how much of each."""
    table = result.tables["groups"]
    standing = table.filter(
        (pl.col("q") < SIGNIFICANT) & (pl.col("share") > pl.col("share elsewhere"))
    ).sort("share", "column", "group", descending=[True, False, False])
    named = [
        f"{row['group']} ({row['column']}): {row['share']:.0%} of {row['examples']:,} memorized, "
        f"against {row['share elsewhere']:.0%} elsewhere"
        for row in standing.head(5).iter_rows(named=True)
    ]
    columns = list(dict.fromkeys(table["column"].to_list()))
    compared = "Compared by " + ", ".join(columns) + ". "
    first = (
        f"Memorized clearly more than the rest: {'; '.join(named)}. What is memorized in a group "
        "was not taught by the others: it holds too few examples, or too many wrong labels."
        if named
        else "No group is memorized clearly more than the rest."
    )
    shown = table.filter(pl.col("column") != CLASS) if len(columns) > 1 else table
    return Section(
        title="Where it is memorized",
        paragraphs=(compared + first,),
        figures=tuple(
            Figure(_bars(part), f"Share memorized by {column}, mislabelled and rare but right.")
            for column in dict.fromkeys([CLASS, *shown["column"].to_list()])
            if (part := table.filter(pl.col("column") == column)).height <= _MOST_GROUPS
        )[:4],
        table=_readable(table),
    )


def _bars(part: pl.DataFrame) -> alt.Chart:
    kinds = ["mislabelled", "rare but right"]
    long = part.with_columns(
        [(pl.col(kind) / pl.col("examples")).alias(kind) for kind in kinds]
    ).unpivot(kinds, index="group", variable_name="verdict", value_name="of the group")
    bars: alt.Chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("of the group:Q", title="share of the group", axis=alt.Axis(format="%")),
            y=alt.Y("group:N", title=None, sort=part["group"].to_list()),
            color=alt.Color("verdict:N", title=None, sort=list(VERDICTS)),
        )
        .properties(width=400, height=alt.Step(20))
    )
    return bars


def _readable(table: pl.DataFrame) -> pl.DataFrame:
    """The groups by how much of them is memorized, worst first, at most so many."""
    return (
        table.sort("share", "column", "group", descending=[True, False, False])
        .select(
            pl.format("{}: {}", "column", "group").alias("group"), "examples",
            *[pl.format("{} %", (100 * pl.col(name)).round(1)).alias(title)
              for name, title in (("share", "memorized"), ("share elsewhere", "elsewhere"))],
            pl.col("q").alias("false-discovery rate"),
        )
        .head(2 * _MOST_GROUPS)
    )  # fmt: skip
