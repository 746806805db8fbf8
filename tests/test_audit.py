from __future__ import annotations

import numpy as np
import pytest
from pydantic import Field, ValidationError
from torch import Tensor, nn

from auditkit import (
    Audit,
    AuditContext,
    AuditResult,
    ClassificationTask,
    Findings,
    ForwardINF,
    Note,
    Pool,
    RegressionTask,
    Requirements,
    SelfCheck,
    Settings,
    Subject,
    Task,
)
from auditkit.errors import MissingOutputsError, UsageError


class CountSettings(Settings):
    limit: int = Field(3, ge=1, description="how many to count")


class Count(Audit[CountSettings]):
    name, title, question, fail_on = "count", "Count", "How many?", "share counted"
    settings = CountSettings

    def audit(self, context: AuditContext[CountSettings]) -> AuditResult:
        context.note(f"counted to {context.settings.limit}")
        findings = Findings.ranked(context.subject.train.ids, np.zeros(len(context.subject.train)))
        return AuditResult(findings, answer="Some.", rate=0.0)


class Bare(Task):
    def loss(self, model: nn.Module, batch: object) -> Tensor:
        raise NotImplementedError


POOL = Pool.from_arrays(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]))


def subject(task: type[Task], *, queries: Pool | None = None) -> Subject:
    return Subject(task=task(nn.Linear(2, 2)), train=POOL, queries=queries)


def test_settings_are_frozen_and_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError):
        CountSettings(limit=3, colour="red")  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        CountSettings().limit = 4  # type: ignore[misc]


def test_an_audit_runs_on_a_context_and_notes_reach_the_report() -> None:
    given = subject(ClassificationTask)
    context = AuditContext(given, CountSettings(limit=2), ForwardINF(given.task, train=POOL))
    result = Count().audit(context)
    assert len(result.findings) == 4
    assert context.notes == [Note(level="info", text="counted to 2")]
    assert list(Count().sections(result)) == []


def test_an_audit_that_does_not_audit_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="audit"):
        type("Idle", (Audit,), {})()


def test_a_task_of_another_kind_is_refused() -> None:
    needs = Requirements(likelihood="categorical")
    needs.check(subject(ClassificationTask), "count")
    with pytest.raises(
        MissingOutputsError, match=r"count audit needs .*categorical.*RegressionTask"
    ):
        needs.check(subject(RegressionTask), "count")
    with pytest.raises(MissingOutputsError, match="Bare declares none"):
        needs.check(subject(Bare), "count")
    Requirements().check(subject(Bare), "count")


def test_queries_are_asked_for_where_they_are_required() -> None:
    needs = Requirements(queries="required")
    needs.check(subject(ClassificationTask, queries=POOL), "count")
    with pytest.raises(UsageError, match="second path"):
        needs.check(subject(ClassificationTask), "count")


@pytest.mark.parametrize(("top1", "passed"), [(0.5, True), (0.49, False)])
def test_the_self_check_passes_from_one_half(top1: float, passed: bool) -> None:
    check = SelfCheck(queries=16, candidates=512, top1=top1, top5=1.0)
    assert check.passed is passed
