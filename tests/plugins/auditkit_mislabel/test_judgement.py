from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from auditkit_mislabel.calibration import WEIGHTS
from auditkit_mislabel.judgement import Judgement, judge
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score

from auditkit import ClassTables, Planted
from tests.plugins.auditkit_mislabel.conftest import Noisy


def heard(noisy: Noisy, *, inside: np.ndarray | None = None) -> ClassTables:
    """Tables in which every model is an ideal one."""
    logs = noisy.logs.astype(np.float32)
    return ClassTables(
        targets=noisy.given,
        inside=logs if inside is None else inside.astype(np.float32),
        outside=logs,
        replayed=logs,
    )


def by_heart(noisy: Noisy) -> np.ndarray:
    """What a model says that has memorized every label."""
    logs = np.full(noisy.logs.shape, -12.0)
    logs[np.arange(len(logs)), noisy.given] = 0.0
    return logs


def test_wrong_labels_come_first_with_honest_probabilities(uniform_noise: Noisy) -> None:
    judged = judge(heard(uniform_noise))
    assert average_precision_score(uniform_noise.wrong, judged.score) > 0.85
    assert judged.probability.sum() == pytest.approx(uniform_noise.wrong.sum(), rel=0.15)


def test_look_alike_classes_are_told_better_than_by_the_loss(look_alike_noise: Noisy) -> None:
    judged = judge(heard(look_alike_noise))
    rows = np.arange(len(look_alike_noise.given))
    loss = -look_alike_noise.logs[rows, look_alike_noise.given]
    ours = average_precision_score(look_alike_noise.wrong, judged.score)
    assert ours > average_precision_score(look_alike_noise.wrong, loss) + 0.02


def test_probability_rises_with_the_score(uniform_noise: Noisy) -> None:
    judged = judge(heard(uniform_noise))
    order = np.argsort(judged.score)
    assert (np.diff(judged.probability[order]) >= 0).all()
    assert judged.probability.min() >= 0
    assert judged.probability.max() <= 1


def test_the_suggestion_is_another_label_and_mostly_the_true_one(uniform_noise: Noisy) -> None:
    judged = judge(heard(uniform_noise))
    assert (judged.suggested != uniform_noise.given).all()
    wrong = uniform_noise.wrong & (judged.probability > 0.5)
    assert (judged.suggested == uniform_noise.true)[wrong].mean() > 0.9


def test_a_model_that_learnt_the_labels_by_heart_is_not_heard(uniform_noise: Noisy) -> None:
    ideal = judge(heard(uniform_noise))
    blinded = judge(heard(uniform_noise, inside=by_heart(uniform_noise)))
    assert ideal.trust > 0.9
    assert blinded.trust == 0.0
    assert average_precision_score(uniform_noise.wrong, blinded.score) > 0.85


def test_planted_labels_choose_the_weight_and_measure_every_score(uniform_noise: Noisy) -> None:
    random = np.random.default_rng(0)
    positions = np.sort(random.permutation(len(uniform_noise.given))[:200])
    labels = (uniform_noise.given[positions] + 1) % 5
    noise = random.normal(scale=4.0, size=uniform_noise.logs.shape)
    tables = replace(
        heard(uniform_noise),
        replayed=(uniform_noise.logs + noise).astype(np.float32),
        planted=Planted(positions, labels),
    )
    judged = judge(tables)
    assert judged.calibration.weight == WEIGHTS[0]
    recovery = judged.calibration.recovery
    assert recovery["auditkit"] > recovery["loss while training"]
    assert judged.calibration.compared[positions].all()


def test_a_planted_label_does_not_count_against_the_examples_own(uniform_noise: Noisy) -> None:
    place = int(np.flatnonzero(~uniform_noise.wrong & (uniform_noise.logs.max(axis=1) > -0.01))[0])
    told = uniform_noise.logs.copy()
    told[place] = -9.0
    told[place, (uniform_noise.given[place] + 1) % 5] = 0.0
    planted = Planted(np.array([place]), np.array([(uniform_noise.given[place] + 1) % 5]))
    tables = replace(heard(uniform_noise), replayed=told.astype(np.float32), planted=planted)
    assert judge(tables).probability[place] < 0.1


def test_a_second_holdout_changes_the_ranking_and_not_the_count(uniform_noise: Noisy) -> None:
    tables = heard(uniform_noise)
    noise = np.random.default_rng(0).normal(scale=0.5, size=uniform_noise.logs.shape)
    again = replace(tables, outside=(tables.outside + noise).astype(np.float32))
    first, second = judge(tables), judge(tables, again=again)
    assert not np.array_equal(first.score, second.score)
    assert second.probability.sum() == pytest.approx(first.probability.sum(), rel=1e-6)


def test_trusted_labels_do_not_count_as_wrong(uniform_noise: Noisy) -> None:
    trusted = np.arange(len(uniform_noise.given)) >= 5_000
    tables = replace(
        heard(uniform_noise),
        targets=np.where(trusted, uniform_noise.true, uniform_noise.given),
    )
    judged = judge(tables, trusted=trusted)
    wrong = uniform_noise.wrong & ~trusted
    assert judged.probability[~trusted].sum() == pytest.approx(wrong.sum(), rel=0.15)


@dataclass(frozen=True)
class Seen:
    """Tables of models that know half of the wrong labels by heart, and who is near whom."""

    noisy: Noisy
    tables: ClassTables
    neighbours: np.ndarray


@pytest.fixture
def seen(uniform_noise: Noisy) -> Seen:
    random = np.random.default_rng(1)
    logs = uniform_noise.logs.copy()
    memorized = random.random(len(logs)) < 0.5
    rows = np.flatnonzero(memorized & uniform_noise.wrong)
    logs[rows] = np.log(0.02)
    logs[rows, uniform_noise.given[rows]] = np.log(0.6)
    tables = heard(replace(uniform_noise, logs=log_softmax(logs, axis=1)))
    neighbours = np.empty((1, len(logs), 20), dtype=np.int64)
    for k in range(5):  # nine of ten neighbours are of the same class
        same = np.flatnonzero(uniform_noise.true == k)
        neighbours[0, same] = random.choice(same, (len(same), 20))
    strangers = random.random(neighbours.shape) < 0.1
    neighbours[strangers] = random.integers(0, len(logs), strangers.sum())
    return Seen(uniform_noise, tables, neighbours)


def found(seen: Seen, judged: Judgement) -> float:
    return float(average_precision_score(seen.noisy.wrong, judged.score))


def test_neighbours_find_what_models_know_by_heart(seen: Seen) -> None:
    alone, together = judge(seen.tables), judge(seen.tables, neighbours=seen.neighbours)
    assert together.neighbours
    assert found(seen, together) > found(seen, alone) + 0.05
    wrong = seen.noisy.wrong.sum()
    assert abs(together.probability.sum() - wrong) < abs(alone.probability.sum() - wrong)


def test_a_second_holdouts_neighbours_are_heard_too(seen: Seen) -> None:
    first = judge(seen.tables, neighbours=seen.neighbours)
    both = judge(
        seen.tables,
        neighbours=seen.neighbours,
        again=seen.tables,
        neighbours_again=seen.neighbours,
    )
    assert found(seen, both) > found(seen, first)


def of_strangers(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, count, (1, count, 20))


def the_same_for_all(count: int) -> np.ndarray:
    return np.broadcast_to(np.arange(20), (1, count, 20))


def none_at_all(count: int) -> np.ndarray:
    return np.full((1, count, 20), -1)


@pytest.mark.parametrize("made", [of_strangers, the_same_for_all, none_at_all])
def test_neighbours_that_know_nothing_do_no_harm(
    made: Callable[[int], np.ndarray], uniform_noise: Noisy
) -> None:
    tables = heard(uniform_noise)
    alone = judge(tables)
    judged = judge(tables, neighbours=made(len(uniform_noise.given)))
    assert not judged.neighbours
    assert np.array_equal(judged.score, alone.score)
    assert np.array_equal(judged.probability, alone.probability)


def test_the_order_of_the_pool_does_not_matter(seen: Seen) -> None:
    order = np.random.default_rng(3).permutation(len(seen.noisy.given))
    place = np.argsort(order)
    shuffled = ClassTables(
        targets=seen.tables.targets[order],
        inside=seen.tables.inside[order],
        outside=seen.tables.outside[order],
        replayed=seen.tables.replayed[order],
    )
    straight = judge(seen.tables, neighbours=seen.neighbours)
    judged = judge(shuffled, neighbours=place[seen.neighbours][:, order])
    np.testing.assert_allclose(judged.probability[place], straight.probability, atol=5e-3)


def test_neighbours_change_the_count_by_the_root_of_two_at_most(seen: Seen) -> None:
    blind = replace(seen.tables, targets=(seen.tables.targets + 1) % 5)  # every label is wrong
    alone, together = judge(blind), judge(blind, neighbours=seen.neighbours)
    ratio = together.probability.sum() / alone.probability.sum()
    assert abs(ratio - 1) > 1e-3
    assert 2**-0.5 - 1e-6 <= ratio <= 2**0.5 + 1e-6
