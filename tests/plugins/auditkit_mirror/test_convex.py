from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditkit_mirror.convex import Problem, fit, gradient, hessian, largest
from auditkit_mirror.study import Asked
from sklearn.linear_model import LogisticRegression, Ridge

from auditkit import errors

Case = tuple[Problem, Asked]


def solver(problem: Problem) -> LogisticRegression:
    """Scikit-learn's solution of the same objective, from nothing."""
    return LogisticRegression(
        C=1 / (problem.rows * problem.decay), tol=1e-13, max_iter=10_000, solver="newton-cholesky"
    )


def test_softmax_is_scikit_learns(softmax: Case) -> None:
    problem, _ = softmax
    found = solver(problem).fit(problem.inputs[:, :-1], problem.targets.argmax(axis=1))
    own = fit(problem)
    assert own.gradient <= 1e-10
    assert own.weights[:-1] == pytest.approx(found.coef_.T, abs=1e-10)
    assert own.weights[-1] == pytest.approx(found.intercept_ - found.intercept_.mean(), abs=1e-10)


def test_two_classes_are_scikit_learns() -> None:
    from tests.plugins.auditkit_mirror.conftest import make

    problem, _ = make("logistic")
    found = solver(problem).fit(problem.inputs[:, :-1], problem.targets[:, 0])
    own = fit(problem)
    assert own.weights[:-1, 0] == pytest.approx(found.coef_[0], abs=1e-10)
    assert own.weights[-1, 0] == pytest.approx(found.intercept_[0], abs=1e-10)


def test_ridge_is_scikit_learns(ridge: Case) -> None:
    problem, _ = ridge
    columns = problem.targets.shape[1]
    alpha = problem.rows * problem.decay * columns / 2
    found = Ridge(alpha=alpha, solver="cholesky").fit(problem.inputs[:, :-1], problem.targets)
    own = fit(problem)
    assert own.weights[:-1] == pytest.approx(found.coef_.T, abs=1e-10)
    assert own.weights[-1] == pytest.approx(found.intercept_, abs=1e-10)


def test_the_hessian_is_the_gradients_slope(small: Case) -> None:
    problem, _ = small
    weights = np.random.default_rng(0).normal(size=(5, problem.targets.shape[1]))
    move = np.random.default_rng(1).normal(size=weights.shape)
    if problem.kind == "softmax":
        move[-1] -= move[-1].mean()
    step = 1e-5
    slope = (
        gradient(problem, weights + step * move) - gradient(problem, weights - step * move)
    ) / (2 * step)
    product = hessian(problem, weights) @ move.T.ravel()
    assert pytest.approx(slope, abs=1e-6) == product.reshape(move.T.shape).T


def test_the_inverse_of_many_gradients_is_each_ones(small: Case) -> None:
    problem, _ = small
    optimum = fit(problem)
    many = np.random.default_rng(0).normal(size=(3, *optimum.weights.shape))
    whole = hessian(problem, optimum.weights)
    for one, solved in zip(many, optimum.solved(many), strict=True):
        expected = np.linalg.solve(whole, one.T.ravel()).reshape(one.T.shape).T
        assert solved == pytest.approx(expected, abs=1e-8)


def test_what_the_gradient_is_measured_by(softmax: Case) -> None:
    problem, _ = softmax
    optimum = fit(problem)
    assert largest(gradient(problem, optimum.weights)) / problem.rows == optimum.gradient


def test_without_convergence_it_says_so(softmax: Case) -> None:
    problem, _ = softmax
    with pytest.raises(errors.DataError, match="did not converge: its gradient is"):
        fit(problem, tolerance=1e-40)


def test_a_hessian_without_an_inverse_is_refused(ridge: Case) -> None:
    problem, _ = ridge
    nothing = np.concatenate([np.zeros((problem.rows, 1)), problem.inputs], axis=1)
    with pytest.raises(errors.DataError, match="cannot be factorized"):
        fit(replace(problem, inputs=nothing, decay=0.0))
