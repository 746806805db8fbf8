"""Warm retraining of a linear model without one example, or with one more, for many at once.

Each retraining starts from the trained weights and takes Newton steps with the one factorized
Hessian of the full data, until its own gradient is gone. The Hessian of a retraining differs from
that one by a single example in n, so each step leaves a small part of the error, and all
retrainings of a block share the two triangular solves and the products with the data: no more than
matrix products, which is what makes a retraining cost milliseconds.

Where one example is a large part of its own Hessian, the steps are slow or go too far. Then the
example's own curvature is put into or taken out of the inverse (Woodbury's identity), and steps are
halved that go too far. What does not converge even so is trained with Hessians of its own.

What happens to the regularizer is a setting. `scaled`: it stays `decay` times the number of
examples, as in the authors' code, so that a new example also strengthens it. `kept`: it stays what
it was, and one term of the sum is all that changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from auditkit.errors import DataError
from auditkit_mirror.convex import TOLERANCE, Optimum, Problem, fit, largest
from auditkit_mirror.families import Family

Table = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]
Regularizer: TypeAlias = Literal["scaled", "kept"]

_STEPS = 60
_CAREFUL_STEPS = 30
_FASTER = 0.5
"""A plain step must leave less than this share of the gradient, or the example is done apart."""


@dataclass(frozen=True)
class Retrained:
    """Retrained weights, one model per case.

    Attributes:
        weights: float64 [case, feature, column].
        steps: int64 [case]; how many Newton steps each took.
        gradient: float64 [case]; the largest entry of the mean objective's gradient that is left.
    """

    weights: Table
    steps: Positions
    gradient: Table


def leave_one_out(
    optimum: Optimum,
    rows: Positions | Sequence[int],
    *,
    tolerance: float = TOLERANCE,
    regularizer: Regularizer = "scaled",
) -> Retrained:
    """The models trained without each of these training examples.

    Args:
        optimum: the model trained on all of them.
        rows: which to leave out, one per case.
        tolerance: for the largest entry of each mean objective's gradient.
        regularizer: what happens to it.

    Raises:
        DataError: a retraining does not converge.
    """
    left_out = np.asarray(rows, dtype=np.int64)
    count = optimum.problem.rows - 1
    ridge = _ridge(optimum.problem, count, regularizer)
    if optimum.problem.kind == "squared":
        return _closed_form(optimum, left_out, ridge=ridge)
    own = (optimum.problem.inputs[left_out], optimum.problem.targets[left_out])
    block = _Block(optimum, own, sign=-1.0, count=count, ridge=ridge, rows=left_out)
    return block.solved(tolerance)


def add_one(
    optimum: Optimum,
    inputs: Table,
    targets: Table,
    *,
    weight: float = 1.0,
    tolerance: float = TOLERANCE,
    regularizer: Regularizer = "scaled",
) -> Retrained:
    """The models trained with one more example, one model for each.

    Args:
        optimum: the model trained on the data alone.
        inputs: [case, feature], with the bias feature if the problem has one.
        targets: [case, column].
        weight: of the added example; below 1 it is put in in part, below 0 it is unlearned.
        tolerance: for the largest entry of each mean objective's gradient.
        regularizer: what happens to it.

    Raises:
        DataError: a retraining does not converge.
    """
    count = optimum.problem.rows + weight
    ridge = _ridge(optimum.problem, count, regularizer)
    block = _Block(optimum, (inputs, targets), sign=weight, count=count, ridge=ridge, rows=None)
    return block.solved_apart(tolerance)


def _ridge(problem: Problem, count: float, regularizer: Regularizer) -> float:
    return (problem.rows if regularizer == "kept" else count) * problem.decay


@dataclass(frozen=True)
class _Block:
    """Retrainings that are solved together.

    Attributes:
        optimum: where all begin.
        own: inputs [case, feature] and targets [case, column] of the examples that change.
        sign: the weight with which they enter: -1 to leave out, 1 to put in.
        count: how many examples each objective has.
        ridge: its regularization.
        rows: where the examples stand in the training data; None for new ones.
    """

    optimum: Optimum
    own: tuple[Table, Table]
    sign: float
    count: float
    ridge: float
    rows: Positions | None

    @property
    def _problem(self) -> Problem:
        return self.optimum.problem

    @property
    def _family(self) -> Family:
        return self._problem.family

    def solved(self, tolerance: float) -> Retrained:
        """All cases by shared steps; those that go slowly, one by one."""
        cases = len(self.own[0])
        weights = np.repeat(self.optimum.weights[None], cases, axis=0)
        steps, left = np.zeros(cases, dtype=np.int64), np.full(cases, np.inf)
        active, slow = np.arange(cases), np.zeros(cases, dtype=bool)
        for _ in range(_STEPS):
            slopes = self.gradients(weights[active], active)
            before, left[active] = left[active], np.abs(slopes).max(axis=(1, 2)) / self.count
            done = left[active] <= tolerance
            slow[active] = ~done & (left[active] > _FASTER * before)
            going = ~done & ~slow[active]
            active = active[going]
            if len(active) == 0:
                break
            weights[active] -= self.optimum.solved(slopes[going])
            steps[active] += 1
        slow[active] = True
        for case in np.flatnonzero(slow):
            weights[case], more, left[case] = self._apart(int(case), tolerance)
            steps[case] += more
        return Retrained(weights, steps, left)

    def solved_apart(self, tolerance: float) -> Retrained:
        """All cases one by one."""
        found = [self._apart(case, tolerance) for case in range(len(self.own[0]))]
        weights, steps, left = zip(*found, strict=True)
        return Retrained(np.stack(weights), np.array(steps, dtype=np.int64), np.array(left))

    def gradients(self, weights: Table, cases: Positions) -> Table:
        """The gradients of the summed objectives, [case, feature, column]."""
        problem = self._problem
        count, features, columns = weights.shape
        flat = weights.transpose(1, 0, 2).reshape(features, count * columns)
        outputs = (problem.inputs @ flat).reshape(-1, count, columns)
        slopes = self._family.slope(outputs, problem.targets[:, None])  # [row, case, column]
        if self.rows is not None and self.sign == -1:
            slopes[self.rows[cases], np.arange(count)] = 0.0
        total = problem.inputs.T @ slopes.reshape(len(slopes), -1)
        found: Table = total.reshape(features, count, columns).transpose(1, 0, 2).copy()
        if self.rows is None:
            inputs, targets = self.own[0][cases], self.own[1][cases]
            outputs = np.einsum("cf,cfk->ck", inputs, weights)
            own = self.sign * self._family.slope(outputs, targets)
            found += inputs[:, :, None] * own[:, None, :]
        found += self.ridge * problem.penalized * weights
        return found

    def _apart(self, case: int, tolerance: float) -> tuple[Table, int, float]:
        """One case by Newton steps that know the example's own curvature; weights, steps, left."""
        inverse = _Changed(self.optimum, self.own[0][case], self.sign)
        where = np.array([case])
        weights, left = self.optimum.weights, np.inf
        for number in range(_CAREFUL_STEPS):
            slope = self.gradients(weights[None], where)[0]
            left = largest(slope) / self.count
            if left <= tolerance:
                return weights, number, left
            at = self.optimum.weights if self.sign < 0 else weights
            curvature = self._family.curvature(inverse.inputs @ at)
            weights = self._downhill(weights, inverse.solved(slope, curvature), slope, case)
        return self._anew(case, tolerance)

    def _anew(self, case: int, tolerance: float) -> tuple[Table, int, float]:
        """One case with Hessians of its own; an example put in in part has not that way out."""
        problem, inputs, targets = self._problem, self.own[0][case], self.own[1][case]
        if self.rows is not None:
            others = np.arange(problem.rows) != self.rows[case]
            whole = (problem.inputs[others], problem.targets[others])
        elif self.sign == 1:
            whole = (np.vstack([problem.inputs, inputs]), np.vstack([problem.targets, targets]))
        else:
            raise DataError(
                f"The linear model did not converge with {self.sign:g} of an example added: raise "
                f"the decay ({problem.decay:g}) or scale the features."
            )
        changed = replace(
            problem, inputs=whole[0], targets=whole[1], decay=self.ridge / len(whole[0])
        )
        found = fit(changed, tolerance=tolerance, start=self.optimum.weights)
        return found.weights, _CAREFUL_STEPS, found.gradient

    def _downhill(self, weights: Table, step: Table, slope: Table, case: int) -> Table:
        """The weights after a step, halved until the gradient along it has not turned around."""
        start = float((slope * step).sum())
        for _ in range(40):
            moved: Table = weights - step
            along = float((self.gradients(moved[None], np.array([case]))[0] * step).sum())
            if along >= -0.5 * abs(start):  # convex: it falls on the way to the minimum along it
                return moved
            step, start = step / 2, start / 2
        return weights


class _Changed:
    """The inverse of the full Hessian plus `sign` times the curvature of one example."""

    def __init__(self, optimum: Optimum, inputs: Table, sign: float) -> None:
        columns = optimum.weights.shape[1]
        self.inputs, self._optimum, self._sign = inputs, optimum, sign
        along = np.einsum("f,ck->cfk", inputs, np.eye(columns))  # [column, feature, column]
        self._moves = optimum.solved(along)
        self._outputs = np.einsum("f,cfk->kc", inputs, self._moves)  # [column, column]

    def solved(self, slope: Table, curvature: Table) -> Table:
        """The changed inverse times one gradient; curvature is by the example's outputs."""
        plain = self._optimum.solved(slope[None])[0]
        weighed = self._sign * curvature
        inner = np.eye(len(weighed)) + weighed @ self._outputs
        along = np.linalg.solve(inner, weighed @ (self.inputs @ plain))
        found: Table = plain - np.einsum("c,cfk->fk", along, self._moves)
        return found


def _closed_form(optimum: Optimum, rows: Positions, *, ridge: float) -> Retrained:
    """Ridge regression without each of these rows: one rank-one change of one factorization."""
    problem = optimum.problem
    inputs, targets, columns = problem.inputs, problem.targets, problem.targets.shape[1]
    gram = 2 / columns * inputs.T @ inputs + ridge * np.diag(problem.penalized[:, 0])
    factor = cho_factor(gram, check_finite=False)
    whole: Table = cho_solve(factor, 2 / columns * inputs.T @ targets, check_finite=False)
    moves = cho_solve(factor, inputs[rows].T, check_finite=False).T  # [case, feature]
    leverage = 2 / columns * (moves * inputs[rows]).sum(axis=1)
    residuals = 2 / columns * (targets[rows] - inputs[rows] @ whole)
    shift = moves[:, :, None] * (residuals / (1 - leverage)[:, None])[:, None, :]
    none = np.zeros(len(rows))
    return Retrained(whole - shift, none.astype(np.int64), none)
