"""What a pool holds, decoded to one canonical form: images, texts or rows of cells."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from auditkit import ImagePreview, Pool, RowPreview, TextPreview
from auditkit.errors import ColumnError, PoolError, UsageError

Modality = Literal["image", "text", "row"]
T = TypeVar("T")
Pixels: TypeAlias = npt.NDArray[np.uint8]

_WORDS = {"image": "images", "text": "texts", "row": "rows of a table"}


@dataclass(frozen=True)
class Content:
    """The canonical content of a pool; the field of its modality is set, the others are None.

    Attributes:
        modality: what the examples are.
        images: uint8 [n, h, w] or [n, h, w, 3], or one such array per image where sizes differ.
        texts: one string per example, as the data holds it.
        rows: one row of cells per example, labels and ids left out.
    """

    modality: Modality
    images: Pixels | tuple[Pixels, ...] | None = None
    texts: tuple[str, ...] | None = None
    rows: pl.DataFrame | None = None

    def __len__(self) -> int:
        if self.images is not None:
            return len(self.images)
        return len(self.texts) if self.texts is not None else self.frame.height

    @property
    def pictures(self) -> Pixels | tuple[Pixels, ...]:
        """The images, where there are images."""
        if self.images is None:
            raise UsageError(f"These are {_WORDS[self.modality]}, not images.")
        return self.images

    @property
    def strings(self) -> tuple[str, ...]:
        """The texts, where there are texts."""
        if self.texts is None:
            raise UsageError(f"These are {_WORDS[self.modality]}, not texts.")
        return self.texts

    @property
    def frame(self) -> pl.DataFrame:
        """The rows, where there are rows."""
        if self.rows is None:
            raise UsageError(f"These are {_WORDS[self.modality]}, not rows of a table.")
        return self.rows

    def take(self, positions: npt.NDArray[np.int64]) -> Content:
        """The examples at `positions`, in that order."""
        if isinstance(self.images, np.ndarray):
            return Content("image", images=self.images[positions])
        if self.images is not None:
            return Content("image", images=tuple(self.images[place] for place in positions))
        if self.texts is not None:
            return Content("text", texts=tuple(self.texts[place] for place in positions))
        return Content("row", rows=self.frame[positions])


def content_of(
    pool: Pool, *, text: str | None = None, label: str | None = None, like: Pool | None = None
) -> Content:
    """The content of a pool: its images, texts or rows, without labels and ids.

    Args:
        pool: read through its previews, its arrays and its metadata.
        text: the column of the metadata that holds the texts.
        label: the column of the metadata that holds the labels; left out of rows.
        like: another pool of the same kind; images of numbers become bytes on its scale, so that
            equal images of the two are equal bytes.

    Raises:
        ColumnError: there is no column `text`.
        PoolError: the examples are neither images nor texts nor rows.
    """
    if text is not None:
        if text not in pool.metadata.columns:
            raise ColumnError(
                f"There is no column {text!r} to read texts from: there are "
                f"{', '.join(pool.metadata.columns)}."
            )
        cells = pool.metadata[text].cast(pl.String).fill_null("").to_list()
        return Content("text", texts=tuple(cells))
    first = pool.preview(0)
    if isinstance(first, ImagePreview):
        return Content("image", images=_images(pool, like or pool))
    if isinstance(first, TextPreview):
        return Content("text", texts=_texts(pool))
    if isinstance(first, RowPreview):
        return Content("row", rows=_rows(pool, label))
    raise PoolError(
        "Leaks are looked for among images, texts or rows, and the examples of this pool are "
        f"none of these (the first is a {type(pool[0]).__name__}): give the pool a `preview`, or "
        "name a column of its metadata that holds texts."
    )


def check_comparable(train: Content, evaluation: Content) -> None:
    """Refuse two pools that cannot share examples.

    Raises:
        UsageError: another modality, images of another kind, or rows of other columns.
    """
    if train.modality != evaluation.modality:
        raise UsageError(
            f"The training examples are {_WORDS[train.modality]} and the evaluation examples are "
            f"{_WORDS[evaluation.modality]}: expected the same kind of data on both sides."
        )
    if train.rows is not None and evaluation.rows is not None:
        ours, theirs = set(train.rows.columns), set(evaluation.rows.columns)
        if ours != theirs:
            odd = sorted(ours ^ theirs)
            raise UsageError(
                f"The two tables have different columns ({', '.join(map(repr, odd[:5]))} "
                f"{'is' if len(odd) == 1 else 'are'} in one only): expected the same columns on "
                "both sides; name the label and the ids, or drop what only one table has."
            )
    if isinstance(train.images, np.ndarray) and isinstance(evaluation.images, np.ndarray):
        here, there = train.images.shape[1:], evaluation.images.shape[1:]
        if here != there:
            raise UsageError(
                f"The training images are {_size(here)} and the evaluation images {_size(there)}: "
                "expected the same size and colours on both sides; prepare both in the same way."
            )


def normalized(text: str) -> str:
    """The text in Unicode's compatible composed form (NFKC), with every run of space as one."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} by {shape[0]} pixels, {'in colour' if len(shape) == 3 else 'grey'}"


def _images(pool: Pool, like: Pool) -> Pixels | tuple[Pixels, ...]:
    pixels = getattr(pool.dataset, "pixels", None)
    if isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and len(pixels) == len(pool):
        return pixels
    found = _of_arrays(pool, like)
    if found is not None:
        return found
    shown = [_shown(pool, place, ImagePreview).pixels for place in range(len(pool))]
    return np.stack(shown) if len({image.shape for image in shown}) == 1 else tuple(shown)


def _of_arrays(pool: Pool, like: Pool) -> Pixels | None:
    """The images of a pool of arrays, as bytes on one scale for all of them and those of `like`."""
    array = _inputs(pool)
    if array is None:
        return None
    if array.ndim == 4 and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or not np.issubdtype(array.dtype, np.number):
        return None
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    known = array if like is pool else _inputs(like)
    low, high = _scale(array if known is None else known)
    scaled = (_finite(array) - low) * (255 / (high - low))
    pixels: Pixels = np.clip(scaled, 0, 255).round().astype(np.uint8)
    return pixels


def _scale(array: npt.NDArray[np.generic]) -> tuple[float, float]:
    """The ends of the range of numbers, rounded outward; those of bytes for bytes."""
    finite = _finite(array)
    return _round_range(float(finite.min()), float(finite.max()))


def _finite(array: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0)


def _inputs(pool: Pool) -> npt.NDArray[np.generic] | None:
    """The first array of every example, stacked: [n, ...]; None where they are no such arrays."""
    arrays = getattr(pool.dataset, "arrays", None)
    if isinstance(arrays, tuple) and hasattr(arrays[0], "__array__"):
        return np.asarray(arrays[0])
    first = [_first(pool[place]) for place in range(len(pool))]
    found = [np.asarray(part) for part in first if hasattr(part, "__array__")]
    if len(found) < len(first) or len({array.shape for array in found}) != 1:
        return None
    return np.stack(found)


def _first(example: object) -> object:
    return example[0] if isinstance(example, tuple | list) and example else example


def _round_range(low: float, high: float) -> tuple[float, float]:
    """A range of round ends around the values, the same for two samples of the same data."""

    def outward(value: float) -> float:
        if value == 0:
            return 0.0
        unit = 10.0 ** np.floor(np.log10(abs(value)))
        steps = next(step for step in (1, 2, 5, 10) if abs(value) <= step * unit * (1 + 1e-6))
        return float(np.sign(value) * steps * unit)

    bottom, top = min(outward(low), 0.0), max(outward(high), 0.0)
    if bottom == 0 and 100 < top <= 500:  # bytes held as numbers
        top = max(255.0, high)
    return bottom, top if top > bottom else bottom + 1.0


def _texts(pool: Pool) -> tuple[str, ...]:
    return tuple(_shown(pool, place, TextPreview).text for place in range(len(pool)))


def _rows(pool: Pool, label: str | None) -> pl.DataFrame:
    frame = pool.metadata
    ids = list(pool.ids)
    apart = {"label", "id"} if label is None else {label, "id"}
    kept = [
        name
        for name in frame.columns
        if name not in apart and frame[name].cast(pl.String, strict=False).to_list() != ids
    ]
    if kept:
        return frame.select(kept)
    values = _inputs(pool)
    if values is not None and values.ndim == 2:
        return pl.DataFrame(values, schema=[str(place) for place in range(values.shape[1])])
    cells: Sequence[dict[str, str]] = [
        dict(_shown(pool, place, RowPreview).cells) for place in range(len(pool))
    ]
    return pl.DataFrame(cells).select(pl.all().exclude([label or "label"]))


def _shown(pool: Pool, place: int, kind: type[T]) -> T:
    shown = pool.preview(place)
    if not isinstance(shown, kind):
        raise PoolError(
            f"The example {pool.ids[place]!r} is of another kind than the first: expected all "
            "images, all texts or all rows."
        )
    return shown
