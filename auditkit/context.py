"""What an audit works with: its settings, the engine as it knows it, and where it may say what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from auditkit.errors import StoreError
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.results import Note, SelfCheck
from auditkit.scores import (
    DocumentScores,
    Evaluation,
    Floats,
    Holdout,
    Planter,
    Ranking,
    Scores,
)
from auditkit.subject import Subject, Task, no_model

if TYPE_CHECKING:
    from auditkit.engine.preconditioner import Choice
    from auditkit.engine.replayed import Replays
    from auditkit.engine.response import Response
    from auditkit.engine.sides import Measure, Pull, TrainMeasure
    from auditkit.engine.update import UpdateSettings


class Settings(BaseModel):
    """An audit's settings: each field's type, default and description make an option."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InfluenceSettings(Settings):
    """Settings of an audit that asks the engine for influence: it can be told to calibrate that.

    Take it in place of `Settings`, and the command has `--calibrate`. The audit's engine then comes
    with the rise and damping that were chosen, and keeps them through `configured` where the audit
    names none. `response` says what the audit reads off the train side: for first-order scores only
    the damping is chosen, since no weights are moved.
    """

    response: ClassVar[Literal["finite", "first-order"]] = "finite"

    calibrate: bool = Field(
        default=False,
        description="Choose the engine's rise and damping by predicted against actual change over "
        "a few removal runs, each a training from scratch on half of the train pool.",
    )
    removals: int = Field(default=12, ge=3, description="How many removal runs --calibrate makes.")


S = TypeVar("S", bound=Settings)


class Engine(Protocol):
    """The scoring engine as audits know it; `auditkit.ForwardINF` is the one there is."""

    def influence(
        self, queries: Pool, pool: Pool | None = None, *, groups: Sequence[str] | None = None
    ) -> Scores:
        """Influence of each example of the pool (default: the train pool) on each query."""

    def ranking(
        self,
        queries: Pool,
        pool: Pool | None = None,
        *,
        k: int = 100,
        groups: Sequence[str] | None = None,
    ) -> Ranking:
        """The same, of which only each query's strongest are kept."""

    def configured(
        self,
        *,
        measure: Measure = "auto",
        train_measure: TrainMeasure = "auto",
        pull: Pull = "trained",
        response: Response = "finite",
        rise: float | None = None,
        damping: float | None = None,
        relative: bool = False,
        update: UpdateSettings | None = None,
        task: Task | None = None,
    ) -> Engine:
        """An engine on the same models and curvature with other settings, as `ForwardINF` has.

        Rise and damping stay where they are left out, so that what was calibrated stays.
        """

    def with_curvature(
        self,
        preconditioner: Choice = "auto",
        *,
        parameters: str | None = None,
        damping: float | None = None,
    ) -> Engine:
        """An engine on the same models of which other parameters move, with defaults elsewhere.

        Rise and damping stay, as in `configured`.
        """

    def averaged(self, replays: Replays = "auto") -> Engine:
        """The same engine, whose scores are averaged over replays of the model as well."""

    @property
    def replays(self) -> int:
        """How many replays of each network scores are averaged over; 0 until `averaged`."""

    def documents(
        self,
        queries: Pool,
        pool: Pool | None = None,
        *,
        groups: Sequence[str] | None = None,
        candidates: int | None = None,
    ) -> DocumentScores:
        """Influence of each document on each query, by its tokens and by its loss."""

    def token_changes(
        self, queries: Pool, pool: Pool | None = None
    ) -> list[npt.NDArray[np.float64]]:
        """How much each token of each document changes when all of the queries are unlearned."""

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
        neighbours: int = 0,
        seed: int | None = None,
    ) -> Holdout:
        """Every example measured by models that did not train on it, without retraining."""

    def alone(self) -> Engine:
        """The same engine on the trained model alone, without checkpoints and replays."""

    def quiet(self) -> Engine:
        """The same engine, which adds no notes: for what no user asked about."""

    def evaluate(self, pool: Pool | None = None) -> Evaluation:
        """Loss, outputs and targets of each example under the trained model."""

    def features(self, pool: Pool | None = None) -> Floats:
        """What goes into the model's last linear layer, float32 [example, feature]."""

    def self_check(
        self, *, queries: int = 16, candidates: int = 512, together: bool = False
    ) -> SelfCheck:
        """Training examples as queries: how often they find themselves."""


@dataclass(frozen=True)
class AuditContext(Generic[S]):
    """What an audit works with in one run.

    Attributes:
        subject: what is audited.
        settings: the audit's own settings, checked.
        scoring: the engine on the subject's task and train pool; None where it has no model.
        seed: every random choice of the audit derives from it.
        device: torch's name of the device to work on, for trainings of the audit's own.
        progress: where the audit's own long work may say how far it is.
        notes: lines of the report; audits and the engine's advice add to them by `note`.
        workplace: gives the folder of `work`.
        listener: is told what `say` says.
    """

    subject: Subject
    settings: S
    scoring: Engine | None
    seed: int = 0
    device: str = "cpu"
    progress: Progress = SILENT
    notes: list[Note] = field(default_factory=list)
    workplace: Callable[[], Path] | None = None
    listener: Callable[[str], None] | None = None

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            UsageError: the subject has no model.
        """
        if self.scoring is None:
            raise no_model(self.subject.name)
        return self.scoring

    @property
    def task(self) -> Task:
        """The subject's task.

        Raises:
            UsageError: the subject has no model.
        """
        return self.subject.required_task()

    @property
    def has_model(self) -> bool:
        """Whether there is a model to ask."""
        return self.scoring is not None

    def note(self, text: str, *, level: Literal["info", "warning"] = "info") -> None:
        """Add a visible line to the report."""
        self.notes.append(Note(level=level, text=text))

    def say(self, text: str) -> None:
        """Tell whoever waits, at once: an estimate before long work. It is not stored."""
        if self.listener is not None:
            self.listener(text)

    def work(self) -> Path:
        """A folder for unfinished work, made when it is first asked for.

        It is the same for the same audit, settings, seed and data, so that a run that was
        interrupted goes on where it was; it is removed when the run is stored.

        Raises:
            StoreError: it cannot be made.
        """
        if self.workplace is None:
            raise StoreError(
                "This context keeps no unfinished work: run the audit by auditkit.run."
            )
        return self.workplace()
