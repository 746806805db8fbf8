from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_tracing.groups import SIGNIFICANT, by_groups, values_of
from auditkit_tracing.measuring import Examples, Measured
from auditkit_tracing.traced import Traced, pulls

from auditkit import together
from auditkit.errors import ColumnError

NOTHING = np.zeros((1, 200), dtype=bool)
VALUES = ["large"] * 100 + ["small"] * 10 + ["rest"] * 90


def asked(units: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    frame = by_groups(units, NOTHING, VALUES, ["b"], seed=seed)
    return dict(frame.select("group", "q").iter_rows())


def test_a_group_whose_examples_score_high_is_named() -> None:
    units = np.random.default_rng(0).normal(0, 1, (1, 200))
    units[0, 100:110] += 3
    frame = by_groups(units, units > 2, VALUES, ["b"], seed=0)
    assert frame["group"][0] == "small"
    assert frame["q"][0] <= SIGNIFICANT
    assert frame["examples"][0] == 10
    assert frame["flagged"].sum() == int((units > 2).sum())
    assert frame["share"].sum() == pytest.approx(1.0)


def test_one_strong_example_in_a_large_group_is_not_enough() -> None:
    units = np.random.default_rng(1).normal(0, 1, (1, 200))
    units[0, 5] = 100.0
    assert asked(units)["large"] > SIGNIFICANT


def test_a_few_strong_examples_are_not_drowned_by_many_weak_ones() -> None:
    influence = np.random.default_rng(2).normal(0, 1, (1, 200))
    influence[0, 100:105] += 60  # half of the small group
    influence[0, :100] += 0.5  # all of the large one
    itself = np.zeros((1, 200), dtype=bool)
    itself[0, 0] = True
    influence[0, 0] = 1_000.0  # the query itself, of the large one
    place = np.zeros((1, 200), dtype=np.int64)
    found = Measured(
        score=together(influence, influence, ~itself), proponent=influence > 0,
        influence=influence, change=influence, fall=influence, window=place, against=place,
        itself=itself,
    )  # fmt: skip
    units = pulls(Traced(None, None, None, found, None, None, {}, None))  # type: ignore[arg-type]
    assert units[0, 0] == 0
    assert asked(units)["small"] <= SIGNIFICANT < asked(units)["large"]


def test_by_chance_no_group_is_named_more_often_than_said() -> None:
    random = np.random.default_rng(2)
    named = 0
    for number in range(40):
        q = asked(random.standard_t(2, (1, 200)), seed=number)
        named += any(value <= SIGNIFICANT for value in q.values())
    assert named <= 6


def test_windows_count_once_and_missing_cells_are_a_group() -> None:
    frame = pl.DataFrame({"source": ["a", "a", None, "b", "b"], "id": list("vwxyz")})
    whole = Examples(("1", "2", "3", "4"), np.array([0, 0, 1, 2, 3]), np.ones(5))
    assert values_of(frame, "source", whole) == ["a", "(missing)", "b", "b"]
    with pytest.raises(ColumnError, match="did you mean 'source'"):
        values_of(frame, "sourc", whole)
    with pytest.raises(ColumnError, match="4 different values for 4 training"):
        values_of(frame, "id", whole)
    with pytest.raises(ColumnError, match="1 different values"):
        values_of(frame.with_columns(source=pl.lit("x")), "source", whole)
