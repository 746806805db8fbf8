"""The two experiments that attribution is judged on: data, network and training recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, Recipe
from auditkit.training import epochs
from benchmarks.fashion import DEVIATION, MEAN, read_images


@dataclass(frozen=True)
class Data:
    """Training examples and queries: inputs float32 [n, ...] and labels int64 [n]."""

    train_x: Tensor
    train_y: Tensor
    query_x: Tensor
    query_y: Tensor

    @property
    def train(self) -> Pool:
        """The pool that may be blamed."""
        return Pool.from_arrays(self.train_x, self.train_y)

    @property
    def queries(self) -> Pool:
        """What is explained."""
        return Pool.from_arrays(self.query_x, self.query_y)


@dataclass(frozen=True)
class Setting:
    """One experiment.

    Attributes:
        name: as files and tables call it.
        title: what is trained on what.
        data: reads the data.
        network: a newly initialized network, for a seed.
        recipe: how every model of the experiment is trained.
        subsets: how many random halves of the training examples are retrained on.
        seeds: how often each is, from different initial weights and in different orders.
    """

    name: str
    title: str
    data: Callable[[], Data]
    network: Callable[[int], nn.Sequential]
    recipe: Recipe
    subsets: int
    seeds: int


def digits(*, seed: int = 20_260) -> Data:
    """scikit-learn's 8x8 digits, 1,000 to train on and 200 as queries; others by another seed."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    inputs, targets = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    train, query = order[:1_000], order[1_000:1_200]
    return Data(inputs[train], targets[train], inputs[query], targets[query])


def small_fashion(train: int = 2_000, queries: int = 150, *, seed: int = 0) -> Data:
    """Fashion-MNIST averaged down to 14x14: images of the training part, queries of the test part.

    With another seed, other images.
    """
    parts = []
    for part, count in (("train", train), ("t10k", queries)):
        images, labels = read_images(part)
        chosen = np.random.default_rng([seed, 14]).permutation(len(images))[:count]
        pixels = (images[chosen] / np.float32(255) - MEAN) / DEVIATION
        halved = pixels.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5))
        parts += [torch.from_numpy(halved), torch.from_numpy(labels[chosen])]
    return Data(*parts)


def mlp(seed: int) -> nn.Sequential:
    """A network of 2,410 parameters for the digits."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def small_cnn(seed: int) -> nn.Sequential:
    """A network of 23,946 parameters for images of 14x14."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 3 * 3, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


SETTINGS = {
    "digits": Setting(
        "digits", "digits, MLP 64-32-10, 1,000 training examples, 200 queries",
        digits, mlp,
        Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-3, batch_size=50,
               epochs=60, schedule="cosine"),
        subsets=60, seeds=3,
    ),
    "fashion": Setting(
        "fashion", "Fashion-MNIST 14x14, CNN of 23,946 parameters, 2,000 images, 150 queries",
        small_fashion, small_cnn,
        Recipe(optimizer="sgd", learning_rate=0.05, momentum=0.9, weight_decay=1e-3, batch_size=50,
               epochs=40, schedule="cosine"),
        subsets=60, seeds=3,
    ),
}  # fmt: skip


def trained(
    setting: Setting, data: Data, *, seed: int, positions: np.ndarray | None = None
) -> nn.Sequential:
    """A network trained by the recipe, on all training examples or those at `positions`."""
    model = setting.network(seed)
    passes = epochs(
        model,
        ClassificationTask(model),
        data.train,
        setting.recipe,
        count=setting.recipe.epochs,
        positions=positions,
        seed=seed,
    )
    for _ in passes:
        pass
    return model.eval()


def measured(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Margin (log-odds of the label) and loss of each example, float32 [n] twice."""
    with torch.no_grad():
        scores = model(inputs).double()
    own = scores.gather(1, labels[:, None])[:, 0]
    others = scores.scatter(1, labels[:, None], float("-inf")).logsumexp(1)
    return (own - others).float(), (scores.logsumexp(1) - own).float()
