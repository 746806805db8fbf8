from __future__ import annotations

import numpy as np
import polars as pl
from auditkit_leakage.marks import differing_cells, differing_words, marks_frame

from auditkit import Pool, RowPreview


def marked(text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_words_that_differ_are_marked_on_both_sides() -> None:
    one, other = "win a  FREE cruise now", "win a free cruise today or now"
    found = differing_words(one, other)
    assert marked(one, found.one) == ["FREE"]
    assert marked(other, found.other) == ["free", "today or"]
    assert differing_words("same words", "same  words").one == ()


def test_cells_that_differ_are_named() -> None:
    one = RowPreview({"age": "3", "name": "a", "only": "1"})
    assert list(differing_cells(one, RowPreview({"age": "4", "name": "a"}))) == ["age"]


def test_marks_are_kept_by_example_and_side() -> None:
    texts = Pool(["a b", "c"]), Pool(["a x", "c"])
    frame = marks_frame(*texts, [("0", "0"), ("1", "1")])
    assert frame.rows() == [("0", "example", 2, 3, None), ("0", "other", 2, 3, None)]
    rows = Pool([{"k": 1, "m": 2}]), Pool([{"k": 1, "m": 3}])
    cells = marks_frame(*rows, [("0", "0")])
    assert cells["cell"].to_list() == ["m", "m"]
    frame = pl.DataFrame({"k": [1], "m": [2]})
    known = Pool([{"k": 1, "m": 2}], metadata=frame, contents=["k"])
    assert marks_frame(known, rows[1], [("0", "0")]).height == 0
    images = Pool.from_arrays(np.zeros((1, 4, 4), np.uint8))
    empty = marks_frame(images, images, [("0", "0")])
    assert empty.height == 0
    assert empty.schema["start"] == pl.Int64()
