"""What an audit is: the base class, what it declares, what it is given and what it returns.

Measuring, judging and showing stay apart. The engine measures; `Audit.audit` turns measurements
into findings and sentences; `Audit.sections` says which charts and texts show them, from the stored
result alone, so that a report can be rendered again at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
)

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict

from auditkit.errors import MissingOutputsError, UsageError
from auditkit.findings import Findings
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.scores import Holdout, Planter, Scores
from auditkit.subject import Likelihood, Subject

if TYPE_CHECKING:
    import altair as alt

Number: TypeAlias = Union[float, int, str, bool, None]


class Settings(BaseModel):
    """An audit's settings: each field's type, default and description make an option."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


class Note(BaseModel):
    """A visible line of the report: a fact the reader needs, or a warning."""

    model_config = ConfigDict(frozen=True)

    level: Literal["info", "warning"]
    text: str


class SelfCheck(BaseModel):
    """Whether training examples, as queries, find themselves: a gate, not an objective.

    `top1` and `top5` are the shares of `queries` whose own score is the highest, or among the five
    highest, of `candidates` examples.
    """

    model_config = ConfigDict(frozen=True)

    queries: int
    candidates: int
    top1: float
    top5: float

    @property
    def passed(self) -> bool:
        """Whether at least half of the queries find themselves first."""
        return self.top1 >= 0.5


@dataclass(frozen=True)
class Figure:
    """A chart and the sentence that says what to see in it."""

    chart: alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart
    caption: str


@dataclass(frozen=True)
class Section:
    """One part of a report: a heading, plain sentences, charts, and a small table.

    Texts are plain; the template escapes them. `template` names a template of the plugin's own
    (`<audit>/name.html`), which is given the section as `section`; by default the core's is used.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    table: pl.DataFrame | None = None
    template: str = "auditkit/section.html"


@dataclass(frozen=True)
class AuditResult:
    """What an audit found; all of it is stored with the run.

    Attributes:
        findings: one row per example judged.
        answer: the answer to the audit's question, in one sentence.
        rate: the share of examples the claim is estimated to be true of, for `--fail-on`.
        summary: the numbers behind the answer, by name.
        notes: what the reader must know: what could not be used, where a baseline does better.
        tables: further frames by name, for sections and for other programs.
        self_check: how the engine did on training examples as queries, if it was asked.
    """

    findings: Findings
    answer: str
    rate: float
    summary: Mapping[str, Number] = field(default_factory=dict)
    notes: Sequence[Note] = ()
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    self_check: SelfCheck | None = None


class Engine(Protocol):
    """The scoring engine as audits know it; `auditkit.ForwardINF` is the one there is."""

    def influence(self, queries: Pool, pool: Pool | None = None) -> Scores:
        """Influence of each example of the pool (default: the train pool) on each query."""

    def holdout(
        self,
        pool: Pool | None = None,
        *,
        folds: int = 5,
        epochs: int = 4,
        repeats: int = 1,
        keep: float = 0.25,
        plant: Planter | None = None,
        untrained: npt.NDArray[np.bool_] | None = None,
        seed: int | None = None,
    ) -> Holdout:
        """Every example measured by models that did not train on it, without retraining."""

    def self_check(self, *, queries: int = 16, candidates: int = 512) -> SelfCheck:
        """Training examples as queries: how often they find themselves."""


@dataclass(frozen=True)
class Requirements:
    """What an audit needs of a subject; checked before anything runs."""

    likelihood: Likelihood | None = None
    queries: Literal["unused", "optional", "required"] = "unused"

    def check(self, subject: Subject, audit: str) -> None:
        """Refuse a subject the audit cannot work with.

        Raises:
            MissingOutputsError: outputs are needed and the task declares none of that kind.
            UsageError: the audit needs queries and the subject has none.
        """
        task = subject.task
        kind_fits = task.has_outputs and task.likelihood == self.likelihood
        if self.likelihood is not None and not kind_fits:
            raise MissingOutputsError(
                f"The {audit} audit needs a task with {self.likelihood} outputs, and "
                f"{type(task).__name__} declares {task.likelihood or 'none'}: define `outputs` and "
                f'set `likelihood = "{self.likelihood}"`.'
            )
        if self.queries == "required" and subject.queries is None:
            raise UsageError(
                f"The {audit} audit needs queries and the subject has none: give "
                "`Subject(queries=...)` or a second path."
            )


@dataclass(frozen=True)
class AuditContext(Generic[S]):
    """What an audit works with in one run.

    Attributes:
        subject: what is audited.
        settings: the audit's own settings, checked.
        engine: the engine on the subject's task and train pool.
        seed: every random choice of the audit derives from it.
        progress: where the audit's own long work may say how far it is.
        notes: lines of the report; audits and the engine's advice add to them by `note`.
    """

    subject: Subject
    settings: S
    engine: Engine
    seed: int = 0
    progress: Progress = SILENT
    notes: list[Note] = field(default_factory=list)

    def note(self, text: str, *, level: Literal["info", "warning"] = "info") -> None:
        """Add a visible line to the report."""
        self.notes.append(Note(level=level, text=text))


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

    judged: ClassVar[Literal["train", "queries"]] = "train"
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
