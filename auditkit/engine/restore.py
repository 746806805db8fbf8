"""The caller's model comes back as it was: the engine only ever moves a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from auditkit.errors import TaskError


def private_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the model on the device, in evaluation mode and without gradients.

    BatchNorm uses its stored statistics and dropout is off. Weights shared between layers stay
    shared, and `requires_grad` is as in the original.

    Raises:
        TaskError: the model cannot be copied.
    """
    try:
        copied = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise TaskError(
            f"The model ({type(model).__name__}) cannot be copied ({error}): detach tensors it "
            "keeps as plain attributes, so that copy.deepcopy works."
        ) from error
    copied.zero_grad(set_to_none=True)
    return copied.to(device).eval()


def blend(model: nn.Module, other: Mapping[str, Tensor], *, keep: float) -> None:
    """Set the trainable weights to `keep * own + (1 - keep) * other`, in place.

    Frozen weights and buffers stay the model's own.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.mul_(keep).add_(other[name].to(weight), alpha=1 - keep)


def fresh_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the model with newly initialized weights, by each layer's `reset_parameters`.

    Raises:
        TaskError: a layer with trainable weights of its own has no `reset_parameters`.
    """
    copied = private_copy(model, device)
    for name, layer in copied.named_modules():
        own = [weight for weight in layer.parameters(recurse=False) if weight.requires_grad]
        if not own:
            continue
        reset = getattr(layer, "reset_parameters", None)
        if reset is None:
            raise TaskError(
                f"The layer {name or type(model).__name__!r} ({type(layer).__name__}) has weights "
                "and no `reset_parameters`: give Subject(fresh=...), a function that returns a "
                "newly initialized model."
            )
        reset()
    return copied
