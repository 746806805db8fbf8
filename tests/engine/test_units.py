"""Scores do not depend on units of targets, precision of weights, or what else is in a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Recipe, RegressionTask


def regression(scale: float) -> tuple[RegressionTask, Pool, Pool, np.ndarray]:  # type: ignore[type-arg]
    """A least-squares fit, queries, and the exact leave-one-out changes of their loss."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    noise = 0.5 * torch.randn(60, generator=generator, dtype=torch.float64)
    targets = (inputs @ torch.tensor([1.0, -2.0, 0.5, 0.0]).double() + noise) * scale
    asked = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    wanted = asked.sum(dim=1) * scale
    fitted = torch.linalg.lstsq(inputs, targets[:, None]).solution[:, 0]
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(fitted.float()[None])
    base = (asked @ fitted - wanted).square()
    changes = []
    for place in range(60):
        kept = torch.arange(60) != place
        own = torch.linalg.lstsq(inputs[kept], targets[kept][:, None]).solution[:, 0]
        changes.append((asked @ own - wanted).square() - base)
    train = Pool.from_arrays(inputs.float(), targets.float()[:, None])
    queries = Pool.from_arrays(asked.float(), wanted.float()[:, None])
    return RegressionTask(model), train, queries, torch.stack(changes, dim=1).numpy()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e5])
def test_finite_scores_match_leaving_out_in_any_unit_of_the_targets(scale: float) -> None:
    task, train, queries, changes = regression(scale)
    engine = ForwardINF(task, train=train, preconditioner="ggn", damping=1e-3)
    for found, expected in zip(engine.influence(queries).values, changes, strict=True):
        assert np.corrcoef(found, expected)[0, 1] > 0.99


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_a_fold_is_unlearned_by_so_much_of_the_mean_loss(scale: float) -> None:
    task, train, _, _ = regression(scale)
    still = Recipe(optimizer="sgd", learning_rate=1e-30)
    held = ForwardINF(task, train=train, recipe=still).holdout(
        folds=3, epochs=1, keep=1.0, unlearn=0.5
    )
    assert held.outside.mean() == pytest.approx(1.5 * held.inside.mean(), rel=0.03)


def trained(blobs: tuple[Tensor, Tensor]) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(blobs[0]), blobs[1]).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("preconditioner", ["auto", "ekfac", "none"])
def test_half_precision_gives_the_scores_of_the_same_weights_in_single(
    blobs: tuple[Tensor, Tensor], preconditioner: str
) -> None:
    half = trained(blobs).bfloat16()
    single = trained(blobs)
    single.load_state_dict({name: part.float() for name, part in half.state_dict().items()})
    pool = Pool.from_arrays(*blobs)
    found, expected = (
        ForwardINF(ClassificationTask(model), train=pool, preconditioner=preconditioner)  # type: ignore[arg-type]
        .influence(pool.subset(np.arange(6)))
        .values
        for model in (half, single)
    )
    assert next(half.parameters()).dtype == torch.bfloat16
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_task_that_computes_in_half_precision_is_taken_as_it_is(
    blobs: tuple[Tensor, Tensor],
) -> None:
    class Casting(ClassificationTask):
        def outputs(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return model(batch[0].bfloat16()), batch[1]

    pool = Pool.from_arrays(*blobs)
    engine = ForwardINF(Casting(trained(blobs).bfloat16()), train=pool, rise=3.0)
    assert np.isfinite(engine.influence(pool.subset([0])).values).all()


class Noisy(nn.Module):
    """Noise that is left on."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.body(inputs).tanh()
        hidden = hidden * (1 + torch.randn(hidden.shape))
        scores: Tensor = self.head(hidden)
        return scores


def test_numbers_that_are_drawn_are_each_example_s_own(blobs: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    task, pool = ClassificationTask(Noisy()), Pool.from_arrays(*blobs)
    some, asked = np.array([3, 50, 7, 111]), pool.subset([2, 90])
    told: list[str] = []

    def scores(scored: Pool | None, response: str, size: int) -> np.ndarray:  # type: ignore[type-arg]
        return ForwardINF(
            task, train=pool, preconditioner="none", response=response,  # type: ignore[arg-type]
            batch_size=size, warn=told.append,
        ).influence(asked, scored).values  # fmt: skip

    whole = scores(None, "finite", 120)
    np.testing.assert_allclose(whole, scores(None, "finite", 7), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        whole[:, some], scores(pool.subset(some), "finite", 120), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(
        scores(None, "products", 120), scores(None, "tangent", 120), rtol=1e-3, atol=1e-7
    )
    assert any("one at a time" in sentence for sentence in told)
