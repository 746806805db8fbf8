from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from auditkit.seeds import seeded, stream


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_a_seed_repeats_itself() -> None:
    with seeded(3):
        first = draw()
    with seeded(3):
        second = draw()
    with seeded(4):
        third = draw()
    assert first == second
    assert all(one != other for one, other in zip(first, third, strict=True))


def test_outside_nothing_is_noticed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    expected = [draw(), draw()]
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    found = [draw()]
    with pytest.raises(ZeroDivisionError), seeded(9):
        1 / int(draw()[0])
    with seeded(9), seeded(10):
        draw()
    found.append(draw())
    assert found == expected


def test_streams_differ_by_seed_and_purpose_and_touch_no_global_state() -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()
    permutations = {
        tuple(stream(seed, purpose).permutation(20))
        for seed in (0, 1, -1)
        for purpose in ("folds", "curvature")
    }
    assert len(permutations) == 6
    assert tuple(stream(0, "folds").permutation(20)) in permutations
    after = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()
    assert torch.equal(state[0], after[0])
    assert state[1:] == after[1:]


@pytest.mark.parametrize("seed", [-1, -(2**40), 2**63, 2**70])
def test_every_whole_number_is_a_seed(seed: int) -> None:
    with seeded(seed):
        first = draw()
    with seeded(seed):
        assert draw() == first
    assert 0 <= stream(seed, "x").random() < 1


def test_a_purpose_makes_other_numbers_of_the_same_seed() -> None:
    drawn = []
    for purpose in ("", "replays", "replays", "other"):
        with seeded(0, purpose):
            drawn.append(float(torch.rand(())))
    assert drawn[1] == drawn[2]
    assert len(set(drawn)) == 3
