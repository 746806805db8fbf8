"""Further weights of a model that comes from a local folder: its base, and kept checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auditkit.errors import TaskError

Weights = Mapping[str, Tensor]


def fitting(weights: Weights, own: Weights, *, folder: Path, what: str) -> dict[str, Tensor]:
    """The weights by the model's names; tensors equal to the model's own are not held twice.

    Args:
        weights: what the folder holds.
        own: those of the trained model.
        folder: for the message.
        what: the model in the folder is of the trained one, for the message.

    Raises:
        TaskError: a weight of the model is missing, or of another shape.
    """
    other = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    if other:
        raise TaskError(
            f"The {what} in {folder.resolve().name} has no weight {other[0]!r} of shape "
            f"{list(own[other[0]].shape)}, as the trained model has: give the folder of the same "
            "model at another time of its training."
        )
    return {
        name: mine if torch.equal(mine.cpu(), weights[name].cpu()) else weights[name]
        for name, mine in own.items()
    }


def kept_in_words(folders: Sequence[Path]) -> list[str]:
    """That scores are averaged over these checkpoints as well, if there are any."""
    if not folders:
        return []
    names = ", ".join(folder.resolve().name for folder in folders)
    return [f"Checkpoints of its training are asked as well: {names}."]
