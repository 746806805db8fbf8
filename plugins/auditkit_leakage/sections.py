"""The parts of the leakage report, from a stored result alone."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Gallery, GalleryRow, Mark, Section, Shown
from auditkit_leakage.metric import ACCURACY
from auditkit_leakage.shown import NEAREST, by_kind

_CLUSTERS = 8
_MEMBERS = 6

_METRIC = {
    "on all evaluation examples": "on all",
    "on those not flagged": "on clean only",
    "difference": "difference",
    "lowest, of the 95 % interval": "lowest",
    "highest": "highest",
}

_NEAREST = 1e-3
"""Nearer than this is drawn as near as this."""


def sections(result: AuditResult) -> Sequence[Section]:
    """The metric, the pairs, the duplicates in the train pool, and how far to trust it."""
    metric = [_metric(result)] if result.tables["metric"].height else []
    return (*metric, _pairs(result), _stages(result), _duplicates(result), _trust(result))


def _metric(result: AuditResult) -> Section:
    row = result.tables["metric"].row(0, named=True)
    name, count = row["metric"], result.findings.flagged.height
    if row["on clean only"] is None:
        text = f"All evaluation examples are flagged: there is no clean {name} to compare with."
        return Section(title="The metric with and without", paragraphs=(text,))
    accuracy = name == ACCURACY
    shown = "{:.1%}" if accuracy else "{:.4g}"
    moved = "raise" if row["difference"] > 0 else "lower"
    low, high = _moves(row["lowest"], accuracy), _moves(row["highest"], accuracy)
    sure = (
        "The interval holds zero: with so few examples it cannot be told from chance."
        if row["lowest"] <= 0 <= row["highest"]
        else "The interval does not hold zero: this is more than chance."
    )
    return Section(
        title="The metric with and without",
        paragraphs=(
            f"The {name} is {shown.format(row['on all'])} on all evaluation examples and "
            f"{shown.format(row['on clean only'])} on those that are not flagged: the {count:,} "
            f"flagged {moved} it by {_moves(abs(row['difference']), accuracy).lstrip('+')}.",
            f"Drawing the evaluation examples again moves that difference from {low} to {high} "
            f"(95 % interval). {sure}",
        ),
        table=pl.DataFrame({name: list(_METRIC), "value": [row[key] for key in _METRIC.values()]}),
    )


def _moves(difference: float, accuracy: bool) -> str:
    return f"{100 * difference:+.2f} points" if accuracy else f"{difference:+.4g}"


def _judged(result: AuditResult) -> str:
    """What the examples are called that were judged: the train pool's own, where it stood alone."""
    return "training" if result.judged == "train" else "evaluation"


def _pairs(result: AuditResult) -> Section:
    frame = result.findings.frame.filter(pl.col("other_id").is_not_null())
    flagged = frame.filter(pl.col("flagged"))
    if flagged.is_empty():
        return Section(
            title="Pairs",
            paragraphs=(
                f"No {_judged(result)} example is flagged. The nearest pairs are shown to see what "
                "was compared.",
            ),
            galleries=(
                Gallery([_pair(result, row) for row in _rows(frame.head(NEAREST))], columns=2),
            ),
        )
    galleries = [
        Gallery(
            [_pair(result, row) for row in _rows(chosen)],
            caption=f"{kind}: {total:,} of {flagged.height:,} flagged"
            + (f", {chosen.height} shown." if total > chosen.height else "."),
            columns=2,
        )
        for kind, total, chosen in by_kind(flagged)
    ]
    return Section(
        title="Pairs",
        paragraphs=(
            "Each flagged example beside the training example it matches best. What differs is "
            "marked.",
        ),
        galleries=galleries,
    )


def _pair(result: AuditResult, row: dict[str, object]) -> GalleryRow:
    example_id, other_id = str(row["example_id"]), str(row["other_id"])
    marks = result.tables["marks"].filter(pl.col("example_id") == example_id)
    judged = result.judged or "queries"
    shown = []
    for side, pool, name, label in (
        ("example", judged, example_id, row.get("label")),
        ("other", "train", other_id, row.get("other_label")),
    ):
        own = marks.filter(pl.col("side") == side)
        spans = own.filter(pl.col("start").is_not_null()).select("start", "end")
        where = "training" if side == "other" else _judged(result)
        shown.append(
            Shown(
                pool="train" if pool == "train" else "queries",
                id=name,
                caption=f"{where}" if label is None else f"{where}, labelled {label}",
                marks=[Mark(start, end) for start, end in spans.iter_rows()],
                cells=own["cell"].drop_nulls().to_list(),
            )
        )
    title = f"{str(row['kind']).capitalize()}, probability {_sure(row['probability'])}"
    return GalleryRow(shown, title=title, text=_said(row))


def _sure(probability: object) -> str:
    """Two decimals, and no false certainty."""
    if not isinstance(probability, float):
        return "unknown"
    if 0.995 <= probability < 1:
        return "over 0.99"
    return "under 0.01" if 0 < probability < 0.005 else f"{probability:.2f}"


def _said(row: dict[str, object]) -> str:
    """What is known of a pair, in words."""
    parts = [f"Similarity {row['similarity']:.2f}"]
    if row.get("influence_rank") is not None:
        parts.append(f"rank {row['influence_rank']} by influence")
    if row.get("margin_carried") is not None and row.get("margin") is not None:
        parts.append(f"carries {row['margin_carried']:.2f} of a margin of {row['margin']:.2f}")
    return "; ".join(parts) + "."


def _rows(frame: pl.DataFrame) -> list[dict[str, object]]:
    return list(frame.iter_rows(named=True))


def _stages(result: AuditResult) -> Section:
    frame, table = result.findings.frame, result.tables["agreement"]
    paragraphs = [
        "Stage 1 compares contents, stage 2 looks for altered copies, stage 3 asks the model "
        "whether it treats the two as the same: whether no compared training example has more "
        f"influence on the {_judged(result)} example, relative to its influence on itself."
    ]
    if "influence_rank" not in frame.columns:
        paragraphs.append(
            "Stage 3 was not asked: there was no model, or no pair known to be likely."
        )
    else:
        asked = frame.filter(pl.col("flagged") & pl.col("influence_rank").is_not_null())
        first = asked.filter(pl.col("influence_rank") == 1).height
        if asked.height:
            paragraphs.append(
                f"Of {asked.height:,} flagged examples that it was asked about, the model treats "
                f"{first:,} ({first / asked.height:.0%}) as the same as their training example. "
                "Where it does not, the copy was altered so far that the model sees another "
                "example, or it has hardly learnt from it."
            )
            near = (
                asked.filter(pl.col("feature_rank") == 1).height if "feature_rank" in asked else 0
            )
            if near:
                paragraphs.append(
                    f"In the model's own features, {near:,} ({near / asked.height:.0%}) of them "
                    "have their training example nearest of all."
                )
            carried, margin = _median(asked, "margin_carried"), _median(asked, "margin")
            if carried is not None and margin is not None:
                paragraphs.append(
                    "Without the training example of each, the margin of these would "
                    f"fall by {carried:.3g} at the median, the model predicts, of a median margin "
                    f"of {margin:.3g}."
                )
    return Section(title="Do the stages agree?", paragraphs=paragraphs, table=table)


def _median(frame: pl.DataFrame, name: str) -> float | None:
    found = frame[name].median() if name in frame.columns else None
    return found if isinstance(found, float) else None


def _altered_are_judged(result: AuditResult) -> bool:
    """Whether they were; runs stored before this was noted take it that they were."""
    return bool(result.summary.get("altered copies judged", True))


def _duplicates(result: AuditResult) -> Section:
    table, judged = result.tables["duplicates"], _altered_are_judged(result)
    if table.is_empty():
        like = "looks like a copy of" if judged else "is identical to"
        text = f"No training example {like} another."
        return Section(title="Duplicates within the training set", paragraphs=(text,))
    clusters = table.group_by("cluster", maintain_order=True).agg(
        "example_id", "label", pl.col("conflicting").first()
    )
    conflicting = clusters.filter(pl.col("conflicting"))
    largest = max(map(len, clusters["example_id"]))
    first = (
        f"{table.height:,} training examples stand in {clusters.height:,} clusters of copies, the "
        f"largest of {largest}."
    )
    second = (
        f"In {conflicting.height:,} of them, copies have different labels: at least one is wrong. "
        "They are shown first."
        if conflicting.height
        else "No cluster holds different labels."
    )
    ordered = clusters.sort("conflicting", descending=True, maintain_order=True)
    rows = [_cluster(row) for row in _rows(ordered.head(_CLUSTERS))]
    return Section(
        title="Duplicates within the training set",
        paragraphs=(first, second),
        galleries=(Gallery(rows, caption="Clusters of copies in the train pool.", columns=2),),
    )


def _cluster(row: dict[str, object]) -> GalleryRow:
    ids, labels = row["example_id"], row["label"]
    if not isinstance(ids, list) or not isinstance(labels, list):
        raise TypeError("A cluster holds lists of ids and labels.")
    shown = [
        Shown(pool="train", id=name, caption="" if label is None else f"labelled {label}")
        for name, label in zip(ids[:_MEMBERS], labels[:_MEMBERS], strict=True)
    ]
    more = f" {len(ids) - _MEMBERS} more are not shown." if len(ids) > _MEMBERS else ""
    kind = "Different labels" if row["conflicting"] else "Same content"
    return GalleryRow(shown, title=f"{kind}, {len(ids)} copies", text=more.strip())


def _trust(result: AuditResult) -> Section:
    recovery, distances = result.tables["recovery"], result.tables["distances"]
    found, planted = result.summary["flagged"], int(recovery["planted"].sum())
    judged = _altered_are_judged(result)
    measured = (
        f"In this run, {planted:,} training examples were altered and looked for as if they were "
        "evaluation examples. The table says how many of each kind were matched to their "
        "original. Their distances, and those of training examples to the rest of the train pool, "
    ) + (
        "say what a distance means; the probabilities follow from the two."
        if judged
        else "would say what a distance means, but here they are too few: the probability of "
        "whatever is not identical is unknown."
    )
    false = result.findings.flagged["probability"]
    expected = 0.0 if false.is_empty() else float((1 - false).sum())
    second = f"Of the {found:,} flagged, {expected:.1f} are expected to be no leaks."
    return Section(
        title="How far to trust this",
        paragraphs=(measured, second),
        figures=(_distances(distances),) if judged and distances.height else (),
        table=recovery,
    )


def _distances(frame: pl.DataFrame) -> Figure:
    ordered = frame.sort("sample", "distance").with_columns(
        pl.col("distance").clip(_NEAREST),
        (pl.int_range(1, pl.len() + 1).over("sample") / pl.len().over("sample")).alias("share"),
    )
    chart = (
        alt.Chart(ordered)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X(
                "distance:Q",
                title="distance to the nearest training example, or less",
                scale=alt.Scale(type="log"),
            ),
            y=alt.Y("share:Q", title="share of the sample", axis=alt.Axis(format="%")),
            color=alt.Color("sample:N", title=None),
        )
        .properties(width=520, height=220)
    )
    caption = (
        "Where evaluation examples lie as near as planted copies they are leaks; where they lie as "
        "far as training examples from the rest of their pool, they are not. Identical ones are "
        "left out."
    )
    return Figure(chart, caption)
