"""The part of the report on leaving memorized examples out: what trainings without them showed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Section
from auditkit_memorization import confirm


@dataclass(frozen=True)
class Measured:
    """What of the models was measured, and how it is told.

    Attributes:
        table: the stored table of its levels.
        column: its column that holds them.
        axis: what the axis of the chart is called.
        examples: what was left out.
        judged: what the models did with those of `confirmed on`.
        changes: what changes, in words.
        shown: a change, in words without its unit.
        unit: of a change.
        better_low: whether better models have less of it.
        needed: the verdict where models without the memorized are worse than without random ones.
        harmful: the verdict where they are better.
    """

    table: str
    column: str
    axis: str
    examples: str
    judged: str
    changes: str
    shown: Callable[[float], str]
    unit: str
    better_low: bool
    needed: str
    harmful: str


ACCURACY = Measured(
    table="accuracies",
    column="accuracy",
    axis="accuracy",
    examples="examples",
    judged="judged on",
    changes="accuracy",
    shown=lambda share: f"{100 * share:+.1f}",
    unit="points",
    better_low=False,
    needed="They carry accuracy that random examples do not: keep them.",
    harmful="Accuracy is higher without them than without random ones: they do harm.",
)

LOSS = Measured(
    table="losses",
    column=confirm.LOSS,
    axis="loss per token (nats)",
    examples="documents",
    judged="read",
    changes="the loss per token",
    shown=lambda loss: f"{loss:+.3f}",
    unit="nats",
    better_low=True,
    needed="They teach what random documents do not: keep them, unless they must not be repeated.",
    harmful="The loss is lower without them than without random ones: they do harm.",
)


def left_out(result: AuditResult, measured: Measured) -> Section:
    """How models without the memorized examples compare with those without random ones."""
    differences = result.tables["differences"]
    last = differences.row(2, named=True)
    change, low, high = (measured.shown(last[name]) for name in ("difference", "low", "high"))
    return Section(
        title="What leaving them out does",
        paragraphs=(
            f"Models were trained again without the {result.summary['left out to confirm']:,} most "
            f"memorized {measured.examples}, and {measured.judged} "
            f"{result.summary['confirmed on']}: {measured.changes} changes by {change} "
            f"{measured.unit} against leaving as many random ones out (95 % interval {low} to "
            f"{high}). {_verdict(last, measured)}",
        ),
        figures=(
            Figure(
                _levels(result.tables[measured.table], measured),
                f"Mean {measured.column} and its 95 % interval over trainings and "
                f"{measured.examples}.",
            ),
        ),
        table=differences,
    )


def _verdict(last: dict[str, float], measured: Measured) -> str:
    if last["low"] <= 0 <= last["high"]:
        return "No clear difference from leaving out random ones."
    worse = (last["difference"] > 0) == measured.better_low
    return measured.needed if worse else measured.harmful


def _levels(levels: pl.DataFrame, measured: Measured) -> alt.LayerChart:
    chart = alt.Chart(levels).encode(
        y=alt.Y("trained on:N", title=None, sort=None, axis=alt.Axis(labelLimit=280, minExtent=200))
    )
    span = alt.X("low:Q", title=measured.axis, scale=alt.Scale(zero=False))
    drawn: alt.LayerChart = chart.mark_rule(strokeWidth=2).encode(x=span, x2="high:Q")
    drawn += chart.mark_point(size=70).encode(x=alt.X(f"{measured.column}:Q"))
    return drawn.properties(width=420, height=alt.Step(30))
