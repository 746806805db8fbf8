from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from auditkit.errors import ColumnError, FeatureError
from auditkit.sources.columns import choose
from auditkit.sources.features import TableFeatures, dtypes_of, plain
from auditkit.sources.frames import read_frame


def features_of(frame: pl.DataFrame, seed: int = 0) -> TableFeatures:
    columns = choose(frame, dtypes=dtypes_of(frame), apart=["species"])
    return TableFeatures(columns, seed=seed)


def ids(frame: pl.DataFrame) -> list[str]:
    return [f"row {place}" for place in range(frame.height)]


def test_features_are_finite_bounded_and_repeatable(every_kind: pl.DataFrame) -> None:
    frame = plain(every_kind)
    values = features_of(frame).fit(frame, ids(frame))
    assert values.dtype == np.float32
    assert values.shape[0] == 120
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 10
    assert np.array_equal(values, features_of(frame).fit(frame, ids(frame)))


def test_another_table_gets_the_features_of_the_first(every_kind: pl.DataFrame) -> None:
    frame = plain(every_kind)
    features = features_of(frame)
    values = features.fit(frame, ids(frame))
    some = frame.head(9).select(reversed(frame.columns))
    again = features.transform(some, ids(some), table="b.csv")
    np.testing.assert_allclose(again, values[:9], atol=1e-4)


def test_the_same_rows_as_text_files_give_the_same_features(
    every_kind: pl.DataFrame, tmp_path: Path
) -> None:
    every_kind.write_csv(tmp_path / "a.csv")
    every_kind.write_ndjson(tmp_path / "a.ndjson")
    frame = plain(every_kind)
    values = features_of(frame).fit(frame, ids(frame))
    for name in ("a.csv", "a.ndjson"):
        other = plain(read_frame(tmp_path / name))
        np.testing.assert_allclose(features_of(other).fit(other, ids(other)), values, atol=1e-3)


def test_missing_numbers_are_marked(every_kind: pl.DataFrame) -> None:
    frame = plain(every_kind.select("mass", "species"))
    values = features_of(frame).fit(frame, ids(frame))
    assert values.shape[1] == 2
    assert np.array_equal(values[:, 1] == 1, frame["mass"].is_null().to_numpy())


@pytest.mark.parametrize(
    ("cell", "word"), [("inf", "infinite"), ("-inf", "infinite"), ("nan", "NaN")]
)
def test_infinite_and_nan_cells_name_column_and_row(tmp_path: Path, cell: str, word: str) -> None:
    (tmp_path / "a.csv").write_text(f"x,y\n1,2\n,3\n{cell},4\n2,1\n")
    frame = plain(read_frame(tmp_path / "a.csv"))
    with pytest.raises(FeatureError, match=f"column 'x' is {word} in row 'row 2'"):
        features_of(frame).fit(frame, ids(frame))


def test_a_second_table_that_does_not_fit_is_refused(every_kind: pl.DataFrame) -> None:
    frame = plain(every_kind)
    features = features_of(frame)
    features.fit(frame, ids(frame))
    with pytest.raises(ColumnError, match=r"b.csv has no column 'length'"):
        features.transform(frame.drop("length"), ids(frame), table="b.csv")
    words = frame.with_columns(pl.lit("long").alias("length"))
    with pytest.raises(ColumnError, match=r"'length' of b.csv holds String where .* Float64"):
        features.transform(words, ids(frame), table="b.csv")
    endless = frame.with_columns(pl.lit(float("inf")).alias("length"))
    with pytest.raises(FeatureError, match=r"infinite in row 'row 0'"):
        features.transform(endless, ids(frame), table="b.csv")


def test_no_feature_at_all_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"No column is left to be a feature"):
        features_of(pl.DataFrame({"unit": ["mm"] * 4, "species": ["a", "b"] * 2}))


def test_types_are_brought_down_to_few() -> None:
    frame = plain(
        pl.DataFrame(
            {
                "words": pl.Series(["a", "b"], dtype=pl.Categorical()),
                "span": [timedelta(seconds=3), timedelta(minutes=1)],
                "text": [" 1.5", "Infinity"],
                "mixed": ["1", "one"],
            }
        )
    )
    assert frame.schema == {
        "words": pl.String(), "span": pl.Float64(), "text": pl.Float64(), "mixed": pl.String(),
    }  # fmt: skip
    assert frame["span"].to_list() == [3.0, 60.0]


def test_tiny_and_odd_texts_make_features() -> None:
    frame = pl.DataFrame({"note": ["!", None, "a b c d e f", "\u202e<i>"], "species": list("abab")})
    columns = choose(frame, dtypes=dtypes_of(frame), apart=["species"], text="note")
    values = TableFeatures(columns, seed=0).fit(frame, ids(frame))
    assert np.isfinite(values).all()
