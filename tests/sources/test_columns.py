import polars as pl
import pytest

from auditkit.sources.columns import Columns, choose
from auditkit.sources.features import dtypes_of, plain


def sort(frame: pl.DataFrame, **settings: object) -> Columns:
    frame = plain(frame)
    return choose(frame, dtypes=dtypes_of(frame), apart=(), **settings)


def test_every_kind_of_column_is_sorted(every_kind: pl.DataFrame) -> None:
    columns = sort(every_kind.drop("species"))
    assert columns.numbers == ("length", "count", "mass", "ringed")
    assert columns.dates == ("seen",)
    assert columns.categories == ("island",)
    assert columns.texts == ("remark",)
    assert set(columns.left_out) == {"sample_id", "serial", "unit", "hash"}
    assert columns.left_out["unit"] == "since they are the same in every row"
    assert columns.left_out["serial"] == "since they differ in (nearly) every row"
    assert columns.left_out["sample_id"] == "since they are named like ids"


def test_what_is_used_and_what_is_not_is_said_with_the_reason(every_kind: pl.DataFrame) -> None:
    said = " ".join(sort(every_kind, drop=["count"]).sentences)
    assert "numeric: length, mass, ringed" in said
    assert "free text: remark" in said
    assert "Not features, as asked: count." in said
    assert "Not features, since they differ in (nearly) every row: serial, hash." in said


def test_a_column_is_text_where_the_user_says_so(every_kind: pl.DataFrame) -> None:
    assert "hash" in sort(every_kind, text="hash").texts
    assert "sample_id" in sort(every_kind, text="sample_id").texts


def test_unique_free_text_is_a_feature_and_unique_codes_are_not() -> None:
    rows = range(50)
    frame = pl.DataFrame(
        {
            "text": [f"this is review number {row} of the lot" for row in rows],
            "code": [f"AB-{row}-{row * 7}" for row in rows],
            "nearly": [f"K{max(row, 1)}" for row in rows],
            "real": [row * 1.37 for row in rows],
            "whole": [float(row) * 3 for row in rows],
        }
    )
    columns = sort(frame)
    assert columns.texts == ("text",)
    assert columns.numbers == ("real",)
    assert set(columns.left_out) == {"code", "nearly", "whole"}


@pytest.mark.parametrize(
    ("name", "is_id"),
    [
        ("id", True), ("PassengerId", True), ("customer_id", True), ("rownames", True),
        ("userID", True), ("id_number", True), ("UUID", True), ("Unnamed: 0", True),
        ("width", False), ("humid", False), ("idea", False), ("grid", False), ("key", False),
    ],
)  # fmt: skip
def test_names_that_say_id(name: str, is_id: bool) -> None:
    frame = pl.DataFrame({name: [1, 2, 1, 2], "other": [1, 2, 3, 3]})
    assert (name in sort(frame).left_out) == is_id


def test_nested_cells_and_bytes_are_no_features() -> None:
    frame = pl.DataFrame(
        {"a": [[1], [2]], "b": [{"x": 1}, {"x": 2}], "c": [b"1", b"2"], "d": [1, 2]}
    )
    columns = sort(frame)
    assert columns.numbers == ("d",)
    assert set(columns.left_out.values()) == {"since their cells hold lists, objects or bytes"}
