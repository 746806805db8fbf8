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
    correlation, slope = pearsonr(found.ravel(), truth.ravel())[0], np.polyfit(*both(found, truth))
    assert correlation > 0.99
    assert 0.9 < slope[0] < 1.25  # the first order in 1/n falls short by about a leverage


def both(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    return found.ravel(), truth.ravel(), 1


@pytest.mark.parametrize(("kind", "least"), [("kfac", 0.95), ("diagonal", 0.8)])
def test_softmax_regression_agrees_with_leave_one_out(
    kind: str, least: float, blobs: tuple[Tensor, Tensor], softmax_regression: nn.Linear
) -> None:
    inputs, labels = blobs[0].double(), blobs[1]
    asked = torch.randn(10, 6, generator=torch.Generator().manual_seed(9)).double() * 2
    classes = torch.arange(10) % 3
    engine = ForwardINF(
        ClassificationTask(softmax_regression),
        train=Pool.from_arrays(inputs, labels),
        recipe=Recipe(optimizer="sgd", weight_decay=0.05),
        preconditioner=kind,
        measure="loss",
        train_measure="loss",
        damping=0.0,
        rise=1e-4,
    )
    found = engine.influence(Pool.from_arrays(asked, classes)).values
    truth = leave_one_out(softmax_regression, inputs, labels, asked, classes)
    print(kind, pearsonr(found.ravel(), truth.ravel())[0])
    assert pearsonr(found.ravel(), truth.ravel())[0] > least


def leave_one_out(
    model: nn.Linear, inputs: Tensor, labels: Tensor, asked: Tensor, classes: Tensor
) -> np.ndarray:
    """The change of each query's loss without each example, by Newton steps from the optimum."""
    shape = (3, 7)
    start = torch.cat([model.weight, model.bias[:, None]], dim=1).detach().ravel()
    rows, questions = with_ones(inputs), with_ones(asked)

    def retrained(kept: Tensor) -> Tensor:
        def objective(weights: Tensor) -> Tensor:
            loss = functional.cross_entropy(rows[kept] @ weights.view(shape).T, labels[kept])
            return loss + 0.025 * weights.square().sum()

        weights = start
        for _ in range(3):
            slope = torch.func.grad(objective)(weights)
            weights = weights - torch.linalg.solve(torch.autograd.functional.hessian(objective, weights), slope)
        assert torch.func.grad(objective)(weights).abs().max() < 1e-9
        scores = questions @ weights.view(shape).T
        return functional.cross_entropy(scores, classes, reduction="none")

    everything = torch.arange(len(rows))
    base = retrained(everything)
    return torch.stack(
        [retrained(everything[everything != out]) - base for out in range(len(rows))], dim=1
    ).numpy()
