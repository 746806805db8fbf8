from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, Pool, RegressionTask, Task
from auditkit.engine.curvature import Curvature, Estimated, Kind, estimate
from auditkit.engine.preconditioner import make_preconditioner
from auditkit.errors import TaskError
from auditkit.gradients import gradient

CPU = torch.device("cpu")


def exact_diagonal(model: nn.Module, inputs: Tensor, curvature: object) -> dict[str, Tensor]:
    """The diagonal of mean_i J_i^T C_i J_i, with J_i the outputs' Jacobian and C_i(outputs)."""
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def outputs(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (row[None],))[0]

    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for row in inputs:
        middle = curvature(outputs(weights, row))
        for name, jacobian in torch.func.jacrev(outputs)(weights, row).items():
            flat = jacobian.flatten(start_dim=1)
            total[name] += torch.einsum("ap,ab,bp->p", flat, middle, flat).view_as(total[name])
    return {name: part / len(inputs) for name, part in total.items()}


def of_softmax(scores: Tensor) -> Tensor:
    probabilities = scores.softmax(dim=0)
    return probabilities.diag() - torch.outer(probabilities, probabilities)


def of_squared_error(values: Tensor) -> Tensor:
    return torch.eye(len(values), dtype=values.dtype) * 2 / len(values)


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
def test_the_diagonal_is_that_of_the_gauss_newton_matrix(likelihood: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    inputs = torch.randn(40, 3)
    if likelihood == "categorical":
        task: Task = ClassificationTask(model)
        pool, middle = Pool.from_arrays(inputs, torch.arange(40) % 3), of_softmax
    else:
        task, pool, middle = (
            RegressionTask(model),
            Pool.from_arrays(inputs, torch.randn(40, 3)),
            of_squared_error,
        )
    expected = exact_diagonal(model, inputs, middle)

    found = estimate("diagonal", task, model, pool, device=CPU).diagonal
    for name, part in expected.items():
        assert torch.allclose(found[name], part, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac"])
def test_the_order_of_the_pool_changes_nothing(classifier: nn.Module, kind: Estimated) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(300, 6, generator=generator), torch.arange(300) % 3
    task, order = ClassificationTask(classifier), torch.randperm(300, generator=generator)
    slopes = {
        name: torch.randn(2, *weight.shape, generator=generator)
        for name, weight in classifier.named_parameters()
    }
    one, other = (
        estimate(kind, task, classifier, pool, device=CPU).solver(1e-3)(slopes)
        for pool in (
            Pool.from_arrays(inputs, labels),
            Pool.from_arrays(inputs[order], labels[order]),
        )
    )
    for name, part in one.items():
        assert torch.allclose(part, other[name], rtol=1e-2, atol=1e-3 * float(part.abs().max()))


def test_a_layer_that_is_never_run_moves_by_the_ridge_alone() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.run, self.idle = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            scores: Tensor = self.run(inputs)
            return scores

    model = Idle()
    pool = Pool.from_arrays(torch.randn(8, 6), torch.arange(8) % 3)
    slopes = {name: torch.ones(1, *weight.shape) for name, weight in model.named_parameters()}
    for kind in ("kfac", "ekfac"):
        solve = estimate(kind, ClassificationTask(model), model, pool, device=CPU).solver(0.5)
        assert torch.equal(solve(slopes)["idle.weight"], slopes["idle.weight"] / 0.5)


def test_layers_without_factors_are_solved_by_the_diagonal() -> None:
    curvature = Curvature({"weight": torch.tensor([1.0, 3.0])})
    solve = curvature.preconditioner(damping=0.5, weight_decay=0.25)  # ridge: .5 * mean + .25
    assert torch.allclose(
        solve({"weight": torch.tensor([1.0, 1.0])})["weight"],
        1 / torch.tensor([1.0 + 1.25, 3.0 + 1.25]),
    )


def test_the_first_adam_step_is_nearly_the_sign(classifier: nn.Module) -> None:
    pool = Pool.from_arrays(torch.zeros(2, 6), torch.tensor([0, 1]))
    task = ClassificationTask(classifier)
    move = make_preconditioner("adam", task, classifier, pool, device=CPU).solve
    found = move({"weight": torch.tensor([2.0, -1e-3, 0.0])})["weight"]
    assert torch.allclose(found, torch.tensor([1.0, -1.0, 0.0]), atol=1e-4)


def test_none_moves_along_the_gradient(classifier: nn.Module) -> None:
    pool = Pool.from_arrays(torch.zeros(2, 6), torch.tensor([0, 1]))
    task = ClassificationTask(classifier)
    move = make_preconditioner("none", task, classifier, pool, device=CPU).solve
    slope = {"weight": torch.tensor([2.0, -1.0])}
    assert torch.equal(move(slope)["weight"], slope["weight"])


class OnlyLoss(Task):
    """A task that gives nothing but its loss."""

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return (model(inputs)[:, 0] - targets).square()


def test_a_task_without_outputs_has_the_empirical_fisher_matrix() -> None:
    torch.manual_seed(0)
    model, inputs, targets = nn.Linear(2, 1), torch.randn(64, 2), torch.randn(64)
    task = OnlyLoss(model)
    slopes = torch.stack(
        [
            gradient(task.loss(model, (inputs[i : i + 1], targets[i : i + 1])).sum(), model)[
                "weight"
            ]
            for i in range(64)
        ]
    )
    expected = slopes.square().mean(dim=0)
    pool = Pool.from_arrays(inputs, targets)
    found = estimate("diagonal", task, model, pool, device=CPU).diagonal["weight"]
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "ggn", "auto"])
def test_a_model_without_trainable_weights_is_refused(kind: Kind) -> None:
    model = nn.Linear(6, 3).requires_grad_(requires_grad=False)
    pool = Pool.from_arrays(torch.zeros(4, 6), torch.arange(4) % 3)
    with pytest.raises(TaskError, match="keep its weights trainable"):
        make_preconditioner(kind, ClassificationTask(model), model, pool, damping=0.1, device=CPU)


def test_frozen_weights_have_no_curvature() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    model[0].requires_grad_(requires_grad=False)
    pool = Pool.from_arrays(torch.randn(8, 6), torch.arange(8) % 3)
    found = estimate("kfac", ClassificationTask(model), model, pool, device=CPU)
    assert not found.diagonal
    assert set(found.factors) == {"1"}


def test_a_larger_pool_is_sampled_and_the_sample_has_the_scale_of_the_mean() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Linear(4, 1), torch.randn(600, 4)
    pool = Pool.from_arrays(inputs, torch.zeros(600))
    whole, part = (
        estimate("kfac", RegressionTask(model), model, pool, sample=size, device=CPU)
        for size in (600, 200)
    )
    assert not torch.equal(whole.factors[""].moments, part.factors[""].moments)
    ratio = part.factors[""].input_values.sum() / whole.factors[""].input_values.sum()
    assert 0.8 < float(ratio) < 1.25


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "ekfac", "ggn", "auto"])
def test_outputs_that_are_no_table_are_refused_in_a_sentence(kind: Kind) -> None:
    class PerToken(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            scores, labels = super().outputs(model, batch)
            return scores[:, None], labels

    model = nn.Linear(6, 3)
    pool = Pool.from_arrays(torch.zeros(4, 6), torch.arange(4) % 3)
    with pytest.raises(TaskError, match=r"PerToken.outputs gives .* of shape \(.*, 1, 3\)"):
        make_preconditioner(kind, PerToken(model), model, pool, device=CPU)
