from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auditkit.errors import SettingError
from auditkit.truth import Retraining, half_subsets


def test_measures_are_those_of_models_that_trained_on_the_members(
    regression: Retraining, ridge: object
) -> None:
    halves = half_subsets(regression, count=4, seeds=1, share=0.3)
    assert halves.members.sum(axis=1).tolist() == [12] * 4
    assert len({tuple(row) for row in halves.members.tolist()}) == 4
    for members, measures in zip(halves.members, halves.measures, strict=True):
        expected = ridge.losses(without=np.flatnonzero(~members).tolist())
        assert np.allclose(measures, expected, rtol=1e-4)
    assert halves.query_ids == regression.asked.ids
    assert halves.train_ids == regression.train.ids


def test_measures_are_means_over_seeds(small: Retraining) -> None:
    halves = half_subsets(small, count=2, seeds=3)
    assert halves.by_seed.shape == (2, 3, 10)
    assert halves.by_seed.std(axis=1).min() > 0
    assert np.allclose(halves.measures, halves.by_seed.mean(axis=1), rtol=1e-5)
    assert halves.measure == "margin"
    losses = half_subsets(replace(small, measure="loss"), count=2, seeds=3)
    assert losses.measure == "loss"
    # With p the label's probability, the loss is -log p and the measure log(1 - p) - log p.
    assert np.allclose(losses.by_seed, np.logaddexp(0, halves.by_seed), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0 and share is 0.5: there must be a subset or more"),
        ({"share": 0.0}, "share is 0: .* at least one of the 60 training examples"),
        ({"share": 1.0}, "share is 1:"),
        ({"seeds": 0}, "seeds is 0"),
    ],
)
def test_settings_are_checked(
    small: Retraining, settings: dict[str, int | float], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        half_subsets(small, **settings)
