"""The data of the published validation: Fashion-MNIST, and scikit-learn's digits."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from benchmarks import fashion

Name: TypeAlias = Literal["fashion", "digits"]
Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def images(name: Name, *, seed: int = 42) -> tuple[Images, Labels]:
    """All images in random order, float32 [n, side, side] from 0 to 1, and their labels."""
    if name == "fashion":
        pixels, labels = fashion.read_images()
        values = pixels.astype(np.float32) / np.float32(255)
    else:
        bunch = load_digits()
        values, labels = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    return values[order], labels[order]
