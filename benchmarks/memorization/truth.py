"""The data, the network, and what retraining says of both.

Feldman and Zhang 2020, *What Neural Networks Memorize and Why*, section 2: many models on random
subsets; an example's memorization is the share of the models trained with it that predict its label
rightly, minus that of those trained without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, Recipe, truth
from benchmarks.fashion import CLASSES, Labelled, Regime, flipped

if TYPE_CHECKING:
    from auditkit.subject import Batch

Values = npt.NDArray[np.float64]

DATA = Regime("2,000 images, flips memorized", 2_000, 0.10, look_alike=False, epochs=60)
RECIPE = Recipe(
    optimizer="sgd", learning_rate=0.05, momentum=0.9, weight_decay=5e-4, batch_size=64, epochs=60
)


class Correctness(ClassificationTask):
    """Classification that measures whether the prediction is right: below zero where it is."""

    measure_name = "score of the best other class above the label's"

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """The best other class score minus the label's, [batch]."""
        scores, labels = self.outputs(model, batch)
        own = scores.gather(1, labels[:, None])[:, 0]
        return scores.scatter(1, labels[:, None], float("-inf")).amax(dim=1) - own


@dataclass(frozen=True)
class Problem:
    """Images of 14x14 with a tenth of the labels flipped, and how they are learnt."""

    data: Labelled
    seed: int

    @property
    def pool(self) -> Pool:
        """What the network is trained on."""
        return Pool.from_arrays(self.data.images, self.data.given)

    @property
    def retraining(self) -> truth.Retraining:
        """Trainings from scratch, each measured on all the images."""
        pool = self.pool
        return truth.Retraining(
            task=Correctness(network(self.seed), class_names=CLASSES),
            train=pool,
            queries=pool,
            recipe=RECIPE,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Memorization:
    """Shares of right predictions by models with and without each example, [example] each."""

    with_it: Values
    without: Values

    @property
    def values(self) -> Values:
        """Feldman and Zhang's memorization, from -1 to 1."""
        return self.with_it - self.without


def problem(seed: int) -> Problem:
    """One draw of images, flips and initial weights."""
    data = flipped(DATA, seed=seed)
    smaller = data.images.reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5), dtype=np.float64)
    return Problem(replace(data, images=smaller.astype(np.float32)), seed)


def network(seed: int) -> nn.Sequential:
    """A convolutional network of 23,946 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 3 * 3, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def ground_truth(given: Problem, *, models: int, folder: Path) -> truth.Halves:
    """Models trained on random halves; finished ones are kept in the folder."""
    return truth.half_subsets(given.retraining, count=models, seeds=1, folder=folder)


def memorization(halves: truth.Halves, models: slice = slice(None)) -> Memorization:
    """Shares of right predictions among some of the models."""
    members, right = halves.members[models], halves.measures[models] < 0
    return Memorization(
        with_it=(members & right).sum(axis=0) / members.sum(axis=0),
        without=(~members & right).sum(axis=0) / (~members).sum(axis=0),
    )
