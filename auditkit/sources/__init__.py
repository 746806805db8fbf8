"""From a reference on the command line to a `Subject`.

A reference is the place of a Python object (`package.module:name`, `path/file.py:name`), a table
(`.csv`, `.tsv`, `.parquet`, `.ndjson`, `.jsonl`), a folder of images in class folders, or, with
`--embeddings`, a file of embeddings. With `--no-model`, folders may be flat, labels are optional,
and text files (`.txt`) hold one document a line. Readers are imported where they are needed: this
module, which the command line imports, imports neither torch nor skrub.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import (
    SettingError,
    SubjectReferenceError,
    UnreadableError,
    UsageError,
    did_you_mean,
)
from auditkit.progress import SILENT, Progress
from auditkit.sources.folders import IMAGE_SUFFIXES
from auditkit.sources.frames import TABLE_SUFFIXES
from auditkit.sources.objects import is_object_reference, load_object
from auditkit.sources.weights import PICKLES

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions
    from auditkit.subject import Subject

__all__ = ["load"]

_ARRAY_SUFFIXES = (".npy", ".npz")

_CALLED = {
    "evaluation": "A second path",
    "model_folder": "--model",
    "checkpoints": "--checkpoint",
    "generated": "--query",
    "condition": "--class",
}
"""Options that are called otherwise on the command line."""

_IN_CODE = {
    "label": "train",
    "id": "train",
    "text": "train",
    "drop": "train",
    "embeddings": "train",
    "trusted": "queries",
    "evaluation": "queries",
    "model_folder": "task",
    "base": "pretrained",
    "checkpoints": "checkpoints",
    "generated": "queries",
    "condition": "queries",
    "prompt": "queries",
}
"""What of a `Subject` says what an option says of files."""

_FOLDER_REASON = (
    "the subject is a folder of images, whose labels are the names of its class folders and whose "
    "ids are paths: leave the option out"
)


def load(reference: str, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """The subject a reference leads to.

    Data that comes without a model is given a small one, trained on it (`options.seed`,
    `options.device`); the subject's description says what was used and how well it does.

    Raises:
        UsageError: the reference leads nowhere, or an option does not fit it.
        DataError: the data cannot be read or audited; the message says which part.
    """
    if is_object_reference(reference):
        return _object(reference, options)
    if options.trusted is not None and options.evaluation is not None:
        raise SettingError(
            f"Both a trusted set ({options.trusted}) and an evaluation set ({options.evaluation}) "
            "were given: a subject has one set of queries, so leave one out."
        )
    path = existing(reference)
    options = replace(
        options, trusted=_second(options.trusted), evaluation=_second(options.evaluation)
    )
    if not options.model:
        from auditkit.sources.plain import load_plain  # noqa: PLC0415 - imports skrub

        _refuse(
            options,
            ("embeddings", "model_folder", "base", "checkpoints"),
            reason="--no-model too: leave one of them out",
        )
        return load_plain(path, options, progress=progress)
    if options.diffusion:
        return _diffusion(path, options, progress)
    if options.model_folder is not None:
        return _language(path, options)
    _refuse(
        options,
        ("base", "checkpoints"),
        reason="no --model: it is the same model at another time of its training, so give the "
        "trained one with --model DIR too, or leave it out",
    )
    return _fitted(path, options, progress)


def _fitted(path: Path, options: SourceOptions, progress: Progress) -> Subject:
    """Data without a model, and a small one that is trained on it."""
    if options.embeddings:
        from auditkit.sources.embeddings import load_embeddings  # noqa: PLC0415 - imports torch

        _refuse(options, ("text",), reason="embeddings hold numbers only: leave it out")
        return load_embeddings(path, options, progress=progress)
    if path.is_dir():
        from auditkit.sources.images import load_images  # noqa: PLC0415 - imports torch

        _refuse(options, ("label", "id", "text", "drop"), reason=_FOLDER_REASON)
        return load_images(path, options, progress=progress)
    if path.suffix.lower() in TABLE_SUFFIXES:
        from auditkit.sources.tables import load_table  # noqa: PLC0415 - imports torch and skrub

        return load_table(path, options, progress=progress)
    raise _unknown_file(path)


def _object(reference: str, options: SourceOptions) -> Subject:
    """The subject at a place in Python, which says all itself."""
    for name, part in _IN_CODE.items():
        _refuse(
            options,
            (name,),
            reason="the subject is a Python object, which says that itself: leave it out, and set "
            f"`Subject({part}=...)` in {reference}",
        )
    found = load_object(reference)
    return found if options.model else replace(found, task=None)


def _language(path: Path, options: SourceOptions) -> Subject:
    """Texts and the language model that was trained on them."""
    from auditkit.sources.language import load_language  # noqa: PLC0415 - imports torch

    _refuse(
        options,
        ("drop", "embeddings", "trusted"),
        reason="a language model is trained on the texts alone: leave it out",
    )
    for table in (path, options.evaluation):
        if table is not None and table.is_dir():
            raise SubjectReferenceError(
                f"{table.name} is a folder: give the table of texts (.csv, .tsv, .parquet, .ndjson "
                "or .jsonl) that the language model was trained on; --model is its folder."
            )
        if table is not None and table.suffix.lower() not in TABLE_SUFFIXES:
            raise _unknown_file(table)
    return load_language(path, options)


def _diffusion(path: Path, options: SourceOptions, progress: Progress) -> Subject:
    """Images, the diffusion model that was trained on them, and what it made."""
    from auditkit.sources.diffusion import load_diffusion  # noqa: PLC0415 - imports torch

    _refuse(
        options,
        ("label", "id", "drop", "embeddings"),
        reason="a diffusion model is trained on a folder of images: leave it out",
    )
    if not path.is_dir():
        raise SubjectReferenceError(
            f"{path.name} is no folder: give the folder of the images that the diffusion model was "
            "trained on, or the place of a subject in Python as file.py:name."
        )
    for generated in options.generated:
        existing(str(generated))
    return load_diffusion(path, options, progress=progress)


def _second(path: Path | None) -> Path | None:
    return None if path is None else existing(str(path))


def existing(reference: str) -> Path:
    """The path, if there is something there.

    Raises:
        SubjectReferenceError: there is not; the message names the most similar neighbour.
    """
    path = Path(reference).expanduser()
    try:
        if path.exists():
            return path
        known = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else None
    except (OSError, ValueError) as error:
        raise SubjectReferenceError(
            f"The path {reference!r} cannot be opened: {error}; give a table, a folder of images, "
            "or the place of an object as package.module:name or file.py:name."
        ) from error
    if known is None:
        advice = f"there is no folder {str(path.parent)!r} either."
    else:
        seen = [name for name in known if not name.startswith(".")]
        advice = did_you_mean(path.name, seen) if seen else "its folder is empty."
    raise SubjectReferenceError(f"There is nothing at {reference!r}: {advice}")


def _refuse(options: SourceOptions, names: tuple[str, ...], *, reason: str) -> None:
    given = [name for name in names if getattr(options, name)]
    if given:
        called = _CALLED.get(given[0], f"--{given[0]}")
        raise SettingError(f"{called} was given, and {reason}.")


def _unknown_file(path: Path) -> UsageError | UnreadableError:
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return UnreadableError(
            f"{path.name} is a pickle or a file that may hold one, and loading it could run code "
            "that somebody else wrote: save the data as a Parquet, CSV or .npy file, or load it in "
            "a Python file of your own and give that as file.py:name."
        )
    if suffix in _ARRAY_SUFFIXES:
        return SettingError(
            f"{path.name} holds an array: add --embeddings, and --label with a file of labels "
            "(.npy files are read, .npz files are not)."
        )
    if suffix == ".py":
        return SubjectReferenceError(
            f"{path.name} is Python code: say which object in it is the subject, as "
            f"{path.name}:name."
        )
    if suffix in IMAGE_SUFFIXES:
        return SubjectReferenceError(
            f"{path.name} is one image: give a folder with one folder of images per class."
        )
    if suffix == ".txt":
        return SubjectReferenceError(
            f"{path.name} holds texts without labels, which no model can be trained on: add "
            "--no-model where the command has it, or give a table with a column of texts."
        )
    known = ", ".join(TABLE_SUFFIXES)
    return SubjectReferenceError(
        f"{path.name} has the extension {suffix or '(none)'!r}, which is not read: expected a "
        f"table ({known}), a folder of images, or file.py:name."
    )
