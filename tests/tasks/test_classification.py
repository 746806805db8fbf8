from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from auditkit import ClassificationTask
from auditkit.errors import LabelError, TaskError

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]])
LABELS = torch.tensor([0, 2, 2])


class Given(nn.Module):
    """Gives the inputs as scores."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


TASK = ClassificationTask(Given())


def test_the_loss_is_minus_the_log_probability_of_the_label() -> None:
    expected = -SCORES.double().softmax(dim=1)[range(3), LABELS].log()
    assert torch.allclose(TASK.loss(TASK.model, (SCORES, LABELS)), expected)


def test_the_measure_is_minus_the_log_odds_of_the_label() -> None:
    chances = SCORES.double().softmax(dim=1)[range(3), LABELS]
    expected = (1 - chances).log() - chances.log()
    assert torch.allclose(TASK.measure(TASK.model, (SCORES.double(), LABELS)), expected)
    assert TASK.measure_name == "margin"


def test_the_measure_keeps_its_slope_where_the_loss_has_none() -> None:
    scores = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    batch = (scores, torch.tensor([0]))
    (of_loss,) = torch.autograd.grad(TASK.loss(TASK.model, batch).sum(), scores)
    (of_measure,) = torch.autograd.grad(TASK.measure(TASK.model, batch).sum(), scores)
    assert of_loss.abs().max() == 0
    assert of_measure[0, 0] == -1


def test_the_loss_of_a_memorized_example_is_precise() -> None:
    """In single precision it would be a multiple of 2^-23, if anything."""
    scores = torch.tensor([[18.0, 0.0]])
    found = TASK.loss(TASK.model, (scores, torch.tensor([0])))
    assert float(found) == pytest.approx(math.log1p(math.exp(-18)), rel=1e-12)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_is_the_log_odds_of_class_one(shape: tuple[int, ...]) -> None:
    odds, labels = torch.tensor([-2.0, 0.0, 1.0, 3.0]), torch.tensor([0, 1, 1, 0])
    expected = nn.functional.binary_cross_entropy_with_logits(
        odds.double(), labels.double(), reduction="none"
    )
    assert torch.allclose(TASK.loss(TASK.model, (odds.view(shape), labels)), expected)
    signs = 1 - 2 * labels
    assert torch.allclose(
        TASK.measure(TASK.model, (odds.view(shape), labels)), signs * odds.double()
    )


def test_loss_and_outputs_are_those_of_one_pass() -> None:
    calls = []

    class Counting(Given):
        def forward(self, inputs: Tensor) -> Tensor:
            calls.append(1)
            return inputs

    loss, outputs = TASK.loss_and_outputs(Counting(), (SCORES, LABELS))
    assert len(calls) == 1
    assert torch.equal(outputs, SCORES)
    assert torch.equal(loss, TASK.loss(TASK.model, (SCORES, LABELS)))


def test_a_loss_of_its_own_is_the_one_trained_on() -> None:
    class Smooth(ClassificationTask):
        def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
            scores, labels = self.outputs(model, batch)
            return nn.functional.cross_entropy(
                scores, labels, reduction="none", label_smoothing=0.2
            )

    task, model = Smooth(Given()), nn.Sequential(Given(), nn.Dropout(0.9)).train()
    loss, outputs = task.loss_and_outputs(model, (SCORES.requires_grad_(), LABELS))
    SCORES.requires_grad_(requires_grad=False)
    assert loss.requires_grad
    assert not outputs.requires_grad
    assert torch.equal(outputs, SCORES)  # without dropout
    assert model.training


@pytest.mark.parametrize("label", [-100, -1, 3, 255])
def test_labels_outside_the_scores_are_refused(label: int) -> None:
    with pytest.raises(LabelError, match=rf"A label is {label} and .* 3 classes.*0 to 2"):
        TASK.loss(TASK.model, (SCORES, torch.tensor([0, label, 1])))


@pytest.mark.parametrize("names", ["ab", "abcd"])
def test_more_or_fewer_names_than_classes_are_refused(names: str) -> None:
    task = ClassificationTask(Given(), class_names=list(names))
    with pytest.raises(LabelError, match=rf"has {len(names)} class names and .* 3 classes"):
        task.loss(task.model, (SCORES, LABELS))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float64])
def test_labels_of_every_whole_type_are_labels(dtype: torch.dtype) -> None:
    expected = TASK.loss(TASK.model, (SCORES, LABELS))
    assert torch.equal(TASK.loss(TASK.model, (SCORES, LABELS.to(dtype))), expected)


@pytest.mark.parametrize("label", [0.5, float("nan")])
def test_labels_that_are_no_whole_numbers_are_refused(label: float) -> None:
    with pytest.raises(LabelError, match="whole numbers"):
        TASK.loss(TASK.model, (SCORES, torch.tensor([0.0, label, 1.0])))


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (SCORES, LABELS[:2]),
        (SCORES, LABELS[:, None]),
        (SCORES[:, :, None], LABELS),
        (SCORES, torch.zeros(3, 3)),
    ],
)
def test_scores_and_labels_of_other_shapes_are_refused(scores: Tensor, labels: Tensor) -> None:
    with pytest.raises(TaskError, match=r"expected \[batch, class\] and \[batch\]"):
        TASK.loss(TASK.model, (scores, labels))
