from __future__ import annotations

import numpy as np
import pytest

from auditkit import Match, Scores
from auditkit.errors import NonFiniteScoreError, PoolError


def scores(values: list[list[float]]) -> Scores:
    array = np.array(values, dtype=np.float32)
    return Scores(
        values=array,
        query_ids=tuple(f"q{place}" for place in range(len(array))),
        train_ids=tuple("abcd"[: array.shape[1]]),
        step=np.ones(len(array), dtype=np.float32),
    )


def test_above_zero_is_a_proponent_and_below_an_opponent() -> None:
    given = scores([[0.5, -2.0, 0.0, 3.0]])
    assert given.proponents("q0") == [Match("d", 3.0), Match("a", 0.5)]
    assert given.opponents("q0") == [Match("b", -2.0)]


def test_no_more_than_k_are_given() -> None:
    given = scores([[4, 3, 2, 1], [-4, -3, -2, -1]])
    assert [match.train_id for match in given.proponents("q0", 2)] == ["a", "b"]
    assert [match.train_id for match in given.opponents("q1", 3)] == ["a", "b", "c"]
    assert given.proponents("q1", 2) == []


def test_equal_scores_keep_the_order_of_the_pool() -> None:
    assert [match.train_id for match in scores([[1, 1, 1, 1]]).proponents("q0")] == list("abcd")


def test_an_unknown_query_is_refused() -> None:
    with pytest.raises(PoolError, match="'elsewhere'"):
        scores([[1.0]]).proponents("elsewhere")


def test_scores_of_another_shape_than_their_ids_are_refused() -> None:
    one = np.ones(1, dtype=np.float32)
    with pytest.raises(PoolError, match=r"shape \(1, 2\), expected \(1, 3\)"):
        Scores(np.ones((1, 2), np.float32), ("q",), ("a", "b", "c"), one)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_query_whose_scores_are_no_numbers_is_named(value: float) -> None:
    with pytest.raises(NonFiniteScoreError, match="'q1'"):
        scores([[1, 2], [1, value]])
