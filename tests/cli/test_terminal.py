from __future__ import annotations

import pytest

from auditkit.cli.terminal import Terminal, printable
from auditkit.progress import SILENT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中", "plain é 中"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        ("a\rb\n", "a\\rb\n"),
    ],
)
def test_what_is_not_visible_is_shown_by_its_code(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_cells_are_neither_markup_nor_control(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().table(("id", "score"), [("[bold]x[/bold]\x1b[2J", 1.25), (None, 3), ("y" * 99, 1)])
    out = capsys.readouterr().out
    assert "[bold]x[/bold]\\x1b[2J" in out
    assert "\x1b" not in out
    assert "y" * 59 + "…" in out


def test_numbers_stand_to_the_right_also_where_some_are_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal().table(("id", "probability"), [("a", 0.25), ("b", None), ("c", 1.0)])
    assert capsys.readouterr().out.splitlines() == [
        "id  probability", "a          0.25", "b", "c             1",
    ]  # fmt: skip


def test_a_warning_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet=True)
    terminal.warn(["one", "one"])
    terminal.warn(["one", "two"])
    terminal.say("not said")
    terminal.detail("nor this")
    assert capsys.readouterr() == ("", "Warning: one\nWarning: two\n")


def test_without_a_terminal_there_are_no_bars() -> None:
    with Terminal().progress() as progress:
        assert progress is SILENT
