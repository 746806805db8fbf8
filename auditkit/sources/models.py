"""Small models for data that comes without one."""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor, nn


class TableModel(nn.Sequential):
    """Two hidden layers on the features of a table, [batch, feature] to [batch, class]."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(
            nn.Linear(features, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )


class LinearModel(nn.Sequential):
    """One linear layer on embeddings, [batch, dimension] to [batch, class]."""

    def __init__(self, dimensions: int, classes: int) -> None:
        super().__init__(nn.Linear(dimensions, classes))


class ImageModel(nn.Module):
    """Three convolutions and one hidden layer, for images of 8 by 8 pixels and more.

    Images are float [batch, channel, height, width] in [0, 1]; class scores [batch, class]. The
    maps are halved until they are about 4 by 4; about 90,000 weights for any size.
    """

    def __init__(self, channels: int, classes: int, *, side: int) -> None:
        super().__init__()
        halvings = min(max(round(log2(side / 5)), 1), 3)
        widths = (channels, 16, 32, 64)
        layers: list[nn.Module] = []
        for number in range(3):
            layers += [nn.Conv2d(widths[number], widths[number + 1], 3, padding=1), nn.ReLU()]
            if number < halvings:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(64 * 16, 64), nn.ReLU(), nn.Linear(64, classes))
        # Faster on the CPU, the same elsewhere.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, [batch, class]."""
        scores: Tensor = self.head(self.features(images * 2 - 1))
        return scores
