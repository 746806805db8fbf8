from __future__ import annotations

import numpy as np
from auditkit_tracing.behaviours import Asked, Query
from auditkit_tracing.measuring import (
    Examples,
    examples,
    mean_over_windows,
    queries_themselves,
    strongest_window,
)

from auditkit import Documents, Pool

WHOLE = Examples(("a", "b"), np.array([0, 1, 0, 1]), np.array([1.0, 3.0, 3.0, 1.0]))


def test_a_text_in_windows_is_as_strong_as_its_strongest() -> None:
    values = np.array([[1.0, 5.0, 4.0, 5.0], [-1.0, 0.0, -3.0, 7.0]])
    assert strongest_window(values, WHOLE).tolist() == [[2, 1], [0, 3]]


def test_a_loss_is_the_mean_over_all_tokens() -> None:
    values = np.array([[1.0, 5.0, 4.0, 1.0]])
    assert mean_over_windows(values, WHOLE).tolist() == [[(1 + 3 * 4) / 4, (3 * 5 + 1) / 4]]


def test_wholes_of_a_pool() -> None:
    documents = Documents([[1, 2, 3], [4, 5], [6, 7]], wholes=["x", "y", "x"])
    whole = examples(Pool(documents, ids=["x#0", "y", "x#1"]))
    assert whole.ids == ("x", "y")
    assert whole.of.tolist() == [0, 1, 0]
    assert whole.weights.tolist() == [2, 1, 1]
    assert whole.windows([0]).tolist() == [0, 2]
    assert whole.in_windows
    plain = examples(Pool.from_arrays(np.zeros((3, 2)), np.zeros(3, dtype=int)))
    assert plain.of.tolist() == [0, 1, 2]
    assert not plain.in_windows


def test_a_training_example_is_itself_in_its_own_behaviour_alone() -> None:
    documents = Documents([[1, 2, 3], [4, 5], [6, 7]], wholes=["x", "y", "x"])
    train = Pool(documents, ids=["x#0", "y", "x#1"])
    queries = [
        Query("first", "says", 0.5, shown=("train", "x#1")),
        Query("second", "says", 0.5, shown=("queries", "y")),  # the id of another pool's example
        Query("third", "says", 0.5, shown=("train", "y")),
        Query("third", "says", 0.5),
    ]
    found = queries_themselves(Asked(train, queries), train, examples(train))
    assert found.tolist() == [[True, False], [False, False], [False, True]]
