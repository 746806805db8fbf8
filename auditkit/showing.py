"""What a report shows between the answer and the findings: texts, charts, examples side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

if TYPE_CHECKING:
    import altair as alt

PoolName: TypeAlias = Literal["train", "queries"]
"""One of a subject's two pools."""


@dataclass(frozen=True)
class Figure:
    """A chart and the sentence that says what to see in it."""

    chart: alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart
    caption: str


@dataclass(frozen=True)
class Mark:
    """A stretch of a text that stands out.

    Attributes:
        start, end: in characters of the text the pool's preview gives; `end` is left out.
        strength: in [-1, 1]; how strongly, below zero in another colour.
    """

    start: int
    end: int
    strength: float = 1.0


@dataclass(frozen=True)
class Shown:
    """One example in a gallery, by its id; what is seen of it is stored with the run.

    Attributes:
        pool: where the example is.
        id: which one it is.
        caption: stands under it.
        marks: what stands out, if it is a text; they may not overlap.
        cells: names of the cells that stand out, if it is a row.
    """

    pool: PoolName
    id: str
    caption: str = ""
    marks: Sequence[Mark] = ()
    cells: Sequence[str] = ()


@dataclass(frozen=True)
class GalleryRow:
    """Examples side by side, with what is to be said of them."""

    shown: Sequence[Shown]
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """Rows of examples, and the sentence that says what to see in them.

    `columns` is how many rows stand beside each other where there is room: 1 for pairs to be read,
    more for single pictures.
    """

    rows: Sequence[GalleryRow]
    caption: str = ""
    columns: int = 1


@dataclass(frozen=True)
class Section:
    """One part of a report: a heading, plain sentences, charts, examples, and a small table.

    Texts are plain; the template escapes them. `template` names a template of the plugin's own
    (`<audit>/name.html`), which is given the section as `section`; by default the core's is used.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    table: pl.DataFrame | None = None
    galleries: Sequence[Gallery] = ()
    template: str = "auditkit/section.html"
