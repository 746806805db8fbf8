"""Weights in the folder of a model: as safetensors, and nothing pickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import UnreadableError

if TYPE_CHECKING:
    from torch import nn

PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".bin", ".ckpt")
"""Extensions of files that are pickles or may hold one: loading them could run code."""


def check_safetensors(folder: Path, *, whole: Path | None = None) -> None:
    """Refuse the folder of a model that holds no weights as safetensors.

    Args:
        folder: that of the model.
        whole: that of what the model is a part of, for the message; None where it is no part.

    Raises:
        UnreadableError: it holds none; the message names a pickle that is there instead.
    """
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES)
    found = f"{pickled[0]}, a pickle that could run code" if pickled else "none"
    where = folder.name if whole in (None, folder) else f"{folder.name} of {whole.name}"
    raise UnreadableError(
        f"{where} holds no weights as safetensors (found {found}): save the model with "
        "save_pretrained(..., safe_serialization=True)."
    )


def check_finite(model: nn.Module, folder: Path) -> None:
    """Refuse weights that are no numbers: every loss under them is none either.

    Raises:
        UnreadableError: a weight is NaN or infinite; the message names it.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.detach().isfinite().all()):
            raise UnreadableError(
                f"The weight {name!r} of the model in {folder.name} is NaN or infinite: its "
                "training failed or its file is damaged; give weights from before that."
            )


def damaged() -> tuple[type[Exception], ...]:
    """What reading a damaged file of safetensors raises; nothing where safetensors is missing."""
    try:
        from safetensors import SafetensorError  # noqa: PLC0415 - an extra
    except ImportError:
        return ()
    return (SafetensorError,)
