from __future__ import annotations

import numpy as np
import pytest
from auditkit_mislabel.precision import average_precision
from sklearn.metrics import average_precision_score


@pytest.mark.parametrize("levels", [5, 10_000])
def test_average_precision_is_scikit_learns_with_ties_and_without(levels: int) -> None:
    random = np.random.default_rng(0)
    positive = random.random(300) < 0.2
    score = random.integers(0, levels, 300) + positive
    expected = average_precision_score(positive, score)
    assert average_precision(positive, score.astype(np.float64)) == pytest.approx(expected)


def test_positives_on_top_are_perfect() -> None:
    assert average_precision(np.array([False, True, True]), np.array([0.1, 0.9, 0.8])) == 1.0


def test_a_weight_is_worth_so_many_examples() -> None:
    random = np.random.default_rng(0)
    positive, score = random.random(300) < 0.2, random.normal(size=300).round(1)
    weight = random.integers(1, 5, 300)
    expected = average_precision(np.repeat(positive, weight), np.repeat(score, weight))
    assert average_precision(positive, score, weight.astype(float)) == pytest.approx(expected)
