"""Both directions by influence functions and by TracIn, where the hypothesis is provable.

Influence functions (Koh and Liang 2017): with H the Hessian of the summed objective on D,

    train to test   g(q)^T H_D^-1 g(z)        leaving z out, to first order
    test to train   g(z)^T H_{D+Q}^-1 g(q)    putting q in, among the queries Q that are put in

which are one number as long as Q is small against D. TracIn (Pruthi et al. 2020) adds up, over
checkpoints, what a step of gradient descent on one example does to the loss of the other; as the
step gets small both directions are the inner product of two gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from auditkit_mirror.convex import Optimum, Problem, hessian
from auditkit_mirror.study import Asked

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """An approximation of both influences, [query, row]; positive where one helps the other."""

    train_to_test: Table
    test_to_train: Table

    @property
    def gap(self) -> float:
        """How far the two are apart, relative to their size: 0 where they are one table."""
        apart = float(np.linalg.norm(self.train_to_test - self.test_to_train))
        size = float(np.linalg.norm(self.train_to_test))
        return apart / size if size > 0 else 0.0


def influence_functions(optimum: Optimum, asked: Asked, *, together: bool = False) -> Directions:
    """Both directions of the influence function.

    Args:
        optimum: the trained linear model.
        asked: the queries.
        together: put all queries in at once, so that H_{D+Q} holds all of them; by default each
            alone.
    """
    parts = [asked]
    if not together:
        parts = [_part(asked, slice(at, at + 1)) for at in range(len(asked.inputs))]
    return Directions(
        train_to_test=_products(optimum, _solved(optimum, asked)),
        test_to_train=np.concatenate([_with_queries(optimum, part) for part in parts]),
    )


def descent(problem: Problem, *, steps: Sequence[int], rate: float | None = None) -> list[Table]:
    """Weights along full-batch gradient descent from zero, after so many steps each.

    Args:
        problem: what is trained.
        steps: after how many steps a checkpoint is taken, rising.
        rate: by default the inverse of a bound of the mean objective's curvature.
    """
    rate = safe_rate(problem) if rate is None else rate
    weights = np.zeros((problem.inputs.shape[1], problem.targets.shape[1]))
    found, done = [], 0
    for target in steps:
        for _ in range(target - done):
            slopes = problem.family.slope(problem.inputs @ weights, problem.targets)
            mean = problem.inputs.T @ slopes / problem.rows
            weights = weights - rate * (mean + problem.decay * problem.penalized * weights)
        done = target
        found.append(weights)
    return found


def tracin(
    problem: Problem, asked: Asked, checkpoints: Sequence[Table], *, rate: float
) -> Directions:
    """Both directions of TracIn, each by real steps on one side and forward passes on the other.

    Args:
        problem: what was trained.
        asked: the queries.
        checkpoints: weights [feature, column] along the training.
        rate: the step on a single example. The two directions differ by the order of it.
    """
    shape = (len(asked.inputs), problem.rows)
    forth, back = np.zeros(shape), np.zeros(shape)
    for weights in checkpoints:
        forth += _steps_on_rows(problem, asked, weights, rate)
        back += _steps_on_queries(problem, asked, weights, rate)
    return Directions(forth, back)


def safe_rate(problem: Problem) -> float:
    """A rate at which gradient descent converges: one over a bound of the curvature."""
    spectral = float(np.linalg.norm(problem.inputs, 2)) ** 2 / problem.rows
    sharpest = {"softmax": 0.5, "logistic": 0.25, "squared": 2.0}[problem.kind]
    return 1 / (sharpest * spectral + problem.decay)


def _steps_on_rows(problem: Problem, asked: Asked, weights: Table, rate: float) -> Table:
    """How much a step on each training example lowers each query's loss, [query, row].

    A step on one example moves the weights by `rate` times the outer product of its inputs and its
    slope, so that a query's outputs move by the inner product of inputs, times the slope.
    """
    slopes = problem.family.slope(problem.inputs @ weights, problem.targets)
    outputs = asked.inputs @ weights
    moves = rate * (asked.inputs @ problem.inputs.T)[:, :, None] * slopes[None]
    before = problem.family.loss(outputs, asked.targets)
    return before[:, None] - problem.family.loss(outputs[:, None] - moves, asked.targets[:, None])


def _steps_on_queries(problem: Problem, asked: Asked, weights: Table, rate: float) -> Table:
    """How much a step on each query lowers each training loss, [query, row]."""
    slopes = problem.family.slope(asked.inputs @ weights, asked.targets)
    outputs = problem.inputs @ weights
    moves = rate * (asked.inputs @ problem.inputs.T)[:, :, None] * slopes[:, None]
    before = problem.family.loss(outputs, problem.targets)
    return before[None] - problem.family.loss(outputs[None] - moves, problem.targets[None])


def _with_queries(optimum: Optimum, asked: Asked) -> Table:
    """g(z)^T H_{D+Q}^-1 g(q) for all of these queries, [query, row].

    For few queries by Woodbury's identity, for many by factorizing their Hessian anew.
    """
    problem, weights = optimum.problem, optimum.weights
    columns = weights.shape[1]
    slopes = problem.family.slope(asked.inputs @ weights, asked.targets)
    gradients = asked.inputs[:, :, None] * slopes[:, None, :]
    if len(asked.inputs) * columns < min(200, problem.weights):
        return _products(optimum, _by_woodbury(optimum, asked, gradients))
    whole = hessian(problem, weights)
    more = Problem(asked.inputs, asked.targets, problem.kind, 0.0, problem.bias)
    factor = cho_factor(whole + hessian(more, weights), overwrite_a=True, check_finite=False)
    flat = gradients.transpose(2, 1, 0).reshape(problem.weights, -1)
    moves = cho_solve(factor, flat, check_finite=False)
    shaped = moves.reshape(columns, -1, len(gradients)).transpose(2, 1, 0)
    return _products(optimum, shaped)


def _by_woodbury(optimum: Optimum, asked: Asked, gradients: Table) -> Table:
    """(H + U W U^T)^-1 times gradients, where U W U^T is the curvature of the queries."""
    count, columns = len(asked.inputs), optimum.weights.shape[1]
    along = np.einsum("qf,ck->qcfk", asked.inputs, np.eye(columns))
    along = along.reshape(count * columns, *optimum.weights.shape)
    moves, plain = optimum.solved(along), optimum.solved(gradients)
    weighed = np.zeros((count * columns, count * columns))
    curvature = optimum.problem.family.curvature(asked.inputs @ optimum.weights)
    for query in range(count):
        place = slice(query * columns, (query + 1) * columns)
        weighed[place, place] = curvature[query]
    inner = np.eye(len(weighed)) + weighed @ np.einsum("afk,bfk->ab", along, moves)
    right = weighed @ np.einsum("afk,gfk->ag", along, plain)
    found: Table = plain - np.einsum("ag,afk->gfk", np.linalg.solve(inner, right), moves)
    return found


def _solved(optimum: Optimum, asked: Asked) -> Table:
    """H_D^-1 g(q), [query, feature, column]."""
    family = optimum.problem.family
    slopes = family.slope(asked.inputs @ optimum.weights, asked.targets)
    return optimum.solved(asked.inputs[:, :, None] * slopes[:, None, :])


def _products(optimum: Optimum, moves: Table) -> Table:
    """The inner products of moves [case, feature, column] with every training gradient."""
    problem = optimum.problem
    slopes = problem.family.slope(problem.inputs @ optimum.weights, problem.targets)
    along = np.tensordot(moves, problem.inputs, axes=([1], [1]))  # [case, column, row]
    found: Table = np.einsum("ckr,rk->cr", along, slopes)
    return found


def _part(asked: Asked, chosen: slice) -> Asked:
    return Asked(asked.inputs[chosen], asked.targets[chosen])
