"""A stored run as an audit leaves it, with examples of every kind and hostile texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from auditkit import (
    AuditResult,
    Figure,
    Findings,
    Gallery,
    GalleryRow,
    Mark,
    Note,
    Pool,
    Section,
    SelfCheck,
    Shown,
)
from auditkit.preview import ImagePreview, Preview, TextPreview, row_preview
from auditkit.report.previews import preview_frame
from auditkit.store import Run, RunRecord, SubjectRecord, open_run, write_result, writing

COUNT = 300
SCRIPT = "<script>document.title='owned'</script>"
HOSTILE = (
    SCRIPT,
    "</script></style></table><h1>out</h1>",
    "<img src=x onerror=\"document.title='owned'\">",
    "'\"><b onmouseover=alert(1)>&amp;&lt;i&gt;",
    "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "javascript:document.title='owned'",
    "{{ 7 * 7 }}{% include 'x' %}",
    '=HYPERLINK(1),"a"',
    "<!-- <script>",
    "'leading \r\n apostrophe",
)
"""Texts that would break out of a page that did not escape them."""

STORY = "The tall ship left the harbour at dawn and nobody on the quay waved. " * 30


def example(place: int) -> Preview | None:
    """An image, a text, a row or nothing, in turn."""
    hostile = HOSTILE[place % len(HOSTILE)]
    if place % 4 == 0:
        return ImagePreview((load_digits().images[place] * 16).clip(0, 255).astype(np.uint8))
    if place % 4 == 1:
        return TextPreview(STORY if place % 8 == 1 else f"A short one: {hostile}")
    if place % 4 == 2:
        names = [f"column {at}" for at in range(8)] + [hostile]
        return row_preview(names, [f"{place * at}" for at in range(8)] + [hostile])
    return None


def pool() -> Pool:
    ids = [*HOSTILE, *(f"digits/{place:04}.png" for place in range(len(HOSTILE), COUNT))]
    return Pool(_Numbers(), ids=ids, preview=example)


class _Numbers:
    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, position: int) -> object:
        return position


def result(ids: Sequence[str]) -> AuditResult:
    chance = np.random.default_rng(0)
    score = np.sort(chance.gamma(1.0, 1.0, len(ids)))[::-1].copy()
    probability = 1 - np.exp(-score)
    given = [str(place % 10) for place in range(len(ids))]
    given[0], given[1] = SCRIPT, HOSTILE[4]
    findings = Findings.ranked(
        ids,
        score,
        probability=probability,
        flagged=probability >= 0.7,
        columns={
            "given_label": given,
            "suggested_label": [str((place * 3 + 1) % 10) for place in range(len(ids))],
            "training_loss": score * 0.4,
            "loss_outside": np.where(score > 3, np.nan, score),
            "other_id": [ids[place - 1] if place % 3 else None for place in range(len(ids))],
        },
    )
    return AuditResult(
        findings=findings,
        answer="About 31 of 300 labels (10.3%) are probably wrong.",
        rate=0.103,
        summary={
            "wrong labels": 31.2,
            "flagged": int((probability >= 0.7).sum()),
            "labels judged": len(ids),
            "planted labels": 24,
            "weight of replayed loss": 0.54,
        },
        notes=(
            Note(level="info", text=f"Confident learning is not compared. {SCRIPT}"),
            Note(level="warning", text="On the planted labels, training loss finds more."),
        ),
        self_check=SelfCheck(queries=16, candidates=512, top1=0.94, top5=1.0),
    )


def record(found: AuditResult, *, top: int = 200, command: str | None = None) -> RunRecord:
    return RunRecord(
        id="3fa9c1",
        audit="mislabel",
        title="Wrong labels",
        question="Which labels are wrong?",
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        subject=SubjectRecord(
            name=f"digits {SCRIPT}",
            description=("300 images of 8 x 8 pixels in 10 classes.",),
            task="ClassificationTask",
            parameters=12345,
            examples=COUNT,
            queries=None,
            checkpoints=0,
            class_names=tuple("0123456789"),
            weights="0f" * 32,
            data="1e" * 32,
        ),
        settings={"folds": 5, "thorough": False, "epochs": None, "threshold": 0.7},
        seed=0,
        device="cpu",
        batch_size=None,
        top=top,
        versions={"auditkit": "0.1.0", "python": "3.11", "torch": "2.9"},
        seconds={"reading": 0.2, "audit": 12.75, "previews": 0.3},
        peak_memory=512_000_000,
        command=command,
        answer=found.answer,
        rate=found.rate,
        summary=found.summary,
        notes=tuple(found.notes),
        self_check=found.self_check,
        tables=(),
        judged="train",
    )


def store_run(
    out: Path, found: AuditResult, about: RunRecord, previews: pl.DataFrame | None = None
) -> Run:
    everything = pool()
    shown = found.findings.frame.head(about.top)
    ids = [*shown["example_id"], *everything.ids[:6]]
    if "other_id" in shown.columns:
        ids += shown["other_id"].drop_nulls().to_list()
    frame = preview_frame(everything, ids) if previews is None else previews
    with writing(out, about.audit, about.id) as (folder, final):
        write_result(folder, about, found, frame)
    return open_run(final)


def report_sections() -> tuple[Section, ...]:
    ranks = np.arange(1, 201)
    line = pl.DataFrame({"rank": ranks, "expected": np.sqrt(ranks) * 3})
    groups = pl.DataFrame(
        {"score": ["auditkit", "training loss", SCRIPT], "precision": [0.93, 0.71, 0.64]}
    )
    budget = (
        alt.Chart(line)
        .mark_line()
        .encode(
            x=alt.X("rank:Q", title="labels reviewed, worst first"),
            y=alt.Y("expected:Q", title="of them expected to be wrong"),
        )
    )
    bars = (
        alt.Chart(groups)
        .mark_bar()
        .encode(x="precision:Q", y=alt.Y("score:N", title=None), color=alt.Color("score:N"))
    )
    pairs = pl.DataFrame(
        {"given": [4, 9, 4], "suggested": [9, 4, 1], "expected": [5.126, 3.4, 0.02]}
    )
    shades = (
        alt.Chart(pairs)
        .mark_rect()
        .encode(x="suggested:N", y="given:N", color="expected:Q")
        .properties(width=300, height=200)
    )
    table = pl.DataFrame({"reviewed": [20, 100], "expected wrong": [17.34, 29.8]})
    return (
        Section(
            "How far to review",
            paragraphs=("Reviewing from the top, this many are expected to turn out wrong:",),
            figures=(Figure(budget, "Where the line bends, review stops paying."),),
            table=table,
        ),
        Section(
            "How far to trust this",
            paragraphs=(f"Recovery of planted flips. {SCRIPT}",),
            figures=(Figure(bars, "1 is perfect."), Figure(shades, "Which stands for which.")),
        ),
        Section("Side by side", galleries=galleries()),
    )


def galleries() -> tuple[Gallery, ...]:
    """Pairs of every kind of example, with hostile captions and marks, and single pictures."""
    picture, text, row, nothing, _, story = pool().ids[:6]
    marks = (Mark(2, 7, 0.9), Mark(8, 13, -0.3), Mark(4, 9), Mark(1990, 9000, 0.5))
    pairs = (
        GalleryRow(
            (Shown("train", picture, "as trained"), Shown("train", nothing, SCRIPT)), "Pictures"
        ),
        GalleryRow(
            (Shown("train", text, marks=marks), Shown("train", story, marks=marks)),
            title=SCRIPT,
            text="The words that differ are marked.",
        ),
        GalleryRow((Shown("train", row, cells=("column 7", SCRIPT)), Shown("train", "nowhere"))),
    )
    singles = tuple(GalleryRow((Shown("train", picture, f"number {at}"),)) for at in range(7))
    return (Gallery(pairs, "Pairs to be read."), Gallery(singles, columns=6))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A stored run of 300 findings, of which 200 are to be shown."""
    found = result(pool().ids)
    return store_run(tmp_path_factory.mktemp("runs"), found, record(found))


@pytest.fixture(scope="session")
def sections() -> tuple[Section, ...]:
    """Sections with a line, bars, a heat map and a table."""
    return report_sections()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Store a run of some other result: `make_run(found, record, previews)`."""
    return lambda found, about, previews=None: store_run(tmp_path, found, about, previews)


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Texts that would break out of a page that did not escape them."""
    return HOSTILE
