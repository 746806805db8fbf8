"""What the command line says and where: answers to standard output, all else to standard error.

Whatever is said may hold ids, names and texts of the data: characters that would move the cursor,
colour the text or turn its direction are shown by their codes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditkit.cli.progress import RichProgress
from auditkit.progress import SILENT, Progress


@dataclass
class Terminal:
    """One command's voice; options set how much it says.

    Attributes:
        quiet: only answers, warnings and errors.
        verbose: details too.
        debug: tracebacks too.
    """

    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    told: set[str] = field(default_factory=set)

    def answer(self, text: str) -> None:
        """Say what the command was called for, on standard output."""
        print_to(sys.stdout, text)

    def say(self, text: str) -> None:
        """Say what helps to understand the answer; not under `-q`."""
        if not self.quiet:
            print_to(sys.stderr, text)

    def detail(self, text: str) -> None:
        """Say what only `-v` asks for."""
        if self.verbose:
            print_to(sys.stderr, text)

    def warn(self, warnings: Iterable[str]) -> None:
        """Say what went wrong but stops nothing, each once."""
        for text in warnings:
            if text not in self.told:
                self.told.add(text)
                print_to(sys.stderr, f"Warning: {text}")

    def error(self, text: str) -> None:
        """Say why the command could not do what it was called for."""
        print_to(sys.stderr, f"Error: {text}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show a small table on standard output; numbers stand to the right."""
        console = Console(file=sys.stdout, highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        listed = [list(row) for row in rows]
        for place, column in enumerate(columns):
            cells = [row[place] for row in listed]
            numeric = bool(cells) and all(isinstance(cell, int | float | None) for cell in cells)
            table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
        for row in listed:
            table.add_row(*(Text(_cell(value)) for value in row))
        if not console.is_terminal:
            console.width = 10_000  # whole cells for whatever reads a pipe
        with console.capture() as drawn:
            console.print(table)
        click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars on standard error while the block runs; nothing under `-q` or without a terminal."""
        console = Console(file=sys.stderr)
        if self.quiet or not console.is_terminal:
            yield SILENT
            return
        with RichProgress(console) as bars:
            yield bars


def printable(text: str) -> str:
    """The text with every character that is not visible, but line ends, shown by its code."""
    return "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def print_to(stream: TextIO, text: str) -> None:
    """Print one text, harmless and as it is."""
    click.echo(printable(text), file=stream)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    shown = printable(text).replace("\n", "\\n")
    return shown if len(shown) <= 60 else shown[:59] + "…"
