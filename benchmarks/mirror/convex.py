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
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from auditkit_mirror.agreement import Agreement, agreement, pearson, spearman
from auditkit_mirror.convex import TOLERANCE, Optimum, Problem, fit, with_bias
from auditkit_mirror.retrained import leave_one_out
from auditkit_mirror.study import Asked, ConvexMirror, convex_mirror, highest_loss, query_losses
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


def loose(found: Study, *, tolerance: float, rows: int = 100) -> dict[str, float]:
    """Correlations where both sides are trained cold by L-BFGS to a looser tolerance.

    The authors' code leaves scikit-learn's default, 1e-4. Only some rows are left out, and the
    exact study's correlations over the same ones stand beside.
    """
    setting, asked = found.optimum.problem, found.asked
    chosen = np.random.default_rng(1).permutation(setting.rows)[:rows]
    whole = _cold(setting, setting.inputs, setting.targets, tolerance)
    base, losses = query_losses(setting, whole[None], asked)[:, 0], []
    for row in chosen:
        others = np.arange(setting.rows) != row
        weights = _cold(setting, setting.inputs[others], setting.targets[others], tolerance)
        losses.append(query_losses(setting, weights[None], asked)[:, 0] - base)
    inputs, targets = setting.inputs[chosen], setting.targets[chosen]
    before, helped = setting.family.loss(inputs @ whole, targets), []
    for query, target in zip(asked.inputs, asked.targets, strict=True):
        data = (np.vstack([setting.inputs, query]), np.vstack([setting.targets, target]))
        weights = _cold(setting, *data, tolerance)
        helped.append(before - setting.family.loss(inputs @ weights, targets))
    sides = (np.stack(losses, axis=1), np.stack(helped))
    exact = (found.mirror.train_to_test[:, chosen], found.mirror.test_to_train[:, chosen])
    return {
        "tolerance": tolerance,
        "rows": rows,
        "pearson": float(pearson(*sides).mean()),
        "spearman": float(spearman(*sides).mean()),
        "exact pearson": float(pearson(*exact).mean()),
        "exact spearman": float(spearman(*exact).mean()),
    }


def _cold(setting: Problem, inputs: Table, targets: Table, tolerance: float) -> Table:
    """Scikit-learn's weights from nothing, [feature, column]."""
    model = LogisticRegression(
        C=1 / (len(inputs) * setting.decay), solver="lbfgs", tol=tolerance, max_iter=200_000
    ).fit(inputs[:, :-1], targets.argmax(axis=1))
    found: Table = np.vstack([model.coef_.T, model.intercept_])
    return found


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
