"""Galleries of a report: examples side by side, with what stands out in them marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from auditkit.report.example import example_view
from auditkit.report.previews import MAX_CHARACTERS, Previews, StoredPreview
from auditkit.report.views import ExampleView, GalleryRowView, GalleryView, PieceView, ShownView
from auditkit.showing import Gallery, Mark, Shown

MOST_COLUMNS = 6
"""At most so many rows of a gallery stand beside each other."""

_SHADES = 4


def gallery_views(galleries: Sequence[Gallery], previews: Previews) -> tuple[GalleryView, ...]:
    """The galleries with their examples; those that were not stored are said not to be shown."""
    return tuple(
        GalleryView(
            caption=gallery.caption,
            columns=min(max(1, gallery.columns), MOST_COLUMNS),
            rows=tuple(
                GalleryRowView(
                    title=row.title,
                    text=row.text,
                    shown=tuple(_shown(shown, previews) for shown in row.shown),
                )
                for row in gallery.rows
            ),
        )
        for gallery in galleries
    )


def pieces(text: str, marks: Sequence[Mark]) -> tuple[PieceView, ...]:
    """A stored text in stretches, marked and unmarked; marks beyond what is stored are left out.

    Of marks that overlap, the one that begins first is kept.
    """
    end = min(len(text), MAX_CHARACTERS)
    found, place = [], 0
    for mark in sorted(marks, key=lambda mark: mark.start):
        start, stop = max(0, mark.start), min(mark.end, end)
        shade = _shade(mark.strength)
        if start < place or stop <= start or not shade:
            continue
        found += [
            PieceView(text=text[place:start], mark=""),
            PieceView(text=text[start:stop], mark=shade),
        ]
        place = stop
    found.append(PieceView(text=text[place:], mark=""))
    return tuple(piece for piece in found if piece.text)


def _shade(strength: float) -> str:
    """The name of a shade for a strength in [-1, 1]; none for zero and for no number."""
    if not math.isfinite(strength) or strength == 0:
        return ""
    step = min(_SHADES, max(1, math.ceil(abs(strength) * _SHADES)))
    return f"{'for' if strength > 0 else 'against'}-{step}"


def _shown(shown: Shown, previews: Previews) -> ShownView:
    preview = previews.get((shown.pool, shown.id))
    is_text = preview is not None and preview.kind == "text"
    return ShownView(
        id=shown.id,
        example=_marked(preview, set(shown.cells)),
        pieces=pieces(preview.text, shown.marks) if preview is not None and is_text else (),
        caption=shown.caption,
    )


def _marked(preview: StoredPreview | None, names: set[str]) -> ExampleView:
    """The example, the cells of these names first and marked."""
    view = example_view(preview)
    if view.kind != "row" or not names:
        return view
    cells = [replace(cell, marked=cell.name in names) for cell in (*view.cells, *view.more_cells)]
    ordered = sorted(cells, key=lambda cell: not cell.marked)
    count = max(len(view.cells), sum(cell.marked for cell in cells))
    return replace(view, cells=tuple(ordered[:count]), more_cells=tuple(ordered[count:]))
