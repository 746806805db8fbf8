"""Regularized linear models in float64: the near-noiseless setting of the hypothesis.

The objective is a sum, so that leaving an example out or putting one in changes one term:

    F(W) = sum_j loss(x_j W, y_j) + ridge / 2 |W|^2

A bias, where there is one, is the last row of W and is not penalized. With `ridge = n * decay`, F
is n times the mean loss plus decay / 2 |W|^2, which is what weight decay means to an optimizer and
`C = 1 / (n * decay)` to scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from auditkit.errors import DataError
from auditkit_mirror.families import FAMILIES, Family, Kind

Table = npt.NDArray[np.float64]

TOLERANCE = 1e-10
"""Where the largest entry of the mean objective's gradient must lie below: scikit-learn's `tol`."""

_ROUGH = 1e-5
_NEWTON = 50


@dataclass(frozen=True)
class Problem:
    """A linear model's data, loss and regularization.

    Attributes:
        inputs: float64 [row, feature]; with a bias, the last feature is 1 for every row.
        targets: float64 [row, column]; one-hot, 0 or 1, or real values, as the family has them.
        kind: the loss.
        decay: of the mean objective, above zero.
        bias: whether the last feature is one, which is not penalized.
    """

    inputs: Table
    targets: Table
    kind: Kind
    decay: float
    bias: bool = True

    @property
    def family(self) -> Family:
        """The loss."""
        return FAMILIES[self.kind]

    @property
    def rows(self) -> int:
        """How many training examples there are."""
        return len(self.inputs)

    @property
    def weights(self) -> int:
        """How many weights there are."""
        return int(self.inputs.shape[1] * self.targets.shape[1])

    @cached_property
    def penalized(self) -> Table:
        """1 for the features whose weights are penalized, 0 for the bias, [feature, 1]."""
        mask = np.ones((self.inputs.shape[1], 1))
        mask[-1] = 0.0 if self.bias else 1.0
        return mask


@dataclass(frozen=True)
class Optimum:
    """A trained linear model and the factorized Hessian of its objective.

    Attributes:
        problem: what was solved.
        weights: float64 [feature, column].
        factor: the Cholesky factor of the Hessian of the summed objective, as scipy has it.
        gradient: the largest entry of the mean objective's gradient that is left.
    """

    problem: Problem
    weights: Table
    factor: tuple[Table, bool]
    gradient: float

    def solved(self, gradients: Table) -> Table:
        """The Hessian's inverse times gradients, [case, feature, column], all at once."""
        cases, features, columns = gradients.shape
        flat = gradients.transpose(2, 1, 0).reshape(columns * features, cases)
        found: Table = cho_solve(self.factor, flat, check_finite=False)
        return found.reshape(columns, features, cases).transpose(2, 1, 0)


def with_bias(inputs: Table) -> Table:
    """The inputs with a last feature that is 1."""
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def fit(problem: Problem, *, tolerance: float = TOLERANCE, start: Table | None = None) -> Optimum:
    """Train: L-BFGS until the gradient is small, then Newton's method until it is gone.

    Args:
        problem: what to solve.
        tolerance: for the largest entry of the mean objective's gradient.
        start: weights to begin from, [feature, column].

    Raises:
        DataError: the tolerance is not reached, or the Hessian cannot be factorized.
    """
    weights, left = _rough(problem, start), np.inf
    for _ in range(_NEWTON):
        optimum = _at(problem, weights)
        if optimum.gradient <= tolerance:
            return optimum
        if optimum.gradient > left / 2:
            break
        weights, left = _improved(optimum), optimum.gradient
    raise DataError(
        f"The linear model did not converge: its gradient is {optimum.gradient:.1e} and was to be "
        f"at most {tolerance:.1e}; raise the decay ({problem.decay:g}) or scale the features."
    )


def gradient(problem: Problem, weights: Table) -> Table:
    """The gradient of the summed objective, [feature, column]."""
    slopes = problem.family.slope(problem.inputs @ weights, problem.targets)
    ridge = problem.rows * problem.decay
    found: Table = problem.inputs.T @ slopes + ridge * problem.penalized * weights
    return found


def objective(problem: Problem, weights: Table) -> float:
    """The summed objective."""
    losses = problem.family.loss(problem.inputs @ weights, problem.targets)
    ridge = problem.rows * problem.decay
    return float(losses.sum() + ridge / 2 * np.square(problem.penalized * weights).sum())


def hessian(problem: Problem, weights: Table) -> Table:
    """The Hessian of the summed objective, [column * feature, column * feature].

    The biases of a softmax may all move by one number without any change of the loss; a term that
    holds their sum at zero makes the matrix definite and changes no step.
    """
    features, columns = weights.shape
    curvature = problem.family.curvature(problem.inputs @ weights)  # [row, column, column]
    found = np.empty((columns, features, columns, features))
    for first in range(columns):
        for second in range(first, columns):
            weighed = curvature[:, first, second, None] * problem.inputs
            found[first, :, second] = problem.inputs.T @ weighed
            found[second, :, first] = found[first, :, second].T
    ridge = problem.rows * problem.decay * problem.penalized[:, 0]
    for column in range(columns):
        found[column, range(features), column, range(features)] += ridge
    if problem.kind == "softmax" and problem.bias:
        found[:, -1, :, -1] += problem.rows / columns**2
    return found.reshape(columns * features, columns * features)


def largest(table: Table) -> float:
    """The largest absolute entry."""
    return float(np.abs(table).max())


def _rough(problem: Problem, start: Table | None) -> Table:
    from scipy.optimize import minimize  # noqa: PLC0415 - slow to import

    shape = (problem.inputs.shape[1], problem.targets.shape[1])
    begin = np.zeros(shape) if start is None else start
    if problem.kind == "squared":
        return begin  # the first Newton step is the solution

    def both(flat: Table) -> tuple[float, Table]:
        weights = flat.reshape(shape)
        value, slope = objective(problem, weights), gradient(problem, weights)
        return value / problem.rows, slope.ravel() / problem.rows

    options = {"gtol": _ROUGH, "ftol": 0.0, "maxiter": 5_000, "maxcor": 20}
    found = minimize(both, begin.ravel(), jac=True, method="L-BFGS-B", options=options)
    rough: Table = found.x.reshape(shape)
    if problem.kind == "softmax" and problem.bias:
        rough[-1] -= rough[-1].mean()
    return rough


def _at(problem: Problem, weights: Table) -> Optimum:
    try:
        factor = cho_factor(hessian(problem, weights), overwrite_a=True, check_finite=False)
    except LinAlgError as error:
        raise DataError(
            f"The linear model's Hessian cannot be factorized ({error}): raise the decay "
            f"({problem.decay:g}) or scale the features."
        ) from error
    left = largest(gradient(problem, weights)) / problem.rows
    return Optimum(problem, weights, factor, left)


def _improved(optimum: Optimum) -> Table:
    """The weights after Newton steps with one Hessian, as many as lower the gradient."""
    problem, weights, left = optimum.problem, optimum.weights, optimum.gradient
    for _ in range(_NEWTON):
        step = optimum.solved(gradient(problem, weights)[None])[0]
        moved = _downhill(problem, weights, step)
        reached = largest(gradient(problem, moved)) / problem.rows
        if reached >= left:
            break
        weights, left = moved, reached
    return weights


def _downhill(problem: Problem, weights: Table, step: Table) -> Table:
    """The weights after a Newton step, halved until the objective does not rise."""
    before, slope = objective(problem, weights), largest(step)
    for _ in range(30):
        moved: Table = weights - step
        if objective(problem, moved) <= before + 1e-12 * abs(before) or slope == 0:
            return moved
        step = step / 2
    return weights
