"""Folders of images in class folders: which files belong, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditkit.errors import SubjectReferenceError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""What is taken for an image, by file extension."""

_SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})


@dataclass(frozen=True)
class FolderFile:
    """One file below a folder.

    Attributes:
        path: where it is.
        id: its path relative to the folder, with slashes, as text in any case.
        label: the name of the class folder it is in; empty for a file beside the class folders.
    """

    path: Path
    id: str
    label: str

    @property
    def is_image(self) -> bool:
        """Whether its extension is that of an image."""
        return self.path.suffix.lower() in IMAGE_SUFFIXES


@dataclass(frozen=True)
class Listing:
    """What a folder holds, in the order of the ids.

    Attributes:
        images: the images in class folders.
        loose: how many images lie beside the class folders.
        others: how many files are no images.
        links: how many symbolic links lead out of the folder, or to other folders.
    """

    images: tuple[FolderFile, ...]
    loose: int
    others: int
    links: int

    @property
    def sentences(self) -> list[str]:
        """What was left out of the folder, in words; empty where nothing was."""
        counts = (
            (self.loose, "images lie in no class folder"),
            (self.others, "files are no images by their extension"),
            (self.links, "symbolic links lead to folders or out of this one"),
        )
        return [f"Left out: {count} {what}." for count, what in counts if count]


def list_images(root: Path, *, flat: bool = False) -> Listing:
    """The images of a folder that holds one folder per class.

    A class folder may have folders inside; their images are of that class. Hidden files are passed
    over, and symbolic links that lead out of the folder are not followed.

    Args:
        root: the folder.
        flat: whether images in no class folder belong too; their label is empty.

    Raises:
        SubjectReferenceError: no images, none in class folders, or splits instead of classes.
    """
    images, loose, others, links = [], 0, 0, 0
    for file in walk(root):
        if file is None:
            links += 1
        elif not file.is_image:
            others += 1
        elif not file.label and not flat:
            loose += 1
        else:
            images.append(file)
    if not images:
        raise _no_images(root, loose, others, flat=flat)
    tops = {image.label for image in images} - {""}
    if (
        tops
        and {name.lower() for name in tops} <= _SPLITS
        and all(i.id.count("/") > 1 for i in images)
    ):
        first = min(tops)
        raise SubjectReferenceError(
            f"{root} holds {', '.join(sorted(tops))}, which are splits rather than classes: give "
            f"one of them, e.g. {root / first}."
        )
    return Listing(tuple(sorted(images, key=lambda image: image.id)), loose, others, links)


def walk(root: Path) -> Iterator[FolderFile | None]:
    """Every file below a folder that is not hidden; None for a link that is not followed."""
    home = root.resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (None for name in folders if (Path(folder) / name).is_symlink())
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                yield None
            elif path.is_file() or path.is_symlink():
                yield _file(path, root)


def _file(path: Path, root: Path) -> FolderFile:
    inside = path.relative_to(root)
    name = os.fsencode(inside.as_posix()).decode("utf-8", errors="backslashreplace")
    return FolderFile(path, name, name.split("/")[0] if "/" in name else "")


def _no_images(root: Path, loose: int, others: int, *, flat: bool) -> SubjectReferenceError:
    if loose:
        return SubjectReferenceError(
            f"{root} holds {loose} images and no class folders: put the images of each class into "
            "a folder named after it."
        )
    suffixes = ", ".join(IMAGE_SUFFIXES)
    expected = "images, in folders or not" if flat else "a folder per class with images in it"
    return SubjectReferenceError(
        f"{root} holds no images ({others} other files): expected {expected} ({suffixes})."
    )
