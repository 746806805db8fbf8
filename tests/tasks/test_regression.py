from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auditkit import RegressionTask
from auditkit.errors import TaskError


class Given(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


TASK = RegressionTask(Given())


def test_the_loss_is_what_mean_squared_error_averages() -> None:
    predictions, targets = torch.randn(5, 3), torch.randn(5, 3)
    found = TASK.loss(TASK.model, (predictions, targets))
    assert found.shape == (5,)
    assert torch.allclose(found.mean(), nn.functional.mse_loss(predictions, targets))
    assert TASK.measure_name == "loss"
    assert torch.equal(TASK.measure(TASK.model, (predictions, targets)), found)


@pytest.mark.parametrize("predicted", [(4,), (4, 1)])
@pytest.mark.parametrize("target", [(4,), (4, 1)])
def test_one_value_may_have_an_axis_or_not(
    predicted: tuple[int, ...], target: tuple[int, ...]
) -> None:
    predictions, targets = torch.arange(4.0), torch.tensor([1.0, 1.0, 5.0, 0.0])
    found = TASK.loss(TASK.model, (predictions.view(predicted), targets.view(target)))
    assert found.tolist() == [1.0, 0.0, 9.0, 9.0]  # and not broadcast


def test_images_are_averaged_over_all_their_values() -> None:
    found = TASK.loss(TASK.model, (torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0)))
    assert found.tolist() == [4.0, 4.0]


def test_whole_targets_are_values_too() -> None:
    predictions, targets = TASK.outputs(TASK.model, (torch.zeros(3), torch.tensor([1, 2, 3])))
    assert targets.dtype == predictions.dtype == torch.float32


@pytest.mark.parametrize("shape", [(4,), (3, 2), (1, 3)])
def test_targets_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match=r"values of shape \(3, 1\) for targets"):
        TASK.loss(TASK.model, (torch.zeros(3), torch.zeros(shape)))
