"""Tables of a report: findings with their examples, and the small tables of sections.

The table of findings stands in the page as plain HTML, all rows of it, and works without scripts;
DataTables, from the bundle itables ships, then makes it sort and search. itables' own writer is not
used: it puts rows into a script, where thumbnails would need its escaping switched off and numbers
an `eval`. Here the template engine escapes every cell, and numbers sort by attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from auditkit.findings import SCHEMA
from auditkit.report.example import example_view
from auditkit.report.examples import OTHER
from auditkit.report.previews import Previews, cut
from auditkit.report.views import (
    CellView,
    ColumnView,
    ExampleView,
    FilterView,
    FindingsView,
    FindingView,
    TableView,
)
from auditkit.report.wording import NOTHING, decimals_for, number, title_of
from auditkit.showing import PoolName

MOST_CHOICES = 50
"""A column of more values than this gets no filter; searching finds them."""

MOST_FILTERS = 4

_CELL_CHARACTERS = 200


@dataclass(frozen=True)
class _Column:
    name: str
    view: ColumnView
    cells: tuple[CellView, ...]


def findings_view(
    frame: pl.DataFrame, previews: Previews, *, judged: PoolName, shown: str, file_name: str
) -> FindingsView:
    """The table of the findings in `frame`, all of its rows.

    Args:
        frame: findings, worst first.
        previews: what the reader sees of the examples.
        judged: the pool the findings are about.
        shown: what these rows are of all that were judged, in words.
        file_name: the name of an exported file of decisions.
    """
    own = [_column(frame[name]) for name in frame.columns if name not in SCHEMA]
    filters = _filters(own)
    scores = _column(frame["score"]).cells
    suggests = "suggested_label" in frame.columns
    suggested = frame["suggested_label"].to_list() if suggests else [None] * frame.height
    rows = tuple(
        FindingView(
            id=row["example_id"],
            rank=row["rank"],
            example=example_view(previews.get((judged, row["example_id"]))),
            other=_other(row.get(OTHER), previews),
            probability=_probability(row["probability"]),
            percent=_percent(row["probability"]),
            score=scores[place],
            flagged=bool(row["flagged"]),
            cells=tuple(column.cells[place] for column in own),
            choices=" ".join(
                str(choices.index(column.cells[place].text)) for column, choices in filters
            ),
            has_suggestion=suggested[place] is not None,
            record=_record(row["example_id"], suggested[place]),
        )
        for place, row in enumerate(frame.iter_rows(named=True))
    )
    return FindingsView(
        columns=tuple(column.view for column in own),
        rows=rows,
        filters=tuple(
            FilterView(name=f"filter-{place}", title=column.view.title, choices=tuple(choices))
            for place, (column, choices) in enumerate(filters)
        ),
        shown=shown,
        has_probability=frame["probability"].is_not_null().any(),
        has_suggestion=suggests,
        has_other=OTHER in frame.columns,
        has_flags=frame["flagged"].n_unique() > 1,
        file_name=file_name,
    )


def table_view(frame: pl.DataFrame) -> TableView:
    """A section's table, all of its rows."""
    columns = [_column(frame[name]) for name in frame.columns]
    rows = tuple(tuple(column.cells[place] for column in columns) for place in range(frame.height))
    return TableView(columns=tuple(column.view for column in columns), rows=rows)


def _other(name: object, previews: Previews) -> ExampleView | None:
    return None if name is None else example_view(previews.get(("train", str(name))))


def _column(values: pl.Series) -> _Column:
    dtype = values.dtype
    numeric = dtype.is_numeric()
    if numeric:
        decimals = None if dtype.is_integer() else decimals_for(values.drop_nulls().to_list())
        cells = [_numeric(value, decimals) for value in values.to_list()]
    else:
        cells = [CellView(text=_text(value)) for value in values.to_list()]
    view = ColumnView(title=title_of(values.name), numeric=numeric)
    return _Column(values.name, view, tuple(cells))


def _numeric(value: float | None, decimals: int | None) -> CellView:
    known = value is not None and not math.isnan(value)
    sort = repr(float(value)).replace("inf", "Infinity") if value is not None and known else ""
    text = str(value) if isinstance(value, int) else number(value, decimals=decimals)
    return CellView(text=text if known else NOTHING, sort=sort)


def _text(value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return number(value)
    return cut(str(value), _CELL_CHARACTERS)


def _probability(value: float | None) -> CellView:
    """Two decimals, and no false certainty."""
    cell = _numeric(value, 2)
    if value is not None and 0.995 <= value < 1:
        return replace(cell, text="> 0.99")
    if value is not None and 0 < value < 0.005:
        return replace(cell, text="< 0.01")
    return cell


def _percent(probability: float | None) -> int | None:
    if probability is None or not math.isfinite(probability):
        return None
    return round(100 * min(max(probability, 0), 1))


def _filters(columns: Sequence[_Column]) -> list[tuple[_Column, list[str]]]:
    """Columns with few values, and these values: texts, and labels even where they are numbers."""
    found = []
    for column in columns:
        values = sorted({cell.text for cell in column.cells}, key=_natural)
        fits = not column.view.numeric or column.name.endswith("label")
        if fits and not column.name.endswith("_id") and 1 < len(values) <= MOST_CHOICES:
            found.append((column, values))
    return found[:MOST_FILTERS]


def _natural(text: str) -> tuple[float, str]:
    try:
        value = float(text)
    except ValueError:
        return math.inf, text
    return (value if math.isfinite(value) else math.inf), text


def _record(example_id: str, suggested: object) -> str:
    record = {"example_id": example_id}
    if suggested is not None:
        record["suggested_label"] = str(suggested)
    return json.dumps(record)
