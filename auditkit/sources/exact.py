"""Images that must have one size and colour, as a generative model makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from auditkit.errors import PoolError, UnreadableError
from auditkit.pool import Positions
from auditkit.preview import ImagePreview
from auditkit.progress import SILENT, Progress
from auditkit.sources.decoding import MAX_PIXELS, UNREADABLE_SHARE, Pixels, read_image
from auditkit.sources.folders import FolderFile

_KEPT = 2**30
"""How many bytes of pixels are kept in memory: 1 GiB. Of more, files are read when asked for."""


@dataclass(frozen=True)
class Form:
    """What a model takes.

    Attributes:
        channels: 1 for grey, 3 for colour.
        size: (width, height) in pixels; None where any will do, as long as it is one.
    """

    channels: int
    size: tuple[int, int] | None


class ExactImages:
    """Images of one form, given out as float32 [channel, height, width] in [-1, 1].

    Args:
        files: the image files.
        form: theirs; its size is known.
        pixels: uint8 [image, height, width(, 3)]; None to read files when asked.
        condition: what goes with each image, first axis [image]; None for nothing.
    """

    def __init__(
        self,
        files: Sequence[FolderFile],
        form: Form,
        pixels: Pixels | None,
        condition: Tensor | None = None,
    ) -> None:
        self._files, self._pixels = files, pixels
        self.form = form
        self.condition = condition

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, position: int) -> Tensor | tuple[Tensor, ...]:
        fields = tuple(field[0] for field in self.rows(np.array([position])))
        return fields if len(fields) > 1 else fields[0]

    def rows(self, positions: Positions) -> tuple[Tensor, ...]:
        """Images, float32 [batch, channel, height, width], and conditions where there are any."""
        pixels = torch.from_numpy(np.stack([self._read(int(place)) for place in positions]))
        stacked = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        images = stacked.float() / 127.5 - 1
        return (images,) if self.condition is None else (images, self.condition[positions])

    def preview(self, position: int) -> ImagePreview:
        """The image as it is read."""
        return ImagePreview(self._read(position))

    def _read(self, position: int) -> Pixels:
        if self._pixels is not None:
            kept: Pixels = self._pixels[position]
            return kept
        image = read_image(self._files[position])
        if image is None:
            raise UnreadableError(
                f"{self._files[position].id} can no longer be read: leave the images in "
                "place while they are audited."
            )
        return _as_pixels(image, self.form)


def read_exactly(
    files: Sequence[FolderFile],
    form: Form,
    *,
    model: str,
    coloured: bool = False,
    progress: Progress = SILENT,
) -> tuple[ExactImages, list[FolderFile], list[str]]:
    """Read images of one form: the data set, the files it holds, and what to say of them.

    Args:
        files: at least one image file.
        form: what the model takes; where it takes any size, the first image's.
        model: what the model is called, for messages.
        coloured: whether grey images may be given to a model of colour, as training does.
        progress: where the reading says how far it is.

    Raises:
        PoolError: an image of another size or colour.
        UnreadableError: more than a tenth of the images cannot be read.
    """
    Image.init()  # makes all formats known: where some are named, pillow does not look further
    kept: list[FolderFile] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    broken: list[str] = []
    grey = 0
    with progress.step("reading images", len(files)) as step:
        for file in files:
            step.advance()
            image = read_image(file)
            if image is None:
                broken.append(file.id)
                continue
            form = Form(form.channels, form.size or image.size)
            _check(image, file, form, model=model, coloured=coloured)
            grey += form.channels == 3 and image.mode == "L"
            kept.append(file)
            own = _as_pixels(image, form)
            if own.nbytes * len(files) <= _KEPT:
                pixels.append(own)
    if broken and not kept:
        raise UnreadableError(
            f"The image {broken[0]!r} cannot be read: it is damaged, of another format than its "
            f"extension says, or of more than {MAX_PIXELS:,} pixels; give it as a PNG that opens "
            "elsewhere."
        )
    if len(broken) > UNREADABLE_SHARE * len(files):
        raise UnreadableError(
            f"{len(broken)} of {len(files)} images cannot be read ({broken[0]!r} is the first): at "
            f"most {UNREADABLE_SHARE:.0%} may be broken; mend or remove them."
        )
    told = [f"Unreadable images skipped: {len(broken)} ({broken[0]!r} first)."] if broken else []
    told += [f"{grey:,} grey images are taken as colour images."] if grey else []
    return ExactImages(kept, form, np.stack(pixels) if pixels else None), kept, told


def _check(image: Image.Image, file: FolderFile, form: Form, *, model: str, coloured: bool) -> None:
    """Refuse an image of another form."""
    if form.size is not None and image.size != form.size:
        width, height = form.size
        raise PoolError(
            f"The image {file.id!r} is {image.width} by {image.height} pixels and {model} makes "
            f"images of {width} by {height}: give it at that size, resized as for training."
        )
    if form.channels == 1 and image.mode == "RGB":
        raise PoolError(
            f"The image {file.id!r} is in colour and {model} makes grey images: convert it as for "
            "training."
        )
    if form.channels == 3 and image.mode == "L" and not coloured:
        raise PoolError(
            f"The image {file.id!r} is grey and {model} makes images in colour: give it as the "
            "model made it."
        )


def _as_pixels(image: Image.Image, form: Form) -> Pixels:
    return np.asarray(image.convert("L" if form.channels == 1 else "RGB"))
