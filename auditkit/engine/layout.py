"""How weights lie in memory: convolutions run faster on the CPU with their channels last."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.passes import common_numbers, out_of_memory
from auditkit.gradients import differentiable, gradient
from auditkit.pool import Pool
from auditkit.subject import Task

if TYPE_CHECKING:
    from auditkit.subject import Batch


def channels_last(model: nn.Module, task: Task, train: Pool, device: torch.device) -> nn.Module:
    """The engine's copy with the weights of its convolutions laid out channels last, if that works.

    Names, shapes and values stay; what a convolution gives is laid out as its weights are, which on
    the CPU makes convolutions and pooling up to twice as fast. It does not work in a model that
    takes a `view` where that needs the usual layout, and is not done on other devices.

    Args:
        model: the engine's own copy, in evaluation mode.
        task: its loss, and the gradient of it, are tried on the pool's first example.
        train: the train pool.
        device: where the model is.
    """
    if device.type != "cpu" or not any(isinstance(part, nn.Conv2d) for part in model.modules()):
        return model
    first = np.zeros(1, dtype=np.int64)
    try:
        laid = _laid(model)
        with differentiable(), common_numbers(train, first):
            batch = collate(train, first, device=device)
        with differentiable(), common_numbers(train, first):
            before = _tried(model, task, batch)
        with differentiable(), common_numbers(train, first):
            after = _tried(laid, task, batch)
        works = torch.allclose(after, before, rtol=1e-2, atol=1e-4, equal_nan=True)
    except Exception as error:  # what fails without it too is said where it is asked
        if out_of_memory(error):
            raise
        works = False
    return laid if works else model


def _laid(model: nn.Module) -> nn.Module:
    """A copy whose convolutions have their weights laid out channels last."""
    laid = copy.deepcopy(model)
    for part in laid.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid


def _tried(model: nn.Module, task: Task, batch: Batch) -> Tensor:
    """The loss of a batch, [batch], once its gradient could be taken."""
    loss = task.loss(model, batch)
    gradient(loss.sum(), model)
    return loss.detach()
