from __future__ import annotations

import numpy as np
import pytest
from auditkit_leakage.metric import ACCURACY, ERROR, compare, values

from auditkit import Evaluation


def test_accuracy_and_squared_error_come_from_outputs() -> None:
    ids, loss = ("a", "b"), np.zeros(2, np.float32)
    scores = np.array([[2.0, 1.0], [0.0, 1.0]], np.float32)
    name, value = values(Evaluation(ids, loss, scores, np.array([0, 0])), "categorical") or ("", 0)
    assert (name, list(value)) == (ACCURACY, [1.0, 0.0])
    targets = np.array([[1.0], [3.0]], np.float32)
    made = Evaluation(ids, loss, np.array([[1.5], [3.0]], np.float32), targets)
    name, value = values(made, "gaussian") or ("", 0)
    assert (name, list(value)) == (ERROR, [0.25, 0.0])
    assert values(Evaluation(ids, loss), "categorical") is None
    assert values(made, None) is None


def test_the_interval_of_the_difference_is_that_of_a_paired_draw() -> None:
    random = np.random.default_rng(0)
    flagged = np.arange(2_000) < 400
    value = (random.random(2_000) < np.where(flagged, 0.99, 0.80)).astype(float)
    found = compare(ACCURACY, value, flagged, seed=1)
    assert found.whole == value.mean()
    assert found.clean == value[~flagged].mean()
    assert found.difference is not None
    assert found.low < found.difference < found.high
    # the difference is a fifth of that between the two parts, whose deviations are known
    deviation = 0.2 * np.sqrt(0.99 * 0.01 / 400 + 0.8 * 0.2 / 1_600 + (0.19**2) * 0.8 / 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)


def test_where_all_are_flagged_nothing_is_compared() -> None:
    found = compare(ACCURACY, np.ones(3), np.ones(3, dtype=bool))
    assert found.clean is None
    assert found.difference is None


def test_without_flags_there_is_no_difference() -> None:
    found = compare(ACCURACY, np.array([0.0, 1.0, 1.0]), np.zeros(3, dtype=bool))
    assert (found.low, found.difference, found.high) == (0, 0, 0)
