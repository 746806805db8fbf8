"""Fashion-MNIST (Debian package dataset-fashion-mnist) with known wrong labels, and a small CNN."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from auditkit import ClassificationTask, Pool, Recipe

FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
LOOK_ALIKE = {0: (6,), 6: (0, 2, 4), 2: (4, 6), 4: (2, 6), 3: (0, 4), 5: (7,), 7: (5, 9), 9: (7,)}
"""Which classes a careless annotator would take for which."""

MEAN, DEVIATION = 0.2860, 0.3530


@dataclass(frozen=True)
class Regime:
    """One setting of the experiment: how much data, which flips, how long the model trains."""

    name: str
    examples: int
    rate: float
    look_alike: bool
    epochs: int


REGIMES = {
    "A": Regime("A: 10,000 images, few flips fitted", 10_000, 0.10, look_alike=False, epochs=12),
    "B": Regime("B: 3,000 images, flips memorized", 3_000, 0.10, look_alike=False, epochs=28),
    "C": Regime("C: 2,500 images, look-alike flips", 2_500, 0.12, look_alike=True, epochs=20),
    "D": Regime("D: 1,000 images", 1_000, 0.10, look_alike=False, epochs=12),
    "E": Regime("E: 2,500 images, few look-alike flips", 2_500, 0.04, look_alike=True, epochs=20),
}

RECIPE = Recipe(optimizer="sgd", learning_rate=0.02, momentum=0.9, weight_decay=5e-4, batch_size=64)


@dataclass(frozen=True)
class Labelled:
    """Images with labels as given and as they are: float32 [n, 1, 28, 28], int64 [n] twice."""

    images: npt.NDArray[np.float32]
    given: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64]

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which labels were flipped, bool [n]."""
        return self.given != self.true

    @property
    def pool(self) -> Pool:
        """The pool a user would have."""
        return Pool.from_arrays(self.images, self.given)


def read_images(part: str = "train") -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All images, uint8 [n, 28, 28], and labels, int64 [n], of `train` or `t10k`."""
    pixels = gzip.decompress((FOLDER / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FOLDER / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
    return images, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def flipped(regime: Regime, *, seed: int) -> Labelled:
    """A sample of the training images with a known share of their labels flipped."""
    images, labels = read_images()
    rng = np.random.default_rng([seed, 20_260])
    chosen = rng.permutation(len(images))[: regime.examples]
    pixels = ((images[chosen, None] / np.float32(255) - MEAN) / DEVIATION).astype(np.float32)
    true = labels[chosen]
    given = true.copy()
    able = np.isin(true, list(LOOK_ALIKE)) if regime.look_alike else np.ones(len(true), dtype=bool)
    for place in rng.permutation(np.flatnonzero(able))[: round(regime.rate * len(true))]:
        own = int(true[place])
        others = LOOK_ALIKE[own] if regime.look_alike else [k for k in range(10) if k != own]
        given[place] = rng.choice(others)
    return Labelled(pixels, given, true)


def cnn(seed: int) -> nn.Sequential:
    """The network that is trained, with weights that follow from the seed."""
    torch.manual_seed(seed)
    return new_cnn()


def new_cnn() -> nn.Sequential:
    """A convolutional network of 105,866 parameters, other weights each time, as a user has it."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def task(seed: int) -> ClassificationTask:
    """A task on a new, untrained CNN."""
    return ClassificationTask(cnn(seed), class_names=CLASSES)
