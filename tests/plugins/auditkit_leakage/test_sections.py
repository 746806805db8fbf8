from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from auditkit_leakage import LeakageAudit

import auditkit
from auditkit import testing


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> auditkit.AuditResult:
    """Of a subject whose evaluation set holds ten training images."""
    subject = testing.tiny_subject(examples=200, queries=60, epochs=10)
    assert subject.queries is not None
    both = subject.train.subset(np.arange(10)).joined(subject.queries)
    out = tmp_path_factory.mktemp("runs")
    return auditkit.run(LeakageAudit, replace(subject, queries=both), out=out).result


def text_of(section: auditkit.Section) -> str:
    return " ".join(section.paragraphs)


def test_pairs_stand_side_by_side_with_their_labels(result: auditkit.AuditResult) -> None:
    titles = {section.title: section for section in LeakageAudit().sections(result)}
    rows = [row for gallery in titles["Pairs"].galleries for row in gallery.rows]
    assert len(rows) >= 10
    for row in rows[:10]:
        assert [shown.pool for shown in row.shown] == ["queries", "train"]
        assert row.shown[0].caption.startswith("evaluation, labelled")
    assert "Identical, probability 1.00" in {row.title for row in rows}


def test_the_metric_says_how_sure_it_is(result: auditkit.AuditResult) -> None:
    first = LeakageAudit().sections(result)[0]
    assert first.title == "The metric with and without"
    assert "95 % interval" in text_of(first)
    moved = result.tables["metric"].with_columns(
        pl.lit(0.1).alias("difference"), pl.lit(0.05).alias("lowest"), pl.lit(0.2).alias("highest")
    )
    sure = replace(result, tables={**result.tables, "metric": moved})
    assert "more than chance" in text_of(LeakageAudit().sections(sure)[0])
    none = moved.with_columns(pl.lit(None, dtype=pl.Float64).alias("on clean only"))
    all_flagged = replace(result, tables={**result.tables, "metric": none})
    assert "All evaluation examples are flagged" in text_of(LeakageAudit().sections(all_flagged)[0])


def test_where_nothing_is_flagged_the_nearest_pairs_are_shown(
    result: auditkit.AuditResult,
) -> None:
    frame = result.findings.frame.with_columns(pl.lit(value=False).alias("flagged"))
    clean = replace(result, findings=auditkit.Findings(frame))
    titles = {section.title: section for section in LeakageAudit().sections(clean)}
    assert "No evaluation example is flagged" in text_of(titles["Pairs"])
    assert len(titles["Pairs"].galleries[0].rows) == 6


def test_runs_stored_before_it_was_told_whether_altered_copies_were_judged_are_shown(
    result: auditkit.AuditResult,
) -> None:
    told = dict(result.summary)
    assert told.pop("altered copies judged") is True
    sections = LeakageAudit().sections(replace(result, summary=told))
    titles = {section.title: section for section in sections}
    assert "say what a distance means; the prob" in text_of(titles["How far to trust this"])
    assert titles["How far to trust this"].figures


def test_a_probability_that_is_not_known_is_never_a_number(tmp_path: Path) -> None:
    texts = ["an odd sentence about foxes and hens", "another one about rain and wind"]
    queries = [texts[0], texts[1].upper(), "nothing like the others at all"]
    subject = auditkit.Subject(train=auditkit.Pool(texts), queries=auditkit.Pool(queries))
    found = auditkit.run(LeakageAudit, subject, out=tmp_path)
    frame = found.findings.frame
    assert frame["example_id"].to_list() == ["0", "1", "2"]
    assert frame["flagged"].to_list() == [True, False, False]
    for column in ("probability", "false_discovery_rate"):
        assert frame[column].null_count() == 2
    assert (frame["score"][0], frame["score"].min() >= -1) == (1.0, True)
    pairs = pl.read_parquet(found.path / "tables" / "pairs.parquet")
    known = pairs["probability"].is_not_null()
    assert known.to_list() == (pairs["kind"] == "identical").to_list()
    assert known.to_list() == sorted(known, reverse=True)
    assert found.result.tables["agreement"]["near-duplicate"].null_count() == 1
    assert found.record.summary["estimated leaked, highest"] is None
    assert found.record.answer == (
        "About 1 of 3 evaluation examples (33.3%) was in the training set, as identical content "
        "shows; there are too few examples to judge altered copies."
    )
    none = replace(found.result, findings=auditkit.Findings(frame.with_columns(flagged=False)))
    titles = {section.title: section for section in LeakageAudit().sections(none)}
    said = [row.title for row in titles["Pairs"].galleries[0].rows]
    assert said[0] == "Identical, probability 1.00"
    assert all(title.endswith(", probability unknown") for title in said[1:])
    assert "is identical to another" in text_of(titles["Duplicates within the training set"])
    assert "is unknown" in text_of(titles["How far to trust this"])


@pytest.mark.parametrize(
    ("probability", "said"), [(0.7, "0.70"), (1.0, "1.00"), (0.9999, "over 0.99"),
                              (1e-6, "under 0.01"), (None, "unknown")],
)  # fmt: skip
def test_a_title_claims_no_false_certainty(
    result: auditkit.AuditResult, probability: float | None, said: str
) -> None:
    frame = result.findings.frame.with_columns(
        pl.lit(probability, dtype=pl.Float64).alias("probability")
    )
    titles = {
        section.title: section
        for section in LeakageAudit().sections(replace(result, findings=auditkit.Findings(frame)))
    }
    assert titles["Pairs"].galleries[0].rows[0].title.endswith(f", probability {said}")


def test_within_one_pool_all_examples_are_training_examples(tmp_path: Path) -> None:
    subject = auditkit.Subject(train=auditkit.Pool(["one odd text", "another", "and a third"]))
    found = auditkit.run(LeakageAudit, subject, out=tmp_path).result
    (pairs,) = (part for part in LeakageAudit().sections(found) if part.title == "Pairs")
    assert text_of(pairs).startswith("No training example is flagged.")
    shown = [shown for row in pairs.galleries[0].rows for shown in row.shown]
    assert {(each.pool, each.caption) for each in shown} == {("train", "training")}


def test_clusters_with_different_labels_come_first(result: auditkit.AuditResult) -> None:
    table = pl.DataFrame(
        {
            "cluster": [1, 1, 1, 2, 2],
            "example_id": ["0", "1", "2", "3", "4"],
            "label": ["a", "a", "a", "a", "b"],
            "conflicting": [False, False, False, True, True],
        }
    )
    changed = replace(result, tables={**result.tables, "duplicates": table})
    titles = {section.title: section for section in LeakageAudit().sections(changed)}
    section = titles["Duplicates within the training set"]
    assert "In 1 of them" in text_of(section)
    rows = section.galleries[0].rows
    assert [row.title for row in rows] == ["Different labels, 2 copies", "Same content, 3 copies"]
