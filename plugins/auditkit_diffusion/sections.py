"""The parts of the diffusion report, from a stored result alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Gallery, GalleryRow, Section, Shown

_IMAGES = 12
"""Generated images whose galleries are shown."""

_FIRST = 8
_BESIDE = 5
"""Opponents and neighbours that stand beside the proponents."""
_RECURRING = 24

_MEANING = {
    "loss": "The training images that the model then predicts worse are its proponents: training "
    "on them helped to make it. Opponents are those it predicts better.",
    "squared-norm": "Its proponents are the training images whose predictions then move in size as "
    "its own does, its opponents those whose predictions move the other way.",
    "outputs": "Its proponents are the training images whose predictions then move most, for "
    "better or worse; this measure knows no opponents.",
}
"""What the two sides are, by what is measured."""


def sections(result: AuditResult) -> Sequence[Section]:
    """Each image's own gallery, what recurs, how strong that is, and how far to trust it."""
    parts = [_galleries(result)]
    if "recurring" in result.tables:
        parts.append(_recurring(result))
    return (*parts, _strength(result), _trust(result))


def _galleries(result: AuditResult) -> Section:
    names = result.tables["images"]["generated image"].to_list()
    galleries = [
        Gallery(rows=tuple(_rows(result, name)), caption=f"Behind {name}.")
        for name in names[:_IMAGES]
    ]
    told = (
        f"Each generated image is unlearned by one move of the weights. "
        f"{_MEANING[str(result.summary['measured'])]} Beside them stand the nearest training "
        "images, which look alike whether or not the model made anything of them."
    )
    more = f"{len(names) - _IMAGES} further generated images are in the table of findings."
    return Section(
        title="The training images behind each",
        paragraphs=(told, more) if len(names) > _IMAGES else (told,),
        galleries=tuple(galleries),
    )


def _rows(result: AuditResult, name: str) -> Iterator[GalleryRow]:
    frame = result.findings.frame.filter(pl.col("query_id") == name)
    yield GalleryRow(shown=(Shown(pool="queries", id=name),), title="generated")
    for side, title in (("proponent", "proponents"), ("opponent", "opponents")):
        own = frame.filter(pl.col("side") == side)
        chosen = own.head(_FIRST) if side == "proponent" else own.sort("score").head(_BESIDE)
        if chosen.height:
            yield GalleryRow(
                shown=tuple(
                    Shown(pool="train", id=row["example_id"], caption=_caption(row))
                    for row in chosen.iter_rows(named=True)
                ),
                title=title,
            )
    near = result.tables["neighbours"].filter(pl.col("query_id") == name)
    for by, title in (("pixels", "nearest in pixels"), ("features", "nearest to the denoiser")):
        ids = near.filter(pl.col("by") == by).sort("rank")["example_id"].head(_BESIDE).to_list()
        yield GalleryRow(shown=tuple(Shown(pool="train", id=one) for one in ids), title=title)


def _caption(row: dict[str, object]) -> str:
    return f"{row['score']:+.1f}{' (stands out)' if row['flagged'] else ''}"


def _recurring(result: AuditResult) -> Section:
    table = result.tables["recurring"]
    asked = int(table["generated images"][0])
    several = table.filter(pl.col("among the first ten of") > 1)
    told = (
        f"{several.height:,} training images are among the ten strongest of several of the "
        f"{asked:,} generated images."
        if several.height
        else f"No training image is among the ten strongest of several of the {asked:,} generated "
        "images."
    )
    shown = table.head(_RECURRING)
    gallery = Gallery(
        rows=(
            GalleryRow(
                shown=tuple(
                    Shown(
                        pool="train",
                        id=row["example_id"],
                        caption=f"{row['among the first ten of']} of {asked}",
                    )
                    for row in shown.iter_rows(named=True)
                )
            ),
        ),
        caption="Most frequent first: among the ten strongest of how many generated images.",
    )
    return Section(
        title="What recurs",
        paragraphs=(
            told,
            "All generated images were also unlearned at once, by one update on their mean loss: "
            "the last ranks say how strong a training image is behind the group as a whole.",
        ),
        galleries=(gallery,),
        table=shown.drop(
            "generated images", *(["label"] if shown["label"].is_null().all() else [])
        ),
    )


def _strength(result: AuditResult) -> Section:
    frame, threshold = result.tables["standings"], result.summary["stands out from"]
    order = [
        "training images, themselves",
        "training images, the next",
        "generated images, the first",
    ]
    points = (
        alt.Chart(frame)
        .mark_tick(thickness=2, size=18)
        .encode(
            x=alt.X("standing:Q", title="standard deviations above the mean of all"),
            y=alt.Y("of:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        )
        .properties(width=420, height=110)
    )
    chart: alt.Chart | alt.LayerChart = points
    if isinstance(threshold, float):
        line = alt.Chart(pl.DataFrame({"at": [threshold]})).mark_rule(strokeDash=[4, 3])
        chart = points + line.encode(x="at:Q")
    told = (
        "What stands out is judged against training images themselves. Some were given as queries: "
        "the first row is how far each stands for itself, the second how far the strongest other "
        "image does. A training image stands "
        "out for a generated one past the geometric mean of the two, if it does so under at least "
        "half of the other noises."
    )
    none = "The two rows overlap, so no training image can be said to stand out."
    return Section(
        title="How strongly",
        paragraphs=(told,) if threshold is not None else (told, none),
        figures=(Figure(chart, "Strongest standings; right of the line an image stands out."),),
    )


def _trust(result: AuditResult) -> Section:
    draws = int(_number(result, "draws of noise per image"))
    reliability = result.summary["reliability of the scores"]
    founded = (
        "a number that was given"
        if not isinstance(reliability, float)
        else f"so many that {reliability:.0%} of the variance of the scores is the images' own and "
        "the rest the noise's, as estimated from two sets of noises"
    )
    overlap = result.summary["the same ten under other noises"]
    told = [
        f"Each image was measured at {draws} pairs of a timestep and a noise, {founded}. They are "
        "the same before and after unlearning, so what is compared is the weights' doing."
    ]
    if isinstance(overlap, float):
        told.append(
            f"Under other noises, {overlap:.0%} of the ten strongest training images of a "
            "generated image are the same, on average; the column found again says it of each."
        )
    told.append(
        "Where the ten strongest are mostly the ten nearest, the cheap comparison finds them too; "
        "influence is what says that the model made something of them."
    )
    table = result.tables["images"].drop("step")
    return Section(title="How far to trust this", paragraphs=tuple(told), table=table)


def _number(result: AuditResult, name: str) -> float:
    value = result.summary[name]
    return float(value) if isinstance(value, int | float) else 0.0
