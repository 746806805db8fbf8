"""What a budget allows: an estimate before anything long is done, and what has to be left out.

Speeds are measured once and kept with the unfinished work, so that a run that goes on after an
interruption goes on with the same plan.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from auditkit.errors import DataError, StoreError
from auditkit_mirror.probe import LEAST_ROWS

ROWS = (4_200, 2_000, 1_000, 500, 200, LEAST_ROWS)
"""How many training rows the convex study may have, the most that fit are taken."""

NEWTON = 6
"""Steps that a leave-one-out retraining takes, about."""

OVERHEAD = 3.0
"""What a step costs beside its products, as a factor: exponentials, memory, small blocks."""

SETTINGS_SHARE = 0.5
"""What formulas and engine settings cost, as a share of the convex study, and at least"""

SETTINGS_LEAST = 10.0
"""Seconds that they cost at least."""

GROUP_ROWS = (1_000, 500, 250, 120)
GROUP_CHOICES = ((30, 5), (30, 3), (20, 3), (12, 2))
"""Groups and seeds of the noisy study, the first that fit are taken."""


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        rows: training rows of the convex study.
        convex_seconds: what it and what follows from it will take, about.
        group_rows: training examples of the noisy study; 0 where it is left out.
        groups: how many groups.
        seeds: retrainings per group.
        group_seconds: what it will take, about.
        more_minutes: the budget that the smallest noisy study would have needed; 0 where it runs.
        reason: why the model cannot be retrained at all.
    """

    rows: int
    convex_seconds: float
    group_rows: int
    groups: int
    seeds: int
    group_seconds: float
    more_minutes: float
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The estimate, for whoever waits."""
        text = (
            f"Estimate: {in_words(self.convex_seconds)} for a linear model on the features, "
            f"retrained {self.rows:,} times"
        )
        if self.group_rows:
            return (
                f"{text}, and {in_words(self.group_seconds)} for {self.groups} groups of training "
                f"examples with {self.seeds} retrainings of the whole model each."
            )
        return f"{text}; retraining the whole model without groups of examples is left out."


_OF_ALL = 0.8
"""At most so many of the training examples are retrained in groups; the others may be queries."""


def make_plan(
    *,
    budget: float,
    examples: int,
    features: int,
    columns: int,
    flops: float,
    epoch: Callable[[], float | str],
    epochs: int,
) -> Plan:
    """What fits into a budget.

    Args:
        budget: in minutes.
        examples: in the train pool.
        features: of the linear model.
        columns: its classes or outputs.
        flops: operations per second of a product of matrices.
        epoch: gives the seconds that one training example costs per epoch, or why the model
            cannot be retrained.
        epochs: of a retraining.

    Raises:
        DataError: the budget is too small for anything.
    """
    sizes = sorted({min(size, examples) for size in ROWS}, reverse=True)
    costs = {size: convex_seconds(size, features + 1, columns, flops) for size in sizes}
    fitting = [size for size in sizes if costs[size] <= 0.5 * 60 * budget]
    if not fitting:
        need = 2 * costs[sizes[-1]] / 60
        raise DataError(
            f"A budget of {budget:g} minutes is too small: retraining a linear model without each "
            f"of {sizes[-1]} examples and what belongs to it takes about {need:.2g} minutes here; "
            "give --budget that much or more."
        )
    rows = fitting[0]
    left = 60 * budget - costs[rows]
    each = epoch()
    if isinstance(each, str):
        return Plan(rows, costs[rows], 0, 0, 0, 0.0, 0.0, each)
    for size in GROUP_ROWS:
        for groups, seeds in GROUP_CHOICES:
            seconds = group_seconds(size, groups, seeds, each * epochs)
            if size <= _OF_ALL * examples and seconds <= left:
                return Plan(rows, costs[rows], size, groups, seeds, seconds, 0.0)
    least = int(np.ceil(GROUP_ROWS[-1] / _OF_ALL))
    if examples < least:
        reason = f"that takes {least} training examples or more."
        return Plan(rows, costs[rows], 0, 0, 0, 0.0, 0.0, reason)
    smallest = group_seconds(GROUP_ROWS[-1], *GROUP_CHOICES[-1], each * epochs)
    return Plan(rows, costs[rows], 0, 0, 0, 0.0, _needed(costs, smallest) / 60)


def _needed(costs: Mapping[int, float], smallest: float) -> float:
    """The least budget, in seconds, that leaves so many beside the linear model it allows."""
    tried = {2 * smallest}  # at most half of a budget goes to the linear model
    for cost in costs.values():
        tried.add(max(2 * cost, cost + smallest))
    for budget in sorted(tried):
        allowed = [size for size, cost in costs.items() if cost <= 0.5 * budget]
        if allowed and budget - costs[max(allowed)] >= smallest:
            return budget
    return max(tried)


def convex_seconds(rows: int, features: int, columns: int, flops: float) -> float:
    """What leaving out every row, and what follows from it, will take."""
    weights = features * columns
    step = 4.0 * rows * weights + 2.0 * weights**2
    study = OVERHEAD * rows * NEWTON * step / flops
    once = (rows * weights * features * columns + weights**3 / 3) * 4 / flops
    return (study + once) * (1 + SETTINGS_SHARE) + SETTINGS_LEAST


def group_seconds(rows: int, groups: int, seeds: int, example: float) -> float:
    """What a noisy study will take, at so many seconds per example of a retraining."""
    return seeds * (groups + 5) * rows * example


def measured_flops() -> float:
    """Operations per second of a product of matrices in double precision, by a short trial."""
    table = np.random.default_rng(0).normal(size=(600, 600))
    table @ table
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < 0.1:
        table @ table
        done += 1
    return done * 2 * 600.0**3 / (time.perf_counter() - start)


def kept_plan(path: Path, make: Callable[[], Plan]) -> Plan:
    """The plan of a run that was interrupted, or a new one, written down.

    Raises:
        StoreError: it cannot be read or written.
    """
    try:
        if path.exists():
            return Plan(**json.loads(path.read_text(encoding="utf-8")))
        plan = make()
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        part.replace(path)
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read or written ({error}): delete it.") from error
    return plan


def in_words(seconds: float) -> str:
    """A stretch of time as one would say it."""
    if seconds < 90:
        count = max(1, round(seconds))
        return f"about {count} second{'' if count == 1 else 's'}"
    return f"about {seconds / 60:.0f} minutes"
