"""What a run was, gathered: subject, settings, versions, timing and memory, for `run.json`."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from pydantic import ValidationError

from auditkit import fingerprint
from auditkit.audit import AuditClass
from auditkit.context import Settings
from auditkit.errors import PluginError
from auditkit.plugins import DISTRIBUTION, Candidate, version_of
from auditkit.progress import SILENT, Progress
from auditkit.results import AuditResult
from auditkit.store import RunRecord, SubjectRecord
from auditkit.subject import Subject

RECORDED = ("torch", "numpy", "scikit-learn", "polars")
"""The distributions whose versions a run records, beside auditkit's, Python's and the plugin's."""


@dataclass(frozen=True)
class Job:
    """What was asked of `run`, checked."""

    audit: AuditClass
    subject: Subject
    settings: Settings
    seed: int
    device: str
    batch_size: int | None
    top: int
    command: str | None
    plugin: Candidate | None


class Stages:
    """Wall-clock seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time what is done within, also where it ends early."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(time.perf_counter() - start, 3)


def subject_record(subject: Subject, *, progress: Progress = SILENT) -> SubjectRecord:
    """What was audited, well enough to know it again; reads all of the train pool."""
    task = subject.task
    return SubjectRecord(
        name=subject.name,
        description=tuple(subject.description),
        task=None if task is None else type(task).__name__,
        parameters=0 if task is None else sum(p.numel() for p in task.model.parameters()),
        examples=len(subject.train),
        queries=None if subject.queries is None else len(subject.queries),
        checkpoints=len(subject.checkpoints),
        class_names=None if task is None else task.class_names,
        weights=None if task is None else fingerprint.of_weights(task.model),
        data=fingerprint.of_pool(subject.train, progress=progress),
    )


def work_key(job: Job, about: SubjectRecord) -> str:
    """A name for the unfinished work of a run: the same whenever the run would be the same.

    Queries count by their ids and examples, as the train pool does; the recipe by its fields.
    """
    asked, recipe = job.subject.queries, job.subject.recipe
    facts = {
        "recipe": [fingerprint.described(getattr(recipe, each.name)) for each in fields(recipe)],
        "task": about.task,
        "device": job.device,
        "auditkit": version_of(DISTRIBUTION),
        "settings": job.settings.model_dump(mode="json"),
        "seed": job.seed,
        "weights": about.weights,
        "data": about.data,
        "queries": None if asked is None else fingerprint.of_pool(asked),
    }
    return f"{job.audit.name}-{fingerprint.of_example(facts)[:12]}"


def run_record(
    job: Job, result: AuditResult, about: SubjectRecord, run_id: str, seconds: Mapping[str, float]
) -> RunRecord:
    """Everything about a run but its frames.

    Raises:
        PluginError: the audit's result holds what cannot be written as JSON.
    """
    try:
        return RunRecord(
            id=run_id,
            audit=job.audit.name,
            title=job.audit.title,
            question=job.audit.question,
            created=datetime.now(UTC),
            subject=about,
            settings=job.settings.model_dump(mode="json"),
            seed=job.seed,
            device=job.device,
            batch_size=job.batch_size,
            top=job.top,
            versions=_versions(job.plugin),
            seconds=seconds,
            peak_memory=peak_memory(),
            command=job.command,
            answer=result.answer,
            rate=result.rate,
            summary=result.summary,
            notes=tuple(result.notes),
            self_check=result.self_check,
            tables=tuple(result.tables),
            judged=result.judged or job.audit.judged,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise PluginError(
            f"The {job.audit.name} audit returned a result that cannot be stored: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}."
        ) from error


def _versions(plugin: Candidate | None) -> dict[str, str]:
    versions = {"auditkit": version_of(DISTRIBUTION), "python": platform.python_version()}
    versions |= {name: version_of(name) for name in RECORDED}
    if plugin is not None and plugin.distribution != DISTRIBUTION:
        versions[plugin.distribution] = plugin.version
    return versions


def peak_memory() -> int:
    """The process's peak resident set in bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415 - there is none on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
