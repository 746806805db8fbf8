from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import polars as pl
from PIL import Image

from auditkit import Findings
from auditkit.report.previews import StoredPreview
from auditkit.report.table import MOST_CHOICES, example_view, findings_view, table_view
from auditkit.report.views import FindingsView


def view(frame: pl.DataFrame) -> FindingsView:
    return findings_view(frame, {}, judged="train", shown="", file_name="")


def findings(count: int = 3, **columns: list[object]) -> pl.DataFrame:
    ids = [f"e{place}" for place in range(count)]
    score = np.arange(count, 0, -1, dtype=float)
    return Findings.ranked(ids, score, columns=columns).frame


def test_numbers_sort_by_themselves_and_nothing_has_no_place() -> None:
    frame = findings(loss=[1.25, None, math.inf], count_of=[7, 1200, 3])
    rows = view(frame).rows
    assert [row.cells[0].sort for row in rows] == ["1.25", "", "Infinity"]
    assert [row.cells[0].text for row in rows] == ["1.25", "\N{EN DASH}", "inf"]
    assert [row.cells[1].sort for row in rows] == ["7.0", "1200.0", "3.0"]


def test_probabilities_claim_no_certainty() -> None:
    frame = findings(4).with_columns(probability=pl.Series([0.9999, 0.5, 0.0001, None]))
    shown = view(frame)
    assert [row.probability.text for row in shown.rows] == [
        *("> 0.99", "0.50", "< 0.01", "\N{EN DASH}"),
    ]
    assert [row.percent for row in shown.rows] == [100, 50, 0, None]
    assert shown.has_probability
    assert not view(findings()).has_probability


def test_columns_of_few_values_can_be_chosen_from() -> None:
    few, many = ["10", "9", "10"] * 20, [str(place) for place in range(60)]
    frame = findings(60, given_label=few, other_id=few, remark=many)
    shown = view(frame)
    assert len(many) > MOST_CHOICES
    assert [(one.title, one.choices) for one in shown.filters] == [("Given label", ("9", "10"))]
    assert [row.choices for row in shown.rows[:2]] == ["1", "0"]


def test_the_record_of_a_row_holds_what_a_decision_needs() -> None:
    plain = json.loads(view(findings()).rows[0].record)
    assert plain == {"example_id": "e0"}
    labelled = view(findings(suggested_label=["a\r\n'", None, "c"]))
    assert labelled.has_suggestion
    assert [row.has_suggestion for row in labelled.rows] == [True, False, True]
    assert json.loads(labelled.rows[0].record)["suggested_label"] == "a\r\n'"
    assert json.loads(labelled.rows[1].record) == {"example_id": "e1"}


def test_small_tables_have_a_head_and_cells_of_text() -> None:
    shown = table_view(pl.DataFrame({"kind": ["a", None], "share_of": [0.5, 0.123]}))
    assert [(column.title, column.numeric) for column in shown.columns] == [
        *(("Kind", False), ("Share of", True)),
    ]
    assert [[cell.text for cell in row] for row in shown.rows] == [
        *(["a", "0.500"], ["\N{EN DASH}", "0.123"]),
    ]


def test_photographs_are_packed_and_small_images_kept_exactly() -> None:
    for side, kind in ((8, "png"), (96, "webp")):
        noise = np.random.default_rng(0).integers(0, 255, (side, 2 * side, 3), dtype=np.uint8)
        written = io.BytesIO()
        Image.fromarray(noise[:, :96]).save(written, format="PNG")
        shown = example_view(StoredPreview(kind="image", image=written.getvalue()))
        head, data = shown.image.split(",")
        assert head == f"data:image/{kind};base64"
        assert len(base64.b64decode(data)) <= len(written.getvalue())
        assert max(shown.width, shown.height) == 80


def test_long_texts_break_between_words_and_lose_nothing() -> None:
    text = "some words " * 60
    shown = example_view(StoredPreview(kind="text", text=text))
    assert shown.text.endswith(" ")
    assert shown.text + shown.rest == text
    assert example_view(StoredPreview(kind="text", text="short")).rest == ""


def test_wide_rows_are_folded_and_lose_nothing() -> None:
    cells = {str(place): str(-place) for place in range(20)}
    shown = example_view(StoredPreview(kind="row", cells=cells))
    both = [*shown.cells, *shown.more_cells]
    assert {fact.name: fact.value for fact in both} == cells
    assert len(shown.cells) < len(cells)
