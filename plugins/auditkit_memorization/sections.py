"""The parts of the memorization report, from a stored result alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from auditkit import AuditResult, Figure, Gallery, GalleryRow, Section, Shown
from auditkit_memorization.confirm_section import ACCURACY, left_out
from auditkit_memorization.group_section import groups
from auditkit_memorization.pairs import LEANS
from auditkit_memorization.verdicts import VERDICTS

_SHOWN = 12
_PAIRS = 10
_BINS = 20
"""Between a memorization of 0 and of 1."""
_ROWS = 20


def sections(result: AuditResult) -> Sequence[Section]:
    """How much, which, where, what leans on it, what leaving it out does, and how far to trust."""
    made = [_distribution(result), _examples(result), groups(result), _pairs(result)]
    if ACCURACY.table in result.tables:
        made.append(left_out(result, ACCURACY))
    return (*made, _trust(result))


def _distribution(result: AuditResult) -> Section:
    frame, threshold = result.findings.frame, _number(result, "threshold")
    bars = (
        alt.Chart(_counted(frame))
        .mark_bar(cornerRadiusEnd=0)
        .encode(
            x=alt.X("from:Q", title="memorization"),
            x2="to:Q",
            y=alt.Y("below:Q", title="training examples"),
            y2="above:Q",
            color=alt.Color("verdict:N", title=None, sort=list(VERDICTS)),
        )
        .properties(width=520, height=240)
    )
    line = alt.Chart(pl.DataFrame({"at": [threshold]})).mark_rule(strokeDash=[4, 3]).encode(x="at")
    told = (
        f"An estimated {_number(result, 'estimated memorized examples'):,.0f} of {frame.height:,} "
        f"examples have a memorization over {threshold:g}. Memorization is the probability that a "
        "model trained with the example predicts its label, minus the probability that a model "
        "trained without it does (Feldman and Zhang 2020). At 1 only the example itself teaches "
        "its label; at 0 the others teach it as well."
    )
    unfit = int(_number(result, "not fitted"))
    more = (
        f"{unfit:,} {'example is' if unfit == 1 else 'examples are'} neither learnt nor memorized: "
        "even models that train on them predict another label."
    )
    return Section(
        title="How much is memorized",
        paragraphs=(told, more) if unfit else (told,),
        figures=(
            Figure(bars + line, "Training examples by memorization; right of the line is flagged."),
        ),
    )


def _counted(frame: pl.DataFrame) -> pl.DataFrame:
    """How many examples of each verdict are in each bin of memorization, stacked."""
    scores, verdicts = frame["score"].to_numpy(), frame["verdict"].to_numpy()
    first = min(0, math.floor(float(scores.min()) * _BINS))
    edges = np.arange(first, _BINS + 1) / _BINS
    above = np.zeros(len(edges) - 1)
    parts = []
    for verdict in VERDICTS:
        below = above
        above = below + np.histogram(scores[verdicts == verdict], edges)[0]
        parts.append(
            pl.DataFrame(
                {"from": edges[:-1], "to": edges[1:], "below": below, "above": above}
            ).with_columns(pl.lit(verdict).alias("verdict"))
        )
    return pl.concat(parts).filter(pl.col("above") > pl.col("below"))


def _examples(result: AuditResult) -> Section:
    flagged = result.findings.flagged
    if flagged.height == 0:
        return Section(
            title="Mislabelled, or rare but right",
            paragraphs=("No example is flagged, so there is none to show.",),
        )
    galleries, wrong = [], _number(result, "mislabelled")
    for verdict, caption in (
        ("mislabelled", "Most memorized of those that look mislabelled."),
        ("rare but right", "Most memorized of those that look rare but right."),
    ):
        chosen = flagged.filter(pl.col("verdict") == verdict).head(_SHOWN)
        if chosen.height:
            rows = [
                GalleryRow(
                    shown=(Shown(pool="train", id=row["example_id"]),),
                    title=f"labelled {row['given_label']}",
                    text=f"{_held_out(row)}; memorization {row['score']:.2f}.",
                )
                for row in chosen.iter_rows(named=True)
            ]
            galleries.append(Gallery(rows=rows, caption=caption, columns=4))
    return Section(
        title="Mislabelled, or rare but right",
        paragraphs=(
            "Both kinds are memorized, and call for the opposite. Where models that did not see "
            "an example are surer of another label than labels are of being right, it looks "
            "mislabelled: check the label. Where they are unsure, it looks rare but right: keep "
            "it, and collect more like it.",
            f"Of {flagged.height:,} flagged examples, {wrong:,.0f} "
            f"{'looks' if wrong == 1 else 'look'} "
            f"mislabelled and {_number(result, 'rare but right'):,.0f} rare but right. The first "
            "kind is named with care, so the second still holds some wrong labels; the column "
            "wrong label probability ranks them.",
        ),
        galleries=tuple(galleries),
    )


def _held_out(row: dict[str, object]) -> str:
    if row["held_out_label"] == row["given_label"]:
        return "Held out: the same label, unsurely"
    return f"Held out: {row['held_out_label']}"


def _pairs(result: AuditResult) -> Section:
    table, asked = result.tables["pairs"], int(_number(result, "evaluation examples asked"))
    title = "What leans on them"
    if asked == 0:
        return Section(
            title=title,
            paragraphs=("Not asked: the run had no evaluation examples, or `pairs` was 0.",),
        )
    leaning = int(_number(result, "evaluation examples that lean"))
    told = (
        f"Of {asked:,} evaluation examples asked, {leaning:,} lean on a memorized training "
        f"example: leaving that one out would take at least {LEANS:.0%} from the probability of "
        "their label, as influence predicts. For these, memorizing pays."
    )
    strongest = table.unique("example_id", keep="first", maintain_order=True).head(_PAIRS)
    labels = dict(result.findings.frame.select("example_id", "given_label").iter_rows())
    rows = [
        GalleryRow(
            shown=(
                Shown(pool="train", id=row["example_id"], caption="memorized"),
                Shown(pool="queries", id=row["query_id"], caption="evaluation"),
            ),
            title=f"{labels[row['example_id']]}",
            text=(
                f"The second's label has a probability of {row['label_probability']:.2f}; without "
                f"the first, of about {row['label_probability_without']:.2f}."
            ),
        )
        for row in strongest.iter_rows(named=True)
    ]
    caption = "The memorized example first, then the one that leans on it most."
    return Section(
        title=title,
        paragraphs=(told,),
        galleries=(Gallery(rows=rows, caption=caption, columns=2),) if rows else (),
        table=_fewer(table) if rows else None,
    )


def _fewer(table: pl.DataFrame) -> pl.DataFrame:
    """The strongest pairs, under short names."""
    return table.head(_ROWS).select(
        pl.col("example_id").alias("memorized"),
        pl.col("query_id").alias("evaluation"),
        pl.col("label_probability").alias("probability"),
        pl.col("label_probability_without").alias("without"),
    )


def _trust(result: AuditResult) -> Section:
    made = int(_number(result, "trainings from scratch"))
    measured = (
        f"The estimates are calibrated on {made} models trained from scratch on random halves in "
        "this run, and each probability is that memorization is over the threshold, by what those "
        "models and the replays say of the example. They are of models that have half of the data "
        "at a time."
        if made
        else "No model was trained from scratch, so the estimates are what replays of the trained "
        "model say, and are not calibrated."
    )
    reliability = result.summary["reliability of the ranking"]
    again = (
        ""
        if reliability is None
        else f" Other folds would rank the examples alike with a correlation of {reliability:.2f}."
    )
    row = result.tables["correlations"].row(0, named=True)
    beside = (
        "The training loss does not vary."
        if row["correlation"] is None
        else f"The training loss ranks them with a correlation of {row['correlation']:.2f} with "
        "the audit: a memorized example can have a small loss."
    )
    return Section(title="How far to trust this", paragraphs=(measured + again, beside))


def _number(result: AuditResult, name: str) -> float:
    value = result.summary[name]
    return float(value) if isinstance(value, int | float) else 0.0
