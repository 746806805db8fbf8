"""Models with parameters that no layer can be read off: scores against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool
from auditkit.batches import collate
from auditkit.engine.preconditioner import TRACE_SHARE

CPU = torch.device("cpu")
COUNT = 40


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head(self.recurrent(inputs)[0][:, -1])
        return scores


class Scaled(nn.Module):
    """With a parameter that is a single number, and one that stands in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.zeros(3))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.scale * self.head(inputs.flatten(start_dim=1)) + self.shift
        return scores


class Backbone(nn.Module):
    """Whose first layer is run without gradients, and left trainable."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = self.body(inputs.flatten(start_dim=1)).tanh()
        scores: Tensor = self.head(hidden)
        return scores


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 4, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3))


def partly_frozen() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))
    model[1].weight.requires_grad_(requires_grad=False)  # type: ignore[union-attr]
    return model


MODELS = {
    "recurrent": Recurrent,
    "scaled": Scaled,
    "backbone": Backbone,
    "grouped": grouped,
    "partly frozen": partly_frozen,
}


def problem(name: str) -> tuple[ClassificationTask, Pool]:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    inputs = torch.randn(COUNT, 4, 2, generator=torch.Generator().manual_seed(1))
    return ClassificationTask(model), Pool.from_arrays(inputs, torch.arange(COUNT) % 3)


def jacobian(task: ClassificationTask, pool: Pool, what: str) -> Tensor:
    """Gradients of outputs, losses or measures: float64 [example, k, weight]."""
    weights = [weight for weight in task.model.parameters() if weight.requires_grad]
    rows = []
    for place in range(len(pool)):
        batch = collate(pool, np.array([place]), device=CPU)
        if what == "outputs":
            values = task.outputs(task.model, batch)[0][0]
        else:
            values = getattr(task, what)(task.model, batch)
        for value in values:
            found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            rows.append(
                torch.cat(
                    [
                        (torch.zeros_like(w) if part is None else part).flatten().double()
                        for w, part in zip(weights, found, strict=True)
                    ]
                )
            )
    return torch.stack(rows).view(len(pool), -1, rows[0].numel())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("response", ["products", "tangent"])
def test_scores_are_those_of_the_dense_gauss_newton_matrix(name: str, response: str) -> None:
    task, pool = problem(name)
    asked = pool.subset(np.arange(5))
    outputs = jacobian(task, pool, "outputs")
    with torch.no_grad():
        whole = collate(pool, np.arange(COUNT), device=CPU)
        chances = task.outputs(task.model, whole)[0].double().softmax(dim=1)
    middle = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None]
    matrix = torch.einsum("nkw,nkl,nlv->wv", outputs, middle, outputs) / COUNT
    ridge = float(matrix.trace()) * TRACE_SHARE
    solved = torch.linalg.solve(
        matrix + ridge * torch.eye(len(matrix)).double(), jacobian(task, asked, "measure")[:, 0].T
    )
    expected = (jacobian(task, pool, "loss")[:, 0] @ solved).T / COUNT
    engine = ForwardINF(task, train=pool, response=response)  # type: ignore[arg-type]
    found = engine.influence(asked).values
    assert str(engine.preconditioner).startswith("ggn")
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-3, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("preconditioner", ["none", "diagonal", "kfac", "ekfac"])
@pytest.mark.parametrize("name", MODELS)
def test_every_preconditioner_takes_every_model(name: str, preconditioner: str) -> None:
    task, pool = problem(name)
    asked = pool.subset(np.arange(3))
    by_products, by_tangents = (
        ForwardINF(task, train=pool, response=response, preconditioner=preconditioner)  # type: ignore[arg-type]
        .influence(asked)
        .values
        for response in ("products", "tangent")
    )
    np.testing.assert_allclose(by_products, by_tangents, rtol=1e-3, atol=1e-5)
