"""What is measured on the query side and on the train side, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from auditkit.choices import check_choice, check_number
from auditkit.engine.passes import Function
from auditkit.engine.response import Response
from auditkit.engine.update import ONE_STEP, UpdateSettings
from auditkit.errors import SettingError
from auditkit.pool import Pool
from auditkit.scores import Holdout
from auditkit.subject import Task

Measure: TypeAlias = Literal["auto", "loss", "margin", "squared-norm"]
"""What is measured: `auto` is the task's own measure (margin) of a query, and the loss of a
training example. `squared-norm` is one of diffusion models."""

TrainMeasure: TypeAlias = Literal["auto", "loss", "margin", "squared-norm", "tokens", "outputs"]
"""What is read off a training example: a measure of it, the largest change of its tokens', or how
far its outputs move."""

Pull: TypeAlias = Literal["trained", "held-out"]
"""How hard a training example is taken to pull; see `ForwardINF`."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The settings of an engine that scores depend on, beside its models.

    Attributes:
        query: the query-side measure.
        train: the train-side measure.
        train_name: its name.
        response: what is read off the train side.
        rise: how far the query's measure is to rise.
        update: how else the weights move.
        relative: whether scores are divided by the root of each example's own influence.
        pull: gives what each example of a pool weighs, [example]; None where the measure says it.
    """

    query: Function
    train: Function
    train_name: str
    response: Response
    rise: float
    update: UpdateSettings
    relative: bool = False
    pull: Callable[[Pool], Tensor] | None = None

    @property
    def by_token(self) -> bool:
        """Whether an example's response is the largest of its tokens'."""
        return self.train_name == "tokens"

    @property
    def by_outputs(self) -> bool:
        """Whether it is how far the example's outputs move."""
        return self.train_name == "outputs"


def make_sides(
    task: Task,
    *,
    measure: Measure,
    train_measure: TrainMeasure,
    pull: Pull,
    pulls: Callable[[Pool], Tensor],
    response: Response,
    rise: float,
    update: UpdateSettings | None,
    relative: bool,
) -> Sides:
    """The settings, checked.

    Args:
        task: has the measures.
        measure: the query's.
        train_measure: the training examples'.
        pull: where their weights come from.
        pulls: gives held-out weights.
        response: what is read off the train side.
        rise: how far the query's measure is to rise.
        update: how else the weights move.
        relative: whether scores are divided by the root of each example's own influence.

    Raises:
        SettingError: a measure that the task does not have, weights for another measure than the
            margin, a rise out of range, or an update that first-order responses do not make.
    """
    check_number("rise", rise)
    check_choice("response", response, Response)
    check_choice("pull", pull, Pull)
    _check_update(response, update or ONE_STEP)
    held = pull == "held-out"
    if held and (train_measure != "auto" or task.measure_name != "margin"):
        raise SettingError(
            f"pull is {pull!r} with train_measure {train_measure!r} on a {type(task).__name__}: it "
            "weighs margins, so it needs a task that has them, and no other train_measure."
        )
    train: Measure
    match train_measure:
        case "tokens" | "outputs":
            _check_special(task, train_measure, response, relative=relative)
            train = "auto"
        case _:
            train = train_measure
    return Sides(
        query=measure_function(task, measure, default=task.measure),
        train=measure_function(task, train, default=task.measure if held else task.loss),
        train_name=_name(task, train_measure, held),
        response=response,
        rise=rise,
        update=update or ONE_STEP,
        relative=relative,
        pull=pulls if held else None,
    )


def _check_update(response: Response, update: UpdateSettings) -> None:
    """Refuse settings of an update where none is made: first-order scores are its derivative."""
    given = {
        "step": update.step is not None,
        "steps": update.steps > 1,
        "replay": update.replay > 0,
        "sphere": update.sphere is not None,
    }
    if response != "finite" and any(given.values()):
        names = " and ".join(name for name, set_ in given.items() if set_)
        raise SettingError(
            f"response is {response!r} with UpdateSettings that set {names}: first-order scores "
            'move no weights, so leave that out, or take response="finite".'
        )


def _check_special(
    task: Task, train_measure: TrainMeasure, response: Response, *, relative: bool
) -> None:
    """Refuse what is no difference of one measure where it cannot be read off."""
    if train_measure == "tokens":
        there = type(task).token_measure is not Task.token_measure
        needs = "a task that defines `token_measure`"
    else:
        there = task.has_outputs and task.likelihood != "tokens"
        needs = "a task that defines `outputs`, a table of them"
    if not there or response != "finite" or relative:
        raise SettingError(
            f"train_measure is {train_measure!r} with response {response!r} and "
            f"relative={relative} on a {type(task).__name__}: it needs {needs}, finite responses, "
            "and scores that are not relative."
        )


def measure_function(task: Task, measure: Measure, *, default: Function) -> Function:
    """The task's function of that name; `default` for `auto`.

    Raises:
        SettingError: the task has no such measure.
    """
    if measure == "auto":
        return default
    if measure not in task.measures:
        known = " and ".join(map(repr, task.measures))
        raise SettingError(f"measure is {measure!r}: {type(task).__name__} has {known}.")
    return task.measures[measure]


def _name(task: Task, train_measure: TrainMeasure, held: bool) -> str:
    """What the train-side measure is called."""
    if train_measure != "auto":
        return train_measure
    return task.measure_name if held else "loss"


def held_out_pull(held: Holdout) -> Tensor:
    """What each example weighs, float64 [example]: the geometric mean of two slopes of its loss.

    The slope of the loss by the margin is 1 - p. Under the trained model it is next to nothing for
    what has been memorized; under models that did not train on the example it is what the example
    would pull with if it came anew. How hard it has pulled lies between the two.
    """
    slopes = [-np.expm1(-losses.astype(np.float64)) for losses in (held.inside, held.outside)]
    return torch.from_numpy(np.sqrt(slopes[0] * slopes[1]))
