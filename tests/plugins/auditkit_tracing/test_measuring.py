from __future__ import annotations

import numpy as np
from auditkit_tracing.behaviours import Asked, Query
from auditkit_tracing.measuring import (
    Examples,
    Measured,
    Reading,
    Scorer,
    examples,
    mean_over_windows,
    measured,
    queries_themselves,
    strongest_window,
)

from auditkit import Documents, DocumentScores, Pool, Scores, in_units, together

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


class Known:
    """An engine whose readings are known, [1, 4] each."""

    tokens = np.array([[-1.0, 5.0, 4.0, 0.5]], dtype=np.float32)
    loss = np.array([[0.2, -0.3, 0.4, -0.1]], dtype=np.float32)

    def documents(
        self, queries: Pool, pool: Pool | None, *, groups: object, candidates: int
    ) -> DocumentScores:
        return DocumentScores(self._scores(self.tokens), self._scores(self.loss))

    def influence(self, queries: Pool, pool: Pool | None, *, groups: object) -> Scores:
        return self._scores(self.loss)

    def _scores(self, values: np.ndarray) -> Scores:
        return Scores(values, ("q",), ("a", "b", "c", "d"), np.ones(1, dtype=np.float32))


APART = Examples(tuple("abcd"), np.arange(4), np.ones(4))


def read(reads: Reading, whole: Examples = APART, **given: np.ndarray) -> Measured:
    return measured(Scorer(Known(), reads, 100), Pool.from_arrays(np.zeros(1)), whole, **given)  # type: ignore[arg-type]


def test_each_way_of_reading_gives_its_score() -> None:
    tokens, loss = Known.tokens.astype(float), Known.loss.astype(float)
    for reads, expected in (
        ("loss", in_units(loss)), ("tokens", in_units(tokens)), ("both", together(tokens, loss)),
    ):  # fmt: skip
        found = read(reads)
        np.testing.assert_allclose(found.score, expected)
        np.testing.assert_allclose(found.change, loss)
        np.testing.assert_allclose(found.influence, loss if reads == "loss" else tokens)
        np.testing.assert_allclose(found.fall, in_units(loss))


def test_windows_are_put_together_before_readings_are() -> None:
    found = read("both", WHOLE)
    assert found.influence.tolist() == [[4.0, 5.0]]
    assert found.window.tolist() == [[2, 1]]
    np.testing.assert_allclose(found.change, [[(0.2 + 3 * 0.4) / 4, (3 * -0.3 - 0.1) / 4]])
    np.testing.assert_allclose(found.score, together(found.influence, found.change))


def test_a_proponent_has_a_reading_above_zero() -> None:
    class Against(Known):
        tokens = np.array([[-1.0, -1.1, -0.9, -0.2]], dtype=np.float32)
        loss = np.array([[-1.0, -1.1, -0.9, -0.2]], dtype=np.float32)

    pool = Pool.from_arrays(np.zeros(1))
    for reads in ("loss", "tokens", "both"):
        found = measured(Scorer(Against(), reads, 100), pool, APART)  # type: ignore[arg-type]
        assert not found.proponent.any()
        assert read(reads).proponent.any()


def test_the_query_itself_counts_in_no_spread() -> None:
    itself = np.array([[False, True, False, False]])
    for reads in ("loss", "tokens", "both"):
        found = read(reads, itself=itself)
        assert not found.proponent[0, 1]
        rest = [0, 2, 3]
        values = (Known.loss if reads == "loss" else Known.tokens).astype(float)[:, rest]
        loss = Known.loss.astype(float)[:, rest]
        alone = together(values, loss) if reads == "both" else in_units(values)
        np.testing.assert_allclose(found.score[:, rest], alone)
        np.testing.assert_allclose(found.fall[:, rest], in_units(loss))
