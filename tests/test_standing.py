from __future__ import annotations

import numpy as np

from auditkit import in_units, together


def test_units_do_not_depend_on_scale_and_place() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 2_000))
    units = in_units(scores)
    np.testing.assert_allclose(np.median(units, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(units.std(axis=1), 1, atol=0.05)
    np.testing.assert_allclose(in_units(7 * scores + 1), units)


def test_where_most_are_alike_the_spread_is_that_of_all() -> None:
    scores = np.zeros((1, 9))
    scores[0, 3] = 5.0
    assert in_units(scores)[0].argmax() == 3
    np.testing.assert_allclose(in_units(scores)[0, 3], 3.0)  # the root mean square is 5 / 3
    assert not in_units(np.ones((1, 5))).any()


def test_what_stands_out_twice_comes_before_what_stands_out_once() -> None:
    noise = np.random.default_rng(1).normal(size=(2, 1, 500))
    first, second = noise
    first[0, :2], second[0, :2] = (60.0, 90.0), (60.0, 0.0)  # twice, and once but farther
    first[0, 2], second[0, 2] = 50.0, -50.0  # once, and the other way by the other
    first[0, 3], second[0, 3] = -50.0, -50.0
    found = together(first, second)[0]
    assert found.argsort()[::-1][:3].tolist() == [0, 1, 2]
    assert found[3] == found.min() == 0.0
    np.testing.assert_allclose(together(3 * first, second), together(first, 5 * second))


def test_what_neither_reading_has_above_zero_is_nothing() -> None:
    first = -np.arange(1.0, 8.0)[None]
    assert not together(first, first).any()
    assert together(first, first + 3.5)[0].nonzero()[0].tolist() == [0, 1, 2]


def test_what_does_not_count_moves_neither_middle_nor_spread() -> None:
    scores = np.zeros((2, 101), dtype=np.float32)
    scores[:, 80:100] = np.random.default_rng(2).normal(size=20)
    counted = np.ones(scores.shape, dtype=bool)
    counted[:, 100] = False
    scores[1, 100] = 500.0
    for found in (in_units(scores, counted), together(scores, scores, counted)):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found[0, :100], found[1, :100])
    assert not in_units(scores, np.zeros(scores.shape, dtype=bool)).any()
