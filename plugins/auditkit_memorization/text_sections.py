"""The parts of the report on texts, from a stored result alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from auditkit import AuditResult, Figure, Gallery, GalleryRow, Section, Shown
from auditkit_memorization.confirm_section import LOSS, left_out
from auditkit_memorization.pairs import LEANS
from auditkit_memorization.texts import LEARNT, MEMORIZED, VERBATIM

_SHOWN = 10
_POINTS = 2_000
_ROWS = 20


def sections(result: AuditResult) -> Sequence[Section]:
    """How much is memorized, which documents, what leans on them, what leaving them out does."""
    made = [_losses(result), _documents(result), _pairs(result)]
    if LOSS.table in result.tables:
        made.append(left_out(result, LOSS))
    if "canaries" in result.tables:
        made.append(_canaries(result))
    return made


def _losses(result: AuditResult) -> Section:
    frame = result.findings.frame
    points = frame.select("loss_with", "loss_without", "verdict").head(_POINTS)
    chart = (
        alt.Chart(points)
        .mark_circle(size=30, opacity=0.6)
        .encode(
            x=alt.X("loss_without:Q", title="loss per token without it (nats)"),
            y=alt.Y("loss_with:Q", title="loss per token, as trained (nats)"),
            color=alt.Color("verdict:N", title=None, sort=[VERBATIM, MEMORIZED, LEARNT]),
        )
        .properties(width=420, height=300)
    )
    return Section(
        title="How much is memorized",
        paragraphs=(
            "Memorization of a document is the typical probability of its tokens under the model "
            "that trained on it, minus that without the document: geometric means over the "
            "tokens, after Zhang et al. 2021. How much loss a document saves is measured between "
            "replays that trained on it and replays that did not, both for as long. At 1 only the "
            "document itself teaches its words; at 0 the other documents teach them as well.",
        ),
        figures=(
            Figure(chart, "Far right and low: the model knows it only because it has seen it."),
        ),
    )


def _documents(result: AuditResult) -> Section:
    flagged = result.findings.flagged
    if flagged.height == 0:
        return Section("The most memorized", paragraphs=("No document is flagged.",))
    rows = [
        GalleryRow(
            shown=(Shown(pool="train", id=row["example_id"]),),
            text=f"Memorization {row['score']:.2f}; from token {row['verbatim_from']:,} on the "
            f"model writes {row['verbatim_tokens']:,} tokens of it by itself.",
        )
        for row in flagged.head(_SHOWN).iter_rows(named=True)
    ]
    return Section(
        "The most memorized",
        paragraphs=(
            "The model was given each document up to some token and asked to go on, always with "
            "the likeliest next token; the longest stretch it wrote word for word is told.",
        ),
        galleries=(Gallery(rows, "The most memorized documents.", columns=2),),
    )


def _pairs(result: AuditResult) -> Section:
    title, count = "What leans on them", result.summary["evaluation documents asked"]
    if "pairs" not in result.tables or not count:
        return Section(
            title,
            paragraphs=("Not asked: the run had no evaluation documents, or `pairs` was 0.",),
        )
    table, leaning = result.tables["pairs"], result.summary["evaluation documents that lean"]
    rows = [
        GalleryRow(
            shown=(
                Shown(pool="train", id=row["example_id"], caption="memorized"),
                Shown(pool="queries", id=row["query_id"], caption="evaluation"),
            ),
            text=f"A token of the second has a typical probability of {_likely(row['loss']):.2f}; "
            f"once the first is unlearned, of {_likely(row['loss_without']):.2f}.",
        )
        for row in table.unique("example_id", keep="first", maintain_order=True)
        .head(_SHOWN)
        .iter_rows(named=True)
    ]
    return Section(
        title,
        paragraphs=(
            f"Of {count:,} evaluation documents asked, {leaning:,} lean on a memorized one. Each "
            "memorized document was unlearned, until its loss had risen by what it saves itself "
            "by being trained on; the documents told here lose at least "
            f"{LEANS:.2f} of the typical probability of their tokens with it.",
        ),
        galleries=(Gallery(rows, "Memorized documents, and what leans on them most.", columns=2),)
        if rows
        else (),
        table=table.head(_ROWS).select(
            pl.col("example_id").alias("memorized"),
            pl.col("query_id").alias("evaluation"),
            "loss",
            pl.col("loss_without").alias("loss without"),
        )
        if rows
        else None,
    )


def _likely(loss: float) -> float:
    return math.exp(-loss)


def _canaries(result: AuditResult) -> Section:
    table = result.tables["canaries"]
    most = float(table["most"].to_numpy().max())
    return Section(
        "Canaries",
        paragraphs=(
            "Each canary is ranked by its log-perplexity among texts of the same form whose digits "
            f"were drawn anew. Exposure is how far it stands out, in bits (Carlini et al. 2019): 1 "
            f"is the median of a text that was not planted, {most:.1f} is the most that so many "
            "references can show, and the extrapolated value goes beyond them by a fitted curve.",
        ),
        table=table.select(pl.col("canary"), "log perplexity", "exposure", "extrapolated exposure"),
    )
