from __future__ import annotations

import numpy as np
import pytest
from auditkit_memorization.verdicts import HeldOut, held_out, verdicts

from auditkit import ClassTables


def noisy(*, rate: float, spread: float, seed: int = 0) -> tuple[ClassTables, np.ndarray]:
    """Five classes, an ideal model's log posterior sharpened by two, labels wrong at a rate."""
    random = np.random.default_rng(seed)
    logs = random.normal(0, spread, (4_000, 5))
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    edges = np.exp(logs).cumsum(axis=1)
    true = (random.random((4_000, 1)) > edges).sum(axis=1).clip(0, 4)
    wrong = random.random(4_000) < rate
    labels = np.where(wrong, (true + random.integers(1, 5, 4_000)) % 5, true)
    sharp = (2 * logs).astype(np.float32)
    return ClassTables(targets=labels, inside=sharp, outside=sharp, replayed=sharp), wrong


def test_the_rate_and_the_temperature_are_found() -> None:
    table, wrong = noisy(rate=0.1, spread=6.0)
    said = held_out([table])
    assert said.rate == pytest.approx(0.1, abs=0.02)
    assert said.temperature == pytest.approx(2.0, rel=0.15)
    assert said.wrong_probability.sum() == pytest.approx(wrong.sum(), rel=0.15)
    for low in (0.2, 0.5, 0.8):
        near = np.abs(said.wrong_probability - low) < 0.15
        assert wrong[near].mean() == pytest.approx(said.wrong_probability[near].mean(), abs=0.12)


def test_unsure_is_not_mislabelled() -> None:
    """Labels that the models cannot know are no errors of labelling."""
    table, _ = noisy(rate=0.0, spread=0.7)
    said = held_out([table])
    assert (said.wrong_probability >= 0.5).mean() < 0.01


def test_verdicts_follow_memorization_and_doubt() -> None:
    said = HeldOut(
        label=np.array([1, 1, 0, 0, 1]),
        wrong_probability=np.array([0.9, 0.2, 0.9, 0.0, 0.9]),
        rate=0.1,
        temperature=1.0,
    )
    found = verdicts(
        np.array([0.8, 0.8, 0.8, 0.1, 0.1]),
        np.array([1.0, 1.0, 1.0, 1.0, 0.2]),
        said,
        np.zeros(5, dtype=np.int64),
        threshold=0.5,
    )
    # The third: held-out models name its own label, so no other is better.
    assert found.tolist() == [
        "mislabelled", "rare but right", "rare but right", "learnt", "not fitted",
    ]  # fmt: skip
