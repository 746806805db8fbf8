"""Folders of images in class folders, with a small convolutional network trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from auditkit.errors import SubjectReferenceError
from auditkit.pool import Pool, Positions
from auditkit.preview import ImagePreview
from auditkit.progress import SILENT, Progress
from auditkit.sources.decoding import Decoded, Pixels, decode
from auditkit.sources.fitting import fit_classifier
from auditkit.sources.folders import list_images
from auditkit.sources.labels import classes, codes
from auditkit.sources.models import ImageModel
from auditkit.subject import Subject

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

_EPOCHS = 30


class ImageDataset:
    """Pixels kept as bytes, given out as (float32 [channel, height, width] in [0, 1], label).

    Args:
        pixels: uint8 [image, height, width] or [image, height, width, 3].
        labels: int64 [image]; without them, bare images are given out.
    """

    def __init__(self, pixels: Pixels, labels: npt.NDArray[np.int64] | None) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, position: int) -> Tensor | tuple[Tensor, ...]:
        fields = self.rows(np.array([position]))
        return tuple(field[0] for field in fields) if len(fields) > 1 else fields[0][0]

    def rows(self, positions: Positions) -> tuple[Tensor, ...]:
        """Images, float32 [batch, channel, height, width], and labels, int64 [batch]."""
        pixels = torch.from_numpy(self.pixels[positions])
        stacked = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        images = stacked.float() / 255
        if self.labels is None:
            return (images,)
        return images, torch.from_numpy(self.labels[positions])

    def preview(self, position: int) -> ImagePreview:
        """The image as it is read, at its common size."""
        return ImagePreview(self.pixels[position])


def load_images(root: Path, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """A subject of a folder that holds one folder of images per class.

    The class is the folder's name, the id the path relative to the folder.

    Raises:
        SubjectReferenceError: no images in class folders.
        LabelError: fewer than two classes, a class with one image, or a query of another class.
        UnreadableError: more than a tenth of the images cannot be read.
    """
    listing = list_images(root)
    decoded = decode(listing.images, progress=progress)
    labels, ids = _labels_and_ids(decoded)
    names = classes(labels, ids)
    train = _pool(decoded, codes(labels, names, ids, where=root.name))
    queries, remarks = _queries(options, names, decoded.pixels, progress)
    channels = 1 if decoded.pixels.ndim == 3 else 3
    side = min(decoded.pixels.shape[1:3])
    fitted = fit_classifier(
        lambda: ImageModel(channels, len(names), side=side),
        train,
        class_names=names,
        kind="a convolutional network",
        epochs=_EPOCHS,
        options=options,
        progress=progress,
    )
    return fitted.subject(
        train,
        queries,
        name=root.resolve().name,
        description=(
            f"{len(train):,} images of {len(names)} classes from {root.resolve().name}.",
            *decoded.sentences,
            *listing.sentences,
            *remarks,
        ),
    )


def _queries(
    options: SourceOptions, names: tuple[str, ...], like: Pixels, progress: Progress
) -> tuple[Pool | None, list[str]]:
    """The pool of the second folder, if one was given, read as the first one was."""
    root = options.trusted or options.evaluation
    if root is None:
        return None, []
    if not root.is_dir():
        raise SubjectReferenceError(
            f"{root} is not a folder: expected a folder of images in class folders, like the "
            "first one."
        )
    listing = list_images(root, flat=options.unlabelled)
    decoded = decode(listing.images, like=like, progress=progress)
    labels, ids = _labels_and_ids(decoded)
    said = decoded.changes
    if not any(labels):
        said.append(f"The images of {root.resolve().name} lie in no class folders: no labels.")
    found = codes(labels, names, ids, where=root.name) if any(labels) else None
    pool = _pool(decoded, found)
    return pool, [f"{len(pool):,} images from {root.resolve().name} are the queries.", *said]


def _labels_and_ids(decoded: Decoded) -> tuple[list[str], list[str]]:
    return [file.label for file in decoded.files], [file.id for file in decoded.files]


def _pool(decoded: Decoded, labels: npt.NDArray[np.int64] | None) -> Pool:
    dataset = ImageDataset(decoded.pixels, labels)
    names, ids = _labels_and_ids(decoded)
    frame = pl.DataFrame({"id": ids} if labels is None else {"id": ids, "label": names})
    label = None if labels is None else "label"
    return Pool(dataset, ids=ids, metadata=frame, preview=dataset.preview, label=label)
