"""Image files to one array of pixels of a common size, defensively."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from auditkit.errors import UnreadableError
from auditkit.progress import SILENT, Progress
from auditkit.sources.folders import FolderFile

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000
"""Images that claim more pixels than this are refused before they are decoded."""

UNREADABLE_SHARE = 0.1
"""If more than this share of the images cannot be read, none is."""

_KEPT_SIDES = (8, 64)
_COMMON_SIZE = (64, 64)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""What pillow raises on broken files, by format."""


@dataclass(frozen=True)
class Decoded:
    """The readable images.

    Attributes:
        files: the files that were read.
        pixels: uint8 [image, height, width] if all are grey, else [image, height, width, 3].
        resized: whether the images were brought to a common size, with bars where needed.
        unreadable: ids of the images that could not be read.
    """

    files: tuple[FolderFile, ...]
    pixels: Pixels
    resized: bool
    unreadable: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """What was done to the images, in words."""
        height, width = self.pixels.shape[1:3]
        colour = "grey" if self.pixels.ndim == 3 else "in colour"
        size = f"{width} by {height} pixels, {colour}"
        done = "The images were scaled to" if self.resized else "The images are"
        bars = ", with bars where the sides differ" if self.resized else ""
        sentences = [f"{done} {size}{bars}."]
        if self.unreadable:
            sentences.append(
                f"Unreadable images skipped: {len(self.unreadable)} ({_some(self.unreadable)})."
            )
        return sentences

    @property
    def changes(self) -> list[str]:
        """The same, but nothing of the size of images that have it already."""
        return self.sentences if self.resized else self.sentences[1:]


def decode(
    files: Sequence[FolderFile],
    *,
    like: Pixels | None = None,
    progress: Progress = SILENT,
) -> Decoded:
    """Read images into one array.

    If all have the same size, between 8 and 64 pixels a side, it is kept; else each is scaled to
    fit into 64 by 64 and centred on black. Transparency is shown on white; of several frames the
    first is read; turned photographs are turned upright.

    Args:
        files: at least one image.
        like: pixels of other images, whose size and colour these take.
        progress: where the reading says how far it is.

    Raises:
        UnreadableError: more than a tenth of the images cannot be read.
    """
    Image.init()  # makes all formats known: where some are named, pillow does not look further
    size = _common_size(files) if like is None else (like.shape[2], like.shape[1])
    target = size or _COMMON_SIZE
    pixels = np.empty((len(files), target[1], target[0], 3), dtype=np.uint8)
    read: list[int] = []
    grey, resized = True, False
    with progress.step("reading images", len(files)) as step:
        for place, file in enumerate(files):
            step.advance()
            image = read_image(file)
            if image is None:
                continue
            resized = resized or image.size != target
            if like is not None and like.ndim == 3:
                image = image.convert("L")
            pixels[len(read)] = _fitted(image, target)
            grey = grey and image.mode == "L"
            read.append(place)
    skipped = set(range(len(files))) - set(read)
    unreadable = tuple(files[place].id for place in sorted(skipped))
    if len(unreadable) > UNREADABLE_SHARE * len(files):
        raise UnreadableError(
            f"{len(unreadable)} of {len(files)} images cannot be read ({_some(unreadable)}): at "
            f"most {UNREADABLE_SHARE:.0%} may be broken; mend or remove them."
        )
    pixels = pixels[: len(read)]
    grey = grey or _without_colour(pixels) if like is None else like.ndim == 3
    if grey:
        pixels = np.ascontiguousarray(pixels[..., 0])
    return Decoded(tuple(files[place] for place in read), pixels, resized, unreadable)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")


def _common_size(files: Sequence[FolderFile]) -> tuple[int, int] | None:
    """The (width, height) all readable images have, if it is small enough to keep."""
    sizes: set[tuple[int, int]] = set()
    low, high = _KEPT_SIDES
    for file in files:
        try:
            with _opened(file) as image:
                sizes.add(image.size)
        except _DECODING_ERRORS:
            continue
        if len(sizes) > 1:
            return None
    fits = len(sizes) == 1 and all(low <= side <= high for side in next(iter(sizes)))
    return sizes.pop() if fits else None


@contextmanager
def _opened(file: FolderFile) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file.path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} by {image.height} pixels")
                yield image
        except Image.DecompressionBombWarning as warning:
            raise ValueError(str(warning)) from warning


def read_image(file: FolderFile) -> Image.Image | None:
    """The image upright, in mode L if it is grey, else RGB; None if it cannot be read."""
    try:
        with _opened(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode[0] in "IF":
                return _from_numbers(image)
            if "A" in image.getbands() or "transparency" in image.info:
                shown = Image.new("RGBA", image.size, "white")
                shown.alpha_composite(image.convert("RGBA"))
                return shown.convert("L" if image.mode == "LA" else "RGB")
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except _DECODING_ERRORS:
        return None


def _from_numbers(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, 32 bits or floating point, on the scale its values show."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    high = float(values.max(initial=0.0))
    if image.mode.startswith("I;16") or high > 255:
        top = 65535.0
    else:
        top = 1.0 if image.mode == "F" and high <= 1 else 255.0
    return Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))


def _fitted(image: Image.Image, target: tuple[int, int]) -> Pixels:
    if image.size != target:
        image = ImageOps.pad(image, target, method=Image.Resampling.BILINEAR)
    return np.asarray(image.convert("RGB"))


def _without_colour(pixels: Pixels) -> bool:
    return all(
        bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())
        for image in pixels
    )
