"""Weights in the folder of a model: as safetensors, and nothing pickled."""

from __future__ import annotations

from pathlib import Path

from auditkit.errors import UnreadableError

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
