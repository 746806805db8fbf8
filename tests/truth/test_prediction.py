from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from auditkit import ForwardINF, Scores
from auditkit.errors import PoolError, SettingError
from auditkit.truth import LDS, Halves, Retraining, ceiling, half_subsets, lds
from auditkit.truth.prediction import correlations

QUERIES, TRAIN = 5, 30


def additive(*, subsets: int = 20, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, Halves]:
    """Scores, and measures that fall by the scores of the subset's members."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(QUERIES, TRAIN)).astype(np.float32)
    members = draw.permuted(np.tile(np.arange(TRAIN) < TRAIN // 2, (subsets, 1)), axis=1)
    measures = 3.0 - members.astype(np.float32) @ values.T
    measures = (measures + noise * draw.normal(size=measures.shape)).astype(np.float32)
    names = tuple(f"q{place}" for place in range(QUERIES))
    ids = tuple(f"z{place}" for place in range(TRAIN))
    return values, Halves(members, measures, measures[:, None], names, ids, "loss")


def scores_of(values: np.ndarray, halves: Halves) -> Scores:
    return Scores(values, halves.query_ids, halves.train_ids, np.ones(len(values), np.float32))


def test_perfect_scores_have_one_and_negated_ones_minus_one() -> None:
    values, halves = additive()
    assert lds(values, halves).mean == pytest.approx(1.0)
    assert lds(scores_of(values, halves), halves).mean == pytest.approx(1.0)
    assert lds(-values, halves).mean == pytest.approx(-1.0)
    assert lds(values, halves).standard_error == pytest.approx(0.0, abs=1e-9)
    constant = lds(np.zeros_like(values), halves)
    assert constant.per_query.tolist() == [0.0] * QUERIES


def test_it_is_the_mean_rank_correlation_over_queries() -> None:
    values, halves = additive(noise=4.0)
    found = lds(values, halves)
    sums = halves.members.astype(float) @ values.T.astype(float)
    expected = [spearmanr(-sums[:, q], halves.measures[:, q])[0] for q in range(QUERIES)]
    assert np.allclose(found.per_query, expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert 0.1 < found.mean < 0.9


def test_ids_are_matched_and_some_queries_are_enough() -> None:
    values, halves = additive(noise=4.0)
    whole = lds(values, halves)
    order = np.random.default_rng(1).permutation(TRAIN)
    some = [3, 1]
    scores = Scores(
        values[some][:, order],
        tuple(halves.query_ids[row] for row in some),
        tuple(halves.train_ids[place] for place in order),
        np.ones(2, np.float32),
    )
    found = lds(scores, halves)
    assert np.allclose(found.per_query, whole.per_query[some])
    assert found.query_ids == ("q3", "q1")


def test_scores_of_something_else_are_refused() -> None:
    values, halves = additive()
    with pytest.raises(PoolError, match=r"have shape \(30, 5\), expected \(5, 30\)"):
        lds(values.T, halves)
    scores = scores_of(values, halves)
    with pytest.raises(PoolError, match="1 of the queries and 0 of the examples not those"):
        lds(replace(scores, query_ids=("x", *halves.query_ids[1:])), halves)
    with pytest.raises(PoolError, match="0 of the queries and 2 of the examples not those"):
        lds(replace(scores, train_ids=("x", *halves.train_ids[1:])), halves)
    few = replace(halves, members=halves.members[:2], measures=halves.measures[:2])
    with pytest.raises(SettingError, match="There are 2 subsets and 1000 resamples"):
        lds(values, few)
    with pytest.raises(SettingError, match="20 subsets and 0 resamples"):
        lds(values, halves, resamples=0)


def test_rows_that_count_several_times_are_rows_that_stand_there_several_times() -> None:
    draw = np.random.default_rng(0)
    left = draw.integers(0, 4, size=(9, 3)).astype(float)  # with ties
    right = draw.normal(size=(9, 3)) + left
    times = draw.multinomial(9, np.full(9, 1 / 9), size=6)
    found = correlations(left, right, times.astype(float))
    for resample, each in enumerate(times):
        rows = np.repeat(np.arange(9), each)
        for column in range(3):
            expected = spearmanr(left[rows, column], right[rows, column])[0]
            assert found[resample, column] == pytest.approx(expected)


def test_the_standard_error_is_about_the_spread_over_new_subsets_and_queries() -> None:
    found: list[LDS] = [
        lds(*additive(subsets=15, noise=6.0, seed=seed), resamples=200) for seed in range(60)
    ]
    spread = np.std([each.mean for each in found])
    claimed = np.mean([each.standard_error for each in found])
    assert spread < claimed < 2 * spread


def test_the_error_of_subsets_is_the_spread_over_new_subsets_of_the_same_queries() -> None:
    values, halves = additive(subsets=2_000, noise=6.0)
    parts = [
        replace(halves, members=halves.members[rows], measures=halves.measures[rows])
        for rows in np.arange(2_000).reshape(-1, 40)
    ]
    found = [lds(values, part, resamples=200) for part in parts]
    spread = np.std([each.mean for each in found])
    claimed = np.mean([each.subset_error for each in found])
    assert claimed == pytest.approx(spread, rel=0.25)
    assert claimed < np.mean([each.standard_error for each in found])


def test_the_error_of_subsets_is_the_whole_one_where_queries_are_one_query() -> None:
    values, halves = additive(noise=4.0)
    one = values[[0] * QUERIES], halves.measures[:, [0] * QUERIES]
    found = lds(one[0], replace(halves, measures=one[1]))
    assert found.subset_error == pytest.approx(found.standard_error)
    assert found.subset_error > 0.05


def test_the_error_of_subsets_of_chance_is_that_of_rank_correlations() -> None:
    """Spearman's coefficient of n independent pairs has a variance of 1 / (n - 1) (Kendall)."""
    values, halves = additive(subsets=300)
    noise = np.random.default_rng(3).normal(size=halves.measures.shape).astype(np.float32)
    found = lds(values, replace(halves, measures=noise))
    assert found.subset_error == pytest.approx(1 / np.sqrt(299 * QUERIES), rel=0.15)


def test_influence_predicts_retraining(regression: Retraining, ridge: object) -> None:
    halves = half_subsets(regression, count=12, seeds=1, share=0.9)
    model = regression.task.model
    weights = ridge.weights(without=[])
    model.weight.data, model.bias.data = weights[None, :-1].clone(), weights[-1:].clone()
    engine = ForwardINF(regression.task, train=regression.train, recipe=regression.recipe)
    scores = engine.influence(regression.asked)
    assert lds(scores, halves).mean > 0.8


@pytest.mark.parametrize(("noise", "seeds"), [(0.0, 2), (3.0, 2), (6.0, 4), (3.0, 5)])
def test_the_ceiling_is_what_perfect_scores_reach(noise: float, seeds: int) -> None:
    values, halves = additive(subsets=400)
    draw = np.random.default_rng(5)
    shape = (400, seeds, QUERIES)
    by_seed = halves.by_seed + noise * draw.normal(size=shape).astype(np.float32)
    noisy = replace(halves, by_seed=by_seed, measures=by_seed.mean(axis=1))
    assert ceiling(noisy) == pytest.approx(lds(values, noisy).mean, abs=0.03)


def test_the_ceiling_of_nothing_but_noise_is_low_and_one_seed_has_none() -> None:
    _, halves = additive()
    draw = np.random.default_rng(0)
    noise = replace(halves, by_seed=draw.normal(size=(20, 3, QUERIES)).astype(np.float32))
    assert 0 <= ceiling(noise) < 0.4
    with pytest.raises(SettingError, match="There are 20 subsets of 1 seeds each"):
        ceiling(halves)
