from __future__ import annotations

import numpy as np
import pytest
from auditkit_mislabel.neighbours import ASKED, COUNTING, RANKING, opinion


def test_neighbours_vote_by_their_labels() -> None:
    labels = np.array([0, 1, 1, 0, 1, 1])
    neighbours = np.array([[[1, 2, 3, 4, 5]] * 6])
    logs = opinion(neighbours, labels, np.ones(6), np.zeros((6, 2)))
    np.testing.assert_allclose(np.exp(logs[0]), np.array([1.3, 4.3]) / 5.6)


def test_labels_in_doubt_count_less() -> None:
    labels = np.array([0, 1, 0, 0])
    neighbours = np.array([[[1, 2], [2, 3], [1, 3], [1, 2]]])
    certain = opinion(neighbours, labels, np.ones(4), np.zeros((4, 2)))
    doubted = opinion(neighbours, labels, np.array([1.0, 0.1, 1.0, 1.0]), np.zeros((4, 2)))
    assert doubted[0, 1] < certain[0, 1]
    np.testing.assert_allclose(np.exp(doubted).sum(axis=1), 1.0)


def test_without_neighbours_another_opinion_stands_instead() -> None:
    instead = np.log([[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    neighbours = np.array([[[-1, -1], [0, -1], [1, 0]]])
    logs = opinion(neighbours, np.array([0, 1, 1]), np.ones(3), instead)
    np.testing.assert_array_equal(logs[0], instead[0])
    np.testing.assert_allclose(np.exp(logs[1]), np.array([1.3, 0.3]) / 1.6)


def test_repeats_vote_together() -> None:
    labels = np.array([0, 1, 1])
    once = np.array([[[1], [2], [0]]])
    logs = opinion(np.concatenate([once, once]), labels, np.ones(3), np.zeros((3, 2)))
    np.testing.assert_allclose(np.exp(logs[2]), np.array([2.3, 0.3]) / 2.6)


@pytest.mark.parametrize(
    ("classes", "each", "heard"), [(10, 1_000, ASKED), (10, 300, 19), (10, 20, 5), (2, 240, 15)]
)
def test_a_part_of_a_class_is_heard(classes: int, each: int, heard: int) -> None:
    assert RANKING.count(np.repeat(np.arange(classes), each)) == heard


def test_a_rare_class_does_not_set_how_many_are_heard() -> None:
    labels = np.r_[np.repeat(np.arange(9), 320), np.full(3, 9)]
    assert RANKING.count(labels) == 20
    assert COUNTING.count(labels) == 40
