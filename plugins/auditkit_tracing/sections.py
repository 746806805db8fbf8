"""The parts of the report, from a stored result alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import altair as alt
import numpy as np
import polars as pl

from auditkit import AuditResult, Figure, Gallery, GalleryRow, Mark, Section, Shown
from auditkit_tracing.behaviours import quoted
from auditkit_tracing.confirmation import confirmation
from auditkit_tracing.groups import SIGNIFICANT
from auditkit_tracing.retrieval import BM25, EMBEDDING
from auditkit_tracing.tables import OPPONENT, OVERLAP, PROPONENT

SHOWN = 8
"""So many behaviours have a section of their own."""

_PROPONENTS, _OPPONENTS, _QUERIES, _DRAWN = 8, 4, 6, 3


def sections(result: AuditResult) -> Sequence[Section]:
    """Each behaviour, then sources, retrieval and confirmation."""
    asked = result.tables["behaviours"]
    names = asked["query_id"].unique(maintain_order=True).to_list()
    made = [_overview(result, names)] if len(names) > 1 else []
    made += [_behaviour(result, name, names) for name in names[:SHOWN]]
    if "groups" in result.tables:
        made.append(_groups(result, names))
    made += [_retrieval(result, names), _spread(result, names)]
    if "confirm" in result.tables:
        made.append(confirmation(result))
    return made


def _overview(result: AuditResult, names: Sequence[str]) -> Section:
    """A row per behaviour."""
    asked, findings = result.tables["behaviours"], result.findings.frame
    rows = []
    for name in names:
        own = asked.filter(pl.col("query_id") == name)
        first = findings.filter((pl.col("query_id") == name) & (pl.col("role") == PROPONENT))
        more = f" (and {own.height - 1} more)" if own.height > 1 else ""
        rows.append(
            {
                "query_id": name,
                "behaviour": own["says"][0][:160] + more,
                "probability": _typical(own),
                "flagged": int(own["flagged"][0]),
                "strongest": first["example_id"][0] if first.height else None,
            }
        )
    text = "Each behaviour with the number of training examples that stand out for it."
    if len(names) > SHOWN:
        text += f" The first {SHOWN} have a section of their own; the findings hold all."
    return Section("Behaviours", paragraphs=(text,), table=pl.DataFrame(rows))


def _typical(own: pl.DataFrame) -> float:
    """The probability of a behaviour: over several queries, the geometric mean."""
    logs = np.log(np.clip(own["probability"].to_numpy(), 1e-300, 1))
    return float(np.exp(logs.mean()))


def _behaviour(result: AuditResult, name: str, names: Sequence[str]) -> Section:
    """One behaviour: what it is, what taught it and what speaks against it."""
    own = result.tables["behaviours"].filter(pl.col("query_id") == name)
    return Section(
        title="The behaviour, and what taught it" if len(names) == 1 else f"Behaviour {name}",
        paragraphs=tuple(_paragraphs(result, own)),
        galleries=tuple(_galleries(result, own, name)),
    )


def _paragraphs(result: AuditResult, own: pl.DataFrame) -> Iterator[str]:
    for row in own.head(_QUERIES).iter_rows(named=True):
        yield _asked(row)
    if own.height > _QUERIES:
        yield f"{own.height - _QUERIES:,} more queries belong to this behaviour."
    count = int(own["flagged"][0])
    if count:
        threshold = result.summary["threshold"]
        yield (
            f"{count:,} training example{'s' if count > 1 else ''} "
            f"stand{'' if count > 1 else 's'} out: the probability that so high a score is more "
            f"than chance is {threshold} or more."
        )
    else:
        yield "No training example stands out from chance; the strongest are shown all the same."


def _asked(row: dict[str, object]) -> str:
    probability = row["probability"]
    if row["prompt"] is None:
        return f"{row['says']}. The probability of that is {probability:.2g}."
    each = row["probability_per_token"]
    several = isinstance(each, float) and each != probability
    wrote = "the model itself wrote" if row["written_by_model"] else "the model was asked about"
    return (
        f"Given {quoted(str(row['prompt']))}, {wrote} {quoted(str(row['completion']))}; its "
        f"probability is {probability:.2g}" + (f", {each:.2g} per token." if several else ".")
    )


def _galleries(result: AuditResult, own: pl.DataFrame, name: str) -> Iterator[Gallery]:
    shown = own.filter(pl.col("shown_id").is_not_null()).head(_QUERIES)
    if shown.height:
        yield Gallery(
            [
                GalleryRow(shown=(Shown(pool=row["shown_pool"], id=row["shown_id"]),))
                for row in shown.iter_rows(named=True)
            ],
            "What was asked about.",
            columns=4,
        )
    frame = result.findings.frame.filter(pl.col("query_id") == name)
    marks = result.tables.get("marks")
    texts = marks is not None
    for role, most, caption in (
        (PROPONENT, _PROPONENTS, "Proponents: training on them made the behaviour likelier."),
        (OPPONENT, _OPPONENTS, "Opponents: training on them made it less likely."),
    ):
        rows = frame.filter(pl.col("role") == role).sort("place").head(most)
        if rows.height:
            more = ""
            if texts:
                more = (
                    " Marked is what became less likely when the behaviour was unlearned, and in "
                    "blue what became likelier."
                )
            yield Gallery(
                [_example(row, marks, name) for row in rows.iter_rows(named=True)],
                caption + more,
                columns=2 if texts else 4,
            )


def _example(row: dict[str, object], marks: pl.DataFrame | None, name: str) -> GalleryRow:
    """One training example with its marks."""
    own: Sequence[Mark] = ()
    if marks is not None:
        chosen = marks.filter(
            (pl.col("query_id") == name) & (pl.col("example_id") == row["example_id"])
        )
        own = [
            Mark(one["start"], one["end"], one["strength"]) for one in chosen.iter_rows(named=True)
        ]
    said = [f"score {row['score']:.1f}"]
    if row["probability"] is not None:
        said.append(f"probability {_likely(float(str(row['probability'])))}")
    if row.get("group") is not None:
        said.append(f"from {row['group']}")
    if row.get("bm25_rank") is not None:
        said.append(f"BM25 {_ordinal(int(str(row['bm25_rank'])))}")
    if row.get("document_id") not in (None, row["example_id"]):
        said.append(f"in {row['document_id']}")
    return GalleryRow(
        shown=(Shown(pool="train", id=str(row["example_id"]), marks=own),),
        text=f"{row['place']}. {', '.join(said)}",
    )


def _counted(row: dict[str, object]) -> str:
    """What there is to be said of a group in brackets."""
    flagged = f", {row['flagged']} of them flagged" if row["flagged"] else ""
    return f"{row['examples']} examples{flagged}"


def _likely(value: float) -> str:
    return "> 0.99" if value >= 0.995 else f"{value:.2f}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if 10 <= number % 100 <= 20 else ending}"


def _spread(result: AuditResult, names: Sequence[str]) -> Section:
    """How far scores stand out from chance."""
    count = result.summary["decoys traced for chance"]
    return Section(
        "How far the scores stand out",
        paragraphs=(
            f"What is chance was measured with {count} decoys: behaviours of the same kind that "
            "nothing taught, put together from parts of different training examples. A score is "
            "measured by the spread of all training examples' scores for its behaviour. To stand "
            "out is to have more to do with the behaviour than training examples have with such "
            "decoys: that is not yet to state it, nor to be its only cause.",
        ),
        figures=tuple(_figure(result, name) for name in names[:_DRAWN]),
    )


def _figure(result: AuditResult, name: str) -> Figure:
    """How many examples have which score, beside chance."""
    frame = result.tables["spread"].filter(pl.col("query_id") == name)
    frame = frame.with_columns(none=pl.lit(0))
    scale = alt.Scale(type="symlog", nice=False)
    bars = (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=0)
        .encode(
            x=alt.X("from:Q", title="score"),
            x2="to:Q",
            y=alt.Y("none:Q", title="training examples", scale=scale),
            y2="examples:Q",
        )
    )
    line = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after", strokeDash=[4, 3])
        .encode(x="from:Q", y=alt.Y("by_chance:Q", scale=scale))
    )
    drawn = bars + line if frame["by_chance"].to_numpy().any() else bars
    return Figure(
        drawn.properties(width=520, height=180),
        f"Scores of all training examples for {name}; dashed, how many would have such a score by "
        "chance. What is far to the right of chance stands out.",
    )


def _groups(result: AuditResult, names: Sequence[str]) -> Section:
    """Which values of the column taught the behaviours."""
    frame = result.tables["groups"]
    sentences = []
    for name in names[:SHOWN]:
        taught = frame.filter((pl.col("query_id") == name) & (pl.col("q") <= SIGNIFICANT))
        said = ", ".join(
            f"{row['group']} ({_counted(row)})" for row in taught.head(3).iter_rows(named=True)
        )
        what = "The behaviour" if len(names) == 1 else f"Behaviour {name}"
        sentences.append(
            f"{what} was taught by {said}." if said else f"{what} is due to no group in particular."
        )
    return Section(
        "Which source taught it",
        paragraphs=(
            *sentences,
            "Strength is the mean influence of a group's examples, in units of its spread, q the "
            "false-discovery rate when groups of the same sizes are dealt out at random; a group "
            f"is named if q is at most {SIGNIFICANT:g}. One strong example in a large group is not "
            "enough.",
        ),
        table=frame.filter(pl.col("query_id").is_in(list(names[:SHOWN])))
        .group_by("query_id", maintain_order=True)
        .head(10 if len(names) == 1 else 3),
    )


def _retrieval(result: AuditResult, names: Sequence[str]) -> Section:
    """What search finds, beside influence."""
    asked = result.tables["behaviours"].unique("query_id", keep="first", maintain_order=True)
    sentences = [
        "Retrieval finds examples that say the same; influence finds examples that made the model "
        "do it. Where they agree, the cause is also what one would have looked for. Where they do "
        "not, an example of the one kind is a likeness without effect, and one of the other kind a "
        "cause that no search shows."
    ]
    for method in (BM25, EMBEDDING):
        counts = asked[f"shared_with_{method}"].drop_nulls()
        if len(counts):
            mean = float(counts.to_numpy().mean())
            name = method[0].upper() + method[1:]
            shared, average = (
                (f"{mean:.0f}", "")
                if len(names) == 1
                else (f"{mean:.1f}", ", on average over the behaviours")
            )
            sentences.append(
                f"{name} shares {shared} of the first {OVERLAP} with influence{average}."
            )
    table = asked.select(
        "query_id",
        "flagged",
        *(
            pl.col(f"shared_with_{method}").alias(f"of first {OVERLAP} shared with {method}")
            for method in (BM25, EMBEDDING)
            if asked[f"shared_with_{method}"].is_not_null().any()
        ),
    )
    return Section(
        "Beside retrieval",
        paragraphs=tuple(sentences),
        table=table if len(names) > 1 and len(sentences) > 1 else None,
    )
