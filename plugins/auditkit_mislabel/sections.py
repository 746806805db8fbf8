"""The parts of the mislabel report, from a stored result alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Section

_NEIGHBOURS = (
    "The audit's score also listens to the labels of each example's neighbours, in the features of "
    "a model that did not train on it."
)


def sections(result: AuditResult) -> Sequence[Section]:
    """How much to review, which classes are confused, and how far the numbers can be trusted."""
    return (_budget(result), _confusion(result), _trust(result))


def _budget(result: AuditResult) -> Section:
    table = result.tables["budgets"]
    claimed = (
        result.findings.frame.select("rank", "probability")
        .with_columns(pl.col("probability").cum_sum().alias("expected"))
        .filter(pl.col("rank") <= max(500, 2 * result.findings.flagged.height))
    )
    thinned = claimed.gather_every(max(1, claimed.height // 400))
    chart = (
        alt.Chart(thinned)
        .mark_line()
        .encode(
            x=alt.X("rank:Q", title="labels reviewed, worst first"),
            y=alt.Y("expected:Q", title="of them expected to be wrong"),
        )
        .properties(width=560, height=240)
    )
    wrong, judged = result.summary["estimated wrong labels"], len(result.findings)
    caption = "Where the line bends away from the diagonal, review stops paying."
    return Section(
        title="How far to review",
        paragraphs=(
            f"An estimated {wrong:,.0f} of {judged:,} labels are wrong. Reviewing from the top of "
            "the list, this is how many are expected to turn out so:",
        ),
        figures=(Figure(chart, caption),),
        table=table,
    )


def _confusion(result: AuditResult) -> Section:
    table = result.tables["confusions"]
    shown = table.head(40)
    order = sorted({*shown["given"], *shown["suggested"]}, key=_natural)
    chart = (
        alt.Chart(shown)
        .mark_rect()
        .encode(
            x=alt.X("suggested:N", title="suggested label", sort=order),
            y=alt.Y("given:N", title="given label", sort=order),
            color=alt.Color("expected:Q", title="expected wrong"),
        )
        .properties(width=440, height=320)
    )
    pairs = [
        f"{row['given']} that is probably {row['suggested']} ({row['expected']:.1f} expected)"
        for row in table.head(3).iter_rows(named=True)
    ]
    first = "The most frequent: " + "; ".join(pairs) + "." if pairs else "No pair stands out."
    caption = "Expected number of wrong labels by the label given and the label suggested."
    return Section(
        title="Which labels stand for which",
        paragraphs=(first,),
        figures=(Figure(chart, caption),) if pairs else (),
    )


def _natural(name: str) -> tuple[int, str]:
    """Sorts numbers as numbers, and before other names."""
    return (int(name), "") if name.isdecimal() else (sys.maxsize, name)


def _trust(result: AuditResult) -> Section:
    recovery = result.tables["recovery"]
    chart = (
        alt.Chart(recovery)
        .mark_bar()
        .encode(
            x=alt.X("average precision:Q", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("score:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260)),
        )
        .properties(width=420, height=alt.Step(26))
    )
    planted = result.summary["planted labels"]
    measured = (
        f"While the model was replayed, {planted} labels were flipped on purpose, after the "
        "confusion between classes the model itself shows, and every score was asked to find "
        "them; the audit's own without the trained model's opinion, since that never saw the "
        "flips. Each flip counts as much as errors like it are likely among the real ones. The "
        "weight of the losses in the audit's score was chosen on the same flips. Its probabilities "
        "come from the estimated channel between true and given labels."
    )
    unmeasured = (
        "There are too few examples to flip some labels on purpose: how well the scores find "
        "wrong labels was not measured in this run."
    )
    return Section(
        title="How far to trust this",
        paragraphs=(
            measured if planted else unmeasured,
            *([_NEIGHBOURS] if result.summary.get("neighbours heard") else []),
            _agreement(result),
        ),
        figures=(Figure(chart, "Recovery of the planted flips; 1 is perfect."),) if planted else (),
    )


def _agreement(result: AuditResult) -> str:
    rows = list(result.tables["agreement"].iter_rows(named=True))
    if not rows:
        return "No label is flagged, so there is no agreement with the baselines to show."
    shares = ", ".join(f"{row['baseline']} {row['agreement']:.0%}" for row in rows)
    return (
        "Agreement with the baselines, as the share of the flagged examples each also puts as "
        f"high: {shares}."
    )
