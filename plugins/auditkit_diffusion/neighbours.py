"""The cheap baselines: which training images look alike, by their pixels and to the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from auditkit_diffusion.measuring import Table, asked
from auditkit_diffusion.settings import Context

if TYPE_CHECKING:
    from torch import Tensor

_SIDE = 32
"""Pixels a side that images are compared at; larger ones are averaged down."""

_BELOW, _NEARLY_ALL = 0.05, 0.99


@dataclass(frozen=True)
class Nearness:
    """How near each training image is to each generated one, by one comparison.

    Attributes:
        name: what is compared.
        values: [query, train]; higher is nearer.
    """

    name: str
    values: Table

    def order(self, row: int) -> npt.NDArray[np.int64]:
        """Positions in the train pool, nearest first."""
        return np.argsort(-self.values[row], kind="stable")

    def ranks(self, row: int) -> npt.NDArray[np.int64]:
        """The rank of each training image, from 1."""
        found = np.empty(self.values.shape[1], dtype=np.int64)
        found[self.order(row)] = np.arange(1, len(found) + 1)
        return found


def nearness(context: Context) -> list[Nearness]:
    """In pixels, and in the features of the denoiser's middle."""
    train, queries = context.subject.train, asked(context)
    height, width = (min(side, _SIDE) for side in _image(train, 0).shape[-2:])
    pixels, others = (_small(pool, (height, width)) for pool in (train, queries))
    _say_of_scales(context, pixels, others)
    apart = (
        np.square(others).sum(axis=1)[:, None]
        + np.square(pixels).sum(axis=1)
        - 2 * others @ pixels.T
    )
    engine = context.engine
    seen, met = (_unit(engine.features(pool)) for pool in (train, queries))
    return [
        Nearness("pixels", -np.sqrt(np.maximum(apart, 0)).astype(np.float64)),
        Nearness("features", (met @ seen.T).astype(np.float64)),
    ]


def _unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    found: npt.NDArray[np.float32] = features / np.maximum(lengths, 1e-12)
    return found


def _say_of_scales(
    context: Context, pixels: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> None:
    """A word where one side reaches below zero and the other does not."""
    below, asked_below = ((own.min(axis=1) < -_BELOW).mean() for own in (pixels, others))
    if (below > _NEARLY_ALL and asked_below == 0) or (below == 0 and asked_below > 0):
        context.note(
            f"Values of training images go from {pixels.min():.2g} to {pixels.max():.2g} and those "
            f"of generated images from {others.min():.2g} to {others.max():.2g}: the two seem to "
            "be scaled in different ways. Scale both as the model was trained, mostly -1 to 1.",
            level="warning",
        )


def _image(pool: Pool, place: int) -> Tensor:
    """An example's image, float [1, channel, height, width]."""
    import torch  # noqa: PLC0415 - plugins are imported without torch

    item = pool[place]
    while isinstance(item, Mapping | tuple | list):
        parts = item.values() if isinstance(item, Mapping) else item
        item = next(part for part in parts if getattr(part, "ndim", 0) == 3)
    return torch.as_tensor(item)[None].float()


def _small(pool: Pool, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The images as rows, averaged down to one small size."""
    from torch.nn.functional import adaptive_avg_pool2d  # noqa: PLC0415 - as above

    images = (_image(pool, place) for place in range(len(pool)))
    return np.stack([adaptive_avg_pool2d(image, size).flatten().numpy() for image in images])
