from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from auditkit_leakage.judgement import (
    Judgement,
    Samples,
    false_discovery,
    fitted,
    fitted_ratio,
    judge,
    leaked_share,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    samples: Samples
    leaked: npt.NDArray[np.bool_]


def draw(
    *,
    share: float,
    contaminated: float = 0.0,
    count: int = 2_000,
    near: float = 0.12,
    seed: int = 0,
) -> Drawn:
    """Strangers at a distance about 1, copies at about `near`."""
    random = np.random.default_rng(seed)

    def mixed(size: int, part: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
        copy = random.random(size) < part
        distance = np.where(copy, near * random.weibull(2, size), random.weibull(6, size))
        return distance, copy

    evaluation, leaked = mixed(count, share)
    null, _ = mixed(count, contaminated)
    return Drawn(Samples(evaluation, null, mixed(300, 1.0)[0]), leaked)


def judged(drawn: Drawn, **changes: int) -> Judgement:
    none = np.zeros(len(drawn.samples.evaluation), dtype=bool)
    return judge(drawn.samples, identical=none, certain=np.zeros(0), **changes)


def test_leaks_are_counted_with_an_interval_that_holds_their_number() -> None:
    for seed in range(5):
        drawn = draw(share=0.1, seed=seed)
        found = judged(drawn, draws=100, seed=seed)
        truth = drawn.leaked.sum()
        assert found.count == pytest.approx(truth, rel=0.15)
        assert found.low <= truth <= found.high
        assert found.low <= found.count <= found.high


def test_probabilities_are_right_on_average() -> None:
    drawn = draw(share=0.3, near=0.5, count=20_000)
    probability = judged(drawn, draws=0).probability
    for low, high in ((0.1, 0.4), (0.4, 0.7), (0.7, 0.95)):
        inside = (probability > low) & (probability <= high)
        assert inside.sum() > 100
        assert drawn.leaked[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.1)


def test_the_false_discovery_rate_is_kept() -> None:
    drawn = draw(share=0.2, near=0.5, count=20_000)
    found = judged(drawn, draws=0)
    for rate in (0.02, 0.1, 0.2):
        listed = found.discovery <= rate
        stated = found.discovery[listed].max()
        assert 1 - drawn.leaked[listed].mean() == pytest.approx(stated, abs=0.03)


def test_nothing_is_claimed_of_a_clean_set() -> None:
    for seed in range(5):
        found = judged(draw(share=0.0, seed=seed), draws=50)
        assert found.count < 5
        assert found.low < 1
        assert (found.probability >= 0.5).sum() <= 3


def test_duplicates_in_the_train_pool_do_not_excuse_leaks() -> None:
    drawn = draw(share=0.1, contaminated=0.1)
    flagged = judged(drawn, draws=0).probability >= 0.5
    assert flagged[drawn.leaked].mean() > 0.9
    assert drawn.leaked[flagged].mean() > 0.95


def test_the_ratio_falls_and_is_never_infinite() -> None:
    drawn = draw(share=0.1)
    ratio = fitted_ratio(drawn.samples.null, np.ones(2_000), drawn.samples.planted)
    values = ratio.at(np.array([0.0, 0.1, 0.5, 1.0, 5.0, np.inf]))
    assert (np.diff(values) <= 0).all()
    assert values[0] == pytest.approx(2_000, rel=1.1)
    assert 0 < values[-1] < 0.1


def test_the_likeliest_share_is_found() -> None:
    ratio = np.concatenate([np.full(100, 1e4), np.full(900, 1e-4)])
    assert leaked_share(ratio) == pytest.approx(0.1, abs=0.005)
    assert leaked_share(np.full(50, 1e-3)) < 0.01


def test_identical_content_is_judged_apart() -> None:
    drawn = draw(share=0.1, count=500)
    identical = np.concatenate([np.zeros(500, bool), np.ones(3, bool)])
    found = judge(drawn.samples, identical=identical, certain=np.array([1.0, 1.0, 0.2]))
    assert found.probability[500:].tolist() == [1.0, 1.0, 0.2]
    assert found.count == pytest.approx(found.probability.sum())


def test_with_too_few_samples_all_but_identical_content_is_unknown() -> None:
    few = Samples(np.array([0.1, 0.2]), np.ones(99), np.full(99, 0.1))
    assert np.isnan(fitted(few).probability(few.evaluation)).all()
    found = judge(few, identical=np.array([True, False, False]), certain=np.array([0.8]), seed=3)
    assert found.unknown
    for values in (found.probability, found.discovery):
        assert np.isnan(values).tolist() == [False, True, True]
    assert (found.probability[0], found.discovery[0]) == (0.8, pytest.approx(0.2))
    assert (found.count, found.low, np.isnan(found.high)) == (0.8, 0.0, True)
    sure = judge(few, identical=np.array([True, False, False]), certain=np.ones(1))
    assert (sure.count, sure.low) == (1.0, 1.0)  # what is known is in the interval


def test_where_all_are_identical_all_are_claimed() -> None:
    random = np.random.default_rng(0)
    for strangers, copies in ((5, 0), (200, 50)):
        samples = Samples(np.zeros(0), random.weibull(6, strangers), np.full(copies, 0.1))
        found = judge(samples, identical=np.ones(4, dtype=bool), certain=np.ones(4), draws=20)
        assert (found.count, found.low, found.high) == (4.0, 4.0, 4.0)
        assert not found.unknown
    assert found.mixture.ratio is not None


def test_where_all_are_identical_other_pairs_are_judged_all_the_same() -> None:
    drawn = draw(share=0.0).samples
    mixture = fitted(replace(drawn, evaluation=np.zeros(0)))
    near, far = mixture.probability(np.array([0.05, 1.0]))
    assert near > 0.9
    assert far < 0.01


def test_the_false_discovery_rate_is_one_for_equal_probabilities() -> None:
    rates = false_discovery(np.array([0.5, 1.0, 0.5, 0.0]))
    assert rates.tolist() == pytest.approx([1 / 3, 0.0, 1 / 3, 0.5])


def test_clean_examples_are_not_accused_whatever_the_number_of_strangers() -> None:
    random = np.random.default_rng(0)
    for count in (100, 200, 1_000):
        counts = []
        for _ in range(20):
            null, clean = random.weibull(3, count), random.weibull(3, 70)
            samples = Samples(clean, null, random.gamma(1, 0.05, 200))
            counts.append(fitted(samples).probability(clean).sum())
        assert np.mean(counts) < 1.5
        assert np.quantile(counts, 0.9) < 4


def test_a_ratio_has_a_mean_of_one_over_strangers_at_most() -> None:
    random = np.random.default_rng(1)
    near = np.concatenate([random.gamma(1, 0.02, 160), random.weibull(3, 40)])
    ratio = fitted_ratio(near, np.ones(200), random.gamma(1, 0.05, 200))
    assert ratio.at(near).mean() <= 1 + 1e-9
