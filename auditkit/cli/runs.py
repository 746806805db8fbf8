"""`auditkit runs`: what is stored."""

from __future__ import annotations

from pathlib import Path

import click

from auditkit.cli.audits import show_findings
from auditkit.cli.options import stored_in, with_voice
from auditkit.cli.terminal import Terminal
from auditkit.store import find_run, list_runs


@click.group()
def runs() -> None:
    """What runs are stored, and what they found."""


@with_voice
@runs.command(name="list")
@stored_in
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_obj
def list_stored(terminal: Terminal, out: Path, as_json: bool) -> None:
    """The runs in a folder, newest first."""
    stored = list_runs(out)
    if as_json:
        records = ",\n".join(run.record.model_dump_json(indent=2) for run in stored)
        terminal.answer(f"[{records}]")
    elif stored:
        terminal.table(
            ("run", "created (UTC)", "subject", "answer"),
            (
                (run.path.name, f"{run.record.created:%Y-%m-%d %H:%M}", run.record.subject.name,
                 run.record.answer)
                for run in stored
            ),
        )  # fmt: skip
    else:
        terminal.say(f"There are no runs in {out}.")


@with_voice
@runs.command()
@click.argument("run")
@stored_in
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_obj
def show(terminal: Terminal, run: str, out: Path, as_json: bool) -> None:
    """What RUN (its path, folder name or short id) found, and how it was made."""
    found = find_run(run, out)
    record = found.record
    if as_json:
        terminal.answer(record.model_dump_json(indent=2))
        return
    terminal.answer(f"{record.title}: {record.question}")
    terminal.answer(record.answer)
    for note in record.notes:
        terminal.answer(f"{note.level}: {note.text}")
    settings = {**record.settings, "seed": record.seed, "device": record.device}
    terminal.table(
        ("", ""),
        [
            ("created (UTC)", f"{record.created:%Y-%m-%d %H:%M}"),
            ("subject", f"{record.subject.name}, {record.subject.examples} examples"),
            ("settings", ", ".join(f"{name}={value}" for name, value in settings.items())),
            *record.summary.items(),
        ],
    )
    show_findings(found, terminal)
    terminal.answer(f"Report: {found.report}")
