from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from auditkit import Pool
from auditkit.errors import PoolError, StoreError
from auditkit.preview import ImagePreview, Preview, RowPreview, TextPreview
from auditkit.report.previews import (
    MAX_CELLS,
    MAX_CHARACTERS,
    MAX_PIXELS,
    SCHEMA,
    StoredPreview,
    preview_frame,
    stored_previews,
)


def stored(show: Callable[[int], Preview | None]) -> StoredPreview:
    frame = preview_frame(Pool(["anything"], ids=["a"], preview=show), ["a"])
    return stored_previews(frame)["train", "a"]


def test_each_kind_survives_the_parquet_file(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shown = [
        ImagePreview(pixels),
        TextPreview("two\nlines"),
        RowPreview({"a": "<b>", "": ""}),
        None,
    ]
    pool = Pool([0, 1, 2, 3], ids=list("abcd"), preview=lambda place: shown[place])
    preview_frame(pool, ["d", "b", "a", "c", "a"]).write_parquet(tmp_path / "p.parquet")
    frame = pl.read_parquet(tmp_path / "p.parquet")
    assert frame["example_id"].to_list() == ["d", "b", "a", "c"]
    read = {name: each for (_, name), each in stored_previews(frame).items()}
    assert [read[name].kind for name in "abcd"] == ["image", "text", "row", "none"]
    with Image.open(io.BytesIO(read["a"].image)) as image:
        assert image.format == "PNG"
        assert (np.asarray(image) == pixels).all()
    assert read["b"].text == "two\nlines"
    assert read["c"].cells == {"a": "<b>", "": ""}


def test_large_images_shrink_and_keep_their_shape() -> None:
    image = stored(lambda _: ImagePreview(np.zeros((400, 200, 3), dtype=np.uint8))).image
    with Image.open(io.BytesIO(image)) as opened:
        assert opened.size == (MAX_PIXELS // 2, MAX_PIXELS)


def test_what_is_cut_off_a_text_is_said() -> None:
    text = stored(lambda _: TextPreview("x" * (MAX_CHARACTERS + 1500))).text
    assert text == "x" * MAX_CHARACTERS + " […] (1,500 more characters)"
    whole = stored(lambda _: TextPreview("x" * MAX_CHARACTERS)).text
    assert whole == "x" * MAX_CHARACTERS


def test_what_is_cut_off_a_row_is_said() -> None:
    wide = RowPreview({str(place): "v" * 1000 for place in range(MAX_CELLS + 40)})
    cells = stored(lambda _: wide).cells
    assert len(cells) == MAX_CELLS + 1
    assert cells["0"].endswith("(700 more characters)")
    assert list(cells.values())[-1] == "(40 more columns)"


def test_no_ids_give_an_empty_frame_of_the_same_columns() -> None:
    assert dict(preview_frame(Pool([0]), []).schema) == dict(SCHEMA)


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(PoolError, match="'nowhere'"):
        preview_frame(Pool([0]), ["nowhere"])


@pytest.mark.parametrize("cells", ["{", "[1]"])
def test_a_frame_that_is_not_one_of_previews_is_refused(cells: str) -> None:
    with pytest.raises(StoreError, match="columns"):
        stored_previews(pl.DataFrame({"example_id": ["a"]}))
    row = {
        "pool": "train",
        "example_id": "a",
        "kind": "row",
        "image": None,
        "text": None,
        "cells": cells,
    }
    with pytest.raises(StoreError, match="cells"):
        stored_previews(pl.DataFrame([row], schema=SCHEMA))
