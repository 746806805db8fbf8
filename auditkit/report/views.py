"""What templates may use of sections, examples and tables; the rest is in `context.py`.

As there: texts are plain, fields of type `Markup` go into the page as they are, numbers are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A name and a value, both to be shown.

    Attributes:
        name: what it is, as a heading.
        value: the value, as text.
        marked: whether it stands out.
    """

    name: str
    value: str
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class FigureView:
    """A chart and its caption.

    Attributes:
        svg: the chart, inline SVG.
        caption: the sentence that says what to see.
    """

    svg: Markup
    caption: str


@dataclass(frozen=True, kw_only=True)
class ColumnView:
    """The head of a table's column.

    Attributes:
        title: the heading.
        numeric: whether its cells are numbers, to be set flush right.
    """

    title: str
    numeric: bool


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One cell of a table.

    Attributes:
        text: what is shown.
        sort: a number to sort by, empty where there is none; None in columns sorted by their text.
    """

    text: str
    sort: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A small table, all of it shown.

    Attributes:
        columns: the heads.
        rows: one tuple of cells per row, as many as there are columns.
    """

    columns: tuple[ColumnView, ...]
    rows: tuple[tuple[CellView, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ExampleView:
    """What the reader sees of an example.

    Attributes:
        kind: `image`, `text`, `row` or `none`, which says what else is filled.
        image: a `data:` address of the thumbnail.
        width: of the image as shown, in CSS pixels.
        height: of the image as shown, in CSS pixels.
        text: the beginning of the text, or all of it.
        rest: what follows the beginning; empty where the text is short.
        cells: the first cells of the row.
        more_cells: the other cells of the row.
    """

    kind: Literal["image", "text", "row", "none"]
    image: str = ""
    width: int = 0
    height: int = 0
    text: str = ""
    rest: str = ""
    cells: tuple[Fact, ...] = ()
    more_cells: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PieceView:
    """A stretch of a text.

    Attributes:
        text: the stretch.
        mark: empty, or `for-1` to `for-4` or `against-1` to `against-4`, weak to strong.
    """

    text: str
    mark: str


@dataclass(frozen=True, kw_only=True)
class ShownView:
    """An example in a gallery.

    Attributes:
        id: the example's id.
        example: what the reader sees of it.
        pieces: of its text, if it is one: all that was stored.
        caption: what stands under it.
    """

    id: str
    example: ExampleView
    pieces: tuple[PieceView, ...]
    caption: str


@dataclass(frozen=True, kw_only=True)
class GalleryRowView:
    """Examples side by side.

    Attributes:
        title: what they are; may be empty.
        text: what is to be said of them; may be empty.
        shown: the examples.
    """

    title: str
    text: str
    shown: tuple[ShownView, ...]


@dataclass(frozen=True, kw_only=True)
class GalleryView:
    """Rows of examples.

    Attributes:
        caption: what to see in them; may be empty.
        columns: how many rows stand beside each other where there is room, 1 to 6.
        rows: the rows.
    """

    caption: str
    columns: int
    rows: tuple[GalleryRowView, ...]


@dataclass(frozen=True, kw_only=True)
class SectionView:
    """A part of the report between the answer and the findings.

    Attributes:
        name: unique in the page, for links to it.
        title: the heading.
        paragraphs: plain sentences.
        figures: charts.
        table: a small table, or None.
        galleries: examples side by side.
        template: the template that shows it.
    """

    name: str
    title: str
    paragraphs: tuple[str, ...]
    figures: tuple[FigureView, ...]
    table: TableView | None
    galleries: tuple[GalleryView, ...]
    template: str


@dataclass(frozen=True, kw_only=True)
class FindingView:
    """A row of the table of findings.

    Attributes:
        id: the example's id.
        rank: 1 is the worst.
        example: what the reader sees of it.
        other: what the reader sees of the example it is paired with, or None.
        probability: that the claim is right; sorts by its number.
        percent: the probability in whole percent; None where nothing is claimed.
        score: higher is worse; sorts by its number.
        flagged: whether a person should look at it.
        cells: the audit's own columns.
        choices: for each filter, the place of this row's value among the choices, as one text.
        has_suggestion: whether there is a label to change its own to.
        record: JSON of what an exported decision says: `example_id`, and `suggested_label` if any.
    """

    id: str
    rank: int
    example: ExampleView
    other: ExampleView | None
    probability: CellView
    percent: int | None
    score: CellView
    flagged: bool
    cells: tuple[CellView, ...]
    choices: str
    has_suggestion: bool
    record: str


@dataclass(frozen=True, kw_only=True)
class FilterView:
    """A column whose values can be chosen from.

    Attributes:
        name: unique in the page.
        title: the column's heading.
        choices: its values among the rows shown.
    """

    name: str
    title: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FindingsView:
    """The table of findings.

    Attributes:
        columns: the audit's own columns.
        rows: the worst first.
        filters: columns to choose values of.
        shown: what is shown of what was judged, in words.
        has_probability: whether the audit claims probabilities.
        has_suggestion: whether rows may have a label to change to.
        has_other: whether rows may be paired with another example.
        has_flags: whether some rows are flagged and others not.
        file_name: the name of an exported file of decisions.
    """

    columns: tuple[ColumnView, ...]
    rows: tuple[FindingView, ...]
    filters: tuple[FilterView, ...]
    shown: str
    has_probability: bool
    has_suggestion: bool
    has_other: bool
    has_flags: bool
    file_name: str
