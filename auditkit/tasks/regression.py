"""Regression: real-valued predictions and squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from auditkit.errors import TaskError
from auditkit.subject import Task
from auditkit.tasks.forms import predict, split

if TYPE_CHECKING:
    from auditkit.subject import Batch


class RegressionTask(Task):
    """A model that gives real values, trained with squared error.

    Batches are (inputs, targets) pairs, or mappings with the targets under `target` or `y`.
    """

    likelihood = "gaussian"

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Predictions and targets, both float [batch, k].

        Raises:
            TaskError: predictions and targets of different shapes.
        """
        inputs, targets = split(batch, task=type(self).__name__)
        predictions = predict(model, inputs)
        count = len(predictions)
        predictions, targets = predictions.reshape(count, -1), targets.reshape(len(targets), -1)
        if predictions.shape != targets.shape:
            raise TaskError(
                f"The model gives values of shape {tuple(predictions.shape)} for targets of shape "
                f"{tuple(targets.shape)}: expected the same shape."
            )
        return predictions, targets.to(predictions.dtype)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Squared error, averaged over the k outputs, [batch]: what `torch.nn.MSELoss` averages."""
        predictions, targets = self.outputs(model, batch)
        return (predictions - targets).square().mean(dim=1)
