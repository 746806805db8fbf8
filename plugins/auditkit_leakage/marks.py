"""What differs within a pair: words of texts, cells of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import polars as pl

from auditkit import Pool, RowPreview, TextPreview

SCHEMA = {
    "example_id": pl.String(),
    "side": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "cell": pl.String(),
}
"""The columns of the stored table: on which side of an example's pair stands what."""

_CHARACTERS = 2_000
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Spans:
    """Stretches of two texts that differ, (start, end) in characters each."""

    one: tuple[tuple[int, int], ...]
    other: tuple[tuple[int, int], ...]


def marks_frame(judged: Pool, train: Pool, pairs: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """What differs in each pair of ids, columns of `SCHEMA`; images are not marked."""
    rows: list[tuple[str, str, int | None, int | None, str | None]] = []
    for example_id, other_id in pairs:
        one = judged.preview(int(judged.positions([example_id])[0]))
        other = train.preview(int(train.positions([other_id])[0]))
        if isinstance(one, TextPreview) and isinstance(other, TextPreview):
            spans = differing_words(one.text[:_CHARACTERS], other.text[:_CHARACTERS])
            for side, found in (("example", spans.one), ("other", spans.other)):
                rows += [(example_id, side, start, end, None) for start, end in found]
        elif isinstance(one, RowPreview) and isinstance(other, RowPreview):
            for name in differing_cells(one, other):
                if judged.contents and name not in judged.contents:
                    continue  # an id, say
                rows += [(example_id, side, None, None, name) for side in ("example", "other")]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def differing_words(one: str, other: str) -> Spans:
    """The words of two texts that the other does not have in the same order."""
    words = [list(_WORD.finditer(text)) for text in (one, other)]
    ours, theirs = ([match.group() for match in found] for found in words)
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    spans: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for kind, *edges in matcher.get_opcodes():
        if kind != "equal":
            for side, (start, end) in enumerate((edges[:2], edges[2:])):
                if end > start:
                    spans[side].append((words[side][start].start(), words[side][end - 1].end()))
    return Spans(tuple(spans[0]), tuple(spans[1]))


def differing_cells(one: RowPreview, other: RowPreview) -> Iterator[str]:
    """The names of cells that both rows have and that differ."""
    for name, value in one.cells.items():
        if name in other.cells and other.cells[name] != value:
            yield name
