from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from auditkit_leakage import altering
from auditkit_leakage.altering import planted
from auditkit_leakage.content import Content

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
IMAGES = Content("image", images=PIXELS)
TEXTS = Content("text", texts=tuple(f"Number {n}: some words, and more words!" for n in range(20)))
ROWS = Content(
    "row",
    rows=pl.DataFrame(
        {"a": np.arange(20), "b": np.linspace(0.12345, 9.87654, 20), "c": list("xy") * 10}
    ),
)


@pytest.mark.parametrize("content", [IMAGES, TEXTS, ROWS], ids=lambda content: content.modality)
def test_every_alteration_comes_equally_often(content: Content) -> None:
    names = {
        "image": altering.IMAGES, "text": altering.TEXTS, "row": altering.ROWS
    }[content.modality]  # fmt: skip
    places = np.arange(len(names) * 3) % 20
    copies, kinds = planted(content, places, seed=1)
    assert Counter(kinds) == dict.fromkeys(names, 3)
    assert len(copies) == len(places)
    again, _ = planted(content, places, seed=1)
    other, _ = planted(content, places, seed=2)
    assert str(copies) == str(again) != str(other)


def test_identical_ones_are_and_others_are_not() -> None:
    copies, kinds = planted(IMAGES, np.arange(20), seed=0)
    for copy, original, kind in zip(copies.pictures, PIXELS, kinds, strict=True):
        assert np.array_equal(copy, original) == (kind == "identical")


def test_the_pool_is_left_as_it_was() -> None:
    before = PIXELS.copy()
    planted(IMAGES, np.arange(20), seed=0)
    np.testing.assert_array_equal(PIXELS, before)


def test_one_cell_changes_or_all_numbers_are_rounded() -> None:
    copies, kinds = planted(ROWS, np.arange(20), seed=0)
    assert copies.frame.schema == ROWS.frame.schema
    for place, kind in enumerate(kinds):
        ours, theirs = ROWS.frame.row(place), copies.frame.row(place)
        different = [one != other for one, other in zip(ours, theirs, strict=True)]
        assert sum(different) <= {"identical": 0, "changed cell": 1, "rounding": 1}[kind]
        if kind == "changed cell":
            assert any(different)
        if kind == "rounding":
            assert theirs[1] == pytest.approx(ours[1], rel=0.005)


def test_colour_one_pixel_and_odd_content_can_be_altered() -> None:
    colour = Content("image", images=np.zeros((7, 9, 9, 3), dtype=np.uint8))
    assert planted(colour, np.arange(7), seed=0)[0].pictures[0].shape == (9, 9, 3)
    pixel = Content("image", images=np.zeros((7, 1, 1), dtype=np.uint8))
    assert len(planted(pixel, np.arange(7), seed=0)[0]) == 7
    unequal = Content("image", images=(PIXELS[0], PIXELS[1, :20]))
    copies, _ = planted(unequal, [1, 0, 1], seed=0)
    assert [image.shape for image in copies.pictures] == [(20, 28), (28, 28), (20, 28)]
    empty = Content("text", texts=("", " ", "x"))
    assert len(planted(empty, [0, 1, 2] * 5, seed=0)[1]) == 15
    void = pl.DataFrame({"a": [None, None], "b": [float("nan"), float("inf")]})
    assert len(planted(Content("row", rows=void), [0, 1, 0], seed=0)[1]) == 3


def test_nothing_can_be_planted_too() -> None:
    for content in (IMAGES, TEXTS, ROWS):
        copies, kinds = planted(content, [], seed=0)
        assert (len(copies), kinds) == (0, [])


def test_a_shift_keeps_what_stays_in_the_frame() -> None:
    moved = altering.shifted(PIXELS[0], np.random.default_rng(5))
    options = [
        (down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
        if np.array_equal(
            moved[max(down, 0) : 28 + min(down, 0), max(right, 0) : 28 + min(right, 0)],
            PIXELS[0][max(-down, 0) : 28 + min(-down, 0), max(-right, 0) : 28 + min(-right, 0)],
        )
    ]
    assert len(options) == 1
    assert options != [(0, 0)]


def test_words_change_one_in_ten() -> None:
    text = " ".join(f"w{n}" for n in range(100))
    changed = altering.reworded(text, ["new"], np.random.default_rng(0)).split(" ")
    assert sum(word == "new" for word in changed) == 10
    assert len(changed) == 100
