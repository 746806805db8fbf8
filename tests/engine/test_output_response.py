"""How far outputs move, against the moved model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, Task
from auditkit.errors import SettingError


@pytest.fixture
def pool(blobs: tuple[Tensor, Tensor]) -> Pool:
    return Pool.from_arrays(*blobs)


def test_scores_are_mean_squared_changes_of_the_outputs(classifier: nn.Module, pool: Pool) -> None:
    task = ClassificationTask(classifier)
    engine = ForwardINF(task, train=pool, preconditioner="none", train_measure="outputs", rise=1.0)
    queries = pool.subset([3, 40])
    scores = engine.influence(queries)
    assert scores.measure == "outputs"
    inputs = torch.stack([pool[place][0] for place in range(len(pool))])
    for row, place in enumerate([3, 40]):
        named = dict(classifier.named_parameters())
        value = task.measure(classifier, (inputs[place : place + 1], pool[place][1][None])).sum()
        slopes = torch.autograd.grad(value, list(named.values()))
        step = float(scores.step[row])
        moved = {
            name: weight + step * slope
            for (name, weight), slope in zip(named.items(), slopes, strict=True)
        }
        change = torch.func.functional_call(classifier, moved, (inputs,)) - classifier(inputs)
        expected = change.square().mean(dim=1).detach().numpy() / step**2 / len(pool)
        np.testing.assert_allclose(scores.values[row], expected, rtol=1e-3)
    assert (scores.values >= 0).all()


def test_batches_change_nothing(classifier: nn.Module, pool: Pool) -> None:
    task = ClassificationTask(classifier)
    found = [
        ForwardINF(
            task, train=pool, preconditioner="none", train_measure="outputs", batch_size=size
        ).influence(pool.subset([1]))
        for size in (7, 120)
    ]
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=1e-4)


class WithoutOutputs(Task):
    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[override]
        return model(batch[0]).square().sum(dim=1)


def test_what_does_not_fit_is_refused(classifier: nn.Module, pool: Pool) -> None:
    task = ClassificationTask(classifier)
    for settings in ({"response": "tangent"}, {"relative": True}):
        with pytest.raises(SettingError, match="train_measure is 'outputs'"):
            ForwardINF(task, train=pool, train_measure="outputs", **settings)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="defines `outputs`"):
        ForwardINF(WithoutOutputs(classifier), train=pool, train_measure="outputs")
