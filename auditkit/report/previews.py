"""What the reader sees of the examples a report shows, as a frame beside the findings."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from auditkit.errors import StoreError
from auditkit.pool import Pool
from auditkit.preview import ImagePreview, Preview, RowPreview, TextPreview
from auditkit.showing import PoolName

Kind: TypeAlias = Literal["image", "text", "row", "none"]

SCHEMA: Mapping[str, pl.DataType] = {
    "pool": pl.String(),
    "example_id": pl.String(),
    "kind": pl.String(),
    "image": pl.Binary(),
    "text": pl.String(),
    "cells": pl.String(),
}
"""The columns of `previews.parquet`; of the last three, `kind` says which one is filled."""

MAX_PIXELS = 96
"""The longer side of a stored image."""

MAX_CHARACTERS = 2000
"""How much of a text is stored."""

MAX_CELLS = 60
"""How many cells of a row are stored."""

MAX_CELL_CHARACTERS = 300
"""How much of one cell is stored."""


@dataclass(frozen=True, kw_only=True)
class StoredPreview:
    """What is stored of one example: a PNG, a text or cells, whichever `kind` says."""

    kind: Kind
    image: bytes = b""
    text: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)


Previews: TypeAlias = Mapping[tuple[str, str], StoredPreview]
"""What is stored of examples, by the name of their pool and their id."""


def preview_frame(pool: Pool, ids: Sequence[str], *, name: PoolName = "train") -> pl.DataFrame:
    """What the reader sees of these examples of a pool, one row per id, columns of `SCHEMA`.

    Images shrink to `MAX_PIXELS`, texts and rows are cut, and what was cut says so in words.

    Raises:
        PoolError: an id that is not in the pool.
    """
    distinct = list(dict.fromkeys(ids))
    stored = [_stored(pool.preview(int(position))) for position in pool.positions(distinct)]
    return pl.DataFrame(
        {
            "pool": [name] * len(distinct),
            "example_id": distinct,
            "kind": [preview.kind for preview in stored],
            "image": [preview.image or None for preview in stored],
            "text": [preview.text if preview.kind == "text" else None for preview in stored],
            "cells": [
                json.dumps(dict(preview.cells)) if preview.kind == "row" else None
                for preview in stored
            ],
        },
        schema=SCHEMA,
    )


def stored_previews(frame: pl.DataFrame) -> Previews:
    """What `preview_frame` stored, by pool and example id.

    Raises:
        StoreError: the frame is not one of previews.
    """
    if dict(frame.schema) != dict(SCHEMA):
        raise StoreError(
            f"The stored previews have the columns {frame.columns}, expected {list(SCHEMA)}: "
            "run the audit again."
        )
    return {(row["pool"], row["example_id"]): _read(row) for row in frame.iter_rows(named=True)}


def _stored(preview: Preview | None) -> StoredPreview:
    if isinstance(preview, ImagePreview):
        return StoredPreview(kind="image", image=_png(preview.pixels))
    if isinstance(preview, TextPreview):
        return StoredPreview(kind="text", text=cut(preview.text, MAX_CHARACTERS))
    if isinstance(preview, RowPreview):
        return StoredPreview(kind="row", cells=_some(preview.cells))
    return StoredPreview(kind="none")


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, format="PNG", optimize=True)
    return written.getvalue()


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, with words where something is left out."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} […] ({left:,} more characters)"


def _some(cells: Mapping[str, str]) -> dict[str, str]:
    shown = {
        name: cut(value, MAX_CELL_CHARACTERS) for name, value in list(cells.items())[:MAX_CELLS]
    }
    if len(cells) > MAX_CELLS:
        shown["[…]"] = f"({len(cells) - MAX_CELLS:,} more columns)"
    return shown


def _read(row: Mapping[str, object]) -> StoredPreview:
    kind, image, text, cells = (row[name] for name in ("kind", "image", "text", "cells"))
    if kind == "image" and isinstance(image, bytes):
        return StoredPreview(kind="image", image=image)
    if kind == "text" and isinstance(text, str):
        return StoredPreview(kind="text", text=text)
    if kind == "row" and isinstance(cells, str):
        return StoredPreview(kind="row", cells=_cells(cells))
    return StoredPreview(kind="none")


def _cells(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StoreError(f"The stored cells of a row cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise StoreError(f"The stored cells of a row are a {type(found).__name__}, not an object.")
    return {str(name): str(value) for name, value in found.items()}
