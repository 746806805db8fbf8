"""Commands run in this process, a subject and a small third-party audit to run them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from auditkit.cli import main

COUNT = """
    import time
    from typing import Literal

    import numpy as np
    from pydantic import Field

    import auditkit

    class CountSettings(auditkit.Settings):
        limit: int = Field(3, ge=1, description="How many to count.")
        way: Literal["up", "down"] = Field("up", description="In which direction.")
        slow: bool = Field(False, description="Take a long time.")
        polite: bool = Field(True, description="Say please.")
        share: float | None = Field(None, description="What share to find.")
        fail: str = Field("", description="How to fail.")

    class Count(auditkit.Audit[CountSettings]):
        name, title = "count", "Counting"
        question = "How many examples are there?"
        fail_on = "share counted"
        requirements = auditkit.Requirements(queries="optional")
        settings = CountSettings

        def audit(self, context):
            settings, pool = context.settings, context.subject.train
            if settings.fail == "here":
                raise ZeroDivisionError("nothing to divide by")
            if settings.fail == "data":
                raise auditkit.errors.DataError("The data is not to be had.")
            if settings.fail == "stop":
                raise KeyboardInterrupt
            if settings.slow:
                print("waiting", flush=True)
                time.sleep(600)
            context.note("Counted with care.")
            context.note("Beware of \\x1b[31mred ink.", level="warning")
            findings = auditkit.Findings.ranked(
                pool.ids,
                -np.arange(len(pool), dtype=float),
                columns={"direction": [settings.way] * len(pool)},
            )
            return auditkit.AuditResult(
                findings, answer=f"There are {len(pool)}.", rate=0.25, summary={"count": len(pool)}
            )

    @auditkit.hookimpl
    def audits():
        return [Count]
"""

SUBJECT = """
from dataclasses import replace
from auditkit.testing import tiny_subject

def subject():
    whole = tiny_subject(examples=60, epochs=1)
    return replace(whole, description=["Sixty handwritten digits."])
"""


@pytest.fixture
def auditkit(capfd: pytest.CaptureFixture[str]) -> Callable[..., CompletedProcess[str]]:
    """Runs a command line in this process."""

    def call(*arguments: str) -> CompletedProcess[str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        said = capfd.readouterr()
        code = int(caught.value.code or 0)
        return CompletedProcess(arguments, code, said.out, said.err)

    return call


@pytest.fixture
def counting(install: Callable[..., None]) -> None:
    """A third-party distribution with the audit `count` is installed."""
    install("counting", COUNT, entry="counter")


@pytest.fixture
def subject(tmp_path: Path) -> str:
    """A reference to a small subject."""
    (tmp_path / "digits.py").write_text(SUBJECT)
    return f"{tmp_path / 'digits.py'}:subject"
