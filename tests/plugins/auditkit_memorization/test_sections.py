from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from auditkit_memorization import MemorizationAudit

import auditkit
from auditkit import Section

TITLES = [
    "How much is memorized",
    "Mislabelled, or rare but right",
    "Where it is memorized",
    "What leans on them",
    "What leaving them out does",
    "How far to trust this",
]


@pytest.fixture
def parts(run: auditkit.Run) -> dict[str, Section]:
    return {each.title: each for each in MemorizationAudit().sections(run.result)}


def test_every_part_is_there_and_the_report_shows_it(
    run: auditkit.Run, parts: dict[str, Section]
) -> None:
    assert list(parts) == TITLES
    page = run.report.read_text(encoding="utf-8")
    assert all(title in page for title in TITLES)


def test_galleries_show_memorized_examples_of_both_kinds(
    run: auditkit.Run, parts: dict[str, Section]
) -> None:
    flagged = run.findings.flagged
    for gallery, verdict in zip(
        parts[TITLES[1]].galleries, ["mislabelled", "rare but right"], strict=True
    ):
        kind = flagged.filter(pl.col("verdict") == verdict)
        assert [row.shown[0].id for row in gallery.rows] == kind["example_id"].to_list()[:12]
        assert gallery.rows[0].title == f"labelled {kind['given_label'][0]}"


def test_groups_that_stand_out_are_named(parts: dict[str, Section]) -> None:
    [text] = parts[TITLES[2]].paragraphs
    assert text.startswith("Compared by class, scan.")
    assert "negative (scan)" in text


def test_a_pair_shows_a_training_and_an_evaluation_example(parts: dict[str, Section]) -> None:
    [gallery] = parts[TITLES[3]].galleries
    assert [each.pool for each in gallery.rows[0].shown] == ["train", "queries"]
    assert "lean on a memorized training example" in parts[TITLES[3]].paragraphs[0]


def test_the_confirmation_says_what_it_found(parts: dict[str, Section]) -> None:
    [text] = parts[TITLES[4]].paragraphs
    assert "without the 50 most memorized examples" in text
    assert "the 120 evaluation examples" in text


def test_a_result_without_anything_memorized_is_shown_too(run: auditkit.Run) -> None:
    result = run.result
    frame = result.findings.frame.with_columns(
        pl.lit("learnt").alias("verdict"), pl.lit(value=False).alias("flagged")
    )
    bare = replace(
        result,
        findings=auditkit.Findings(frame),
        summary={**result.summary, "evaluation examples asked": 0, "trainings from scratch": 0},
        tables={
            **{name: table for name, table in result.tables.items() if name != "accuracies"},
            "groups": result.tables["groups"].with_columns(pl.lit(1.0).alias("q")),
            "correlations": pl.DataFrame(
                [("training loss", None)],
                schema={"baseline": pl.String(), "correlation": pl.Float64()},
                orient="row",
            ),
        },
    )
    texts = " ".join(
        text for each in MemorizationAudit().sections(bare) for text in each.paragraphs
    )
    for said in (
        "No example is flagged", "No group is memorized clearly more", "Not asked",
        "are not calibrated", "does not vary",
    ):  # fmt: skip
        assert said in texts
