"""Progress as bars with the time left, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from auditkit.progress import Step

SHOWN_AFTER = 1.0
"""Seconds; work that ends sooner is never shown."""


class RichProgress:
    """`auditkit.progress.Progress` by rich; a bar is gone when its work is done.

    It is a context manager: bars are drawn while it is open.
    """

    def __init__(self, console: Console) -> None:
        self._bars = _LateBars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> RichProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    @contextmanager
    def step(self, description: str, total: int) -> Iterator[Step]:
        """Open a piece of work; its bar appears when it has lasted a second."""
        task = self._bars.add_task(description, total=total)
        try:
            yield _BarStep(self._bars, task)
        finally:
            self._bars.remove_task(task)


class _BarStep:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: int = 1) -> None:
        self._bars.advance(self._task, amount)


class _LateBars(Bars):
    """Bars of the work that has lasted long enough to be shown."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn now."""
        yield self.make_tasks_table(
            [task for task in self.tasks if (task.elapsed or 0.0) > SHOWN_AFTER]
        )
