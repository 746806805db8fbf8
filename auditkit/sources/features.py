"""The columns of a table as one matrix of numbers, by skrub's `TableVectorizer`.

Numbers are scaled robustly, dates taken apart, categories one-hot or, where there are many, by the
letters they share, and free text by tf-idf over letter groups, reduced by a truncated SVD. Nothing
is downloaded. A missing number becomes the median and a column that says it was missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from skrub import Cleaner, DatetimeEncoder, SquashingScaler, StringEncoder, TableVectorizer

from auditkit.errors import ColumnError, FeatureError, did_you_mean
from auditkit.sources.columns import Columns

Matrix = npt.NDArray[np.float32]

_TEXT_COMPONENTS = 100
_CATEGORY_COMPONENTS = 30


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with few types: whole numbers, floats, truth values, texts, dates, nested cells.

    Texts that are numbers in every row become numbers, spelt-out infinities among them.
    """
    return frame.with_columns([_plain(column) for column in frame.iter_columns()])


def cast_column(column: pl.Series, dtype: pl.DataType, table: str) -> pl.Series:
    """A column of a second table as the type it has in the first.

    Raises:
        ColumnError: its cells cannot be read so.
    """
    try:
        return column.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise ColumnError(
            f"The column {column.name!r} of {table} holds {column.dtype} where the first table "
            f"holds {dtype}: give both tables the same columns."
        ) from error


def dtypes_of(frame: pl.DataFrame) -> dict[str, pl.DataType]:
    """What each column of a plain frame holds, dates written as text recognized."""
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    texts = [name for name in texts if frame[name].null_count() < frame.height]
    cleaned = Cleaner().fit_transform(frame.select(texts)) if texts else pl.DataFrame()
    return {**frame.schema, **cleaned.schema}


class TableFeatures:
    """Features learnt from one table and applied to others with the same columns.

    Args:
        columns: the features by kind.
        seed: for the random part of the truncated SVD.
    """

    def __init__(self, columns: Columns, *, seed: int) -> None:
        self.columns = columns
        if not columns.features:
            raise FeatureError(
                "No column is left to be a feature: name a text column with --text, or give a "
                "table with more columns."
            )
        self._seed = seed
        self._pipeline: Pipeline | None = None
        self._schema: dict[str, pl.DataType] = {}

    def fit(self, frame: pl.DataFrame, ids: Sequence[str]) -> Matrix:
        """Learn from a plain frame and give its features, float32 [row, feature].

        Raises:
            FeatureError: a number is NaN or infinite; the message names column and row.
        """
        chosen = self._numeric(frame.select(self.columns.features))
        self._schema = dict(chosen.schema)
        _refuse_non_finite(chosen, ids)
        self._pipeline = _pipeline(self.columns.texts, rows=frame.height, seed=self._seed)
        with warnings.catch_warnings():
            # skrub remarks that a column has fewer letter groups than components; it then gives
            # them all, and nothing is lost
            warnings.filterwarnings("ignore", message="The matrix shape is", category=UserWarning)
            return _matrix(self._pipeline.fit_transform(chosen))

    def transform(self, frame: pl.DataFrame, ids: Sequence[str], *, table: str) -> Matrix:
        """The features of another plain frame, float32 [row, feature].

        Raises:
            ColumnError: a column is missing, or holds what the first table's does not.
            FeatureError: a number is NaN or infinite; the message names column and row.
        """
        for name in self._schema:
            if name not in frame.columns:
                raise ColumnError(
                    f"{table} has no column {name!r}, which is a feature of the first table; "
                    f"{did_you_mean(name, frame.columns)}"
                )
        cast_columns = [
            cast_column(frame[name], dtype, table) for name, dtype in self._schema.items()
        ]
        chosen = pl.DataFrame(cast_columns)
        _refuse_non_finite(chosen, ids)
        if self._pipeline is None:
            raise RuntimeError("`transform` comes after `fit`.")
        return _matrix(self._pipeline.transform(chosen))

    def _numeric(self, frame: pl.DataFrame) -> pl.DataFrame:
        texts = [pl.col(name).cast(pl.String) for name in self.columns.texts]
        numbers = [pl.col(name).cast(pl.Float64) for name in self.columns.numbers]
        return frame.with_columns(numbers + texts)


def _plain(column: pl.Series) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6
    if dtype == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / 1e9
    if dtype == pl.String and column.null_count() < len(column):
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
        return numbers if numbers.null_count() == column.null_count() else column
    return column


def _refuse_non_finite(frame: pl.DataFrame, ids: Sequence[str]) -> None:
    for column in frame.iter_columns():
        if not column.dtype.is_float():
            continue
        wrong = (~column.is_finite()).fill_null(value=False)
        if wrong.any():
            place = int(wrong.arg_max() or 0)
            value = "NaN" if np.isnan(column[place]) else "infinite"
            raise FeatureError(
                f"The column {column.name!r} is {value} in row {ids[place]!r}: leave the cell "
                f"empty where a value is missing, or leave the column out with --drop."
            )


def _pipeline(texts: Sequence[str], *, rows: int, seed: int) -> Pipeline:
    components = max(1, min(_TEXT_COMPONENTS, rows - 1))
    vectorizer = TableVectorizer(
        numeric=SquashingScaler(),
        datetime=make_pipeline(DatetimeEncoder(), SquashingScaler()),
        high_cardinality=StringEncoder(n_components=_CATEGORY_COMPONENTS, random_state=seed),
        specific_transformers=[
            (StringEncoder(n_components=components, random_state=seed), list(texts))
        ]
        if texts
        else (),
    )
    return make_pipeline(vectorizer, SimpleImputer(strategy="median", add_indicator=True))


def _matrix(values: object) -> Matrix:
    return np.ascontiguousarray(cast(Matrix, values), dtype=np.float32)
