"""Weights in the folder of a model: as safetensors, whole and sound, and nothing pickled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from auditkit.errors import AuditkitError, UnreadableError

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
    raise UnreadableError(
        f"{_place(folder, whole)} holds no weights as safetensors (found {found}): save the model "
        "with save_pretrained(..., safe_serialization=True)."
    )


def check_undamaged(folder: Path, *, whole: Path | None = None) -> None:
    """Refuse the folder of a model with a file of safetensors that is empty, cut off or none.

    Args:
        folder: that of the model.
        whole: that of what the model is a part of, for the message; None where it is no part.

    Raises:
        UnreadableError: the first such file, with the reason.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                continue
        except (SafetensorError, OSError) as error:
            size = path.stat().st_size if path.is_file() else 0
            raise UnreadableError(
                f"{path.name} in {_place(folder, whole)} is damaged ({size:,} bytes; {error}): "
                "expected a whole file of safetensors; copy or save the model anew."
            ) from error


def settings_of(path: Path) -> Mapping[str, object]:
    """The entries of a configuration file of diffusers or transformers.

    Raises:
        UnreadableError: there is none, or it is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, ValueError, RecursionError) as error:
        reason = "is missing" if not path.exists() else f"cannot be read ({error})"
        raise UnreadableError(
            f"{path.name} of {path.parent.name} {reason}: expected what save_pretrained of "
            "diffusers writes."
        ) from error
    if not isinstance(found, dict):
        raise UnreadableError(f"{path.name} of {path.parent.name} is no configuration.")
    return found


def sound(model: nn.Module, missing: Iterable[str], place: Path, *, whole: Path) -> nn.Module:
    """A model in evaluation mode, if all its weights were there and are numbers.

    Raises:
        UnreadableError: they were not.
    """
    named = f"{place.name} of {whole.name}"
    check_whole(missing, named, advice="save the model anew")
    check_finite(model, named)
    return model.eval()


def check_whole(missing: Iterable[str], place: str, *, advice: str) -> None:
    """Refuse weights of which some would be random numbers.

    Args:
        missing: names of the weights that are not there.
        place: where the others come from, for the message.
        advice: what to do.

    Raises:
        UnreadableError: some are missing; the message names the first.
    """
    names = sorted(missing)
    if names:
        are = "one is missing," if len(names) == 1 else f"{len(names):,} are missing, first"
        raise UnreadableError(
            f"The weights in {place} are not whole: {are} {names[0]!r}; {advice}."
        )


def names_of(folder: Path) -> set[str]:
    """The names of the weights in a folder's files of safetensors."""
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update(file.keys())
    return found


def check_finite(model: nn.Module, place: str) -> None:
    """Refuse weights that are no numbers: every loss under them is none either.

    Args:
        model: with its weights.
        place: where they come from, for the message.

    Raises:
        UnreadableError: a weight is NaN or infinite; the message names it.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.detach().isfinite().all()):
            raise UnreadableError(
                f"The weights in {place} hold NaN or infinite numbers, in {name} first: expected a "
                "model that was trained to the end; take an earlier checkpoint, or train with a "
                "lower learning rate."
            )


@contextmanager
def loading(what: str, place: Path, *, expected: str) -> Iterator[None]:
    """Within, whatever a library raises of a folder's files is said in a sentence.

    Args:
        what: is loaded.
        place: its folder, of which messages have the name alone.
        expected: what should be there.

    Raises:
        UnreadableError: it cannot be loaded.
    """
    try:
        yield
    except AuditkitError:
        raise
    except Exception as error:  # what files hold can make libraries raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
        reason = reason.rstrip(".: ").replace(str(place), place.name)
        raise UnreadableError(f"{what} cannot be loaded: {reason}; expected {expected}.") from error


def loading_part(place: Path, whole: Path) -> AbstractContextManager[None]:
    """Within, a part of a pipeline is loaded; as `loading`."""
    return loading(
        f"The {place.name} of {whole.name}", place, expected="what save_pretrained writes"
    )


def _place(folder: Path, whole: Path | None) -> str:
    return folder.name if whole in (None, folder) else f"{folder.name} of {whole.name}"
