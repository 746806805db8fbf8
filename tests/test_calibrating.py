"""`--calibrate`: rise and damping by predicted against actual change, in any audit that asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

import auditkit
from auditkit import (
    Audit,
    AuditContext,
    AuditResult,
    Findings,
    InfluenceSettings,
    Pool,
    Recipe,
    Requirements,
    Subject,
)
from auditkit.calibrating import ASKED, TABLE, Calibrated, section
from auditkit.cli import main
from auditkit.errors import DataError, UsageError
from auditkit.pipeline import render_report
from auditkit.registry import Registry
from auditkit.testing import tiny_subject
from auditkit.truth.calibration import DAMPINGS, RISES

Call = Callable[..., tuple[int, str, str]]


class Asking(Audit[InfluenceSettings]):
    """Asks for influence, and stores it."""

    name, title, question, fail_on = "asking", "Asking", "Who did it?", "nothing"
    requirements = Requirements(queries="optional", model="optional")
    settings = InfluenceSettings
    refuses: ClassVar[bool] = False

    def audit(self, context: AuditContext[InfluenceSettings]) -> AuditResult:
        if self.refuses:
            raise DataError("No.")
        pool = context.subject.train
        engine = context.engine.configured(train_measure="margin")
        scores = engine.influence(pool.subset([0]), pool.subset(range(9))).values[0]
        return AuditResult(
            Findings.ranked(pool.ids, np.zeros(len(pool)), flagged=np.zeros(len(pool), bool)),
            answer="Done.",
            rate=0.0,
            tables={"scores": pl.DataFrame({"score": scores})},
        )


class FirstOrderSettings(InfluenceSettings):
    response: ClassVar[Literal["finite", "first-order"]] = "first-order"


class FirstOrder(Asking):
    name = "first-order"
    settings = FirstOrderSettings


@pytest.fixture(scope="module")
def subject() -> Subject:
    return tiny_subject(examples=80, queries=12, epochs=2)


SHORT = {"calibrate": True, "removals": 3}


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs a command on tables: exit code, and what it said on both streams."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(120, 3)).round(4)
    frame = pl.DataFrame({name: numbers[:, place] for place, name in enumerate("abc")})
    frame = frame.with_columns(
        kind=pl.when(pl.col("a") > 0).then(pl.lit("x")).otherwise(pl.lit("y"))
    )
    frame[:100].write_csv(tmp_path / "train.csv")
    pl.concat([frame[100:], frame[:5]]).write_csv(tmp_path / "test.csv")

    def call(audit: str, *options: str) -> tuple[int, str, str]:
        paths = [str(tmp_path / "train.csv"), str(tmp_path / "test.csv")]
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([audit, *paths, *options, "--out", str(tmp_path / "runs")])
        said = capfd.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


def test_leakage_can_be_asked_for_it(command: Call, tmp_path: Path) -> None:
    code, out, err = command("leakage", "--label", "kind", "--calibrate", "--removals", "3")
    assert code == 0, err
    assert "Calibrating: 3 models are trained from scratch" in out + err
    [run] = (path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    record = json.loads((run / "run.json").read_text())
    assert record["settings"]["calibrate"] is True
    assert record["settings"]["removals"] == 3
    assert record["summary"]["calibrated rise"] == 0.1  # first-order scores move no weights
    assert record["summary"]["calibrated damping"] in DAMPINGS
    assert TABLE in record["tables"]
    table = pl.read_parquet(run / "tables" / f"{TABLE}.parquet")
    assert table["rise"].unique().to_list() == [0.1]
    assert sorted(table["damping"]) == sorted(DAMPINGS)
    assert table["chosen"].sum() == 1
    assert table["correlation"].is_between(-1, 1).all()
    [note] = [note for note in record["notes"] if note["text"].startswith("Calibration on ")]
    assert note["text"].startswith("Calibration on 25 queries: ")
    page = (run / "report.html").read_text()
    assert "Rise and damping, calibrated" in page
    assert note["text"].split(": ")[1][:30] in page
    assert not list((tmp_path / "runs").glob(".*.unfinished"))


def test_there_is_nothing_to_calibrate_without_a_model(command: Call, tmp_path: Path) -> None:
    code, _, err = command("leakage", "--no-model", "--calibrate")
    assert code == 2
    assert "so there is nothing to calibrate: leave --calibrate out" in err
    assert not (tmp_path / "runs").exists()


def test_two_removal_runs_are_too_few(command: Call) -> None:
    code, _, err = command("leakage", "--label", "kind", "--calibrate", "--removals", "2")
    assert code == 2
    assert "removals" in err


@pytest.mark.parametrize("audit", ["leakage", "memorization"])
def test_audits_of_influence_have_the_option(audit: str) -> None:
    assert issubclass(Registry().audit(audit).settings, InfluenceSettings)


@pytest.mark.parametrize("audit", ["mislabel", "mirror"])
def test_audits_that_choose_otherwise_have_not(audit: str) -> None:
    assert not issubclass(Registry().audit(audit).settings, InfluenceSettings)


def test_every_pair_is_tried_and_the_report_can_be_made_again(
    subject: Subject, tmp_path: Path
) -> None:
    run = auditkit.run(Asking, subject, out=tmp_path, settings=SHORT)
    table = run.result.tables[TABLE]
    assert set(table.select("rise", "damping").rows()) == {
        (rise, damping) for rise in RISES for damping in DAMPINGS
    }
    [chosen] = table.filter(pl.col("chosen")).select("rise", "damping").rows()
    summary = run.record.summary
    assert chosen == (summary["calibrated rise"], summary["calibrated damping"])
    assert (table["low"] <= table["correlation"] + 1e-6).all()
    assert (table["correlation"] <= table["high"] + 1e-6).all()
    warnings = [note.text for note in run.record.notes if note.level == "warning"]
    assert not [text for text in warnings if "cannot be raised" in text]  # of what was only tried
    before = run.report.read_text()
    render_report(run, Asking, registry=Registry())
    assert run.report.read_text() == before


def test_the_audit_asks_an_engine_of_what_was_chosen(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = auditkit.run(Asking, subject, out=tmp_path).result.tables["scores"]
    columns = {"rise": 3.0, "damping": 10.0, "correlation": 0.5, "low": 0.25, "high": 0.75}
    table = pl.DataFrame({**columns, "chosen": True, "failure": None})
    monkeypatch.setattr("auditkit.pipeline.calibrated", lambda *_: Calibrated(3.0, 10.0, table))
    run = auditkit.run(Asking, subject, out=tmp_path, settings=SHORT)
    engine = auditkit.ForwardINF(
        subject.required_task(),
        train=subject.train,
        recipe=subject.recipe,
        replays=0,
        train_measure="margin",
        rise=3.0,
        damping=10.0,
    )
    pool = subject.train
    expected = engine.influence(pool.subset([0]), pool.subset(range(9))).values[0]
    found = run.result.tables["scores"]["score"].to_numpy()
    assert np.allclose(found, expected, rtol=1e-5)
    assert not np.allclose(found, plain["score"].to_numpy(), rtol=1e-2)
    assert run.record.summary["calibrated damping"] == 10.0
    assert "0.25 to 0.75" in run.report.read_text()


def test_without_it_nothing_is_trained_and_nothing_added(subject: Subject, tmp_path: Path) -> None:
    run = auditkit.run(Asking, subject, out=tmp_path)
    assert TABLE not in run.result.tables
    assert "calibrated rise" not in run.record.summary
    assert "Rise and damping, calibrated" not in run.report.read_text()


def test_a_recipe_that_is_not_given_is_said_to_be_missing(subject: Subject, tmp_path: Path) -> None:
    def said(recipe: Recipe) -> list[str]:
        own = replace(subject, recipe=recipe)
        run = auditkit.run(FirstOrder, own, out=tmp_path, settings=SHORT)
        return [note.text for note in run.record.notes if "does not say how" in note.text]

    [text] = said(Recipe())
    assert "give Subject(recipe=...)" in text
    assert said(Recipe(learning_rate=3e-3, epochs=2)) == []


@pytest.mark.parametrize("lacking", ["queries", "labels"])
def test_training_examples_stand_in_for_queries_that_cannot_be_measured(
    subject: Subject, tmp_path: Path, lacking: str
) -> None:
    assert subject.queries is not None
    images = Pool([subject.queries[place][0] for place in range(len(subject.queries))])  # type: ignore[index]
    own = replace(subject, queries=None if lacking == "queries" else images)
    run = auditkit.run(FirstOrder, own, out=tmp_path, settings=SHORT)
    [note] = [note.text for note in run.record.notes if note.text.startswith("Calibration on")]
    assert note.startswith(f"Calibration on {ASKED} training examples as queries: ")


def test_removal_runs_that_are_done_are_not_done_again(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstOrder, "refuses", True)
    with pytest.raises(DataError):
        auditkit.run(FirstOrder, subject, out=tmp_path, settings=SHORT)
    [work] = tmp_path.glob(".first-order-*.unfinished")
    assert len(list(work.rglob("*.npy"))) == 3

    def trained(*_: object) -> None:
        raise AssertionError("A model was trained again.")

    monkeypatch.setattr("auditkit.truth.measuring.trained", trained)
    monkeypatch.setattr(FirstOrder, "refuses", False)
    run = auditkit.run(FirstOrder, subject, out=tmp_path, settings=SHORT)
    assert TABLE in run.result.tables
    assert not work.exists()


def test_a_subject_without_a_model_is_refused(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to calibrate"):
        auditkit.run(Asking, Subject(train=subject.train), out=tmp_path, settings=SHORT)


def test_a_pair_without_scores_is_shown_with_its_reason() -> None:
    columns = {
        "rise": [0.1, 10.0], "damping": [1.0, 1.0], "correlation": [0.5, None], "low": [0.1, None],
        "high": [0.8, None], "chosen": [True, False], "failure": [None, "It went too far."],
    }  # fmt: skip
    table = pl.DataFrame(columns)
    findings = Findings.ranked(("a",), np.zeros(1), flagged=np.zeros(1, bool))
    result = AuditResult(findings, answer="Done.", rate=0.0, tables={TABLE: table})
    shown = section(result)
    assert shown is not None
    assert shown.table is not None
    assert shown.table.rows() == [
        ("0.1", "1", "0.50", "0.10 to 0.80", True, None),
        ("10", "1", "", "", False, "It went too far."),
    ]
    assert section(replace(result, tables={})) is None


def test_the_settings_are_checked() -> None:
    with pytest.raises(ValidationError):
        InfluenceSettings(removals=2)
    assert "response" not in InfluenceSettings.model_fields
