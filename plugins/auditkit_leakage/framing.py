"""Larger images without their empty margins, which come in where an image is moved or padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit_leakage.registration import Numbers, Parts
from auditkit_leakage.resampling import Images, margins, without


@dataclass(frozen=True)
class Framed:
    """Images, and which part of each file they are.

    Attributes:
        images: without margins.
        boxes: float64 [image, 2, 2]; start and length along rows, then columns, in sides.
    """

    images: Images
    boxes: npt.NDArray[np.float64]


def framed(images: Images, *, trim: bool) -> Framed:
    """The images, without their margins if asked for."""
    boxes = np.zeros((len(images), 2, 2))
    boxes[:, :, 1] = 1
    if not trim:
        return Framed(images, boxes)
    kept = []
    for place, image in enumerate(images):
        frame = margins(image)
        kept.append(without(image, frame) if frame.any() else image)
        sides = np.array(image.shape[:2])
        boxes[place, :, 0] = frame[:, 0] / sides
        boxes[place, :, 1] = 1 - frame.sum(axis=1) / sides
    return Framed(tuple(kept), boxes)


def in_whole(parts: Parts, train: Numbers, queries: Numbers) -> Parts:
    """The parts of whole training images that whole queries would show.

    Args:
        parts: of training images without margins that queries without margins show.
        train: the boxes of the training images, [pair, 2, 2].
        queries: the boxes of the queries.
    """
    size = train[..., 1] * parts.size / queries[..., 1]
    start = train[..., 0] + train[..., 1] * parts.start - size * queries[..., 0]
    return Parts(start.astype(np.float32), size.astype(np.float32))
