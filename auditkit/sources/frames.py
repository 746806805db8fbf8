"""Tables as polars frames: reading them, naming their rows, finding their columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from auditkit.errors import ColumnError, PoolError, UnreadableError, did_you_mean

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".ndjson", ".jsonl")
"""The kinds of tables, by file extension."""

MISSING = ("", "NA", "N/A", "n/a", "null", "NULL")
"""What stands for a missing cell in CSV and TSV files; `NaN` is a number gone wrong, not one."""

Format = Literal["csv", "parquet", "ndjson"]


def format_of(path: Path) -> Format:
    """How a table is stored, by its extension (one of `TABLE_SUFFIXES`)."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    return "ndjson" if suffix in (".ndjson", ".jsonl") else "csv"


def read_frame(path: Path, *, verbatim: Sequence[str | None] = ()) -> pl.DataFrame:
    """A table with the types its cells have; in CSV files they are inferred from all rows.

    Args:
        path: a file with one of `TABLE_SUFFIXES`.
        verbatim: columns whose cells stay the text they are, e.g. ids with leading zeros.

    Raises:
        UnreadableError: the file is not a table of its kind.
        PoolError: a table without rows.
    """
    try:
        frame = _read(path, [name for name in verbatim if name is not None])
    except (OSError, UnicodeError, pl.exceptions.PolarsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise UnreadableError(
            f"{path.name} cannot be read as a table: {reason}; expected UTF-8 text with one header "
            "line (CSV, TSV), one JSON object per line (NDJSON), or a Parquet file."
        ) from error
    if frame.height == 0:
        raise PoolError(f"{path.name} has no rows: expected at least one example per row.")
    return frame


def _read(path: Path, verbatim: Sequence[str]) -> pl.DataFrame:
    kind = format_of(path)
    if kind == "parquet":
        return pl.read_parquet(path)
    if kind == "ndjson":
        return _read_ndjson(path)
    split = separator(path)
    header = pl.read_csv(path, separator=split, n_rows=0, infer_schema=False).columns
    return pl.read_csv(
        path,
        separator=split,
        infer_schema_length=None,
        try_parse_dates=True,
        null_values=list(MISSING),
        schema_overrides={name: pl.String() for name in verbatim if name in header},
    )


def _read_ndjson(path: Path) -> pl.DataFrame:
    """A JSON object a line; a file without a line has no rows."""
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        if not any(line.strip() for line in lines):
            return pl.DataFrame()
        for number, line in enumerate(lines, start=1):
            wrong = _no_object(line)
            if wrong:
                raise pl.exceptions.ComputeError(f"line {number} {wrong}") from error
        raise


def _no_object(line: str) -> str:
    """Why a line that is not empty is no JSON object, in words; nothing where it is one."""
    if not line.strip():
        return ""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({error})"
    return "" if isinstance(found, dict) else f"is a JSON {type(found).__name__}, not an object"


def separator(path: Path) -> str:
    """What separates the cells: a tab in `.tsv`; in `.csv` a comma, or a semicolon without any."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8", errors="replace") as lines:
        header = lines.readline()
    return ";" if ";" in header and "," not in header else ","


def column(frame: pl.DataFrame, name: str, *, table: str, role: str) -> pl.Series:
    """A column by name.

    Raises:
        ColumnError: there is none of that name; the message names the most similar one.
    """
    if name not in frame.columns:
        raise ColumnError(
            f"{table} has no column {name!r} for {role}: {did_you_mean(name, frame.columns)}"
        )
    return frame.get_column(name)


def row_ids(frame: pl.DataFrame, name: str | None, *, table: str) -> list[str]:
    """The id of each row: the cell of a column, as text, or the row's number, from 0.

    Raises:
        ColumnError: no such column.
        PoolError: a row without an id.
    """
    if name is None:
        return [str(number) for number in range(frame.height)]
    cells = column(frame, name, table=table, role="ids").to_list()
    if None in cells:
        raise PoolError(
            f"Row {cells.index(None)} of {table} has no id in the column {name!r}: give each row "
            "one, or leave out --id to use row numbers."
        )
    return [as_text(cell) for cell in cells]


def as_text(cell: object) -> str:
    """A cell as a person reads it; nested cells as JSON."""
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)
