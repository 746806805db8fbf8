from __future__ import annotations

import io

import pytest
from rich.console import Console

from auditkit.cli import progress
from auditkit.cli.progress import RichProgress


def drawn(*, after: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is drawn of work with markup in its name, when bars appear after so many seconds."""
    monkeypatch.setattr(progress, "SHOWN_AFTER", after)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with RichProgress(console) as bars, bars.step("reading [red]data", 3) as step:
        step.advance()
        step.advance(1)
        bars._bars.refresh()  # what the clock does otherwise
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_shows_what_is_done_of_what(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(after=-1.0, monkeypatch=monkeypatch)
    assert "reading [red]data" in text
    assert "2/3" in text


def test_short_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "reading" not in drawn(after=1000.0, monkeypatch=monkeypatch)
