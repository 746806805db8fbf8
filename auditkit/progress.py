"""How long work says how far it is, without knowing where that is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work that is under way."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more units are done."""


class Progress(Protocol):
    """Where progress goes: the command line's bar, a notebook's, or nowhere."""

    def step(self, description: str, total: int) -> AbstractContextManager[Step]:
        """Open a piece of work of `total` units; it ends with the `with` block."""


class _SilentStep:
    def advance(self, amount: int = 1) -> None:
        """Nothing is shown."""


class Silent:
    """Progress that shows nothing: the default everywhere in the library."""

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Step]:
        """Open a piece of work of which nothing is shown."""
        yield _SilentStep()


SILENT: Progress = Silent()
