"""`auditkit plugins`: what is installed, what it adds, and what is wrong with it."""

from __future__ import annotations

import json

import click

from auditkit.cli.options import with_voice
from auditkit.cli.terminal import Terminal


@click.group()
def plugins() -> None:
    """What is installed of plugins, and what is wrong with them."""


@with_voice
@plugins.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.pass_context
def list_plugins(ctx: click.Context, as_json: bool) -> None:
    """Name, distribution, version, hooks and state of every plugin."""
    from auditkit.cli.main import registry_of  # noqa: PLC0415 - the group imports this module

    terminal, registry = ctx.find_object(Terminal) or Terminal(), registry_of(ctx)
    listed = [
        {
            "name": outcome.candidate.name,
            "distribution": outcome.candidate.distribution,
            "version": outcome.candidate.version,
            "hooks": list(outcome.hooks),
            "status": outcome.status,
            "reason": outcome.reason,
        }
        for outcome in registry.outcomes
    ]
    terminal.warn(registry.warnings)
    if as_json:
        terminal.answer(json.dumps(listed, indent=2))
        return
    rows = [
        (*(plugin[key] for key in ("name", "distribution", "version")),
         ", ".join(plugin["hooks"]), plugin["status"])
        for plugin in listed
    ]  # fmt: skip
    terminal.table(("name", "distribution", "version", "hooks", "status"), rows)
