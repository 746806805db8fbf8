from __future__ import annotations

import numpy as np
import polars as pl
from auditkit_leakage.content import Content
from auditkit_leakage.identical import canonical, identical


def texts(*strings: str) -> Content:
    return Content("text", texts=strings)


def pairs(train: Content, evaluation: Content, **settings: bool | int) -> list[tuple[int, int]]:
    found = identical(train, evaluation, **settings)  # type: ignore[arg-type]
    return list(zip(*(places.tolist() for places in found), strict=True))


def test_pixels_must_be_equal_and_of_one_shape() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
    changed = images.copy()
    changed[2, 3, 3] ^= 1
    whole, other = Content("image", images=images), Content("image", images=changed)
    assert pairs(whole, other) == [(0, 0), (1, 1), (3, 3), (4, 4)]
    flat = Content("image", images=(images[0].reshape(4, 9), images[0]))
    assert pairs(whole, flat) == [(1, 0)]


def test_texts_are_equal_up_to_space_and_composition() -> None:
    assert pairs(texts("Café au  lait"), texts("Cafe\u0301 au\nlait ", "cafe au lait")) == [(0, 0)]


def test_lone_surrogates_and_empty_texts_do_no_harm() -> None:
    assert pairs(texts("\ud800", ""), texts("", "\ud800", " ")) == [(0, 1), (1, 0), (2, 1)]


def test_cells_are_equal_as_numbers_however_they_are_written() -> None:
    ours = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [0.0, float("nan"), 1.5]})
    theirs = pl.DataFrame({"c": ["-0.0", None, "1.50"], "b": [" x", "", "y"], "a": [1.0, 2.0, 3.0]})
    assert pairs(Content("row", rows=ours), Content("row", rows=theirs)) == [(0, 0), (1, 1)]


def test_cells_of_any_type_are_compared() -> None:
    frame = pl.DataFrame({"list": [[1], [2]], "bytes": [b"a", b"b"], "day": ["2024-01-01"] * 2})
    frame = frame.with_columns(pl.col("day").str.to_date())
    assert canonical(frame).dtypes == [pl.String] * 3
    assert pairs(Content("row", rows=frame), Content("row", rows=frame)) == [(0, 0), (1, 1)]


def test_one_pool_pairs_no_example_with_itself() -> None:
    content = texts("a", "b", "a", "a")
    assert pairs(content, content, same_pool=True) == [
        (0, 2), (0, 3), (2, 0), (2, 3), (3, 0), (3, 2),
    ]  # fmt: skip


def test_many_equal_examples_give_few_pairs() -> None:
    content = texts(*["a"] * 500)
    found = pairs(content, content, same_pool=True, neighbours=2)
    assert len(found) == 1_000
    assert all(query != place for query, place in found)


def test_large_integers_and_long_codes_are_told_apart() -> None:
    for one, other in (
        ([9007199254740993], [9007199254740992]),
        (["12345678901234567891"], ["12345678901234567892"]),
        (["12e34"], ["120e33"]),
    ):
        left, right = (canonical(pl.DataFrame({"k": cells})) for cells in (one, other))
        assert not left.equals(right)
    same = (canonical(pl.DataFrame({"k": cells})) for cells in ([1], ["1.0"]))
    assert next(same).equals(next(same))
