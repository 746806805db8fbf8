"""The cheap baselines: which training images look alike, by their pixels and to the denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from auditkit import Pool
from auditkit_diffusion.measuring import Table, asked
from auditkit_diffusion.settings import Context

_SIDE = 32
"""Pixels a side that images are compared at; larger ones are averaged down."""


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
    pixels, others = _small(train), _small(queries)
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


def _small(pool: Pool) -> npt.NDArray[np.float32]:
    """The images as rows, averaged down to a small size."""
    import torch  # noqa: PLC0415 - plugins are imported without torch

    rows = []
    for place in range(len(pool)):
        item = pool[place]
        while isinstance(item, Mapping | tuple | list):
            parts = item.values() if isinstance(item, Mapping) else item
            item = next(part for part in parts if getattr(part, "ndim", 0) == 3)
        image = torch.as_tensor(item)[None].float()
        height, width = (min(side, _SIDE) for side in image.shape[-2:])
        small = torch.nn.functional.adaptive_avg_pool2d(image, (height, width))
        rows.append(small.flatten().numpy())
    return np.stack(rows)
