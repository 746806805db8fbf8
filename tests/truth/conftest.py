"""A regression whose retrainings have closed forms, and progress that breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, Recipe, RegressionTask
from auditkit.progress import Step
from auditkit.truth import Retraining

RIDGE = 0.02


@dataclass(frozen=True)
class Ridge:
    """40 training rows and 6 queries of a noisy linear relation, float64."""

    inputs: Tensor
    targets: Tensor
    queries: Tensor
    answers: Tensor

    def weights(self, *, without: list[int], targets: Tensor | None = None) -> Tensor:
        """The minimum of mean squared error + RIDGE / 2 * |weights|^2, bias last."""
        kept = np.setdiff1d(np.arange(len(self.inputs)), without)
        rows = with_ones(self.inputs)[kept]
        answers = (self.targets if targets is None else targets)[kept]
        hessian = 2 / len(kept) * rows.T @ rows + RIDGE * torch.eye(rows.shape[1]).double()
        return torch.linalg.solve(hessian, 2 / len(kept) * rows.T @ answers)

    def losses(self, *, without: list[int]) -> np.ndarray:
        """The queries' losses, [query]."""
        residuals = with_ones(self.queries) @ self.weights(without=without) - self.answers
        return residuals.square().numpy()

    def change(self, *, without: list[int]) -> np.ndarray:
        """How the queries' losses change without these examples, [query]."""
        return self.losses(without=without) - self.losses(without=[])


def with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)


@pytest.fixture(scope="session")
def ridge() -> Ridge:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(46, 3, generator=generator).double()
    noise = torch.randn(46, generator=generator).double()
    targets = inputs @ torch.tensor([1.0, -2.0, 0.5]).double() + noise
    return Ridge(inputs[:40], targets[:40], inputs[40:], targets[40:])


@pytest.fixture
def regression(ridge: Ridge) -> Retraining:
    """Trained to convergence in full batches: every retraining ends at its closed form."""
    return Retraining(
        task=RegressionTask(nn.Linear(3, 1).double()),
        train=Pool.from_arrays(ridge.inputs, ridge.targets),
        queries=Pool.from_arrays(ridge.queries, ridge.answers),
        recipe=Recipe(
            optimizer="sgd",
            learning_rate=0.15,
            momentum=0.6,
            weight_decay=RIDGE,
            batch_size=40,
            epochs=80,
        ),
    )


@pytest.fixture
def small() -> Retraining:
    """A classification whose trainings are short and noisy: small batches, two epochs."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(70, 4, generator=generator)
    labels = (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return Retraining(
        task=ClassificationTask(model),
        train=Pool.from_arrays(inputs[:60], labels[:60]),
        queries=Pool.from_arrays(inputs[60:], labels[60:]),
        recipe=Recipe(learning_rate=1e-2, batch_size=16, epochs=2),
    )


class BreaksOff:
    """Progress during which somebody presses Ctrl-C after so many retrainings."""

    def __init__(self, *, after: int) -> None:
        self.left = after

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Step]:
        yield _Step(self if description == "retraining" else BreaksOff(after=total + 1))


class _Step:
    def __init__(self, owner: BreaksOff) -> None:
        self.owner = owner

    def advance(self, amount: int = 1) -> None:
        self.owner.left -= amount
        if self.owner.left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def breaks_off() -> Callable[..., BreaksOff]:
    return BreaksOff


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A growing list of the retrainings that are really done."""
    from auditkit.truth import measuring, retraining

    done: list[object] = []

    def counted(setting: Retraining, leg: retraining.Leg) -> nn.Module:
        done.append(leg)
        return retraining.trained(setting, leg)

    monkeypatch.setattr(measuring, "trained", counted)
    return done
