"""The near-noiseless setting: leave-one-out against add-one for logistic regression.

    python -m benchmarks.mirror convex

As in the authors' code (LOO-DualLOO-Convex-11.03.py): softmax regression on raw pixels from 0 to 1,
weight decay .01 of the mean loss (`C = 1 / (.01 n)`), a bias that is not penalized, and the ten
candidates of highest loss as queries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from auditkit_mirror.agreement import Agreement, agreement, pearson, spearman
from auditkit_mirror.convex import (
    TOLERANCE,
    Optimum,
    Problem,
    fit,
    gradient,
    objective,
    with_bias,
)
from auditkit_mirror.retrained import leave_one_out
from auditkit_mirror.study import Asked, ConvexMirror, convex_mirror, highest_loss, query_losses
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from auditkit.progress import Progress
from benchmarks.mirror.data import Name, images

DECAY = 0.01
TRAIN = {"fashion": 4_200, "digits": 1_297}
CANDIDATES = {"fashion": 5_000, "digits": 500}
QUERIES = 10
Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """A data set's convex study."""

    data: Name
    optimum: Optimum
    asked: Asked
    mirror: ConvexMirror
    seconds: dict[str, float | None]


def problem(data: Name, *, rows: int | None = None) -> tuple[Problem, Asked]:
    """The training problem and the candidates for queries."""
    pictures, labels = images(data)
    inputs = with_bias(pictures.reshape(len(pictures), -1).astype(np.float64))
    targets = np.eye(10)[labels]
    count = rows or TRAIN[data]
    held = slice(count, count + CANDIDATES[data])
    return Problem(inputs[:count], targets[:count], "softmax", DECAY), Asked(
        inputs[held], targets[held]
    )


def study(data: Name, folder: Path, progress: Progress) -> Study:
    """Train, retrain without every row and with every query.

    What the retrainings took is known only where none of them was there before.
    """
    whole = not (folder / f"convex-{data}").exists()
    setting, candidates = problem(data)
    start = time.perf_counter()
    optimum = fit(setting)
    fitted = time.perf_counter()
    chosen = highest_loss(optimum, candidates, QUERIES)
    asked = Asked(candidates.inputs[chosen], candidates.targets[chosen])
    mirror = convex_mirror(optimum, asked, folder=folder / f"convex-{data}", progress=progress)
    end = time.perf_counter()
    seconds = {"fit": fitted - start, "retrainings": end - fitted if whole else None}
    return Study(data, optimum, asked, mirror, seconds)


def agreements(mirror: ConvexMirror) -> dict[str, Agreement]:
    """Train-to-test against each form of test-to-train."""
    sides = {
        "as published": mirror.test_to_train,
        "regularizer kept": mirror.kept,
        "regularizer kept, a hundredth of the query": mirror.limit,
    }
    return {name: agreement(mirror.train_to_test, side) for name, side in sides.items()}


def costs(optimum: Optimum, *, sample: int = 64, cold: int = 2) -> dict[str, float]:
    """Seconds of one leave-one-out retraining: warm, and cold by scikit-learn's solvers."""
    setting = optimum.problem
    rows = np.random.default_rng(0).permutation(setting.rows)[:sample]
    start = time.perf_counter()
    warm = leave_one_out(optimum, rows)
    found = {"warm": (time.perf_counter() - start) / sample}
    for solver in ("lbfgs", "newton-cg"):
        start = time.perf_counter()
        gap = 0.0
        for place in range(cold):
            model = cold_fit(setting, int(rows[place]), solver=solver, tolerance=TOLERANCE)
            gap = max(gap, float(np.abs(model.coef_.T - warm.weights[place][:-1]).max()))
        found[solver] = (time.perf_counter() - start) / cold
        found[f"{solver}, largest difference of a weight"] = gap
    return found


def cold_fit(
    setting: Problem, left_out: int, *, solver: str, tolerance: float
) -> LogisticRegression:
    """Scikit-learn's model without one row, from nothing."""
    others = np.arange(setting.rows) != left_out
    model = LogisticRegression(
        C=1 / (others.sum() * setting.decay), solver=solver, tol=tolerance, max_iter=200_000
    )
    return model.fit(setting.inputs[others, :-1], setting.targets[others].argmax(axis=1))


@dataclass(frozen=True)
class Stop:
    """When L-BFGS stops: by the mean objective's gradient, or by how little the objective falls.

    scikit-learn stops by `tol`, 1e-4 unless it is told otherwise. Earlier versions minimized the
    sum over `C` and left scipy's other rule in force, a relative reduction below 2.2e-9, which
    comes first.
    """

    name: str
    gradient: float | None = None

    def weights(self, setting: Problem, inputs: Table, targets: Table) -> Table:
        """The weights where it stops, from nothing, [feature, column]."""
        if self.gradient is not None:
            return _by_gradient(setting, inputs, targets, self.gradient)
        return _by_reduction(replace(setting, inputs=inputs, targets=targets))


STOPS = (
    Stop("scikit-learn's default, a gradient of 1e-4", 1e-4),
    Stop("relative reduction of 2.2e-9"),
    Stop("a gradient of 1e-6", 1e-6),
    Stop("a gradient of 1e-8", 1e-8),
)


def loose(found: Study, stop: Stop, *, rows: int = 100) -> dict[str, float | str]:
    """Correlations where both sides are trained cold and stop early.

    Only some rows are left out, and the exact study's correlations over the same ones stand beside.
    """
    setting, asked = found.optimum.problem, found.asked
    chosen = np.random.default_rng(1).permutation(setting.rows)[:rows]
    whole = stop.weights(setting, setting.inputs, setting.targets)
    base, losses = query_losses(setting, whole[None], asked)[:, 0], []
    for row in chosen:
        others = np.arange(setting.rows) != row
        weights = stop.weights(setting, setting.inputs[others], setting.targets[others])
        losses.append(query_losses(setting, weights[None], asked)[:, 0] - base)
    inputs, targets = setting.inputs[chosen], setting.targets[chosen]
    before, helped = setting.family.loss(inputs @ whole, targets), []
    for query, target in zip(asked.inputs, asked.targets, strict=True):
        data = (np.vstack([setting.inputs, query]), np.vstack([setting.targets, target]))
        helped.append(before - setting.family.loss(inputs @ stop.weights(setting, *data), targets))
    sides = (np.stack(losses, axis=1), np.stack(helped))
    exact = (found.mirror.train_to_test[:, chosen], found.mirror.test_to_train[:, chosen])
    return {
        "stop": stop.name,
        "rows": rows,
        "pearson": float(pearson(*sides).mean()),
        "spearman": float(spearman(*sides).mean()),
        "exact pearson": float(pearson(*exact).mean()),
        "exact spearman": float(spearman(*exact).mean()),
        "train to test with the exact one": float(spearman(sides[0], exact[0]).mean()),
        "test to train with the exact one": float(spearman(sides[1], exact[1]).mean()),
    }


def _by_gradient(setting: Problem, inputs: Table, targets: Table, tolerance: float) -> Table:
    model = LogisticRegression(
        C=1 / (len(inputs) * setting.decay), solver="lbfgs", tol=tolerance, max_iter=200_000
    ).fit(inputs[:, :-1], targets.argmax(axis=1))
    found: Table = np.vstack([model.coef_.T, model.intercept_])
    return found


def _by_reduction(setting: Problem) -> Table:
    shape = (setting.inputs.shape[1], setting.targets.shape[1])

    def both(flat: Table) -> tuple[float, Table]:
        weights = flat.reshape(shape)
        return objective(setting, weights), gradient(setting, weights).ravel()

    options = {"gtol": 1e-4, "maxiter": 1_000}  # and scipy's own ftol
    start = np.zeros(shape).ravel()
    found = minimize(both, start, jac=True, method="L-BFGS-B", options=options)
    weights: Table = found.x.reshape(shape)
    return weights


class Clock:
    """Progress as lines with the time that is left, every half minute."""

    def step(self, description: str, total: int) -> AbstractContextManager[_Step]:
        """A piece of work."""
        return _timed(description, total)


class _Step:
    def __init__(self, description: str, total: int) -> None:
        self._what, self._total, self._done = description, total, 0
        self._start = self._said = time.perf_counter()

    def advance(self, amount: int = 1) -> None:
        """Say how far it is, now and then."""
        self._done += amount
        now = time.perf_counter()
        if now - self._said > 30 and self._done < self._total:
            left = (now - self._start) / self._done * (self._total - self._done)
            click.echo(f"{self._what}: {self._done:,} of {self._total:,}, {left / 60:.1f} min left")
            self._said = now


@contextmanager
def _timed(description: str, total: int) -> Iterator[_Step]:
    yield _Step(description, total)
