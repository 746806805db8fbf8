"""What the trained model says of examples as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask, ForwardINF, Pool, RegressionTask, Task
from auditkit.errors import TaskError

DRAWN = np.random.default_rng(0)
INPUTS = DRAWN.normal(size=(23, 5)).astype(np.float32)
LABELS = DRAWN.integers(0, 3, 23)


class Sentences(nn.Module):
    """A model whose last linear layer sees a sequence, and which has one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head, self.unused = nn.Linear(1, 4), nn.Linear(4, 3), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.tanh(self.embed(inputs[..., None])))
        return scores.mean(dim=1)


def engine(model: nn.Module, *targets: np.ndarray, task: type[Task]) -> ForwardINF:  # type: ignore[type-arg]
    torch.manual_seed(0)
    return ForwardINF(task(model), train=Pool.from_arrays(INPUTS, *targets), batch_size=7)


def test_classes_come_with_scores_labels_and_losses() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 3)).train()
    found = engine(model, LABELS, task=ClassificationTask).evaluate()
    assert model.training
    with torch.no_grad():
        scores = model.eval()(torch.from_numpy(INPUTS))
    assert found.outputs is not None
    np.testing.assert_allclose(found.outputs, scores.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.targets, LABELS)
    expected = nn.functional.cross_entropy(scores, torch.from_numpy(LABELS), reduction="none")
    np.testing.assert_allclose(found.loss, expected.numpy(), rtol=1e-5)


def test_real_outputs_come_with_their_targets() -> None:
    targets = DRAWN.normal(size=(23, 2)).astype(np.float32)
    model = nn.Linear(5, 2)
    found = engine(model, targets, task=RegressionTask).evaluate()
    with torch.no_grad():
        outputs = model(torch.from_numpy(INPUTS)).numpy()
    assert found.outputs is not None
    np.testing.assert_allclose(found.outputs, outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.targets, targets)


def test_a_task_without_outputs_has_its_losses() -> None:
    class Bare(Task):
        def loss(self, model: nn.Module, batch: Tensor) -> Tensor:  # type: ignore[override]
            return model(batch).square().sum(dim=1)  # type: ignore[no-any-return]

    found = engine(nn.Linear(5, 2), task=Bare).evaluate()
    assert found.outputs is None
    assert found.targets is None
    assert found.loss.shape == (23,)


def test_features_go_into_the_linear_layer_that_runs_last() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    found = engine(model, LABELS, task=ClassificationTask).features()
    with torch.no_grad():
        expected = model[:2](torch.from_numpy(INPUTS)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_features_of_a_sequence_are_its_mean() -> None:
    model = Sentences()
    found = engine(model, LABELS, task=ClassificationTask).features(
        Pool.from_arrays(INPUTS[:4], LABELS[:4])
    )
    with torch.no_grad():
        hidden = torch.tanh(model.embed(torch.from_numpy(INPUTS[:4])[..., None]))
    np.testing.assert_allclose(found, hidden.mean(dim=1).numpy(), rtol=1e-5, atol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_features_stay_with_their_examples_where_the_model_sorts_its_batch() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            order = inputs[:, 0].argsort()
            return self.layer(input=inputs[order])[order.argsort()]

    model = Sorted()
    found = engine(model, LABELS, task=ClassificationTask).features()
    np.testing.assert_allclose(found, INPUTS, rtol=1e-6)
    assert not model.layer._forward_pre_hooks


def test_a_model_without_a_linear_layer_has_no_features() -> None:
    model = nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 5), nn.Flatten())
    with pytest.raises(TaskError, match=r"runs no torch\.nn\.Linear"):
        engine(model, LABELS, task=ClassificationTask).features()


def test_another_setting_shares_the_curvature_and_gives_what_a_new_engine_gives() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    first = engine(model, LABELS, task=ClassificationTask)
    asked = first.train.subset([1, 5])
    plain = first.influence(asked)
    other = first.configured(train_measure="margin", relative=True, response="first-order")
    whole = ForwardINF(
        first.task, train=first.train, train_measure="margin", relative=True,
        response="first-order", batch_size=7,
    )  # fmt: skip
    np.testing.assert_array_equal(other.influence(asked).values, whole.influence(asked).values)
    np.testing.assert_array_equal(first.influence(asked).values, plain.values)
    assert other.preconditioner == first.preconditioner
