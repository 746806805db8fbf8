from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_memorization.estimate import Estimate, Halves, estimate, opinions, reliability
from scipy.stats import spearmanr

from auditkit import ClassTables

COUNT = 3_000
Values = npt.NDArray[np.float64]


def tables(odds: Values, *, inside: float = 8.0) -> ClassTables:
    """Tables of two classes in which every label is 0 and has these log odds out of sample."""

    def logs(values: Values) -> npt.NDArray[np.float32]:
        both = np.stack([values, np.zeros_like(values)], axis=1)
        return (both - np.logaddexp(values, 0)[:, None]).astype(np.float32)

    return ClassTables(
        targets=np.zeros(len(odds), dtype=np.int64),
        inside=logs(np.full(len(odds), inside)),
        outside=logs(odds),
        replayed=logs(odds + 1),
    )


@pytest.fixture
def known() -> tuple[ClassTables, Values, Halves]:
    """Replays that rank the true probabilities of being right without, and are far too sure."""
    random = np.random.default_rng(0)
    prior = random.beta(2, 1, COUNT)
    true = random.beta(8 * prior, 8 * (1 - prior)).clip(1e-6, 1 - 1e-6)
    members = random.random((8, COUNT)) < 0.5
    right = np.where(members, True, random.random((8, COUNT)) < true)
    odds = 3 * np.log(prior / (1 - prior)).clip(-4, 4) + 2
    return tables(odds), true, Halves(members, right)


def test_without_halves_the_replays_speak_for_themselves() -> None:
    said = opinions([tables(np.array([0.0, 2.0])), tables(np.array([0.0, -2.0]))])
    found = estimate(said, None, threshold=0.5)
    assert found.probability is None
    assert found.without == pytest.approx([0.5, 0.5], abs=1e-6)
    assert found.with_it == pytest.approx([1 / (1 + np.exp(-8))] * 2, abs=1e-6)


def test_halves_calibrate_what_the_replays_say(
    known: tuple[ClassTables, Values, Halves],
) -> None:
    table, true, halves = known
    said = opinions([table])
    raw, found = (estimate(said, each, threshold=0.5) for each in (None, halves))
    wrong = [float(np.abs(each.memorization - (1 - true)).mean()) for each in (raw, found)]
    assert wrong[1] < 0.7 * wrong[0]
    assert found.memorization.mean() == pytest.approx((1 - true).mean(), abs=0.02)
    assert spearmanr(found.memorization, 1 - true)[0] > spearmanr(raw.memorization, 1 - true)[0]


def test_probabilities_keep_their_word(known: tuple[ClassTables, Values, Halves]) -> None:
    table, true, halves = known
    found = estimate(opinions([table]), halves, threshold=0.5)
    assert found.probability is not None
    memorized = 1 - true > 0.5
    assert found.probability.sum() == pytest.approx(memorized.sum(), rel=0.1)
    for low in (0.2, 0.4, 0.6):
        near = (found.probability >= low) & (found.probability < low + 0.2)
        assert memorized[near].mean() == pytest.approx(found.probability[near].mean(), abs=0.1)


def test_few_halves_are_used_with_a_usual_concentration() -> None:
    odds = np.linspace(-3, 3, 40)
    members = np.random.default_rng(0).random((2, 40)) < 0.5
    halves = Halves(members, np.where(members, True, odds > 0))
    found = estimate(opinions([tables(odds)]), halves, threshold=0.5)
    assert np.isfinite(found.memorization).all()
    assert (found.memorization[:10] > found.memorization[-10:]).all()


def test_halves_that_hold_everything_say_nothing() -> None:
    halves = Halves(np.ones((1, 3), bool), np.ones((1, 3), bool))
    found = estimate(opinions([tables(np.zeros(3))]), halves, threshold=0.5)
    assert found.probability is None


def test_memorization_is_the_difference() -> None:
    assert Estimate(np.array([0.9]), np.array([0.2])).memorization == pytest.approx([0.7])


def test_reliability_steps_the_correlation_up() -> None:
    first = np.arange(100.0)
    second = first + np.random.default_rng(0).normal(0, 40, 100)
    correlation = spearmanr(first, second)[0]
    assert reliability(first, second) == pytest.approx(2 * correlation / (1 + correlation))
    assert np.isnan(reliability(first, np.zeros(100)))
