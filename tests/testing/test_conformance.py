from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auditkit import AuditClass
from auditkit.registry import Registry
from auditkit.testing import check_audit, problems

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


def installed(install: Callable[..., None], source: str) -> AuditClass:
    install("counting", source, entry="counter")
    return Registry().audit("count")


def test_an_audit_that_fits_in_passes(install: Callable[..., None]) -> None:
    check_audit(installed(install, SOURCE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import auditkit\n", "import auditkit, torch\n", "imports torch"),
        ("rate=0.0", "rate=7.0", "the rate is 7.0"),
        ('"Some."', '" "', "the answer is empty"),
        ("ranked(pool.ids, score)", "ranked(['x'], score[:1])", "'x' names no example"),
        ("score = np.zeros(len(pool))", "score = np.random.rand(len(pool)) + id(pool)",
         None),
        ("np.zeros(len(pool))", "np.full(len(pool), np.nan)", "scores are not finite"),
        ("ids, score)", "ids, score, probability=score + 2)", "a probability is 2.0"),
        ("score = np", "1 / 0; score = np", "fails on a small subject with ZeroDivisionError"),
        ("return [auditkit.Section(\"One\")]", "return 1 / 0", "sections of its report"),
        ("score = np.zeros(len(pool))",
         "import os; score = np.frombuffer(os.urandom(len(pool)), np.uint8).astype(float)",
         "two runs with one seed"),
        ("score = np.zeros(len(pool))",
         "next(context.subject.task.model.parameters()).data.add_(1); score = np.zeros(len(pool))",
         "changes the subject's model"),
    ],
)  # fmt: skip
def test_what_does_not_fit_in_is_named(
    install: Callable[..., None], old: str, new: str, said: str | None
) -> None:
    assert old in SOURCE
    found = problems(installed(install, SOURCE.replace(old, new, 1)))
    if said is None:
        assert found == []  # the global generators are seeded in every run
    else:
        assert any(said in problem for problem in found), found


def test_the_failure_lists_everything_and_says_how_to_mend_it(
    install: Callable[..., None],
) -> None:
    audit = installed(install, SOURCE.replace("rate=0.0", "rate=2.0").replace('"Some."', '""'))
    with pytest.raises(AssertionError, match="Count does not fit in") as caught:
        check_audit(audit)
    assert str(caught.value).count("\n- ") == 2


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
