from __future__ import annotations

from collections.abc import Callable

import pytest

from auditkit import AuditClass, Subject
from auditkit.registry import Registry
from auditkit.testing import check_audit, problems, tiny_subject

SOURCE = """
    import numpy as np
    from pydantic import Field
    import auditkit

    class CountSettings(auditkit.Settings):
        limit: int = Field(3, ge=1, description="How many to count.")

    class Count(auditkit.Audit[CountSettings]):
        name, title, question, fail_on = "count", "Count", "How many?", "share counted"
        settings = CountSettings

        def audit(self, context):
            pool = context.subject.train
            score = np.zeros(len(pool))
            findings = auditkit.Findings.ranked(pool.ids, score)
            return auditkit.AuditResult(findings, answer="Some.", rate=0.0)

        def sections(self, result):
            return [auditkit.Section("One")]

    @auditkit.hookimpl
    def audits():
        return [Count]
"""


NEVER_THE_SAME = """import os
            next(context.subject.task.model.parameters()).data.add_(1)
            score = np.frombuffer(os.urandom(len(pool)), np.uint8).astype(float)"""


@pytest.fixture
def subject() -> Subject:
    return tiny_subject(examples=60, epochs=1)


def installed(install: Callable[..., None], source: str) -> AuditClass:
    install("counting", source, entry="counter")
    return Registry().audit("count")


def test_an_audit_that_fits_in_passes(install: Callable[..., None]) -> None:
    check_audit(installed(install, SOURCE))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"import auditkit\n": "import auditkit, torch\n"}, ["imports torch"]),
        (
            {
                "rate=0.0": "rate=7.0",
                '"Some."': '" "',
                "ids, score)": "ids, score + np.nan, probability=score + 2)",
            },
            [
                "the rate is 7.0",
                "the answer is empty",
                "scores are not finite",
                "a probability is 2.0",
            ],
        ),
        (
            {"score = np.zeros(len(pool))": NEVER_THE_SAME},
            ["two runs with one seed", "changes the subject's model"],
        ),
        (
            {"ranked(pool.ids, score)": "ranked(['x'], score[:1])"},
            ["shows 'x', which is no"],
        ),
        ({"score = np": "1 / 0; score = np"}, ["on a small subject with ZeroDivisionError"]),
        ({'return [auditkit.Section("One")]': "return 1 / 0"}, ["sections of its report"]),
    ],
)
def test_what_does_not_fit_in_is_named(
    install: Callable[..., None], subject: Subject, changes: dict[str, str], said: list[str]
) -> None:
    source = SOURCE
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new, 1)
    with pytest.raises(AssertionError, match="Count does not fit in") as caught:
        check_audit(installed(install, source), subject=subject)
    for problem in said:
        assert problem in str(caught.value)
    assert str(caught.value).count("\n- ") == len(said)


def test_what_is_not_declared_is_said_first() -> None:
    assert problems(dict) == [  # type: ignore[arg-type]
        "<class 'dict'> is no subclass of auditkit.Audit: return classes from `audits`."
    ]


def test_every_audit_of_auditkit_fits_in() -> None:
    own = [
        audit for audit in Registry().audits.values() if audit.__module__.startswith("auditkit_")
    ]
    assert own
    for audit in own:
        check_audit(audit)
