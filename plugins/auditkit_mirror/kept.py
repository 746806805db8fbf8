"""Finished pieces of a long study in a folder, so that a second run goes on where one stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, Union

import numpy as np
import numpy.typing as npt

from auditkit.errors import StoreError

Table = npt.NDArray[np.float64]
Facts: TypeAlias = Mapping[str, Union[str, int, float, None]]

_RECORD = "study.json"


class Kept:
    """Arrays by name, each written whole or not at all; in memory alone without a folder.

    Args:
        folder: where they go; made if it is not there.
        facts: what was studied; pieces of anything else are refused.

    Raises:
        StoreError: the folder holds pieces of something else, or cannot be written or read.
    """

    def __init__(self, folder: Path | None, facts: Facts) -> None:
        self._folder, self._pieces = folder, dict[str, Table]()
        if folder is None:
            return
        path, text = folder / _RECORD, json.dumps(dict(facts), indent=2, sort_keys=True)
        try:
            if path.exists() and path.read_text(encoding="utf-8") != text:
                raise StoreError(
                    f"{folder} holds pieces of another study: give another folder, or delete this "
                    "one to begin anew."
                )
            folder.mkdir(parents=True, exist_ok=True)
            _write(path, text.encode())
        except OSError as error:
            raise StoreError(f"{folder} cannot be used: {error}.") from error

    def get(self, name: str) -> Table | None:
        """The piece of that name; None if it is not finished."""
        if name in self._pieces or self._folder is None:
            return self._pieces.get(name)
        path = self._folder / f"{name}.npy"
        if not path.exists():
            return None
        try:
            found: Table = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): delete it, and it is done again."
            ) from error
        return found

    def put(self, name: str, piece: Table) -> Table:
        """Keep a finished piece."""
        self._pieces[name] = piece
        if self._folder is not None:
            path = self._folder / f"{name}.npy"
            try:
                with _replacing(path) as part:
                    np.save(part, piece)
            except OSError as error:
                raise StoreError(f"{path} cannot be written: {error}.") from error
        return piece


def digest(arrays: Iterable[npt.NDArray[np.generic]]) -> str:
    """A sum of the content of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


class _replacing:  # noqa: N801 - used as a function
    """A file that takes its place when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_suffix(".part.npy")

    def __enter__(self) -> Path:
        return self._part

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            os.replace(self._part, self._path)  # noqa: PTH105 - atomic


def _write(path: Path, content: bytes) -> None:
    with _replacing(path) as part:
        part.write_bytes(content)
