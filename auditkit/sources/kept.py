"""Further weights of a model that comes from a local folder: its base, and kept checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auditkit.errors import SettingError, TaskError

Weights = Mapping[str, Tensor]


def fitting(weights: Weights, own: Weights, *, folder: Path, what: str) -> dict[str, Tensor]:
    """The weights by the model's names; tensors equal to the model's own are not held twice.

    Args:
        weights: what the folder holds.
        own: those of the trained model.
        folder: for the message.
        what: the model in the folder is of the trained one, for the message.

    Raises:
        TaskError: a weight of the model is missing or of another shape, or there are more.
    """
    name, advice = folder.resolve().name, "give the folder of the same model at another time"
    for key, mine in own.items():
        if key not in weights or weights[key].shape != mine.shape:
            raise TaskError(
                f"The {what} in {name} has no weight {key!r} of shape {list(mine.shape)}, as the "
                f"trained model has: {advice} of its training."
            )
    for key in weights:
        if key not in own:
            raise TaskError(
                f"The {what} in {name} has a weight {key!r}, which the trained model has not: "
                f"{advice} of its training."
            )
    return {
        key: mine if torch.equal(mine.cpu(), weights[key].cpu()) else weights[key]
        for key, mine in own.items()
    }


def checkpoints_of(
    folders: Sequence[Path], own: Weights, load: Callable[[Path], Weights]
) -> list[dict[str, Tensor]]:
    """The weights in each folder, which are others than the trained model's.

    Args:
        folders: of checkpoints.
        own: weights of the trained model.
        load: reads the weights in a folder.

    Raises:
        SettingError: a folder was given twice, or holds the trained model's own weights.
        TaskError: weights of another model.
    """
    found: dict[Path, dict[str, Tensor]] = {}
    for folder in folders:
        place = folder.resolve()
        if place in found:
            raise SettingError(f"--checkpoint {place.name} was given twice: leave one out.")
        found[place] = fitting(load(folder), own, folder=folder, what="checkpoint")
        if all(found[place][key] is mine for key, mine in own.items()):
            raise SettingError(
                f"--checkpoint {place.name} holds the same weights as --model: give the folder of "
                "another time of its training, or leave it out."
            )
    return list(found.values())


def checkpoints_in_words(folders: Sequence[Path]) -> list[str]:
    """That these checkpoints are asked as well, if there are any."""
    if not folders:
        return []
    names = ", ".join(folder.resolve().name for folder in folders)
    return [f"Checkpoints of its training are asked as well: {names}."]
