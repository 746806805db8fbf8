"""A task for batches of an unusual form: pairs of images that show the same digit or not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

import auditkit


class PairDataset:
    """Pairs as mappings with the keys `left`, `right` and `same`."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        self.left = torch.randperm(len(images), generator=generator)
        self.right = torch.randperm(len(images), generator=generator)
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        left, right = self.left[position], self.right[position]
        same = (self.labels[left] == self.labels[right]).long()
        return {"left": self.images[left], "right": self.images[right], "same": same}


class PairModel(nn.Module):
    """The log-odds that two images show the same digit, [batch]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU())
        self.judge = nn.Linear(32, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Encode both images alike, and judge by how far apart they come to lie."""
        return self.judge((self.encoder(left) - self.encoder(right)).abs())[:, 0]


class PairTask(auditkit.Task):
    """Same or different, as a problem of two classes."""

    likelihood = "categorical"

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Class scores [batch, 2] and labels [batch]."""
        odds = model(batch["left"], batch["right"])
        return torch.stack([torch.zeros_like(odds), odds], dim=1), batch["same"]

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each pair, [batch]."""
        scores, labels = self.outputs(model, batch)
        return functional.cross_entropy(scores, labels, reduction="none")

    def with_targets(self, batch: Mapping[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """The same pairs under other labels."""
        return {**batch, "same": targets}
