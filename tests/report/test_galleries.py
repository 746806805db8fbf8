"""Galleries: what is marked, what is left out, what was not stored."""

from __future__ import annotations

import pytest

from auditkit import Gallery, GalleryRow, Mark, Shown
from auditkit.report.galleries import MOST_COLUMNS, gallery_views, pieces
from auditkit.report.previews import MAX_CHARACTERS, StoredPreview
from auditkit.report.views import PieceView

TEXT = "the tall ship left"


def test_marks_cut_a_text_into_stretches() -> None:
    found = pieces(TEXT, [Mark(9, 13, -0.3), Mark(4, 8, 0.9)])
    assert found == (
        PieceView(text="the ", mark=""),
        PieceView(text="tall", mark="for-4"),
        PieceView(text=" ", mark=""),
        PieceView(text="ship", mark="against-2"),
        PieceView(text=" left", mark=""),
    )
    assert "".join(piece.text for piece in found) == TEXT


@pytest.mark.parametrize(
    "mark",
    [Mark(4, 4), Mark(8, 4), Mark(30, 40), Mark(0, 3, 0.0), Mark(0, 3, float("nan"))],
    ids=["empty", "backward", "beyond", "no strength", "no number"],
)
def test_a_mark_of_nothing_marks_nothing(mark: Mark) -> None:
    assert pieces(TEXT, [mark]) == (PieceView(text=TEXT, mark=""),)


def test_of_marks_that_overlap_the_first_is_kept() -> None:
    found = pieces(TEXT, [Mark(0, 8), Mark(4, 13), Mark(9, 13)])
    assert [piece.text for piece in found if piece.mark] == ["the tall", "ship"]


def test_a_mark_does_not_reach_into_the_words_on_what_was_cut() -> None:
    text = "x" * MAX_CHARACTERS + " […] (7 more characters)"
    found = pieces(text, [Mark(MAX_CHARACTERS - 2, MAX_CHARACTERS + 7)])
    assert found[1].text == "xx"
    assert found[2] == PieceView(text=" […] (7 more characters)", mark="")


def test_cells_that_stand_out_come_first() -> None:
    cells = {f"c{place}": str(place) for place in range(9)}
    previews = {("queries", "a"): StoredPreview(kind="row", cells=cells)}
    gallery = Gallery([GalleryRow([Shown("queries", "a", cells=("c8", "c2", "none"))])])
    (view,) = gallery_views([gallery], previews)
    example = view.rows[0].shown[0].example
    assert [cell.name for cell in example.cells if cell.marked] == ["c2", "c8"]
    assert [cell.name for cell in example.cells][:2] == ["c2", "c8"]
    assert len(example.cells) + len(example.more_cells) == 9


def test_what_was_not_stored_is_not_shown_and_pools_are_told_apart() -> None:
    previews = {("train", "a"): StoredPreview(kind="text", text=TEXT)}
    row = GalleryRow([Shown("train", "a"), Shown("queries", "a")], title="one", text="two")
    (view,) = gallery_views([Gallery([row], columns=99)], previews)
    assert [shown.example.kind for shown in view.rows[0].shown] == ["text", "none"]
    assert (view.rows[0].title, view.rows[0].text, view.columns) == ("one", "two", MOST_COLUMNS)
