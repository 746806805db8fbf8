"""Real files for the tests of sources: a table with every kind of column, a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

SPECIES = ("adelie", "<b>gentoo</b>", "\u202echinstrap")


@pytest.fixture
def every_kind() -> pl.DataFrame:
    """120 rows of three classes: numbers, truth values, categories, dates, text, ids, nulls."""
    count = 120
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, count)
    moods = ("good bright lovely thing here", "bad dull awful thing here", "a plain thing as ever")
    return pl.DataFrame(
        {
            "sample_id": [f"{number:04d}" for number in range(count)],
            "serial": rng.permutation(count) + 5000,
            "length": classes * 2 + rng.normal(size=count),
            "count": rng.integers(0, 9, count),
            "mass": [None if row % 5 == 0 else float(row % 13) for row in range(count)],
            "ringed": [None if row % 9 == 0 else row % 2 == 0 for row in range(count)],
            "island": [("'; drop table", "<script>", None)[row % 3] for row in range(count)],
            "seen": pl.Series([f"2024-0{1 + row}-15" for row in classes]).str.to_date(),
            "remark": [f"{moods[row]} no {rng.integers(99)}" for row in classes],
            "unit": ["mm"] * count,
            "hash": [f"x{value:x}" for value in rng.integers(1 << 40, 1 << 41, count)],
            "species": [SPECIES[row] for row in classes],
        }
    )


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of class folders of grey images, bright ones and dark ones."""

    def make(
        name: str = "pictures",
        *,
        count: int = 12,
        size: tuple[int, int] = (8, 8),
        classes: tuple[str, ...] = ("bright", "dark"),
        mode: str = "L",
    ) -> Path:
        rng = np.random.default_rng(1)
        for place, label in enumerate(classes):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for number in range(count):
                low = 160 - 120 * place
                pixels = rng.integers(low, low + 60, (size[1], size[0])).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(folder / f"{number:03d}.png")
        return tmp_path / name

    return make
