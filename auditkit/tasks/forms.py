"""The forms a batch may have, and how a model is called on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from auditkit.errors import TaskError
from auditkit.subject import TARGET_KEYS

if TYPE_CHECKING:
    from auditkit.subject import Batch


def split(batch: Batch, *, task: str) -> tuple[Batch, Tensor]:
    """A batch as (inputs, targets): the last entry of a tuple or list, or a key of a mapping.

    Raises:
        TaskError: a batch without targets.
    """
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return cast("Batch", inputs), _as_tensor(batch[-1], task)
    if isinstance(batch, Mapping):
        for key in TARGET_KEYS:
            if key in batch:
                rest = {name: value for name, value in batch.items() if name != key}
                return rest, _as_tensor(batch[key], task)
    raise TaskError(
        f"{task} got a {type(batch).__name__} batch and finds no targets in it: examples are "
        f"(inputs, target) pairs or mappings with one of the keys {', '.join(TARGET_KEYS)}; for "
        "any other form, write a subclass of auditkit.Task."
    )


def _as_tensor(targets: object, task: str) -> Tensor:
    if isinstance(targets, Tensor):
        return targets
    first = next(iter(targets), None) if isinstance(targets, Sequence) else targets
    raise TaskError(
        f"{task} got targets that are no numbers ({first!r} is the first): give labels as whole "
        "numbers from 0, and their names as class_names."
    )


def predict(model: nn.Module, inputs: Batch) -> Tensor:
    """What the model gives for the inputs, in the precision of its weights.

    A tuple of inputs is given as positional arguments, a mapping of several as keyword arguments
    and a mapping of one as that one. An output with `.logits` (Hugging Face) gives these, a tuple
    or list its first entry.
    """
    inputs = _in_precision_of(model, inputs)
    if isinstance(inputs, Mapping):
        result = model(**inputs) if len(inputs) > 1 else model(next(iter(inputs.values())))
    elif isinstance(inputs, tuple):
        result = model(*inputs)
    else:
        result = model(inputs)
    result = getattr(result, "logits", result)
    if isinstance(result, Mapping) and "logits" in result:
        result = result["logits"]
    result = result[0] if isinstance(result, tuple | list) else result
    if not isinstance(result, Tensor):
        raise TaskError(
            f"The model, a {type(model).__name__}, gives a {type(result).__name__}: expected a "
            "tensor, something with `.logits`, or a tuple that begins with one; for any other "
            "form, write a subclass of auditkit.Task."
        )
    return result


def _in_precision_of(model: nn.Module, inputs: Batch) -> Batch:
    weights = (weight for weight in model.parameters() if weight.is_floating_point())
    first = next(weights, None)
    return inputs if first is None else _cast(inputs, first.dtype)


def _cast(inputs: Batch, dtype: torch.dtype) -> Batch:
    if isinstance(inputs, Tensor):
        return inputs.to(dtype) if inputs.is_floating_point() else inputs
    if isinstance(inputs, Mapping):
        return {key: _cast(value, dtype) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_cast(value, dtype) for value in inputs)
    return inputs
