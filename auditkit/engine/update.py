"""The query side: moving the weights against a query, or a group of queries.

    theta_q = theta + step * P * gradient of the query's measure

Every measure is lower the better the query is learnt, so this is ascent: it unlearns the query.
The preconditioner P decides what is computed (`curvature.py`); the step is not a learning rate but
whatever makes the query's own measure rise by a stated amount, since wrong rates flip the sign of
such scores (Isonuma and Titov 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.checks import per_example
from auditkit.engine.curvature import Preconditioner
from auditkit.engine.line_search import line_search
from auditkit.engine.passes import (
    Batching,
    Executor,
    Function,
    Weights,
    at_least_single,
    call,
    common_numbers,
)
from auditkit.errors import SettingError, StepError
from auditkit.gradients import differentiable, gradient
from auditkit.pool import Pool, Positions


@dataclass(frozen=True, kw_only=True)
class UpdateSettings:
    """How the weights move for a query, other than one step to a stated rise of its measure.

    Attributes:
        step: move by this much along the direction instead, whatever the measure does: a learning
            rate. None for the line search.
        steps: in how many moves, each along a gradient taken anew.
        replay: training examples per move whose loss is kept where it is: the change of their mean
            gradient since the trained weights is taken off the query's. Only with several steps.
        descend: learn the query instead of unlearning it; its measure is to fall as far.
        sphere: put a random point at this distance in place of a query whose loss has saturated
            (`sphere.py`); None for never.

    Raises:
        SettingError: a number out of its range.
    """

    step: float | None = None
    steps: int = 1
    replay: int = 0
    descend: bool = False
    sphere: float | None = None

    def __post_init__(self) -> None:
        if self.step is not None and not 0 < self.step < math.inf:
            raise SettingError(f"step is {self.step}: it must be above zero and finite.")
        if self.steps < 1 or self.replay < 0:
            raise SettingError(
                f"steps is {self.steps} and replay is {self.replay}: there must be at least one "
                "step, and replay must not be negative."
            )


_GRADIENT_BATCH = 64

_VISIBLE = 1e-4
"""A rise is at least this share of the measure itself: less would be rounding."""

ONE_STEP = UpdateSettings()
"""One step, found by line search."""


@dataclass(frozen=True)
class Update:
    """How the weights move for one query: by `step * direction`, from the weights they have.

    `step` is below zero where the query was learnt rather than unlearned. `rise` is how far the
    query's measure was asked to move, or half the furthest it could go along the direction, where
    that is less.
    """

    direction: Weights
    step: float
    rise: float

    def moved(self, model: nn.Module) -> dict[str, Tensor]:
        """The moved weights by name; the model's own are not changed."""
        return _moved(model, self.direction, self.step)


@dataclass(frozen=True)
class Query:
    """One query, or a group of them: what is measured, on what, where."""

    function: Function
    model: nn.Module
    pool: Pool
    positions: Positions
    executor: Executor
    device: torch.device

    @property
    def name(self) -> str:
        """The id of the (first) query, for messages."""
        return self.pool.ids[int(self.positions[0])]

    def mean(self, weights: Weights | None = None) -> float:
        """The mean measure under the model's weights, or others."""
        values = self.executor.measure(
            self.function, self.model, self.pool, weights=weights, positions=self.positions
        )
        return float(values.double().mean())

    def gradient(self, weights: Weights | None = None) -> dict[str, Tensor]:
        """The gradient of the mean measure, at the model's weights or others."""
        return mean_gradient(
            self.function,
            self.model,
            self.pool,
            self.positions,
            device=self.device,
            batch_size=min(_GRADIENT_BATCH, self.executor.batch_size),
            weights=weights,
        )


def make_update(
    query: Query,
    direction: Weights,
    slopes: Weights,
    *,
    precondition: Preconditioner,
    rise: float,
    settings: UpdateSettings = ONE_STEP,
    replayed: Callable[[int], Query] | None = None,
) -> Update:
    """The update that raises the mean measure of a group of queries by `rise`, if it goes so far.

    Args:
        query: the group, and where it is measured.
        direction: the preconditioned gradient.
        slopes: the gradient itself.
        precondition: from gradients to directions, for further steps.
        rise: how far the group's mean measure is to rise, in its own units; reached within 5 %.
        settings: how else.
        replayed: the training examples to replay at each move, measured by their loss.

    Raises:
        StepError: the measure has no gradient at the query, or does not rise along the update.
        TaskError: the measure does not depend on the weights of the model it is given.
    """
    if settings.steps > 1:
        moves = _Moves(query, precondition, settings, replayed)
        return moves.update(direction, slopes, rise=rise)
    step, reached = _length(query, direction, slopes, settings, rise=rise)
    return Update(direction, step, reached)


def ascent(query: Query, precondition: Preconditioner) -> tuple[dict[str, Tensor], Weights]:
    """The preconditioned gradient of one query, and the gradient."""
    slopes = query.gradient()
    return _one(precondition, slopes), slopes


def mean_gradient(
    function: Function,
    model: nn.Module,
    pool: Pool,
    positions: Positions,
    *,
    device: torch.device,
    batch_size: int = _GRADIENT_BATCH,
    weights: Weights | None = None,
) -> dict[str, Tensor]:
    """The gradient of the mean measure over examples, by name of the trainable parameters.

    Args:
        function: the measure.
        model: the trained model.
        pool: where the examples are.
        positions: which of them.
        device: where the model is.
        batch_size: examples per backward pass; fewer where memory runs out.
        weights: where the gradient is taken, if not at the model's own weights of these names.

    Raises:
        TaskError: the measure does not depend on the weights of the model it is given.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    at = None if weights is None else {n: w.detach().requires_grad_() for n, w in weights.items()}
    total = {
        name: torch.zeros_like(weight, dtype=at_least_single(weight.dtype))
        for name, weight in trained.items()
    }

    def run(cut: slice) -> dict[str, Tensor]:
        where = positions[cut]
        batch = collate(pool, where, device=device)
        with common_numbers(pool, where):
            values = per_example(call(function, model, batch, at), pool, where, what="measure")
        return gradient(values.sum(), model) if at is None else _by(values.sum(), at)

    with differentiable():
        for _, found in Batching(batch_size).over(len(positions), run):
            for name, part in found.items():
                total[name] += part / len(positions)
    return total


def _length(
    query: Query, direction: Weights, slopes: Weights, settings: UpdateSettings, *, rise: float
) -> tuple[float, float]:
    """The step along a direction, signed, and the move of the measure it was sought for."""
    sign, slope = -1.0 if settings.descend else 1.0, _slope(slopes, direction)
    if settings.step is not None:
        return sign * settings.step, rise
    _check_slope(query, slope)
    base = query.mean()
    rise = max(rise, _VISIBLE * abs(base))

    def rise_at(step: float) -> float:
        return sign * (query.mean(_moved(query.model, direction, sign * step)) - base)

    step, reached = line_search(rise_at, rise=rise, guess=rise / slope, query=query.name)
    return sign * step, reached


@dataclass(frozen=True)
class _Moves:
    """Several moves of one length, their sum scaled at last so that the measure moves as asked.

    With training examples replayed, each move also mends the solve: their mean gradient has changed
    by about H times the moves so far, and what the query's gradient exceeds that by is left to move
    for (one step of iterative refinement).
    """

    query: Query
    precondition: Preconditioner
    settings: UpdateSettings
    replayed: Callable[[int], Query] | None

    def update(self, direction: Weights, start: Weights, *, rise: float) -> Update:
        """All moves as one update, along a direction that is their sum."""
        steps = self.settings.steps
        first, _ = _length(self.query, direction, start, self.settings, rise=rise / steps)
        total = {name: first * part for name, part in direction.items()}
        for number in range(1, steps):
            slopes = self._slopes(_moved(self.query.model, total, 1.0), number, length=first)
            for name, part in _one(self.precondition, slopes).items():
                total[name] = total[name] + first * part
        along = {name: part / first for name, part in total.items()}
        if self.settings.step is not None:
            return Update(along, first, rise)
        step, reached = _length(self.query, along, start, self.settings, rise=rise)
        return Update(along, step, reached)

    def _slopes(self, weights: Weights, number: int, *, length: float) -> dict[str, Tensor]:
        """The gradient at moved weights, less what the replayed examples hold against the moves."""
        slopes = self.query.gradient(weights)
        if self.replayed is None or self.settings.replay == 0:
            return slopes
        batch = self.replayed(number)
        here, there = batch.gradient(weights), batch.gradient()
        return {name: part - (here[name] - there[name]) / length for name, part in slopes.items()}


def _one(precondition: Preconditioner, slopes: Weights) -> dict[str, Tensor]:
    """The direction of a single gradient."""
    found = precondition({name: part[None] for name, part in slopes.items()})
    return {name: part[0] for name, part in found.items()}


def _slope(slopes: Weights, direction: Weights) -> float:
    return sum(float((slopes[name] * direction[name]).sum()) for name in slopes)


def _check_slope(query: Query, slope: float) -> None:
    if not slope > 0 or not math.isfinite(slope):
        raise StepError(
            f"The measure of query {query.name!r} has no usable gradient (slope {slope:.3g} along "
            "the update): its loss may have saturated; ask for a smaller rise, or "
            'measure="margin" where the task has one.'
        )


def _by(value: Tensor, weights: Weights) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    return {n: part for n, part in zip(weights, found, strict=True) if part is not None}


def _moved(model: nn.Module, direction: Weights, step: float) -> dict[str, Tensor]:
    own = {name: weight.detach() for name, weight in model.named_parameters()}
    return {  # laid out in memory as the model's own weights are (`layout.py`)
        name: torch.empty_like(own[name]).copy_(own[name] + step * move)
        for name, move in direction.items()
    }
