"""Training a classifier of handwritten digits, as a project of one's own might do it."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


def make_model() -> nn.Module:
    """The network, newly initialized."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def load_data() -> tuple[Tensor, Tensor]:
    """Images, float32 [example, 1, 8, 8], and labels, int64 [example]."""
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
    return images, torch.tensor(digits.target)


def main() -> None:
    """Train for 20 epochs and keep the weights."""
    torch.manual_seed(0)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(*load_data()), batch_size=64, shuffle=True)
    for _ in range(20):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    torch.save(model.state_dict(), "model.pt")


if __name__ == "__main__":
    main()
