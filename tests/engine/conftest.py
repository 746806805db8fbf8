"""Small problems and the models that were trained on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from auditkit import ClassificationTask, Pool, Recipe
from auditkit.training import epochs


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever machine runs them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def blobs() -> tuple[Tensor, Tensor]:
    """120 points in six dimensions around three overlapping centres, float32, and their labels."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(120) % 3
    centres = 1.5 * torch.randn(3, 6, generator=generator)
    return centres[labels] + torch.randn(120, 6, generator=generator), labels


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits, float32 [n, 64] in [0, 1], in a random order, and labels."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


@pytest.fixture(scope="session")
def classifier(blobs: tuple[Tensor, Tensor]) -> nn.Module:
    """A small network trained on the blobs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        recipe = Recipe(learning_rate=1e-2, batch_size=20)
        for _ in epochs(
            model, ClassificationTask(model), Pool.from_arrays(*blobs), recipe, count=5
        ):
            pass
    return model.eval()


@pytest.fixture(scope="session")
def digits_model(digits: tuple[Tensor, Tensor]) -> nn.Module:
    """A small network trained on the first 400 digits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        train = Pool.from_arrays(digits[0][:400], digits[1][:400])
        recipe = Recipe(learning_rate=5e-3, batch_size=32)
        for _ in epochs(model, ClassificationTask(model), train, recipe, count=12):
            pass
    return model.eval()


@pytest.fixture(scope="session")
def softmax_regression(blobs: tuple[Tensor, Tensor]) -> nn.Linear:
    """L2-regularized multinomial logistic regression at its optimum, weight decay 0.05, float64."""
    inputs, labels = blobs
    return fit_softmax(inputs.double(), labels, weight_decay=0.05)


def fit_softmax(inputs: Tensor, labels: Tensor, *, weight_decay: float) -> nn.Linear:
    """The minimum of mean cross-entropy + weight_decay / 2 * |weights|^2, by L-BFGS."""
    model = nn.Linear(inputs.shape[1], int(labels.max()) + 1).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        decay = sum(weight.square().sum() for weight in model.parameters())
        loss = functional.cross_entropy(model(inputs), labels) + weight_decay / 2 * decay
        loss.backward()
        return loss

    optimizer.step(closure)
    model.zero_grad(set_to_none=True)
    return model
