"""`auditkit apply`: the decisions made in a report, carried out on a copy of the data."""

from __future__ import annotations

from pathlib import Path

import click

from auditkit.cli.options import FILE, with_voice
from auditkit.cli.terminal import Terminal


@with_voice
@click.command(short_help="Carry out decisions made in a report on a copy of the data.")
@click.argument("decisions", type=FILE)
@click.argument("data", type=FILE)
@click.option("--out", type=FILE, required=True, metavar="PATH", help="Where the copy goes.")
@click.option("--id", "id_column", metavar="COLUMN", help="The column that holds the ids.")
@click.option("--label", metavar="COLUMN", help="The column that holds the labels.")
@click.pass_obj
def apply(
    terminal: Terminal,
    *,
    decisions: Path,
    data: Path,
    out: Path,
    id_column: str | None,
    label: str | None,
) -> None:
    """Carry out DECISIONS, the CSV file a report exports, on a copy of DATA."""
    from auditkit.sources.apply import apply_decisions  # noqa: PLC0415 - brings torch

    done = apply_decisions(decisions, data, out, id_column=id_column, label=label)
    terminal.answer(str(done))
