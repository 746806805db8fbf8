"""Weights from state dicts and from files, without running anything they hold."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from auditkit.errors import TaskError, UnreadableError

_EXTRA = "_extra_state"  # where torch keeps what a module adds of its own


def load_weights(model: nn.Module, checkpoint: Mapping[str, Tensor] | Path | str) -> None:
    """Set the model's weights and buffers to a checkpoint's.

    Raises:
        UnreadableError: a file that is missing, damaged, or would run code when loaded.
        TaskError: weights of other names or shapes than the model's.
    """
    if not isinstance(checkpoint, Mapping | Path | str):
        raise TaskError(
            f"A checkpoint is a {type(checkpoint).__name__}: expected a state dict, as "
            "model.state_dict() gives, or the path of a file that holds one."
        )
    state = checkpoint if isinstance(checkpoint, Mapping) else read_weights(Path(checkpoint))
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise TaskError(f"The checkpoint does not fit {type(model).__name__}: {first}") from error


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a file: `.safetensors`, or what `torch.save` wrote of one.

    Raises:
        UnreadableError: a file that is missing, damaged, holds something else, or would run code.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnreadableError(
            f"{path} is damaged or holds more than weights, and loading that could run code: save "
            "model.state_dict() alone, or use safetensors."
        ) from error
    except Exception as error:  # damaged files end in all kinds of errors in torch
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
        raise UnreadableError(f"The checkpoint {path} cannot be read ({reason}).") from error
    if not isinstance(state, Mapping):
        raise UnreadableError(
            f"{path} holds a {type(state).__name__}: expected a state dict, as model.state_dict() "
            "gives."
        )
    for name, value in state.items():
        if not isinstance(name, str) or not (isinstance(value, Tensor) or name.endswith(_EXTRA)):
            raise UnreadableError(
                f"{path} holds a {type(value).__name__} under {name!r}: expected weights by name; "
                "save model.state_dict() alone."
            )
    return state
