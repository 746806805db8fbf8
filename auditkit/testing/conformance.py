"""What every audit must keep to, tried on a real subject through the real pipeline.

Each check gives sentences that say what is wrong and how to mend it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from auditkit.declarations import problems_of
from auditkit.errors import AuditkitError
from auditkit.plugins import said
from auditkit.testing.subjects import tiny_subject

if TYPE_CHECKING:
    from auditkit.audit import AuditClass
    from auditkit.store import Run
    from auditkit.subject import Subject

LEFT_IT = 10
"""The exit code of a child process in which torch was imported."""


def check_audit(audit: AuditClass, *, subject: Subject | None = None) -> None:
    """Fail with every way in which an audit does not keep to what auditkit expects of one.

    Args:
        audit: the class.
        subject: what to try it on; by default a tiny one that has what the audit requires.

    Raises:
        AssertionError: one sentence for each thing that is wrong, and how to mend it.
    """
    found = problems(audit, subject=subject)
    if found:
        name = getattr(audit, "__name__", repr(audit))
        raise AssertionError("\n".join([f"{name} does not fit in:", *(f"- {it}" for it in found)]))


def problems(audit: AuditClass, *, subject: Subject | None = None) -> list[str]:
    """What `check_audit` fails with; empty if the audit fits in."""
    declared = problems_of(audit)
    if declared:
        return declared
    return [*_import_problems(audit), *_run_problems(audit, subject or _subject_for(audit))]


def _subject_for(audit: AuditClass) -> Subject:
    needs = audit.requirements
    return tiny_subject(
        queries=0 if needs.queries == "unused" else 40,
        likelihood=(*needs.likelihoods, "categorical")[0],
        diffusion=needs.diffusion,
    )


def _import_problems(audit: AuditClass) -> Iterator[str]:
    module = audit.__module__
    code = f"import sys, {module}; sys.exit({LEFT_IT} if 'torch' in sys.modules else 0)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run(  # noqa: S603 - this Python, on a module that is imported already
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if child.returncode == LEFT_IT:
        yield (
            f"importing {module} imports torch, which makes `auditkit --help` slow for everybody: "
            "import it, and what brings it, inside the functions that need it."
        )
    elif child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        yield f"{module} cannot be imported by a fresh Python ({last}): install it, or mend that."


def _run_problems(audit: AuditClass, subject: Subject) -> Iterator[str]:
    from auditkit import fingerprint  # noqa: PLC0415 - brings torch, as the pipeline

    model = None if subject.task is None else subject.task.model
    before = None if model is None else fingerprint.of_weights(model)
    with TemporaryDirectory() as folder:
        try:
            first, second = (_try(audit, subject, Path(folder)) for _ in range(2))
        except AuditkitError as error:
            yield f"it cannot be run on a small subject: {error}"
            return
        except Exception as error:  # noqa: BLE001 - whatever the audit raises
            yield f"it fails on a small subject with {said(error)}."
            return
        yield from _result_problems(first)
        if not first.findings.frame.equals(second.findings.frame):
            yield (
                "two runs with one seed give different findings: derive every random choice from "
                "context.seed."
            )
    if model is not None and fingerprint.of_weights(model) != before:
        yield "it changes the subject's model: work on a copy, or through context.engine."


def _try(audit: AuditClass, subject: Subject, out: Path) -> Run:
    from auditkit.pipeline import run  # noqa: PLC0415 - brings torch
    from auditkit.registry import Registry  # noqa: PLC0415 - as above

    return run(audit, subject, out=out, top=20, seed=1, registry=Registry())


def _result_problems(run: Run) -> Iterator[str]:
    frame, record = run.findings.frame, run.record
    if frame["rank"].to_list() != list(range(1, frame.height + 1)):
        yield "ranks are not 1, 2, 3, ...: build findings with Findings.ranked."
    scores = frame["score"].to_numpy()
    if not all(map(math.isfinite, scores)) or any(scores[1:] > scores[:-1]):
        yield "scores are not finite numbers that fall with the rank: a higher score is worse."
    outside = frame.filter(~pl.col("probability").is_between(0, 1))
    if outside.height:
        worst = outside["probability"][0]
        yield f"a probability is {worst}: expected 0 to 1, or null for no claim."
    if not 0 <= record.rate <= 1:
        yield f"the rate is {record.rate}: expected a share, 0 to 1; --fail-on compares it."
    if not record.answer.strip():
        yield "the answer is empty: answer the audit's question in one sentence."
