from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import Field

import auditkit
from auditkit import Audit, AuditContext, AuditResult, Findings, Requirements, Section, Settings
from auditkit.errors import (
    MissingOutputsError,
    PluginError,
    SettingError,
    UnknownNameError,
    UsageError,
)
from auditkit.fingerprint import of_pool, of_weights
from auditkit.pipeline import FACTORS
from auditkit.progress import SILENT, Step
from auditkit.registry import Registry
from auditkit.testing import tiny_subject


class CountSettings(Settings):
    limit: int = Field(3, ge=1, description="how many to count")
    fail: str = Field("", description="how to fail")


class Count(Audit[CountSettings]):
    """An audit that uses every part of its context."""

    name, title, question, fail_on = "count", "Counting", "How many?", "share counted"
    settings = CountSettings

    def audit(self, context: AuditContext[CountSettings]) -> AuditResult:
        random.random()
        np.random.random()
        torch.rand(1)
        context.note("counted")
        pool, limit = context.subject.train, context.settings.limit
        if context.settings.fail == "raise":
            raise RuntimeError("no")
        scores = context.engine.influence(pool.subset([0]), pool.subset(range(limit)))
        findings = Findings.ranked(
            pool.ids, np.arange(len(pool), dtype=float), flagged=np.arange(len(pool)) < limit
        )
        return AuditResult(
            findings,
            answer=f"There are {limit}.",
            rate=0.5,
            summary={"best": float(scores.values.max())},
            notes=context.notes,
            tables={"scores": pl.DataFrame({"score": scores.values[0]})},
        )

    def sections(self, result: AuditResult) -> list[Section]:
        table = result.tables.get("scores")
        return [Section("What was counted", table=table)] if table is not None else []


@pytest.fixture(scope="module")
def subject() -> auditkit.Subject:
    return tiny_subject(examples=60, queries=8, epochs=1)


def test_a_run_is_stored_whole(subject: auditkit.Subject, tmp_path: Path) -> None:
    run = auditkit.run(Count, subject, out=tmp_path, settings={"limit": 4}, seed=3, top=5)
    assert sorted(path.name for path in run.path.iterdir()) == [
        "findings.csv", "findings.parquet", "previews.parquet", "report.html", "run.json", "tables",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [tmp_path / FACTORS, run.path]
    assert len(run.findings) == 60
    assert run.result.tables["scores"].height == 4
    assert set(run.previews["example_id"]) == {"55", "56", "57", "58", "59"}
    assert "There are 4." in run.report.read_text()
    assert "What was counted" in run.report.read_text()


def test_a_second_audit_of_the_model_does_not_pay_for_curvature_again(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    def audited() -> tuple[list[str], auditkit.Run]:
        seen = Seen()
        run = auditkit.run(Count, subject, out=tmp_path, progress=seen)
        return [step for step in seen.steps if "curvature" in step], run

    paid, first = audited()
    assert paid == ["weighing the curvature", "reading the curvature's rows"]
    again, second = audited()
    assert again == []
    shutil.rmtree(tmp_path / FACTORS)
    without, third = audited()
    assert without == paid
    scores = [run.result.tables["scores"] for run in (first, second, third)]
    assert scores[0].equals(scores[1])
    assert scores[0].equals(scores[2])
    assert [run.record.notes for run in (second, third)] == [first.record.notes] * 2


def test_damaged_curvature_is_computed_again_with_a_note(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    first = auditkit.run(Count, subject, out=tmp_path)
    [file] = (tmp_path / FACTORS).iterdir()
    file.write_bytes(file.read_bytes()[:-40])
    second = auditkit.run(Count, subject, out=tmp_path)
    assert first.result.tables["scores"].equals(second.result.tables["scores"])
    [note] = [note for note in second.record.notes if note.level == "warning"]
    assert note.text.startswith("Kept curvature was not used: ")
    assert file.name in note.text
    third = auditkit.run(Count, subject, out=tmp_path)
    assert not [note for note in third.record.notes if note.level == "warning"]


class Seen:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, description: str, total: int) -> AbstractContextManager[Step]:
        self.steps.append(description)
        return SILENT.step(description, total)


def test_the_record_says_what_is_needed_to_repeat_it(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    run = auditkit.run(Count, subject, out=tmp_path, seed=3, command="auditkit count x")
    record = run.record
    assert record.settings == {"limit": 3, "fail": ""}
    assert (record.seed, record.device, record.command) == (3, "cpu", "auditkit count x")
    assert record.subject.weights == of_weights(subject.task.model)
    assert record.subject.data == of_pool(subject.train)
    assert (record.subject.examples, record.subject.queries) == (60, 8)
    assert {"auditkit", "python", "torch", "numpy", "scikit-learn", "polars"} <= set(
        record.versions
    )
    assert set(record.seconds) == {"reading", "audit", "previews"}
    assert record.peak_memory > 2**20
    assert [note.text for note in record.notes if note.level == "info"] == ["counted"]


def test_the_callers_objects_and_random_states_come_back(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    def states() -> tuple[object, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tobytes(),
            torch.get_rng_state().numpy().tobytes(),
            of_weights(subject.task.model),
            subject.task.model.training,
            [weight.requires_grad for weight in subject.task.model.parameters()],
            of_pool(subject.train),
        )

    subject.task.model.train()
    before = states()
    auditkit.run(Count, subject, out=tmp_path)
    assert states() == before
    with pytest.raises(RuntimeError, match="no"):
        auditkit.run(Count, subject, out=tmp_path, settings={"fail": "raise"})
    assert states() == before
    subject.task.model.eval()


def test_one_seed_gives_one_result(subject: auditkit.Subject, tmp_path: Path) -> None:
    first, second = (auditkit.run(Count, subject, out=tmp_path, seed=5) for _ in range(2))
    assert first.path != second.path
    assert first.findings.frame.equals(second.findings.frame)
    assert first.record.summary == second.record.summary


def test_an_audit_that_fails_leaves_nothing(subject: auditkit.Subject, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no"):
        auditkit.run(Count, subject, out=tmp_path / "runs", settings={"fail": "raise"})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_audit_is_answered_with_the_nearest(subject: auditkit.Subject) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mislabel'"):
        auditkit.run("mislable", subject)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 0}, "'limit' of the count audit is 0: input should be greater"),
        ({"limit": "many"}, "'limit' of the count audit is 'many'"),
        ({"limits": 3}, "no setting 'limits'; did you mean 'limit'?"),
        (Settings(), "The settings are Settings and the count audit takes CountSettings"),
    ],
)
def test_settings_out_of_range_are_one_sentence(
    subject: auditkit.Subject, tmp_path: Path, settings: object, message: str
) -> None:
    with pytest.raises(SettingError) as caught:
        auditkit.run(Count, subject, out=tmp_path, settings=settings)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_the_audit_requires_is_asked_for_first(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    class NeedsQueries(Count):
        requirements = Requirements(queries="required")

    class NeedsValues(Count):
        requirements = Requirements(likelihood="gaussian")

    with pytest.raises(UsageError, match="needs queries"):
        auditkit.run(NeedsQueries, replace(subject, queries=None), out=tmp_path)
    with pytest.raises(MissingOutputsError, match="gaussian"):
        auditkit.run(NeedsValues, subject, out=tmp_path)


def test_previews_come_from_the_pool_that_is_judged(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    class JudgesQueries(Count):
        judged = "queries"

        def audit(self, context: AuditContext[CountSettings]) -> AuditResult:
            queries = context.subject.queries
            ids = queries.ids if queries is not None else ("0",)
            return AuditResult(Findings.ranked(ids, np.zeros(len(ids))), answer="All.", rate=0.0)

    run = auditkit.run(JudgesQueries, subject, out=tmp_path)
    assert set(run.previews["example_id"]) == set(subject.queries.ids)  # type: ignore[union-attr]
    with pytest.raises(PluginError, match='queries="required"'):
        auditkit.run(JudgesQueries, replace(subject, queries=None), out=tmp_path)


def test_a_result_that_is_none_is_the_audits_fault(
    subject: auditkit.Subject, tmp_path: Path
) -> None:
    class Gives(Count):
        given: object = None

        def audit(self, context: AuditContext[CountSettings]) -> AuditResult:
            return self.given  # type: ignore[return-value]

    with pytest.raises(PluginError, match="returned a NoneType"):
        auditkit.run(Gives, subject, out=tmp_path)
    Gives.given = AuditResult(
        Findings.ranked(["0"], np.zeros(1)),
        answer="x",
        rate=0.0,
        summary={"x": []},  # type: ignore[dict-item]
    )
    with pytest.raises(PluginError, match=r"cannot be stored: summary\.x"):
        auditkit.run(Gives, subject, out=tmp_path)


def test_random_augmentation_is_warned_of(subject: auditkit.Subject, tmp_path: Path) -> None:
    class Augmented:
        def __len__(self) -> int:
            return 30

        def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
            image, label = subject.train[position]  # type: ignore[misc]
            return torch.as_tensor(image) + torch.rand(1), int(label)

    run = auditkit.run(Count, replace(subject, train=auditkit.Pool(Augmented())), out=tmp_path)
    (note,) = [
        note for note in run.record.notes if note.level == "warning" and "twice" in note.text
    ]
    assert "'0' of the train pool" in note.text


PLUGIN = """
    import auditkit

    @auditkit.hookimpl
    def report_sections(audit, result):
        return [auditkit.Section(f"Added to {audit}", paragraphs=["by a plugin"])]

    @auditkit.hookimpl
    def audit_finished(run):
        assert run.report.exists() and not run.path.name.startswith(".")
        raise ConnectionError("nobody listens")
"""


def test_plugins_add_to_the_report_and_are_told_and_may_fail(
    subject: auditkit.Subject, tmp_path: Path, install: Callable[..., None]
) -> None:
    install("telling", PLUGIN, entry="telling")
    run = auditkit.run(Count, subject, out=tmp_path)
    assert "Added to count" in run.report.read_text()
    (warning,) = run.warnings
    assert "'telling' of the distribution telling 1.2.3" in warning
    assert "ConnectionError: nobody listens" in warning


def test_without_plugins_nothing_is_told(subject: auditkit.Subject, tmp_path: Path) -> None:
    run = auditkit.run(Count, subject, out=tmp_path, registry=Registry([], only=[]))
    assert run.warnings == ()
