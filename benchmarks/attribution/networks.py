"""What costs are measured on: a CNN of 150,078 weights, and a narrow ResNet-18 with GroupNorm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 8


def cnn(seed: int) -> nn.Sequential:
    """A network of 150,078 weights for images of 28x28."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 92), nn.ReLU(), nn.Linear(92, 10),
    )  # fmt: skip


def resnet18(seed: int, *, width: int = 32) -> nn.Sequential:
    """ResNet-18 for small images (He et al. 2016, stem of stride 1), GroupNorm for BatchNorm."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, width), nn.ReLU(),
    ]  # fmt: skip
    channels = width
    for stage in range(4):
        for block in range(2):
            out = width * 2**stage
            layers.append(Block(channels, out, stride=2 if stage > 0 and block == 0 else 1))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(GROUPS, out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, out),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.around = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.GroupNorm(GROUPS, out)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features, [batch, out, height, width]."""
        return torch.relu(self.body(images) + self.around(images))
