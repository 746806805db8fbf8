"""Numbers drawn by key: normal, independent, and the same wherever they are drawn."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from auditkit.tasks.noise import keys_of, normal, signs


def test_the_numbers_are_normal_and_independent() -> None:
    keys = keys_of([str(place) for place in range(200)], seed=3)
    drawn = normal(keys, torch.zeros(200, dtype=torch.int64), (1, 16, 16))
    assert kstest(drawn.flatten().numpy(), "norm").pvalue > 0.01
    flat = drawn.flatten(start_dim=1)
    among = torch.corrcoef(flat) - torch.eye(200)
    assert float(among.abs().max()) < 5 / 16  # five standard errors of 256 numbers
    assert abs(float(among.sum()) / 200**2) < 1e-3
    places = torch.corrcoef(flat.T) - torch.eye(256)
    assert float(places.abs().max()) < 0.4
    other = normal(keys, torch.ones(200, dtype=torch.int64), (1, 16, 16))
    assert abs(float((drawn * other).mean())) < 0.02


def test_a_number_depends_on_its_key_and_draw_alone() -> None:
    keys = keys_of(["a", "b", "c"], seed=0)
    draws = torch.tensor([0, 5, 9])
    together = normal(keys, draws, (2, 3, 3))
    for place in range(3):
        alone = normal(keys[place : place + 1], draws[place : place + 1], (2, 3, 3))
        assert torch.equal(alone[0], together[place])
    assert not torch.equal(keys, keys_of(["a", "b", "c"], seed=1))
    assert len(set(keys_of([str(place) for place in range(10_000)], seed=0).tolist())) == 10_000


@pytest.mark.parametrize(("key", "place"), [(99, 35_874), (535, 7_144)])
def test_the_farthest_number_is_finite(key: int, place: int) -> None:
    drawn = normal(torch.tensor([key]), torch.tensor([0]), (place + 1,))[0, place]
    assert 5 < float(drawn) < 6


def test_signs_are_as_often_up_as_down() -> None:
    drawn = signs(torch.arange(100), 1_000)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(drawn.mean())) < 0.01
    assert abs(float((drawn[:-1] * drawn[1:]).mean())) < 0.01
