"""Where finished retrainings are kept: one small file each, written whole or not at all.

    retrainings.json    what was retrained and measured, well enough to refuse anything else
    0f3a5c....npy       the queries' measures under one retrained model

A file is named by the examples and the seed of its retraining. So one folder serves every function
of this package on the same data: whatever was trained for one of them is there for the next, and
more subsets or seeds can be asked for later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from auditkit import fingerprint
from auditkit.errors import StoreError
from auditkit.progress import Progress
from auditkit.subject import Task
from auditkit.truth.retraining import Leg, Retraining

Values: TypeAlias = npt.NDArray[np.floating]
"""Measures, [query]: float32, or float64 where the task computes in it."""

Facts: TypeAlias = Mapping[str, Union[str, int, float, None]]

FORMAT = 1
"""The version of the folder's layout."""

_RECORD = "retrainings.json"
_RATE = "learning rate chosen"


class Kept:
    """Measures under finished retrainings: in memory, and in a folder if one was given.

    Raises:
        StoreError: the folder holds retrainings of something else, or cannot be written or read.
    """

    def __init__(self, folder: Path | None, facts: Facts, *, queries: int) -> None:
        self._folder, self._queries = folder, queries
        self._values: dict[str, Values] = {}
        self.learning_rate: float | None = None
        if folder is not None:
            self._open(folder, facts)

    def get(self, leg: Leg) -> Values | None:
        """The measures under this retraining, [query]; None if it has not been done."""
        key = _key(leg)
        if key not in self._values and self._folder is not None:
            path = self._folder / f"{key}.npy"
            if path.exists():
                self._values[key] = self._read(path)
        return self._values.get(key)

    def put(self, leg: Leg, values: Values) -> None:
        """Keep the measures under a retraining, [query]."""
        key = _key(leg)
        self._values[key] = values
        if self._folder is not None:
            _write(self._folder / f"{key}.npy", lambda file: np.save(file, values))

    def settle(self, rate: float | None) -> None:
        """Keep the learning rate that was chosen for all retrainings."""
        self.learning_rate = rate
        if self._folder is not None and rate is not None:
            self._record[_RATE] = rate
            self._write_record()

    def _open(self, folder: Path, facts: Facts) -> None:
        self._record: dict[str, str | int | float | None] = {"format": FORMAT, **facts}
        path = folder / _RECORD
        if not path.exists():
            self._write_record()
            return
        try:
            there = dict(json.loads(path.read_text(encoding="utf-8")))
            rate = there.get(_RATE)
            other = [name for name, fact in self._record.items() if there.get(name) != fact]
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"{path} cannot be read ({error}): give another folder, or delete this one."
            ) from error
        if other:
            raise StoreError(
                f"{folder} holds retrainings with another {' and '.join(other)}: give another "
                "folder, or delete this one to begin anew."
            )
        self.settle(rate)

    def _write_record(self) -> None:
        assert self._folder is not None  # noqa: S101 - tells the type checker
        text = json.dumps(self._record, indent=2) + "\n"
        _write(self._folder / _RECORD, lambda file: file.write(text.encode()))

    def _read(self, path: Path) -> Values:
        try:
            values: Values = np.load(path, allow_pickle=False)
            if values.shape != (self._queries,):
                raise ValueError(f"shape {values.shape}")  # noqa: TRY301 - one sentence for all
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(
                f"{path} holds no measures of {self._queries} queries ({error}): delete it, and "
                "the retraining is done again."
            ) from error
        return values


def facts(retraining: Retraining, *, progress: Progress) -> Facts:
    """What two retrainings must have in common for their measures to be comparable.

    Functions (a custom optimizer, augmentation, fresh models) are known by their names alone, those
    of `functools.partial` by their arguments too; the model by its weights and by what it prints;
    the task by its class and its plain attributes.
    """
    recipe, task = retraining.recipe, retraining.task
    given = {"targets": retraining.targets, "pretrained weights": retraining.pretrained}
    return {
        "task": type(task).__qualname__,
        "settings of the task": _settings(task),
        "model": fingerprint.of_weights(task.model),
        "architecture": fingerprint.of_example(repr(task.model)),
        "train pool": fingerprint.of_pool(retraining.train, progress=progress),
        "queries": fingerprint.of_pool(retraining.asked, progress=progress),
        "measure": retraining.measure_name,
        "fresh": fingerprint.described(retraining.fresh),
        **{name: fingerprint.of_example(value) for name, value in given.items()},
        **{each.name: fingerprint.described(getattr(recipe, each.name)) for each in fields(recipe)},
    }


def _settings(task: Task) -> str:
    """The sum of what the task keeps beside its model."""
    return fingerprint.of_example(
        {
            name: value if not callable(value) else fingerprint.described(value)
            for name, value in vars(task).items()
            if value is not task.model and not name.startswith("_")
        }
    )


def _key(leg: Leg) -> str:
    return fingerprint.of_example([leg.seed, leg.positions, leg.left_out])[:32]


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, and give it its own when it is whole.

    Raises:
        StoreError: the disk is full, or the folder may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"The retraining could not be written to {path.parent}: {error.strerror or error}; "
            "give a folder on a disk with room that you may write to."
        ) from error
