"""Measured cells in a JSON file that is rewritten after each of them, so that a run can go on."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

Cell: TypeAlias = dict[str, float | str]

PACKAGES = (
    "auditkit-influence", "torch", "numpy", "captum", "dattri", "traker", "kronfluence",
)  # fmt: skip


@dataclass
class Results:
    """Cells by what they are about, and the versions they were measured with.

    Attributes:
        file: where they are kept.
        cells: figures by their key, its parts joined by ` | `.
    """

    file: Path
    cells: dict[str, Cell] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Results:
        """What the file holds; nothing where there is none."""
        return cls(file, json.loads(file.read_text())["cells"] if file.exists() else {})

    def get(self, *key: str) -> Cell:
        """The cell's figures, or nothing."""
        return self.cells.get(" | ".join(key), {})

    def put(self, key: tuple[str, ...], cell: Cell) -> None:
        """Keep a cell's figures, in the file as well, with what another run has put there."""
        self.cells = {**Results.read(self.file).cells, " | ".join(key): cell}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps({"versions": versions(), "cells": self.cells}, indent=1))
        unfinished.replace(self.file)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """What the figures were measured with."""
    found = {"python": platform.python_version(), "date": time.strftime("%Y-%m-%d")}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
