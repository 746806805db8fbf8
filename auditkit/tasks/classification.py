"""Classification: class scores, cross-entropy, and the margin a query asks about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from auditkit.errors import LabelError, TaskError
from auditkit.subject import Task
from auditkit.tasks.forms import predict, split

if TYPE_CHECKING:
    from auditkit.subject import Batch


class ClassificationTask(Task):
    """A model that gives class scores, trained with cross-entropy on integer labels.

    Batches are (inputs, labels) pairs, or mappings with the labels under `label` or `labels`. One
    score per example, [batch] or [batch, 1], is the log-odds of class 1 of two.
    """

    measure_name = "margin"
    likelihood = "categorical"

    def outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Class scores, float [batch, class], and labels, int64 [batch].

        Raises:
            TaskError: scores or labels of another shape.
            LabelError: a label that is no class of the model, or more or fewer names than classes.
        """
        inputs, labels = split(batch, task=type(self).__name__)
        scores = predict(model, inputs)
        if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
            odds = scores.reshape(-1)
            scores = torch.stack([torch.zeros_like(odds), odds], dim=1)
        if scores.ndim != 2 or labels.shape != scores.shape[:1]:
            raise TaskError(
                f"The model gives scores of shape {tuple(scores.shape)} for labels of shape "
                f"{tuple(labels.shape)}: expected [batch, class] and [batch]."
            )
        self._check_names(classes=scores.shape[1])
        if torch._C._functorch.maybe_current_level() is None:  # values are hidden in torch.func
            self._check_whole(labels)
            self._check_range(labels.long(), classes=scores.shape[1])
        return scores, labels.long()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy per example, in nats, [batch]."""
        scores, labels = self.outputs(model, batch)
        return functional.cross_entropy(_precise(scores), labels, reduction="none")

    def loss_and_outputs(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy and class scores of one pass; of two where a subclass has its own loss."""
        if type(self).loss is not ClassificationTask.loss:
            return super().loss_and_outputs(model, batch)
        scores, labels = self.outputs(model, batch)
        losses = functional.cross_entropy(_precise(scores), labels, reduction="none")
        return losses, scores.detach()

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """The negative margin: minus the log-odds of the label, in nats, [batch].

        `log(1 - p) - log p` for the label's probability p (Park et al. 2023, TRAK, section 3): it
        keeps its slope where the loss of a well fitted example has none left.
        """
        scores, labels = self.outputs(model, batch)
        scores = _precise(scores)
        own = scores.gather(1, labels[:, None])
        others = scores.scatter(1, labels[:, None], float("-inf"))
        return others.logsumexp(dim=1) - own[:, 0]

    def _check_names(self, *, classes: int) -> None:
        if self.class_names is not None and len(self.class_names) != classes:
            raise LabelError(
                f"The task has {len(self.class_names)} class names and the model gives scores for "
                f"{classes} classes: give a name per class, in the order of the scores."
            )

    @staticmethod
    def _check_whole(labels: Tensor) -> None:
        if labels.is_floating_point() and not bool((labels == labels.round()).all()):
            wrong = float(labels[labels != labels.round()][0])
            raise LabelError(f"A label is {wrong}: labels must be whole numbers, one per class.")

    @staticmethod
    def _check_range(labels: Tensor, *, classes: int) -> None:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise LabelError(
                f"A label is {wrong} and the model gives scores for {classes} classes: labels must "
                f"be 0 to {classes - 1}, in the order of the scores."
            )


def _precise(scores: Tensor) -> Tensor:
    """The scores in double precision: the loss of a memorized example is far smaller than they."""
    return scores if scores.device.type == "mps" else scores.double()
