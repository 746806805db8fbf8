"""Scores against closed forms and against retraining without each example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import Tensor, nn
from torch.nn import functional

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask

RIDGE = 0.01


def with_ones(inputs: Tensor) -> Tensor:
    return torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], dim=1)


def solve_ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """The minimum of mean squared error + RIDGE / 2 * |weights|^2, bias last."""
    rows = with_ones(inputs).double()
    hessian = 2 / len(rows) * rows.T @ rows + RIDGE * torch.eye(rows.shape[1]).double()
    return torch.linalg.solve(hessian, 2 / len(rows) * rows.T @ targets.double())


def linear(weights: Tensor, dtype: torch.dtype) -> nn.Linear:
    model = nn.Linear(len(weights) - 1, 1).to(dtype)
    with torch.no_grad():
        model.weight.copy_(weights[None, :-1])
        model.bias.copy_(weights[-1:])
    return model


@pytest.fixture(params=[torch.float64, torch.float32], ids=["double", "single"])
def problem(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """60 training rows and 8 queries of a noisy linear relation in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(68, 5, generator=generator, dtype=request.param)
    noise = torch.randn(68, generator=generator, dtype=request.param)
    targets = inputs @ torch.arange(1.0, 6.0, dtype=request.param) + noise
    return inputs[:60], targets[:60], inputs[60:], targets[60:]


def scores_of(problem: tuple[Tensor, Tensor, Tensor, Tensor], *, rise: float) -> np.ndarray:
    inputs, targets, queries, answers = problem
    model = linear(solve_ridge(inputs, targets), inputs.dtype)
    engine = ForwardINF(
        RegressionTask(model),
        train=Pool.from_arrays(inputs, targets),
        recipe=Recipe(optimizer="sgd", weight_decay=RIDGE),
        damping=0.0,
        rise=rise,
    )
    return engine.influence(Pool.from_arrays(queries, answers)).values


def test_small_rises_give_the_influence_function_of_ridge_regression(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    inputs, targets, queries, answers = (part.double() for part in problem)
    weights = solve_ridge(inputs, targets)
    rows, asked = with_ones(inputs), with_ones(queries)
    hessian = 2 / 60 * rows.T @ rows + RIDGE * torch.eye(6).double()
    slopes = 2 * (rows @ weights - targets)[:, None] * rows
    query_slopes = 2 * (asked @ weights - answers)[:, None] * asked
    expected = (query_slopes @ torch.linalg.solve(hessian, slopes.T) / 60).numpy()
    exact = problem[0].dtype == torch.float64
    found = scores_of(problem, rise=1e-7 if exact else 1e-3)
    assert np.abs(found - expected).max() < (1e-4 if exact else 2e-2) * np.abs(expected).max()


def test_scores_are_what_leaving_each_example_out_does(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    inputs, targets, queries, answers = (part.double() for part in problem)

    def losses(kept: Tensor) -> Tensor:
        weights = solve_ridge(inputs[kept], targets[kept])
        return (with_ones(queries) @ weights - answers).square()

    everything = torch.arange(60)
    change = torch.stack([losses(everything[everything != out]) for out in range(60)], dim=1)
    truth = (change - losses(everything)[:, None]).numpy()
    found = scores_of(problem, rise=1e-3)
    assert pearsonr(found.ravel(), truth.ravel())[0] > 0.99
    slope, _ = np.polyfit(found.ravel(), truth.ravel(), 1)
    assert 0.9 < slope < 1.25  # the first order in 1/n falls short by about a leverage


@pytest.fixture(scope="module")
def asked() -> tuple[Tensor, Tensor]:
    """Ten queries of the softmax regression."""
    inputs = 2 * torch.randn(10, 6, generator=torch.Generator().manual_seed(9)).double()
    return inputs, torch.arange(10) % 3


@pytest.fixture(scope="module")
def left_out(
    blobs: tuple[Tensor, Tensor], softmax_regression: nn.Linear, asked: tuple[Tensor, Tensor]
) -> np.ndarray:
    """The change of each query's loss without each example, by Newton steps from the optimum."""
    start = torch.cat([softmax_regression.weight, softmax_regression.bias[:, None]], dim=1).detach()
    rows, labels, questions = with_ones(blobs[0].double()), blobs[1], with_ones(asked[0])
    products = (rows[:, :, None] * rows[:, None, :]).flatten(start_dim=1)

    def retrained(kept: Tensor) -> Tensor:
        weights, inputs = start, rows[kept]
        answers = functional.one_hot(labels[kept], 3).double()
        for _ in range(3):
            chances = (inputs @ weights.T).softmax(dim=1)
            slope = (chances - answers).T @ inputs / len(kept) + 0.05 * weights
            middle = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None, :]
            hessian = middle.flatten(start_dim=1).T @ products[kept] / len(kept)
            hessian = hessian.view(3, 3, 7, 7).transpose(1, 2).reshape(21, 21)
            hessian = hessian + 0.05 * torch.eye(21).double()
            weights = weights - torch.linalg.solve(hessian, slope.ravel()).view(3, 7)
        assert slope.abs().max() < 1e-5  # and squared by the step after
        return functional.cross_entropy(questions @ weights.T, asked[1], reduction="none")

    everything = torch.arange(len(rows))
    base = retrained(everything)
    changes = [retrained(everything[everything != out]) - base for out in range(len(rows))]
    return torch.stack(changes, dim=1).numpy()


@pytest.mark.parametrize(("kind", "least"), [("kfac", 0.9), ("diagonal", 0.75)])
def test_softmax_regression_agrees_with_leave_one_out(
    kind: str,
    least: float,
    blobs: tuple[Tensor, Tensor],
    softmax_regression: nn.Linear,
    asked: tuple[Tensor, Tensor],
    left_out: np.ndarray,
) -> None:
    engine = ForwardINF(
        ClassificationTask(softmax_regression),
        train=Pool.from_arrays(blobs[0].double(), blobs[1]),
        recipe=Recipe(optimizer="sgd", weight_decay=0.05),
        preconditioner=kind,
        measure="loss",
        train_measure="loss",
        damping=0.0,
        rise=1e-4,
    )
    found = engine.influence(Pool.from_arrays(*asked)).values
    assert pearsonr(found.ravel(), left_out.ravel())[0] > least
