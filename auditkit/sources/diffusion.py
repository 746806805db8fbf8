"""A folder of training images with the diffusion model that was trained on them, and its images.

What of an image the model was told besides is its class folder (for models of classes) or its
caption in the folder's `metadata.csv`, `.jsonl` or `.parquet` (for models of prompts), a table with
the columns `file_name` and `text`, as such models are trained from.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

from auditkit.errors import (
    ColumnError,
    LabelError,
    SettingError,
    SubjectReferenceError,
    UsageError,
    did_you_mean,
)
from auditkit.pool import Pool
from auditkit.progress import SILENT, Progress
from auditkit.sources.denoisers import Denoiser, load_denoiser, load_weights
from auditkit.sources.exact import ExactImages, Form, read_exactly
from auditkit.sources.folders import IMAGE_SUFFIXES, FolderFile, Listing, list_images
from auditkit.sources.frames import as_text, read_frame
from auditkit.sources.kept import checkpoints_in_words, checkpoints_of
from auditkit.subject import Recipe, Subject
from auditkit.tasks.diffusion import DiffusionTask

if TYPE_CHECKING:
    from auditkit.hookspecs import SourceOptions

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE, _CAPTION = "file_name", "text"

_TIMESTEPS = 16
"""How many, where the schedule has as many; an audit takes as many as it needs."""


def load_diffusion(root: Path, options: SourceOptions, *, progress: Progress = SILENT) -> Subject:
    """A subject of a folder of images and the model in `options.model_folder` trained on them.

    Raises:
        SettingError: no model or no generated images were named, or a class or prompt that the
            model does not take.
        SubjectReferenceError: a path that leads nowhere, or to no images.
        PoolError: an image of another size or colour than the model makes.
        LabelError: classes that the model does not know.
        ColumnError: captions that are missing.
        UnreadableError: images or weights that cannot be read, or not safely.
        TaskError: a denoiser or scheduler of another kind, or a checkpoint of another model.
    """
    denoiser = load_denoiser(_checkpoint(root, options), device=options.device)
    _check_condition(denoiser, options)
    listing = list_images(root, flat=True)
    images, files, told = read_exactly(
        listing.images,
        denoiser.form,
        model=f"the model {denoiser.name!r}",
        coloured=True,
        progress=progress,
    )
    conditions = _Conditions(denoiser, options, root, files)
    images.condition = conditions.of(files, root)
    asked, others, remarks = _generated(options, images.form, denoiser, progress)
    asked.condition = conditions.of_queries(others)
    return Subject(
        task=_task(denoiser, conditions.class_names),
        train=_pool(images, files, conditions),
        queries=Pool(asked, ids=_ids(others), preview=asked.preview),
        checkpoints=checkpoints_of(options.checkpoints, denoiser.model.state_dict(), load_weights),
        recipe=Recipe(batch_size=16, epochs=1),
        fresh=denoiser.fresh,
        name=f"{denoiser.name} on {root.resolve().name}",
        description=(
            _trained_on(images, root, denoiser),
            *checkpoints_in_words(options.checkpoints),
            *told,
            *conditions.left_out(listing).sentences,
            *conditions.sentences,
            f"{len(others):,} generated {'image is' if len(others) == 1 else 'images are'} asked "
            "about.",
            *remarks,
        ),
    )


def _checkpoint(root: Path, options: SourceOptions) -> Path:
    """The model's folder; refuses options that name none, or no images of its making."""
    if options.model_folder is None:
        raise SettingError(
            f"Which model was trained on the images of {root.name}? Name its local folder, as "
            "diffusers saves it, with --model DIR."
        )
    if not options.generated:
        raise SettingError(
            "Which generated images are asked about? Name each with --query PATH, an image or a "
            "folder of them."
        )
    return options.model_folder


def _task(denoiser: Denoiser, class_names: Sequence[str] | None) -> DiffusionTask:
    return DiffusionTask(
        denoiser.model,
        denoiser.schedule,
        timesteps=min(_TIMESTEPS, len(denoiser.schedule)),
        encoder=denoiser.encoder,
        class_names=class_names,
    )


def _pool(images: ExactImages, files: Sequence[FolderFile], conditions: _Conditions) -> Pool:
    """The training images, with what the model was told of each as metadata."""
    ids, told = [file.id for file in files], conditions.column(files)
    return Pool(
        images,
        ids=ids,
        metadata=pl.DataFrame({"id": ids, **told}),
        preview=images.preview,
        label="label" if "label" in told else None,
    )


def _trained_on(images: ExactImages, root: Path, denoiser: Denoiser) -> str:
    """The training images in a sentence."""
    height, width = images.preview(0).pixels.shape[:2]
    return (
        f"{len(images):,} images from {root.resolve().name}, {width} by {height} pixels, on which "
        f"the model {denoiser.name!r} was trained; pixels are scaled to -1 to 1."
    )


class _Conditions:
    """What the model is told besides the image: nothing, a class, or a prompt."""

    def __init__(
        self, denoiser: Denoiser, options: SourceOptions, root: Path, files: Sequence[FolderFile]
    ) -> None:
        self._denoiser, self._options = denoiser, options
        self.class_names: tuple[str, ...] | None = None
        self.sentences: list[str] = []
        if denoiser.embed is not None:
            self._captions = _captions(root, options)
            self.sentences.append(f"Captions are the column {options.text or _CAPTION!r}.")
        elif denoiser.classes is not None:
            self._codes = self._numbered(files, denoiser.classes, root)

    def of(self, files: Sequence[FolderFile], root: Path) -> Tensor | None:
        """The conditions of training images, first axis [image]."""
        if self._denoiser.embed is not None:
            missing = next((file.id for file in files if file.id not in self._captions), None)
            if missing is not None:
                raise ColumnError(
                    f"The metadata of {root.name} has no caption for {missing!r}: the model was "
                    f"told one for each image; give the table a row with its {_FILE}."
                )
            return self._denoiser.embed([self._captions[file.id] for file in files])
        if self._denoiser.classes is None:
            return None
        return torch.tensor([self._codes[file.label] for file in files])

    def of_queries(self, files: Sequence[FolderFile]) -> Tensor | None:
        """The conditions of generated images."""
        if self._denoiser.embed is not None:
            prompt = str(self._options.prompt)
            self.sentences.append(f"The prompt of the generated images is {prompt!r}.")
            return self._denoiser.embed([prompt] * len(files))
        if self._denoiser.classes is None:
            return None
        names = [self._name(file) for file in files]
        told = ", ".join(f"{name} ({count:,})" for name, count in Counter(names).items())
        self.sentences.append(f"Classes of the generated images: {told}.")
        return torch.tensor([self._codes[name] for name in names])

    def column(self, files: Sequence[FolderFile]) -> dict[str, list[str]]:
        """Classes or captions by their column's name, where there are any."""
        if self._denoiser.embed is not None:
            return {"caption": [self._captions[file.id] for file in files]}
        labels = [file.label for file in files]
        return {"label": labels} if all(labels) else {}

    def left_out(self, listing: Listing) -> Listing:
        """The folder's listing, in which the table of captions does not count as left out."""
        tables = 0 if self._denoiser.embed is None else 1
        return replace(listing, others=max(listing.others - tables, 0))

    def _numbered(self, files: Sequence[FolderFile], known: int, root: Path) -> dict[str, int]:
        """The number of each class: its folder's name, if that is one, else by the alphabet."""
        loose = next((file.id for file in files if not file.label), None)
        if loose is not None:
            raise LabelError(
                f"The image {loose!r} of {root.name} is in no class folder, and the model was told "
                "a class for each: put the images of each class into a folder named after it."
            )
        names = sorted({file.label for file in files})
        if len(names) > known:
            raise LabelError(
                f"{root.name} has {len(names)} class folders and the model knows {known} classes: "
                "give the folder it was trained on."
            )
        if all(name.isascii() and name.isdigit() for name in names):
            beyond = max(names, key=int)
            if int(beyond) >= known:
                raise LabelError(
                    f"The class folders of {root.name} are named by numbers up to {beyond} and the "
                    f"model knows {known} classes, 0 to {known - 1}: name each folder by the "
                    "number that the model was told, or none of them by a number."
                )
            self.sentences.append("The classes are the numbers that name the class folders.")
            return {name: int(name) for name in names}
        if len(names) == known:
            self.class_names = tuple(names)
        self.sentences.append(
            f"The {len(names)} classes are numbered by the alphabet, as {names[0]!r} for 0; the "
            f"model knows {known}."
        )
        return {name: number for number, name in enumerate(names)}

    def _name(self, file: FolderFile) -> str:
        """The class of a generated image: as given, or as its folder is named."""
        given = self._options.condition
        name = given or next(
            (own for own in (file.label, file.path.resolve().parent.name) if own in self._codes), ""
        )
        if name in self._codes:
            return name
        if not given:
            raise SettingError(
                f"Which class is {file.id!r} of? Name it with --class NAME, or put it into a "
                f"folder named after it: {', '.join(list(self._codes)[:10])}."
            )
        raise LabelError(f"There is no class {name!r}: {did_you_mean(name, self._codes)}")


def _check_condition(denoiser: Denoiser, options: SourceOptions) -> None:
    """Refuse a class or a prompt that the model does not take, and demand the prompt it does.

    Raises:
        SettingError: either.
    """
    if options.condition is not None and denoiser.classes is None:
        raise SettingError(
            f"--class was given, and the model {denoiser.name!r} knows no classes: leave it out."
        )
    if options.prompt is not None and denoiser.embed is None:
        raise SettingError(
            f"--prompt was given, and the model {denoiser.name!r} takes none: leave it out."
        )
    if options.prompt is None and denoiser.embed is not None:
        raise SettingError(
            f"The model {denoiser.name!r} makes images of prompts: say with --prompt TEXT which "
            "one the generated images are of."
        )


def _captions(root: Path, options: SourceOptions) -> dict[str, str]:
    """Captions by path, from the folder's metadata.

    Raises:
        UsageError: there is none.
        ColumnError: a column is missing.
    """
    table = next((root / name for name in _METADATA if (root / name).is_file()), None)
    if table is None:
        raise UsageError(
            f"The model makes images of prompts and {root.name} holds no captions: expected one of "
            f"{', '.join(_METADATA)} with the columns {_FILE} and {_CAPTION}."
        )
    frame = read_frame(table, verbatim=[_FILE])
    wanted = options.text or _CAPTION
    for name in (_FILE, wanted):
        if name not in frame.columns:
            raise ColumnError(
                f"{table.name} has no column {name!r}: {did_you_mean(name, frame.columns)}"
            )
    rows = frame.select(_FILE, wanted).drop_nulls().iter_rows()
    return {as_text(file): as_text(caption) for file, caption in rows}


def _generated(
    options: SourceOptions, form: Form, denoiser: Denoiser, progress: Progress
) -> tuple[ExactImages, list[FolderFile], list[str]]:
    """The images that are asked about."""
    files: dict[Path, FolderFile] = {}  # each once, however often it is named
    for path in options.generated:
        if path.is_dir():
            found: tuple[FolderFile, ...] = list_images(path, flat=True).images
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            found = (FolderFile(path, path.name, ""),)
        else:
            raise SubjectReferenceError(
                f"{path.name} is no image by its extension: --query takes an image "
                f"({', '.join(IMAGE_SUFFIXES)}) or a folder of them."
            )
        for file in found:
            files.setdefault(file.path.resolve(), file)
    return read_exactly(
        list(files.values()), form, model=f"the model {denoiser.name!r}", progress=progress
    )


def _ids(files: Sequence[FolderFile]) -> list[str]:
    """An id for each file: its name, or its path from where all are where names are alike."""
    names = [file.id for file in files]
    if len(set(names)) == len(names):
        return names
    paths = [file.path.absolute() for file in files]
    home = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(home).as_posix() for path in paths]
