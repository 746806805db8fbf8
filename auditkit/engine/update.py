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

from auditkit.batches import batches
from auditkit.checks import per_example
from auditkit.engine.curvature import Preconditioner
from auditkit.engine.passes import Executor, Function, Weights, at_least_single
from auditkit.errors import StepError
from auditkit.gradients import gradient
from auditkit.pool import Pool, Positions

_TOLERANCE = 0.05
_READINGS = 60
_BELOW = 8
_LEAST = 1e-4
_CLOSEST = 1e-6


@dataclass(frozen=True)
class Update:
    """How the weights move for one query: by `step * direction`, from the weights they have.

    `rise` is how far the query's measure was asked to rise, or half the highest rise there was
    along the direction, where that is less.
    """

    direction: Weights
    step: float
    rise: float

    def moved(self, model: nn.Module) -> dict[str, Tensor]:
        """The moved weights by name; the model's own are not changed."""
        return _moved(model, self.direction, self.step)


def make_update(
    function: Function,
    model: nn.Module,
    pool: Pool,
    positions: Positions,
    *,
    precondition: Preconditioner,
    rise: float,
    executor: Executor,
    device: torch.device,
) -> Update:
    """The update that raises the mean measure of a group of queries by `rise`, if it goes so far.

    Args:
        function: the query-side measure, `Task.measure` or `Task.loss`.
        model: the trained model.
        pool: where the queries are.
        positions: the group; one position for a single query.
        precondition: from a gradient to a direction.
        rise: how far the group's mean measure is to rise, in its own units; reached within 5 %.
        executor: runs the query while the step is sought.
        device: where the model is.

    Raises:
        StepError: the measure has no gradient at the query, or does not rise along the update.
        TaskError: the measure does not depend on the weights of the model it is given.
    """
    slopes = mean_gradient(function, model, pool, positions, device=device)
    direction = precondition(slopes)
    slope = sum(float((slopes[name] * direction[name]).sum()) for name in slopes)
    name = pool.ids[int(positions[0])]
    if not slope > 0 or not math.isfinite(slope):
        raise StepError(
            f"The measure of query {name!r} has no usable gradient (slope {slope:.3g} along the "
            'update): its loss may have saturated; use measure="margin".'
        )

    def rise_at(step: float) -> float:
        moved = _moved(model, direction, step)
        values = executor.measure(function, model, pool, weights=moved, positions=positions)
        return float(values.double().mean()) - base

    base = float(executor.measure(function, model, pool, positions=positions).double().mean())
    step, rise = line_search(rise_at, rise=rise, guess=rise / slope, query=name)
    return Update(direction, step, rise)


def mean_gradient(
    function: Function,
    model: nn.Module,
    pool: Pool,
    positions: Positions,
    *,
    device: torch.device,
    batch_size: int = 64,
) -> dict[str, Tensor]:
    """The gradient of the mean measure over examples, by name of the trainable parameters.

    Raises:
        TaskError: the measure does not depend on the weights of the model it is given.
    """
    total = {
        name: torch.zeros_like(weight, dtype=at_least_single(weight.dtype))
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    for where, batch in batches(pool, positions, batch_size=batch_size, device=device):
        values = per_example(function(model, batch), pool, where, what="measure")
        for name, part in gradient(values.sum(), model).items():
            total[name] += part / len(positions)
    return total


def line_search(
    rise_at: Callable[[float], float], *, rise: float, guess: float, query: str
) -> tuple[float, float]:
    """The smallest step at which the rise is `rise` within 5 %, and the rise it was sought for.

    The measure need not rise forever along the update: the search begins far below the first-order
    guess, doubles until the rise is reached for the first time, and closes in by geometric means.
    Where it is never reached, half the highest rise seen is sought instead; where the measure jumps
    over it, the step is the one just beyond the jump. The weights are reset before every reading:
    `rise_at` starts from the trained ones each time.

    Raises:
        StepError: the measure never rises.
    """
    low, high, beyond, best = 0.0, math.inf, math.nan, 0.0
    step = guess / 2**_BELOW
    for _ in range(_READINGS):
        reached = rise_at(step)
        best = max(best, reached) if math.isfinite(reached) else best
        if abs(reached - rise) <= _TOLERANCE * rise:
            return step, rise
        if reached < rise:
            low = step
        else:
            high, beyond = step, reached
        if math.isinf(high):
            step = step * 2
        elif high - low > _CLOSEST * high:
            step = math.sqrt(low * high) if low > 0 else high / 2
        else:
            break
    if math.isfinite(beyond):
        return high, rise
    best = min(best, rise)
    if not best > _LEAST:
        raise StepError(
            f"No step along the update raises the measure of query {query!r} (highest rise seen: "
            f'{best:.3g}): its loss may have saturated; use measure="margin".'
        )
    return line_search(rise_at, rise=best / 2, guess=guess, query=query)


def _moved(model: nn.Module, direction: Weights, step: float) -> dict[str, Tensor]:
    own = dict(model.named_parameters())
    return {
        name: (own[name].detach() + step * move).to(own[name].dtype)
        for name, move in direction.items()
    }
