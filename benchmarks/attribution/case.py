"""What every method is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from auditkit import Recipe
from benchmarks.attribution.settings import Data

Floats = npt.NDArray[np.float32]
"""Scores, float32 [query, train]; above zero where training on the example helps the query."""


@dataclass(frozen=True)
class Case:
    """Trained networks of one architecture, and the data to attribute.

    Attributes:
        models: the network explained, then those its scores are averaged with.
        data: training examples and queries.
        recipe: how the networks were trained.
    """

    models: Sequence[nn.Sequential]
    data: Data
    recipe: Recipe

    @property
    def train_set(self) -> TensorDataset:
        """Training examples as (input, label)."""
        return TensorDataset(self.data.train_x, self.data.train_y)

    @property
    def query_set(self) -> TensorDataset:
        """Queries as (input, label)."""
        return TensorDataset(self.data.query_x, self.data.query_y)


Score: TypeAlias = Callable[[Case], Floats]


SMALL = 5_000
"""Up to how many weights a network is small."""


def weights_of(case: Case) -> int:
    """How many trained weights one network of the case has."""
    return sum(weight.numel() for weight in case.models[0].parameters())


@dataclass(frozen=True)
class Method:
    """One method of one library, in one or more of its documented settings.

    Attributes:
        name: the library's name and the method's, as tables call it.
        computes: what the scores are, in a sentence.
        variants: the settings tried, by what is said of them in a table.
        small_only: whether it is tried on networks of up to 5,000 weights only, for its time or
            memory.
        quick: the settings tried on larger networks as well; by default all.
    """

    name: str
    computes: str
    variants: Mapping[str, Score]
    small_only: bool = False
    quick: tuple[str, ...] = ()

    def tried(self, case: Case) -> Mapping[str, Score]:
        """The settings that are tried on a case of this size."""
        if weights_of(case) <= SMALL:
            return self.variants
        if self.small_only:
            return {}
        return {name: self.variants[name] for name in self.quick or self.variants}


class NotOfferedError(Exception):
    """The library has no such setting."""


def margin_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-odds of the label, summed over the batch: a loss that does not saturate."""
    own = scores.gather(1, labels[:, None])[:, 0]
    others = scores.scatter(1, labels[:, None], float("-inf")).logsumexp(1)
    return (others - own).sum()


def summed_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, summed over the batch."""
    return nn.functional.cross_entropy(scores, labels, reduction="sum")


MEASURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": summed_loss,
    "margin": margin_loss,
}
"""What a query asks about, as a loss of class scores and labels: training lowers it."""


def as_floats(scores: Tensor) -> Floats:
    """Scores as numpy has them, on the CPU and apart from any graph."""
    result: Floats = scores.detach().to("cpu", torch.float32).numpy()
    return result
