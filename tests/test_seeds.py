from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from auditkit.seeds import seed_torch, seeded, stream, unmoved_generators


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


IN_USE = [
    ("cuda", "torch.cuda.is_initialized"),
    ("xpu", "torch.xpu.is_initialized"),
    ("mps", "torch.backends.mps.is_available"),
]


def functions(module: str) -> list[str]:
    """Names of a module's functions for the generators of all its devices; MPS has one device."""
    ending = "" if module == "mps" else "_all"
    return [f"{name}{ending}" for name in ("get_rng_state", "set_rng_state", "manual_seed")]


class Accelerator:
    """What `torch.cuda`, `torch.xpu` and `torch.mps` say of a generator, in place of a device.

    Attributes:
        state: where its generator stands.
        seeds: what it was seeded with.
    """

    def __init__(self, state: int) -> None:
        self.state = torch.tensor([state])
        self.seeds: list[int] = []

    def get_rng_state(self) -> torch.Tensor:
        return self.state.clone()

    def set_rng_state(self, state: torch.Tensor) -> None:
        self.state = state

    def get_rng_state_all(self) -> list[torch.Tensor]:
        return [self.get_rng_state()]

    def set_rng_state_all(self, states: list[torch.Tensor]) -> None:
        (self.state,) = states

    def manual_seed(self, seed: int) -> None:
        self.seeds.append(seed)
        self.state = torch.tensor([seed % 2**31])

    manual_seed_all = manual_seed


@pytest.mark.parametrize(("module", "says"), IN_USE)
def test_an_accelerator_in_use_is_seeded_and_comes_back(
    module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Accelerator(77)
    monkeypatch.setattr(says, lambda: True)
    for name in functions(module):
        monkeypatch.setattr(f"torch.{module}.{name}", getattr(device, name))
    with pytest.raises(ZeroDivisionError), seeded(5):
        1 / int(device.state.item() - 5)
    assert device.state.item() == 77
    with unmoved_generators():
        seed_torch(6)
        device.state += 1
    assert device.state.item() == 77
    assert device.seeds == [5, 6]


@pytest.mark.parametrize(("module", "says"), IN_USE)
def test_an_accelerator_that_is_not_in_use_is_asked_nothing(
    module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, False, True])  # it starts within: it has no state from before
    monkeypatch.setattr(says, lambda: next(answers))
    for name in functions(module):
        monkeypatch.setattr(f"torch.{module}.{name}", lambda *_: pytest.fail("was asked"))
    expected = torch.get_rng_state()
    with unmoved_generators():
        seed_torch(6)
    assert next(answers)
    assert torch.equal(torch.get_rng_state(), expected)
