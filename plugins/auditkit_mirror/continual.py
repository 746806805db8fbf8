"""How far an update stands for retraining: the engine against leave-one-out, setting by setting.

The engine moves the trained weights against a query where the hypothesis asks for training with the
query. On a linear model both sides of the hypothesis are known exactly, so that what differs is the
engine's setting alone: the preconditioner, how far the query's loss is raised, in how many moves,
and whether training examples are replayed on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from auditkit.errors import EngineError
from auditkit_mirror.agreement import Agreement, agreement
from auditkit_mirror.convex import Optimum, Problem, fit
from auditkit_mirror.retrained import Regularizer
from auditkit_mirror.study import Asked

if TYPE_CHECKING:
    from auditkit import ForwardINF, Recipe, Task
    from auditkit.progress import Progress

Table = npt.NDArray[np.float64]
Preconditioner: TypeAlias = Literal["auto", "none", "diagonal", "kfac", "ekfac", "ggn"]
NAMES = {"auto": "default", "none": "plain gradient", "diagonal": "diagonal", "kfac": "KFAC",
         "ekfac": "EK-FAC", "ggn": "Gauss-Newton"}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One setting of the engine.

    Attributes:
        preconditioner: of the update.
        rise: how far the query's loss is raised, in its own units.
        steps: in how many moves.
        replay: training examples replayed per move.
        damping: of the preconditioner.
    """

    preconditioner: Preconditioner
    rise: float = 0.1
    steps: int = 1
    replay: int = 0
    damping: float = 1.0

    @property
    def name(self) -> str:
        """The setting in words."""
        parts = [NAMES[self.preconditioner], f"rise {self.rise:g}"]
        if self.damping != 1:
            parts.append(f"damping {self.damping:g}")
        if self.steps > 1:
            parts.append(f"{self.steps} steps")
        if self.replay:
            parts.append(f"{self.replay} replayed")
        return ", ".join(parts)


SETTINGS = (
    Setting("none"),
    Setting("diagonal"),
    Setting("kfac"),
    Setting("kfac", steps=4, replay=256),
    Setting("ggn", rise=0.01),
    Setting("ggn"),
    Setting("ggn", damping=0.0),
    Setting("ggn", rise=1.0),
    Setting("ggn", rise=3.0),
    Setting("ggn", steps=4, replay=256),
)
"""What is tried: from the published update to the influence function, and further steps."""


@dataclass(frozen=True)
class Tried:
    """What a setting gave.

    Attributes:
        name: the setting, or the retraining, in words.
        setting: None for retraining.
        agreement: with train-to-test influence; None where the engine gave no scores.
        failure: why it gave none.
    """

    name: str
    setting: Setting | None
    agreement: Agreement | None
    failure: str = ""


class Engines:
    """Engines on one model: those that share a curvature estimate it once.

    Both sides are measured by the loss, as the hypothesis has it.

    Args:
        task: the trained model.
        train: the train pool.
        recipe: its weight decay is part of the curvature.
        seed: for samples.
    """

    def __init__(self, task: Task, train: Pool, recipe: Recipe, *, seed: int) -> None:
        self._task, self._train, self._recipe, self._seed = task, train, recipe, seed
        self._made: dict[tuple[str, float], ForwardINF] = {}

    def get(self, setting: Setting) -> ForwardINF:
        """The engine of a setting."""
        from auditkit import ForwardINF, UpdateSettings  # noqa: PLC0415 - bring torch

        key = (setting.preconditioner, setting.damping)
        if key not in self._made:
            self._made[key] = ForwardINF(
                self._task,
                train=self._train,
                recipe=self._recipe,
                replays=0,  # one network is compared with itself
                preconditioner=setting.preconditioner,
                damping=setting.damping,
                seed=self._seed,
            )
        return self._made[key].configured(
            measure="loss",
            train_measure="loss",
            rise=setting.rise,
            update=UpdateSettings(steps=setting.steps, replay=setting.replay),
        )


def try_settings(
    truth: Table,
    scores: Callable[[Setting], Table],
    *,
    settings: Sequence[Setting] = SETTINGS,
    retrained: Table | None = None,
    progress: Progress,
) -> list[Tried]:
    """How far the scores of each setting agree with train-to-test influence.

    Args:
        truth: [query, example or group]; by retraining.
        scores: from a setting to scores of the same shape.
        settings: to be tried.
        retrained: test-to-train influence by retraining, the best an update can do.
        progress: is told of every setting.
    """
    found = []
    with progress.step("scoring settings", len(settings)) as step:
        for setting in settings:
            try:
                both = agreement(truth, scores(setting), resamples=200)
                found.append(Tried(setting.name, setting, both))
            except EngineError as error:
                found.append(Tried(setting.name, setting, None, str(error)))
            step.advance()
    if retrained is not None:
        both = agreement(truth, retrained, resamples=200)
        found.append(Tried("retrained with the query", None, both))
    return found


def linear_scores(
    optimum: Optimum, asked: Asked, *, together: bool = False, seed: int = 0
) -> Callable[[Setting], Table]:
    """From a setting to the engine's scores on the linear model, [query, row].

    With `together` all queries are unlearned by one update, [1, row].
    """
    from auditkit import Recipe  # noqa: PLC0415 - brings torch

    problem = optimum.problem
    train = pool_of(problem, Asked(problem.inputs, problem.targets))
    recipe = Recipe(optimizer="sgd", weight_decay=problem.decay)
    engines = Engines(_task(optimum), train, recipe, seed=seed)
    queries = pool_of(problem, asked)
    groups = ["queries"] * len(queries) if together else None

    def scores(setting: Setting) -> Table:
        found = engines.get(setting).influence(queries, groups=groups)
        return found.values.astype(np.float64)

    return scores


def retrained_together(
    optimum: Optimum, asked: Asked, *, regularizer: Regularizer = "scaled"
) -> Table:
    """Test-to-train influence of all queries at once, by training on D and all of them, [row]."""
    problem = optimum.problem
    decay = problem.decay
    if regularizer == "kept":
        decay *= problem.rows / (problem.rows + len(asked.inputs))
    whole = replace(
        problem,
        decay=decay,
        inputs=np.concatenate([problem.inputs, asked.inputs]),
        targets=np.concatenate([problem.targets, asked.targets]),
    )
    moved = fit(whole, start=optimum.weights)
    before = problem.family.loss(problem.inputs @ optimum.weights, problem.targets)
    return before - problem.family.loss(problem.inputs @ moved.weights, problem.targets)


def pool_of(problem: Problem, asked: Asked) -> Pool:
    """Examples of a linear model as a pool, without the bias feature."""
    inputs = asked.inputs[:, :-1] if problem.bias else asked.inputs
    if problem.kind == "squared":
        return Pool.from_arrays(inputs, asked.targets)
    labels = asked.targets.argmax(axis=1) if problem.kind == "softmax" else asked.targets[:, 0]
    return Pool.from_arrays(inputs, labels.astype(np.int64))


def _task(optimum: Optimum) -> Task:
    import torch  # noqa: PLC0415 - plugin modules are imported without torch

    from auditkit import ClassificationTask, RegressionTask  # noqa: PLC0415 - as above

    problem, weights = optimum.problem, torch.from_numpy(optimum.weights.T.copy())
    features = weights.shape[1] - int(problem.bias)
    layer = torch.nn.Linear(features, len(weights), bias=problem.bias).double()
    with torch.no_grad():
        layer.weight.copy_(weights[:, :features])
        if problem.bias:
            layer.bias.copy_(weights[:, -1])
    return RegressionTask(layer) if problem.kind == "squared" else ClassificationTask(layer)
