from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from auditkit_memorization.groups import by_groups, check_column

from auditkit import errors

COUNT = 400
LABELS = np.array(["cat", "dog"] * (COUNT // 2))
RARE = np.arange(COUNT) < 30


def grouped(metadata: pl.DataFrame, *, by: str | None = None) -> pl.DataFrame:
    memorized = RARE | (np.arange(COUNT) % 20 == 0)
    return by_groups(
        LABELS,
        metadata,
        np.where(memorized, 0.9, 0.1),
        memorized,
        np.where(memorized, "rare but right", "learnt"),
        by=by,
    )


FRAME = pl.DataFrame(
    {
        "id": [str(place) for place in range(COUNT)],
        "label": LABELS,
        "kind": ["1", "0"] * (COUNT // 2),
        "site": np.where(RARE, "north", "south"),
        "noise": np.random.default_rng(0).choice(["a", "b", "c"], COUNT),
        "weight": np.linspace(0, 1, COUNT),
        "gap": [None, "x", "y", "x"] * (COUNT // 4),
    }
)


def test_columns_of_few_values_that_do_not_repeat_the_labels_are_compared() -> None:
    found = grouped(FRAME)
    assert found["column"].unique(maintain_order=True).to_list() == [
        "class",
        "site",
        "noise",
        "gap",
    ]
    assert "(missing)" in found.filter(pl.col("column") == "gap")["group"].to_list()


def test_a_rare_group_stands_out_and_chance_does_not() -> None:
    found = {(row["column"], row["group"]): row for row in grouped(FRAME).iter_rows(named=True)}
    north = found["site", "north"]
    assert (north["examples"], north["memorized"], north["rare but right"]) == (30, 30, 30)
    assert north["share elsewhere"] < 0.1
    assert north["q"] < 1e-10
    assert all(found["noise", name]["q"] > 0.05 for name in "abc")


def test_false_discoveries_are_counted_over_all_groups() -> None:
    few = grouped(FRAME.select("site")).filter(pl.col("group") == "north")["q"][0]
    many = grouped(
        FRAME.select(
            "site", *[pl.Series(f"n{k}", np.random.default_rng(k).choice(["a", "b"], COUNT))
                      for k in range(9)]
        )
    ).filter(pl.col("group") == "north")["q"][0]  # fmt: skip
    assert many > few


def test_numbers_of_many_values_are_put_into_bands_when_asked_for() -> None:
    found = grouped(FRAME, by="weight").filter(pl.col("column") == "weight")
    assert found["examples"].to_list() == [80] * 5
    worst = found.sort("memorized", descending=True).row(0, named=True)
    assert worst["group"] == "0 to 0.2"


def test_small_groups_are_shown_and_not_tested() -> None:
    tiny = pl.DataFrame({"site": ["north"] * 2 + ["south"] * (COUNT - 2)})
    north = grouped(tiny, by="site").filter(pl.col("group") == "north")
    assert north["examples"].item() == 2
    assert north["q"].item() is None


def test_a_missing_column_is_named_with_the_nearest() -> None:
    with pytest.raises(errors.ColumnError, match=r"no column 'sites' .* did you mean 'site'"):
        check_column(FRAME, "sites")


def test_a_column_of_too_many_values_is_refused() -> None:
    with pytest.raises(errors.ColumnError, match="too many different"):
        check_column(FRAME, "id")


def test_the_class_can_be_asked_for_alone() -> None:
    check_column(FRAME, "class")
    assert grouped(FRAME, by="class")["column"].unique().to_list() == ["class"]
