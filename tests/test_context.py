"""What an audit works with: the engine, or none, and unfinished work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auditkit import (
    Audit,
    AuditContext,
    AuditResult,
    Findings,
    Pool,
    Recipe,
    Requirements,
    Settings,
    Subject,
    run,
)
from auditkit.errors import DataError, StoreError, UsageError
from auditkit.testing.subjects import tiny_subject

POOL = Pool.from_arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))


class PatientSettings(Settings):
    """None."""


class Patient(Audit[PatientSettings]):
    """Counts how often it was begun, and fails the first time."""

    name, title, question, fail_on = "patient", "Patient", "How often?", "share"
    requirements = Requirements(model="optional")
    settings = PatientSettings
    begun: int

    def audit(self, context: AuditContext[PatientSettings]) -> AuditResult:
        place = context.work() / "begun"
        type(self).begun = 1 + (int(place.read_text()) if place.exists() else 0)
        place.write_text(str(self.begun))
        if self.begun == 1:
            raise KeyboardInterrupt
        train = context.subject.train
        findings = Findings.ranked(train.ids, np.zeros(len(train)))
        summary = {"model": context.has_model, "device": context.device}
        return AuditResult(findings, answer="Twice.", rate=0.0, summary=summary)


def interrupted(out: Path, subject: Subject, *, seed: int = 0) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Patient, subject, out=out, seed=seed)


def test_a_run_that_was_interrupted_finds_its_work_and_leaves_none(tmp_path: Path) -> None:
    subject = Subject(train=POOL, name="bare")
    interrupted(tmp_path, subject)
    assert [path.name[:9] for path in tmp_path.iterdir()] == [".patient-"]
    done = run(Patient, subject, out=tmp_path)
    assert Patient.begun == 2
    assert [path.name for path in tmp_path.iterdir()] == [done.path.name]


def test_a_run_that_finished_nothing_leaves_nothing(tmp_path: Path) -> None:
    class Refusing(Patient):
        """Asks for the folder, and refuses the data."""

        name = "refusing"

        def audit(self, context: AuditContext[PatientSettings]) -> AuditResult:
            (context.work() / "part").mkdir()
            raise DataError("No.")

    with pytest.raises(DataError):
        run(Refusing, Subject(train=POOL), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_another_run_begins_anew(tmp_path: Path) -> None:
    interrupted(tmp_path, Subject(train=POOL))
    interrupted(tmp_path, Subject(train=POOL), seed=1)
    interrupted(tmp_path, Subject(train=POOL, queries=POOL))
    interrupted(tmp_path, Subject(train=POOL.subset([0, 1])))
    interrupted(tmp_path, Subject(train=POOL, recipe=Recipe(epochs=3)))
    interrupted(tmp_path, tiny_subject(examples=40, epochs=1))
    assert len(list(tmp_path.iterdir())) == 6


def test_a_subject_without_a_model_is_audited_and_recorded(tmp_path: Path) -> None:
    subject = Subject(train=POOL, name="bare")
    interrupted(tmp_path, subject)
    record = run(Patient, subject, out=tmp_path).record
    assert record.summary["model"] is False
    assert (record.subject.task, record.subject.weights) == (None, None)


def test_what_needs_a_model_says_so_where_there_is_none(tmp_path: Path) -> None:
    context = AuditContext(Subject(train=POOL, name="bare"), PatientSettings(), None)
    for ask in (lambda: context.engine, lambda: context.task):
        with pytest.raises(UsageError, match="bare has no model"):
            ask()
    with pytest.raises(UsageError, match="bare has no model"):
        run("mislabel", context.subject, out=tmp_path)
    with pytest.raises(StoreError, match="no unfinished work"):
        context.work()


def test_the_audit_knows_the_device_it_is_to_work_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Patient, Subject(train=POOL), out=tmp_path, device="meta")
    done = run(Patient, Subject(train=POOL), out=tmp_path, device="meta")
    assert done.record.summary["device"] == "meta"
