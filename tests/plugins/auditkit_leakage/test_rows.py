from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_leakage.rows import encoded, find_rows, information


def table(count: int, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": random.integers(18, 90, count),
            "height": random.normal(170, 9, count).round(1),
            "income": random.lognormal(10, 1, count).round(2),
            "score": random.normal(size=count),
            "town": random.choice(["a", "b", "c", "d"], count),
            "work": random.choice([f"job {k}" for k in range(40)], count),
            "seen": random.choice(["yes", "no", None], count),
        }
    )


TRAIN = table(1_500)
STRANGERS = find_rows(TRAIN, table(200, seed=9), neighbours=1)


@pytest.mark.parametrize("column", TRAIN.columns)
def test_a_row_with_one_cell_changed_leads_to_its_original(column: str) -> None:
    rows = TRAIN[:40]
    changed = rows.with_columns(TRAIN[column][100:140].alias(column))
    differs = (changed[column].fill_null("-") if column == "seen" else changed[column]) != (
        rows[column].fill_null("-") if column == "seen" else rows[column]
    )
    found = find_rows(TRAIN, changed, neighbours=1)
    np.testing.assert_array_equal(found.train, np.arange(40))
    assert found.distance.max() < np.quantile(STRANGERS.distance, 0.01)
    kinds = np.array(found.kind)[differs.to_numpy()]
    assert set(kinds) <= {"changed cell", "rounding"}


def test_rounded_rows_lead_to_their_originals() -> None:
    rounded = TRAIN[:60].with_columns(
        pl.col("height").round(0), pl.col("income").round(0), pl.col("score").round(2)
    )
    found = find_rows(TRAIN, rounded, neighbours=1)
    np.testing.assert_array_equal(found.train, np.arange(60))
    assert np.mean([kind == "rounding" for kind in found.kind]) > 0.9
    assert found.distance.max() < np.quantile(STRANGERS.distance, 0.01)


def test_strangers_are_all_there_and_far() -> None:
    np.testing.assert_array_equal(STRANGERS.evaluation, np.arange(200))
    assert np.median(STRANGERS.distance) > 0.5


def test_information_is_the_rarity_of_agreement() -> None:
    train = pl.DataFrame({"n": [1.0, 2.0, 3.0, 10.0], "c": ["x", "x", "x", "y"]})
    cells = encoded(train, pl.DataFrame({"n": [10.0, 2.5], "c": ["y", "z"]}))
    own = information(cells, None)[:, 0]
    assert own[0] == pytest.approx(2 * np.log(4))  # a number and a word that one row in four has
    pairs = information(cells, np.array([[3, 0], [1, -1]]))
    assert pairs[0, 0] == pytest.approx(2 * np.log(4))
    assert pairs[0, 1] == pytest.approx(0)  # all rows are as near, and the words differ
    assert pairs[1, 0] == pytest.approx(np.log(2))  # 2 and 3 are as near to 2.5
    assert pairs[1, 1] == -np.inf


def test_two_missing_cells_agree_and_one_says_nothing() -> None:
    train = pl.DataFrame({"n": [1.0, None, float("nan"), 4.0]})
    cells = encoded(train, pl.DataFrame({"n": [None, 4.0]}, schema={"n": pl.Float64}))
    found = information(cells, np.array([[1, 0], [3, 2]]))
    np.testing.assert_allclose(found, [[np.log(2), 0], [np.log(4), 0]], atol=1e-9)


def test_equal_rows_are_no_trouble() -> None:
    same = pl.DataFrame({"a": [1] * 30, "b": ["x"] * 30})
    found = find_rows(same, same, same_pool=True, neighbours=2)
    assert len(found) == 60
    assert (found.evaluation != found.train).all()
    assert found.distance.max() == 0
    assert set(found.kind) == {"identical"}


def test_one_pool_pairs_no_row_with_itself() -> None:
    twice = pl.concat([TRAIN[:100], TRAIN[:3]])
    found = find_rows(twice, twice, same_pool=True, neighbours=1)
    first = np.searchsorted(found.evaluation, np.arange(100, 103))
    assert found.train[first].tolist() == [0, 1, 2]
    assert (found.evaluation != found.train).all()


def test_odd_cells_do_no_harm() -> None:
    odd = pl.DataFrame(
        {
            "void": pl.Series([None, None, None], dtype=pl.Float64),
            "huge": [1e308, -1e308, float("inf")],
            "list": [[1], [2], []],
            "text": ["1", "two", "<b>"],
        }
    )
    found = find_rows(odd, odd, neighbours=1)
    assert found.train.tolist() == [0, 1, 2]
    assert np.isfinite(found.distance).all()
    alone = find_rows(odd[:1], odd, neighbours=3)
    assert alone.train.tolist() == [0, 0, 0]


def test_rounding_explains_what_nearness_does_not() -> None:
    random = np.random.default_rng(4)
    numbers = {f"n{k}": random.normal(50, 20, 800) for k in range(6)}
    train = pl.DataFrame(numbers)
    rounded = train[:30].with_columns(pl.all().round(0))
    moved = rounded.with_columns(pl.all() + 0.2)  # as near, and rounded to nothing
    near, far = (find_rows(train, side, neighbours=1) for side in (rounded, moved))
    np.testing.assert_array_equal(near.train, np.arange(30))
    assert np.median(near.distance) < 0.75 * np.median(far.distance)
