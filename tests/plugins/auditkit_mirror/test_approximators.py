from __future__ import annotations

import numpy as np
import pytest
from auditkit_mirror.agreement import pearson
from auditkit_mirror.approximators import descent, influence_functions, safe_rate, tracin
from auditkit_mirror.convex import Problem, fit, gradient, hessian, largest
from auditkit_mirror.study import Asked

from auditkit.progress import SILENT

Case = tuple[Problem, Asked]


def by_hand(problem: Problem, asked: Asked, whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """g(q)^T H^-1 g(z) with a given H, [query, row]."""

    def gradients(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        slopes = problem.family.slope(inputs @ weights, targets)
        return (slopes[:, :, None] * inputs[:, None, :]).reshape(len(inputs), -1)

    queries = gradients(asked.inputs, asked.targets)
    return queries @ np.linalg.solve(whole, gradients(problem.inputs, problem.targets).T)


def test_both_directions_are_the_formulas(small: Case) -> None:
    problem, asked = small
    optimum = fit(problem)
    whole = hessian(problem, optimum.weights)
    found = influence_functions(optimum, asked)
    expected = by_hand(problem, asked, whole, optimum.weights)
    assert found.train_to_test == pytest.approx(expected, abs=1e-8)
    for query in range(len(asked.inputs)):
        one = Asked(asked.inputs[[query]], asked.targets[[query]])
        own = Problem(one.inputs, one.targets, problem.kind, 0.0)
        with_it = whole + _without_gauge(own, optimum.weights)
        row = by_hand(problem, one, with_it, optimum.weights)[0]
        assert found.test_to_train[query] == pytest.approx(row, abs=1e-8)


@pytest.mark.parametrize("queries", [2, 200])
def test_all_queries_at_once_share_one_hessian(digits: Case, queries: int) -> None:
    problem, asked = digits
    optimum = fit(problem)
    part = Asked(asked.inputs[:queries], asked.targets[:queries])
    found = influence_functions(optimum, part, together=True)
    own = Problem(part.inputs, part.targets, problem.kind, 0.0)
    whole = hessian(problem, optimum.weights) + _without_gauge(own, optimum.weights)
    expected = by_hand(problem, part, whole, optimum.weights)
    assert found.test_to_train == pytest.approx(expected, abs=1e-7)


def test_the_gap_grows_with_the_share_of_queries(digits: Case) -> None:
    problem, asked = digits
    optimum = fit(problem)
    gaps = [
        influence_functions(
            optimum, Asked(asked.inputs[:count], asked.targets[:count]), together=True
        ).gap
        for count in (2, 20, 200)
    ]
    assert gaps[0] < gaps[1] < gaps[2]
    assert gaps[0] < 0.2


def test_influence_functions_foresee_retraining(digits: Case) -> None:
    from auditkit_mirror.study import convex_mirror

    problem, asked = digits
    optimum = fit(problem)
    few = Asked(asked.inputs[:5], asked.targets[:5])
    mirror = convex_mirror(optimum, few, folder=None, progress=SILENT)
    found = influence_functions(optimum, few)
    assert pearson(found.train_to_test, mirror.train_to_test).min() > 0.99
    assert pearson(found.test_to_train, mirror.limit).min() > 0.99


def test_both_directions_of_tracin_meet_as_the_step_gets_small(small: Case) -> None:
    problem, asked = small
    checkpoints = descent(problem, steps=[1, 5, 25])
    gaps = [tracin(problem, asked, checkpoints, rate=rate).gap for rate in (1e-2, 1e-3, 1e-4)]
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.2)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.2)


def test_tracin_on_checkpoints_of_its_own_is_another_thing(small: Case) -> None:
    problem, asked = small
    early, late = descent(problem, steps=[1, 200])
    one = tracin(problem, asked, [early], rate=1e-6).train_to_test
    other = tracin(problem, asked, [late], rate=1e-6).test_to_train
    assert np.abs(one - other).max() > 0.1 * np.abs(one).max()


def test_descent_ends_where_training_does(small: Case) -> None:
    problem, _ = small
    first, last = descent(problem, steps=[1, 3_000])
    assert largest(gradient(problem, last)) < 1e-3 * largest(gradient(problem, first))
    assert safe_rate(problem) > 0


def _without_gauge(own: Problem, weights: np.ndarray) -> np.ndarray:
    """The Hessian of queries alone: the term that pins the biases' sum belongs to the data."""
    found = hessian(own, weights)
    if own.kind == "softmax":
        columns, features = weights.shape[1], weights.shape[0]
        shaped = found.reshape(columns, features, columns, features)
        shaped[:, -1, :, -1] -= own.rows / columns**2
    return found
