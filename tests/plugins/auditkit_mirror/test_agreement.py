from __future__ import annotations

import numpy as np
import pytest
from auditkit_mirror.agreement import agreement, pearson, spearman
from scipy import stats


def test_correlations_are_scipys() -> None:
    draw = np.random.default_rng(0)
    left = draw.integers(0, 9, size=(3, 40)).astype(float)
    right = left + draw.normal(size=(3, 40))
    for row in range(3):
        assert pearson(left, right)[row] == pytest.approx(stats.pearsonr(left[row], right[row])[0])
        assert spearman(left, right)[row] == pytest.approx(
            stats.spearmanr(left[row], right[row])[0]
        )


def test_a_constant_side_agrees_with_nothing() -> None:
    assert pearson(np.ones(5), np.arange(5.0)) == 0
    assert agreement(np.ones(5), np.arange(5.0)).spearman.mean == 0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(24):
        draw = np.random.default_rng(seed)
        left = draw.normal(size=200)
        right = 0.8 * left + 0.6 * draw.normal(size=200)
        found = agreement(left, right, resamples=100, seed=seed).pearson
        held += int(found.low[0] <= 0.8 <= found.high[0])
    assert 20 <= held <= 24


def test_one_seed_gives_one_interval() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(2, 4, 30))
    first, second = (agreement(left, right, seed=5).spearman for _ in range(2))
    assert (first.mean_low, first.mean_high) == (second.mean_low, second.mean_high)
    assert first.mean == pytest.approx(first.each.mean())
