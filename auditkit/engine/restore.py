"""The caller's model comes back as it was: the engine only ever moves a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.errors import SettingError, TaskError
from auditkit.pool import Pool
from auditkit.subject import Task


def private_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the model on the device, in evaluation mode and without gradients.

    BatchNorm uses its stored statistics and dropout is off. Weights shared between layers stay
    shared, and `requires_grad` is as in the original.

    Raises:
        TaskError: the model cannot be copied.
    """
    try:
        with torch.inference_mode(mode=False):
            copied = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise TaskError(
            f"The model ({type(model).__name__}) cannot be copied ({error}): detach tensors it "
            "keeps as plain attributes, so that copy.deepcopy works."
        ) from error
    copied.zero_grad(set_to_none=True)
    return copied.to(device).eval()


def in_single(model: nn.Module, task: Task, train: Pool, device: torch.device) -> nn.Module:
    """The engine's copy in single precision, if it is kept in half and the task runs it so.

    A move of weights that raises a query's measure by a tenth is smaller than what bfloat16 can
    tell apart: scores would be rounding.
    """
    halves = (torch.bfloat16, torch.float16)
    if not any(weight.dtype in halves for weight in model.parameters()):
        return model
    single = copy.deepcopy(model).float()
    first = collate(train, np.zeros(1, dtype=np.int64), device=device)
    try:
        with torch.no_grad():
            task.loss(single, first)
    except RuntimeError:  # the task casts its inputs to half precision itself
        return model
    return single


def only_moving(model: nn.Module, patterns: str | None) -> nn.Module:
    """The model, or a copy of it of which only matching parameters move.

    Args:
        model: the engine's own copy.
        patterns: shell-style patterns of parameter names, separated by `|`; None for all that are
            trainable.

    Raises:
        SettingError: no trainable parameter has a name that matches.
    """
    if patterns is None:
        return model
    wanted = [pattern.strip() for pattern in patterns.split("|")]
    trainable = {name for name, weight in model.named_parameters() if weight.requires_grad}
    chosen = {name for name in trainable if any(fnmatchcase(name, own) for own in wanted)}
    if not chosen:
        raise SettingError(
            f"parameters is {patterns!r}: no trainable parameter has such a name; they are called "
            f"{', '.join(sorted(trainable)[:8])} and so on."
        )
    limited = copy.deepcopy(model)
    for name, weight in limited.named_parameters():
        weight.requires_grad_(name in chosen)
    return limited


def blend(model: nn.Module, other: Mapping[str, Tensor], *, keep: float) -> None:
    """Set the trainable weights to `keep * own + (1 - keep) * other`, in place.

    Frozen weights and buffers stay the model's own.

    Raises:
        TaskError: the other weights lack one of these, or have it in another shape.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                if name not in other or other[name].shape != weight.shape:
                    got = f"of shape {tuple(other[name].shape)}" if name in other else "missing"
                    raise TaskError(
                        f"The weight {name!r} has shape {tuple(weight.shape)} in the model and is "
                        f"{got} in the fresh or pretrained weights: give those of the same model."
                    )
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
        # torch's attention layers have theirs under the second name.
        reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
        if reset is None:
            raise TaskError(
                f"The layer {name or type(model).__name__!r} ({type(layer).__name__}) has weights "
                "and no `reset_parameters`: give Subject(fresh=...), a function that returns a "
                "newly initialized model."
            )
        reset()
    return copied
