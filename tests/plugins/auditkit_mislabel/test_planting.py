from __future__ import annotations

import numpy as np
import pytest
from auditkit_mislabel.planting import Planting, confusion

from auditkit.errors import LabelError


def tables(count: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, count)
    probabilities = np.full((count, 4), 0.01, dtype=np.float32)
    probabilities[np.arange(count), labels] = 0.9
    probabilities[np.arange(count), (labels + 1) % 4] += 0.07
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def test_confusion_is_half_what_the_model_confuses_and_half_uniform() -> None:
    odds = confusion(*tables())
    np.testing.assert_allclose(odds.sum(axis=1), 1.0)
    np.testing.assert_array_equal(np.diag(odds), 0.0)
    np.testing.assert_allclose(odds[0, 1], (0.8 + 1 / 3) / 2, rtol=1e-3)


def test_a_model_without_doubt_is_confused_uniformly() -> None:
    odds = confusion(np.eye(3, dtype=np.float32), np.arange(3))
    np.testing.assert_allclose(odds[~np.eye(3, dtype=bool)], 0.5)


def test_no_label_is_mistaken_for_a_class_the_data_does_not_have() -> None:
    probabilities, labels = tables()
    labels[labels == 2] = 3
    odds = confusion(probabilities, labels)
    np.testing.assert_array_equal(odds[[0, 1, 3], 2], 0.0)
    np.testing.assert_allclose(odds.sum(axis=1), 1.0)
    planted = Planting(seed=0, among=len(labels))(probabilities, labels)
    assert set(planted.labels) == {0, 1, 3}


@pytest.mark.parametrize(("labels", "words"), [([0, 0, 0], "one class"), ([0, 0, 2], "Class 2")])
def test_labels_nothing_can_be_held_out_of_are_refused(labels: list[int], words: str) -> None:
    with pytest.raises(LabelError, match=words):
        Planting(seed=0, among=3)(tables()[0][:3], np.array(labels))


def test_planted_labels_are_other_labels_after_the_confusion() -> None:
    probabilities, labels = tables()
    planted = Planting(seed=1, among=len(labels))(probabilities, labels)
    own = labels[planted.positions]
    assert len(planted.positions) == len(set(planted.positions)) == 100
    assert (planted.labels != own).all()
    assert 0.4 < (planted.labels == (own + 1) % 4).mean() < 0.75


def test_only_the_first_examples_are_planted_and_few_of_a_small_pool() -> None:
    probabilities, labels = tables()
    planted = Planting(seed=0, among=300)(probabilities, labels)
    assert planted.positions.max() < 300
    assert len(planted.positions) == 12


def test_the_choice_is_the_seeds() -> None:
    probabilities, labels = tables()
    first, second, other = (
        Planting(seed=seed, among=5_000)(probabilities, labels) for seed in (0, 0, -1)
    )
    np.testing.assert_array_equal(first.positions, second.positions)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert set(first.positions) != set(other.positions)
