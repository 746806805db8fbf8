from __future__ import annotations

import numpy as np
import pytest
from auditkit_tracing.chance import Chance
from auditkit_tracing.judging import judge, probabilities
from auditkit_tracing.measuring import Measured

from auditkit import together


def measured(score: np.ndarray, fall: np.ndarray, itself: np.ndarray | None = None) -> Measured:
    """What was measured, by what of it is judged."""
    itself = np.zeros(score.shape, dtype=bool) if itself is None else itself
    place = np.zeros(score.shape, dtype=np.int64)
    return Measured(
        score=score, proponent=(score > 0) & ~itself, influence=score, change=fall, fall=fall,
        window=place, against=place, itself=itself,
    )  # fmt: skip


def test_probabilities_are_calibrated_where_chance_is_known() -> None:
    random = np.random.default_rng(1)
    claims, truths = [], []
    for _ in range(30):
        chance = random.normal(0, 1, 8_000)
        real = random.random(2_000) < 0.02
        values = np.where(real, random.normal(4, 1, 2_000), random.normal(0, 1, 2_000))
        found = probabilities(values, chance)
        sure = found >= 0.5
        claims.append(found[sure])
        truths.append(real[sure])
    claimed, right = np.concatenate(claims), np.concatenate(truths)
    assert len(claimed) > 500
    assert abs(claimed.mean() - right.mean()) < 0.07


def test_nothing_stands_out_where_all_is_chance() -> None:
    random = np.random.default_rng(2)
    flagged = 0
    for _ in range(50):
        found = probabilities(random.standard_t(2, 1_000), random.standard_t(2, 4_000))
        flagged += int((found >= 0.9).any())
    assert flagged <= 5


def test_nothing_is_certain_and_higher_is_never_less_likely() -> None:
    values = np.array([1.0, 2.0, 50.0])
    found = probabilities(values, np.linspace(-3, 3, 30))
    assert found[2] < 1
    assert (np.diff(found) >= 0).all()


def test_opponents_are_judged_on_the_other_side() -> None:
    scores = np.concatenate([np.random.default_rng(3).normal(0, 1, 400), [40.0, -40.0]])[None]
    by_chance = np.random.default_rng(4).normal(0, 1, 4_000)
    chance = Chance(by_chance, by_chance, behaviours=8, examples=402)
    judged = judge(measured(scores, scores), chance)
    assert judged.score.probability is not None
    assert judged.change.probability is not None
    assert judged.score.probability[0, 400] == judged.score.probability[0].max() > 0.7
    assert judged.change.probability[0, 401] == judged.change.probability[0].max() > 0.7
    assert judged.change.probability[0, 400] == pytest.approx(0, abs=0.05)


def test_without_decoys_there_are_no_probabilities() -> None:
    scores = np.arange(5.0)[None]
    empty = Chance(np.zeros(0), np.zeros(0), behaviours=0, examples=5)
    for chance in (None, empty):
        judged = judge(measured(scores, scores), chance)
        assert judged.score.probability is None
        assert judged.change.probability is None


@pytest.mark.parametrize("side", [1, -1])
def test_a_query_in_training_teaches_nothing_of_what_stands_out(side: int) -> None:
    random = np.random.default_rng(5)
    by_chance = random.normal(0, 1, 4_000)
    chance = Chance(by_chance, by_chance, behaviours=8, examples=402)
    rest = np.concatenate([random.normal(0, 1, 400), [9.0]])
    itself = np.zeros((2, 402), dtype=bool)
    itself[0, 401] = True
    found = []
    for own in (2.0, 50.0):  # among those by chance, and above all others
        scores = side * np.tile(np.append(rest, own), (2, 1))
        judged = judge(measured(scores, scores, itself), chance)
        standing = judged.score if side > 0 else judged.change
        assert standing.probability is not None
        np.testing.assert_allclose(
            standing.probability[0, :401],
            probabilities(side * standing.units[0, :401], side * by_chance),
        )
        assert np.isnan(standing.probability[0, 401])
        found.append(standing.probability)
    as_chance, as_strongest = found
    np.testing.assert_array_equal(as_chance[0], as_strongest[0])
    assert as_strongest[1, 400] > as_chance[1, 400]  # where it is not the query, it does teach


def test_where_all_are_queries_themselves_nothing_is_claimed() -> None:
    scores = np.arange(5.0)[None]
    chance = Chance(scores[0], scores[0], behaviours=1, examples=5)
    judged = judge(measured(scores, scores, np.ones((1, 5), dtype=bool)), chance)
    assert judged.score.probability is not None
    assert np.isnan(judged.score.probability).all()


@pytest.mark.parametrize("alike", [0.0, 0.95, 1.0])
@pytest.mark.parametrize("count", [60, 1_000])
def test_two_readings_stand_out_by_chance_as_seldom_as_one(alike: float, count: int) -> None:
    random = np.random.default_rng(6)

    def rows(number: int) -> np.ndarray:
        common, *own = random.normal(size=(3, number, count))
        return together(*(alike * common + np.sqrt(1 - alike**2) * noise for noise in own))

    flagged = 0
    for _ in range(40):
        scores, decoys = rows(1), rows(16).ravel()
        judged = judge(measured(scores, scores), Chance(decoys, decoys, 16, count))
        assert judged.score.probability is not None
        flagged += int((judged.score.probability >= 0.8).any())
    assert flagged <= 14  # one in seven is usual, whatever is read (docs/how-to/tracing.md)


def test_two_readings_together_flag_what_stands_out_by_both() -> None:
    random = np.random.default_rng(7)
    first = random.normal(size=(1, 200))
    first[0, :5] += 30
    scores = together(first, first)
    decoys = np.concatenate([together(own, own)[0] for own in random.normal(size=(16, 1, 200))])
    judged = judge(measured(scores, scores), Chance(decoys, decoys, 16, 200))
    assert judged.score.probability is not None
    assert (judged.score.probability[0, :5] >= 0.8).all()
