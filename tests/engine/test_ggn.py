"""The Gauss-Newton solve by rows and by conjugate gradients, against the matrix written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, RegressionTask, Task
from auditkit.batches import collate, every
from auditkit.engine import preconditioner
from auditkit.engine.cg import conjugate_gradients
from auditkit.engine.curvature import as_it_is, estimate
from auditkit.engine.ggn import fits, gauss_newton
from auditkit.engine.outputs import heaviest_rows
from auditkit.engine.preconditioner import make_preconditioner
from auditkit.errors import SettingError
from auditkit.gradients import gradient
from tests.engine.test_models import LABELS, MODELS, noise

CPU = torch.device("cpu")


def problem(likelihood: str) -> tuple[Task, nn.Module, Pool, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs = noise(4)[:20].double()
    if likelihood == "categorical":
        return ClassificationTask(model), model, Pool.from_arrays(inputs, LABELS[:20]), inputs
    if likelihood == "none":
        return OnlyLoss(model), model, Pool.from_arrays(inputs, LABELS[:20]), inputs
    return RegressionTask(model), model, Pool.from_arrays(inputs, noise(3)[:20].double()), inputs


class OnlyLoss(Task):
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def written_out(likelihood: str, model: nn.Module, inputs: Tensor) -> Tensor:
    """mean_i J_i^T C_i J_i over the examples, parameters flattened in their order."""
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def outputs(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, (row[None],))[0]

    total = 0
    for place, row in enumerate(inputs):
        jacobian = torch.func.jacrev(outputs)(weights, row)
        flat = torch.cat([jacobian[name].flatten(start_dim=1) for name in weights], dim=1)
        chances = outputs(weights, row).softmax(dim=0)
        middle = chances.diag() - torch.outer(chances, chances)
        if likelihood == "gaussian":
            middle = torch.eye(3).double() * 2 / 3
        if likelihood == "none":
            slope = chances - nn.functional.one_hot(LABELS[place], 3)
            middle = torch.outer(slope, slope)
        total = total + flat.T @ middle @ flat / len(inputs)
    return total


def flat(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten(start_dim=1) for part in parts.values()], dim=1)


def slopes_of(model: nn.Module, queries: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(queries, *weight.shape, generator=generator).to(weight.dtype)
        for name, weight in model.named_parameters()
    }


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "none"])
@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_by_rows_it_is_the_dense_solve(likelihood: str, damping: float) -> None:
    task, model, pool, inputs = problem(likelihood)
    found = gauss_newton(
        task, model, pool, heaviest_rows(task, model, pool, device=CPU), device=CPU
    )
    assert found.share == pytest.approx(1)
    matrix, slopes = written_out(likelihood, model, inputs), slopes_of(model)
    ridge = found.ridge(damping=damping, weight_decay=1e-4)
    assert ridge == pytest.approx(damping * float(matrix.diagonal().mean()) + 1e-4)
    solved = found.preconditioner(damping=damping, weight_decay=1e-4)(slopes)
    shifted = matrix + ridge * torch.eye(len(matrix)).double()
    expected = torch.linalg.solve(shifted, flat(slopes).T).T
    assert torch.allclose(flat(solved), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian", "none"])
@pytest.mark.parametrize("start", ["kfac", "nothing"])
def test_by_conjugate_gradients_it_is_the_dense_solve(likelihood: str, start: str) -> None:
    task, model, pool, inputs = problem(likelihood)
    matrix, slopes = written_out(likelihood, model, inputs), slopes_of(model)
    ridge = 0.1 * float(matrix.diagonal().mean())
    near = estimate("kfac", task, model, pool, device=CPU).solver(ridge)
    solve = conjugate_gradients(
        task,
        model,
        pool,
        every(pool),
        ridge=ridge,
        start=near if start == "kfac" else as_it_is,
        steps=60,
        settled=1.1,
        device=CPU,
    )
    shifted = matrix + ridge * torch.eye(len(matrix)).double()
    expected = torch.linalg.solve(shifted, flat(slopes).T).T
    assert torch.allclose(
        flat(solve(slopes)), expected, rtol=1e-3, atol=1e-3 * expected.abs().max()
    )


def test_each_query_stops_on_its_own() -> None:
    task, model, pool, _ = problem("categorical")
    near = estimate("kfac", task, model, pool, device=CPU).solver(1e-3)
    solve = conjugate_gradients(
        task, model, pool, every(pool), ridge=1e-3, start=near, settled=0.99, device=CPU
    )
    slopes = slopes_of(model, 4)
    together = flat(solve(slopes))
    for row in range(4):
        one = flat(solve({name: part[row : row + 1] for name, part in slopes.items()}))
        assert torch.allclose(one[0], together[row], rtol=1e-6, atol=1e-9)


def by_backward_passes(task: Task, model: nn.Module, pool: Pool) -> Tensor:
    """The Gauss-Newton matrix of any classifier, a backward pass per output of each example."""
    total = 0
    for place in range(len(pool)):
        batch = collate(pool, np.array([place]), device=CPU)
        rows = [
            flat_of(gradient(task.outputs(model, batch)[0][0, output], model), model)
            for output in range(3)
        ]
        outputs = task.outputs(model, batch)[0][0].detach().double()
        jacobian, chances = torch.stack(rows), outputs.softmax(dim=0)
        middle = chances.diag() - torch.outer(chances, chances)
        total = total + jacobian.T @ middle @ jacobian / len(pool)
    return total


def flat_of(slopes: dict[str, Tensor], model: nn.Module) -> Tensor:
    """Gradients by name as one row, zero where there is none."""
    return torch.cat(
        [slopes.get(n, torch.zeros_like(w)).flatten().double() for n, w in model.named_parameters()]
    )


@pytest.mark.parametrize("name", ["recurrent", "transformer", "tied", "group norm"])
def test_both_ways_are_the_dense_solve_on_any_architecture(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model = make().eval()
    task, pool = ClassificationTask(model), Pool.from_arrays(inputs, LABELS)
    asked = [
        gradient(task.measure(model, collate(pool, np.array([place]), device=CPU)).sum(), model)
        for place in (0, 7, 20)
    ]
    slopes = {
        n: torch.stack([own.get(n, torch.zeros_like(w)) for own in asked])
        for n, w in model.named_parameters()
    }
    matrix = by_backward_passes(task, model, pool)
    ridge = 0.01 * float(matrix.trace())
    shifted = matrix + ridge * torch.eye(len(matrix)).double()
    expected = torch.linalg.solve(shifted, flat(slopes).double().T).T

    damping = 0.01 / preconditioner.TRACE_SHARE
    by_rows = make_preconditioner("ggn", task, model, pool, damping=damping, device=CPU)
    assert "rows hold 100%" in by_rows.reason
    found = flat(by_rows.solve(slopes)).double()
    assert (found - expected).norm() < 1e-3 * expected.norm()

    near = estimate("kfac", task, model, pool, device=CPU).solver(ridge)
    solve = conjugate_gradients(
        task, model, pool, every(pool), ridge=ridge, start=near, device=CPU, settled=2.0
    )
    by_steps = flat(solve(slopes)).double()  # twelve of them
    assert (by_steps - expected).norm() < 0.05 * expected.norm()


def test_the_heaviest_rows_hold_most_and_the_trace_stays() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 6)
    with torch.no_grad():
        model.weight.mul_(8)  # sure of most examples
    pool = Pool.from_arrays(noise(4), LABELS)
    task = ClassificationTask(model)
    whole = heaviest_rows(task, model, pool, device=CPU)
    part = heaviest_rows(task, model, pool, rows=30, device=CPU)
    assert len(part) == 30 < len(whole)
    assert 0.5 < part.share < whole.share <= 1
    traces = [float(rows.cotangents.square().sum()) for rows in (whole, part)]
    assert traces[0] == pytest.approx(traces[1], rel=1e-4)


def test_many_classes_are_looked_at_by_their_probability() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 100)
    with torch.no_grad():
        model.weight.mul_(20)
    pool = Pool.from_arrays(noise(4), LABELS)
    rows = heaviest_rows(ClassificationTask(model), model, pool, device=CPU)
    assert rows.share > 0.8
    assert rows.cotangents.shape == (len(rows), 100)


def test_auto_takes_rows_where_they_fit_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    task, model, pool, _ = problem("categorical")
    assert fits(task, model, pool, rows=100, device=CPU)
    engine = ForwardINF(task, train=pool)
    assert engine.preconditioner is None
    engine.influence(pool.subset([0]))
    assert engine.preconditioner.startswith("ggn: the Gauss-Newton matrix fits by its rows; ")
    assert "100% of the curvature" in engine.preconditioner
    monkeypatch.setattr("auditkit.engine.ggn._KEPT", 10)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    pool = Pool.from_arrays(noise(1, 4, 4), LABELS)
    engine = ForwardINF(ClassificationTask(model), train=pool)
    engine.influence(pool.subset([0]))
    assert engine.preconditioner == (
        "ekfac: the model is too large for the rows of its Gauss-Newton matrix."
    )


def test_an_operator_without_a_second_derivative_is_told() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(3, 4), nn.Linear(4, 3))
    tokens = torch.randint(0, 3, (48, 5), generator=torch.Generator().manual_seed(0))
    task, pool = ClassificationTask(model), Pool.from_arrays(tokens, LABELS)
    kfac = estimate("kfac", task, model, pool, device=CPU).solver(0.1)
    solve = conjugate_gradients(task, model, pool, every(pool), ridge=0.1, start=kfac, device=CPU)
    with pytest.raises(SettingError, match=r'second derivatives.*preconditioner="ekfac"'):
        solve(slopes_of(model))


@pytest.mark.parametrize("seed", range(4))
def test_without_damping_a_singular_matrix_is_solved_as_far_as_rounding_shows(seed: int) -> None:
    torch.manual_seed(seed)  # a constant added to all class scores changes nothing
    model, pool = nn.Linear(4, 3), Pool.from_arrays(noise(4), LABELS)
    engine = ForwardINF(ClassificationTask(model), train=pool, damping=0.0, preconditioner="ggn")
    values = engine.influence(pool.subset([0, 1])).values
    near = ForwardINF(ClassificationTask(model), train=pool, damping=1e-3, preconditioner="ggn")
    expected = near.influence(pool.subset([0, 1])).values
    assert abs(values - expected).max() < 0.2 * abs(expected).max()
