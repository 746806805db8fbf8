from __future__ import annotations

import numpy as np
import pytest
from auditkit_leakage.null import null_weights


@pytest.mark.parametrize("shape", [1.0, 2.0, 6.0])
def test_distances_without_duplicates_count_nearly_fully(shape: float) -> None:
    distance = np.random.default_rng(0).weibull(shape, 3_000)
    assert null_weights(distance).mean() > 0.97


def test_a_heap_of_duplicates_counts_hardly() -> None:
    random = np.random.default_rng(1)
    strangers = 2 * random.weibull(6, 1_800)
    heap = 0.1 * random.weibull(2, 200)
    weights = null_weights(np.concatenate([strangers, heap]))
    assert weights[1_800:].mean() < 0.1
    assert weights[:1_800].mean() > 0.95


def test_regions_of_unlike_density_are_not_taken_for_duplicates() -> None:
    random = np.random.default_rng(2)
    distance = random.weibull(4, 3_000) * np.exp(0.6 * random.normal(size=3_000))
    assert null_weights(distance).mean() > 0.95


@pytest.mark.parametrize("distance", [np.ones(500), np.zeros(500), np.arange(20.0), np.zeros(0)])
def test_where_no_law_can_be_fitted_all_count(distance: np.ndarray) -> None:
    assert (null_weights(distance) == 1).all()
