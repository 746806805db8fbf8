from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from auditkit_mirror.convex import Problem, fit
from auditkit_mirror.retrained import Regularizer, add_one, leave_one_out
from auditkit_mirror.study import Asked
from sklearn.linear_model import LogisticRegression

from auditkit import errors
from tests.plugins.auditkit_mirror.conftest import make

Case = tuple[Problem, Asked]
REGULARIZERS: list[Regularizer] = ["scaled", "kept"]


def cold(problem: Problem, inputs: np.ndarray, targets: np.ndarray, regularizer: str) -> np.ndarray:
    """The weights of a problem with other data, trained from nothing."""
    kept = problem.decay * problem.rows / len(inputs)
    decay = kept if regularizer == "kept" else problem.decay
    return fit(replace(problem, inputs=inputs, targets=targets, decay=decay)).weights


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_without_a_row_it_is_what_training_without_it_gives(
    small: Case, regularizer: Regularizer
) -> None:
    problem, _ = small
    found = leave_one_out(
        fit(problem), np.arange(problem.rows), tolerance=1e-13, regularizer=regularizer
    )
    assert (found.gradient <= 1e-13).all()
    for row, weights in enumerate(found.weights):
        others = np.arange(problem.rows) != row
        expected = cold(problem, problem.inputs[others], problem.targets[others], regularizer)
        assert weights == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_with_a_query_it_is_what_training_with_it_gives(
    small: Case, regularizer: Regularizer
) -> None:
    problem, asked = small
    found = add_one(
        fit(problem), asked.inputs, asked.targets, tolerance=1e-13, regularizer=regularizer
    )
    for query, weights in enumerate(found.weights):
        inputs = np.vstack([problem.inputs, asked.inputs[query]])
        targets = np.vstack([problem.targets, asked.targets[query]])
        assert weights == pytest.approx(cold(problem, inputs, targets, regularizer), abs=1e-10)


def test_softmax_without_a_row_is_scikit_learns_cold_solution(softmax: Case) -> None:
    problem, _ = softmax
    found = leave_one_out(fit(problem), [7], tolerance=1e-13).weights[0]
    others = np.arange(problem.rows) != 7
    model = LogisticRegression(
        C=1 / (others.sum() * problem.decay), tol=1e-13, max_iter=10_000, solver="newton-cholesky"
    ).fit(problem.inputs[others, :-1], problem.targets[others].argmax(axis=1))
    assert found[:-1] == pytest.approx(model.coef_.T, abs=1e-10)


def test_two_classes_without_a_row_are_scikit_learns_cold_solution() -> None:
    problem, _ = make("logistic")
    found = leave_one_out(fit(problem), [7], tolerance=1e-13).weights[0]
    others = np.arange(problem.rows) != 7
    model = LogisticRegression(
        C=1 / (others.sum() * problem.decay), tol=1e-13, max_iter=10_000, solver="newton-cholesky"
    ).fit(problem.inputs[others, :-1], problem.targets[others, 0])
    assert found[:-1, 0] == pytest.approx(model.coef_[0], abs=1e-10)
    assert found[-1, 0] == pytest.approx(model.intercept_[0], abs=1e-10)


def test_ridge_without_a_row_has_a_closed_form(ridge: Case) -> None:
    problem, _ = ridge
    found = leave_one_out(fit(problem), [11])
    others = np.arange(problem.rows) != 11
    rows, columns = problem.inputs[others], problem.targets.shape[1]
    gram = rows.T @ rows + columns / 2 * 59 * problem.decay * np.diag([1.0, 1, 1, 1, 0])
    expected = np.linalg.solve(gram, rows.T @ problem.targets[others])
    assert found.weights[0] == pytest.approx(expected, abs=1e-12)
    assert found.steps[0] == 0


def test_blocks_do_not_change_what_comes_out(digits: Case) -> None:
    optimum = fit(digits[0])
    whole = leave_one_out(optimum, np.arange(12)).weights
    for row in range(0, 12, 4):
        part = leave_one_out(optimum, np.arange(row, row + 4)).weights
        assert part == pytest.approx(whole[row : row + 4], abs=1e-12)


def test_a_row_that_is_most_of_its_own_curvature_is_done_apart(softmax: Case) -> None:
    problem, _ = softmax
    inputs, targets = problem.inputs.copy(), problem.targets.copy()
    inputs[0, :-1] = [90.0, -60.0, 30.0, 40.0]
    targets[0] = [0.0, 0.0, 1.0]
    far = replace(problem, inputs=inputs, targets=targets, decay=1e-4)
    found = leave_one_out(fit(far), [0])
    assert found.gradient[0] <= 1e-10
    expected = cold(far, inputs[1:], targets[1:], "scaled")
    assert found.weights[0] == pytest.approx(expected, abs=1e-6)


def test_a_part_of_an_example_that_cannot_be_reached_is_said(softmax: Case) -> None:
    problem, asked = softmax
    with pytest.raises(errors.DataError, match=r"did not converge with 0\.5 of an example added"):
        add_one(fit(problem), asked.inputs[:1], asked.targets[:1], weight=0.5, tolerance=1e-40)


def test_a_query_far_off_is_reached(softmax: Case) -> None:
    problem, _ = softmax
    optimum = fit(replace(problem, decay=1e-4))
    far = np.array([[500.0, -300.0, 100.0, 50.0, 1.0]])
    worst = np.eye(3)[[int((far @ optimum.weights)[0].argmin())]]
    found = add_one(optimum, far, worst)
    assert found.gradient[0] <= 1e-10


def test_a_part_of_a_query_moves_in_proportion(digits: Case) -> None:
    problem, asked = digits
    optimum, one = fit(problem), (asked.inputs[:1], asked.targets[:1])
    moves = [
        add_one(optimum, *one, weight=part, tolerance=1e-13, regularizer="kept").weights[0]
        - optimum.weights
        for part in (1e-3, 1e-4, -1e-4)
    ]
    size = np.abs(moves[0]).max()
    assert moves[1] * 10 == pytest.approx(moves[0], abs=0.02 * size)
    assert moves[2] == pytest.approx(-moves[1], abs=0.002 * size)


def test_what_does_not_converge_is_said(softmax: Case) -> None:
    optimum = fit(softmax[0])
    with pytest.raises(errors.DataError, match="did not converge"):
        leave_one_out(optimum, [0], tolerance=1e-40)
