from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_leakage.content import Content
from auditkit_leakage.evidence import best_of, contents, gather
from auditkit_leakage.found import Found

from auditkit import Pool, Silent

RANDOM = np.random.default_rng(0)
WORDS = [f"word{number}" for number in range(3_000)]


def texts(count: int) -> tuple[str, ...]:
    return tuple(" ".join(RANDOM.choice(WORDS, 30)) for _ in range(count))


def test_the_best_pair_is_an_identical_one_or_else_the_nearest() -> None:
    found = Found(
        np.array([0, 0, 2, 2]),
        np.array([5, 6, 7, 8]),
        ["near text", "identical", "near text", "case"],
        np.array([0.9, 1.0, 0.2, 0.8]),
        np.array([0.0, 0.0, 0.9, 0.1]),
    )
    best = best_of(found, 3)
    assert best.pair.tolist() == [1, -1, 3]
    assert best.train.tolist() == [6, -1, 8]
    assert best.identical.tolist() == [True, False, False]
    assert best.distance.tolist() == [0.0, np.inf, 0.1]


def test_labels_and_ids_are_no_content() -> None:
    frame = pl.DataFrame({"key": ["a", "b"], "x": [1, 2], "y": [3, 4], "kind": ["u", "v"]})
    pool = Pool([{"x": "1"}, {"x": "2"}], metadata=frame, label="kind", contents=["x", "y"])
    ours, theirs = contents(pool, None)
    assert ours.frame.columns == ["x", "y"]
    assert theirs is None


def test_a_pool_like_the_train_pool_is_the_train_pool() -> None:
    train, other = Pool(["one text", "another"]), Pool(["One text", "another"])
    assert contents(train, Pool(["one text", "another"]))[1] is None
    assert contents(train, other)[1] is not None


def test_copies_lie_nearer_than_strangers() -> None:
    train = Content("text", texts=texts(300))
    evaluation = Content("text", texts=(*texts(20), *train.strings[:5]))
    found = gather(train, evaluation, seed=0, progress=Silent())
    assert found.best.identical.tolist() == [False] * 20 + [True] * 5
    assert not found.poor.any()
    assert np.median(found.planted) < np.quantile(found.null, 0.01)
    assert found.recovery["found"].min() > 0.9  # type: ignore[operator]
    judgement = found.judged(seed=0)
    assert judgement.count == pytest.approx(5, abs=0.5)


def test_equal_contents_have_equal_codes() -> None:
    train = Content("text", texts=("same text here", "other text", "same  text here"))
    found = gather(train, None, seed=0, progress=Silent())
    assert found.codes[0] == found.codes[2] != found.codes[1]
