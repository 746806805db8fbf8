"""What an audit is: the base class, and what it declares of the subjects it takes.

Measuring, judging and showing stay apart. The engine measures; `Audit.audit` turns measurements
into findings and sentences; `Audit.sections` says which charts and texts show them, from the stored
result alone, so that a report can be rendered again at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias

from auditkit.context import AuditContext, S
from auditkit.errors import MissingOutputsError, UsageError
from auditkit.results import AuditResult
from auditkit.showing import PoolName, Section
from auditkit.subject import Likelihood, Subject


@dataclass(frozen=True)
class Requirements:
    """What an audit needs of a subject; checked before anything runs."""

    likelihood: Likelihood | tuple[Likelihood, ...] | None = None
    """How the task's outputs must be judged, or ways of which one will do; None where the audit
    does not need outputs."""

    queries: Literal["unused", "optional", "required"] = "unused"
    """Whether the subject must have queries."""

    second: Literal["evaluation", "trusted"] = "evaluation"
    """What queries are and how the command takes them: as a second path, or by `--trusted`."""

    model: Literal["required", "optional"] = "required"
    """Whether the subject must have a model; where it need not, the command has `--no-model`."""

    language: bool = False
    """Whether the audit takes language models: the command then has `--model DIR`."""

    diffusion: bool = False
    """Whether the audit takes diffusion models, and queries are images they made: the command then
    has `--model DIR`, `--query PATH`, `--class NAME` and `--prompt TEXT`."""

    labels: Literal["required", "optional"] = "required"
    """Whether an evaluation set that is read from files must have labels."""

    @property
    def likelihoods(self) -> tuple[Likelihood, ...]:
        """The ways of which one will do; empty where outputs are not needed."""
        if self.likelihood is None:
            return ()
        return self.likelihood if isinstance(self.likelihood, tuple) else (self.likelihood,)

    def check(self, subject: Subject, audit: str) -> None:
        """Refuse a subject the audit cannot work with.

        Raises:
            MissingOutputsError: outputs are needed and the task declares none of that kind.
            UsageError: the audit needs queries or a model and the subject has none.
        """
        task = subject.task if self.model == "optional" else subject.required_task()
        wanted = self.likelihoods
        fits = task is None or (task.has_outputs and task.likelihood in wanted)
        if wanted and not fits:
            raise MissingOutputsError(
                f"The {audit} audit needs a task with {' or '.join(wanted)} outputs, and "
                f"{type(task).__name__} declares {getattr(task, 'likelihood', None) or 'none'}: "
                f'define `outputs` and set `likelihood = "{wanted[0]}"`.'
            )
        if self.queries == "required" and subject.queries is None:
            path = "--query PATH" if self.diffusion else "a second path"
            raise UsageError(
                f"The {audit} audit needs queries and the subject has none: give "
                f"`Subject(queries=...)` or {path}."
            )


class Audit(ABC, Generic[S]):
    """One question about the data behind a model: subclass it, and name it in the `audits` hook.

    The class attributes are the only place that says what the audit is called and does; command
    help, documentation and report read them.
    """

    name: ClassVar[str]
    """The command and the run folder are called by it: lower case, one word."""

    title: ClassVar[str]
    """The heading of the report."""

    question: ClassVar[str]
    """The question it answers, one sentence; the command's help."""

    fail_on: ClassVar[str]
    """What `--fail-on` compares with its threshold, e.g. "estimated share of wrong labels"."""

    requirements: ClassVar[Requirements] = Requirements()

    judged: ClassVar[PoolName] = "train"
    """Which pool's examples the findings' `example_id` names."""

    settings: type[S]
    """The class of its settings."""

    @abstractmethod
    def audit(self, context: AuditContext[S]) -> AuditResult:
        """Measure through `context.engine`, judge, and return findings.

        Raises:
            DataError: the data cannot be judged; the message says why.
        """

    def sections(self, result: AuditResult) -> Sequence[Section]:
        """The parts of the report between the answer and the table of findings."""
        return ()


AuditClass: TypeAlias = type[Audit[Any]]
"""Some audit, whatever its settings. (`Any`: a class is generic in a way that types cannot say of
a collection of classes, each with settings of its own.)"""
