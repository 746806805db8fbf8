"""`auditkit report`: a stored run's report, rendered again."""

from __future__ import annotations

from pathlib import Path

import click

from auditkit.cli.options import stored_in, with_voice
from auditkit.cli.terminal import Terminal
from auditkit.store import find_run


@with_voice
@click.command(short_help="Render the report of a run again.")
@click.argument("run")
@stored_in
@click.option("--open", "opened", is_flag=True, help="Open it in the browser.")
@click.pass_context
def report(ctx: click.Context, run: str, out: Path, opened: bool) -> None:
    """Render the report of RUN (its path, folder name or short id) again, from its folder."""
    from auditkit.cli.main import registry_of  # noqa: PLC0415 - the group imports this module
    from auditkit.pipeline import render_report  # noqa: PLC0415 - brings torch

    terminal, registry = ctx.find_object(Terminal) or Terminal(), registry_of(ctx)
    found = find_run(run, out)
    path = render_report(found, registry.audit(found.record.audit), registry=registry)
    terminal.warn(registry.warnings)
    terminal.answer(f"Report: {path}")
    if opened:
        click.launch(path.resolve().as_uri())
