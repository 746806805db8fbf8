"""Photographs, cut from the two that scikit-learn brings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_sample_images

SIDE = 100


@pytest.fixture(scope="session")
def photographs() -> npt.NDArray[np.uint8]:
    """Tiles that do not overlap, and are not all one colour: uint8 [tile, 100, 100, 3]."""
    tiles = [
        photograph[top : top + SIDE, left : left + SIDE]
        for photograph in load_sample_images().images
        for top in range(0, photograph.shape[0] - SIDE + 1, SIDE)
        for left in range(0, photograph.shape[1] - SIDE + 1, SIDE)
    ]
    return np.stack([tile for tile in tiles if tile.mean(axis=2).std() > 12])
