"""The caller's model comes back as it was: the engine only ever moves a copy."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from auditkit.batches import collate
from auditkit.engine.passes import common_numbers, out_of_memory
from auditkit.errors import SettingError, TaskError
from auditkit.pool import Pool
from auditkit.subject import Task


def private_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the model on the device, in evaluation mode and without gradients.

    BatchNorm uses its stored statistics and dropout is off. Weights shared between layers stay
    shared, and `requires_grad` is as in the original.

    Raises:
        TaskError: the model cannot be copied, or is none of torch's.
    """
    if not isinstance(model, nn.Module):
        raise TaskError(
            f"The task's model is a {type(model).__name__}: expected a torch.nn.Module."
        )
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
    single, first = copy.deepcopy(model).float(), np.zeros(1, dtype=np.int64)
    try:
        with torch.no_grad(), common_numbers(train, first):
            task.loss(single, collate(train, first, device=device))
    except RuntimeError as error:  # the task casts its inputs to half precision itself
        if out_of_memory(error):
            raise
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

    Frozen weights stay as they are, and so do the statistics of normalization layers whose scales
    are frozen; other statistics begin anew. Low-rank adapters begin as no change at all, with
    random weights at their input and zeros at their output (Hu et al. 2021, LoRA, section 4.1).

    Raises:
        TaskError: a trainable weight of which no `reset_parameters` takes care, or one of an
            adapter of another make.
    """
    copied = private_copy(model, device)
    frozen = {name: w.clone() for name, w in copied.named_parameters() if not w.requires_grad}
    with torch.no_grad():
        for weight in copied.parameters():
            if weight.requires_grad and weight.is_floating_point():
                weight.fill_(torch.nan)  # what is still so afterwards was not reset
        for layer in copied.modules():
            if _is_trained(layer):
                # torch's attention layers have theirs under the second name.
                reset = getattr(
                    layer, "reset_parameters", getattr(layer, "_reset_parameters", None)
                )
                if reset is not None:
                    reset()
        begun = _begin_adapters(copied)
        named = dict(copied.named_parameters())
        for name, kept in frozen.items():
            named[name].copy_(kept)
    _check_fresh(copied, begun)
    return copied


def _begin_adapters(model: nn.Module) -> set[str]:
    """Set low-rank adapters to their beginning, in place; gives the names of their weights."""
    begun = set()
    for layer_name, layer in model.named_modules():
        reset = getattr(layer, "reset_lora_parameters", None)  # as peft's layers have it
        if reset is not None:
            for adapter in _adapters(layer):
                reset(adapter, True)
        for name, weight in layer.named_parameters():
            parts = set(name.split("."))
            if reset is not None and any(part.startswith("lora_") for part in parts):
                begun.add(_joined(layer_name, name))
            elif {"lora_A", "lora_B"} & parts:
                if "lora_B" in parts and weight.requires_grad:
                    weight.zero_()
                begun.add(_joined(layer_name, name))
    return begun


def _adapters(layer: nn.Module) -> set[str]:
    """The names of the adapters of one of peft's layers."""
    kinds = (getattr(layer, kind, {}) for kind in ("lora_A", "lora_embedding_A"))
    return {name for kind in kinds for name in kind}


def _joined(module: str, own: str) -> str:
    return f"{module}.{own}" if module else own


def _is_trained(layer: nn.Module) -> bool:
    """Whether a layer has trainable weights of its own, or statistics and no weights at all."""
    own = list(layer.parameters(recurse=False))
    if not own:
        return any(True for _ in layer.buffers(recurse=False))
    return any(weight.requires_grad for weight in own)


def _check_fresh(model: nn.Module, begun: AbstractSet[str]) -> None:
    """Refuse a copy of which some trainable weight was not initialized anew.

    Args:
        model: the copy.
        begun: weights of adapters that were.
    """
    for layer_name, layer in model.named_modules():
        for own, weight in layer.named_parameters(recurse=False):
            name = _joined(layer_name, own)
            if not weight.requires_grad:
                continue
            kind = f"({type(layer).__name__})"
            if bool(weight.isnan().any()):
                reason = f"{kind} has weights that no `reset_parameters` initializes"
            elif "lora_" in name and name not in begun:
                reason = f"{kind} is an adapter, which does not begin as a layer of its own does"
            else:
                continue
            raise TaskError(
                f"The layer {layer_name or type(model).__name__!r} {reason}: give "
                "Subject(fresh=...), a function that returns a newly initialized model."
            )
