"""From scores to findings: which training images stand out for a generated image, and how surely.

A training image stands out if the generated image leans on it about as training images, given as
queries, lean on themselves: its standing is past the geometric mean of what they reach for
themselves and the most that any other image reached for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from auditkit import Findings, Scores
from auditkit_diffusion.measuring import FIRST, Reference, Stability, Table
from auditkit_diffusion.neighbours import Nearness
from auditkit_diffusion.settings import Context


@dataclass(frozen=True)
class Judged:
    """What the audit found.

    Attributes:
        findings: one row per generated image and training image kept.
        answer: the answer in one sentence.
        leaning: how many generated images lean on single training images.
        overlap: the share of each ten strongest that are so under other noises; None unknown.
        threshold: the standing from which on an image stands out; None where none can.
        tables: what the report shows beside the findings.
    """

    findings: Findings
    answer: str
    leaning: int
    overlap: float | None
    threshold: float | None
    tables: Mapping[str, pl.DataFrame]


def judged(
    context: Context,
    scores: Scores,
    standing: Table,
    *,
    kept: Sequence[Sequence[int]],
    check: Reference,
    again: Stability,
    near: Sequence[Nearness],
) -> Judged:
    """The findings, ranked by standing, and the answer."""
    rows = [
        _row(context, scores, standing, row=row, place=place, again=again, near=near)
        for row, places in enumerate(kept)
        for place in places
    ]
    threshold = check.threshold
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    strong = frame["standing"].to_numpy()
    steady = frame["found_again"].fill_null(1.0).to_numpy() >= 0.5
    flagged = np.zeros(len(rows), dtype=bool) if threshold is None else strong >= threshold
    findings = Findings.ranked(
        frame["example_id"].to_list(),
        strong,
        flagged=flagged & steady,
        columns={name: frame[name] for name in _SCHEMA if name not in ("example_id", "standing")},
    )
    leaning = findings.flagged["query_id"].n_unique()
    overlaps = [again.overlap(row, own) for row, own in enumerate(standing)]
    known = [share for share in overlaps if share is not None]
    return Judged(
        findings=findings,
        answer=_answer(findings, leaning, scores, check),
        leaning=leaning,
        overlap=float(np.mean(known)) if known else None,
        threshold=threshold,
        tables={
            "images": _images(scores, standing, overlaps, near),
            "neighbours": _neighbours(scores, near),
            "standings": _standings(scores, standing, check),
        },
    )


_SCHEMA = {
    "example_id": pl.String(),
    "standing": pl.Float64(),
    "query_id": pl.String(),
    "side": pl.String(),
    "influence": pl.Float64(),
    "found_again": pl.Float64(),
    "pixel_rank": pl.Int64(),
    "feature_rank": pl.Int64(),
    "label": pl.String(),
}


def _row(
    context: Context,
    scores: Scores,
    standing: Table,
    *,
    row: int,
    place: int,
    again: Stability,
    near: Sequence[Nearness],
) -> tuple[object, ...]:
    train, value = context.subject.train, float(standing[row, place])
    side = 1 if value > 0 else -1
    label = None if train.label is None else str(train.metadata[train.label][place])
    return (
        train.ids[place],
        value,
        scores.query_ids[row],
        "proponent" if side > 0 else "opponent",
        float(scores.values[row, place]),
        again.again(row, place, side=side, among=context.settings.kept),
        *(int(one.ranks(row)[place]) for one in near),
        label,
    )


def _answer(findings: Findings, leaning: int, scores: Scores, check: Reference) -> str:
    count, examples = len(scores.query_ids), len(scores.train_ids)
    asked = "generated image" if count == 1 else "generated images"
    if not check.check.passed:
        return (
            f"Not to be told: training images do not find themselves, so the rankings of "
            f"{examples:,} training images for {count:,} {asked} are not to be trusted."
        )
    if not findings.frame.height:
        return (
            f"No training image of {examples:,} is a proponent or an opponent of {count:,} {asked}."
        )
    first = findings.frame.row(0, named=True)
    image, query = first["example_id"], first["query_id"]
    single = findings.flagged.height
    if count == 1 and leaning:
        images = "one training image" if single == 1 else f"{single:,} single training images"
        return f"The generated image leans on {images}, most of all on {image}."
    if count == 1:
        return (
            f"The generated image leans on none of {examples:,} training images alone; the "
            f"strongest is {image}."
        )
    if not leaning:
        return (
            f"None of {count:,} generated images leans on a training image alone; the strongest of "
            f"{examples:,} is {image}, for {query}."
        )
    return (
        f"{leaning:,} of {count:,} generated images {'leans' if leaning == 1 else 'lean'} on "
        f"single training images, most of all {query} on {image}."
    )


def _images(
    scores: Scores,
    standing: Table,
    overlaps: Sequence[float | None],
    near: Sequence[Nearness],
) -> pl.DataFrame:
    """One row per generated image."""
    rows = []
    for row, name in enumerate(scores.query_ids):
        order = np.argsort(-standing[row], kind="stable")
        count = min(FIRST, len(order))
        shared = [
            len(set(order[:count].tolist()) & set(one.order(row)[:count].tolist())) / count
            for one in near
        ]
        rows.append(
            (name, scores.train_ids[order[0]], float(standing[row, order[0]]), overlaps[row],
             *shared, float(scores.step[row]))
        )  # fmt: skip
    return pl.DataFrame(
        rows,
        schema={
            "generated image": pl.String(),
            "strongest": pl.String(),
            "standing": pl.Float64(),
            "same ten under other noises": pl.Float64(),
            "of the ten nearest in pixels": pl.Float64(),
            "of the ten nearest in features": pl.Float64(),
            "step": pl.Float64(),
        },
        orient="row",
    )


def _neighbours(scores: Scores, near: Sequence[Nearness]) -> pl.DataFrame:
    """The ten nearest training images of each generated one."""
    rows = [
        (scores.query_ids[row], one.name, rank, scores.train_ids[place])
        for row in range(len(scores.query_ids))
        for one in near
        for rank, place in enumerate(one.order(row)[:FIRST], start=1)
    ]
    return pl.DataFrame(
        rows,
        schema={
            "query_id": pl.String(),
            "by": pl.String(),
            "rank": pl.Int64(),
            "example_id": pl.String(),
        },
        orient="row",
    )


def _standings(scores: Scores, standing: Table, check: Reference) -> pl.DataFrame:
    """How strongest images stand: for generated images, and for training images as queries."""
    rows = [
        *(("training images, themselves", "", float(value)) for value in check.own),
        *(("training images, the next", "", float(value)) for value in check.others),
        *(
            ("generated images, the first", name, float(value))
            for name, value in zip(scores.query_ids, standing.max(axis=1), strict=True)
        ),
    ]
    return pl.DataFrame(
        rows,
        schema={"of": pl.String(), "query_id": pl.String(), "standing": pl.Float64()},
        orient="row",
    )
