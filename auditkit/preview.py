"""What a reader sees of one example: an image, a text or the cells of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ImagePreview:
    """Pixels, uint8, [height, width] in grey or [height, width, 3] in colour."""

    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TextPreview:
    """A text exactly as the data holds it; the report escapes it."""

    text: str


@dataclass(frozen=True)
class RowPreview:
    """The cells of a table row by column name, exactly as the data holds them."""

    cells: Mapping[str, str]


Preview: TypeAlias = Union[ImagePreview, TextPreview, RowPreview]


def guess_preview(example: object) -> Preview | None:
    """The preview of an example whose data set does not say how to show it.

    Strings are texts, mappings with only scalar values are rows, and arrays are images if they
    have the shape of one: [h, w], [1, h, w], [3, h, w] or [h, w, 3]. A vector is a row. The
    first entry of a tuple or list that can be shown is shown. None where nothing fits.
    """
    if isinstance(example, str):
        return TextPreview(example)
    if isinstance(example, Mapping):
        return _of_mapping(example)
    if isinstance(example, tuple | list):
        shown = (guess_preview(part) for part in example)
        return next((preview for preview in shown if preview is not None), None)
    if hasattr(example, "__array__"):
        return _of_array(_to_array(example))
    return None


def _of_mapping(example: Mapping[str, object]) -> Preview | None:
    if all(isinstance(value, str | int | float | bool | None) for value in example.values()):
        return RowPreview({str(name): str(value) for name, value in example.items()})
    return guess_preview(list(example.values()))


def _to_array(example: object) -> npt.NDArray[np.generic]:
    if hasattr(example, "detach"):  # a tensor: perhaps tracked, on a device, of half precision
        tensor = cast("Tensor", example).detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    return np.asarray(example)


def _of_array(array: npt.NDArray[np.generic]) -> Preview | None:
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)
    if is_image and min(array.shape[:2]) > 1 and np.issubdtype(array.dtype, np.number):
        return ImagePreview(_to_bytes(array.astype(np.float64), array.dtype))
    if array.ndim == 1 and array.size > 1 and np.issubdtype(array.dtype, np.number):
        return RowPreview({str(place): f"{value:.4g}" for place, value in enumerate(array)})
    return None


def _to_bytes(
    values: npt.NDArray[np.float64], dtype: np.dtype[np.generic]
) -> npt.NDArray[np.uint8]:
    """Pixels as bytes: bytes stay, [0, 1] is scaled by 255, anything else by its own range."""
    if dtype == np.uint8:
        return values.astype(np.uint8)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (np.nan_to_num(scaled) * 255).round().astype(np.uint8)


def row_preview(names: Sequence[str], values: Sequence[object]) -> RowPreview:
    """A row's preview from its column names and cell values; an empty cell shows as empty."""
    pairs = zip(names, values, strict=True)
    return RowPreview({name: "" if value is None else str(value) for name, value in pairs})
